/* Where a backward pass has what its steps and its blocks read and write; for the files of the pass alone. */
#ifndef FL_PLACES_H
#define FL_PLACES_H

#include "pass/backward.h"

/* Return the number of values of p, and of the parameters of layer normalisation. */
static inline fl_size values_of_p(const fl_backward_pass *b) { return b->constant.cell->p_rows * b->constant.hidden; }
static inline fl_size values_of_norm(const fl_backward_pass *b) {
    return b->constant.cell->norm_rows * b->constant.hidden;
}

/* Return the time of step s. */
static inline fl_size time_of(const fl_backward_pass *b, fl_size s) { return fl_time(&b->rows, b->reverse, s); }

/* Return c^t, and c^{t-1} as step t saw it. */
static inline const char *c_of(const fl_backward_pass *b, fl_size t) {
    return fl_c_on_tape(&b->tape, &b->rows, b->reverse, t, b->constant.hidden * b->cell_size);
}
static inline const char *c_prev_of(const fl_backward_pass *b, fl_size t) {
    return fl_c_prev_on_tape(&b->tape, &b->rows, b->reverse, t, b->constant.hidden * b->cell_size);
}

/* Return where y^{t-1} is written again for the products of this block. */
static inline char *y_prev_of(const fl_backward_pass *b, fl_size s) {
    return b->y_prev + (fl_first_row(&b->rows, time_of(b, s)) - b->delta_row) * b->constant.hidden * b->size;
}

#endif
