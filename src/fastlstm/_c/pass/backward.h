/* A backward pass of one layer in one direction: how it uses its memory, and what each of its steps reads and writes.
 * The loops over time are in _engine/backward.pyx and network/backward.c. Names are those of forward.h. */
#ifndef FL_PASS_BACKWARD_H
#define FL_PASS_BACKWARD_H

#include "pass/forward.h"
#include "pass/sums.h"
#include "pass/weights.h"

enum { FL_PARTS_OF_WEIGHTS = 2, FL_SUMS = 3 * FL_PARTS_OF_WEIGHTS + 3 };

typedef struct {
    const fl_kernels *k;
    fl_backward_step step;
    fl_ask_stop stopped;
    fl_backward constant;        /* a step's arguments that are the same at every step */
    fl_y_gradient between;       /* arguments of y^t's gradient that are the same at every step */
    fl_weight_gradients weights; /* as the caller describes them: all rows of W, R and b */
    /* The rows that a product of a step with R has: all of them but in a cell with two such products. */
    fl_weight_gradients parts[FL_PARTS_OF_WEIGHTS];
    int part_count;
    fl_rows rows;
    int reverse;
    fl_size size;      /* bytes of a value */
    fl_size cell_size; /* bytes of a value of c, and of a sum */
    fl_size gates;
    fl_size outputs;    /* P */
    fl_size K;          /* values in a row of y as the steps see it */
    fl_size block;      /* hidden units in a block, of which a thread's share has whole ones */
    fl_size unit_work;  /* multiply-adds of a step per row and unit; 0 on a device */
    fl_size block_rows; /* rows in a block of steps */
    int packed;         /* Is R packed? Not for a single plain step. */
    int given_panels;   /* Are W and R given as panels? */
    int with_deltas;    /* Are the deltas of all steps wanted? */
    fl_division division;
    fl_size s0, s1;    /* the steps [s0, s1) to run, last first */
    fl_size s_end;     /* the end of their block */
    fl_size delta_row; /* the row, among all rows, at which delta and delta_panels begin */
    const char *R;
    const char *proj; /* (P, H), or NULL */
    const char *x;    /* (rows, I) */
    fl_tape tape;
    int recomputes_y;       /* Is y^{t-1} not on the tape? */
    fl_forward_pass *again; /* the forward pass that recomputes a segment; NULL without recompute */
    /* Options. */
    int reset_to_zero;
    const char *reset;  /* (rows,) bytes, or NULL */
    const char *zone_y; /* (rows, P), or NULL */
    const char *zone_c; /* (rows, H), or NULL */
    /* Gradients that arrive; each may be NULL. */
    const char *dy; /* (rows, ...): P values every dy_step */
    fl_size dy_step;
    const char *dh;       /* (B, P) */
    const char *dc;       /* (B, H) */
    const char *d_extra;  /* (B, K - P): gradient of the final extra columns */
    const char *dc_above; /* (rows, H) */
    /* Results beside those of the weights; each may be NULL. */
    char *dx; /* (rows, I) */
    char *dp, *dnorm;
    char *dproj;     /* (P, H) */
    char *dh0;       /* (B, P) */
    char *d_extra0;  /* (B, K - P) */
    char *delta_all; /* (rows, gates H) */
    char *dy_all;    /* (rows, P) */
    char *dc_all;    /* (rows, H) */
    /* Workspace. */
    char *delta;        /* (rows of a block, gates H), or delta_all */
    char *r_y;          /* (rows of a block, H): what the last block of R was multiplied with, apart; else NULL */
    char *beside;       /* (B, H): with such a block, what a step passes to y^{t-1} beside its product; else NULL */
    char *delta_R;      /* (rows of a block, gates H): deltas of R y^{t-1}, where they are not `delta`; else NULL */
    char *delta_W;      /* (rows of a block, gates H): deltas of W x^t, where they are not `delta`; else NULL */
    char *norm_deltas;  /* (rows of a block, norm_rows H): each row's share of dnorm; else NULL */
    char *delta_before; /* (B, gates H): the deltas of R y^{t-1} of the step that this pass ran just before the block */
    char *y_prev;       /* (rows of a block, P), where y^{t-1} is not on the tape */
    char *dy_space;     /* (rows of a block, P): with a projection, the gradient of its result */
    char *m_panels;     /* with a projection, packed rows of the tape's m */
    char *zoned;        /* (B, P): gradient that zoneout passes from step to step */
    char *R_panels;     /* may be given */
    char *late_panels;  /* the last block of R, where it has a product of its own */
    char *extra_panels;
    char *proj_panels;
    fl_sum sums[FL_SUMS]; /* sums over many rows: dW, dR, db, dp, dnorm, dproj */
    fl_size in_part;      /* rows in the current parts of these sums */
} fl_backward_pass;

/* Return the number of rows of R that the product with the deltas of the next step has. */
static inline fl_size fl_rows_of_R(const fl_backward_pass *b) {
    return fl_blocks_of_product(b->constant.cell, 0).count * b->constant.hidden;
}

/* Lay out the workspace. */
void fl_lay_out_backward_pass(fl_backward_pass *b, fl_arena *arena);

/* Divide the work. */
void fl_divide_backward_pass(fl_backward_pass *b, int num_threads);

/* Start with the gradient that arrives at the final state; clear the sums. */
void fl_start_backward_pass(fl_backward_pass *b);

/* Return the number of rows of step s that have another step. */
fl_size fl_rows_going_on(const fl_backward_pass *b, fl_size s);

/* Compute the deltas of step s, for some rows that all end with it (`last`) or all go on; return the number of
 * multiply-adds. */
fl_size fl_run_backward_rows(const fl_backward_pass *b, fl_size s, fl_size row0, fl_size row1, fl_size unit0,
                             fl_size unit1, int last);

/* Compute dy^t, which a step with a projection needs first. */
void fl_run_dy(const fl_backward_pass *b, fl_size s, fl_size row0, fl_size row1, fl_size column0, fl_size column1,
               int last);

/* Compute a part of the gradient of the initial state, for those rows of [row0, row1) that begin with step s. */
void fl_run_first_state(const fl_backward_pass *b, fl_size s, fl_size row0, fl_size row1, int part, int parts);

/* Begin a block of steps: set where its deltas are. After the steps, gather what the products of its deltas read; after
 * those, keep what the next block needs. */
void fl_begin_backward_block(fl_backward_pass *b, fl_span block);
void fl_gather_backward_block(fl_backward_pass *b, fl_span block);
void fl_end_backward_block(fl_backward_pass *b, fl_span block);

/* Compute a part of what the deltas of the current block give: first y^{t-1} of the block's first step, which none of
 * its steps has written; then dp and dnorm, and dproj += dy^T m. These are tasks whose argument is an fl_backward_pass.
 */
void fl_y_prev_part(void *backward_pass, int part, int parts);
void fl_p_gradient_part(void *backward_pass, int part, int parts);
void fl_projection_part(void *backward_pass, int part, int parts);

/* Return whether sums over rows are made in parts: where there are many rows, and not on a device, which sums in its
 * own way. */
static inline int fl_sums_in_parts(const fl_backward_pass *b) {
    return b->rows.count > FL_ROWS_PER_PART && !b->k->device;
}

#endif
