/* The table of functions that the capsule hands out. */
#include "network/interface.h"

const fastlstm_interface fl_interface = {
    FASTLSTM_C_VERSION,       fastlstm_message,           fastlstm_plan_bytes,  fastlstm_make_plan,
    fastlstm_parameter_count, fastlstm_output_count,      fastlstm_state_count, fastlstm_workspace_bytes,
    fastlstm_tape_bytes,      fastlstm_set_parameters,    fastlstm_step,        fastlstm_forward,
    fastlstm_backward,        fastlstm_set_hard_logistic,
};
