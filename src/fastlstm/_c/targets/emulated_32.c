#define FL_BITS 32
#define FL_TABLE fl_kernels_emulated_32
#include "device/emulated/emulated.inc"
