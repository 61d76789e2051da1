/* What version 3 added to the C interface: see frozen_1.c. */
#include <fastlstm/fastlstm.h>

#define VALUE(name, number) _Static_assert(name == number, #name)
VALUE(FASTLSTM_LSTM_NORM, 5);
