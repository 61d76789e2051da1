/* What is done with gradients: an optimiser's step, their norm, rows added up.
 *
 * A step rounds after every operation, as NumPy does: nothing is fused, so that all instruction sets give the same. */
#ifndef FL_GRADIENTS_H
#define FL_GRADIENTS_H

#include "kernels.h"
#include "transpose.h"
#include "wide.h"

static void sgd(const fl_sgd *s, fl_size first, fl_size last) {
    const vec rate = v_set1((real)s->rate), momentum = v_set1((real)s->momentum), decay = v_set1((real)s->decay);
    for (fl_size k = first; k < last; k += VL) {
        const fl_size n = at_most(last - k, VL);
        vec theta = v_load_part((real *)s->theta + k, n), g = v_load_part((const real *)s->gradient + k, n);
        if (s->decay > 0) g = v_add(g, v_mul(decay, theta));
        if (s->velocity) {
            const vec u = v_add(v_mul(momentum, v_load_part((real *)s->velocity + k, n)), g);
            v_store_part((real *)s->velocity + k, u, n);
            g = s->nesterov ? v_add(g, v_mul(momentum, u)) : u;
        }
        v_store_part((real *)s->theta + k, v_sub(theta, v_mul(rate, g)), n);
    }
}

static void adam(const fl_adam *s, fl_size first, fl_size last) {
    const vec beta1 = v_set1((real)s->beta1), rest1 = v_set1((real)(1 - s->beta1));
    const vec beta2 = v_set1((real)s->beta2), rest2 = v_set1((real)(1 - s->beta2));
    const vec rate = v_set1((real)s->rate), root = v_set1((real)s->root), epsilon = v_set1((real)s->epsilon);
    const vec keep = v_set1((real)s->keep);
    for (fl_size k = first; k < last; k += VL) {
        const fl_size n = at_most(last - k, VL);
        const vec g = v_load_part((const real *)s->gradient + k, n);
        const vec m = v_add(v_mul(beta1, v_load_part((real *)s->m + k, n)), v_mul(rest1, g));
        const vec v = v_add(v_mul(beta2, v_load_part((real *)s->v + k, n)), v_mul(rest2, v_mul(g, g)));
        const vec theta = v_mul(keep, v_load_part((real *)s->theta + k, n));
        const vec scale = v_add(v_mul(root, v_sqrt(v)), epsilon);
        v_store_part((real *)s->m + k, m, n);
        v_store_part((real *)s->v + k, v, n);
        v_store_part((real *)s->theta + k, v_sub(theta, v_mul(rate, v_div(m, scale))), n);
    }
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

/* In double precision: the factor may be too small for a float. */
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

#endif
