/* What the compiled kernels offer to the time loops: one table of functions per instruction set and precision.
 *
 * All matrices are row-major and dense, unless a step from row to row is given: a (B, H) array has rows of H
 * values, one after the other. `void *` stands for the table's precision. B counts batch rows, I inputs, H hidden
 * units. The gates of a row are blocks of H values in the order i, f, z, o.
 *
 * A cell may hand on extra columns beside y, which the next step sees too: for each vector of hidden units as many
 * vectors, side by side, as its row of cells.def says. In a row of what a step sees they come after y's values; R has
 * columns for them, in the same order.
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

typedef enum { FL_TANH, FL_RELU, FL_LOGISTIC, FL_IDENTITY, FL_HARD_LOGISTIC } fl_activation;

/* How packed weights are stored; all but the first in single precision only. Arithmetic is always that of the table. */
typedef enum { FL_FULL, FL_BFLOAT16, FL_INT8 } fl_format;

/* Which cell: a row of cells.def. */
typedef enum {
#define CELL(name, NAME, has_c, gates_are_y, extra, forms) FL_##NAME,
#include "cells.def"
#undef CELL
    FL_CELLS
} fl_cell_kind;

/* The most gate blocks that a cell has. */
enum { FL_MOST_GATES = 4 };

/* What distinguishes one cell from another of its kind, too. The simple RNN has one block, and g alone. */
typedef struct {
    fl_cell_kind kind;
    int gates;          /* blocks of H rows in W, R and b, and in the gates of a row */
    int i, f, z, o;     /* the place of each among them; -1 where there is none, whose gate is 1 */
    int coupled;        /* f = 1 - i */
    fl_activation gate; /* sigma of i, f, o */
    fl_activation g, h; /* of z, and of c on its way to y */
    double clip;        /* bound of what goes into sigma and g; 0 for none */
    double cell_clip;   /* bound of c; 0 for none */
    int plain;          /* all four gates, logistic and tanh, no bounds: known to the compiler */
} fl_cell;

/* One time step, forward. A row of what the step sees has `outputs` values: those of y, H without a projection, and
 * the extra columns. */
typedef struct {
    const fl_cell *cell;
    fl_size hidden, input, outputs;
    const void *W, *R;               /* (gates H, I), (gates H, outputs): used where R_panels is NULL */
    const void *W_panels, *R_panels; /* from pack_columns, in this */
    fl_format format;
    const void *scale;   /* (gates H,) factors of the rows of R; NULL for 1 */
    const void *ratio;   /* with scale, (gates H,): the factors of the rows of W are so many times as large */
    const void *b;       /* (gates H,) */
    const void *p;       /* a row for each of i, f, o that there is; NULL without peepholes */
    const void *x;       /* (B, I); NULL when wx holds its product */
    const void *wx;      /* (B, gates H) W x^t, not yet scaled; NULL when x is given. May be the same memory as gates */
    const void *y_prev;  /* (B, outputs) y^{t-1}, */
    fl_size y_prev_step; /* a row every so many values */
    const void *c_prev;  /* (B, H) c^{t-1} */
    void *gates;         /* (B, gates H) out: activated gates, for the RNN h^t; or NULL */
    void *c;             /* (B, H) out: c^t; may be c_prev */
    fl_size keep;        /* rows that the next step has too: y and extra_seen are for them, extra_last for the rest */
    void *y;             /* (B, H) out: y^t, must not be y_prev; or NULL */
    fl_size y_step;
    void *y_copy; /* (B, H) out: y^t once more, of all rows; or NULL */
    fl_size y_copy_step;
    void *extra_seen; /* out: the extra columns for the next step, a row every y_step values; or NULL */
    void *extra_last; /* (B, extra columns) out: those of the other rows; or NULL */
} fl_forward;

/* From a step to the next: y and c as the next step sees them. Rows [row0, row1) of both steps. */
typedef struct {
    fl_size hidden, width; /* of c, of y */
    fl_size keep;          /* rows that the next step has; the others' states are final */
    void *y;               /* (B, width) in, with zoneout also out: y^t */
    fl_size y_step;
    const void *y_before; /* zoneout: (B, width) y^{t-1} of the first `before` rows, the others' is y_first */
    fl_size y_before_step, before;
    const unsigned char *reset_before; /* zoneout: which rows this step reset; or NULL */
    const void *zone_y, *zone_c;       /* (B, ...) what share of the state before stays; or NULL */
    const unsigned char *reset;        /* which rows the next step resets, */
    const void *y_first, *c_first;     /* (B, ...) to these */
    int reset_to_zero;                 /* or to zero */
    const void *mask;                  /* (B, width) of y; or NULL */
    void *y_seen;                      /* out, for the next step; NULL where that reads y */
    fl_size y_seen_step;
    int y_is_there;          /* the step has written it, so that a reset alone changes it */
    int extra;               /* vectors of extra columns for each vector of units */
    const void *extra_first; /* (B, extra columns) what a reset sets those of y_seen to; or NULL */
    const void *c, *c_prev;  /* (B, H) c^t, and c^{t-1} as this step saw it */
    void *c_seen;            /* out, for the next step; NULL where that reads c */
    void *c_last;            /* out, for the rows without a next step */
} fl_carry;

/* The gradient of J with respect to y^t: from above, and from the later steps through what they saw of it. */
typedef struct {
    const void *a; /* (B, K) of the next step: a panels is the gradient of what it saw; NULL for none */
    fl_size K;
    const void *panels;
    const void *above; /* (B, width); or NULL */
    fl_size above_step;
    const void *last; /* (B, width) gradient arriving at the final state, of rows that end here; or NULL */
    const void *mask; /* as in fl_carry, of the next step */
    const unsigned char *reset;
    void *to_first;   /* (B, width) += what a reset sends to the initial state; or NULL */
    const void *zone; /* of this step */
    void *zoned;      /* (B, width) in: what zoneout of the next step sends here; out: to the step before */
    void *all;        /* (B, width) out: the gradient; or NULL */
} fl_y_gradient;

/* One time step, backward: deltas of step t from those of step t + 1. */
typedef struct {
    const fl_cell *cell;
    fl_size hidden;
    fl_y_gradient y;            /* with a projection: of its input, a = dy^t */
    const void *extra_panels;   /* from pack_rows of R's extra columns, those of a vector of units wide; or NULL */
    const void *delta_next;     /* for extra_panels, (B, gates H) of the next step; NULL at the last */
    const void *d_extra_last;   /* (B, extra columns) gradient that arrives at those of the final state; or NULL */
    const void *p;              /* NULL without peepholes */
    const void *gates;          /* (B, gates H) of this step */
    const void *c_prev, *c;     /* (B, H) */
    const void *dc_above;       /* (B, H) gradient arriving at c^t from above; or NULL */
    const unsigned char *reset; /* which rows the next step resets; or NULL */
    void *dc_first;             /* (B, H) += what a reset sends to the initial cell; or NULL */
    void *d_extra_first;        /* (B, extra columns) += what a reset sends to the initial ones; or NULL */
    const void *zone_c;         /* (B, H); or NULL */
    int simple;         /* none of extra_panels, dc_above, reset, zone_c, dc_all, y.mask, .reset, .zone, .all: known to
                           the compiler */
    void *sent;         /* a device's, (B, gates H) of sums: what the next step sends; else NULL */
    void *delta;        /* (B, gates H) out: before the activations */
    void *delta_panels; /* out: the same as panels, for the weight gradients; or NULL. A panel has the units of a
                           forward panel, with the gates' deltas side by side; zero-padded */
    fl_size panel_step; /* values from one of these panels to the next */
    void *dc;           /* (B, H) in: what step t + 1 sends to c^t; out: what step t sends to c^{t-1} */
    void *dc_all;       /* (B, H) out: dc^t; or NULL */
    void *y_again;      /* (B, H) out: y^t, as the forward step computed it; or NULL */
} fl_backward;

typedef void (*fl_forward_step)(const fl_forward *, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1);
typedef void (*fl_backward_step)(const fl_backward *, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1);
/* y (rows, H) for units [unit0, unit1), from the gates and the cells that a step has left on the tape: bit for bit what
 * the step computed, where a tape has as many bits as the arithmetic. */
typedef void (*fl_outputs)(const fl_cell *, fl_size hidden, const void *gates, const void *c, void *y, fl_size rows,
                           fl_size unit0, fl_size unit1);
typedef struct {
    fl_forward_step forward;
    fl_backward_step backward;
    fl_outputs outputs;
} fl_cell_kernels;

/* The logarithm of zero in double precision: far below that of any number, far above the end of the numbers. */
#define FL_CTC_ZERO (-1e300)

/* ln sum e^x in two parts, which lose nothing beside each other: the largest x, and the logarithm of the sum of
 * e^(x - it). */
typedef struct {
    double largest, log_sum;
} fl_ctc_norm;

/* C = A B, or C += A B, over many rows. */
typedef struct {
    fl_size columns, K; /* C is (rows, columns), B (K, columns); with gates > 1, that many times as many columns */
    const void *a;      /* A's value at row m and column k is a[m * a_row_step + k * a_k_step] */
    fl_size a_row_step, a_k_step;
    const void *panels; /* B: from pack_rows or a step's deltas, `vectors` vectors wide; from pack_columns of B^T, */
    int vectors;        /* or 0, on a processor: B^T itself (columns, K), for few rows */
    fl_size gates;      /* so many gates side by side; 1 for all others */
    fl_format format;
    void *c;
    fl_size c_row_step;
    int add;
    int sums; /* C is of sums: not of fewer bits where a device stores all else so */
} fl_product;

/* A loss that is a sum over elements (rows, columns), and its gradient. */
typedef enum { FL_SQUARED, FL_ABSOLUTE, FL_HUBER, FL_LOGISTIC_LOSS } fl_loss_kind;
typedef struct {
    fl_loss_kind kind;
    fl_size columns;
    const void *prediction, *target;
    const unsigned char *mask; /* (rows,) those that count; or NULL for all */
    double scale;              /* of the gradient */
    double delta;              /* FL_HUBER: where the square ends */
    void *gradient;            /* (rows, columns) out */
} fl_loss;

/* The cross-entropy of a softmax with given classes, and its gradient. */
typedef struct {
    fl_size classes;
    const void *logits;        /* (rows, classes) */
    const int64_t *target;     /* (rows,) classes; or NULL, for the softmax alone */
    const unsigned char *mask; /* (rows,) those that count; or NULL for all */
    const void *weights;       /* (classes,); or NULL for ones */
    double sum_of_weights;
    double smoothing;
    double scale;   /* of the gradient */
    void *gradient; /* (rows, classes) out: the gradient, or the softmax */
} fl_softmax;

/* A step of stochastic gradient descent. */
typedef struct {
    void *theta; /* (n,) in and out: the parameters */
    const void *gradient;
    void *velocity; /* (n,) in and out; or NULL, without momentum */
    double rate, momentum, decay;
    int nesterov;
} fl_sgd;

/* A step of Adam: theta = keep theta - rate m / (root sqrt(v) + epsilon). */
typedef struct {
    void *theta; /* (n,) in and out: the parameters */
    const void *gradient;
    void *m, *v; /* (n,) in and out: the running means */
    double beta1, beta2, epsilon;
    double rate, root, keep;
} fl_adam;

typedef struct {
    fl_size unit_block;   /* the vector length, of which all panels are made */
    fl_size row_block;    /* batch rows per register tile */
    fl_size column_block; /* columns per panel: 4 vectors */
    int device;           /* memory is not the processor's own: W x is always hoisted, weights are read as they are */

    /* Forward panels of weights A (gates H, K). Panel j holds, for each k, the weights of its hidden units side by
     * side, zero-padded: a vector for each gate of unit_block units, or of a single gate column_block units. */
    void (*pack_columns)(void *panels, fl_size gates, fl_size hidden, const void *A, fl_size K, fl_size panel0,
                         fl_size panel1);
    /* Panels of A (rows, columns), which has a row every `row_step` values: panel j holds, for each row, `vectors`
     * vectors of neighbouring columns. */
    void (*pack_rows)(void *panels, int vectors, const void *A, fl_size row_step, fl_size rows, fl_size columns,
                      fl_size panel0, fl_size panel1);

    const fl_cell_kernels *cells; /* FL_CELLS of them */
    /* y for columns [column0, column1), c for units [unit0, unit1). */
    void (*carry)(const fl_carry *, fl_size row0, fl_size row1, fl_size column0, fl_size column1, fl_size unit0,
                  fl_size unit1);
    /* dy (B, width), alone: for a projection, and for the initial state. */
    void (*y_gradient)(const fl_y_gradient *, void *dy, fl_size width, fl_size row0, fl_size row1, fl_size column0,
                       fl_size column1);

    void (*multiply)(const fl_product *, fl_size row0, fl_size row1, fl_size column0, fl_size column1);
    /* A^T (columns, rows) for columns [column0, column1) of A (rows, columns). */
    void (*transpose)(void *a_transposed, const void *a, fl_size rows, fl_size columns, fl_size column0,
                      fl_size column1);
    /* dA (gates H, K) = G^T or += G^T for units [unit0, unit1): G (K, padded gates H) has its columns in the order of
     * the delta panels. dA has a row every K values. */
    void (*unpack_gradient)(void *dA, const void *G, fl_size gates, fl_size hidden, fl_size K, int add, fl_size unit0,
                            fl_size unit1);
    /* db += sum over rows of delta (rows, columns), for columns [column0, column1). */
    void (*add_bias_gradient)(void *db, const void *delta, fl_size rows, fl_size columns, fl_size column0,
                              fl_size column1);
    /* dp += the peephole gradients of these rows, the deltas of i and f times c_prev and of o times c, for units
     * [unit0, unit1). */
    void (*add_peephole_gradient)(void *dp, const fl_cell *, const void *delta, const void *c_prev, const void *c,
                                  fl_size rows, fl_size hidden, fl_size unit0, fl_size unit1);

    void (*activate)(fl_activation, const void *x, void *y, fl_size n); /* y = g(x), n values */
    /* dx = dy g'(x), from y = g(x), n values; dx may be dy */
    void (*differentiate)(fl_activation, const void *y, const void *dy, void *dx, fl_size n);

    /* The sum of the losses of these rows, and their gradients. */
    double (*elementwise_loss)(const fl_loss *, fl_size row0, fl_size row1);
    double (*softmax)(const fl_softmax *, fl_size row0, fl_size row1);

    /* Elements [first, last); whether the velocity, or v, is finite in all of them. */
    int (*sgd)(const fl_sgd *, fl_size first, fl_size last);
    int (*adam)(const fl_adam *, fl_size first, fl_size last);
    double (*sum_of_squares)(const void *x, fl_size n); /* in double precision, as this: */
    void (*scale)(void *x, double factor, fl_size n);
    /* For each of `count` rows, in order: row ids[row] of sums += it, in columns [column0, column1). */
    void (*add_rows)(void *sums, const int64_t *ids, const void *rows, fl_size count, fl_size columns, fl_size column0,
                     fl_size column1);

    /* sums = factor times the sum, in double precision, of `count` rows, one every `step` values, in columns
     * [column0, column1); or sums += that. */
    void (*sum_rows)(void *sums, const void *rows, fl_size step, fl_size count, double factor, int add, fl_size column0,
                     fl_size column1);

    /* Connectionist temporal classification: see ctc.h. The last two are in double precision only. */
    fl_ctc_norm (*ctc_softmax)(const void *x, fl_size K, double weight, void *y);
    void (*ctc_emissions)(const void *x, fl_ctc_norm norm, const int64_t *labels, fl_size step, fl_size L, double *y);
    void (*ctc_subtract)(void *dx, double weight, const double *share, const int64_t *labels, fl_size step, fl_size L,
                         fl_size blank);
    void (*ctc_step)(const double *labels, const double *blanks, const double *skip, const double *y_labels,
                     double y_blank, fl_size size, double *next_labels, double *next_blanks);
    void (*ctc_shares)(const double *labels, const double *blanks, const double *labels_back, const double *blanks_back,
                       const double *y_labels, double y_blank, fl_size L, double *share);

    /* Memory, the processor's or a device's: rows of `bytes` bytes, one every `step` bytes. */
    void (*copy)(void *to, fl_size to_step, const void *from, fl_size from_step, fl_size bytes, fl_size row0,
                 fl_size row1);
    void (*clear)(void *to, fl_size step, fl_size bytes, fl_size rows,
                  const unsigned char *which); /* those marked; NULL: all */
    /* A device's own product, as matmul() of _engine/blas.pyx; NULL on a processor. */
    void (*matmul)(int transpose_a, int transpose_b, fl_size m, fl_size n, fl_size k, const void *a, const void *b,
                   double beta, void *c);
    /* A device may keep steps, and what lies between them, until something else is asked for; with this nothing
     * waits. NULL on a processor. */
    void (*finish)(void);
} fl_kernels;

/* A cell's row of cells.def, which says what each column means. */
typedef struct {
    const char *name;
    int has_c, gates_are_y, extra;
} fl_cell_row;

static inline const fl_cell_row *fl_row_of_cell(fl_cell_kind kind) {
    static const fl_cell_row rows[FL_CELLS] = {
#define CELL(name, NAME, has_c, gates_are_y, extra, forms) {#name, has_c, gates_are_y, extra},
#include "cells.def"
#undef CELL
    };
    return &rows[kind];
}

/* Hidden units in a forward panel, of which a thread's share of a step is made: where a gate stands alone, as many
 * neighbouring vectors as a tile has registers for. */
static inline fl_size fl_panel_units(const fl_kernels *k, fl_size gates) {
    return gates > 1 ? k->unit_block : k->column_block;
}
/* The columns of a panel, */
static inline fl_size fl_panel_columns(const fl_kernels *k, fl_size gates) { return gates * fl_panel_units(k, gates); }
/* how many such panels there are, */
static inline fl_size fl_panel_count(const fl_kernels *k, fl_size gates, fl_size hidden) {
    return (hidden + fl_panel_units(k, gates) - 1) / fl_panel_units(k, gates);
}
/* and the columns of all, which are the padded gates H. */
static inline fl_size fl_padded_columns(const fl_kernels *k, fl_size gates, fl_size hidden) {
    return fl_panel_count(k, gates, hidden) * fl_panel_columns(k, gates);
}
/* Columns of an array, padded to panels of so many vectors. */
static inline fl_size fl_padded(const fl_kernels *k, int vectors, fl_size columns) {
    const fl_size width = vectors * k->unit_block;
    return (columns + width - 1) / width * width;
}

#endif
