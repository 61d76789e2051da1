#define FL_TARGET_BASE
#define FL_BITS 32
#define FL_TABLE fl_kernels_base_32
#include "targets/target.inc"
