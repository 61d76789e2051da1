/* What the forward steps of the LSTM and of the simple RNN share: W x^t + R y^{t-1} + b. */
#ifndef FL_FORWARD_H
#define FL_FORWARD_H

#include "step/product.h"

#ifndef FL_TARGET_DEVICE
/* acc = W x^t + R y^{t-1}, without W x^t where s->wx has it, for some rows and the panel that begins at `unit`. */
static void forward_product(accumulators acc, const fl_forward *s, int columns, fl_size row, fl_size rows, fl_size unit) {
    const fl_size G = s->cell->gates, I = s->x ? s->input : 0, K = s->outputs, step = s->y_prev_step;
    FL_ALIGN(64) real ratio[COLUMNS * VL];
    const factor x = {(const real *)s->x + (I ? row * I : 0), I, 1, I, panel_at(s->W_panels, s->format, I, unit * G), NULL};
    const factor y_prev = {(const real *)s->y_prev + row * step, step, 1, K, panel_at(s->R_panels, s->format, K, unit * G),
                           I && s->ratio ? ratio : NULL};
    const factor *first = I ? &x : &y_prev, *second = I ? &y_prev : NULL;
    assert(s->x || s->wx); /* W x comes from one or the other */
    for (int v = 0; y_prev.rescale && v < columns; v++) {
        fl_size units;
        const fl_size at = column_rows(G, s->hidden, unit, v, &units);
        v_store(ratio + v * VL, v_load_part((const real *)s->ratio + at, units));
    }
    if (s->R_panels)
        product(acc, columns, rows, s->format, first, second);
    else
        product_by_rows(acc, columns, rows, first, I ? s->W : s->R, second, s->R, G, s->hidden, unit);
}
#endif

/* The whole sum from that of the products, for n units: `at_wx` and `unit` are their places in wx and b. */
FL_INLINE vec sum_of(const fl_forward *s, vec sum, fl_size at_wx, fl_size unit, fl_size n) {
    const vec b = s_load_part((const stored *)s->b + unit, n);
    if (s->wx) {
        const vec wx = v_load_part((const real *)s->wx + at_wx, n);
        sum = s->ratio ? v_fma(wx, s_load_part((const stored *)s->ratio + unit, n), sum) : v_add(sum, wx);
    }
    return s->scale ? v_fma(sum, s_load_part((const stored *)s->scale + unit, n), b) : v_add(sum, b);
}

#endif
