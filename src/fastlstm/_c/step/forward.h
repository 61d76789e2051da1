/* What the forward steps of the cells share: W x^t + R y^{t-1} + b, and the order of work in a step. */
#ifndef FL_FORWARD_H
#define FL_FORWARD_H

#include "step/product.h"

#ifndef FL_TARGET_DEVICE
/* The factors x^t and y^{t-1} of a product with the panel that begins at `unit`. */
FL_INLINE factor factor_x(const fl_forward *s, fl_size row, fl_size unit) {
    const fl_size I = s->x ? s->input : 0;
    const char *panel = panel_at(s->W_panels, s->format, I, unit * s->cell->gates);
    const factor x = {(const real *)s->x + (I ? row * I : 0), I, 1, I, panel, NULL};
    return x;
}
FL_INLINE factor factor_y(const fl_forward *s, fl_size row, fl_size unit, const real *rescale) {
    const char *panel = panel_at(s->R_panels, s->format, s->outputs, unit * s->cell->gates);
    const factor y = {(const real *)s->y_prev + row * s->y_prev_step, s->y_prev_step, 1, s->outputs, panel, rescale};
    return y;
}

/* acc = W x^t + R y^{t-1}, without W x^t where s->wx has it, for some rows and the panel that begins at `unit`. */
static void forward_product(accumulators acc, const fl_forward *s, int columns, fl_size row, fl_size rows,
                            fl_size unit) {
    const fl_size G = s->cell->gates, I = s->x ? s->input : 0, lanes = lanes_of_gate(G, s->hidden - unit);
    FL_ALIGN(64) real ratio[COLUMNS * VL];
    const factor x = factor_x(s, row, unit), y_prev = factor_y(s, row, unit, I && s->ratio ? ratio : NULL);
    const factor *first = I ? &x : &y_prev, *second = I ? &y_prev : NULL;
    assert(s->x || s->wx); /* W x comes from one or the other */
    for (int v = 0; y_prev.rescale && v < columns; v++) {
        fl_size units;
        const fl_size at = column_rows(G, s->hidden, unit, v, &units);
        v_store(ratio + v * lanes, v_load_part((const real *)s->ratio + at, units));
    }
    if (!s->R_panels)
        product_by_rows(acc, columns, rows, first, I ? s->W : s->R, second, s->R, G, s->hidden, unit);
    else if (G > 1)
        product_of_gates(acc, G, s->hidden - unit, rows, s->format, first, second);
    else
        product(acc, columns, rows, s->format, first, second);
}

/* of_y = R y^{t-1}, and of_x = W x^t where s->wx does not have it, likewise. */
static void separate_products(accumulators of_y, accumulators of_x, const fl_forward *s, fl_size row, fl_size rows,
                              fl_size unit) {
    const fl_size G = s->cell->gates, units = s->hidden - unit;
    const factor x = factor_x(s, row, unit), y_prev = factor_y(s, row, unit, NULL);
    assert(s->x || s->wx);
    if (s->R_panels)
        product_of_gates(of_y, G, units, rows, s->format, &y_prev, NULL);
    else
        product_by_rows(of_y, (int)G, rows, &y_prev, s->R, NULL, NULL, G, s->hidden, unit);
    if (!s->x) return;
    if (s->R_panels)
        product_of_gates(of_x, G, units, rows, s->format, &x, NULL);
    else
        product_by_rows(of_x, (int)G, rows, &x, s->W, NULL, NULL, G, s->hidden, unit);
}

/* The equations of a cell whose panels have a vector for each gate, in two halves: up to c, and from c to y. A half
 * is for some rows of a panel of n units: fewer than VL in the last one alone. */
typedef void (*half_of_cells)(const fl_forward *s, const real *acc, fl_size row, fl_size rows, fl_size unit, fl_size n);
typedef struct {
    half_of_cells cell, output;
} halves;
#define HALF(name, one_row, lanes_of_row)                                                                          \
    static void name(const fl_forward *s, const real *acc, fl_size row, fl_size rows, fl_size unit, fl_size n) {   \
        for (const fl_size lanes = lanes_of_row, end = row + rows; row < end; row++, acc += COLUMNS * VL) one_row; \
        (void)n;                                                                                                   \
    }
/* name_halves, from the expressions for a row. */
#define HALVES(name, cell_of_row, output_of_row, lanes) \
    HALF(name##_cell_half, cell_of_row, lanes)          \
    HALF(name##_output_half, output_of_row, lanes)      \
    static const halves name##_halves = {name##_cell_half, name##_output_half};

/* Return where the panel begins that is the n-th to run among those from `unit0` on. In every other step the last one
 * is first: the caches still have of the weights what the step before has read last. */
FL_INLINE fl_size nth_panel(const fl_forward *s, fl_size unit0, fl_size count, fl_size n) {
    return unit0 + (s->from_end ? count - 1 - n : n) * VL;
}

_Static_assert(2 * FL_FEW_ROWS <= FL_ROW_BLOCK, "two panels of few rows fit into the accumulators");

/* A step of few rows, in halves. Two panels are under way at once: the product of the next one fills the time in which
 * the activations of a panel wait for one another. */
static void few_rows_in_halves(const fl_forward *s, const halves *whole, const halves *last, fl_size row, fl_size rows,
                               fl_size unit0, fl_size unit1) {
    const fl_size H = s->hidden, count = (unit1 - unit0 + VL - 1) / VL, next = s->from_end ? -VL : VL;
    FL_ALIGN(64) accumulators acc;
    fl_size unit = nth_panel(s, unit0, count, 0);
    for (fl_size n = 0; n <= count; n++, unit += next) {
        const fl_size before = unit - next;
        if (n < count) {
            accumulator_row *own = acc + n % 2 * rows;
            forward_product(own, s, s->cell->gates, row, rows, unit);
            (H - unit < VL ? last : whole)->cell(s, own[0], row, rows, unit, H - unit);
        }
        if (n > 0) (H - before < VL ? last : whole)->output(s, acc[(n - 1) % 2 * rows], row, rows, before, H - before);
    }
}

/* A step in halves: one runs over all rows before the other begins, which leaves the processor more to do at once
 * than one long chain per row. */
static void forward_in_halves(const fl_forward *s, const halves *whole, const halves *last, fl_size row0, fl_size row1,
                              fl_size unit0, fl_size unit1) {
    const fl_size H = s->hidden, count = (unit1 - unit0 + VL - 1) / VL;
    assert(0 <= row0 && unit0 % VL == 0 && unit1 <= H);
    if (row0 < row1 && row1 - row0 <= FL_FEW_ROWS) {
        few_rows_in_halves(s, whole, last, row0, row1 - row0, unit0, unit1);
        return;
    }
    FL_ALIGN(64) accumulators acc;
    for (fl_size n = 0; n < count; n++)
        for (fl_size row = row0, rows; row < row1; row += rows) {
            const fl_size unit = nth_panel(s, unit0, count, n);
            const halves *own = H - unit < VL ? last : whole;
            rows = next_rows(row, row1);
            forward_product(acc, s, s->cell->gates, row, rows, unit);
            own->cell(s, acc[0], row, rows, unit, H - unit);
            own->output(s, acc[0], row, rows, unit, H - unit);
        }
}

/* Compute a product for whole rows of a step: C = A B^T, with B as panels or, where there are none, as it lies. */
static void product_of_rows(const fl_forward *s, const void *a, fl_size a_step, fl_size K, const void *panels,
                            const void *B, fl_size columns, real *c, fl_size row0, fl_size row1) {
    const fl_product product = {.columns = columns,
                                .K = K,
                                .a = a,
                                .a_row_step = a_step,
                                .a_k_step = 1,
                                .panels = panels ? panels : B,
                                .vectors = panels ? COLUMNS : 0,
                                .gates = 1,
                                .format = s->format,
                                .c = c,
                                .c_row_step = s->space_step};
    multiply(&product, row0, row1, 0, columns);
}
#endif

/* Complete the sum of the products for n units, whose places in wx and b are `at_wx` and `unit`. */
FL_INLINE vec sum_of(const fl_forward *s, vec sum, fl_size at_wx, fl_size unit, fl_size n) {
    const vec b = s_load_part((const stored *)s->b + unit, n);
    if (s->wx) {
        const vec wx = v_load_part((const real *)s->wx + at_wx, n);
        sum = s->ratio ? v_fma(wx, s_load_part((const stored *)s->ratio + unit, n), sum) : v_add(sum, wx);
    }
    return s->scale ? v_fma(sum, s_load_part((const stored *)s->scale + unit, n), b) : v_add(sum, b);
}

#endif
