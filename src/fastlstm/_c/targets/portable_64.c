#define FL_TARGET_PORTABLE
#define FL_BITS 64
#define FL_TABLE fl_kernels_portable_64
#include "targets/target.inc"
