#define FL_BITS 64
#define FL_TABLE fl_kernels_emulated_64
#include "device/emulated/emulated.inc"
