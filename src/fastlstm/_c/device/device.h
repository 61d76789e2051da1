/* The kernels on a device: each thread has one unit of one row, and the products are the device's library's.
 *
 * These are the equations of the cells and of carry.h, compiled with vectors of one lane; the loops over time are
 * those of all instruction sets. W x is hoisted, R y is added to it in place, and what remains of a step is one
 * kernel over its units. "Panels" of columns are the weights as they lie, those of rows a transposed copy: every
 * product is A B^T. Steps wait in a queue (queue.h), so that a device has many in hand at once.
 *
 * The including file defines FL_TABLE (see targets/table.h), and, after simd.h:
 *
 *   FL_EACH(function, arguments, count)
 *       function(&arguments, k) for all k < count, in any order, each once
 *   FL_SUM(function, arguments, rows, columns, to)
 *       to[column] += the sum over rows of function(&arguments, row, column)
 *   FL_THREAD_LOCAL
 *   gemm, copy_rows, clear_all, run_program
 *       which are declared below and in queue.h
 */
#ifndef FL_DEVICE_H
#define FL_DEVICE_H

#include "device/steps.h"

/* ---- products ---- */

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

static void multiply(const fl_product *p, fl_size row0, fl_size row1, fl_size column0, fl_size column1) {
    const int as_it_is = p->a_k_step == 1;
    const stored *a = (const stored *)p->a + row0 * p->a_row_step;
    const fl_size bytes = p->sums ? (fl_size)sizeof(real) : (fl_size)sizeof(stored);
    finish();
    assert(p->gates == 1 && column0 == 0 && column1 == p->columns && (as_it_is || p->a_row_step == 1));
    gemm(!as_it_is, 1, row1 - row0, column1, p->K, a, as_it_is ? p->a_row_step : p->a_k_step, (const stored *)p->panels,
         p->K, p->add, p->sums, (char *)p->c + row0 * p->c_row_step * bytes, p->c_row_step);
}

static void matmul(int transpose_a, int transpose_b, fl_size m, fl_size n, fl_size k, const void *a, fl_size lda,
                   const void *b, double beta, void *c) {
    finish();
    gemm(transpose_a, transpose_b, m, n, k, (const stored *)a, lda, (const stored *)b, transpose_b ? k : n, beta != 0,
         0, c, n);
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
        gemm(0, 1, row1 - row0, width, s->K, (const stored *)s->a + row0 * s->a_step, s->a_step,
             (const stored *)s->panels, s->K, 0, 0, (stored *)dy + row0 * width, width);
    FL_EACH(y_gradient_at, all, (row1 - row0) * width);
}

/* ---- sums over rows ---- */

static void add_bias_gradient(void *db, const void *delta, fl_size rows, fl_size columns, fl_size column0,
                              fl_size column1) {
    const summands s = {(const stored *)delta, NULL, columns, 0};
    finish();
    assert(column0 == 0 && column1 <= columns);
    FL_SUM(bias_at, s, rows, column1, (stored *)db);
}

/* What every device's table has. */
#define FL_DEVICE_KERNELS                                                                                             \
    .unit_block = VL, .row_block = 1, .column_block = VL, .device = 1, .pack_rows = pack_rows, .cells = device_cells, \
    .carry = carry_all, .y_gradient = y_gradient, .multiply = multiply, .add_bias_gradient = add_bias_gradient,       \
    .copy = copy, .clear = clear, .matmul = matmul, .finish = finish

#endif
