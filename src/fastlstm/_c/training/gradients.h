/* Operations on gradients: an optimiser's step, the norm, sums of rows.
 *
 * A step rounds after every operation, as NumPy does: nothing is fused, so that all instruction sets give the same
 * result. */
#ifndef FL_GRADIENTS_H
#define FL_GRADIENTS_H

#include "kernels.h"
#include "simd/wide.h"

/* Return whether elements [first, last) are all finite. Where their sum is finite, they are; only where it is not is
 * each element looked at. */
static int all_finite(vec sum, const void *x, fl_size first, fl_size last) {
    real lane[VL], all = 0;
    v_store(lane, sum);
    for (int l = 0; l < VL; l++) all += lane[l] - lane[l];
    if (all == 0) return 1;
    for (fl_size k = first; k < last; k++)
        if (!(((const real *)x)[k] - ((const real *)x)[k] == 0)) return 0;
    return 1;
}

static int sgd(const fl_sgd *s, fl_size first, fl_size last) {
    const vec rate = v_set1((real)s->rate), momentum = v_set1((real)s->momentum), decay = v_set1((real)s->decay);
    vec sum = v_zero();
    for (fl_size k = first; k < last; k += VL) {
        const fl_size n = at_most(last - k, VL);
        vec theta = v_load_part((real *)s->theta + k, n), g = v_load_part((const real *)s->gradient + k, n);
        if (s->decay > 0) g = v_add(g, v_mul(decay, theta));
        if (s->velocity) {
            const vec u = v_add(v_mul(momentum, v_load_part((real *)s->velocity + k, n)), g);
            v_store_part((real *)s->velocity + k, u, n);
            sum = v_add(sum, u);
            g = s->nesterov ? v_add(g, v_mul(momentum, u)) : u;
        }
        v_store_part((real *)s->theta + k, v_sub(theta, v_mul(rate, g)), n);
    }
    return all_finite(sum, s->velocity, first, last);
}

static int adam(const fl_adam *s, fl_size first, fl_size last) {
    const vec beta1 = v_set1((real)s->beta1), rest1 = v_set1((real)(1 - s->beta1));
    const vec beta2 = v_set1((real)s->beta2), rest2 = v_set1((real)(1 - s->beta2));
    const vec rate = v_set1((real)s->rate), root = v_set1((real)s->root), epsilon = v_set1((real)s->epsilon);
    const vec keep = v_set1((real)s->keep);
    vec sum = v_zero();
    for (fl_size k = first; k < last; k += VL) {
        const fl_size n = at_most(last - k, VL);
        const vec g = v_load_part((const real *)s->gradient + k, n);
        const vec m = v_add(v_mul(beta1, v_load_part((real *)s->m + k, n)), v_mul(rest1, g));
        const vec v = v_add(v_mul(beta2, v_load_part((real *)s->v + k, n)), v_mul(rest2, v_mul(g, g)));
        const vec theta = v_mul(keep, v_load_part((real *)s->theta + k, n));
        const vec scale = v_add(v_mul(root, v_sqrt(v)), epsilon);
        v_store_part((real *)s->m + k, m, n);
        v_store_part((real *)s->v + k, v, n);
        sum = v_add(sum, v);
        v_store_part((real *)s->theta + k, v_sub(theta, v_mul(rate, v_div(m, scale))), n);
    }
    return all_finite(sum, s->v, first, last);
}

static double sum_of_squares(const void *x, fl_size n) {
    wide sum = nothing();
    for (fl_size k = 0; k < n; k += VL) {
        const fl_size part = at_most(n - k, VL);
        const vec g = v_load_part((const real *)x + k, part);
        add_products(&sum, g, g, part);
    }
    return total(&sum);
}

/* Multiply x by a factor, in double precision: the factor may be too small for a float. */
static void scale(void *x, double factor, fl_size n) {
    for (fl_size k = 0; k < n; k++) ((real *)x)[k] = (real)(factor * (double)((real *)x)[k]);
}

static void add_rows(void *sums, const int64_t *ids, const void *rows, fl_size count, fl_size columns, fl_size column0,
                     fl_size column1) {
    for (fl_size row = 0; row < count; row++) {
        real *const sum = (real *)sums + ids[row] * columns;
        const real *const x = (const real *)rows + row * columns;
        for (fl_size k = column0; k < column1; k += VL) {
            const fl_size n = at_most(column1 - k, VL);
            v_store_part(sum + k, v_add(v_load_part(sum + k, n), v_load_part(x + k, n)), n);
        }
    }
}

static void sum_rows(void *sums, const void *rows, fl_size step, fl_size count, double factor, int add, fl_size column0,
                     fl_size column1) {
    enum { AT_ONCE = FL_VECTORS_AT_ONCE };
    real *const to = (real *)sums;
    for (fl_size first = column0; first < column1; first += AT_ONCE * VL) {
        const fl_size n = at_most(column1 - first, AT_ONCE * VL), vectors = (n + VL - 1) / VL;
        wide sum[AT_ONCE];
        double lane[AT_ONCE * VL];
        for (fl_size v = 0; v < vectors; v++) sum[v] = nothing();
        for (fl_size row = 0; row < count; row++) {
            const real *const x = (const real *)rows + row * step + first;
            for (fl_size v = 0; v < vectors; v++)
                add_products(&sum[v], v_load_part(x + v * VL, at_most(n - v * VL, VL)), v_set1(1), VL);
        }
        for (fl_size v = 0; v < vectors; v++) lanes(lane + v * VL, &sum[v]);
        for (fl_size k = 0; k < n; k++) to[first + k] = (real)(factor * lane[k] + (add ? (double)to[first + k] : 0));
    }
}

#endif
