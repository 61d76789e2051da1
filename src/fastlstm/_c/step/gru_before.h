/* The step of a GRU that resets before the recurrent product, forward and backward:
 *
 *     r = sigma(W_r x + R_r h + b_r)          z = sigma(W_z x + R_z h + b_z)
 *     n = tanh(W_n x + R_n (r h) + b_n)
 *     h^t = (1 - z) n + z h^{t-1}
 *
 * The second product waits for r of all units, so that a step has all units of its rows. The products see h^{t-1} as
 * y^{t-1}, through the dropout mask; its share of h^t is of c^{t-1}, without the mask. On the tape are r, z and n; c is
 * h. */
#ifndef FL_GRU_BEFORE_H
#define FL_GRU_BEFORE_H

#include "step/gru.h"

/* Return W x^t + R y^{t-1} + b of a block, from the sums of the products. */
FL_INLINE vec gru_before_sum(const fl_forward *s, const int place, const real *Ry, const real *wx, fl_size unit,
                             fl_size n) {
    const fl_size at = place * s->hidden + unit;
    const vec b = s_load_part((const stored *)s->b + at, n), product = v_load_part(Ry + at, n);
    const vec input = v_load_part(wx + at, n);
    if (!s->scale) return v_add(v_add(product, input), b);
    const vec scale = s_load_part((const stored *)s->scale + at, n),
              ratio = s_load_part((const stored *)s->ratio + at, n);
    return v_fma(v_fma(input, ratio, product), scale, b);
}

/* Compute r and z from the sums of the first product; leave z in a row of reals, and r y^{t-1}, the factor of the
 * second product, in another row. */
FL_INLINE void gru_before_gates(const fl_forward *s, const real *Ry, const real *wx, real *z_to, stored *ry_to,
                                fl_size row, fl_size unit, fl_size n) {
    const fl_size H = s->hidden;
    const vec r = mostly_logistic(&s->cell->gate, gru_before_sum(s, GRU_R, Ry, wx, unit, n));
    const vec z = mostly_logistic(&s->cell->gate, gru_before_sum(s, GRU_Z, Ry, wx, unit, n));
    const vec y_prev = s_load_part((const stored *)s->y_prev + row * s->y_prev_step + unit, n);
    if (s->gates) {
        stored *gates = (stored *)s->gates + row * 3 * H + unit;
        s_store_part(gates + GRU_R * H, r, n);
        s_store_part(gates + GRU_Z * H, z, n);
    }
    v_store_part(z_to + unit, z, n);
    s_store_part(ry_to + unit, v_mul(r, y_prev), n);
}

/* Compute n from the sum of the second product, and h^t from n and z. */
FL_INLINE void gru_before_output(const fl_forward *s, const real *Ry, const real *wx, const real *z_from, fl_size row,
                                 fl_size unit, fl_size n) {
    const vec candidate = mostly_tanh(&s->cell->g, gru_before_sum(s, GRU_N, Ry, wx, unit, n)),
              z = v_load_part(z_from + unit, n);
    const vec h = v_fma(z, v_sub(gru_h_prev(s, row, unit, n), candidate), candidate);
    if (s->gates) s_store_part((stored *)s->gates + (row * 3 + GRU_N) * s->hidden + unit, candidate, n);
    gru_write_h(s, h, row, unit, n);
}

FL_INLINE vec gru_before_output_again(const fl_cell *cell, const stored *gates, const real *c, fl_size hidden,
                                      fl_size row, fl_size unit, fl_size n) {
    return gru_output_again(cell, gates, c, hidden, row, unit, n);
}

/* Compute the deltas of z and n, which the last block of R passes on, from dh. */
FL_INLINE void gru_before_candidate_backward(const fl_backward *s, vec dh, fl_size row, fl_size unit, fl_size n) {
    const fl_size H = s->hidden, at = row * H + unit;
    const stored *gates = (const stored *)s->gates + row * 3 * H + unit;
    const vec one = v_set1(1), z = s_load_part(gates + GRU_Z * H, n), candidate = s_load_part(gates + GRU_N * H, n);
    const vec h_prev = v_load_part((const real *)s->c_prev + at, n);
    stored *delta = (stored *)s->delta + row * 3 * H + unit;
    if (s->y_again) s_store_part((stored *)s->y_again + at, v_load_part((const real *)s->c + at, n), n);
    s_store_part(delta + GRU_Z * H, times_derivative(s->cell->gate, v_mul(dh, v_sub(h_prev, candidate)), z), n);
    s_store_part(delta + GRU_N * H, times_derivative(s->cell->g, v_mul(dh, v_sub(one, z)), candidate), n);
    v_store_part((real *)s->dc + at, v_mul(dh, z), n);
}

/* Compute the delta of r from the gradient of r y^{t-1}, and what that passes to y^{t-1} beside the other product. */
FL_INLINE void gru_before_reset_backward(const fl_backward *s, vec d_ry, fl_size row, fl_size unit, fl_size n) {
    const fl_size H = s->hidden, at = row * H + unit;
    const vec r = s_load_part((const stored *)s->gates + row * 3 * H + unit, n);
    const vec y_prev = s->y_prev ? s_load_part((const stored *)s->y_prev + at, n)
                                 : s_rounded(v_load_part((const real *)s->c_prev + at, n));
    s_store_part((stored *)s->delta + row * 3 * H + unit, times_derivative(s->cell->gate, v_mul(d_ry, y_prev), r), n);
    s_store_part((stored *)s->r_y + at, v_mul(r, y_prev), n);
    v_store_part((real *)s->beside + at, v_mul(r, d_ry), n);
}

#ifndef FL_TARGET_DEVICE

/* Where W x^t, which a step may compute, lies in its memory for a row, in blocks of H: after the sums of R y^{t-1}. */
enum { GRU_BEFORE_WX = 3 };

static void gru_before_forward(const fl_forward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) {
    const fl_size H = s->hidden, K = s->outputs, step = s->space_step;
    real *space = (real *)s->space, *wx_space = space + GRU_BEFORE_WX * H;
    const real *wx = s->wx ? (const real *)s->wx : wx_space;
    const fl_size wx_step = s->wx ? 3 * H : step;
    const real *late = s->R ? (const real *)s->R + 2 * H * K : NULL;
    const char *late_panels = panel_at(s->R_panels, s->format, K, padded_to_panels(2 * H));
    assert(unit0 == 0 && unit1 == H);
    (void)unit0, (void)unit1;
    if (!s->wx) product_of_rows(s, s->x, s->input, s->input, s->W_panels, s->W, 3 * H, wx_space, row0, row1);
    product_of_rows(s, s->y_prev, s->y_prev_step, K, s->R_panels, s->R, 2 * H, space, row0, row1);
    for (fl_size row = row0; row < row1; row++) {
        real *own = space + row * step;
        for (fl_size unit = 0; unit < H; unit += VL) /* z and r y^{t-1} take the place of the sums of z and r */
            gru_before_gates(s, own, wx + row * wx_step, own + GRU_Z * H, own, row, unit, at_most(H - unit, VL));
    }
    product_of_rows(s, space, step, K, late_panels, late, H, space + GRU_N * H, row0, row1);
    for (fl_size row = row0; row < row1; row++) {
        real *own = space + row * step;
        for (fl_size unit = 0; unit < H; unit += VL)
            gru_before_output(s, own, wx + row * wx_step, own + GRU_Z * H, row, unit, at_most(H - unit, VL));
    }
}

static void gru_before_backward(const fl_backward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) {
    const fl_size H = s->hidden;
    real *sent = (real *)s->sent; /* the gradient of y^t, then that of r y^{t-1} */
    const fl_product late = {.columns = H,
                             .K = H,
                             .a = (const real *)s->delta + GRU_N * H,
                             .a_row_step = 3 * H,
                             .a_k_step = 1,
                             .panels = s->R_panels,
                             .vectors = COLUMNS,
                             .gates = 1,
                             .c = sent,
                             .c_row_step = H};
    assert(unit0 == 0 && unit1 == H);
    (void)unit0, (void)unit1;
    y_gradient(&s->y, sent, H, row0, row1, 0, H);
    for (fl_size row = row0; row < row1; row++)
        for (fl_size unit = 0; unit < H; unit += VL) {
            const fl_size n = at_most(H - unit, VL);
            gru_before_candidate_backward(s, v_load_part(sent + row * H + unit, n), row, unit, n);
        }
    multiply(&late, row0, row1, 0, H);
    for (fl_size row = row0; row < row1; row++)
        for (fl_size unit = 0; unit < H; unit += VL) {
            const fl_size n = at_most(H - unit, VL);
            gru_before_reset_backward(s, v_load_part(sent + row * H + unit, n), row, unit, n);
        }
}

#define gru_before_add_p_gradient NULL

#endif

#endif
