/* The step of a GRU that resets after the recurrent product, forward and backward:
 *
 *     r = sigma(W_r x + R_r h + b_r)          z = sigma(W_z x + R_z h + b_z)
 *     q = R_n h + bn                          n = tanh(W_n x + b_n + r q)
 *     h^t = (1 - z) n + z h^{t-1}
 *
 * The products see h^{t-1} as y^{t-1}, through the dropout mask; its share of h^t is of c^{t-1}, without the mask. On
 * the tape are r, z, n and q; c is h. The deltas of W x are those of r, z and n; of R h, those of r, z and q. */
#ifndef FL_GRU_H
#define FL_GRU_H

#include "step/carry.h"
#include "step/forward.h"
#ifndef FL_TARGET_DEVICE
#include "step/columns.h"
#endif

enum { GRU_R, GRU_Z, GRU_N, GRU_Q };

/* W x^t and R h^{t-1} of one row and n units from `unit` on, a vector for each block; `of_x` is NULL where s->wx has
 * W x^t. */
typedef struct {
    const real *of_x, *of_y;
} gru_sums;

/* Return R h^{t-1} of a block, with its scale. */
FL_INLINE vec gru_recurrent(const fl_forward *s, const int place, const gru_sums *sums, fl_size unit, fl_size n) {
    const vec sum = v_load(sums->of_y + place * VL);
    return s->scale ? v_mul(sum, s_load_part((const stored *)s->scale + place * s->hidden + unit, n)) : sum;
}

/* Return W x^t + b of a block, with its scale. */
FL_INLINE vec gru_input(const fl_forward *s, const int place, const gru_sums *sums, fl_size row, fl_size unit,
                        fl_size n) {
    const fl_size at = place * s->hidden + unit;
    const vec b = s_load_part((const stored *)s->b + at, n);
    const vec wx = sums->of_x ? v_load(sums->of_x + place * VL)
                              : v_load_part((const real *)s->wx + row * 3 * s->hidden + at, n);
    if (!s->scale) return v_add(wx, b);
    const vec scale = s_load_part((const stored *)s->scale + at, n),
              ratio = s_load_part((const stored *)s->ratio + at, n);
    return v_fma(wx, v_mul(scale, ratio), b);
}

/* Return h^{t-1} without the dropout mask. */
FL_INLINE vec gru_h_prev(const fl_forward *s, fl_size row, fl_size unit, fl_size n) {
    if (s->c_prev) return v_load_part((const real *)s->c_prev + row * s->hidden + unit, n);
    return s_load_part((const stored *)s->y_prev + row * s->y_prev_step + unit, n);
}

/* Write h^t of one row and n units. */
FL_INLINE void gru_write_h(const fl_forward *s, vec h, fl_size row, fl_size unit, fl_size n) {
    if (s->c) v_store_part((real *)s->c + row * s->hidden + unit, h, n);
    if (s->y && row < s->keep) s_store_part((stored *)s->y + row * s->y_step + unit, h, n);
    if (s->y_copy) s_store_part((stored *)s->y_copy + row * s->y_copy_step + unit, h, n);
}

/* Compute the gates, q and h^t of one row and n units; n is called `candidate`, since n counts units. */
FL_INLINE void gru_cell(const fl_forward *s, const gru_sums *sums, fl_size row, fl_size unit, fl_size n) {
    const fl_size H = s->hidden;
    const vec r = mostly_logistic(
        &s->cell->gate, v_add(gru_recurrent(s, GRU_R, sums, unit, n), gru_input(s, GRU_R, sums, row, unit, n)));
    const vec z = mostly_logistic(
        &s->cell->gate, v_add(gru_recurrent(s, GRU_Z, sums, unit, n), gru_input(s, GRU_Z, sums, row, unit, n)));
    const vec q = v_add(gru_recurrent(s, GRU_N, sums, unit, n), s_load_part((const stored *)s->p + unit, n));
    const vec candidate = mostly_tanh(&s->cell->g, v_fma(r, q, gru_input(s, GRU_N, sums, row, unit, n)));
    const vec h = v_fma(z, v_sub(gru_h_prev(s, row, unit, n), candidate), candidate);
    if (s->gates) {
        stored *gates = (stored *)s->gates + row * 4 * H + unit;
        s_store_part(gates + GRU_R * H, r, n);
        s_store_part(gates + GRU_Z * H, z, n);
        s_store_part(gates + GRU_N * H, candidate, n);
        s_store_part(gates + GRU_Q * H, q, n);
    }
    gru_write_h(s, h, row, unit, n);
}

/* Return h^t of one row and n units again: it is on the tape. */
FL_INLINE vec gru_output_again(const fl_cell *cell, const stored *gates, const real *c, fl_size hidden, fl_size row,
                               fl_size unit, fl_size n) {
    (void)cell, (void)gates;
    return v_load_part(c + row * hidden + unit, n);
}

/* The deltas of one row and n units. */
typedef struct {
    vec r, z, n, q;
} gru_deltas;

/* Compute the deltas from the sum of what the next step sends to y; return them. */
FL_INLINE gru_deltas gru_cell_backward(const fl_backward *s, vec seen, fl_size row, fl_size unit, fl_size n) {
    const fl_size H = s->hidden, at = row * H + unit;
    const stored *gates = (const stored *)s->gates + row * 4 * H + unit;
    const vec one = v_set1(1), dh = y_gradient_of(&s->y, seen, row, unit, H, n);
    const vec r = s_load_part(gates + GRU_R * H, n), z = s_load_part(gates + GRU_Z * H, n);
    const vec candidate = s_load_part(gates + GRU_N * H, n), q = s_load_part(gates + GRU_Q * H, n);
    const vec h_prev = v_load_part((const real *)s->c_prev + at, n);
    if (s->y_again) s_store_part((stored *)s->y_again + at, v_load_part((const real *)s->c + at, n), n);
    gru_deltas d;
    d.n = times_derivative(s->cell->g, v_mul(dh, v_sub(one, z)), candidate);
    d.z = times_derivative(s->cell->gate, v_mul(dh, v_sub(h_prev, candidate)), z);
    d.q = v_mul(d.n, r);
    d.r = times_derivative(s->cell->gate, v_mul(d.n, q), r);
    v_store_part((real *)s->dc + at, v_mul(dh, z), n);
    stored *delta = (stored *)s->delta + row * 3 * H + unit, *delta_R = (stored *)s->delta_R + row * 3 * H + unit;
    s_store_part(delta + GRU_R * H, d.r, n);
    s_store_part(delta + GRU_Z * H, d.z, n);
    s_store_part(delta + GRU_N * H, d.n, n);
    s_store_part(delta_R + GRU_R * H, d.r, n);
    s_store_part(delta_R + GRU_Z * H, d.z, n);
    s_store_part(delta_R + GRU_N * H, d.q, n);
    return d;
}

#ifdef FL_TARGET_DEVICE

FL_INLINE void gru_forward_unit(const fl_forward *s, const int plain, const int peephole, const real *sums, fl_size row,
                                fl_size unit) {
    const gru_sums all = {NULL, sums};
    (void)plain, (void)peephole;
    gru_cell(s, &all, row, unit, 1);
}

FL_INLINE void gru_backward_unit(const fl_backward *s, const int plain, const int peephole, const real *sent,
                                 fl_size step, fl_size row, fl_size unit) {
    (void)plain, (void)peephole, (void)step;
    gru_cell_backward(s, sent ? v_load(sent) : v_zero(), row, unit, 1);
}

#else

/* Return how many panels to run at once: few rows are short of work that does not wait for other work. */
FL_INLINE fl_size panels_together(fl_size rows) {
    return 0 < rows && rows < FL_ROWS_TOGETHER ? FL_ROWS_TOGETHER / (int)rows : 1;
}

static void gru_forward(const fl_forward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) {
    const fl_size H = s->hidden, count = (unit1 - unit0 + VL - 1) / VL, together = panels_together(row1 - row0);
    assert(0 <= row0 && unit0 % VL == 0 && unit1 <= H);
    FL_ALIGN(64) accumulators of_y, of_x;
    for (fl_size first = 0; first < count; first += together)
        for (fl_size row = row0, rows; row < row1; row += rows) {
            const fl_size end = at_most(first + together, count);
            rows = next_rows(row, row1);
            for (fl_size n = first, at = 0; n < end; n++, at += rows)
                separate_products(of_y + at, of_x + at, s, row, rows, nth_panel(s, unit0, count, n));
            for (fl_size n = first, at = 0; n < end; n++)
                for (fl_size m = 0; m < rows; m++, at++) {
                    const fl_size unit = nth_panel(s, unit0, count, n);
                    const gru_sums sums = {s->x ? of_x[at] : NULL, of_y[at]};
                    gru_cell(s, &sums, row + m, unit, at_most(H - unit, VL));
                }
        }
}

static void gru_backward(const fl_backward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) {
    const fl_size H = s->hidden;
    assert(0 <= row0 && unit0 % (COLUMNS * VL) == 0 && unit1 <= H);
    FL_ALIGN(64) accumulators acc;
    for (fl_size unit = unit0; unit < unit1; unit += COLUMNS * VL) {
        const int columns = columns_from(unit, H);
        for (fl_size row = row0, rows; row < row1; row += rows) {
            rows = next_rows(row, row1);
            if (s->y.a) product_seen(acc, &s->y, columns, row, rows, unit);
            for (fl_size m = 0; m < rows; m++)
                for (int v = 0; v < columns; v++) {
                    const fl_size first = unit + v * VL, n = at_most(H - first, VL);
                    const vec seen = s->y.a ? v_load(&acc[m][v * VL]) : v_zero();
                    const gru_deltas d = gru_cell_backward(s, seen, row + m, first, n);
                    if (!s->delta_panels) continue;
                    const fl_size at = first / VL * s->panel_step + (row + m) * 3 * VL;
                    real *panel = (real *)s->delta_panels + at, *panel_R = (real *)s->delta_R_panels + at;
                    v_store(panel + GRU_R * VL, d.r);
                    v_store(panel + GRU_Z * VL, d.z);
                    v_store(panel + GRU_N * VL, d.n);
                    v_store(panel_R + GRU_R * VL, d.r);
                    v_store(panel_R + GRU_Z * VL, d.z);
                    v_store(panel_R + GRU_N * VL, d.q);
                }
        }
    }
}

/* Add the deltas of q. */
static void gru_add_p_gradient(void *dp, const fl_cell *cell, const void *delta, const void *delta_R,
                               const void *c_prev, const void *c, fl_size rows, fl_size hidden, fl_size unit0,
                               fl_size unit1) {
    (void)cell, (void)delta, (void)c_prev, (void)c;
    add_columns((real *)dp + unit0, (const real *)delta_R + GRU_N * hidden + unit0, rows, 3 * hidden, unit1 - unit0);
}

#endif

#endif
