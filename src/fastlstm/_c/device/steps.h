/* The steps of all cells on a device, forward and backward, and what lies between two steps: each is put into the
 * program that waits, and has here what runs it by itself. */
#ifndef FL_STEPS_H
#define FL_STEPS_H

#include "device/queue.h"
#include "simd/activations.h"
#include "step/carry.h"
#include "step/cells.h"

/* Compute C = op(A) op(B), or with `add` C += op(A) op(B), for row-major matrices, C (m, n), whose rows are lda, ldb
 * and ldc values apart. With `sums`, C has reals. */
static void gemm(int transpose_a, int transpose_b, fl_size m, fl_size n, fl_size k, const stored *a, fl_size lda,
                 const stored *b, fl_size ldb, int add, int sums, void *c, fl_size ldc);

#include "device/whole_rows.h"

/* ---- a step, forward ---- */

typedef struct {
    fl_forward step;
    fl_cell cell;
    fl_size row0;
} forward_units;

/* Find a thread's row and unit, and its sums: R y^{t-1} where that is apart, else zeros, since wx has all. */
FL_INLINE void forward_of(const forward_units *s, fl_size k, fl_forward *step, real *sums, fl_size *row,
                          fl_size *unit) {
    *step = s->step;
    const place at = place_of(k, step->hidden);
    step->cell = &s->cell;
    *row = s->row0 + at.row;
    *unit = at.column;
    for (int gate = 0; gate < FL_MOST_GATES; gate++)
        sums[gate] = step->Ry && gate < s->cell.gates
                         ? ((const real *)step->Ry)[(*row * s->cell.gates + gate) * step->hidden + *unit]
                         : 0;
}

typedef struct {
    fl_backward step;
    fl_cell cell;
    fl_size row0;
} backward_units;

/* Find a thread's row and unit; return the sums of what the next step sends, or NULL. */
FL_INLINE const real *backward_of(const backward_units *s, fl_size k, fl_backward *step, fl_size *row, fl_size *unit) {
    *step = s->step;
    const place at = place_of(k, step->hidden);
    step->cell = &s->cell;
    *row = s->row0 + at.row;
    *unit = at.column;
    return step->y.a ? (const real *)step->sent + *row * s->cell.gates * step->hidden + *unit : NULL;
}

/* ---- the cells ---- */

/* Define what a thread does with its unit of a row, in each form of each cell. */
#define FORM(cell, form, plain, peephole)                                           \
    FL_FUNCTION void cell##_forward_##form(const forward_units *s, fl_size k) {     \
        real sums[FL_MOST_GATES];                                                   \
        fl_forward step;                                                            \
        fl_size row, unit;                                                          \
        forward_of(s, k, &step, sums, &row, &unit);                                 \
        cell##_forward_unit(&step, plain, peephole, sums, row, unit);               \
    }                                                                               \
    FL_FUNCTION void cell##_backward_##form(const backward_units *s, fl_size k) {   \
        fl_backward step;                                                           \
        fl_size row, unit;                                                          \
        const real *sent = backward_of(s, k, &step, &row, &unit);                   \
        cell##_backward_unit(&step, plain, peephole, sent, step.hidden, row, unit); \
    }
#define FORMS_GENERAL(cell) FORM(cell, general, 0, s->step.p != NULL)
#define FORMS_WHOLE_ROWS(cell) /* whole_rows.h */
#define FORMS_PLAIN(cell) FORMS_GENERAL(cell) FORM(cell, vanilla, 1, 0) FORM(cell, peephole, 1, 1)
#define CELL(name, NAME, forms, ...) FORMS_##forms(name)
#include "cells.def"
#undef CELL

/* Run a step's units, in the form that fits. */
#define RUN_GENERAL(unit_step) FL_EACH(unit_step##_general, units, count)
#define RUN_WHOLE_ROWS(unit_step) (void)0
#define RUN_PLAIN(unit_step)                         \
    if (!plain)                                      \
        FL_EACH(unit_step##_general, units, count);  \
    else if (units.step.p)                           \
        FL_EACH(unit_step##_peephole, units, count); \
    else                                             \
        FL_EACH(unit_step##_vanilla, units, count)
#define RUN(name, direction, forms) RUN_##forms(name##_##direction)

static void run_forward(const forward_units units, fl_size count) {
    const int plain = units.cell.plain;
    (void)plain;
    switch (units.cell.kind) {
#define CELL(name, NAME, forms, ...) \
    case FL_##NAME: RUN(name, forward, forms); break;
#include "cells.def"
#undef CELL
    default: break;
    }
}

static void run_backward(const backward_units units, fl_size count) {
    const int plain = units.cell.plain && units.step.simple;
    (void)plain;
    switch (units.cell.kind) {
#define CELL(name, NAME, forms, ...) \
    case FL_##NAME: RUN(name, backward, forms); break;
#include "cells.def"
#undef CELL
    default: break;
    }
}

/* ---- steps ---- */

/* Add R y^{t-1} to W x, which is there already, or compute it apart; then compute the cell. */
static void forward_now(const op *o, const fl_cell *cell) {
    const fl_forward *s = &o->of.forward;
    const forward_units units = {*s, *cell, o->row0};
    const fl_size rows = o->row1 - o->row0, count = rows * s->hidden, columns = cell->gates * s->hidden, K = s->outputs;
    gemm(0, 1, rows, columns, K, (const stored *)s->y_prev + o->row0 * s->y_prev_step, s->y_prev_step,
         (const stored *)s->R, K, !s->Ry, 1, (s->Ry ? (real *)s->Ry : (real *)s->wx) + o->row0 * columns, columns);
    run_forward(units, count);
}

static void forward_step(const fl_forward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) {
    assert(s->wx && s->R && unit0 == 0 && unit1 == s->hidden);
    add_step(OP_FORWARD, s->cell, s->hidden, row0, row1)->of.forward = *s;
}

typedef struct {
    fl_carry carry;
    fl_size row0, columns, units, most; /* values in a row of y, of c, the larger of both */
} carried;

FL_FUNCTION void carry_at(const carried *s, fl_size k) {
    const place own = place_of(k, s->most);
    const fl_size row = s->row0 + own.row, at = own.column, end = at + 1;
    carry(&s->carry, row, row + 1, at, at < s->columns ? end : at, at, at < s->units ? end : at);
}

static void carry_now(const op *o) {
    const row_carry *c = &o->of.carry;
    const carried all = {c->s, o->row0, c->columns, c->units, c->columns > c->units ? c->columns : c->units};
    FL_EACH(carry_at, all, (o->row1 - o->row0) * all.most);
}

static void carry_all(const fl_carry *s, fl_size row0, fl_size row1, fl_size column0, fl_size column1, fl_size unit0,
                      fl_size unit1) {
    const row_carry c = {*s, column1, unit1};
    assert(column0 == 0 && unit0 == 0);
    add_op(OP_CARRY, row0, row1)->of.carry = c;
}

/* ---- a step, backward ---- */

static void backward_now(const op *o, const fl_cell *cell) {
    const fl_backward *s = &o->of.backward;
    const fl_size H = s->hidden, columns = cell->gates * H, rows = o->row1 - o->row0, count = rows * H;
    const backward_units units = {*s, *cell, o->row0};
    const int extra = s->extra_panels && s->delta_next ? fl_row_of_cell(cell->kind)->extra : 0;
    real *sent = (real *)s->sent + o->row0 * columns;
    if (s->y.a)
        gemm(0, 1, rows, H, s->y.K, (const stored *)s->y.a + o->row0 * s->y.a_step, s->y.a_step,
             (const stored *)s->y.panels, s->y.K, 0, 1, sent, columns);
    for (int n = 0; n < extra; n++) /* A unit's extra columns lie side by side. */
        gemm(0, 1, rows, H, columns, (const stored *)s->delta_next + o->row0 * columns, columns,
             (const stored *)s->extra_panels + n * columns, extra * columns, 0, 1, sent + (n + 1) * H, columns);
    run_backward(units, count);
}

static void backward_step(const fl_backward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) {
    assert(unit0 == 0 && unit1 == s->hidden && !s->delta_panels);
    add_step(OP_BACKWARD, s->cell, s->hidden, row0, row1)->of.backward = *s;
}

typedef struct {
    const stored *gates;
    const real *c;
    stored *y;
    fl_cell cell;
    fl_size hidden;
} outputs;

#define CELL(name, NAME, forms, ...)                                                                           \
    FL_FUNCTION void name##_outputs_at(const outputs *s, fl_size k) {                                          \
        const place at = place_of(k, s->hidden);                                                               \
        s_store(s->y + k, name##_output_again(&s->cell, s->gates, s->c, s->hidden, at.row, at.column, 1));     \
    }                                                                                                          \
    static void name##_outputs(const fl_cell *cell, fl_size hidden, const void *gates, const void *c, void *y, \
                               fl_size rows, fl_size unit0, fl_size unit1) {                                   \
        const outputs all = {(const stored *)gates, (const real *)c, (stored *)y, *cell, hidden};              \
        finish();                                                                                              \
        assert(unit0 == 0 && unit1 == hidden);                                                                 \
        FL_EACH(name##_outputs_at, all, rows * hidden);                                                        \
    }
#include "cells.def"
#undef CELL

/* ---- sums over rows ---- */

typedef struct {
    const stored *delta;
    const real *seen;
    fl_size delta_step, seen_step;
} summands;

FL_FUNCTION real bias_at(const summands *s, fl_size row, fl_size column) {
    return of_stored(s->delta[row * s->delta_step + column]);
}
FL_FUNCTION real peephole_gradient_at(const summands *s, fl_size row, fl_size unit) {
    return of_stored(s->delta[row * s->delta_step + unit]) * s->seen[row * s->seen_step + unit];
}

/* Add the gradients of an LSTM's peepholes: the deltas of i and f times c_prev, the delta of o times c. */
static void lstm_add_p_gradient(void *dp, const fl_cell *cell, const void *delta, const void *delta_R,
                                const void *c_prev, const void *c, fl_size rows, fl_size hidden, fl_size unit0,
                                fl_size unit1) {
    const int places[3] = {cell->i, cell->f, cell->o},
              of[3] = {PEEPHOLE_I_F(cell->i), PEEPHOLE_I_F(cell->f), PEEPHOLE_O(cell->o)};
    finish();
    assert(unit0 == 0 && unit1 == hidden);
    for (int gate = 0; gate < 3; gate++) {
        const void *seen = gate == 2 ? c : c_prev;
        const summands s = {(const stored *)delta + places[gate] * hidden, (const real *)seen, cell->gates * hidden,
                            hidden};
        if (places[gate] >= 0) FL_SUM(peephole_gradient_at, s, rows, hidden, (stored *)dp + of[gate] * hidden);
    }
}
#define fgr_add_p_gradient lstm_add_p_gradient
#define rnn_add_p_gradient NULL
#define gru_before_add_p_gradient NULL
#define lstm_norm_add_p_gradient lstm_add_p_gradient

/* Add the deltas of a GRU's q. */
static void gru_add_p_gradient(void *dp, const fl_cell *cell, const void *delta, const void *delta_R,
                               const void *c_prev, const void *c, fl_size rows, fl_size hidden, fl_size unit0,
                               fl_size unit1) {
    const summands s = {(const stored *)delta_R + GRU_N * hidden, NULL, 3 * hidden, 0};
    finish();
    assert(unit0 == 0 && unit1 == hidden);
    FL_SUM(bias_at, s, rows, hidden, (stored *)dp);
}

static const fl_cell_kernels device_cells[FL_CELLS] = {
#define CELL(name, NAME, forms, ...) {forward_step, backward_step, name##_outputs, name##_add_p_gradient},
#include "cells.def"
#undef CELL
};

/* ---- one by one ---- */

#define NOW_GENERAL(name, direction) direction##_now(o, &p->cell)
#define NOW_PLAIN NOW_GENERAL
#define NOW_WHOLE_ROWS(name, direction) name##_##direction##_now(o, &p->cell)

static void step_now(const program *p, const op *o) {
    switch (p->cell.kind) {
#define CELL(name, NAME, forms, ...)     \
    case FL_##NAME:                      \
        if (o->kind == OP_FORWARD)       \
            NOW_##forms(name, forward);  \
        else                             \
            NOW_##forms(name, backward); \
        break;
#include "cells.def"
#undef CELL
    default: break;
    }
}

static void run_by_steps(const program *p) {
    for (int k = 0; k < p->count; k++) {
        const op *o = &p->ops[k];
        switch (o->kind) {
        case OP_FORWARD:
        case OP_BACKWARD: step_now(p, o); break;
        case OP_CARRY: carry_now(o); break;
        case OP_COPY: copy_now(o); break;
        }
    }
}

#endif
