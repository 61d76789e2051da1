#define FL_TARGET cuda
#include "device/cuda/cuda.inc"
