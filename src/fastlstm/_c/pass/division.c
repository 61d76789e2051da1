#include "pass/division.h"

/* Fill part after part with rows, each up to the cost `most`; return whether the parts hold all rows. */
static int set_borders(fl_division *d, const fl_rows *r, fl_span span, fl_size most) {
    fl_size b = 0, steps = span.t1 - span.t0;
    for (int part = 0; part < d->parts; part++) {
        d->borders[part] = b;
        fl_size cost = -1;
        while (b < r->B) {
            while (steps && fl_rows_at(r, span.t0 + steps - 1) <= b) steps--; /* the steps of row b: fewer and fewer */
            if (cost < 0) cost = FL_ROWS_PER_STEP * steps;
            if (cost + steps > most) break;
            cost += steps;
            b++;
        }
    }
    d->borders[d->parts] = r->B;
    return b == r->B;
}

/* The most expensive part is to cost as little as possible, with sequences left whole. */
void fl_divide_rows(fl_division *d, const fl_rows *r, fl_span span) {
    if (!d->by_rows) return;
    if (fl_rows_at(r, span.t0) == fl_rows_at(r, span.t1 - 1)) {
        for (int part = 0; part < d->parts; part++)
            d->borders[part] = fl_border(fl_rows_at(r, span.t0), 1, part, d->parts);
        d->borders[d->parts] = r->B;
        return;
    }
    fl_size low = 0;
    fl_size high = fl_first_row(r, span.t1) - fl_first_row(r, span.t0) + FL_ROWS_PER_STEP * (span.t1 - span.t0);
    const fl_size exact = high / 128;
    while (high - low > exact) {
        const fl_size middle = (low + high) / 2;
        if (set_borders(d, r, span, middle))
            high = middle;
        else
            low = middle + 1;
    }
    set_borders(d, r, span, high);
}

void fl_divide(fl_division *d, const fl_rows *r, fl_size H, fl_size block, int whole_rows, fl_size weights,
               fl_size size, int num_threads) {
    const fl_size rows = r->count / fl_larger(r->T, 1);
    fl_size most = fl_larger(fl_smaller(num_threads, FL_MAX_THREADS), 1);
    /* By rows no thread waits for another, but each reads all weights: it needs rows enough, or weights in its cache.
     */
    if (whole_rows) most = fl_smaller(most, fl_larger(1, r->B));
    d->by_rows = whole_rows || rows >= most * (weights * size <= FL_NEAR ? FL_ROWS_TO_DIVIDE : FL_FAR_ROWS_TO_DIVIDE);
    if (d->by_rows) {
        d->parts = (int)fl_smaller(most, fl_larger(1, r->count * weights / FL_WORK_PER_CALL));
        fl_divide_rows(d, r, (fl_span){0, r->T});
    } else {
        most = fl_smaller(most, fl_larger(1, fl_ceil_div(H, block)));
        d->parts = (int)fl_smaller(most, fl_larger(1, rows * weights / FL_WORK_PER_STEP));
    }
}

fl_share fl_share_of(const fl_division *d, int part, fl_size B, fl_size H, fl_size block) {
    if (d->by_rows) return (fl_share){d->borders[part], d->borders[part + 1], 0, H};
    return (fl_share){0, B, fl_border(H, block, part, d->parts), fl_border(H, block, part + 1, d->parts)};
}
