/* What version 4 added to the C interface: see frozen_1.c. */
#include <fastlstm/fastlstm.h>

static const fastlstm_network network = {.version = 4, .fast = 1};
const fastlstm_network *const last = &network;
