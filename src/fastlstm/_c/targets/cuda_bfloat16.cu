#define FL_BITS 32
#define FL_STORED_BFLOAT16
#define FL_PRECISION FL_IN_BFLOAT16
#define FL_TABLE fl_kernels_cuda_bfloat16
#include "device/cuda/cuda.inc"
