/* The gradients of the weights, and dx, from the deltas of a block of time steps. */
#ifndef FL_WEIGHTS_H
#define FL_WEIGHTS_H

#include "pass/arena.h"
#include "pass/packing.h"

typedef struct {
    const fl_kernels *k;
    fl_ask_stop stopped;
    fl_size size;                 /* bytes of a value */
    fl_size gates, input, hidden; /* the sizes of these rows of W, R and b */
    fl_size outputs;              /* columns of R */
    const void *W;                /* (delta_step, I): all rows */
    void *dW, *dR, *db;           /* out; db is always added to */
    int accumulate;               /* Are dW and dR added to as well? */
    int frozen;                   /* Is dx all that is wanted? dW, dR and db are NULL then. */
    int begun;                    /* Do dW and dR, or their sums below, hold the gradients of earlier blocks? */
    int add_dx;                   /* Does dx hold the gradient of the other direction already? */
    /* The block. */
    fl_size rows;        /* time steps times batch rows */
    fl_size delta_step;  /* values from one row of delta to the next */
    const void *delta;   /* (rows, gates H) */
    const void *delta_R; /* (rows, gates H) deltas of R y^{t-1}, which may be `delta` */
    const void *delta_W; /* (rows, gates H) deltas of W x^t, which may be `delta` */
    const void *x;       /* (rows, I) */
    const void *y_prev;  /* (rows, outputs) */
    void *dx;            /* (rows, I), or NULL */
    /* Workspace; NULL where the rows are too few for packing to pay, and BLAS computes the products. */
    int packs_deltas;     /* Are the deltas packed after the steps, which else write panels? */
    char *delta_panels;   /* the deltas of W x^t as panels */
    char *delta_R_panels; /* the deltas of R y^{t-1} as panels, which may be delta_panels */
    char *W_panels;       /* the packed rows of W; may be given */
    char *x_transposed;   /* (I, rows) */
    char *y_transposed;   /* (outputs, rows) */
    /* Sums over the blocks: (I, padded gates H) and (outputs, padded gates H) transposed gradients, columns in the
     * order of the delta panels; without panels, as dW and dR are; NULL where BLAS adds to dW and dR themselves. */
    char *dW_sum, *dR_sum;
} fl_weight_gradients;

/* Return the values in dW_sum for each input. */
static inline fl_size fl_columns_of_sums(const fl_weight_gradients *w) {
    return w->k->packs ? fl_padded_columns(w->k, w->gates, w->hidden) : w->gates * w->hidden;
}

/* Lay out the workspace of blocks of at most `rows` rows; `W_too` includes the packed W, `own_R_deltas`
 * panels of the deltas of R y^{t-1}. */
void fl_lay_out_weight_gradients(fl_weight_gradients *w, fl_size rows, int W_too, int own_R_deltas, fl_arena *arena);

/* Clear the gradients that are added to, for a pass of `count` rows in blocks of at most `rows`. */
void fl_clear_weight_gradients(fl_weight_gradients *w, fl_size rows, fl_size count);

/* Return whether a row of K values is so long that the values of a column share few sets of the cache: such an array is
 * transposed first. */
static inline int fl_is_far(const fl_weight_gradients *w, fl_size K) { return K * w->size >= FL_FAR_ROW; }

/* Compute a part of the gradients: transpose x and y_prev, where their rows are that long, and pack the deltas; then
 * compute db += sum of delta, and by panels dW += delta^T x, dR += delta^T y_prev, dx = delta W; at the end of a pass,
 * write the sums to dW and dR. These are tasks whose argument is an fl_weight_gradients. */
void fl_transpose_part(void *gradients, int part, int parts);
void fl_add_products_part(void *gradients, int part, int parts);
void fl_unpack_weight_gradients_part(void *gradients, int part, int parts);

#endif
