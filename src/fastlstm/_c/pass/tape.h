/* The tape: what a forward pass keeps for the backward pass. */
#ifndef FL_TAPE_H
#define FL_TAPE_H

#include "pass/arena.h"
#include "pass/rows.h"

/* The tape's arrays have the steps from t0 on, the first row of which is number `row` among all rows; `rows` below are
 * the rows of these steps. All arrays are NULL without a tape. */
typedef struct {
    fl_size t0, row;
    char *gates; /* (rows, gates H) */
    char *c; /* (B + rows, H) c^0, then c^t of the steps, in the order of the direction; NULL without a cell state */
    char *c_prev; /* (rows, H) c^{t-1} as step t saw it; NULL where that is in c */
    char *y_prev; /* (rows, K) y^{t-1} as step t saw it; NULL where the backward pass computes it again */
    char *h0;     /* without y_prev: (B, P) y^{t-1} as the first step saw it */
    char *m;      /* (rows, H) the projection's input */
} fl_tape;

/* Return the cell states between the steps at t - 1 and t, in either direction; a row of c has `bytes` bytes. */
static inline char *fl_c_between(const fl_tape *tape, const fl_rows *r, fl_size t, fl_size bytes) {
    if (!tape->c) return NULL;
    return tape->c + (t > tape->t0 ? r->B + fl_first_row(r, t - 1) - tape->row : 0) * bytes;
}

/* Return c^t. */
static inline char *fl_c_on_tape(const fl_tape *tape, const fl_rows *r, int reverse, fl_size t, fl_size bytes) {
    return fl_c_between(tape, r, reverse ? t : t + 1, bytes);
}

/* Return c^{t-1} as step t saw it. */
static inline char *fl_c_prev_on_tape(const fl_tape *tape, const fl_rows *r, int reverse, fl_size t, fl_size bytes) {
    if (tape->c_prev) return tape->c_prev + (fl_first_row(r, t) - tape->row) * bytes;
    return fl_c_between(tape, r, reverse ? t + 1 : t, bytes);
}

#endif
