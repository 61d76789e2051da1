/* The kernels on a device: each thread has one unit of one row, and the products are the device's library's.
 *
 * These are the equations of the cells and of carry.h, compiled with vectors of one lane; the loops over time are
 * those of all instruction sets. W x is hoisted, R y is added to it in place, and what remains of a step is one
 * kernel over its units. "Panels" of columns are the weights as they lie, those of rows a transposed copy: every
 * product is A B^T.
 *
 * Steps and what lies between them wait in a program, and run when something else is asked for, or at the end.
 *
 * The including file defines FL_TABLE (see targets/table.h), and, after simd.h:
 *   FL_EACH(function, arguments, count)   function(&arguments, k) for all k < count, in any order, each once
 *   FL_SUM(function, arguments, rows, columns, to)   to[column] += the sum over rows of function(&arguments, row,
 * column) FL_THREAD_LOCAL gemm, copy_rows, clear_all, run_program   as they are used below
 */
#ifndef FL_DEVICE_H
#define FL_DEVICE_H

#include "simd/activations.h"
#include "step/carry.h"
#include "kernels.h"
#include "step/cells.h"
#include "device/program.h"

/* C = op(A) op(B), or C += where `add`: row-major, C (m, n), a row every so many values. With `sums` C is of reals. */
static void gemm(int transpose_a, int transpose_b, fl_size m, fl_size n, fl_size k, const stored *a, fl_size lda,
                 const stored *b, fl_size ldb, int add, int sums, void *c, fl_size ldc);

/* ---- the program ---- */

static FL_THREAD_LOCAL program waiting;

/* All of a program, and what it leaves; not empty. */
static void run_program(const program *p);

static void finish(void) {
    if (waiting.count) run_program(&waiting);
    waiting.count = 0;
}

/* The next op: what it is to do is written to it. */
static op *add_op(op_kind kind, fl_size row0, fl_size row1) {
    if (waiting.count == MOST_OPS) finish();
    if (waiting.count == 0) waiting.kind = OP_CARRY;
    op *o = &waiting.ops[waiting.count++];
    memset(o, 0, sizeof(*o)); /* so that equal programs are equal byte for byte */
    o->kind = kind;
    o->row0 = row0;
    o->row1 = row1;
    return o;
}

/* Likewise, a step, with which a program begins where it does not fit the one that waits. */
static op *add_step(op_kind kind, const fl_cell *cell, fl_size hidden, fl_size row0, fl_size row1) {
    if (waiting.count && is_step(waiting.kind) &&
        (waiting.kind != kind || waiting.hidden != hidden || memcmp(&waiting.cell, cell, sizeof(fl_cell))))
        finish();
    op *o = add_op(kind, row0, row1);
    waiting.kind = kind;
    waiting.hidden = hidden;
    waiting.cell = *cell;
    return o;
}

/* ---- memory ---- */

static void copy_rows(void *to, fl_size to_step, const void *from, fl_size from_step, fl_size bytes, fl_size rows);
static void clear_all(void *to, fl_size bytes);

static void copy_now(const op *o) {
    const row_copy *c = &o->of.copy;
    copy_rows((char *)c->to + o->row0 * c->to_step, c->to_step, (const char *)c->from + o->row0 * c->from_step,
              c->from_step, c->bytes, o->row1 - o->row0);
}

/* Rows of units, between steps, are part of the program. */
static void copy(void *to, fl_size to_step, const void *from, fl_size from_step, fl_size bytes, fl_size row0,
                 fl_size row1) {
    const row_copy c = {to, from, to_step, from_step, bytes};
    const fl_size H = waiting.hidden;
    assert(row1 - row0 <= 1 || to_step >= bytes);
    if (waiting.count && is_step(waiting.kind) &&
        (bytes == H * (fl_size)sizeof(real) || bytes == H * (fl_size)sizeof(stored))) {
        add_op(OP_COPY, row0, row1)->of.copy = c;
    } else {
        op now = {OP_COPY, row0, row1, {{0}}};
        now.of.copy = c;
        finish();
        copy_now(&now);
    }
}

typedef struct {
    char *to;
    fl_size step, bytes;
    const unsigned char *which;
} marked_rows;

/* Row and column of the k-th element where rows have so many; a device divides 32 bits much sooner than 64. */
typedef struct {
    fl_size row, column;
} place;
FL_INLINE place place_of(fl_size k, fl_size columns) {
    place at;
    if (((uint64_t)k | (uint64_t)columns) >> 32) {
        at.row = k / columns;
        at.column = k % columns;
    } else {
        const uint32_t row = (uint32_t)k / (uint32_t)columns;
        at.row = row;
        at.column = (uint32_t)k - row * (uint32_t)columns;
    }
    return at;
}

FL_FUNCTION void clear_at(const marked_rows *s, fl_size k) {
    const place at = place_of(k, s->bytes);
    if (s->which[at.row]) s->to[at.row * s->step + at.column] = 0;
}

static void clear(void *to, fl_size step, fl_size bytes, fl_size rows, const unsigned char *which) {
    const marked_rows marked = {(char *)to, step, bytes, which};
    finish();
    if (which)
        FL_EACH(clear_at, marked, rows * bytes);
    else
        for (fl_size row = 0; row < rows; row++) clear_all((char *)to + row * step, bytes);
}

typedef struct {
    stored *to;
    const stored *from;
    fl_size row_step, rows;
} transposed;

FL_FUNCTION void transpose_at(const transposed *s, fl_size k) {
    const place at = place_of(k, s->rows);
    s->to[k] = s->from[at.column * s->row_step + at.row];
}

static void pack_rows(void *panels, int vectors, const void *A, fl_size row_step, fl_size rows, fl_size columns,
                      fl_size panel0, fl_size panel1) {
    const transposed t = {(stored *)panels, (const stored *)A, row_step, rows};
    assert(panel0 == 0 && panel1 * vectors >= columns);
    finish();
    FL_EACH(transpose_at, t, rows * columns);
}

/* ---- products ---- */

static void multiply(const fl_product *p, fl_size row0, fl_size row1, fl_size column0, fl_size column1) {
    const int as_it_is = p->a_k_step == 1;
    const stored *a = (const stored *)p->a + row0 * p->a_row_step;
    const fl_size bytes = p->sums ? (fl_size)sizeof(real) : (fl_size)sizeof(stored);
    finish();
    assert(p->gates == 1 && column0 == 0 && column1 == p->columns && (as_it_is || p->a_row_step == 1));
    gemm(!as_it_is, 1, row1 - row0, column1, p->K, a, as_it_is ? p->a_row_step : p->a_k_step, (const stored *)p->panels,
         p->K, p->add, p->sums, (char *)p->c + row0 * p->c_row_step * bytes, p->c_row_step);
}

static void matmul(int transpose_a, int transpose_b, fl_size m, fl_size n, fl_size k, const void *a, const void *b,
                   double beta, void *c) {
    finish();
    gemm(transpose_a, transpose_b, m, n, k, (const stored *)a, transpose_a ? m : k, (const stored *)b,
         transpose_b ? k : n, beta != 0, 0, c, n);
}

/* ---- a step, forward ---- */

typedef struct {
    fl_forward step;
    fl_cell cell;
    fl_size row0;
} forward_units;

FL_INLINE void forward_of(const forward_units *s, fl_size k, fl_forward *step, fl_size *row, fl_size *unit) {
    *step = s->step;
    const place at = place_of(k, step->hidden);
    step->cell = &s->cell;
    *row = s->row0 + at.row;
    *unit = at.column;
}

typedef struct {
    fl_backward step;
    fl_cell cell;
    fl_size row0;
} backward_units;

/* Returns the sums of what the next step sends, or NULL. */
FL_INLINE const real *backward_of(const backward_units *s, fl_size k, fl_backward *step, fl_size *row, fl_size *unit) {
    *step = s->step;
    const place at = place_of(k, step->hidden);
    step->cell = &s->cell;
    *row = s->row0 + at.row;
    *unit = at.column;
    return step->y.a ? (const real *)step->sent + *row * s->cell.gates * step->hidden + *unit : NULL;
}

/* ---- the cells ---- */

/* A thread's unit of a row, in each form of each cell. */
#define FORM(cell, form, plain, peephole)                                           \
    FL_FUNCTION void cell##_forward_##form(const forward_units *s, fl_size k) {     \
        const real none[FL_MOST_GATES] = {0, 0, 0, 0}; /* the products are in wx */ \
        fl_forward step;                                                            \
        fl_size row, unit;                                                          \
        forward_of(s, k, &step, &row, &unit);                                       \
        cell##_forward_unit(&step, plain, peephole, none, row, unit);               \
    }                                                                               \
    FL_FUNCTION void cell##_backward_##form(const backward_units *s, fl_size k) {   \
        fl_backward step;                                                           \
        fl_size row, unit;                                                          \
        const real *sent = backward_of(s, k, &step, &row, &unit);                   \
        cell##_backward_unit(&step, plain, peephole, sent, step.hidden, row, unit); \
    }
#define FORMS_GENERAL(cell) FORM(cell, general, 0, s->step.p != NULL)
#define FORMS_PLAIN(cell) FORMS_GENERAL(cell) FORM(cell, vanilla, 1, 0) FORM(cell, peephole, 1, 1)
#define CELL(name, NAME, has_c, gates_are_y, extra, forms) FORMS_##forms(name)
#include "cells.def"
#undef CELL

/* Runs a step's units; `plain` says which form fits. */
#define RUN_GENERAL(unit_step) FL_EACH(unit_step##_general, units, count)
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
#define CELL(name, NAME, has_c, gates_are_y, extra, forms) \
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
#define CELL(name, NAME, has_c, gates_are_y, extra, forms) \
    case FL_##NAME: RUN(name, backward, forms); break;
#include "cells.def"
#undef CELL
    default: break;
    }
}

/* ---- steps ---- */

/* W x is there already: R y^{t-1} is added to it. */
static void forward_now(const op *o, const fl_cell *cell) {
    const fl_forward *s = &o->of.forward;
    const forward_units units = {*s, *cell, o->row0};
    const fl_size rows = o->row1 - o->row0, count = rows * s->hidden, columns = cell->gates * s->hidden, K = s->outputs;
    gemm(0, 1, rows, columns, K, (const stored *)s->y_prev + o->row0 * s->y_prev_step, s->y_prev_step,
         (const stored *)s->R, K, 1, 1, (real *)s->wx + o->row0 * columns, columns);
    run_forward(units, count);
}

static void forward_step(const fl_forward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) {
    assert(s->wx && s->R && unit0 == 0 && unit1 == s->hidden);
    add_step(OP_FORWARD, s->cell, s->hidden, row0, row1)->of.forward = *s;
}

typedef struct {
    fl_carry carry;
    fl_size row0, columns, units, most; /* of y, of c, of either */
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
        gemm(0, 1, rows, H, s->y.K, (const stored *)s->y.a + o->row0 * s->y.K, s->y.K, (const stored *)s->y.panels,
             s->y.K, 0, 1, sent, columns);
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

#define CELL(name, NAME, has_c, gates_are_y, extra, forms)                                                     \
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

static const fl_cell_kernels device_cells[FL_CELLS] = {
#define CELL(name, NAME, has_c, gates_are_y, extra, forms) {forward_step, backward_step, name##_outputs},
#include "cells.def"
#undef CELL
};

/* ---- one by one ---- */

static void run_by_steps(const program *p) {
    for (int k = 0; k < p->count; k++) {
        const op *o = &p->ops[k];
        switch (o->kind) {
        case OP_FORWARD: forward_now(o, &p->cell); break;
        case OP_BACKWARD: backward_now(o, &p->cell); break;
        case OP_CARRY: carry_now(o); break;
        case OP_COPY: copy_now(o); break;
        }
    }
}

typedef struct {
    fl_y_gradient of;
    stored *dy;
    fl_size width, row0;
} y_gradients;

FL_FUNCTION void y_gradient_at(const y_gradients *s, fl_size k) {
    const place at = place_of(k, s->width);
    const fl_size row = s->row0 + at.row, column = at.column;
    stored *dy = s->dy + row * s->width + column;
    s_store(dy, y_gradient_of(&s->of, s->of.a ? s_load(dy) : v_zero(), row, column, s->width, 1));
}

static void y_gradient(const fl_y_gradient *s, void *dy, fl_size width, fl_size row0, fl_size row1, fl_size column0,
                       fl_size column1) {
    const y_gradients all = {*s, (stored *)dy, width, row0};
    finish();
    assert(column0 == 0 && column1 == width);
    if (s->a)
        gemm(0, 1, row1 - row0, width, s->K, (const stored *)s->a + row0 * s->K, s->K, (const stored *)s->panels, s->K,
             0, 0, (stored *)dy + row0 * width, width);
    FL_EACH(y_gradient_at, all, (row1 - row0) * width);
}

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

static void add_bias_gradient(void *db, const void *delta, fl_size rows, fl_size columns, fl_size column0,
                              fl_size column1) {
    const summands s = {(const stored *)delta, NULL, columns, 0};
    finish();
    assert(column0 == 0 && column1 == columns);
    FL_SUM(bias_at, s, rows, columns, (stored *)db);
}

static void add_peephole_gradient(void *dp, const fl_cell *cell, const void *delta, const void *c_prev, const void *c,
                                  fl_size rows, fl_size hidden, fl_size unit0, fl_size unit1) {
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

/* What every device's table has. */
#define FL_DEVICE_KERNELS                                                                                             \
    .unit_block = VL, .row_block = 1, .column_block = VL, .device = 1, .pack_rows = pack_rows, .cells = device_cells, \
    .carry = carry_all, .y_gradient = y_gradient, .multiply = multiply, .add_bias_gradient = add_bias_gradient,       \
    .add_peephole_gradient = add_peephole_gradient, .copy = copy, .clear = clear, .matmul = matmul, .finish = finish

#endif
