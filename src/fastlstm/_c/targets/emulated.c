#define FL_TARGET emulated
#include "device/emulated/emulated.inc"
