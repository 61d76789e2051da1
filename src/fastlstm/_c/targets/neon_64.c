#define FL_TARGET_NEON
#define FL_BITS 64
#define FL_TABLE fl_kernels_neon_64
#include "targets/target.inc"
