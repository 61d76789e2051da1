/* What the deltas of some time steps give: the gradients of the weights, and dx. */
#ifndef FL_WEIGHTS_H
#define FL_WEIGHTS_H

#include "pass/arena.h"
#include "pass/packing.h"

typedef struct {
    const fl_kernels *k;
    fl_ask_stop stopped;
    fl_size size; /* bytes of a value */
    fl_size gates, input, hidden;
    fl_size outputs;    /* columns of R */
    const void *W;      /* (gates H, I) */
    void *dW, *dR, *db; /* db is added to. */
    int accumulate;     /* Add to dW and dR too. */
    int begun;          /* dW and dR, or their sums below, hold something already. */
    int add_dx;         /* dx holds something already, from the other direction. */
    /* Of these steps. */
    fl_size rows;       /* time steps times batch rows */
    const void *delta;  /* (rows, gates H) */
    const void *x;      /* (rows, I) */
    const void *y_prev; /* (rows, outputs) */
    void *dx;           /* (rows, I), or NULL */
    /* Workspace; NULL where the rows are too few for packing to pay: the products are then BLAS's. */
    char *delta_panels; /* written by the backward steps */
    char *W_panels;     /* the packed rows of W; may be given */
    char *x_transposed; /* (I, rows) */
    char *y_transposed; /* (outputs, rows) */
    char *dW_sum,
        *dR_sum; /* (I, padded gates H), (outputs, padded gates H), columns in the order of the delta panels */
} fl_weight_gradients;

/* Lay out the workspace of blocks of at most `rows` rows; `W_too` is the packed W. */
void fl_lay_out_weight_gradients(fl_weight_gradients *w, fl_size rows, int W_too, fl_arena *arena);

/* Clear what is added to, where a pass has `count` rows in all, in blocks of at most `rows`. */
void fl_clear_weight_gradients(fl_weight_gradients *w, fl_size rows, fl_size count);

/* Return whether a row of K values is so long that reading a column would meet few sets of the cache: such an array is
 * transposed first. */
static inline int fl_is_far(const fl_weight_gradients *w, fl_size K) { return K * w->size >= FL_FAR_ROW; }

/* Tasks, whose argument is an fl_weight_gradients: x and y_prev transposed, where they are far; then
 * db += sum of delta, and by panels dW += delta^T x, dR += delta^T y_prev, dx = delta W; at the end of a pass, the sums
 * brought to dW and dR. */
void fl_transpose_part(void *gradients, int part, int parts);
void fl_add_products_part(void *gradients, int part, int parts);
void fl_unpack_weight_gradients_part(void *gradients, int part, int parts);

#endif
