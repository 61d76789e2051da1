#define FL_TARGET_AVX2
#define FL_BITS 64
#define FL_TABLE fl_kernels_avx2_64
#include "targets/target.inc"
