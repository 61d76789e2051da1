#define FL_BITS 64
#define FL_PRECISION FL_IN_FLOAT64
#define FL_TABLE fl_kernels_cuda_64
#include "device/cuda/cuda.inc"
