/* Tapes: how the layers of a network share one, and which pass it is of. */
#include "network/network.h"

/* What a tape begins with: the pass that it is of. */
typedef struct {
    const fastlstm_plan *plan;
    size_t T, B;
} head;

fl_tape_layer fl_take_tape(const fastlstm_plan *plan, const fl_layer *layer, size_t T, size_t B, fl_arena *arena) {
    const size_t rows = fl_times(T, B), row_bytes = fl_times((size_t)layer->hidden, plan->bytes);
    const int last = layer == &plan->layers[plan->layer_count - 1];
    fl_tape_layer own = {0};
    if (!last) own.y = fl_take(arena, fl_times(fl_times(rows, (size_t)layer->outputs), plan->bytes));
    for (int reverse = 0; reverse < layer->directions; reverse++) {
        fl_tape *tape = &own.direction[reverse];
        if (!layer->row->gates_are_y || layer->directions == 2)
            tape->gates = fl_take(arena, fl_times(fl_times(rows, (size_t)layer->cell.kept), row_bytes));
        if (layer->seen) tape->h0 = fl_take(arena, fl_times(B, row_bytes));
        if (layer->row->has_c || layer->row->c_is_y) tape->c = fl_take(arena, fl_times(fl_plus(rows, B), row_bytes));
    }
    return own;
}

fl_arena fl_begin_tape(const fastlstm_plan *plan, size_t T, size_t B, void *tape) {
    const head own = {plan, T, B};
    fl_arena arena = fl_arena_in(tape);
    memcpy(fl_take(&arena, sizeof(head)), &own, sizeof(head));
    return arena;
}

fl_tape_layer fl_find_tape(const fastlstm_plan *plan, size_t n, size_t T, size_t B, const void *tape) {
    fl_arena arena = fl_arena_in(tape);
    fl_take(&arena, sizeof(head));
    for (size_t k = 0; k < n; k++) fl_take_tape(plan, &plan->layers[k], T, B, &arena);
    return fl_take_tape(plan, &plan->layers[n], T, B, &arena);
}

int fl_is_tape_of(const fastlstm_plan *plan, size_t T, size_t B, const void *tape) {
    head own;
    memcpy(&own, fl_arena_in(tape).base, sizeof(head));
    return own.plan == plan && own.T == T && own.B == B;
}

size_t fastlstm_tape_bytes(const fastlstm_plan *plan, size_t T, size_t B) {
    fl_arena arena = {0};
    if (fl_check_plan(plan) || !plan->training || !fl_have_size(plan, T, B)) return 0;
    fl_take(&arena, sizeof(head));
    for (size_t n = 0; n < plan->layer_count; n++) fl_take_tape(plan, &plan->layers[n], T, B, &arena);
    return fl_arena_bytes(&arena);
}
