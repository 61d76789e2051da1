/* What the forward steps of the LSTM and of the simple RNN share: W x^t + R y^{t-1} + b. */
#ifndef FL_FORWARD_H
#define FL_FORWARD_H

#include "product.h"

/* The factors of W and R from a batch row on, for the panel that begins at a column of all panels. */
FL_INLINE factor factor_x(const fl_forward *s, fl_size row, fl_size I, fl_size column) {
    const factor x = {(const real *)s->x + (I ? row * I : 0), I, 1, I, panel_at(s->W_panels, s->format, I, column)};
    return x;
}

FL_INLINE factor factor_y_prev(const fl_forward *s, fl_size row, fl_size column) {
    const fl_size step = s->y_prev_step, K = s->outputs;
    const factor y_prev = {(const real *)s->y_prev + row * step, step, 1, K, panel_at(s->R_panels, s->format, K, column)};
    return y_prev;
}

/* The whole sum from that of the products, for n units: `at_wx` and `unit` are their places in wx and b. */
FL_INLINE vec sum_of(const fl_forward *s, vec sum, fl_size at_wx, fl_size unit, fl_size n) {
    const vec b = v_load_part((const real *)s->b + unit, n);
    if (s->wx) sum = v_add(sum, v_load_part((const real *)s->wx + at_wx, n));
    return s->scale ? v_fma(sum, v_load_part((const real *)s->scale + unit, n), b) : v_add(sum, b);
}

#endif
