#define FL_BITS 32
#define FL_STORED_BFLOAT16
#define FL_TABLE fl_kernels_emulated_bfloat16
#include "device/emulated/emulated.inc"
