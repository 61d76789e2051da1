#define FL_TARGET_AVX512
#define FL_BITS 32
#define FL_TABLE fl_kernels_avx512_32
#include "targets/target.inc"
