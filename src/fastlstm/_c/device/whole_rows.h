/* The steps of whole rows on a device: one product after the other, and what lies between them, each a kernel over all
 * units. No program in one kernel has them. */
#ifndef FL_WHOLE_ROWS_H
#define FL_WHOLE_ROWS_H

#include "device/queue.h"
#include "step/gru_before.h"
#include "step/lstm_norm.h"

/* What the memory of a forward step has for a row, in blocks of H reals: the sums of the products, then z, then r
 * y^{t-1}, which as the factor of a product is in the precision of arrays. */
enum { GRU_BEFORE_Z = 3, GRU_BEFORE_RY = 4 };

typedef struct {
    fl_forward step;
    fl_cell cell;
    fl_size row0;
} forward_rows;

FL_INLINE real *row_space(const fl_forward *s, fl_size row) { return (real *)s->space + row * s->space_step; }
FL_INLINE const real *row_wx(const fl_forward *s, fl_size row) { return (const real *)s->wx + row * 3 * s->hidden; }

FL_FUNCTION void gru_before_gates_at(const forward_rows *s, fl_size k) {
    const place at = place_of(k, s->step.hidden);
    const fl_size row = s->row0 + at.row, H = s->step.hidden;
    real *own = row_space(&s->step, row);
    gru_before_gates(&s->step, own, row_wx(&s->step, row), own + GRU_BEFORE_Z * H, (stored *)(own + GRU_BEFORE_RY * H),
                     row, at.column, 1);
}

FL_FUNCTION void gru_before_output_at(const forward_rows *s, fl_size k) {
    const place at = place_of(k, s->step.hidden);
    const fl_size row = s->row0 + at.row;
    real *own = row_space(&s->step, row);
    gru_before_output(&s->step, own, row_wx(&s->step, row), own + GRU_BEFORE_Z * s->step.hidden, row, at.column, 1);
}

static void gru_before_forward_now(const op *o, const fl_cell *cell) {
    const fl_forward *s = &o->of.forward;
    const fl_size rows = o->row1 - o->row0, H = s->hidden, K = s->outputs, step = s->space_step;
    const forward_rows units = {*s, *cell, o->row0};
    real *sums = (real *)s->space + o->row0 * step;
    const stored *late = (const stored *)s->R + GRU_N * H * K;
    gemm(0, 1, rows, GRU_N * H, K, (const stored *)s->y_prev + o->row0 * s->y_prev_step, s->y_prev_step,
         (const stored *)s->R, K, 0, 1, sums, step);
    FL_EACH(gru_before_gates_at, units, rows * H);
    gemm(0, 1, rows, H, K, (const stored *)(sums + GRU_BEFORE_RY * H), step * (fl_size)(sizeof(real) / sizeof(stored)),
         late, K, 0, 1, sums + GRU_N * H, step);
    FL_EACH(gru_before_output_at, units, rows * H);
}

typedef struct {
    fl_backward step;
    fl_cell cell;
    fl_size row0;
} backward_rows;

FL_FUNCTION void gru_before_candidate_at(const backward_rows *s, fl_size k) {
    const place at = place_of(k, s->step.hidden);
    const fl_size row = s->row0 + at.row, unit = at.column, H = s->step.hidden;
    const real *sent = (const real *)s->step.sent + row * H + unit;
    const vec seen = s->step.y.a ? v_load(sent) : v_zero();
    gru_before_candidate_backward(&s->step, y_gradient_of(&s->step.y, seen, row, unit, H, 1), row, unit, 1);
}

FL_FUNCTION void gru_before_reset_at(const backward_rows *s, fl_size k) {
    const place at = place_of(k, s->step.hidden);
    const fl_size row = s->row0 + at.row;
    const real *sent = (const real *)s->step.sent + row * s->step.hidden + at.column;
    gru_before_reset_backward(&s->step, v_load(sent), row, at.column, 1);
}

static void gru_before_backward_now(const op *o, const fl_cell *cell) {
    const fl_backward *s = &o->of.backward;
    const fl_size rows = o->row1 - o->row0, H = s->hidden;
    const backward_rows units = {*s, *cell, o->row0};
    real *sent = (real *)s->sent + o->row0 * H;
    if (s->y.a)
        gemm(0, 1, rows, H, s->y.K, (const stored *)s->y.a + o->row0 * s->y.a_step, s->y.a_step,
             (const stored *)s->y.panels, s->y.K, 0, 1, sent, H);
    FL_EACH(gru_before_candidate_at, units, rows * H);
    gemm(0, 1, rows, H, H, (const stored *)s->delta + (o->row0 * 3 + GRU_N) * H, 3 * H, (const stored *)s->R_panels, H,
         0, 1, sent, H);
    FL_EACH(gru_before_reset_at, units, rows * H);
}

/* ---- the layer-normalised LSTM: a thread for each row, since all that a step computes waits for its means ---- */

FL_FUNCTION void lstm_norm_forward_at(const forward_rows *s, fl_size k) {
    const fl_size row = s->row0 + k;
    fl_forward step = s->step;
    step.cell = &s->cell;
    lstm_norm_forward_row(&step, row_space(&step, row), (const real *)step.wx + row * s->cell.gates * step.hidden, row);
}

static void lstm_norm_forward_now(const op *o, const fl_cell *cell) {
    const fl_forward *s = &o->of.forward;
    const fl_size rows = o->row1 - o->row0, K = s->outputs;
    const forward_rows all = {*s, *cell, o->row0};
    gemm(0, 1, rows, cell->gates * s->hidden, K, (const stored *)s->y_prev + o->row0 * s->y_prev_step, s->y_prev_step,
         (const stored *)s->R, K, 0, 1, (real *)s->space + o->row0 * s->space_step, s->space_step);
    FL_EACH(lstm_norm_forward_at, all, rows);
}

FL_FUNCTION void lstm_norm_backward_at(const backward_rows *s, fl_size k) {
    const fl_size row = s->row0 + k, H = s->step.hidden;
    fl_backward step = s->step;
    step.cell = &s->cell;
    const bounds b = bounds_of(step.cell);
    real *dy = (real *)step.sent + row * H;
    for (fl_size unit = 0; unit < H; unit++)
        dy[unit] = y_gradient_of(&step.y, v_set1(step.y.a ? dy[unit] : 0), row, unit, H, 1).lane[0];
    lstm_norm_backward_row(&step, &b, dy, row);
}

static void lstm_norm_backward_now(const op *o, const fl_cell *cell) {
    const fl_backward *s = &o->of.backward;
    const fl_size rows = o->row1 - o->row0, H = s->hidden;
    const backward_rows all = {*s, *cell, o->row0};
    if (s->y.a)
        gemm(0, 1, rows, H, s->y.K, (const stored *)s->y.a + o->row0 * s->y.a_step, s->y.a_step,
             (const stored *)s->y.panels, s->y.K, 0, 1, (real *)s->sent + o->row0 * H, H);
    FL_EACH(lstm_norm_backward_at, all, rows);
}

#endif
