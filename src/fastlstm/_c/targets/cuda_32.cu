#define FL_BITS 32
#define FL_PRECISION FL_IN_FLOAT32
#define FL_TABLE fl_kernels_cuda_32
#include "device/cuda/cuda.inc"
