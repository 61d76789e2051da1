#define FL_TARGET_AVX512
#define FL_BITS 64
#define FL_TABLE fl_kernels_avx512_64
#include "targets/target.inc"
