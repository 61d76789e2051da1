/* The simple (Elman) RNN's step, forward and backward: h^t = g(W x^t + R h^{t-1} + b). */
#ifndef FL_RNN_H
#define FL_RNN_H

#include "carry.h"
#include "forward.h"

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
                    const fl_size u = unit + v * VL, n = at_most(H - u, VL);
                    const vec h = apply(s->cell->g, sum_of(s, v_load(&acc[r - row][v * VL]), r * H + u, u, n));
                    if (s->gates) v_store_part((real *)s->gates + r * H + u, h, n);
                    if (s->y && r < s->keep) v_store_part((real *)s->y + r * s->y_step + u, h, n);
                    if (s->y_copy) v_store_part((real *)s->y_copy + r * s->y_copy_step + u, h, n);
                }
        }
    }
}

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
                    const vec dh = y_gradient_of(&s->y, seen, r, u, H, n);
                    const vec d = times_derivative(s->cell->g, dh, v_load_part((const real *)s->gates + r * H + u, n));
                    v_store_part((real *)s->delta + r * H + u, d, n);
                    if (s->delta_panels)
                        v_store((real *)s->delta_panels + unit / (COLUMNS * VL) * s->panel_step +
                                    r * COLUMNS * VL + v * VL, d);
                }
        }
    }
}

#endif
