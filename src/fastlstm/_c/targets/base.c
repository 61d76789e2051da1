#define FL_TARGET_BASE
#define FL_TARGET base
#include "targets/target.inc"
