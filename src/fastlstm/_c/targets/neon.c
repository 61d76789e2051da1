#define FL_TARGET_NEON
#define FL_TARGET neon
#include "targets/target.inc"
