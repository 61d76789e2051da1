/* The simple (Elman) RNN's step, forward and backward: h^t = g(W x^t + R h^{t-1} + b). */
#ifndef FL_RNN_H
#define FL_RNN_H

#include "activations.h"
#include "product.h"

FL_INLINE vec apply(const fl_activation g, vec a) {
    switch (g) {
    case FL_TANH: return v_tanh(a);
    case FL_LOGISTIC: return v_logistic(a);
    case FL_RELU: return v_if_greater(v_zero(), a, v_zero(), a); /* NaN stays NaN */
    default: return a;
    }
}

/* d g'(a), from h = g(a) */
FL_INLINE vec times_derivative(const fl_activation g, vec d, vec h) {
    switch (g) {
    case FL_TANH: return v_mul(d, v_fnma(h, h, v_set1(1)));
    case FL_LOGISTIC: return v_mul(d, v_mul(h, v_sub(v_set1(1), h)));
    case FL_RELU: return v_if_greater(h, v_zero(), d, v_mul(h, d)); /* h = 0 gives 0, NaN gives NaN */
    default: return d;
    }
}

static void rnn_forward(const fl_rnn_forward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) {
    const fl_size H = s->hidden, I = s->x ? s->input : 0;
    assert(0 <= row0 && unit0 % (COLUMNS * VL) == 0 && unit1 <= H);
    assert(s->x || s->wx); /* W x comes from one or the other */
    FL_ALIGN(64) accumulators acc;
    for (fl_size unit = unit0; unit < unit1; unit += COLUMNS * VL) {
        const int columns = columns_from(unit, H);
        for (fl_size row = row0, rows; row < row1; row += rows) {
            rows = next_rows(row, row1);
            const factor x = {(const real *)s->x + (I ? row * I : 0), I, 1, I};
            const factor h_prev = {(const real *)s->h_prev + row * H, H, 1, H};
            const factor *first = I ? &x : &h_prev, *second = I ? &h_prev : NULL;
            if (s->panels)
                product(acc, columns, rows, first, second, (const real *)s->panels + unit * (I + H));
            else
                product_by_rows(acc, columns, rows, first, I ? s->W : s->R, second, s->R, 1, H, unit);
            for (fl_size m = 0; m < rows; m++)
                for (int v = 0; v < columns; v++) {
                    const fl_size u = unit + v * VL, n = at_most(H - u, VL), at = (row + m) * H + u;
                    vec a = v_add(v_load(&acc[m][v * VL]), v_load_part((const real *)s->b + u, n));
                    if (s->wx) a = v_add(a, v_load_part((const real *)s->wx + at, n));
                    const vec h = apply(s->activation, a);
                    v_store_part((real *)s->h + at, h, n);
                    if (s->h_copy) v_store_part((real *)s->h_copy + at, h, n);
                }
        }
    }
}

static void rnn_backward(const fl_rnn_backward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) {
    const fl_size H = s->hidden;
    assert(0 <= row0 && unit0 % (COLUMNS * VL) == 0 && unit1 <= H);
    FL_ALIGN(64) accumulators acc;
    for (fl_size unit = unit0; unit < unit1; unit += COLUMNS * VL) {
        const int columns = columns_from(unit, H);
        for (fl_size row = row0, rows; row < row1; row += rows) {
            rows = next_rows(row, row1);
            if (s->delta_next) {
                const factor delta = {(const real *)s->delta_next + row * H, H, 1, H};
                product(acc, columns, rows, &delta, NULL, (const real *)s->panels + unit * H);
            }
            for (fl_size m = 0; m < rows; m++)
                for (int v = 0; v < columns; v++) {
                    const fl_size u = unit + v * VL, n = at_most(H - u, VL), at = (row + m) * H + u;
                    vec d = s->delta_next ? v_load(&acc[m][v * VL]) : v_zero();
                    if (s->dh) d = v_add(d, v_load_part((const real *)s->dh + at, n));
                    if (s->dh_final) d = v_add(d, v_load_part((const real *)s->dh_final + at, n));
                    d = times_derivative(s->activation, d, v_load_part((const real *)s->h + at, n));
                    v_store_part((real *)s->delta + at, d, n);
                    if (s->delta_panels)
                        v_store((real *)s->delta_panels + unit / (COLUMNS * VL) * s->panel_step +
                                    (row + m) * COLUMNS * VL + v * VL, d);
                }
        }
    }
}

#endif
