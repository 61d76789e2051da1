#include "pass/forward.h"

/* ---- decisions ---- */

void fl_plan_weights(fl_forward_pass *f) {
    const fl_rows *r = &f->rows;
    const fl_size rows_of_weights = f->gates * f->constant.hidden * f->weight_size;
    const fl_size R_bytes = rows_of_weights * f->constant.outputs, W_bytes = rows_of_weights * f->constant.input;
    if (!f->k->packs) {
        f->hoists = 1, f->packs = f->packs_W = 0;
        return;
    }
    f->hoists = R_bytes + W_bytes > FL_CACHED;
    if (!r->invariant) {
        const fl_cell *cell = f->constant.cell; /* Is W x^t part of the sum that R y^{t-1} goes to? */
        const int one_sum = !fl_has_whole_rows(cell) && !fl_row_of_cell(cell->kind)->own_R_deltas;
        const int few = r->count < FL_ROWS_TO_FOLD * r->T && !(one_sum && f->constant.input <= FL_INPUTS_TO_FOLD);
        f->hoists = (f->hoists_few || fl_many_rows(r)) && r->T > 1 && (f->hoists || few);
    }
    /* A single row is bound by reading R, packed or not, and few rows by packing W, which reads it once more. */
    const int one_row = r->B == 1 && R_bytes >= FL_R_FOR_ONE_ROW;
    f->packs = f->packed || r->invariant ||
               (fl_many_rows(r) && (!one_row || r->count * FL_INPUTS_TO_PACK >= f->constant.outputs));
    f->packs_W = f->packed || r->invariant ||
                 (f->over_time->packs && r->count * FL_INPUTS_TO_PACK >= f->constant.input);
}

/* Return the values of R as panels, before those of a product of a step. */
static fl_size R_panels_before(const fl_forward_pass *f, int product) {
    const fl_size H = f->constant.hidden, gates = fl_gates_of_panel(f->constant.cell);
    fl_size values = 0;
    for (int n = 0; n < product; n++) {
        const fl_size rows = fl_blocks_of_product(f->constant.cell, n).count * H;
        values += fl_column_panels(f->k, gates, rows / gates, f->constant.outputs);
    }
    return values;
}

fl_size fl_R_panels(const fl_forward_pass *f) { return R_panels_before(f, fl_parts_of_R(f->constant.cell)); }

fl_packing fl_R_to_pack(const fl_forward_pass *f, int product) {
    const fl_size H = f->constant.hidden, K = f->constant.outputs, gates = fl_gates_of_panel(f->constant.cell);
    const fl_blocks blocks = fl_blocks_of_product(f->constant.cell, product);
    return fl_columns_to_pack(f->k, f->R_panels + R_panels_before(f, product) * f->size, gates,
                              blocks.count * H / gates, (const char *)f->constant.R + blocks.first * H * K * f->size,
                              K);
}

void fl_lay_out_forward_pass(fl_forward_pass *f, fl_arena *arena) {
    const fl_size H = f->constant.hidden, I = f->constant.input, K = f->constant.outputs, B = f->rows.B;
    const fl_cell_row *row = fl_row_of_cell(f->constant.cell->kind);
    if (!f->packed) {
        const fl_size gates = fl_gates_side_by_side(f), columns = f->gates * H / gates;
        f->W_panels = f->R_panels = NULL;
        if (f->hoists && !f->packs_W)
            f->W_panels = (char *)f->constant.W;
        else if (f->packs || f->hoists)
            f->W_panels = fl_take_array(arena, fl_column_panels(f->k, gates, columns, I), 1, f->size);
        if (f->packs) f->R_panels = fl_take_array(arena, fl_R_panels(f), 1, f->size);
    }
    if (f->hoists) {
        f->wx_space = NULL;
        const int in_gates = f->taped && f->cell_size == f->size && f->constant.cell->kept == f->gates;
        if (!in_gates) /* else it is where the gates will be */
            f->wx_space = fl_take_array(arena, fl_block_rows(&f->rows, f->block_rows), f->gates * H, f->cell_size);
    }
    if (f->proj) {
        f->proj_panels = NULL;
        if (!f->k->packs)
            f->proj_panels = (char *)f->proj;
        else if (fl_many_rows(&f->rows))
            f->proj_panels = fl_take_array(arena, fl_column_panels(f->k, 1, f->outputs, H), 1, f->size);
        f->m_space = f->taped ? NULL : fl_take_array(arena, B, H, f->size);
    }
    if (!f->y_on_tape && !f->direct) f->pong = fl_take_array(arena, 2 * B, K, f->size);
    if (!f->taped && !f->direct) f->c_space = fl_take_array(arena, B, H, f->cell_size);
    if (fl_keeps_y_as_c(f)) f->c_last = fl_take_array(arena, B, H, f->cell_size);
    if (row->products) {
        f->constant.space_step = FL_MOST_SPACE * H;
        f->constant.space = fl_take_array(arena, B, f->constant.space_step, f->cell_size);
    }
    if (!f->k->packs && row->own_R_deltas) f->constant.Ry = fl_take_array(arena, B, f->gates * H, f->cell_size);
    if (f->again) {
        const fl_size rows = fl_block_rows(&f->rows, f->segment);
        f->tape.gates = fl_take_array(arena, rows, f->constant.cell->kept * H, f->size);
        f->tape.y_prev = fl_take_array(arena, rows, K, f->size);
        f->tape.m = f->proj ? fl_take_array(arena, rows, H, f->size) : NULL;
        if (row->has_c || row->c_is_y) {
            f->tape.c = fl_take_array(arena, B + rows, H, f->cell_size);
            if (row->has_c) f->c_last = fl_take_array(arena, B, H, f->cell_size);
            f->tape.c_prev = f->reset || f->zone_c ? fl_take_array(arena, rows, H, f->cell_size) : NULL;
        }
        f->y = fl_take_array(arena, 2 * B, f->outputs, f->size);
        f->y_step = f->outputs;
    }
}

void fl_divide_forward_pass(fl_forward_pass *f, int num_threads) {
    f->unit_work = f->gates * (f->constant.outputs + (f->hoists ? 0 : f->constant.input));
    /* A device or a library has threads of its own. */
    fl_divide(&f->division, &f->rows, f->constant.hidden, f->block, fl_has_whole_rows(f->constant.cell),
              f->constant.hidden * f->unit_work, f->size, f->k->packs ? num_threads : 1);
    if (f->k->device) f->unit_work = 0;
}

fl_multiplication fl_hoisted_product(fl_forward_pass *f, fl_span block) {
    const fl_size I = f->constant.input, columns = f->gates * f->constant.hidden, gates = fl_gates_side_by_side(f);
    f->wx_row = fl_first_row(&f->rows, block.t0);
    f->wx = f->wx_space ? f->wx_space : fl_at(f->tape.gates, (f->wx_row - f->tape.row) * columns, f->size);
    const fl_product product = {.columns = columns / gates,
                                .K = I,
                                .a = fl_at(f->x, f->wx_row * I, f->size),
                                .a_row_step = I,
                                .a_k_step = 1,
                                .panels = f->W_panels,
                                .vectors = f->packs_W ? fl_vectors(f->over_time) : 0,
                                .gates = gates,
                                .format = f->constant.format,
                                .c = (void *)f->wx,
                                .c_row_step = columns,
                                .sums = 1};
    return (fl_multiplication){f->over_time, product, fl_first_row(&f->rows, block.t1) - f->wx_row, f->stopped};
}

/* ---- where things are ---- */

static fl_size time_of(const fl_forward_pass *f, fl_size s) { return fl_time(&f->rows, f->reverse, s); }

/* Where step s writes c, and where it reads it. */
static char *c_of(const fl_forward_pass *f, fl_size s) {
    if (!f->tape.c) return f->zone_c ? f->c_space : f->c_last;
    return fl_c_on_tape(&f->tape, &f->rows, f->reverse, time_of(f, s), f->constant.hidden * f->cell_size);
}
static char *c_prev_of(const fl_forward_pass *f, fl_size s) {
    if (!f->tape.c) return f->c_last;
    return fl_c_prev_on_tape(&f->tape, &f->rows, f->reverse, time_of(f, s), f->constant.hidden * f->cell_size);
}

/* Where step s reads y, unless directly where the step before has written it for the caller. */
static char *y_prev_of(const fl_forward_pass *f, fl_size s) {
    const fl_size K = f->constant.outputs;
    if (f->tape.y_prev) return f->tape.y_prev + (fl_first_row(&f->rows, time_of(f, s)) - f->tape.row) * K * f->size;
    return f->pong + s % 2 * f->rows.B * K * f->size;
}

/* Run again, where the next step finds it. */
char *fl_y_of(const fl_forward_pass *f, fl_size s) {
    const fl_size row = f->again ? s % 2 * f->rows.B : fl_first_row(&f->rows, time_of(f, s));
    return f->y + row * f->y_step * f->size;
}

char *fl_m_of(const fl_forward_pass *f, fl_size s) {
    if (!f->tape.m) return f->m_space;
    return f->tape.m + (fl_first_row(&f->rows, time_of(f, s)) - f->tape.row) * f->constant.hidden * f->size;
}

/* The rows of step s that have another step, among those to run. */
static fl_size rows_kept(const fl_forward_pass *f, fl_size s) {
    const fl_size next = s + 1 < f->s_end ? fl_rows_at(&f->rows, time_of(f, s + 1)) : 0;
    return fl_smaller(fl_rows_at(&f->rows, time_of(f, s)), next);
}

/* ---- a step ---- */

/* Return whether all that changes from step to step is where x, W x and y lie: also where y is all that a tape has. */
static int is_steady(const fl_forward_pass *f) {
    return f->direct && !f->taped && !f->proj && !f->rows.offsets && f->rows.count == f->rows.T * f->rows.B;
}

/* Move the arguments of a step on to those of the next one. */
static void move_on(const fl_forward_pass *f, fl_forward *step) {
    const fl_size rows = f->reverse ? -f->rows.B : f->rows.B;
    step->x = fl_at(step->x, rows * step->input, f->size);
    step->wx = fl_at(step->wx, rows * f->gates * f->constant.hidden, f->cell_size);
    step->y_prev = step->y_copy;
    step->y_prev_step = f->y_step;
    step->y_copy = fl_at(step->y_copy, rows * f->y_step, f->size);
    step->from_end = !step->from_end;
}

/* Set the arguments of step s. */
static void set_up_step(const fl_forward_pass *f, fl_forward *step, fl_size s) {
    const fl_size t = time_of(f, s), row = fl_first_row(&f->rows, t), H = f->constant.hidden;
    if (f->hoists)
        step->wx = fl_at(f->wx, (row - f->wx_row) * f->gates * H, f->cell_size);
    else
        step->x = fl_at(f->x, row * step->input, f->size);
    step->gates = fl_at(f->tape.gates, (row - f->tape.row) * step->cell->kept * H, f->size);
    step->c = c_of(f, s);
    step->c_prev = c_prev_of(f, s);
    if (f->direct) {
        step->y_prev = s ? fl_y_of(f, s - 1) : f->h0;
        step->y_prev_step = s ? f->y_step : step->outputs;
    } else {
        step->y_prev = y_prev_of(f, s);
        step->y_prev_step = step->outputs;
    }
    step->from_end = s % 2;
    step->keep = rows_kept(f, s);
    step->y = step->extra_seen = NULL;
    if (step->keep && !f->direct) {
        char *seen = y_prev_of(f, s + 1);
        step->y = f->between.y_is_there ? seen : NULL;
        step->y_step = step->outputs;
        if (step->outputs > f->outputs) step->extra_seen = seen + f->outputs * f->size;
    }
    step->extra_last = f->extra_last;
    step->y_copy = f->proj ? fl_m_of(f, s) : fl_y_of(f, s);
    step->y_copy_step = f->proj ? H : f->y_step;
}

fl_size fl_run_forward_step(const fl_forward_pass *f, fl_forward *step, fl_size s, fl_share own) {
    const int moves_on = step->y_copy && is_steady(f);
    const fl_size H = f->constant.hidden, rows = moves_on ? f->rows.B : fl_rows_at(&f->rows, time_of(f, s));
    const fl_size end = fl_smaller(own.row1, rows), work = (end - own.row0) * f->unit_work;
    if (own.row0 >= end) return 0;
    if (moves_on)
        move_on(f, step);
    else
        set_up_step(f, step, s);
    if (fl_has_whole_rows(step->cell) || !f->k->packs) {
        const fl_size block = f->k->packs ? 1 : FL_ROWS_OF_A_PIECE;
        for (fl_size first = own.row0, last; first < end; first = last) {
            last = fl_piece_end(first, end, block, f->unit_work * H);
            f->step(step, first, last, 0, H);
            if (last < end && fl_asked_to_stop(f->stopped)) break;
        }
        return work * H;
    }
    for (fl_size unit = own.unit0, unit_end; unit < own.unit1; unit = unit_end) {
        unit_end = fl_piece_end(unit, own.unit1, f->block, work);
        f->step(step, own.row0, end, unit, unit_end);
        if (unit_end < own.unit1 && fl_asked_to_stop(f->stopped)) break;
    }
    return work * (own.unit1 - own.unit0);
}

/* ---- between steps ---- */

/* Copies columns of rows, of arrays that have a row every so many values, of `size` bytes. */
static void copy_columns(const fl_forward_pass *f, char *to, fl_size to_step, const char *from, fl_size from_step,
                         fl_size row0, fl_size row1, fl_size column0, fl_size column1, fl_size size) {
    if (to == from) return;
    f->k->copy(to + column0 * size, to_step * size, from + column0 * size, from_step * size, (column1 - column0) * size,
               row0, row1);
}

void fl_hand_on(const fl_forward_pass *f, fl_size s, fl_share own, fl_size column0, fl_size column1) {
    /* Where the next step has the same rows, it reads what this one has written. */
    if (!f->carries && !f->rows.offsets && s + 1 < f->s_end) return;
    const fl_size t = time_of(f, s), row = fl_first_row(&f->rows, t), H = f->constant.hidden;
    const fl_size end = fl_smaller(own.row1, fl_rows_at(&f->rows, t)), keep = rows_kept(f, s);
    char *y = fl_y_of(f, s);
    if (own.row0 >= end) return;
    if (f->carries) {
        fl_carry between = f->between;
        between.keep = keep;
        between.y = y;
        between.y_step = f->y_step;
        between.reset_before = (const unsigned char *)fl_at(f->reset, row, 1);
        between.zone_y = fl_at(f->zone_y, row * f->outputs, f->size);
        between.zone_c = fl_at(f->zone_c, row * H, f->size);
        if (s) {
            between.before = fl_smaller(fl_rows_at(&f->rows, t), fl_rows_at(&f->rows, time_of(f, s - 1)));
            between.y_before = fl_y_of(f, s - 1);
            between.y_before_step = f->y_step;
        }
        if (f->tape.c_prev || f->c_space) {
            between.c = c_of(f, s);
            between.c_prev = c_prev_of(f, s);
            between.c_last = between.c_seen = f->c_last;
        }
        if (keep) {
            between.reset = (const unsigned char *)fl_at(f->reset, fl_first_row(&f->rows, time_of(f, s + 1)), 1);
            between.y_seen = y_prev_of(f, s + 1);
            if (f->tape.c_prev) between.c_seen = c_prev_of(f, s + 1);
        }
        f->k->carry(&between, own.row0, end, column0, column1, own.unit0, own.unit1);
    }
    const fl_size first_to_end = fl_larger(own.row0, keep);
    if (!f->h_last || first_to_end >= end) return;
    copy_columns(f, f->h_last, f->outputs, y, f->y_step, first_to_end, end, column0, column1, f->size);
    if (f->tape.c && !f->tape.c_prev)
        copy_columns(f, f->c_last, H, c_of(f, s), H, first_to_end, end, own.unit0, own.unit1, f->cell_size);
}

/* The state before step s of the rows that begin there. */
static void start_rows(const fl_forward_pass *f, fl_size s) {
    const fl_size t = time_of(f, s), row0 = s ? fl_rows_at(&f->rows, time_of(f, s - 1)) : 0,
                  row1 = fl_rows_at(&f->rows, t);
    const fl_size P = f->outputs, K = f->constant.outputs, H = f->constant.hidden;
    if (row0 >= row1 || (f->direct && !f->c_last)) return;
    fl_carry between = f->between;
    between.keep = row1;
    between.y = (void *)f->h0;
    between.y_step = P;
    between.y_is_there = 0;
    between.reset = (const unsigned char *)fl_at(f->reset, fl_first_row(&f->rows, t), 1);
    between.c = f->c0;
    between.c_seen = f->c_last ? c_prev_of(f, s) : NULL;
    if (!f->direct) {
        between.y_seen = y_prev_of(f, s);
        if (f->extra0)
            copy_columns(f, (char *)between.y_seen + P * f->size, K, f->extra0, K - P, row0, row1, 0, K - P, f->size);
    }
    f->k->carry(&between, row0, row1, 0, P, 0, f->c_last ? H : 0);
}

/* Write c^0, from y^0 where c is y. */
static void copy_first_c(const fl_forward_pass *f, char *to) {
    const fl_size H = f->constant.hidden, B = f->rows.B;
    if (f->c0 || !f->h0) {
        copy_columns(f, to, H, f->c0, H, 0, B, 0, H, f->cell_size);
        return;
    }
    const fl_carry first = {.hidden = H, .width = H, .keep = B, .y = (void *)f->h0, .y_step = H, .c_seen = to};
    f->k->carry(&first, 0, B, 0, 0, 0, H);
}

void fl_start_forward_pass(const fl_forward_pass *f) {
    const fl_size T = f->rows.T, B = f->rows.B, G = f->constant.outputs - f->outputs;
    if (f->h_last) copy_columns(f, f->h_last, f->outputs, f->h0, f->outputs, 0, B, 0, f->outputs, f->size);
    if (f->tape.h0) copy_columns(f, f->tape.h0, f->outputs, f->h0, f->outputs, 0, B, 0, f->outputs, f->size);
    if (f->tape.c && T == 0) copy_first_c(f, f->tape.c);
    if (f->c_last) copy_first_c(f, f->c_last);
    if (f->extra_last) copy_columns(f, f->extra_last, G, f->extra0, G, 0, B, 0, G, f->size);
    for (fl_size s = 0; s < (f->reverse && !f->direct ? T : fl_smaller(T, 1)); s++) start_rows(f, s);
}

/* ---- recompute ---- */

static void copy_state(const fl_forward_pass *f, fl_span segment, int back) {
    const fl_size s = fl_first_step(&f->rows, f->reverse, segment), rows = fl_rows_at(&f->rows, time_of(f, s));
    const fl_size at = fl_first_row(&f->rows, segment.t0) / f->segment * f->rows.B;
    const fl_size y_bytes = f->constant.outputs * f->size, c_bytes = f->constant.hidden * f->cell_size;
    const fl_size before_bytes = f->outputs * f->size;
    const fl_size rows_before = s ? fl_smaller(rows, fl_rows_at(&f->rows, time_of(f, s - 1))) : 0;
    const struct {
        char *kept, *state;
        fl_size state_step, bytes, rows;
    } parts[] = {
        {f->checkpoints_y + at * y_bytes, y_prev_of(f, s), y_bytes, y_bytes, rows},
        {fl_at(f->checkpoints_c, at, c_bytes), f->checkpoints_c ? c_prev_of(f, s) : NULL, c_bytes, c_bytes, rows},
        {s ? fl_at(f->checkpoints_y_before, at, before_bytes) : NULL, s ? fl_y_of(f, s - 1) : NULL, f->y_step * f->size,
         before_bytes, rows_before},
    };
    for (int n = 0; n < 3; n++) {
        if (!parts[n].kept) continue;
        if (back)
            f->k->copy(parts[n].state, parts[n].state_step, parts[n].kept, parts[n].bytes, parts[n].bytes, 0,
                       parts[n].rows);
        else
            f->k->copy(parts[n].kept, parts[n].bytes, parts[n].state, parts[n].state_step, parts[n].bytes, 0,
                       parts[n].rows);
    }
}

void fl_keep_checkpoint(const fl_forward_pass *f, fl_span segment) { copy_state(f, segment, 0); }

void fl_begin_segment(fl_forward_pass *f, fl_span segment) {
    const fl_size s0 = fl_first_step(&f->rows, f->reverse, segment);
    f->tape.t0 = segment.t0;
    f->tape.row = fl_first_row(&f->rows, segment.t0);
    f->s_end = s0 + segment.t1 - segment.t0;
    copy_state(f, segment, 1);
    if (f->reverse)
        for (fl_size s = s0 + 1; s < f->s_end; s++) start_rows(f, s);
}
