#ifndef FL_INTERFACE_H
#define FL_INTERFACE_H

#include "fastlstm/capsule.h"

extern const fastlstm_interface fl_interface;

#endif
