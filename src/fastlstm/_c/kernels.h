/* What the compiled kernels offer to the time loops: one table of functions per instruction set and precision.
 *
 * All matrices are row-major and dense: a (B, H) array has rows of H values, one after the other. `void *` stands for
 * the table's precision. B counts batch rows, I inputs, H hidden units. The gates of a row are four blocks of H values in
 * the order i, f, z, o.
 *
 * A step works on batch rows [row0, row1) and hidden units [unit0, unit1), so that threads can share it; unit0 is a
 * multiple of the table's `unit_block`, unit1 too unless it is H. No function allocates, blocks or keeps state.
 */
#ifndef FL_KERNELS_H
#define FL_KERNELS_H

#include <stddef.h>

typedef ptrdiff_t fl_size;

/* One time step of the LSTM, forward. */
typedef struct {
    fl_size hidden, input;
    const void *W, *R;   /* (4H, I), (4H, H): used where panels is NULL */
    const void *panels;  /* from pack_columns: [W R] with the input product folded in, R alone without; or NULL */
    const void *b;       /* (4H,) */
    const void *p;       /* (3, H) rows i, f, o; NULL without peepholes */
    const void *x;       /* (B, I); NULL when wx holds its product */
    const void *wx;      /* (B, 4H) W x^t; NULL when x is given. May be the same memory as gates */
    const void *y_prev;  /* (B, H) y^{t-1} */
    const void *c_prev;  /* (B, H) c^{t-1} */
    void *gates;         /* (B, 4H) out: activated gates; or NULL */
    void *c;             /* (B, H) out: c^t; may be c_prev */
    void *y;             /* (B, H) out: y^t; must not be y_prev */
    void *y_copy;        /* (B, H) out: y^t once more; or NULL */
} fl_lstm_forward;

/* One time step of the LSTM, backward: deltas of step t from those of step t + 1. */
typedef struct {
    fl_size hidden;
    const void *panels;     /* from pack_rows of R */
    const void *p;          /* (3, H); NULL without peepholes */
    const void *gates;      /* (B, 4H) of this step */
    const void *c_prev, *c; /* (B, H) */
    const void *dy;         /* (B, H) gradient arriving at y^t from above; or NULL for zero */
    const void *dy_final;   /* (B, H) gradient arriving at the final state's y (at t = T only); or NULL */
    const void *delta_next; /* (B, 4H) deltas of step t + 1; NULL at t = T */
    void *delta;            /* (B, 4H) out: di, df, dz, do before the activations */
    void *delta_panels;     /* out: the same as panels, for the weight gradients; or NULL. Panel j has unit_block units, a
                               row for each batch row, with the four gates' deltas side by side, zero-padded */
    fl_size panel_step;     /* values from one of these panels to the next */
    void *dc;               /* (B, H) in: what step t + 1 sends to c^t; out: what step t sends to c^{t-1} */
} fl_lstm_backward;

/* The simple RNN's activation g. */
typedef enum { FL_TANH, FL_RELU, FL_LOGISTIC, FL_IDENTITY } fl_activation;

typedef struct {
    fl_size hidden, input;
    fl_activation activation;
    const void *W, *R;  /* (H, I), (H, H): used where panels is NULL */
    const void *panels; /* as for the LSTM */
    const void *b;      /* (H,) */
    const void *x;      /* (B, I); NULL when wx holds its product */
    const void *wx;     /* (B, H); may be the same memory as h */
    const void *h_prev; /* (B, H) */
    void *h;            /* (B, H) out; must not be h_prev */
    void *h_copy;       /* (B, H) out: h^t once more; or NULL */
} fl_rnn_forward;

typedef struct {
    fl_size hidden;
    fl_activation activation;
    const void *panels;     /* from pack_rows of R */
    const void *h;          /* (B, H) of this step */
    const void *dh;         /* (B, H) gradient arriving from above; or NULL */
    const void *dh_final;   /* (B, H) gradient arriving at the final state (at t = T only); or NULL */
    const void *delta_next; /* (B, H) deltas of step t + 1; NULL at t = T */
    void *delta;            /* (B, H) out: da^t */
    void *delta_panels;     /* out: the same as panels of column_block units, zero-padded; or NULL */
    fl_size panel_step;     /* values from one of these panels to the next */
} fl_rnn_backward;

/* C = A B, or C += A B, over many rows. */
typedef struct {
    fl_size columns, K;          /* C is (rows, columns), B (K, columns) */
    const void *a;               /* A's value at row m and column k is a[m * a_row_step + k * a_k_step] */
    fl_size a_row_step, a_k_step;
    const void *panels;          /* B: from pack_rows, from pack_columns of B^T with gates = 1, or a step's deltas */
    void *c;
    int add;
} fl_product;

typedef struct {
    fl_size unit_block;     /* hidden units per LSTM panel: the vector length */
    fl_size row_block;      /* batch rows per register tile */
    fl_size column_block;   /* columns per panel: 4 vectors */

    /* Forward panels of weights A = [W R], W (gates H, I), R (gates H, H), gates 4 (LSTM) or 1 (RNN). R may be NULL, or
     * W with I = 0. Panel j holds, for each k, the column_block weights of its hidden units side by side, zero-padded. */
    void (*pack_columns)(void *panels, fl_size gates, fl_size hidden, const void *W, fl_size input, const void *R,
                         fl_size panel0, fl_size panel1);
    /* Panels of A (rows, columns): panel j holds, for each row, columns [j column_block, (j + 1) column_block). */
    void (*pack_rows)(void *panels, const void *A, fl_size rows, fl_size columns, fl_size panel0, fl_size panel1);

    void (*lstm_forward)(const fl_lstm_forward *, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1);
    void (*lstm_backward)(const fl_lstm_backward *, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1);
    void (*rnn_forward)(const fl_rnn_forward *, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1);
    void (*rnn_backward)(const fl_rnn_backward *, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1);

    void (*multiply)(const fl_product *, fl_size row0, fl_size row1, fl_size column0, fl_size column1);
    /* A^T (columns, rows) for columns [column0, column1) of A (rows, columns). */
    void (*transpose)(void *a_transposed, const void *a, fl_size rows, fl_size columns, fl_size column0,
                      fl_size column1);
    /* dA (gates H, K) = G^T or += G^T for units [unit0, unit1): G (K, panels column_block) has its columns in the order of
     * the delta panels. */
    void (*unpack_gradient)(void *dA, const void *G, fl_size gates, fl_size hidden, fl_size K, int add, fl_size unit0,
                            fl_size unit1);
    /* db += sum over rows of delta (rows, columns), for columns [column0, column1). */
    void (*add_bias_gradient)(void *db, const void *delta, fl_size rows, fl_size columns, fl_size column0,
                              fl_size column1);
    /* dp += the peephole gradients of these rows: di.c_prev, df.c_prev, do.c, for units [unit0, unit1). */
    void (*add_peephole_gradient)(void *dp, const void *delta, const void *c_prev, const void *c, fl_size rows,
                                  fl_size hidden, fl_size unit0, fl_size unit1);

    void (*activate)(fl_activation, const void *x, void *y, fl_size n); /* y = g(x), n values */
} fl_kernels;

#endif
