#define FL_TARGET_PORTABLE
#define FL_TARGET portable
#include "targets/target.inc"
