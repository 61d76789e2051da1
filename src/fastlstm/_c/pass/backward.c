#include "pass/backward.h"

#include <string.h>

#include "pass/places.h"

/* Vectors of extra columns for each vector of hidden units. */
static int extra_of(const fl_backward_pass *b) { return fl_row_of_cell(b->constant.cell->kind)->extra; }

/* ---- memory ---- */

static void lay_out_sums(fl_backward_pass *b, fl_arena *arena) {
    const fl_size H = b->constant.hidden;
    int count = 0;
    memset(b->sums, 0, sizeof(b->sums));
    for (int n = 0; n < b->part_count; n++) {
        const fl_weight_gradients *w = &b->parts[n];
        const fl_size columns = fl_columns_of_sums(w);
        b->sums[count++] = (fl_sum){w->dW_sum, NULL, w->input * columns};
        b->sums[count++] = (fl_sum){w->dR_sum, NULL, b->K * columns};
        b->sums[count++] = (fl_sum){w->db, NULL, w->gates * w->hidden};
    }
    b->sums[count++] = (fl_sum){b->dp, NULL, values_of_p(b)};
    b->sums[count++] = (fl_sum){b->dnorm, NULL, values_of_norm(b)};
    b->sums[count++] = (fl_sum){b->dproj, NULL, b->proj ? b->outputs * H : 0};
    for (int n = 0; n < count; n++) b->sums[n].total = fl_take_array(arena, b->sums[n].values, 1, b->size);
}

/* Describe the parts of the weights' gradients. A step of whole rows leaves its deltas to be packed after it. */
static void divide_weights(fl_backward_pass *b) {
    const fl_cell *cell = b->constant.cell;
    const fl_weight_gradients *all = &b->weights;
    const fl_size H = b->constant.hidden;
    b->part_count = fl_parts_of_R(cell);
    for (int n = 0; n < b->part_count; n++) {
        const fl_blocks blocks = fl_blocks_of_product(cell, n);
        const fl_size row = blocks.first * H;
        fl_weight_gradients *part = &b->parts[n];
        *part = *all;
        part->delta_step = b->gates * H;
        if (!fl_has_whole_rows(cell)) continue;
        part->gates = 1, part->hidden = blocks.count * H, part->packs_deltas = all->k->packs;
        part->dW = fl_at(all->dW, row * all->input, b->size);
        part->dR = fl_at(all->dR, row * all->outputs, b->size);
        part->db = fl_at(all->db, row, b->size);
    }
}

void fl_lay_out_backward_pass(fl_backward_pass *b, fl_arena *arena) {
    const fl_size H = b->constant.hidden, B = b->rows.B, rows = fl_block_rows(&b->rows, b->block_rows),
                  values = b->gates * H;
    const fl_cell_row *row = fl_row_of_cell(b->constant.cell->kind);
    const int vectors = fl_vectors(b->k);
    divide_weights(b);
    b->delta = b->with_deltas ? b->delta_all : fl_take_array(arena, rows, values, b->size);
    if (row->own_R_deltas) b->delta_R = fl_take_array(arena, rows, values, b->size);
    if (values_of_norm(b)) {
        b->delta_W = fl_take_array(arena, rows, values, b->size);
        b->norm_deltas = fl_take_array(arena, rows, values_of_norm(b), b->size);
    }
    if (row->c_is_y) {
        b->constant.dc = fl_take_array(arena, B, H, b->cell_size);
        b->between.through_c = b->constant.dc;
    }
    b->delta_before = fl_take_array(arena, b->K ? B : 0, values, b->size);
    if (!b->k->packs || row->products)
        b->constant.sent = fl_take_array(arena, B, fl_larger(values, H + b->K - b->outputs), b->cell_size);
    if (!b->given_panels)
        b->R_panels = fl_take_array(arena, fl_row_panels(b->k, vectors, fl_rows_of_R(b), b->outputs), 1, b->size);
    if (row->products > 1) {
        if (!b->given_panels)
            b->late_panels = fl_take_array(arena, fl_row_panels(b->k, vectors, H, b->outputs), 1, b->size);
        b->r_y = fl_take_array(arena, rows, H, b->size);
        b->beside = fl_take_array(arena, B, H, b->cell_size);
        b->constant.R_panels = b->late_panels;
        b->constant.beside = b->beside;
    }
    if (b->K > b->outputs)
        b->extra_panels = fl_take_array(arena, fl_row_panels(b->k, extra_of(b), values, b->K - b->outputs), 1, b->size);
    if (b->proj) {
        b->proj_panels = fl_take_array(arena, fl_row_panels(b->k, vectors, b->outputs, H), 1, b->size);
        b->m_panels = fl_take_array(arena, fl_row_panels(b->k, vectors, rows, H), 1, b->size);
        b->dy_space = fl_take_array(arena, rows, b->outputs, b->size);
    }
    if (b->zone_y) b->zoned = fl_take_array(arena, B, b->outputs, b->cell_size);
    if (b->recomputes_y) b->y_prev = fl_take_array(arena, rows, b->outputs, b->size);
    for (int n = 0; n < b->part_count; n++) {
        b->parts[n].delta_panels = NULL;
        if ((b->given_panels || row->products || fl_many_rows(&b->rows)) && !b->k->device)
            fl_lay_out_weight_gradients(&b->parts[n], rows, !b->given_panels && n == 0, row->own_R_deltas, arena);
    }
    if (fl_sums_in_parts(b)) lay_out_sums(b, arena);
    if (b->again) fl_lay_out_forward_pass(b->again, arena);
}

/* ---- where things are ---- */

/* The deltas of a step of this block. */
static char *delta_of(const fl_backward_pass *b, fl_size s) {
    const fl_size values = b->gates * b->constant.hidden;
    return b->delta + (fl_first_row(&b->rows, time_of(b, s)) - (b->delta_all ? 0 : b->delta_row)) * values * b->size;
}

/* Return whether the steps of a block leave the deltas of R y^{t-1} to be kept for the next block. */
static int keeps_delta_before(const fl_backward_pass *b) { return b->K && (b->delta_R || !b->delta_all); }

/* The deltas of R y^{t-1} of a step of this block, or of the step that ran before it. */
static char *delta_R_of(const fl_backward_pass *b, fl_size s) {
    const fl_size values = b->gates * b->constant.hidden;
    if (s == b->s_end && keeps_delta_before(b)) return b->delta_before;
    if (!b->delta_R) return delta_of(b, s);
    return b->delta_R + (fl_first_row(&b->rows, time_of(b, s)) - b->delta_row) * values * b->size;
}

static const unsigned char *reset_at(const fl_backward_pass *b, fl_size t) {
    return (const unsigned char *)fl_at(b->reset, fl_first_row(&b->rows, t), 1);
}

fl_size fl_rows_going_on(const fl_backward_pass *b, fl_size s) {
    const fl_size next = s + 1 < b->rows.T ? fl_rows_at(&b->rows, time_of(b, s + 1)) : 0;
    return fl_smaller(fl_rows_at(&b->rows, time_of(b, s)), next);
}

/* ---- a step ---- */

/* What makes up dy^t, for the rows that end with this step, or for those that go on. */
static fl_y_gradient gradient_of_y(const fl_backward_pass *b, fl_size s, int last) {
    const fl_size row = fl_first_row(&b->rows, time_of(b, s));
    fl_y_gradient g = b->between;
    g.above = fl_at(b->dy, row * b->dy_step, b->size);
    g.zone = fl_at(b->zone_y, row * b->outputs, b->size);
    g.zoned = b->zoned;
    g.all = fl_at(b->dy_all, row * b->outputs, b->size);
    if (last) {
        g.a = NULL;
        g.reset = NULL;
        g.mask = NULL;
        g.last = b->dh;
    } else {
        g.a = delta_R_of(b, s + 1);
        g.beside = b->beside;
        g.reset = reset_at(b, time_of(b, s + 1));
    }
    return g;
}

fl_size fl_run_backward_rows(const fl_backward_pass *b, fl_size s, fl_size row0, fl_size row1, fl_size unit0,
                             fl_size unit1, int last) {
    if (row0 >= row1) return 0;
    const fl_size t = time_of(b, s), row = fl_first_row(&b->rows, t), H = b->constant.hidden,
                  work = (row1 - row0) * b->unit_work;
    fl_backward step = b->constant;
    if (b->proj) {
        step.y.a = b->dy_space + (row - b->delta_row) * b->outputs * b->size;
        step.y.K = step.y.a_step = b->outputs;
        step.y.panels = b->proj_panels;
    } else {
        step.y = gradient_of_y(b, s, last);
    }
    if (last) {
        step.d_extra_last = b->d_extra;
    } else {
        step.delta_next = delta_R_of(b, s + 1);
        step.reset = reset_at(b, time_of(b, s + 1));
        if (b->recomputes_y && s + 1 < b->s_end) step.y_again = y_prev_of(b, s + 1);
    }
    step.gates = b->tape.gates + (row - b->tape.row) * step.cell->kept * H * b->size;
    step.c = c_of(b, t);
    step.c_prev = c_prev_of(b, t);
    step.dc_above = fl_at(b->dc_above, row * H, b->cell_size);
    step.zone_c = fl_at(b->zone_c, row * H, b->size);
    step.dc_all = fl_at(b->dc_all, row * H, b->cell_size);
    step.delta = delta_of(b, s);
    if (b->delta_R) step.delta_R = delta_R_of(b, s);
    if (b->norm_deltas) {
        step.delta_W = b->delta_W + (row - b->delta_row) * b->gates * H * b->size;
        step.norm_deltas = b->norm_deltas + (row - b->delta_row) * values_of_norm(b) * b->size;
    }
    if (b->parts[0].delta_panels && !b->parts[0].packs_deltas) {
        const fl_size at = (row - b->delta_row) * fl_panel_columns(b->k, b->gates) * b->size;
        step.delta_panels = b->parts[0].delta_panels + at;
        step.delta_R_panels = b->parts[0].delta_R_panels + at;
    }
    if (b->r_y) {
        step.r_y = b->r_y + (row - b->delta_row) * H * b->size;
        step.y_prev = fl_at(b->tape.y_prev, (row - b->tape.row) * b->K, b->size);
    }
    if (fl_has_whole_rows(step.cell) || !b->k->packs) {
        const fl_size rows = b->k->packs ? 1 : FL_ROWS_OF_A_PIECE;
        for (fl_size first = row0, end; first < row1; first = end) {
            end = fl_piece_end(first, row1, rows, b->unit_work * H);
            b->step(&step, first, end, 0, H);
            if (end < row1 && fl_asked_to_stop(b->stopped)) break;
        }
        return work * H;
    }
    for (fl_size unit = unit0, unit_end; unit < unit1; unit = unit_end) {
        unit_end = fl_piece_end(unit, unit1, b->block, work);
        b->step(&step, row0, row1, unit, unit_end);
        if (unit_end < unit1 && fl_asked_to_stop(b->stopped)) break;
    }
    return work * (unit1 - unit0);
}

void fl_run_dy(const fl_backward_pass *b, fl_size s, fl_size row0, fl_size row1, fl_size column0, fl_size column1,
               int last) {
    if (row0 >= row1) return;
    const fl_y_gradient g = gradient_of_y(b, s, last);
    const fl_size row = fl_first_row(&b->rows, time_of(b, s)) - b->delta_row;
    b->k->y_gradient(&g, b->dy_space + row * b->outputs * b->size, b->outputs, row0, row1, column0, column1);
}

/* ---- the initial state ---- */

/* The gradient of the initial extra columns, for rows that begin with step s; `reset` says which are reset to zero. */
static void run_first_extra(const fl_backward_pass *b, fl_size s, const unsigned char *reset, fl_size row0,
                            fl_size row1, int part, int parts) {
    const fl_size values = b->gates * b->constant.hidden, count = b->K - b->outputs;
    const fl_size block = extra_of(b) * b->k->unit_block;
    const fl_size column0 = fl_border(count, block, part, parts), column1 = fl_border(count, block, part + 1, parts);
    const fl_product product = {.columns = count,
                                .K = values,
                                .a = delta_R_of(b, s),
                                .a_row_step = values,
                                .a_k_step = 1,
                                .panels = b->extra_panels,
                                .vectors = extra_of(b),
                                .gates = 1,
                                .c = b->d_extra0,
                                .c_row_step = count};
    fl_multiply_pieces(b->k, &product, b->stopped, row0, row1, column0, column1);
    if (reset)
        b->k->clear(b->d_extra0 + (row0 * count + column0) * b->size, count * b->size, (column1 - column0) * b->size,
                    row1 - row0, reset + row0);
}

void fl_run_first_state(const fl_backward_pass *b, fl_size s, fl_size row0, fl_size row1, int part, int parts) {
    const fl_size t = time_of(b, s), bytes = b->constant.hidden * b->cell_size, block = b->k->column_block;
    row0 = fl_larger(row0, s ? fl_rows_at(&b->rows, time_of(b, s - 1)) : 0);
    row1 = fl_smaller(row1, fl_rows_at(&b->rows, t));
    if (row0 >= row1 || !b->packed || !b->dh0) return;
    /* Reset to the initial state, the state is that in any case. */
    const unsigned char *reset = b->reset_to_zero ? reset_at(b, t) : NULL;
    fl_y_gradient g = b->between;
    g.a = delta_R_of(b, s);
    g.beside = b->beside;
    g.reset = reset;
    g.to_first = NULL;
    g.zoned = b->zoned;
    b->k->y_gradient(&g, b->dh0, b->outputs, row0, row1, fl_border(b->outputs, block, part, parts),
                     fl_border(b->outputs, block, part + 1, parts));
    if (part == 0 && reset && b->constant.dc && !g.through_c)
        b->k->clear((char *)b->constant.dc + row0 * bytes, bytes, bytes, row1 - row0, reset + row0);
    if (b->d_extra0) run_first_extra(b, s, reset, row0, row1, part, parts);
}

/* ---- a block of steps ---- */

void fl_begin_backward_block(fl_backward_pass *b, fl_span block) {
    const fl_size row = fl_first_row(&b->rows, block.t0);
    const fl_size rows = fl_first_row(&b->rows, block.t1) - row;
    for (int n = 0; n < b->part_count; n++) b->parts[n].rows = rows;
    b->constant.panel_step = rows * fl_panel_columns(b->k, b->gates);
    b->delta_row = row;
    fl_divide_rows(&b->division, &b->rows, block);
}

void fl_gather_backward_block(fl_backward_pass *b, fl_span block) {
    const fl_size row = b->delta_row, values = b->gates * b->constant.hidden;
    b->s0 = fl_first_step(&b->rows, b->reverse, block);
    b->s1 = b->s0 + block.t1 - block.t0;
    const char *delta = b->delta_all ? b->delta_all + row * values * b->size : b->delta;
    for (int n = 0; n < b->part_count; n++) {
        fl_weight_gradients *w = &b->parts[n];
        const fl_size first = fl_blocks_of_product(b->constant.cell, n).first * b->constant.hidden;
        w->delta = delta + first * b->size;
        w->delta_R = b->delta_R ? b->delta_R : w->delta;
        w->delta_W = b->delta_W ? b->delta_W : w->delta;
        w->x = b->x + row * w->input * b->size;
        if (n > 0)
            w->y_prev = b->r_y;
        else
            w->y_prev = b->recomputes_y ? b->y_prev : fl_at(b->tape.y_prev, (row - b->tape.row) * b->K, b->size);
        w->dx = n > 0 ? NULL : fl_at(b->dx, row * w->input, b->size);
    }
}

/* These values, or zeros where they are NULL. */
static void start_with(const fl_backward_pass *b, char *to, const char *values, fl_size count, fl_size size) {
    if (!to || to == values) return;
    if (values)
        b->k->copy(to, 0, values, 0, count * size, 0, 1);
    else
        b->k->clear(to, 0, count * size, 1, NULL);
}

void fl_end_backward_block(fl_backward_pass *b, fl_span block) {
    const fl_size s0 = fl_first_step(&b->rows, b->reverse, block), values = b->gates * b->constant.hidden;
    b->in_part += b->parts[0].rows;
    if (fl_sums_in_parts(b) && b->in_part >= FL_ROWS_PER_PART) {
        fl_add_parts(b->k, b->sums, FL_SUMS, b->size);
        b->in_part = 0;
    }
    if (keeps_delta_before(b))
        start_with(b, b->delta_before, delta_R_of(b, s0), fl_rows_at(&b->rows, time_of(b, s0)) * values, b->size);
}

/* ---- the pass ---- */

void fl_divide_backward_pass(fl_backward_pass *b, int num_threads) {
    const fl_size values = b->gates * b->constant.hidden;
    /* A device or a library has threads of its own. */
    fl_divide(&b->division, &b->rows, b->constant.hidden, b->k->column_block, fl_has_whole_rows(b->constant.cell),
              values * b->K, b->size, b->k->packs ? num_threads : 1);
    b->unit_work = b->k->device ? 0 : values;
}

void fl_start_backward_pass(fl_backward_pass *b) {
    const fl_size H = b->constant.hidden, P = b->outputs, B = b->rows.B;
    if (!b->weights.accumulate) {
        start_with(b, b->dp, NULL, values_of_p(b), b->size);
        start_with(b, b->dnorm, NULL, values_of_norm(b), b->size);
        start_with(b, b->dproj, NULL, P * H, b->size);
    }
    start_with(b, (char *)b->constant.dc, b->dc, B * H, b->cell_size);
    /* In rows without a step, what arrives goes on; all others are written later. */
    start_with(b, b->dh0, b->dh, B * P, b->size);
    start_with(b, b->d_extra0, b->d_extra, B * (b->K - P), b->size);
    start_with(b, b->zoned, NULL, B * P, b->cell_size);
    b->in_part = 0;
    for (int n = 0; n < b->part_count; n++)
        fl_clear_weight_gradients(&b->parts[n], fl_block_rows(&b->rows, b->block_rows), b->rows.count);
    start_with(b, b->beside, NULL, B * H, b->cell_size);
    if (fl_sums_in_parts(b)) fl_start_totals(b->k, b->sums, FL_SUMS, b->size);
}
