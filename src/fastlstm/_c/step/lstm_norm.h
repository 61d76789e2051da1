/* The step of the layer-normalised LSTM, forward and backward. With n(v) the values of a row v less their mean, divided
 * by the root of their variance + NORM_EPSILON,
 *
 *     bars = gR n(R y^{t-1}) + gW n(W x^t) + b, of all gates at once
 *     y^t  = h(gc n(c^t) + bc) o^t
 *
 * and what lies between is an LSTM's. A mean waits for all units, so that a step has all units of its rows. The rows of
 * `norm` are gR and gW, each with a row for each gate block, then gc and bc. On the tape are the gates, R y^{t-1}, W
 * x^t and h(gc n(c^t) + bc). */
#ifndef FL_LSTM_NORM_H
#define FL_LSTM_NORM_H

#include "step/lstm.h"

#define NORM_EPSILON ((real)1e-5)

/* ---- a normalised row ---- */

/* What normalises a row: n(v) = ((v - first) - mean) scale. Less its first value, a row whose values are all the same
 * is exactly zero. */
typedef struct {
    vec first, mean, scale;
} moments;

/* Load n values of a row, which is of the type of the tape or, unless `as_stored`, of sums. */
FL_INLINE vec load_value(const void *row, const int as_stored, fl_size k, fl_size n) {
    return as_stored ? s_load_part((const stored *)row + k, n) : v_load_part((const real *)row + k, n);
}

FL_INLINE vec centred(const moments *m, vec v) { return v_sub(v_sub(v, m->first), m->mean); }
FL_INLINE vec normalised(const moments *m, vec v) { return v_mul(centred(m, v), m->scale); }

/* Return the first n lanes of a vector, and zeros. */
FL_INLINE vec first_lanes(vec x, fl_size n) {
    FL_ALIGN(64) real lanes[VL] = {0};
    if (n == VL) return x;
    v_store_part(lanes, x, n);
    return v_load(lanes);
}

/* Return the mean of `count` values, from the sums of some of them in four vectors, in all lanes. */
FL_INLINE vec mean_of(const vec *sums, fl_size count) {
    real four[4];
    v_sum4(four, sums);
    return v_div(v_set1((four[0] + four[1]) + (four[2] + four[3])), v_set1((real)count));
}

/* Run a statement for the vectors of a row in turns of four, j, whose sums do not wait for each other: `at` is where a
 * vector begins, n how many values it has. */
#define IN_FOURS(count, statement)                                   \
    for (fl_size four = 0; four < (count); four += 4 * VL) FL_UNROLL \
    for (int j = 0; j < 4; j++) {                                    \
        const fl_size at = four + j * VL;                            \
        if (at < (count)) {                                          \
            const fl_size n = at_most((count) - at, VL);             \
            statement;                                               \
        }                                                            \
    }

FL_FUNCTION moments moments_of(const void *row, const int as_stored, fl_size count) {
    moments m = {v_zero(), v_zero(), v_zero()};
    vec sums[4] = {v_zero(), v_zero(), v_zero(), v_zero()}, squares[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    m.first = v_set1(as_stored ? of_stored(*(const stored *)row) : *(const real *)row);
    IN_FOURS(count, sums[j] = v_add(sums[j], first_lanes(v_sub(load_value(row, as_stored, at, n), m.first), n)))
    m.mean = mean_of(sums, count);
    IN_FOURS(count, const vec d = first_lanes(centred(&m, load_value(row, as_stored, at, n)), n);
             squares[j] = v_fma(d, d, squares[j]))
    m.scale = v_div(v_set1(1), v_sqrt(v_add(mean_of(squares, count), v_set1(NORM_EPSILON))));
    return m;
}

/* ---- forward ---- */

/* The sums of a row's products, and what normalises them. */
typedef struct {
    const real *Ry, *Wx;
    moments of_R, of_W;
} row_sums;

/* Return a step of one row, which is its row 0. */
FL_INLINE fl_forward forward_of_row(const fl_forward *s, fl_size row) {
    const fl_size H = s->hidden;
    fl_forward own = *s;
    own.wx = own.scale = own.ratio = NULL; /* The sums are complete but for b. */
    own.c_prev = (const real *)s->c_prev + row * H;
    own.c = (real *)s->c + row * H;
    own.gates = s->gates ? (stored *)s->gates + row * s->cell->kept * H : NULL;
    own.keep = s->keep - row;
    own.y = s->y ? (stored *)s->y + row * s->y_step : NULL;
    own.y_copy = s->y_copy ? (stored *)s->y_copy + row * s->y_copy_step : NULL;
    return own;
}

/* Compute what normalisation makes of the sums of a gate's block, for n units, but for b: a vector of acc. */
FL_INLINE void normalised_sum(const fl_forward *s, const row_sums *r, const int place, real *acc, fl_size unit,
                              fl_size n) {
    const fl_size at = place * s->hidden + unit;
    const stored *gR = (const stored *)s->norm, *gW = gR + s->cell->gates * s->hidden;
    const vec Ry = normalised(&r->of_R, v_load_part(r->Ry + at, n)),
              Wx = normalised(&r->of_W, v_load_part(r->Wx + at, n));
    v_store(acc + place * VL, v_fma(s_load_part(gR + at, n), Ry, v_mul(s_load_part(gW + at, n), Wx)));
}

/* Compute the gates but for o, and c^t, of the first row. */
FL_INLINE void norm_cell(const fl_forward *s, const int plain, const int peephole, const row_sums *r, fl_size unit,
                         fl_size n) {
    FL_ALIGN(64) real acc[FL_MOST_GATES * VL];
    for (int place = 0; place < (plain ? 4 : s->cell->gates); place++) normalised_sum(s, r, place, acc, unit, n);
    lstm_cell(s, plain, peephole, acc, 0, unit, n);
}

/* Compute o and y^t of the first row. */
FL_INLINE void norm_output(const fl_forward *s, const int plain, const int peephole, const row_sums *r,
                           const moments *of_c, fl_size unit, fl_size n) {
    const fl_cell *cell = s->cell;
    const fl_size H = s->hidden, G = plain ? 4 : cell->gates;
    const int at_o = PLACE(o, GATE_O);
    const stored *gc = (const stored *)s->norm + 2 * G * H + unit;
    const vec c = v_load_part((const real *)s->c + unit, n);
    FL_ALIGN(64) real acc[FL_MOST_GATES * VL];
    if (at_o >= 0) normalised_sum(s, r, at_o, acc, unit, n);
    const vec o = lstm_output_gate(s, plain, peephole, acc, c, 0, unit, n);
    const vec u = v_fma(s_load_part(gc, n), normalised(of_c, c), s_load_part(gc + H, n));
    const vec hu = plain ? v_tanh(u) : apply(cell->h, u);
    if (s->gates) s_store_part((stored *)s->gates + 3 * G * H + unit, hu, n);
    lstm_write_y(s, v_mul(hu, o), 0, unit, n);
}

FL_INLINE vec lstm_norm_output_again(const fl_cell *cell, const stored *gates, const real *c, fl_size hidden,
                                     fl_size row, fl_size unit, fl_size n) {
    const stored *own = gates + row * cell->kept * hidden + unit;
    const vec hu = s_load_part(own + 3 * cell->gates * hidden, n);
    (void)c;
    return cell->o < 0 ? hu : v_mul(hu, s_load_part(own + cell->o * hidden, n));
}

/* Run a half of a step, or of a step back, for all units: in the form that is compiled apart where that is possible. */
#define EACH_UNIT(s, is_plain, half, ...)                     \
    for (fl_size unit = 0; unit < (s)->hidden; unit += VL) {  \
        const fl_size n = at_most((s)->hidden - unit, VL);    \
        if (n < VL || !(is_plain))                            \
            half(s, 0, (s)->p != NULL, __VA_ARGS__, unit, n); \
        else if ((s)->p)                                      \
            half(s, 1, 1, __VA_ARGS__, unit, VL);             \
        else                                                  \
            half(s, 1, 0, __VA_ARGS__, unit, VL);             \
    }

/* Compute a step of one row from its products, R y^{t-1} and W x^t. */
FL_FUNCTION void lstm_norm_forward_row(const fl_forward *s, const real *Ry, const real *Wx, fl_size row) {
    const fl_size H = s->hidden, GH = s->cell->gates * H;
    const fl_forward own = forward_of_row(s, row);
    const row_sums r = {Ry, Wx, moments_of(Ry, 0, GH), moments_of(Wx, 0, GH)};
    if (own.gates)
        for (fl_size k = 0; k < GH; k += VL) {
            const fl_size n = at_most(GH - k, VL);
            s_store_part((stored *)own.gates + GH + k, v_load_part(Ry + k, n), n);
            s_store_part((stored *)own.gates + 2 * GH + k, v_load_part(Wx + k, n), n);
        }
    EACH_UNIT(&own, s->cell->plain, norm_cell, &r)
    const moments of_c = moments_of(own.c, 0, H);
    EACH_UNIT(&own, s->cell->plain, norm_output, &r, &of_c)
}

/* ---- backward ---- */

/* Return a step back of one row, which is its row 0. */
FL_INLINE fl_backward backward_of_row(const fl_backward *s, fl_size row) {
    const fl_size H = s->hidden, at = row * H, at_gates = at * s->cell->gates;
    fl_backward own = *s;
    own.gates = (const stored *)s->gates + at * s->cell->kept;
    own.c_prev = (const real *)s->c_prev + at;
    own.c = (const real *)s->c + at;
    own.dc_above = s->dc_above ? (const real *)s->dc_above + at : NULL;
    own.reset = s->reset ? s->reset + row : NULL;
    own.dc_first = s->dc_first ? (real *)s->dc_first + at : NULL;
    own.zone_c = s->zone_c ? (const stored *)s->zone_c + at : NULL;
    own.delta = (stored *)s->delta + at_gates;
    own.delta_R = (stored *)s->delta_R + at_gates;
    own.delta_W = (stored *)s->delta_W + at_gates;
    own.norm_deltas = (stored *)s->norm_deltas + at * s->cell->norm_rows;
    own.dc = (real *)s->dc + at;
    own.dc_all = s->dc_all ? (real *)s->dc_all + at : NULL;
    own.y_again = s->y_again ? (stored *)s->y_again + at : NULL;
    return own;
}

/* What a normalised row passes back: its gradient is scale (dn - mean - n product), with dn the one that arrives at n,
 * and the means of dn and of dn n. */
typedef struct {
    moments of;
    vec mean, product;
} moments_back;

FL_INLINE void take_means(moments_back *m, const vec *sums, const vec *products, fl_size count) {
    m->mean = mean_of(sums, count);
    m->product = mean_of(products, count);
}

FL_INLINE vec through_norm(const moments_back *m, vec dn, vec v) {
    return v_mul(m->of.scale, v_sub(v_sub(dn, m->mean), v_mul(normalised(&m->of, v), m->product)));
}

/* Return the gradient that arrives at u = gc n(c^t) + bc, from dy. */
FL_INLINE vec du_of(const fl_backward *s, const real *dy, fl_size unit, fl_size n) {
    const fl_cell *cell = s->cell;
    const stored *gates = (const stored *)s->gates + unit;
    vec d = v_load_part(dy + unit, n);
    if (cell->o >= 0) d = v_mul(d, s_load_part(gates + cell->o * s->hidden, n));
    return times_derivative(cell->h, d, s_load_part(gates + 3 * cell->gates * s->hidden, n));
}

/* Compute the shares of dgc and dbc; return what n(c^t) passes back. */
FL_INLINE moments_back norm_of_c_backward(const fl_backward *s, const real *dy) {
    const fl_size H = s->hidden, G = s->cell->gates;
    const real *c = (const real *)s->c;
    const stored *gc = (const stored *)s->norm + 2 * G * H;
    stored *dgc = (stored *)s->norm_deltas + 2 * G * H;
    moments_back m = {moments_of(c, 0, H), v_zero(), v_zero()};
    vec sums[4] = {v_zero(), v_zero(), v_zero(), v_zero()}, products[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    IN_FOURS(H, const vec nc = normalised(&m.of, v_load_part(c + at, n)); const vec du = du_of(s, dy, at, n);
             const vec dn = v_mul(s_load_part(gc + at, n), du); s_store_part(dgc + at, v_mul(du, nc), n);
             s_store_part(dgc + H + at, du, n); sums[j] = v_add(sums[j], dn); products[j] = v_fma(dn, nc, products[j]))
    take_means(&m, sums, products, H);
    return m;
}

/* Compute the deltas of the gates of the first row. */
FL_INLINE void norm_cell_backward(const fl_backward *s, const int plain, const int peephole, const bounds *b,
                                  const real *dy, const moments_back *m, fl_size unit, fl_size n) {
    const fl_size H = s->hidden, G = s->cell->gates;
    const vec gc = s_load_part((const stored *)s->norm + 2 * G * H + unit, n);
    const vec dn = v_mul(gc, du_of(s, dy, unit, n));
    const output_path out = {s_load_part((const stored *)s->gates + 3 * G * H + unit, n),
                             through_norm(m, dn, v_load_part((const real *)s->c + unit, n))};
    lstm_cell_backward(s, plain, peephole, b, v_load_part(dy + unit, n), NULL, &out, 0, unit, n);
}

/* Compute what a normalised row of sums, R y^{t-1} or W x^t, passes back of the deltas: the deltas of the sums, and the
 * shares of its gains' gradients. */
FL_INLINE void norm_of_sums_backward(const stored *delta, const stored *gains, const stored *sums_of_row,
                                     stored *delta_of_sums, stored *dgains, fl_size count) {
    moments_back m = {moments_of(sums_of_row, 1, count), v_zero(), v_zero()};
    vec sums[4] = {v_zero(), v_zero(), v_zero(), v_zero()}, products[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    IN_FOURS(count, const vec d = s_load_part(delta + at, n);
             const vec share = v_mul(d, normalised(&m.of, s_load_part(sums_of_row + at, n)));
             const vec gain = s_load_part(gains + at, n); s_store_part(dgains + at, share, n);
             sums[j] = v_fma(gain, d, sums[j]); products[j] = v_fma(gain, share, products[j]))
    take_means(&m, sums, products, count);
    for (fl_size at = 0; at < count; at += VL) {
        const fl_size n = at_most(count - at, VL);
        const vec dn = v_mul(s_load_part(gains + at, n), s_load_part(delta + at, n));
        s_store_part(delta_of_sums + at, through_norm(&m, dn, s_load_part(sums_of_row + at, n)), n);
    }
}

/* Compute a step back of one row from dy^t, (H,). */
FL_FUNCTION void lstm_norm_backward_row(const fl_backward *s, const bounds *b, const real *dy, fl_size row) {
    const fl_size GH = s->cell->gates * s->hidden;
    const fl_backward own = backward_of_row(s, row);
    const stored *sums = (const stored *)own.gates + GH, *gains = (const stored *)s->norm;
    stored *dgains = (stored *)own.norm_deltas;
    const moments_back m = norm_of_c_backward(&own, dy);
    EACH_UNIT(&own, s->cell->plain && s->simple, norm_cell_backward, b, dy, &m)
    norm_of_sums_backward((const stored *)own.delta, gains, sums, (stored *)own.delta_R, dgains, GH);
    norm_of_sums_backward((const stored *)own.delta, gains + GH, sums + GH, (stored *)own.delta_W, dgains + GH, GH);
}

#ifndef FL_TARGET_DEVICE

static void lstm_norm_forward(const fl_forward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) {
    const fl_size GH = s->cell->gates * s->hidden, K = s->outputs, step = s->space_step;
    real *space = (real *)s->space; /* of a row: R y^{t-1}, then W x^t */
    assert(unit0 == 0 && unit1 == s->hidden);
    (void)unit0, (void)unit1;
    product_of_rows(s, s->y_prev, s->y_prev_step, K, s->R_panels, s->R, GH, space, row0, row1);
    if (!s->wx) product_of_rows(s, s->x, s->input, s->input, s->W_panels, s->W, GH, space + GH, row0, row1);
    for (fl_size row = row0; row < row1; row++) {
        real *Ry = space + row * step;
        const real *wx = s->wx ? (const real *)s->wx + row * GH : Ry + GH;
        for (fl_size k = 0; s->scale && k < GH; k++) { /* Weights in 8 bits are scaled before they are normalised. */
            const real scale = ((const real *)s->scale)[k];
            Ry[GH + k] = wx[k] * ((const real *)s->ratio)[k] * scale;
            Ry[k] *= scale;
        }
        lstm_norm_forward_row(s, Ry, s->scale ? Ry + GH : wx, row);
    }
}

static void lstm_norm_backward(const fl_backward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) {
    const fl_size H = s->hidden;
    const bounds b = bounds_of(s->cell);
    real *dy = (real *)s->sent;
    assert(unit0 == 0 && unit1 == H);
    (void)unit0, (void)unit1;
    y_gradient(&s->y, dy, H, row0, row1, 0, H);
    for (fl_size row = row0; row < row1; row++) lstm_norm_backward_row(s, &b, dy + row * H, row);
}

#define lstm_norm_add_p_gradient lstm_add_p_gradient

#endif

#endif
