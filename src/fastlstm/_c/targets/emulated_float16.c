#define FL_BITS 32
#define FL_STORED_FLOAT16
#define FL_TABLE fl_kernels_emulated_float16
#include "device/emulated/emulated.inc"
