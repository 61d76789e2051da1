/* What a forward pass keeps for the backward pass. */
#ifndef FL_TAPE_H
#define FL_TAPE_H

#include "pass/arena.h"
#include "pass/rows.h"

/* The arrays have the steps from t0 on, whose first row is `row` of all; `rows` below are the rows of these steps. All
 * are NULL without a tape. */
typedef struct {
    fl_size t0, row;
    char *gates; /* (rows, gates H) */
    char *c; /* (B + rows, H): c^0 before those of the first step, in the order of the direction; NULL without cells */
    char *c_prev; /* (rows, H) c^{t-1} as step t saw it, where that is not among c's */
    char *y_prev; /* (rows, K) y^{t-1} as step t saw it; NULL where the backward pass finds it again */
    char *h0;     /* (B, P), without y_prev: what the first step saw */
    char *m;      /* (rows, H) what is projected */
} fl_tape;

/* Return the cells between the steps at t - 1 and t, in either direction; a row of them has `bytes` bytes. */
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
