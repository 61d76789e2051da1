#define FL_TARGET_AVX512
#define FL_TARGET avx512
#include "targets/target.inc"
