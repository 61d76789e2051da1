/* Gradients are sums over rows, of which there may be millions. A single running sum in few bits would lose small
 * terms: rows are summed in groups, the sums of groups in parts, and the parts in a total. */
#ifndef FL_SUMS_H
#define FL_SUMS_H

#include "kernels.h"

typedef struct {
    void *part, *total; /* (values,) each; a NULL part means that there is nothing to sum */
    fl_size values;
} fl_sum;

static inline void fl_start_totals(const fl_kernels *k, const fl_sum *sums, int count, fl_size bytes) {
    for (int n = 0; n < count; n++)
        if (sums[n].part) k->clear(sums[n].total, 0, sums[n].values * bytes, 1, NULL);
}

/* Add the parts to the totals, and clear the parts. */
static inline void fl_add_parts(const fl_kernels *k, const fl_sum *sums, int count, fl_size bytes) {
    for (int n = 0; n < count; n++) {
        if (!sums[n].part) continue;
        k->add_bias_gradient(sums[n].total, sums[n].part, 1, sums[n].values, 0, sums[n].values);
        k->clear(sums[n].part, 0, sums[n].values * bytes, 1, NULL);
    }
}

/* Add the totals to the last parts, which then hold the sums. */
static inline void fl_add_totals(const fl_kernels *k, const fl_sum *sums, int count) {
    for (int n = 0; n < count; n++)
        if (sums[n].part) k->add_bias_gradient(sums[n].part, sums[n].total, 1, sums[n].values, 0, sums[n].values);
}

/* Compute a product for all rows of C, adding up its K terms in groups. */
static inline void fl_multiply_in_groups(const fl_kernels *k, const fl_product *p, fl_size rows, fl_size column0,
                                         fl_size column1, fl_size bytes) {
    const fl_size width = p->vectors * k->unit_block;
    if (p->K <= FL_ROWS_PER_GROUP) {
        k->multiply(p, 0, rows, column0, column1);
        return;
    }
    for (fl_size column = column0; column < column1; column += width) {
        const fl_size columns = p->columns - column < width ? p->columns - column : width;
        const fl_size panel = fl_padded(k, 1, columns) * bytes; /* bytes of a row */
        for (fl_size at = 0; at < p->K; at += FL_ROWS_PER_GROUP) {
            fl_product group = *p;
            group.columns = columns;
            group.K = p->K - at < FL_ROWS_PER_GROUP ? p->K - at : FL_ROWS_PER_GROUP;
            group.a = (const char *)p->a + at * p->a_k_step * bytes;
            group.panels = (const char *)p->panels + column * p->K * bytes + at * panel;
            group.c = (char *)p->c + column * bytes;
            group.add = p->add || at > 0;
            k->multiply(&group, 0, rows, 0, columns);
        }
    }
}

#endif
