/* Weights packed into panels, and products of many rows with them, divided among threads. */
#ifndef FL_PACKING_H
#define FL_PACKING_H

#include "pass/division.h"

/* Return the width in vectors of a panel of packed rows. */
static inline int fl_vectors(const fl_kernels *k) { return (int)(k->column_block / k->unit_block); }

/* Return that of packed columns: 0 where they are not packed. */
static inline int fl_vectors_of_columns(const fl_kernels *k) { return k->packs ? fl_vectors(k) : 0; }

/* Return the number of values of the packed columns of weights (gates H, K), and of the packed rows of A (rows,
 * columns). */
static inline fl_size fl_column_panels(const fl_kernels *k, fl_size gates, fl_size H, fl_size K) {
    return fl_padded_columns(k, gates, H) * K;
}
static inline fl_size fl_row_panels(const fl_kernels *k, int vectors, fl_size rows, fl_size columns) {
    return fl_padded(k, vectors, columns) * rows;
}

/* A matrix A to pack: by columns, weights (gates H, K); or with gates 0 by rows, (K, H), `row_step` values apart. */
typedef struct {
    const fl_kernels *k;
    void *panels;
    fl_size gates, H;
    const void *A;
    fl_size K;
    fl_size row_step;
    int vectors;
} fl_packing;

static inline fl_packing fl_columns_to_pack(const fl_kernels *k, void *panels, fl_size gates, fl_size H, const void *A,
                                            fl_size K) {
    return (fl_packing){k, panels, gates, H, A, K, 0, 0};
}
static inline fl_packing fl_rows_to_pack(const fl_kernels *k, void *panels, int vectors, const void *A,
                                         fl_size row_step, fl_size rows, fl_size columns) {
    return (fl_packing){k, panels, 0, columns, A, rows, row_step, vectors};
}

/* Pack a part: a task whose argument is an fl_packing. */
void fl_pack(void *packing, int part, int parts);

/* Compute some rows and columns of a product, in pieces between which a long product can be stopped. */
void fl_multiply_pieces(const fl_kernels *k, const fl_product *product, fl_ask_stop stopped, fl_size row0, fl_size row1,
                        fl_size column0, fl_size column1);

/* Compute a part of a product's rows: a task whose argument is an fl_multiplication. */
typedef struct {
    const fl_kernels *k;
    fl_product product;
    fl_size rows;
    fl_ask_stop stopped;
} fl_multiplication;
void fl_multiply(void *multiplication, int part, int parts);

#endif
