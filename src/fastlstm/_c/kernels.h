/* What the compiled kernels offer to the time loops: one table of functions per instruction set and precision.
 *
 * All matrices are row-major and dense, unless a row stride is given: a (B, H) array has rows of H values, one after
 * the other; a field y_step is the number of values from one row of y to the next. `void *` points to values of the
 * table's precision. B counts batch rows, I inputs, H hidden units. The gates of a row are blocks of H values in the
 * order i, f, z, o; those of a GRU are r, z, n.
 *
 * A cell may pass extra columns to the next step beside y: for each vector of hidden units as many vectors, side by
 * side, as the cell's row of cells.def says. In a row of y as the next step sees it, they come after the values of y;
 * R has columns for them, in the same order.
 *
 * A step works on batch rows [row0, row1) and hidden units [unit0, unit1), so that threads can share it; unit0 is a
 * multiple of the table's `unit_block`, unit1 too unless it is H. No function allocates, blocks or keeps state.
 */
#ifndef FL_KERNELS_H
#define FL_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "tuning.h"

typedef ptrdiff_t fl_size;

/* The fast ones stand for tanh and the logistic function in inference: they have no derivative. */
typedef enum {
    FL_TANH,
    FL_RELU,
    FL_LOGISTIC,
    FL_IDENTITY,
    FL_HARD_LOGISTIC,
    FL_FAST_TANH,
    FL_FAST_LOGISTIC
} fl_activation_kind;

/* An activation, and of the hard logistic function, which is alpha a + beta between 0 and 1, the constants; alpha > 0,
 * so that a value says whether it is at a bound. */
typedef struct {
    fl_activation_kind kind;
    double alpha, beta;
} fl_activation;

/* Return what stands for an activation where tanh and the logistic function are fast. */
static inline fl_activation fl_fast(fl_activation g) {
    if (g.kind == FL_TANH) g.kind = FL_FAST_TANH;
    if (g.kind == FL_LOGISTIC) g.kind = FL_FAST_LOGISTIC;
    return g;
}

/* How packed weights are stored: as they are, or in single precision also as bfloat16 or int8. The arithmetic is in the
 * table's precision, whatever the format. */
typedef enum { FL_FULL, FL_BFLOAT16, FL_INT8 } fl_format;

/* The kind of a cell: the number of its row of cells.def. */
typedef enum {
#define CELL(name, NAME, ...) FL_##NAME,
#include "cells.def"
#undef CELL
    FL_CELLS
} fl_cell_kind;

/* The largest number of gate blocks of any cell. */
enum { FL_MOST_GATES = 4 };

/* The values for each hidden unit and row in the memory of a step of whole rows. */
enum { FL_MOST_SPACE = 8 };

/* A cell: its kind and its options. The simple RNN has one gate block, and of the activations only g; a GRU has those
 * of the gates r and z, and g of its candidate n. */
typedef struct {
    fl_cell_kind kind;
    int gates;          /* number of gate blocks: H rows each in W, R and b, H values each in the gates of a row */
    int kept;           /* number of blocks of H values in the gates of a row on the tape: `gates`, or more */
    int p_rows;         /* rows of H values that p may have */
    int norm_rows;      /* rows of H values of the parameters of layer normalisation; 0 without it */
    int i, f, z, o;     /* position of each gate among the blocks; -1 for a gate that the cell lacks, which is then 1 */
    int coupled;        /* whether f = 1 - i */
    fl_activation gate; /* activation sigma of the gates i, f, o */
    fl_activation g, h; /* activations of the block input z, and of c before the output gate */
    double clip;        /* clipping bound of the arguments of sigma and g; 0 for no clipping */
    double cell_clip;   /* clipping bound of c; 0 for no clipping */
    int plain;          /* whether there are all four gates, logistic and tanh, no clipping: a form compiled apart */
    int fast_plain;     /* whether the cell would be plain, were its logistic function and tanh not the fast ones */
} fl_cell;

/* Set whether an LSTM with the other fields is plain. */
static inline void fl_set_plain(fl_cell *cell) {
    cell->plain = cell->gates == 4 && cell->gate.kind == FL_LOGISTIC && cell->g.kind == FL_TANH &&
                  cell->h.kind == FL_TANH && cell->clip == 0 && cell->cell_clip == 0;
}

/* Let tanh and the logistic function of a cell be the fast ones. */
static inline void fl_make_fast(fl_cell *cell) {
    cell->gate = fl_fast(cell->gate), cell->g = fl_fast(cell->g), cell->h = fl_fast(cell->h);
    cell->fast_plain = cell->plain;
    cell->plain = 0;
}

/* One forward time step. A row of y^{t-1} as the step sees it has `outputs` values: those of y, which are H without a
 * projection, then the extra columns. */
typedef struct {
    const fl_cell *cell;
    fl_size hidden, input, outputs;
    const void *W, *R;               /* (gates H, I), (gates H, outputs): read where R_panels is NULL */
    const void *W_panels, *R_panels; /* W and R as packed by pack_columns */
    fl_format format;                /* format of the packed weights */
    const void *scale;               /* (gates H,) scale factors of the rows of R; NULL for 1 */
    const void *ratio;               /* with scale, (gates H,): scale factors of the rows of W, divided by those of R */
    const void *b;                   /* (gates H,) */
    const void *p;      /* (p_rows, H) parameters of hidden units, or NULL: peepholes, a row for each of i, f, o that
                           an LSTM has; of a GRU, the bias of R's block n */
    const void *norm;   /* (norm_rows, H) parameters of layer normalisation, see step/lstm_norm.h; or NULL */
    const void *x;      /* (B, I); NULL when wx holds W x^t */
    const void *wx;     /* (B, gates H) W x^t, not yet scaled; NULL when x is given; may be the same memory as gates */
    const void *y_prev; /* (B, outputs) y^{t-1} as the step sees it */
    fl_size y_prev_step;
    const void *c_prev; /* (B, H) c^{t-1} as the step sees it; NULL where it is y_prev */
    void *space;        /* (B, space_step) memory of a step of whole rows; else NULL */
    fl_size space_step;
    void *Ry; /* (B, gates H), where weights are not packed and the cell wants R y^{t-1} apart from W x^t; else NULL */
    void *gates;  /* (B, kept H) out: activated gates, then what else the cell keeps; for the RNN h^t; or NULL */
    void *c;      /* (B, H) out: c^t; may be c_prev; NULL where it is y */
    int from_end; /* whether to run the panels from the last to the first: every other step does */
    fl_size keep; /* rows that the next step has too: y and extra_seen are written for these, extra_last for the rest */
    void *y;      /* (B, H) out: y^t; must not be y_prev; or NULL */
    fl_size y_step;
    void *y_copy; /* (B, H) out: a copy of y^t, of all rows; or NULL */
    fl_size y_copy_step;
    void *extra_seen; /* out: the extra columns for the next step, rows y_step values apart; or NULL */
    void *extra_last; /* (B, extra columns) out: the extra columns of rows that end here; or NULL */
} fl_forward;

/* What lies between two steps: the state of a step, and y and c as the next step sees them. Rows [row0, row1) are rows
 * of both steps. */
typedef struct {
    fl_size hidden, width; /* values in a row of c, and of y */
    fl_size keep;          /* rows that the next step has too; the states of the others are final */
    void *y;               /* (B, width) in, with zoneout also out: y^t */
    fl_size y_step;
    const void *y_before; /* zoneout: (B, width) y^{t-1} of the first `before` rows; that of the others is y_first */
    fl_size y_before_step, before;
    const unsigned char *reset_before; /* zoneout: the rows that this step has reset; or NULL */
    const void *zone_y, *zone_c;       /* (B, width), (B, H) share of the previous state that zoneout keeps; or NULL */
    const unsigned char *reset;        /* the rows that the next step resets; or NULL */
    const void *y_first, *c_first;     /* (B, width), (B, H) the initial state, which a reset restores; NULL c_first
                                          where c is y */
    int reset_to_zero;                 /* whether a reset sets the state to zero instead */
    const void *mask;                  /* (B, width) dropout mask of y; or NULL */
    void *y_seen;                      /* out: y as the next step sees it; NULL where the next step reads y */
    fl_size y_seen_step;
    int y_is_there;          /* whether the step has written y_seen already, so that only a reset changes it */
    int extra;               /* vectors of extra columns for each vector of units */
    const void *extra_first; /* (B, extra columns) the initial extra columns, which a reset restores; or NULL */
    const void *c, *c_prev;  /* (B, H) c^t, NULL where it is y; and c^{t-1} as this step saw it */
    void *c_seen;            /* out: c as the next step sees it; NULL where the next step reads c */
    void *c_last;            /* out: c of the rows without a next step */
} fl_carry;

/* The gradient of J with respect to y^t: from above, and from the next step, through y^t as that step saw it. */
typedef struct {
    const void *a; /* (B, K) factor of the product a panels, the gradient of y^t as the next step saw it; or NULL */
    fl_size a_step, K;
    const void *panels;
    const void *beside; /* (B, width) what else the next step passes to y^t as it saw it; or NULL */
    const void *above;  /* (B, width) gradient from above; or NULL */
    fl_size above_step;
    const void *last;           /* (B, width) gradient of the final state, for rows that end here; or NULL */
    const void *mask;           /* (B, width) dropout mask of y for the next step; or NULL */
    const unsigned char *reset; /* the rows that the next step resets; or NULL */
    void *to_first;             /* (B, width) out: += what a reset passes to the initial state; or NULL */
    const void *zone;           /* (B, width) share of y^{t-1} that zoneout keeps in y^t; or NULL */
    void *zoned;           /* (B, width) in: what zoneout of the next step passes to y^t; out: of this to y^{t-1} */
    void *all;             /* (B, width) out: the gradient; or NULL */
    const void *through_c; /* (B, width) where c is y: what the next step passes to it beside y; else NULL */
} fl_y_gradient;

/* One backward time step: the deltas of step t, from those of step t + 1. */
typedef struct {
    const fl_cell *cell;
    fl_size hidden;
    fl_y_gradient y;          /* gradient of y^t; with a projection, of the projection's input, from a = dy^t */
    const void *extra_panels; /* R's extra columns, by pack_rows: a panel has those of a vector of units; or NULL */
    const void *delta_next;   /* (B, gates H) deltas of the next step, for extra_panels; NULL at the last step */
    const void *d_extra_last; /* (B, extra columns) gradient of the final state's extra columns; or NULL */
    const void *p, *norm;     /* as in fl_forward */
    const void *gates;        /* (B, kept H) what this step left as its gates */
    const void *c_prev, *c;   /* (B, H) c^{t-1} as this step saw it, and c^t */
    const void *y_prev;       /* of whole rows: (B, H) y^{t-1} as this step saw it; NULL where that is c_prev */
    const void *R_panels;     /* of whole rows: the last block of R, by pack_rows, where it has a product of its own */
    void *r_y;                /* of whole rows: (B, H) out: what the last block of R was multiplied with */
    void *beside; /* likewise: (B, H) out: what this step passes to y^{t-1} beside the product of its other blocks */
    const void *dc_above;       /* (B, H) gradient of c^t from above; or NULL */
    const unsigned char *reset; /* the rows that the next step resets; or NULL */
    void *dc_first;             /* (B, H) out: += what a reset passes to the initial cell state; or NULL */
    void *d_extra_first;        /* (B, extra columns) out: += what a reset passes to the initial ones; or NULL */
    const void *zone_c;         /* (B, H) share of c^{t-1} that zoneout keeps in c^t; or NULL */
    int simple;         /* whether extra_panels, dc_above, reset, zone_c, dc_all, y.mask, y.reset, y.zone and y.all are
                           all NULL: a form compiled apart */
    void *sent;         /* where weights are not packed, and of whole rows, a space for the sums that the next step
                           passes to this one: (B, H and the extra columns, at least gates H); else NULL */
    void *delta;        /* (B, gates H) out: deltas, with respect to the gates before their activations */
    void *delta_R;      /* (B, gates H) out: deltas of R y^{t-1}, where the cell has other ones there; else NULL */
    void *delta_W;      /* (B, gates H) out: deltas of W x^t, likewise */
    void *norm_deltas;  /* (B, norm_rows H) out: the row's share of the gradient of `norm`; or NULL */
    void *delta_panels; /* out: the deltas as panels, for the weight gradients; or NULL. A panel has the units of a
                           forward panel, with the gates' deltas side by side; zero-padded */
    void *delta_R_panels; /* out: delta_R as panels, likewise */
    fl_size panel_step;   /* values from one panel of deltas to the next */
    void *dc;             /* (B, H) in: what step t + 1 passes to c^t; out: what step t passes to c^{t-1} */
    void *dc_all;         /* (B, H) out: dc^t; or NULL */
    void *y_again;        /* (B, H) out: y^t, as the forward step computed it; or NULL */
} fl_backward;

typedef void (*fl_forward_step)(const fl_forward *, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1);
typedef void (*fl_backward_step)(const fl_backward *, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1);
/* Compute y (rows, H) again for units [unit0, unit1), from the gates and the cell states on the tape: bit for bit what
 * the step computed, where the tape has as many bits as the arithmetic. */
typedef void (*fl_outputs)(const fl_cell *, fl_size hidden, const void *gates, const void *c, void *y, fl_size rows,
                           fl_size unit0, fl_size unit1);
/* Add the gradient of p of these rows to dp, for units [unit0, unit1). */
typedef void (*fl_add_p_gradient)(void *dp, const fl_cell *, const void *delta, const void *delta_R, const void *c_prev,
                                  const void *c, fl_size rows, fl_size hidden, fl_size unit0, fl_size unit1);
typedef struct {
    fl_forward_step forward;
    fl_backward_step backward;
    fl_outputs outputs;
    fl_add_p_gradient add_p_gradient;
} fl_cell_kernels;

/* The logarithm of zero in double precision: far below the logarithm of any number, far above the lowest number. */
#define FL_CTC_ZERO (-1e300)

/* ln sum e^x in two parts, so that adding them does not round: the largest x, and the logarithm of the sum of
 * e^(x - largest). */
typedef struct {
    double largest, log_sum;
} fl_ctc_norm;

/* A product C = A B, or C += A B, over many rows. */
typedef struct {
    fl_size columns, K; /* C is (rows, gates columns), B (K, gates columns) */
    const void *a;      /* A's value at row m and column k is a[m * a_row_step + k * a_k_step] */
    fl_size a_row_step, a_k_step;
    const void *panels; /* B as panels of pack_rows, or of a step's deltas, or B^T as panels of pack_columns */
    int vectors;        /* width of a panel in vectors; or 0: `panels` is B^T unpacked, for few rows or by a library */
    fl_size gates;      /* number of gates side by side in a panel; 1 for any other matrix */
    fl_format format;   /* format of the panels */
    void *c;
    fl_size c_row_step;
    int add;  /* whether C += A B */
    int sums; /* whether C holds sums, which a device keeps in 32 bits or more even where it stores the rest in 16 */
} fl_product;

/* A loss that is a sum over the elements of (rows, columns) arrays, and its gradient. */
typedef enum { FL_SQUARED, FL_ABSOLUTE, FL_HUBER, FL_LOGISTIC_LOSS } fl_loss_kind;
typedef struct {
    fl_loss_kind kind;
    fl_size columns;
    const void *prediction, *target;
    const unsigned char *mask; /* (rows,) the rows that count; NULL for all */
    double scale;              /* factor of the gradient */
    double delta;              /* FL_HUBER: the error from which the loss is linear */
    void *gradient;            /* (rows, columns) out */
} fl_loss;

/* The cross-entropy between the target classes and a softmax, and its gradient. */
typedef struct {
    fl_size classes;
    const void *logits;        /* (rows, classes) */
    const int64_t *target;     /* (rows,) target classes; NULL for the softmax alone */
    const unsigned char *mask; /* (rows,) the rows that count; NULL for all */
    const void *weights;       /* (classes,) class weights; NULL for ones */
    double sum_of_weights;
    double smoothing; /* label smoothing */
    double scale;     /* factor of the gradient */
    void *gradient;   /* (rows, classes) out: the gradient; without a target, the softmax */
} fl_softmax;

/* A step of stochastic gradient descent. */
typedef struct {
    void *theta; /* (n,) in and out: the parameters */
    const void *gradient;
    void *velocity; /* (n,) in and out; NULL without momentum */
    double rate, momentum, decay;
    int nesterov;
} fl_sgd;

/* A step of Adam: theta = keep theta - rate m / (root sqrt(v) + epsilon). */
typedef struct {
    void *theta; /* (n,) in and out: the parameters */
    const void *gradient;
    void *m, *v; /* (n,) in and out: running means of the gradient and of its square */
    double beta1, beta2, epsilon;
    double rate, root, keep;
} fl_adam;

typedef struct {
    fl_size unit_block;   /* vector length: all panels are made of vectors */
    fl_size row_block;    /* batch rows per register tile */
    fl_size column_block; /* columns per panel: 4 vectors */
    int device;           /* whether this is a device with its own memory */
    int packs;            /* whether steps read packed weights; else they read them as they are, W x is always hoisted,
                             and the products of a pass are a library's, with threads of its own */

    /* Pack weights A (gates H, K) into forward panels. Panel j holds, for each k, the weights of its hidden units side
     * by side, zero-padded: unit_block units, a vector for each gate; of a single gate, column_block units. */
    void (*pack_columns)(void *panels, fl_size gates, fl_size hidden, const void *A, fl_size K, fl_size panel0,
                         fl_size panel1);
    /* Pack A (rows, columns), whose rows are `row_step` values apart, into panels: panel j holds, for each row,
     * `vectors` vectors of neighbouring columns. */
    void (*pack_rows)(void *panels, int vectors, const void *A, fl_size row_step, fl_size rows, fl_size columns,
                      fl_size panel0, fl_size panel1);

    const fl_cell_kernels *cells; /* (FL_CELLS,) by fl_cell_kind */
    /* Run a step of B rows and all units that changes h and c in place, from the arguments that are the same at every
     * step. h is NULL where a layer is not recurrent, c where the cell has none; y has rows of y_copy_step values. NULL
     * on a device. */
    void (*step_in_place)(const fl_forward *constant, const void *x, void *h, void *c, void *y, void *space, fl_size B);
    /* Compute what lies between two steps: y for columns [column0, column1), c for units [unit0, unit1). */
    void (*carry)(const fl_carry *, fl_size row0, fl_size row1, fl_size column0, fl_size column1, fl_size unit0,
                  fl_size unit1);
    /* Compute dy (B, width) alone: for a projection, and for the initial state. */
    void (*y_gradient)(const fl_y_gradient *, void *dy, fl_size width, fl_size row0, fl_size row1, fl_size column0,
                       fl_size column1);

    void (*multiply)(const fl_product *, fl_size row0, fl_size row1, fl_size column0, fl_size column1);
    /* Write A^T (columns, rows) for columns [column0, column1) of A (rows, columns). */
    void (*transpose)(void *a_transposed, const void *a, fl_size rows, fl_size columns, fl_size column0,
                      fl_size column1);
    /* Compute dA (gates H, K) = G^T or dA += G^T for units [unit0, unit1). The columns of G (K, padded gates H) are in
     * the order of the delta panels. */
    void (*unpack_gradient)(void *dA, const void *G, fl_size gates, fl_size hidden, fl_size K, int add, fl_size unit0,
                            fl_size unit1);
    /* Add the sum over the rows of delta (rows, columns) to db, for columns [column0, column1). */
    void (*add_bias_gradient)(void *db, const void *delta, fl_size rows, fl_size columns, fl_size column0,
                              fl_size column1);
    /* Compute y = g(x), n values. */
    void (*activate)(fl_activation, const void *x, void *y, fl_size n);
    /* Compute dx = dy g'(x) from y = g(x), n values; dx may be dy. */
    void (*differentiate)(fl_activation, const void *y, const void *dy, void *dx, fl_size n);

    /* Write the gradients of these rows; return the sum of their losses. */
    double (*elementwise_loss)(const fl_loss *, fl_size row0, fl_size row1);
    double (*softmax)(const fl_softmax *, fl_size row0, fl_size row1);

    /* Update elements [first, last); return whether the velocity, or v, is finite in all of them. */
    int (*sgd)(const fl_sgd *, fl_size first, fl_size last);
    int (*adam)(const fl_adam *, fl_size first, fl_size last);
    /* Return the sum of squares, or multiply by a factor: both in double precision. */
    double (*sum_of_squares)(const void *x, fl_size n);
    void (*scale)(void *x, double factor, fl_size n);
    /* Add each of `count` rows, in order, to row ids[row] of sums, in columns [column0, column1). */
    void (*add_rows)(void *sums, const int64_t *ids, const void *rows, fl_size count, fl_size columns, fl_size column0,
                     fl_size column1);

    /* Compute sums = factor times the sum of `count` rows, or sums += that, in double precision, in columns [column0,
     * column1). Rows are `step` values apart. */
    void (*sum_rows)(void *sums, const void *rows, fl_size step, fl_size count, double factor, int add, fl_size column0,
                     fl_size column1);

    /* Connectionist temporal classification: see ctc.h. ctc_step and ctc_shares exist in double precision only. */
    fl_ctc_norm (*ctc_softmax)(const void *x, fl_size K, double weight, void *y);
    void (*ctc_emissions)(const void *x, fl_ctc_norm norm, const int64_t *labels, fl_size step, fl_size L, double *y);
    void (*ctc_subtract)(void *dx, double weight, const double *share, const int64_t *labels, fl_size step, fl_size L,
                         fl_size blank);
    void (*ctc_step)(const double *labels, const double *blanks, const double *skip, const double *y_labels,
                     double y_blank, fl_size size, double *next_labels, double *next_blanks);
    void (*ctc_shares)(const double *labels, const double *blanks, const double *labels_back, const double *blanks_back,
                       const double *y_labels, double y_blank, fl_size L, double *share);

    /* Copy or clear memory, the processor's or a device's: rows of `bytes` bytes, `step` bytes apart. `which` marks the
     * rows to clear; NULL for all. */
    void (*copy)(void *to, fl_size to_step, const void *from, fl_size from_step, fl_size bytes, fl_size row0,
                 fl_size row1);
    void (*clear)(void *to, fl_size step, fl_size bytes, fl_size rows, const unsigned char *which);
    /* Compute a product of matrices on a device, as matmul() of _system/blas/products.pyx does; NULL on a processor. */
    void (*matmul)(int transpose_a, int transpose_b, fl_size m, fl_size n, fl_size k, const void *a, fl_size lda,
                   const void *b, double beta, void *c);
    /* Run the steps that a device has queued: a device may hold steps, and what lies between them, back until something
     * else is asked for. NULL on a processor. */
    void (*finish)(void);
} fl_kernels;

/* A row of cells.def, which says what each column means. */
typedef struct {
    const char *name;
    int has_c, gates_are_y, extra, c_is_y, own_R_deltas, products;
} fl_cell_row;

static inline const fl_cell_row *fl_row_of_cell(fl_cell_kind kind) {
    static const fl_cell_row rows[FL_CELLS] = {
#define CELL(name, NAME, forms, ...) {#name, __VA_ARGS__},
#include "cells.def"
#undef CELL
    };
    return &rows[kind];
}

/* Return whether a step must have all units of its rows. */
static inline int fl_has_whole_rows(const fl_cell *cell) { return fl_row_of_cell(cell->kind)->products > 0; }

/* Return the number of gates that the forward panels of a cell hold side by side: one where a step has whole rows. */
static inline fl_size fl_gates_of_panel(const fl_cell *cell) { return fl_has_whole_rows(cell) ? 1 : cell->gates; }

/* Return the number of parts in which R is packed: one for each product of a step. */
static inline int fl_parts_of_R(const fl_cell *cell) { return fl_row_of_cell(cell->kind)->products > 1 ? 2 : 1; }

/* The blocks of R that a product of a step has: all of them, or all but the last and the last. */
typedef struct {
    fl_size first, count;
} fl_blocks;
static inline fl_blocks fl_blocks_of_product(const fl_cell *cell, int product) {
    const int products = fl_row_of_cell(cell->kind)->products;
    fl_blocks blocks = {0, cell->gates};
    if (products == 2) blocks.count = product ? 1 : cell->gates - 1, blocks.first = product ? cell->gates - 1 : 0;
    return blocks;
}

/* Return the number of hidden units in a forward panel; a thread's share of a step is a number of panels. A panel of a
 * single gate has as many neighbouring vectors as a tile has registers for. */
static inline fl_size fl_panel_units(const fl_kernels *k, fl_size gates) {
    return gates > 1 ? k->unit_block : k->column_block;
}
/* Return the number of columns of a forward panel. */
static inline fl_size fl_panel_columns(const fl_kernels *k, fl_size gates) { return gates * fl_panel_units(k, gates); }
/* Return the number of forward panels for so many gates and hidden units. */
static inline fl_size fl_panel_count(const fl_kernels *k, fl_size gates, fl_size hidden) {
    return (hidden + fl_panel_units(k, gates) - 1) / fl_panel_units(k, gates);
}
/* Return the number of columns of all forward panels: gates H, padded. */
static inline fl_size fl_padded_columns(const fl_kernels *k, fl_size gates, fl_size hidden) {
    return fl_panel_count(k, gates, hidden) * fl_panel_columns(k, gates);
}
/* Return the number of columns of an array, padded to panels of `vectors` vectors. */
static inline fl_size fl_padded(const fl_kernels *k, int vectors, fl_size columns) {
    const fl_size width = vectors * k->unit_block;
    return (columns + width - 1) / width * width;
}

#endif
