#define FL_TARGET_PORTABLE
#define FL_BITS 32
#define FL_TABLE fl_kernels_portable_32
#include "targets/target.inc"
