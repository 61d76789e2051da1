/* What is behind the plans of include/fastlstm/fastlstm.h. Names are those of kernels.h. */
#ifndef FL_NETWORK_H
#define FL_NETWORK_H

#include <stdint.h>
#include <string.h>

#include "fastlstm/fastlstm.h"
#include "kernels.h"
#include "pass/backward.h"

/* A layer in one direction: where its parameters begin among the caller's, in values, and what the plan has of them. */
typedef struct {
    int reverse;
    fl_size at_W, at_R, at_b, at_p;
    char *W_columns, *R_columns; /* packed for the steps, forward */
    char *W_rows, *R_rows;       /* and backward; NULL without training */
    char *b, *p;                 /* p is NULL without peepholes */
    fl_forward forward;          /* a step, but for what each has of its own */
} fl_direction;

typedef struct {
    fl_cell cell;
    int lstm, directions;
    fl_size input, hidden;
    fl_size seen;    /* columns of R: H; 0 in a dense layer, which is an RNN that sees nothing of before */
    fl_size outputs; /* of all directions */
    fl_direction direction[2];
} fl_layer;

struct fastlstm_plan {
    const struct fastlstm_plan *self; /* where it was made: elsewhere it is none */
    const fl_kernels *k;
    size_t bytes; /* of a value */
    int training, has_parameters;
    size_t layer_count;
    /* Values: of all; of the state of a sequence; in a row of x or of any layer's outputs; in one of what layers with
     * even and with odd numbers hand on. */
    size_t parameters, state, widest, between[2];
    fl_layer *layers;
};

/* OK, FASTLSTM_NULL or FASTLSTM_PLAN. */
static inline fastlstm_status fl_check_plan(const fastlstm_plan *plan) {
    return !plan ? FASTLSTM_NULL : plan->self != plan ? FASTLSTM_PLAN : FASTLSTM_OK;
}

/* The rows of T steps of B sequences, as a layer sees them: a dense layer has them in blocks instead. */
static inline fl_rows fl_rows_of(const fl_layer *layer, fl_size T, fl_size B) {
    if (layer->seen) return (fl_rows){.T = B ? T : 0, .B = B, .count = T * B}; /* Without sequences there is no step. */
    return (fl_rows){.T = fl_ceil_div(T * B, FL_ROWS_PER_BLOCK), .B = FL_ROWS_PER_BLOCK, .count = T * B};
}

/* ---- tapes ---- */

typedef struct {
    char *y;              /* (rows, outputs); NULL in the last layer, whose outputs the caller has */
    fl_tape direction[2]; /* An RNN's gates are its outputs, and NULL where those have rows of their own. */
} fl_tape_layer;

/* What a tape begins with: the pass that it is of. */
typedef struct {
    const fastlstm_plan *plan;
    size_t T, B;
} fl_tape_head;

/* Lays out the next layer's part of a tape. */
fl_tape_layer fl_take_tape(const fastlstm_plan *plan, const fl_layer *layer, size_t T, size_t B, fl_arena *arena);

/* ---- passes ---- */

/* Have x, y and what lies between the layers a size? */
int fl_have_size(const fastlstm_plan *plan, size_t T, size_t B);

/* What the workspace of each pass holds, for T steps of B sequences. */
void fl_lay_out_forward(const fastlstm_plan *plan, size_t T, size_t B, fl_arena *arena);
void fl_lay_out_backward(const fastlstm_plan *plan, size_t T, size_t B, fl_arena *arena);

#endif
