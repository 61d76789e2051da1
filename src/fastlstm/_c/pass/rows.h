/* The rows of a batch, time step after time step, longest sequence first: of all rows, step t has [first(t),
 * first(t + 1)), which are the first sequences of the batch. */
#ifndef FL_ROWS_H
#define FL_ROWS_H

#include "kernels.h"
#include "tuning.h"

static inline fl_size fl_smaller(fl_size a, fl_size b) { return a < b ? a : b; }
static inline fl_size fl_larger(fl_size a, fl_size b) { return a > b ? a : b; }
static inline fl_size fl_ceil_div(fl_size n, fl_size block) { return (n + block - 1) / block; }

typedef struct {
    fl_size T;
    fl_size B;
    fl_size count;          /* rows of all steps */
    const int64_t *offsets; /* (T + 1,) first(t); NULL where every step has B rows, the last one perhaps fewer */
    int invariant;          /* Must a row's result not depend on the number of other rows? */
} fl_rows;

static inline fl_size fl_first_row(const fl_rows *r, fl_size t) {
    return r->offsets ? (fl_size)r->offsets[t] : fl_smaller(t * r->B, r->count);
}

/* Return the number of rows of step t: none before the first and after the last step. */
static inline fl_size fl_rows_at(const fl_rows *r, fl_size t) {
    return t < 0 || t >= r->T ? 0 : fl_first_row(r, t + 1) - fl_first_row(r, t);
}

/* Return the time t at which a direction runs its step s; or, the same computation, the step of a time. */
static inline fl_size fl_time(const fl_rows *r, int reverse, fl_size s) { return reverse ? r->T - 1 - s : s; }

/* The steps with times in [t0, t1). */
typedef struct {
    fl_size t0, t1;
} fl_span;

/* Return the first of a span's steps, in the order in which a direction runs them. */
static inline fl_size fl_first_step(const fl_rows *r, int reverse, fl_span span) {
    return reverse ? r->T - span.t1 : span.t0;
}

/* Take the first or the last block from the steps that are left; all of them where `rows` is 0.
 *
 * Time is cut into blocks by the row at which a step begins: step t is in block first(t) / rows. So the cuts are the
 * same from either end, and a larger block is made of whole smaller ones where their size divides its size. */
fl_span fl_next_block(fl_span *left, const fl_rows *r, fl_size rows, int last);

/* Return the number of rows of a block, where each row takes `bytes` bytes. On a processor they are few, to be read
 * again while they are in the cache. On a device they are many: its caches are small, and it loses time between blocks.
 */
static inline fl_size fl_rows_per_block(const fl_kernels *k, fl_size bytes) {
    return k->device ? fl_larger(FL_ROWS_PER_BLOCK, FL_DEVICE_BLOCK / fl_larger(bytes, 1)) : FL_ROWS_PER_BLOCK;
}

/* Return the largest number of rows that a block can have. */
static inline fl_size fl_block_rows(const fl_rows *r, fl_size rows) { return fl_smaller(r->count, rows + r->B); }

/* Return the rows of a segment of k steps, which with recompute is made of whole blocks; and the number of segments of
 * so many rows. */
static inline fl_size fl_segment_rows(fl_size k, fl_size B) {
    return fl_larger(fl_ceil_div(k * B, FL_ROWS_PER_BLOCK), 1) * FL_ROWS_PER_BLOCK;
}
static inline fl_size fl_segments(const fl_rows *r, fl_size rows) {
    return r->T ? fl_first_row(r, r->T - 1) / rows + 1 : 0;
}

#endif
