/* The inside of the plans of include/fastlstm/fastlstm.h. Names are those of kernels.h. */
#ifndef FL_NETWORK_H
#define FL_NETWORK_H

#include <stdint.h>
#include <string.h>

#include "fastlstm/fastlstm.h"
#include "kernels.h"
#include "pass/backward.h"

/* One direction of a layer, with the plan's copy of its parameters. */
typedef struct {
    fl_size at_W, at_R, at_b, at_p, at_norm; /* where its parameters begin among the caller's, in values */
    char *W_columns, *R_columns;             /* W and R packed for forward steps */
    char *W_rows, *R_rows;                   /* W and R packed for backward steps; NULL without training */
    char *b, *p, *norm;                      /* p and norm may be NULL */
    fl_forward forward;                      /* a step's arguments that are the same at every step */
} fl_direction;

/* Return where R packed for backward steps has its part that begins with row `row`. */
static inline char *fl_R_rows_from(const fl_kernels *k, const fl_direction *d, fl_size row, fl_size K, fl_size bytes) {
    return d->R_rows + fl_row_panels(k, fl_vectors(k), row, K) * bytes;
}

typedef struct {
    fl_cell cell;
    const fl_cell_row *row; /* the row of cells.def of the cell's kind */
    int directions;         /* 1, or 2: forward and reverse */
    fl_size input, hidden;
    fl_size seen;    /* columns of R: H; 0 in a dense layer, which is an RNN without recurrence */
    fl_size outputs; /* outputs of all directions */
    fl_direction direction[2];
} fl_layer;

struct fastlstm_plan {
    const struct fastlstm_plan *self; /* address at which the plan was made: at any other, it is not valid */
    const fl_kernels *k;
    size_t bytes; /* bytes of a value */
    int training, fast, has_parameters;
    size_t layer_count;
    /* Numbers of values: of all parameters; of the state of a sequence; of the widest row of x or of a layer's outputs;
     * of the widest row that layers with even, and with odd, numbers pass to the next layer; of a sequence's memory in
     * a step of whole rows. */
    size_t parameters, state, widest, between[2], whole_rows;
    size_t most_rows; /* the most rows of `widest` values that memory can hold */
    fl_layer *layers;
};

/* Return FASTLSTM_OK, FASTLSTM_NULL or FASTLSTM_PLAN. */
static inline fastlstm_status fl_check_plan(const fastlstm_plan *plan) {
    return !plan ? FASTLSTM_NULL : plan->self != plan ? FASTLSTM_PLAN : FASTLSTM_OK;
}

/* Return the rows of T steps of B sequences for a layer; for a dense layer, the same rows in blocks. */
static inline fl_rows fl_rows_of(const fl_layer *layer, fl_size T, fl_size B) {
    if (layer->seen) return (fl_rows){.T = B ? T : 0, .B = B, .count = T * B}; /* Without sequences there is no step. */
    return (fl_rows){.T = fl_ceil_div(T * B, FL_ROWS_PER_BLOCK), .B = FL_ROWS_PER_BLOCK, .count = T * B};
}

/* Return the number of values of a sequence's state in one direction of a layer: h, and c where the cell has one. */
static inline size_t fl_state_of(const fl_layer *layer) { return (layer->row->has_c ? 2 : 1) * (size_t)layer->seen; }

/* Return whether x, y and the outputs between the layers have sizes that memory can hold. */
static inline int fl_have_size(const fastlstm_plan *plan, size_t T, size_t B) {
    return fl_times(T, B) <= plan->most_rows;
}

/* ---- tapes ---- */

typedef struct {
    char *y;              /* (rows, outputs); NULL in the last layer, whose outputs the caller has */
    fl_tape direction[2]; /* The gates are NULL where they are y, unless y has columns of the other direction too. */
} fl_tape_layer;

/* Lay out the next layer's part of a tape. */
fl_tape_layer fl_take_tape(const fastlstm_plan *plan, const fl_layer *layer, size_t T, size_t B, fl_arena *arena);

/* Begin a tape: note its plan and sizes. Return an arena for its layers. */
fl_arena fl_begin_tape(const fastlstm_plan *plan, size_t T, size_t B, void *tape);

/* Find layer n's part of a tape. */
fl_tape_layer fl_find_tape(const fastlstm_plan *plan, size_t n, size_t T, size_t B, const void *tape);

/* Return whether a tape comes from a forward pass of this plan with these sizes. */
int fl_is_tape_of(const fastlstm_plan *plan, size_t T, size_t B, const void *tape);

/* ---- passes ---- */

/* Lay out the workspace of a pass over T steps of B sequences. */
void fl_lay_out_forward(const fastlstm_plan *plan, size_t T, size_t B, fl_arena *arena);
void fl_lay_out_backward(const fastlstm_plan *plan, size_t T, size_t B, fl_arena *arena);

#endif
