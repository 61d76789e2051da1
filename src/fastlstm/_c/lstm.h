/* The LSTM's step, forward and backward, in the notation of "LSTM: A Search Space Odyssey" (Greff et al., 2017). */
#ifndef FL_LSTM_H
#define FL_LSTM_H

#include "activations.h"
#include "product.h"

/* The cell equations for one row and n units from `unit` on, in two halves: a half runs over all rows before the other
 * begins, which leaves the processor more to do at once than one long chain per row. acc holds W x^t + R y^{t-1}, without
 * W x^t when s->wx is given, one vector per gate. */
FL_INLINE vec before_activation(const fl_lstm_forward *s, const int gate, const real *acc, fl_size at_gates, fl_size unit,
                                fl_size n) {
    const fl_size block = gate * s->hidden;
    vec a = v_add(v_load(acc + gate * VL), v_load_part((const real *)s->b + block + unit, n));
    return s->wx ? v_add(a, v_load_part((const real *)s->wx + at_gates + block, n)) : a;
}

enum { GATE_I, GATE_F, GATE_Z, GATE_O };

FL_INLINE void lstm_cell(const fl_lstm_forward *s, const int peephole, const real *acc, fl_size row, fl_size unit, fl_size n) {
    const fl_size H = s->hidden, at = row * H + unit, at_gates = row * 4 * H + unit;
    const vec c_prev = v_load_part((const real *)s->c_prev + at, n);
    vec i = before_activation(s, GATE_I, acc, at_gates, unit, n);
    vec f = before_activation(s, GATE_F, acc, at_gates, unit, n);
    vec z = before_activation(s, GATE_Z, acc, at_gates, unit, n);
    if (peephole) {
        const real *p = (const real *)s->p + unit;
        i = v_fma(v_load_part(p, n), c_prev, i);
        f = v_fma(v_load_part(p + H, n), c_prev, f);
    }
    i = v_logistic(i);
    f = v_logistic(f);
    z = v_tanh(z);
    v_store_part((real *)s->c + at, v_fma(z, i, v_mul(c_prev, f)), n);
    if (s->gates) {
        real *gates = (real *)s->gates + at_gates;
        v_store_part(gates, i, n);
        v_store_part(gates + H, f, n);
        v_store_part(gates + 2 * H, z, n);
    }
}

FL_INLINE void lstm_output(const fl_lstm_forward *s, const int peephole, const real *acc, fl_size row, fl_size unit, fl_size n) {
    const fl_size H = s->hidden, at = row * H + unit, at_gates = row * 4 * H + unit;
    const vec c = v_load_part((const real *)s->c + at, n);
    vec o = before_activation(s, GATE_O, acc, at_gates, unit, n);
    if (peephole) o = v_fma(v_load_part((const real *)s->p + 2 * H + unit, n), c, o);
    o = v_logistic(o);
    const vec y = v_mul(v_tanh(c), o);
    v_store_part((real *)s->y + at, y, n);
    if (s->y_copy) v_store_part((real *)s->y_copy + at, y, n);
    if (s->gates) v_store_part((real *)s->gates + at_gates + 3 * H, o, n);
}

static void lstm_forward(const fl_lstm_forward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) {
    const fl_size H = s->hidden, I = s->x ? s->input : 0;
    assert(0 <= row0 && unit0 % VL == 0 && unit1 <= H);
    assert(s->x || s->wx); /* W x comes from one or the other */
    FL_ALIGN(64) accumulators acc;
    for (fl_size unit = unit0; unit < unit1; unit += VL) {
        const fl_size n = at_most(H - unit, VL);
        for (fl_size row = row0, rows; row < row1; row += rows) {
            rows = next_rows(row, row1);
            const factor x = {(const real *)s->x + (I ? row * I : 0), I, 1, I};
            const factor y_prev = {(const real *)s->y_prev + row * H, H, 1, H};
            const factor *first = I ? &x : &y_prev, *second = I ? &y_prev : NULL;
            if (s->panels)
                product(acc, COLUMNS, rows, first, second, (const real *)s->panels + unit * COLUMNS * (I + H));
            else
                product_by_rows(acc, COLUMNS, rows, first, I ? s->W : s->R, second, s->R, 4, H, unit);
#define FOR_ROWS(function)                                                                                             \
    for (fl_size m = 0; m < rows; m++)                                                                                 \
        if (n < VL) /* the last units: lanes are masked */                                                             \
            function(s, s->p != NULL, acc[m], row + m, unit, n);                                                       \
        else if (s->p)                                                                                                 \
            function(s, 1, acc[m], row + m, unit, VL);                                                                 \
        else                                                                                                           \
            function(s, 0, acc[m], row + m, unit, VL)
            FOR_ROWS(lstm_cell);
            FOR_ROWS(lstm_output);
        }
    }
}

/* The deltas for one row and n units. dy is R^T d^{t+1}, to which the gradients from above are added here. */
FL_INLINE void lstm_cell_backward(const fl_lstm_backward *s, const int peephole, vec dy, fl_size row, fl_size unit,
                                  fl_size n) {
    const fl_size H = s->hidden, at = row * H + unit;
    const real *gates = (const real *)s->gates + row * 4 * H + unit, *p = (const real *)s->p + unit;
    real *delta = (real *)s->delta + row * 4 * H + unit, *dc_carry = (real *)s->dc + at;
    const vec one = v_set1(1);
    const vec i = v_load_part(gates, n), f = v_load_part(gates + H, n);
    const vec z = v_load_part(gates + 2 * H, n), o = v_load_part(gates + 3 * H, n);
    const vec c_prev = v_load_part((const real *)s->c_prev + at, n);
    const vec hc = v_tanh(v_load_part((const real *)s->c + at, n));

    if (s->dy) dy = v_add(dy, v_load_part((const real *)s->dy + at, n));
    if (s->dy_final) dy = v_add(dy, v_load_part((const real *)s->dy_final + at, n));
    const vec d_o = v_mul(v_mul(dy, hc), v_mul(o, v_sub(one, o)));
    vec dc = v_fma(v_mul(dy, o), v_fnma(hc, hc, one), v_load_part(dc_carry, n));
    if (peephole) dc = v_fma(v_load_part(p + 2 * H, n), d_o, dc);
    const vec d_f = v_mul(v_mul(dc, c_prev), v_mul(f, v_sub(one, f)));
    const vec d_i = v_mul(v_mul(dc, z), v_mul(i, v_sub(one, i)));
    const vec d_z = v_mul(v_mul(dc, i), v_fnma(z, z, one));

    vec to_c_prev = v_mul(dc, f);
    if (peephole) {
        to_c_prev = v_fma(v_load_part(p, n), d_i, to_c_prev);
        to_c_prev = v_fma(v_load_part(p + H, n), d_f, to_c_prev);
    }
    v_store_part(dc_carry, to_c_prev, n);
    v_store_part(delta, d_i, n);
    v_store_part(delta + H, d_f, n);
    v_store_part(delta + 2 * H, d_z, n);
    v_store_part(delta + 3 * H, d_o, n);
    if (s->delta_panels) {
        real *panel = (real *)s->delta_panels + unit / VL * s->panel_step + row * COLUMNS * VL;
        v_store(panel, d_i);
        v_store(panel + VL, d_f);
        v_store(panel + 2 * VL, d_z);
        v_store(panel + 3 * VL, d_o);
    }
}

static void lstm_backward(const fl_lstm_backward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) {
    const fl_size H = s->hidden;
    assert(0 <= row0 && unit0 % (COLUMNS * VL) == 0 && unit1 <= H);
    FL_ALIGN(64) accumulators acc;
    for (fl_size unit = unit0; unit < unit1; unit += COLUMNS * VL) {
        const int columns = columns_from(unit, H);
        for (fl_size row = row0, rows; row < row1; row += rows) {
            rows = next_rows(row, row1);
            if (s->delta_next) {
                const factor delta = {(const real *)s->delta_next + row * 4 * H, 4 * H, 1, 4 * H};
                product(acc, columns, rows, &delta, NULL, (const real *)s->panels + unit * 4 * H);
            }
            for (fl_size m = 0; m < rows; m++)
                for (int v = 0; v < columns; v++) {
                    const fl_size first = unit + v * VL, n = at_most(H - first, VL);
                    const vec dy = s->delta_next ? v_load(&acc[m][v * VL]) : v_zero();
                    if (n < VL)
                        lstm_cell_backward(s, s->p != NULL, dy, row + m, first, n);
                    else if (s->p)
                        lstm_cell_backward(s, 1, dy, row + m, first, VL);
                    else
                        lstm_cell_backward(s, 0, dy, row + m, first, VL);
                }
        }
    }
}

static void add_peephole_gradient(void *dp, const void *delta, const void *c_prev, const void *c, fl_size rows,
                                  fl_size hidden, fl_size unit0, fl_size unit1) {
    const fl_size H = hidden;
    for (fl_size unit = unit0; unit < unit1; unit += VL) {
        const fl_size n = at_most(unit1 - unit, VL);
        vec dp_i = v_zero(), dp_f = v_zero(), dp_o = v_zero();
        for (fl_size row = 0; row < rows; row++) {
            const real *d = (const real *)delta + row * 4 * H + unit;
            const vec before = v_load_part((const real *)c_prev + row * H + unit, n);
            dp_i = v_fma(v_load_part(d, n), before, dp_i);
            dp_f = v_fma(v_load_part(d + H, n), before, dp_f);
            dp_o = v_fma(v_load_part(d + 3 * H, n), v_load_part((const real *)c + row * H + unit, n), dp_o);
        }
        real *to = (real *)dp + unit;
        v_store_part(to, v_add(v_load_part(to, n), dp_i), n);
        v_store_part(to + H, v_add(v_load_part(to + H, n), dp_f), n);
        v_store_part(to + 2 * H, v_add(v_load_part(to + 2 * H, n), dp_o), n);
    }
}

#endif
