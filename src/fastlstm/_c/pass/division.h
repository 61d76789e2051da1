/* The division of a call's work among threads. */
#ifndef FL_DIVISION_H
#define FL_DIVISION_H

#include "pass/rows.h"
#include "system/pool.h"

/* A division by batch rows, where each part runs its rows through all time steps; or by hidden units, where all parts
 * meet after every step. */
typedef struct {
    int parts;
    int by_rows;
    fl_size borders[FL_MAX_THREADS + 1]; /* the first row of each part; used by rows only */
} fl_division;

/* The batch rows and hidden units of a part. */
typedef struct {
    fl_size row0, row1, unit0, unit1;
} fl_share;

/* Divide the work. `weights` is the number of weights that a step reads, `size` the bytes of each, `block` the fewest
 * hidden units of a part; `whole_rows` divides by rows alone. */
void fl_divide(fl_division *d, const fl_rows *r, fl_size H, fl_size block, int whole_rows, fl_size weights,
               fl_size size, int num_threads);

/* Divide the rows again for some steps, since some rows may have none of them. */
void fl_divide_rows(fl_division *d, const fl_rows *r, fl_span steps);

/* Return the share of a part. */
fl_share fl_share_of(const fl_division *d, int part, fl_size B, fl_size H, fl_size block);

/* Return where `part` begins when `count` items in blocks are divided evenly. */
static inline fl_size fl_border(fl_size count, fl_size block, int part, int parts) {
    return fl_smaller(count, fl_ceil_div(count, block) * part / parts * block);
}

/* Return where the next piece of [first, last) ends: a piece has whole blocks of items, each item taking `work`
 * multiply-adds. A call can be stopped between two pieces. */
static inline fl_size fl_piece_end(fl_size first, fl_size last, fl_size block, fl_size work) {
    if ((last - first) * work <= FL_WORK_OF_A_PIECE) return last;
    return fl_smaller(last, first + fl_larger(1, FL_WORK_OF_A_PIECE / (work * block)) * block);
}

/* A function that returns whether to stop the call; NULL where the call does not run in the pool. */
typedef int (*fl_ask_stop)(void);
static inline int fl_asked_to_stop(fl_ask_stop stopped) { return stopped && stopped(); }

#endif
