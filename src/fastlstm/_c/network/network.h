/* What is behind the plans of include/fastlstm/fastlstm.h. Names are those of kernels.h. */
#ifndef FL_NETWORK_H
#define FL_NETWORK_H

#include <stdint.h>
#include <string.h>

#include "fastlstm/fastlstm.h"
#include "kernels.h"
#include "pass/arena.h"

/* A layer in one direction: where its parameters begin among the caller's, in values, and what the plan has of them. */
typedef struct {
    int reverse;
    fl_size at_W, at_R, at_b, at_p;
    char *W_columns, *R_columns;   /* packed for the steps, forward */
    char *W_rows, *R_rows;         /* and backward; NULL without training */
    char *b, *p;                   /* p is NULL without peepholes */
    fl_forward forward;            /* a step, but for what each has of its own */
} fl_direction;

typedef struct {
    fl_cell cell;
    int lstm, directions;
    fl_size input, hidden;
    fl_size seen;                  /* columns of R: H; 0 in a dense layer, which is an RNN that sees nothing of before */
    fl_size outputs;               /* of all directions */
    fl_direction direction[2];
} fl_layer;

struct fastlstm_plan {
    const struct fastlstm_plan *self;  /* where it was made: elsewhere it is none */
    const fl_kernels *k;
    size_t bytes;                  /* of a value */
    int training, has_parameters;
    size_t layer_count;
    /* Values: of all; of the state of a sequence; in a row of x or of any layer's outputs; in one of what layers with even
     * and with odd numbers hand on. */
    size_t parameters, state, widest, between[2];
    fl_layer *layers;
};

/* OK, FASTLSTM_NULL or FASTLSTM_PLAN. */
static inline fastlstm_status fl_check_plan(const fastlstm_plan *plan) {
    return !plan ? FASTLSTM_NULL : plan->self != plan ? FASTLSTM_PLAN : FASTLSTM_OK;
}

/* ---- memory ---- */


/* ---- time ---- */

/* The rows of T steps of B sequences, as a layer sees them: a dense layer has them in blocks instead. */
typedef struct {
    fl_size steps, step_rows, rows;
} fl_rows;

static inline fl_rows fl_rows_of(const fl_layer *layer, fl_size T, fl_size B) {
    fl_rows r = {B ? T : 0, B, T * B}; /* without sequences there is no step to run */
    if (!layer->seen) {
        r.step_rows = FL_ROWS_PER_BLOCK;
        r.steps = (r.rows + FL_ROWS_PER_BLOCK - 1) / FL_ROWS_PER_BLOCK;
    }
    return r;
}

/* The first row of the step that runs as the s-th, and how many it has. */
static inline fl_size fl_row(const fl_rows *r, int reverse, fl_size s) {
    return (reverse ? r->steps - 1 - s : s) * r->step_rows;
}
static inline fl_size fl_count(const fl_rows *r, fl_size row) {
    return r->rows - row < r->step_rows ? r->rows - row : r->step_rows;
}

/* Steps in a block of at most so many. */
static inline fl_size fl_block_steps(const fl_rows *r) {
    return r->step_rows < FL_ROWS_PER_BLOCK ? FL_ROWS_PER_BLOCK / (r->step_rows ? r->step_rows : 1) : 1;
}
static inline fl_size fl_block_rows(const fl_rows *r) {
    const fl_size rows = fl_block_steps(r) * r->step_rows;
    return rows < r->rows ? rows : r->rows;
}

/* ---- what a forward pass keeps ---- */

typedef struct {
    char *gates;     /* (rows, gates H); an RNN's are its outputs, where those are nothing else's too */
    char *h_first;   /* (B, H) */
    char *cells;     /* (rows + B, H): c^0 and every c^t, in the order of time */
} fl_tape_direction;

typedef struct {
    char *y;         /* (rows, outputs); NULL in the last layer, whose the caller has */
    fl_tape_direction direction[2];
} fl_tape_layer;

/* The tape begins with what it is of. */
typedef struct {
    const fastlstm_plan *plan;
    size_t T, B;
} fl_tape_head;

/* Lays out the next layer's part of a tape. */
fl_tape_layer fl_take_tape(const fastlstm_plan *plan, const fl_layer *layer, size_t T, size_t B, fl_arena *arena);

/* The cells as the step at a row wrote them, and as it saw them. */
static inline char *fl_cell_of(const fl_tape_direction *tape, int reverse, fl_size row, fl_size B, fl_size row_bytes) {
    return tape->cells ? tape->cells + (row + (reverse ? 0 : B)) * row_bytes : NULL;
}
static inline char *fl_cell_before(const fl_tape_direction *tape, int reverse, fl_size row, fl_size B, fl_size row_bytes) {
    return tape->cells ? tape->cells + (row + (reverse ? B : 0)) * row_bytes : NULL;
}

/* ---- passes ---- */

/* Have x, y and what lies between the layers a size? */
int fl_have_size(const fastlstm_plan *plan, size_t T, size_t B);

/* What the workspace of each pass holds, for T steps of B sequences. */
void fl_lay_out_forward(const fastlstm_plan *plan, size_t T, size_t B, fl_arena *arena);
void fl_lay_out_backward(const fastlstm_plan *plan, size_t T, size_t B, fl_arena *arena);

#endif
