/* The size of a workspace that serves every pass of a plan. */
#include "network/network.h"

size_t fastlstm_workspace_bytes(const fastlstm_plan *plan, size_t T, size_t B) {
    fl_arena forward = {0}, backward = {0};
    if (fl_check_plan(plan) || !fl_have_size(plan, T, B)) return 0;
    fl_lay_out_forward(plan, T, B, &forward);
    if (plan->training) fl_lay_out_backward(plan, T, B, &backward);
    return fl_arena_bytes(forward.used > backward.used ? &forward : &backward);
}
