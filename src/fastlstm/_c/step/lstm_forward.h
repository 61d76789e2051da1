/* The forms in which an LSTM's forward step is compiled: for any cell; for plain ones, without peepholes and with them;
 * and, where a wheel's size allows it, for a single row, whose activations may be fast. */
#ifndef FL_LSTM_FORWARD_H
#define FL_LSTM_FORWARD_H

#include "step/lstm.h"

#ifndef FL_TARGET_DEVICE

#define LSTM_HALVES(name, plain, peephole, width)                      \
    HALVES(name, lstm_cell(s, plain, peephole, acc, row, unit, lanes), \
           lstm_output(s, plain, peephole, acc, row, unit, lanes), width)
LSTM_HALVES(any, ANY_CELL, s->p != NULL, VL)
LSTM_HALVES(last, ANY_CELL, s->p != NULL, n)
LSTM_HALVES(plain, PLAIN, 0, VL)
LSTM_HALVES(plain_peephole, PLAIN, 1, VL)
#undef LSTM_HALVES

typedef void (*lstm_row_function)(const fl_forward *s, fl_size row, fl_size unit0, fl_size unit1);
typedef void (*lstm_step_function)(const fl_forward *constant, const void *x, void *h, void *c, void *y);
/* What is compiled for a cell: halves of panels, and where it is plain, a row and a step of one row. */
typedef struct {
    const halves *whole;
    lstm_row_function row;
    lstm_step_function step;
} lstm_form;

#ifdef FL_TARGET_PORTABLE /* only a reference: small */
#define LSTM_ONE_ROW(name) NULL, NULL
#else
/* sum += a panel, for one row, as in a tile. */
FL_INLINE void add_product_of_row(const int columns, vec *sum, const real *a, fl_size K, const char *panel) {
    const real *weights = (const real *)panel;
    FL_NO_UNROLL
    for (fl_size k = K; k > 0; k--) {
        const vec x = v_set1(*a++);
        FL_UNROLL
        for (int v = 0; v < columns; v++) sum[v] = v_fma(x, v_load(weights + v * VL), sum[v]);
        weights += columns * VL;
    }
}

/* acc = W x^t + R y^{t-1} for one row and a panel of four gates with VL or VL / 2 units, known to the compiler, with
 * weights in full. */
FL_INLINE void product_of_row(const fl_size units, accumulator_row *acc, const fl_forward *s, fl_size row,
                              fl_size unit) {
    const int columns = units == VL ? COLUMNS : COLUMNS / 2; /* as vectors_of_gates says */
    const factor x = factor_x(s, row, unit), y_prev = factor_y(s, row, unit, NULL);
    vec sum[COLUMNS];
    FL_UNROLL
    for (int v = 0; v < columns; v++) sum[v] = v_zero();
    if (s->x) add_product_of_row(columns, sum, x.a, x.K, x.panel);
    add_product_of_row(columns, sum, y_prev.a, y_prev.K, y_prev.panel);
    FL_UNROLL
    for (int gate = 0; gate < COLUMNS; gate++) {
        if (columns == COLUMNS)
            v_store(&acc[0][gate * VL], sum[gate]);
        else
            v_store(&acc[0][gate * VL], gate % 2 ? v_upper_half(sum[gate / 2]) : sum[gate / 2]);
    }
}

/* One row of a plain cell whose weights are in full, with two panels under way at once. All of it is compiled as one
 * function, since a short step takes much of its time for calls and arguments. Without `any` the last panel has VL or
 * VL / 2 units. */
FL_INLINE void lstm_row_to_c(const fl_forward *s, const int plain, const int peephole, const int any,
                             accumulator_row *acc, fl_size row, fl_size unit, fl_size n) {
    if (n >= VL) {
        product_of_row(VL, acc, s, row, unit);
        lstm_cell(s, plain, peephole, acc[0], row, unit, VL);
    } else if (!any || n == VL / 2) {
        product_of_row(VL / 2, acc, s, row, unit);
        lstm_cell(s, plain, peephole, acc[0], row, unit, VL / 2);
    } else {
        forward_product(acc, s, COLUMNS, row, 1, unit);
        lstm_cell(s, plain, peephole, acc[0], row, unit, n);
    }
}
FL_INLINE void lstm_row_to_y(const fl_forward *s, const int plain, const int peephole, const int any, const real *acc,
                             fl_size row, fl_size unit, fl_size n) {
    if (n >= VL)
        lstm_output(s, plain, peephole, acc, row, unit, VL);
    else
        lstm_output(s, plain, peephole, acc, row, unit, any ? n : VL / 2);
}
FL_INLINE void lstm_row(const fl_forward *s, const int plain, const int peephole, const int any, fl_size row,
                        fl_size unit0, fl_size unit1) {
    const fl_size H = s->hidden, count = (unit1 - unit0 + VL - 1) / VL, next = s->from_end ? -VL : VL;
    FL_ALIGN(64) accumulator_row acc[2];
    fl_size unit = nth_panel(s, unit0, count, 0);
    for (fl_size n = 0; n <= count; n++, unit += next) {
        if (n < count) lstm_row_to_c(s, plain, peephole, any, acc + n % 2, row, unit, H - unit);
        if (n > 0) lstm_row_to_y(s, plain, peephole, any, acc[1 - n % 2], row, unit - next, H - (unit - next));
    }
}

/* A row's form for steps of a pass, and for a whole step in place: all is inlined there, so that the compiler keeps the
 * copy of `constant` in registers. */
#define LSTM_ROW(name, plain, peephole)                                                      \
    static void name##_row(const fl_forward *s, fl_size row, fl_size unit0, fl_size unit1) { \
        lstm_row(s, plain, peephole, 1, row, unit0, unit1);                                  \
    }
#if FL_BITS == 32
#define LSTM_STEP(name, plain, peephole)                                                            \
    static void name##_step(const fl_forward *constant, const void *x, void *h, void *c, void *y) { \
        fl_forward f = *constant;                                                                   \
        f.x = x, f.y_prev = h, f.c_prev = f.c = c, f.y_copy = y;                                    \
        lstm_row(&f, plain, peephole, 0, 0, 0, f.hidden);                                           \
    }
#define LSTM_ONE_ROW(name) name##_row, name##_step
#else /* In double precision the products take longer, and calls less of the time. */
#define LSTM_STEP(name, plain, peephole)
#define LSTM_ONE_ROW(name) name##_row, NULL
#endif
#define LSTM_ROW_AND_STEP(name, plain, peephole) LSTM_ROW(name, plain, peephole) LSTM_STEP(name, plain, peephole)
LSTM_ROW_AND_STEP(plain, PLAIN, 0)
LSTM_ROW_AND_STEP(plain_peephole, PLAIN, 1)
LSTM_ROW_AND_STEP(fast, FAST_PLAIN, 0)
LSTM_ROW_AND_STEP(fast_peephole, FAST_PLAIN, 1)
#endif

FL_INLINE const lstm_form *lstm_form_of(const fl_forward *s) {
    static const lstm_form any = {&any_halves, NULL, NULL};
    static const lstm_form forms[2][2] = {
        {{&plain_halves, LSTM_ONE_ROW(plain)}, {&plain_peephole_halves, LSTM_ONE_ROW(plain_peephole)}},
        {{&any_halves, LSTM_ONE_ROW(fast)}, {&any_halves, LSTM_ONE_ROW(fast_peephole)}}};
    return s->cell->plain || s->cell->fast_plain ? &forms[s->cell->fast_plain][s->p != NULL] : &any;
}

static void lstm_forward(const fl_forward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) {
    const lstm_form *form = lstm_form_of(s);
    if (form->row && row1 - row0 == 1 && s->R_panels && s->format == FL_FULL)
        form->row(s, row0, unit0, unit1);
    else
        forward_in_halves(s, form->whole, &last_halves, row0, row1, unit0, unit1);
}

#endif

#endif
