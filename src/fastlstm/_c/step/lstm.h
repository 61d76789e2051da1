/* The LSTM's step, forward and backward, in the notation of "LSTM: A Search Space Odyssey" (Greff et al., 2017).
 *
 * `plain` and `peephole` are known to the compiler where it matters: the vanilla cell runs without a branch, every
 * other cell takes the same code with its branches.
 */
#ifndef FL_LSTM_H
#define FL_LSTM_H

#include "step/carry.h"
#include "step/forward.h"
#include "pass/sums.h"

enum { GATE_I, GATE_F, GATE_Z, GATE_O };

/* What the compiler knows of a cell, as `plain`: nothing, that it is plain, or plain but for fast activations. */
enum { ANY_CELL, PLAIN, FAST_PLAIN };

/* The place of a gate's block; that of its peepholes is the same without z. */
#define PLACE(gate, usual) (plain ? (usual) : cell->gate)
#define PEEPHOLE_I_F(place) (place)
#define PEEPHOLE_O(place) ((place) - 1)

/* Return what goes into an activation, for one row and n units from `unit` on: acc holds W x^t + R y^{t-1}, without W
 * x^t when s->wx is given, one vector per gate. */
FL_INLINE vec before_activation(const fl_forward *s, const int place, const real *acc, fl_size at_gates, fl_size unit,
                                fl_size n) {
    const fl_size block = place * s->hidden;
    return sum_of(s, v_load(acc + place * VL), at_gates + block, block + unit, n);
}

FL_INLINE vec bounded(const fl_cell *cell, const int plain, vec a) {
    return plain || cell->clip == 0 ? a : v_bounded(a, (real)cell->clip);
}

FL_INLINE vec gate_of(const fl_cell *cell, const int plain, vec a) {
    if (plain == FAST_PLAIN) return v_fast_logistic(a);
    return plain ? v_logistic(a) : apply(cell->gate, bounded(cell, plain, a));
}

FL_INLINE vec g_of(const fl_cell *cell, const int plain, vec a) {
    if (plain == FAST_PLAIN) return v_fast_tanh(a);
    return plain ? v_tanh(a) : apply(cell->g, bounded(cell, plain, a));
}

FL_INLINE vec h_of(const fl_cell *cell, const int plain, vec c) {
    if (plain == FAST_PLAIN) return v_fast_tanh(c);
    return plain ? v_tanh(c) : apply(cell->h, c);
}

typedef struct {
    vec i, f;
} lstm_gates;

/* The cell equations in two halves, see forward_in_halves; returns the gates that were used. */
FL_INLINE lstm_gates lstm_cell(const fl_forward *s, const int plain, const int peephole, const real *acc, fl_size row,
                               fl_size unit, fl_size n) {
    const fl_cell *cell = s->cell;
    const fl_size H = s->hidden, at = row * H + unit, at_gates = row * (plain ? 4 : cell->gates) * H + unit;
    const int at_i = PLACE(i, GATE_I), at_f = PLACE(f, GATE_F), at_z = PLACE(z, GATE_Z);
    const vec c_prev = v_load_part((const real *)s->c_prev + at, n);
    const stored *p = peephole ? (const stored *)s->p + unit : NULL;
    vec i = v_set1(1), f = v_set1(1), z, c;
    if (at_i >= 0) {
        i = before_activation(s, at_i, acc, at_gates, unit, n);
        if (peephole) i = v_fma(s_load_part(p + PEEPHOLE_I_F(at_i) * H, n), c_prev, i);
    }
    if (at_f >= 0) {
        f = before_activation(s, at_f, acc, at_gates, unit, n);
        if (peephole) f = v_fma(s_load_part(p + PEEPHOLE_I_F(at_f) * H, n), c_prev, f);
    }
    z = before_activation(s, at_z, acc, at_gates, unit, n);

    if (at_i >= 0) i = gate_of(cell, plain, i);
    if (at_f >= 0)
        f = gate_of(cell, plain, f);
    else if (cell->coupled)
        f = v_sub(v_set1(1), i);
    z = g_of(cell, plain, z);
    c = v_fma(z, i, v_mul(c_prev, f));
    if (!plain && cell->cell_clip != 0) c = v_bounded(c, (real)cell->cell_clip);
    v_store_part((real *)s->c + at, c, n);
    if (s->gates) {
        stored *gates = (stored *)s->gates + at_gates;
        if (at_i >= 0) s_store_part(gates + at_i * H, i, n);
        if (at_f >= 0) s_store_part(gates + at_f * H, f, n);
        s_store_part(gates + at_z * H, z, n);
    }
    const lstm_gates used = {i, f};
    return used;
}

/* Compute the output gate from c^t. */
FL_INLINE vec lstm_output_gate(const fl_forward *s, const int plain, const int peephole, const real *acc, vec c,
                               fl_size row, fl_size unit, fl_size n) {
    const fl_cell *cell = s->cell;
    const fl_size H = s->hidden, at_gates = row * (plain ? 4 : cell->gates) * H + unit;
    const int at_o = PLACE(o, GATE_O);
    vec o = v_set1(1);
    if (at_o >= 0) {
        o = before_activation(s, at_o, acc, at_gates, unit, n);
        if (peephole) o = v_fma(s_load_part((const stored *)s->p + PEEPHOLE_O(at_o) * H + unit, n), c, o);
        o = gate_of(cell, plain, o);
        if (s->gates) s_store_part((stored *)s->gates + at_gates + at_o * H, o, n);
    }
    return o;
}

FL_INLINE void lstm_write_y(const fl_forward *s, vec y, fl_size row, fl_size unit, fl_size n) {
    if (row < s->keep && s->y) s_store_part((stored *)s->y + row * s->y_step + unit, y, n);
    if (s->y_copy) s_store_part((stored *)s->y_copy + row * s->y_copy_step + unit, y, n);
}

FL_INLINE vec lstm_output(const fl_forward *s, const int plain, const int peephole, const real *acc, fl_size row,
                          fl_size unit, fl_size n) {
    const vec c = v_load_part((const real *)s->c + row * s->hidden + unit, n);
    const vec o = lstm_output_gate(s, plain, peephole, acc, c, row, unit, n);
    lstm_write_y(s, v_mul(h_of(s->cell, plain, c), o), row, unit, n);
    return o;
}

/* y^t of one row and n units again, from what is on the tape. */
FL_INLINE vec lstm_output_again(const fl_cell *cell, const stored *gates, const real *c, fl_size hidden, fl_size row,
                                fl_size unit, fl_size n) {
    const vec hc = apply(cell->h, v_load_part(c + row * hidden + unit, n));
    if (cell->o < 0) return hc;
    return v_mul(hc, s_load_part(gates + (row * cell->gates + cell->o) * hidden + unit, n));
}

#ifdef FL_TARGET_DEVICE

FL_INLINE void lstm_forward_unit(const fl_forward *s, const int plain, const int peephole, const real *sums,
                                 fl_size row, fl_size unit) {
    lstm_cell(s, plain, peephole, sums, row, unit, 1);
    lstm_output(s, plain, peephole, sums, row, unit, 1);
}

#endif

/* ---- backward ---- */

/* The values of sigma and g at the bounds of clipping, as they are stored: where a result is one of them or beyond, the
 * derivative is zero. */
typedef struct {
    vec gate_low, gate_high, g_low, g_high;
} bounds;

FL_INLINE bounds bounds_of(const fl_cell *cell) {
    const vec clip = v_set1((real)cell->clip), minus = v_sub(v_zero(), clip);
    const bounds b = {s_rounded(apply(cell->gate, minus)), s_rounded(apply(cell->gate, clip)),
                      s_rounded(apply(cell->g, minus)), s_rounded(apply(cell->g, clip))};
    return b;
}

/* d sigma'(a), from the gate sigma(a) */
FL_INLINE vec gate_derivative(const fl_cell *cell, const int plain, const bounds *b, vec d, vec gate) {
    if (plain) return v_mul(d, v_mul(gate, v_sub(v_set1(1), gate)));
    d = times_derivative(cell->gate, d, gate);
    return cell->clip != 0 ? v_between(b->gate_low, gate, b->gate_high, d) : d;
}

/* dc + d h'(c), from hc = h(c); of tanh, without rounding the product */
FL_INLINE vec plus_h_derivative(const fl_cell *cell, const int plain, vec dc, vec d, vec hc) {
    if (plain || cell->h.kind == FL_TANH) return v_fma(d, v_fnma(hc, hc, v_set1(1)), dc);
    return v_add(times_derivative(cell->h, d, hc), dc);
}

/* The path from c^t to y^t where that is more than the activation h: the factor of the output gate, and the gradient of
 * c^t through it. */
typedef struct {
    vec hc, dc;
} output_path;

/* Compute the deltas for one row and n units, from dy^t and the gradients that arrive at i, f and o themselves, NULL
 * for none; `out` is NULL where y^t = h(c^t) o. d_i, d_f, d_z and d_o are with respect to the sums before activation,
 * which the equations write with a bar.
 */
FL_INLINE void lstm_cell_backward(const fl_backward *s, const int plain, const int peephole, const bounds *b, vec dy,
                                  const vec *to_i_f_o, const output_path *out, fl_size row, fl_size unit, fl_size n) {
    const fl_cell *cell = s->cell;
    const int at_i = PLACE(i, GATE_I), at_f = PLACE(f, GATE_F), at_z = PLACE(z, GATE_Z), at_o = PLACE(o, GATE_O);
    const fl_size H = s->hidden, at = row * H + unit, G = plain ? 4 : cell->gates;
    const stored *gates = (const stored *)s->gates + row * G * H + unit;
    const stored *p = peephole ? (const stored *)s->p + unit : NULL;
    stored *delta = (stored *)s->delta + row * G * H + unit;
    real *dc_carry = (real *)s->dc + at;
    const vec one = v_set1(1);
    const vec i = at_i >= 0 ? s_load_part(gates + at_i * H, n) : one;
    const vec f = at_f >= 0 ? s_load_part(gates + at_f * H, n) : !plain && cell->coupled ? v_sub(one, i) : one;
    const vec z = s_load_part(gates + at_z * H, n);
    const vec o = at_o >= 0 ? s_load_part(gates + at_o * H, n) : one;
    const vec c_prev = v_load_part((const real *)s->c_prev + at, n), c = v_load_part((const real *)s->c + at, n);
    const vec hc = out ? out->hc : plain ? v_tanh(c) : apply(cell->h, c);
    if (s->y_again) s_store_part((stored *)s->y_again + at, v_mul(hc, o), n);

    vec dc = v_load_part(dc_carry, n), stays = v_zero();
    if (!plain) {
        if (s->reset && s->reset[row]) {
            if (s->dc_first) {
                real *to = (real *)s->dc_first + at;
                v_store_part(to, v_add(v_load_part(to, n), dc), n);
            }
            dc = v_zero();
        }
        if (s->zone_c) {
            stays = v_mul(s_load_part((const stored *)s->zone_c + at, n), dc);
            dc = v_sub(dc, stays);
        }
        if (s->dc_above) dc = v_add(dc, v_load_part((const real *)s->dc_above + at, n));
    }
    vec d_i = v_zero(), d_f = v_zero(), d_o = v_zero();
    if (at_o >= 0) {
        d_o = v_mul(dy, hc);
        if (to_i_f_o) d_o = v_add(d_o, to_i_f_o[2]);
        d_o = plain ? v_mul(d_o, v_mul(o, v_sub(one, o))) : gate_derivative(cell, plain, b, d_o, o);
    }
    dc = out ? v_add(dc, out->dc) : plus_h_derivative(cell, plain, dc, v_mul(dy, o), hc);
    if (peephole && at_o >= 0) dc = v_fma(s_load_part(p + PEEPHOLE_O(at_o) * H, n), d_o, dc);
    if (!plain && s->dc_all) v_store_part((real *)s->dc_all + at, dc, n);
    if (!plain && cell->cell_clip != 0) {
        const vec bound = v_set1((real)cell->cell_clip);
        dc = v_between(v_sub(v_zero(), bound), c, bound, dc);
    }

    vec to_c_prev = v_mul(dc, f);
    if (!plain && s->zone_c) to_c_prev = v_add(to_c_prev, stays);
    if (at_f >= 0) {
        d_f = v_mul(dc, c_prev);
        if (to_i_f_o) d_f = v_add(d_f, to_i_f_o[1]);
        d_f = gate_derivative(cell, plain, b, d_f, f);
    }
    if (at_i >= 0) {
        d_i = v_mul(dc, !plain && cell->coupled ? v_sub(z, c_prev) : z);
        if (to_i_f_o) d_i = v_add(d_i, to_i_f_o[0]);
        d_i = gate_derivative(cell, plain, b, d_i, i);
    }
    vec d_z = v_mul(dc, i);
    if (plain) {
        d_z = v_mul(d_z, v_fnma(z, z, one));
    } else {
        d_z = times_derivative(cell->g, d_z, z);
        if (cell->clip != 0) d_z = v_between(b->g_low, z, b->g_high, d_z);
    }
    if (peephole) {
        if (at_i >= 0) to_c_prev = v_fma(s_load_part(p + PEEPHOLE_I_F(at_i) * H, n), d_i, to_c_prev);
        if (at_f >= 0) to_c_prev = v_fma(s_load_part(p + PEEPHOLE_I_F(at_f) * H, n), d_f, to_c_prev);
    }
    v_store_part(dc_carry, to_c_prev, n);

    real *panel = s->delta_panels ? (real *)s->delta_panels + unit / VL * s->panel_step + row * G * VL : NULL;
#define STORE_DELTA(place, d)                        \
    if ((place) >= 0) {                              \
        s_store_part(delta + (place) * H, d, n);     \
        if (panel) v_store(panel + (place) * VL, d); \
    }
    STORE_DELTA(at_i, d_i)
    STORE_DELTA(at_f, d_f)
    STORE_DELTA(at_z, d_z)
    STORE_DELTA(at_o, d_o)
#undef STORE_DELTA
}

/* Compute the deltas from the sum of what the next step sends to y. `plain` and `peephole` are known to the compiler.
 */
FL_INLINE void lstm_unit_backward(const fl_backward *s, const int plain, const int peephole, const bounds *b, vec sent,
                                  fl_size row, fl_size unit, fl_size n) {
    const fl_y_gradient *y = &s->y;
    vec dy = sent;
    if (plain) {
        if (y->above) dy = v_add(dy, s_load((const stored *)y->above + row * y->above_step + unit));
        if (y->last) dy = v_add(dy, s_load((const stored *)y->last + row * s->hidden + unit));
    } else {
        dy = y_gradient_of(y, dy, row, unit, s->hidden, n);
    }
    lstm_cell_backward(s, plain, peephole, b, dy, NULL, NULL, row, unit, n);
}

#ifdef FL_TARGET_DEVICE

FL_INLINE void lstm_backward_unit(const fl_backward *s, const int plain, const int peephole, const real *sent,
                                  fl_size step, fl_size row, fl_size unit) {
    const bounds b = bounds_of(s->cell);
    (void)step;
    lstm_unit_backward(s, plain, peephole, &b, sent ? v_load(sent) : v_zero(), row, unit, 1);
}

#else

static void lstm_backward(const fl_backward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) {
    const fl_size H = s->hidden;
    const int plain = s->cell->plain && s->simple;
    const bounds b = bounds_of(s->cell);
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
                    const vec sent = s->y.a ? v_load(&acc[m][v * VL]) : v_zero();
                    if (n < VL)
                        lstm_unit_backward(s, 0, s->p != NULL, &b, sent, row + m, first, n);
                    else if (!plain)
                        lstm_unit_backward(s, 0, s->p != NULL, &b, sent, row + m, first, VL);
                    else if (s->p)
                        lstm_unit_backward(s, 1, 1, NULL, sent, row + m, first, VL);
                    else
                        lstm_unit_backward(s, 1, 0, NULL, sent, row + m, first, VL);
                }
        }
    }
}

/* Add the deltas of i and f times c_prev, and the delta of o times c. */
static void lstm_add_p_gradient(void *dp, const fl_cell *cell, const void *delta, const void *delta_R,
                                const void *c_prev, const void *c, fl_size rows, fl_size hidden, fl_size unit0,
                                fl_size unit1) {
    (void)delta_R;
    const fl_size H = hidden, G = cell->gates;
    const struct {
        int place, row;
        const void *seen;
    } gates[] = {{cell->i, PEEPHOLE_I_F(cell->i), c_prev},
                 {cell->f, PEEPHOLE_I_F(cell->f), c_prev},
                 {cell->o, PEEPHOLE_O(cell->o), c}};
    for (int gate = 0; gate < 3; gate++) {
        if (gates[gate].place < 0) continue;
        for (fl_size unit = unit0; unit < unit1; unit += VL) {
            const fl_size n = at_most(unit1 - unit, VL);
            const real *d = (const real *)delta + gates[gate].place * H + unit;
            const real *seen = (const real *)gates[gate].seen + unit;
            vec total = v_zero();
            for (fl_size row = 0; row < rows;) {
                vec sum = v_zero();
                for (const fl_size end = row + at_most(rows - row, FL_ROWS_PER_GROUP); row < end; row++)
                    sum = v_fma(v_load_part(d + row * G * H, n), v_load_part(seen + row * H, n), sum);
                total = v_add(total, sum);
            }
            real *to = (real *)dp + gates[gate].row * H + unit;
            v_store_part(to, v_add(v_load_part(to, n), total), n);
        }
    }
}

#endif

#endif
