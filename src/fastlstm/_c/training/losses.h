/* Losses that are a sum over elements, with their gradients: J += s v(y, t) and dJ/dy = s v'(y, t). */
#ifndef FL_LOSSES_H
#define FL_LOSSES_H

#include "simd/activations.h"
#include "simd/wide.h"

/* An element's loss a b, as two factors whose products are summed in double precision, and its derivative d. */
typedef struct {
    vec a, b, d;
} value;

FL_INLINE value elementwise_value(const fl_loss_kind kind, vec y, vec t, real delta) {
    const vec one = v_set1(1), zero = v_zero(), e = v_sub(y, t), size = v_abs(e);
    switch (kind) {
    case FL_SQUARED: return (value){e, e, e}; /* half the derivative, so that it cannot overflow */
    case FL_ABSOLUTE: return (value){size, one, v_if_greater(size, zero, v_with_sign(one, e), v_mul(size, e))};
    case FL_HUBER: {
        const vec q = v_min(v_set1(delta), size);
        return (value){q, v_fnma(v_set1((real)0.5), q, size), v_bounded(e, delta)};
    }
    default: { /* FL_LOGISTIC_LOSS; u does not overflow, and 1 / (1 + u) is the logistic function of |y| */
        const vec u = v_exp(v_sub(zero, v_abs(y)));
        const vec p = v_quotient(v_if_greater(zero, y, u, one), v_add(one, u));
        return (value){v_add(v_sub(v_max(zero, y), v_mul(y, t)), v_log1p(u)), one, v_sub(p, t)};
    }
    }
}

/* Write the gradients of elements [first, last); return the sum of their losses. */
FL_INLINE double sum_of_values(const fl_loss_kind kind, const fl_loss *f, fl_size first, fl_size last) {
    const vec scale = v_set1((real)(kind == FL_SQUARED ? 2 * f->scale : f->scale));
    wide sum = nothing();
    for (fl_size k = first; k < last; k += VL) {
        const fl_size n = at_most(last - k, VL);
        const value v = elementwise_value(kind, v_load_part((const real *)f->prediction + k, n),
                                          v_load_part((const real *)f->target + k, n), (real)f->delta);
        add_products(&sum, v.a, v.b, n);
        v_store_part((real *)f->gradient + k, v_mul(v.d, scale), n);
    }
    return total(&sum);
}

static double sum_of_run(const fl_loss *f, fl_size first, fl_size last) {
    switch (f->kind) {
    case FL_SQUARED: return sum_of_values(FL_SQUARED, f, first, last);
    case FL_ABSOLUTE: return sum_of_values(FL_ABSOLUTE, f, first, last);
    case FL_HUBER: return sum_of_values(FL_HUBER, f, first, last);
    default: return sum_of_values(FL_LOGISTIC_LOSS, f, first, last);
    }
}

/* Compute the loss of rows [row0, row1). Neighbouring rows that all count, or that all do not, are one run of elements.
 */
static double elementwise_loss(const fl_loss *f, fl_size row0, fl_size row1) {
    const fl_size columns = f->columns;
    double sum = 0;
    for (fl_size row = row0, end = row1; row < row1; row = end) {
        if (f->mask)
            for (end = row + 1; end < row1 && f->mask[end] == f->mask[row];) end++;
        if (!f->mask || f->mask[row])
            sum += sum_of_run(f, row * columns, end * columns);
        else
            memset((real *)f->gradient + row * columns, 0, (size_t)((end - row) * columns) * sizeof(real));
    }
    return sum;
}

#endif
