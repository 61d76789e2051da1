#define FL_BITS 32
#define FL_STORED_FLOAT16
#define FL_PRECISION FL_IN_FLOAT16
#define FL_TABLE fl_kernels_cuda_float16
#include "device/cuda/cuda.inc"
