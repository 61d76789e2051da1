/* Back-propagation through time of a network. The loop over time is that of _engine/backward.pyx, for one thread. */
#include "network/network.h"
#include "system/float_mode.h"

/* Return the pass of a layer in one direction, without the call's arrays. */
static fl_backward_pass pass_of(const fastlstm_plan *plan, const fl_layer *layer, int reverse, size_t T, size_t B) {
    const fl_direction *d = &layer->direction[reverse];
    const fl_size GH = layer->cell.gates * layer->hidden, size = (fl_size)plan->bytes;
    fl_backward_pass b = {
        .k = plan->k,
        .step = plan->k->cells[layer->cell.kind].backward,
        .constant = {.cell = &layer->cell, .hidden = layer->hidden, .p = d->p, .norm = d->norm, .simple = 1},
        .between = {.a_step = GH, .panels = d->R_rows, .above_step = layer->outputs},
        .weights = {.k = plan->k,
                    .size = size,
                    .gates = layer->cell.gates,
                    .input = layer->input,
                    .hidden = layer->hidden,
                    .outputs = layer->seen,
                    .W_panels = d->W_rows,
                    .add_dx = reverse},
        .rows = fl_rows_of(layer, (fl_size)T, (fl_size)B),
        .reverse = reverse,
        .size = size,
        .cell_size = size,
        .gates = layer->cell.gates,
        .outputs = layer->hidden,
        .K = layer->seen,
        .block = plan->k->column_block,
        .block_rows = FL_ROWS_PER_BLOCK,
        .packed = 1,
        .given_panels = 1,
        .R_panels = d->R_rows,
        .dy_step = layer->outputs,
        .recomputes_y = layer->seen > 0};
    b.between.K = fl_rows_of_R(&b);
    if (fl_parts_of_R(&layer->cell) > 1) b.late_panels = fl_R_rows_from(plan->k, d, b.between.K, layer->seen, size);
    return b;
}

/* ---- memory ---- */

typedef struct {
    char *dy[2]; /* of layers that are not the last, in turns */
    char *dstate;
    fl_arena pass; /* of each pass */
} workspace;

static workspace lay_out(const fastlstm_plan *plan, size_t T, size_t B, fl_arena *arena) {
    workspace w;
    size_t most = 0;
    for (size_t n = 0; n < plan->layer_count; n++) {
        fl_arena one = {0};
        fl_backward_pass b = pass_of(plan, &plan->layers[n], 0, T, B);
        fl_lay_out_backward_pass(&b, &one);
        if (one.used > most) most = one.used;
    }
    for (int k = 0; k < 2; k++)
        w.dy[k] = fl_take(arena, fl_times(fl_times(T, B), fl_times(plan->between[k], plan->bytes)));
    w.dstate = fl_take(arena, fl_times(fastlstm_state_count(plan, B), plan->bytes));
    w.pass = (fl_arena){fl_take(arena, most), 0};
    return w;
}

void fl_lay_out_backward(const fastlstm_plan *plan, size_t T, size_t B, fl_arena *arena) { lay_out(plan, T, B, arena); }

/* ---- a layer in one direction ---- */

/* Run the steps of a block, and compute what their deltas give. */
static void run_block(fl_backward_pass *b, fl_span block) {
    const fl_size H = b->constant.hidden, s0 = fl_first_step(&b->rows, b->reverse, block),
                  s1 = s0 + block.t1 - block.t0;
    fl_begin_backward_block(b, block);
    b->s_end = s1;
    for (fl_size s = s1 - 1; s >= s0; s--) {
        const fl_size rows = fl_rows_at(&b->rows, fl_time(&b->rows, b->reverse, s)),
                      on = b->K ? fl_rows_going_on(b, s) : 0;
        fl_run_backward_rows(b, s, 0, on, 0, H, 0);
        fl_run_backward_rows(b, s, on, rows, 0, H, 1);
        fl_run_first_state(b, s, 0, rows, 0, 1);
    }
    fl_gather_backward_block(b, block);
    if (b->recomputes_y) fl_y_prev_part(b, 0, 1);
    for (int n = 0; n < b->part_count; n++) {
        fl_weight_gradients *w = &b->parts[n];
        fl_transpose_part(w, 0, 1);
        fl_add_products_part(w, 0, 1);
        w->begun = 1;
    }
    if (b->dp || b->dnorm) fl_p_gradient_part(b, 0, 1);
    fl_end_backward_block(b, block);
}

static void run(fl_backward_pass *b) {
    fl_start_backward_pass(b);
    for (fl_span left = {0, b->rows.T}; left.t0 < left.t1;)
        run_block(b, fl_next_block(&left, &b->rows, b->block_rows, !b->reverse));
    if (fl_sums_in_parts(b)) fl_add_totals(b->k, b->sums, FL_SUMS);
    for (int n = 0; n < b->part_count; n++)
        if (b->parts[n].begun) fl_unpack_weight_gradients_part(&b->parts[n], 0, 1);
}

/* ---- the network ---- */

fastlstm_status fastlstm_backward(const fastlstm_plan *plan, size_t T, size_t B, const void *x, const void *y,
                                  const void *tape, const void *dy, const void *dlast, void *dx, void *dfirst,
                                  void *gradients, int accumulate, void *space) {
    const fastlstm_status status = fl_check_plan(plan);
    if (status) return status;
    if (!x || !y || !tape || !dy || !gradients || !space) return FASTLSTM_NULL;
    if (!plan->has_parameters) return FASTLSTM_PARAMETERS;
    if (!plan->training) return FASTLSTM_TRAINING;
    if (!fl_have_size(plan, T, B)) return FASTLSTM_SIZE;
    if (!fl_is_tape_of(plan, T, B, tape)) return FASTLSTM_TAPE;
    fl_arena arena = fl_arena_in(space);
    const workspace w = lay_out(plan, T, B, &arena);
    if (fl_is_too_much(&arena)) return FASTLSTM_SIZE;
    const size_t state_bytes = fastlstm_state_count(plan, B) * plan->bytes;
    if (dlast)
        memcpy(w.dstate, dlast, state_bytes);
    else
        memset(w.dstate, 0, state_bytes);

    const fl_float_mode mode = fl_flush_denormals();
    fl_tape_layer tape_layer = fl_find_tape(plan, plan->layer_count - 1, T, B, tape);
    char *dstate = w.dstate + state_bytes;
    for (size_t n = plan->layer_count; n-- > 0;) {
        const fl_layer *layer = &plan->layers[n];
        const fl_tape_layer below = n ? fl_find_tape(plan, n - 1, T, B, tape) : (fl_tape_layer){0};
        const size_t h_bytes = B * (size_t)layer->seen * plan->bytes, bytes = B * fl_state_of(layer) * plan->bytes;
        const fl_size size = (fl_size)plan->bytes;
        dstate -= (size_t)layer->directions * bytes;
        char *from = dstate;
        for (int reverse = 0; reverse < layer->directions; reverse++) {
            const fl_direction *d = &layer->direction[reverse];
            const int last = n + 1 == plan->layer_count;
            fl_backward_pass b = pass_of(plan, layer, reverse, T, B);
            fl_arena memory = w.pass;
            b.x = n ? below.y : (const char *)x;
            b.tape = tape_layer.direction[reverse];
            if (!b.tape.gates) b.tape.gates = last ? (char *)y : tape_layer.y;
            b.dy = fl_at(last ? dy : w.dy[n % 2], reverse * layer->hidden, size);
            b.dx = n ? w.dy[(n - 1) % 2] : (char *)dx;
            b.dh = b.dh0 = layer->seen ? from : NULL;
            b.dc = layer->row->has_c ? from + h_bytes : NULL;
            b.constant.dc = (void *)b.dc;
            b.weights.dW = fl_at(gradients, d->at_W, size);
            b.weights.dR = fl_at(gradients, d->at_R, size);
            b.weights.db = fl_at(gradients, d->at_b, size);
            b.weights.accumulate = accumulate != 0;
            b.dp = d->p ? fl_at(gradients, d->at_p, size) : NULL;
            b.dnorm = d->norm ? fl_at(gradients, d->at_norm, size) : NULL;
            fl_lay_out_backward_pass(&b, &memory);
            run(&b);
            from += bytes;
        }
        tape_layer = below;
    }
    fl_restore_float_mode(mode);
    if (dfirst) memcpy(dfirst, w.dstate, state_bytes);
    return FASTLSTM_OK;
}
