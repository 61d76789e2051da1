/* The simple (Elman) RNN's step, forward and backward: h^t = g(W x^t + R h^{t-1} + b). */
#ifndef FL_RNN_H
#define FL_RNN_H

#include "step/carry.h"
#include "step/forward.h"

/* Compute h^t from the sum of the products, for one row and n units. */
FL_INLINE void rnn_cell(const fl_forward *s, vec sum, fl_size row, fl_size unit, fl_size n) {
    const fl_size at = row * s->hidden + unit;
    const vec h = apply(s->cell->g, sum_of(s, sum, at, unit, n));
    if (s->gates) s_store_part((stored *)s->gates + at, h, n);
    if (s->y && row < s->keep) s_store_part((stored *)s->y + row * s->y_step + unit, h, n);
    if (s->y_copy) s_store_part((stored *)s->y_copy + row * s->y_copy_step + unit, h, n);
}

/* h^t of one row and n units again: it is on the tape. */
FL_INLINE vec rnn_output_again(const fl_cell *cell, const stored *h, const real *c, fl_size hidden, fl_size row,
                               fl_size unit, fl_size n) {
    (void)cell, (void)c;
    return s_load_part(h + row * hidden + unit, n);
}

/* Compute the delta from the sum of what the next step sends to h; return it. */
FL_INLINE vec rnn_cell_backward(const fl_backward *s, vec seen, fl_size row, fl_size unit, fl_size n) {
    const fl_size H = s->hidden, at = row * H + unit;
    const vec dh = y_gradient_of(&s->y, seen, row, unit, H, n), h = s_load_part((const stored *)s->gates + at, n);
    const vec d = times_derivative(s->cell->g, dh, h);
    if (s->y_again) s_store_part((stored *)s->y_again + at, h, n);
    s_store_part((stored *)s->delta + at, d, n);
    return d;
}

#ifdef FL_TARGET_DEVICE

FL_INLINE void rnn_forward_unit(const fl_forward *s, const int plain, const int peephole, const real *sums, fl_size row,
                                fl_size unit) {
    (void)plain, (void)peephole;
    rnn_cell(s, v_load(sums), row, unit, 1);
}

FL_INLINE void rnn_backward_unit(const fl_backward *s, const int plain, const int peephole, const real *sent,
                                 fl_size step, fl_size row, fl_size unit) {
    (void)plain, (void)peephole, (void)step;
    rnn_cell_backward(s, sent ? v_load(sent) : v_zero(), row, unit, 1);
}

#else

static void rnn_forward(const fl_forward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) {
    const fl_size H = s->hidden;
    assert(0 <= row0 && unit0 % (COLUMNS * VL) == 0 && unit1 <= H);
    FL_ALIGN(64) accumulators acc;
    for (fl_size unit = unit0; unit < unit1; unit += COLUMNS * VL) {
        const int columns = columns_from(unit, H);
        for (fl_size row = row0, rows; row < row1; row += rows) {
            rows = next_rows(row, row1);
            forward_product(acc, s, columns, row, rows, unit);
            for (fl_size r = row; r < row + rows; r++)
                for (int v = 0; v < columns; v++) {
                    const fl_size u = unit + v * VL;
                    rnn_cell(s, v_load(&acc[r - row][v * VL]), r, u, at_most(H - u, VL));
                }
        }
    }
}

#define rnn_add_p_gradient NULL

static void rnn_backward(const fl_backward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) {
    const fl_size H = s->hidden;
    assert(0 <= row0 && unit0 % (COLUMNS * VL) == 0 && unit1 <= H);
    FL_ALIGN(64) accumulators acc;
    for (fl_size unit = unit0; unit < unit1; unit += COLUMNS * VL) {
        const int columns = columns_from(unit, H);
        for (fl_size row = row0, rows; row < row1; row += rows) {
            rows = next_rows(row, row1);
            if (s->y.a) product_seen(acc, &s->y, columns, row, rows, unit);
            for (fl_size r = row; r < row + rows; r++)
                for (int v = 0; v < columns; v++) {
                    const fl_size u = unit + v * VL, n = at_most(H - u, VL);
                    const vec seen = s->y.a ? v_load(&acc[r - row][v * VL]) : v_zero();
                    const vec d = rnn_cell_backward(s, seen, r, u, n);
                    if (s->delta_panels)
                        v_store((real *)s->delta_panels + unit / (COLUMNS * VL) * s->panel_step + r * COLUMNS * VL +
                                    v * VL,
                                d);
                }
        }
    }
}

#endif

#endif
