/* The forward pass of a network, and its single step. The loop over time is that of _engine/forward.pyx, for one
 * thread. */
#include "network/network.h"
#include "system/float_mode.h"

/* Return the pass of a layer in one direction, without the call's arrays but for its part of a tape. */
static fl_forward_pass pass_of(const fastlstm_plan *plan, const fl_layer *layer, int reverse, size_t T, size_t B,
                               fl_tape tape) {
    const fl_direction *d = &layer->direction[reverse];
    fl_forward_pass f = {.k = plan->k,
                         .over_time = plan->k,
                         .step = plan->k->cells[layer->cell.kind].forward,
                         .constant = d->forward,
                         .rows = fl_rows_of(layer, (fl_size)T, (fl_size)B),
                         .reverse = reverse,
                         .size = (fl_size)plan->bytes,
                         .cell_size = (fl_size)plan->bytes,
                         .weight_size = (fl_size)plan->bytes,
                         .gates = layer->cell.gates,
                         .outputs = layer->hidden,
                         .taped = tape.gates != NULL,
                         .packed = 1,
                         .hoists_few = 1,
                         .direct = 1,
                         .tape = tape,
                         .block_rows = FL_ROWS_PER_BLOCK,
                         .W_panels = d->W_columns,
                         .R_panels = d->R_columns,
                         .y_step = layer->outputs};
    f.between.hidden = f.between.width = layer->hidden;
    f.s_end = f.rows.T;
    fl_plan_weights(&f);
    if (!layer->seen) f.hoists = 0; /* There is no R y to keep W x apart from. */
    return f;
}

/* ---- memory ---- */

typedef struct {
    char *y[2]; /* of layers that are not the last, in turns */
    char *state;
    fl_arena pass; /* of each pass */
} workspace;

static void lay_out_outputs(const fastlstm_plan *plan, size_t rows, fl_arena *arena, char *y[2]) {
    for (int k = 0; k < 2; k++)
        y[k] = plan->between[k] ? fl_take(arena, fl_times(rows, fl_times(plan->between[k], plan->bytes))) : NULL;
}

/* Return the most memory that a pass of any layer takes, over B sequences or fewer: where B are too many for a product
 * over many steps, fewer still have one. */
static size_t most_of_a_pass(const fastlstm_plan *plan, size_t T, size_t B) {
    size_t most = 0;
    for (size_t n = 0; n < plan->layer_count; n++) {
        const size_t few = B < FL_ROWS_TO_FOLD ? B : FL_ROWS_TO_FOLD - 1;
        for (size_t sequences = few;; sequences = B) {
            fl_arena one = {0};
            fl_forward_pass f = pass_of(plan, &plan->layers[n], 0, T, sequences, (fl_tape){0});
            fl_lay_out_forward_pass(&f, &one);
            if (one.used > most) most = one.used;
            f.taped = plan->training, one = (fl_arena){0};
            fl_lay_out_forward_pass(&f, &one);
            if (one.used > most) most = one.used;
            if (sequences == B) break;
        }
    }
    return most;
}

static workspace lay_out(const fastlstm_plan *plan, size_t T, size_t B, fl_arena *arena) {
    workspace w;
    lay_out_outputs(plan, fl_times(T, B), arena, w.y);
    w.state = fl_take(arena, fl_times(fastlstm_state_count(plan, B), plan->bytes));
    w.pass = (fl_arena){fl_take(arena, most_of_a_pass(plan, T, B)), 0};
    return w;
}

void fl_lay_out_forward(const fastlstm_plan *plan, size_t T, size_t B, fl_arena *arena) { lay_out(plan, T, B, arena); }

/* ---- a single step ---- */

/* The memory of a step: outputs of layers that are not the last, in turns; and that of a step of whole rows. */
typedef struct {
    char *y[2], *whole_rows;
} step_memory;

static step_memory lay_out_step(const fastlstm_plan *plan, size_t B, fl_arena *arena) {
    step_memory m;
    lay_out_outputs(plan, B, arena, m.y);
    m.whole_rows = plan->whole_rows ? fl_take(arena, fl_times(B, fl_times(plan->whole_rows, plan->bytes))) : NULL;
    return m;
}

/* Run a step of all layers, and change the state in place. Setting the floating-point mode waits for all that is under
 * way, which is a tenth of a small step; so a fast network leaves the mode to the caller. */
static void step_network(const fastlstm_plan *plan, fl_size B, const char *x, char *state, char *y,
                         const step_memory *memory) {
    const fl_size bytes = (fl_size)plan->bytes;
    fl_float_mode mode = 0;
    if (!plan->fast) mode = fl_flush_denormals();
    size_t n = 0;
    do {
        const fl_layer *layer = &plan->layers[n];
        const fl_size seen = B * layer->seen * bytes; /* the bytes of h, and of c */
        char *out = ++n == plan->layer_count ? y : memory->y[(n - 1) % 2];
        int reverse = 0;
        do {
            char *h = seen ? state : NULL, *c = layer->row->has_c ? state + seen : NULL;
            plan->k->step_in_place(&layer->direction[reverse].forward, x, h, c, out + reverse * layer->hidden * bytes,
                                   memory->whole_rows, B);
            state = c ? c + seen : state + seen;
        } while (++reverse < layer->directions);
        x = out;
    } while (n < plan->layer_count);
    if (!plan->fast) fl_restore_float_mode(mode);
}

fastlstm_status fastlstm_step(const fastlstm_plan *plan, size_t B, const void *x, void *state, void *y, void *space) {
    const fastlstm_status status = fl_check_plan(plan);
    if (status) return status;
    if (!x || (!state && plan->state) || !y || !space) return FASTLSTM_NULL;
    if (!plan->has_parameters) return FASTLSTM_PARAMETERS;
    if (B > plan->most_rows) return FASTLSTM_SIZE;
    step_memory memory = {{NULL, NULL}, NULL};
    if (plan->layer_count > 1 || plan->whole_rows) {
        fl_arena arena = fl_arena_in(space);
        memory = lay_out_step(plan, B, &arena);
        if (fl_is_too_much(&arena)) return FASTLSTM_SIZE;
    }
    step_network(plan, (fl_size)B, (const char *)x, (char *)state, (char *)y, &memory);
    return FASTLSTM_OK;
}

/* ---- a layer in one direction ---- */

static void run(fl_forward_pass *f) {
    const fl_size H = f->constant.hidden;
    const fl_share all = {0, f->rows.B, 0, H};
    fl_start_forward_pass(f);
    for (fl_span left = {0, f->rows.T}; left.t0 < left.t1;) {
        const fl_span block = fl_next_block(&left, &f->rows, f->hoists ? f->block_rows : 0, f->reverse);
        if (f->hoists) {
            fl_multiplication wx = fl_hoisted_product(f, block);
            fl_multiply(&wx, 0, 1);
        }
        fl_forward step = f->constant;
        const fl_size s0 = fl_first_step(&f->rows, f->reverse, block);
        for (fl_size s = s0; s < s0 + block.t1 - block.t0; s++) {
            fl_run_forward_step(f, &step, s, all);
            fl_hand_on(f, s, all, 0, H);
        }
    }
}

/* ---- the network ---- */

/* Run all layers, and change the state in place. `tape` is where the layers' parts of the tape lie, or NULL. */
static void run_network(const fastlstm_plan *plan, size_t T, size_t B, const char *x, char *state, char *y,
                        fl_arena *tape, const workspace *w) {
    const fl_float_mode mode = fl_flush_denormals();
    for (size_t n = 0; n < plan->layer_count; n++) {
        const fl_layer *layer = &plan->layers[n];
        const fl_tape_layer own = tape ? fl_take_tape(plan, layer, T, B, tape) : (fl_tape_layer){0};
        char *out = n + 1 == plan->layer_count ? y : own.y ? own.y : w->y[n % 2];
        for (int reverse = 0; reverse < layer->directions; reverse++) {
            const size_t h_bytes = B * (size_t)layer->seen * plan->bytes;
            fl_forward_pass f = pass_of(plan, layer, reverse, T, B, own.direction[reverse]);
            fl_arena memory = w->pass;
            f.x = x;
            f.y = fl_at(out, reverse * layer->hidden, (fl_size)plan->bytes);
            f.h0 = layer->seen ? state : x; /* A dense layer reads none, but NULL is not valid. */
            f.h_last = layer->seen ? state : NULL;
            f.c0 = f.c_last = layer->row->has_c ? state + h_bytes : NULL;
            fl_lay_out_forward_pass(&f, &memory);
            run(&f);
            state += B * fl_state_of(layer) * plan->bytes;
        }
        x = out;
    }
    fl_restore_float_mode(mode);
}

fastlstm_status fastlstm_forward(const fastlstm_plan *plan, size_t T, size_t B, const void *x, const void *first,
                                 void *y, void *last, void *tape, void *space) {
    const fastlstm_status status = fl_check_plan(plan);
    if (status) return status;
    if (!x || !y || !space) return FASTLSTM_NULL;
    if (!plan->has_parameters) return FASTLSTM_PARAMETERS;
    if (tape && !plan->training) return FASTLSTM_TRAINING;
    if (!fl_have_size(plan, T, B) || (tape && !fastlstm_tape_bytes(plan, T, B))) return FASTLSTM_SIZE;
    fl_arena arena = fl_arena_in(space);
    const workspace w = lay_out(plan, T, B, &arena);
    if (fl_is_too_much(&arena)) return FASTLSTM_SIZE;
    const size_t state_bytes = fastlstm_state_count(plan, B) * plan->bytes;
    if (first)
        memcpy(w.state, first, state_bytes);
    else
        memset(w.state, 0, state_bytes);
    fl_arena layers = tape ? fl_begin_tape(plan, T, B, tape) : (fl_arena){0};
    run_network(plan, T, B, (const char *)x, w.state, (char *)y, tape ? &layers : NULL, &w);
    if (last) memcpy(last, w.state, state_bytes);
    return FASTLSTM_OK;
}
