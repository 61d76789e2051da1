#define FL_TARGET_BASE
#define FL_BITS 64
#define FL_TABLE fl_kernels_base_64
#include "targets/target.inc"
