#define FL_TARGET_NEON
#define FL_BITS 32
#define FL_TABLE fl_kernels_neon_32
#include "targets/target.inc"
