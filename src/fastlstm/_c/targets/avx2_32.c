#define FL_TARGET_AVX2
#define FL_BITS 32
#define FL_TABLE fl_kernels_avx2_32
#include "targets/target.inc"
