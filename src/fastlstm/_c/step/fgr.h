/* The step of an LSTM with full gate recurrence, forward and backward: each gate sees i, f and o of the step
 * before, which stand beside y as extra columns of a row, for each vector of units three vectors side by side. */
#ifndef FL_FGR_H
#define FL_FGR_H

#include "step/lstm.h"

/* Return the number of extra columns, padded to whole vectors. */
FL_INLINE fl_size fgr_columns(fl_size hidden) { return (hidden + VL - 1) / VL * 3 * VL; }

/* Return where a row's gates from `unit` on are written: for the next step, or for the final state. */
FL_INLINE stored *fgr_gates_to(const fl_forward *s, fl_size row, fl_size unit) {
    void *to = row < s->keep ? s->extra_seen : s->extra_last;
    return to ? (stored *)to + row * (row < s->keep ? s->y_step : fgr_columns(s->hidden)) + 3 * unit : NULL;
}

FL_INLINE void fgr_cell(const fl_forward *s, const real *acc, fl_size row, fl_size unit, fl_size n) {
    const lstm_gates used = lstm_cell(s, 0, s->p != NULL, acc, row, unit, n);
    stored *to = fgr_gates_to(s, row, unit);
    if (!to) return;
    if (n < VL) memset(to, 0, 3 * VL * sizeof(stored));
    s_store_part(to, used.i, n);
    s_store_part(to + VL, used.f, n);
}

FL_INLINE void fgr_output(const fl_forward *s, const real *acc, fl_size row, fl_size unit, fl_size n) {
    const vec o = lstm_output(s, 0, s->p != NULL, acc, row, unit, n);
    stored *to = fgr_gates_to(s, row, unit);
    if (to) s_store_part(to + 2 * VL, o, n);
}

FL_INLINE vec fgr_output_again(const fl_cell *cell, const stored *gates, const real *c, fl_size hidden, fl_size row,
                               fl_size unit, fl_size n) {
    return lstm_output_again(cell, gates, c, hidden, row, unit, n);
}

/* Compute the deltas for one row and n units, from what the next step sends to y and to the gates: 3 vectors, one every
 * `step` values, or NULL. */
FL_INLINE void fgr_cell_backward(const fl_backward *s, const bounds *b, vec dy, const real *sent_to_gates, fl_size step,
                                 fl_size row, fl_size unit, fl_size n) {
    const int reset = s->reset && s->reset[row];
    const stored *last = (const stored *)s->d_extra_last;
    vec to_gates[3];
    if (sent_to_gates || last)
        for (int gate = 0; gate < 3; gate++) {
            const fl_size at = row * fgr_columns(s->hidden) + 3 * unit + gate * VL;
            to_gates[gate] = sent_to_gates ? v_load(sent_to_gates + gate * step) : s_load(last + at);
            if (reset && s->d_extra_first) {
                stored *to = (stored *)s->d_extra_first + at;
                s_store(to, v_add(s_load(to), to_gates[gate]));
            }
        }
    dy = y_gradient_of(&s->y, dy, row, unit, s->hidden, n);
    lstm_cell_backward(s, 0, s->p != NULL, b, dy, (sent_to_gates || last) && !reset ? to_gates : NULL, NULL, row, unit,
                       n);
}

#ifdef FL_TARGET_DEVICE

FL_INLINE void fgr_forward_unit(const fl_forward *s, const int plain, const int peephole, const real *sums, fl_size row,
                                fl_size unit) {
    (void)plain, (void)peephole;
    fgr_cell(s, sums, row, unit, 1);
    fgr_output(s, sums, row, unit, 1);
}

FL_INLINE void fgr_backward_unit(const fl_backward *s, const int plain, const int peephole, const real *sent,
                                 fl_size step, fl_size row, fl_size unit) {
    const int with_gates = s->extra_panels && s->delta_next;
    const bounds b = bounds_of(s->cell);
    (void)plain, (void)peephole;
    fgr_cell_backward(s, &b, sent ? v_load(sent) : v_zero(), with_gates ? sent + step : NULL, step, row, unit, 1);
}

#else

HALVES(fgr, fgr_cell(s, acc, row, unit, lanes), fgr_output(s, acc, row, unit, lanes), VL)
HALVES(fgr_last, fgr_cell(s, acc, row, unit, lanes), fgr_output(s, acc, row, unit, lanes), n)

static void fgr_forward(const fl_forward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) {
    forward_in_halves(s, &fgr_halves, &fgr_last_halves, row0, row1, unit0, unit1);
}

#define fgr_add_p_gradient lstm_add_p_gradient

static void fgr_backward(const fl_backward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) {
    const fl_size H = s->hidden, K = s->cell->gates * H;
    const int with_gates = s->extra_panels && s->delta_next;
    const bounds b = bounds_of(s->cell);
    assert(0 <= row0 && unit0 % (COLUMNS * VL) == 0 && unit1 <= H);
    FL_ALIGN(64) accumulators acc, gates_acc[COLUMNS];
    for (fl_size unit = unit0; unit < unit1; unit += COLUMNS * VL) {
        const int columns = columns_from(unit, H);
        for (fl_size row = row0, rows; row < row1; row += rows) {
            rows = next_rows(row, row1);
            if (s->y.a) product_seen(acc, &s->y, columns, row, rows, unit);
            for (int v = 0; with_gates && v < columns; v++) {
                const factor delta = {(const real *)s->delta_next + row * K,
                                      K,
                                      1,
                                      K,
                                      panel_at(s->extra_panels, FL_FULL, K, 3 * (unit + v * VL)),
                                      NULL};
                product(gates_acc[v], 3, rows, FL_FULL, &delta, NULL);
            }
            for (fl_size m = 0; m < rows; m++)
                for (int v = 0; v < columns; v++) {
                    const fl_size first = unit + v * VL, n = at_most(H - first, VL);
                    const vec dy = s->y.a ? v_load(&acc[m][v * VL]) : v_zero();
                    fgr_cell_backward(s, &b, dy, with_gates ? gates_acc[v][m] : NULL, VL, row + m, first, n);
                }
        }
    }
}

#endif

#endif
