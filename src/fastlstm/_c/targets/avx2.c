#define FL_TARGET_AVX2
#define FL_TARGET avx2
#include "targets/target.inc"
