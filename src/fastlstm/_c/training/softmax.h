/* The softmax, and its cross-entropy with the gradient: each row is read from memory once, and written once.
 *
 * With s = sum_k e^(x_k - max x), p_k = e^(x_k - max x) / s, the target's distribution q_k = (1 - eps) [k = target] +
 * eps / K and class weights w, a row's loss is sum_k q_k w_k (log s - (x_k - max x)), its gradient p_k sum_j q_j w_j -
 * q_k w_k.
 */
#ifndef FL_SOFTMAX_H
#define FL_SOFTMAX_H

#include <math.h>

#include "simd/activations.h"
#include "simd/wide.h"

static real largest(const real *x, fl_size n) {
    real max = x[0];
    if (n < VL) {
        for (fl_size k = 1; k < n; k++) max = x[k] > max ? x[k] : max;
        return max;
    }
    vec m = v_load(x + n - VL); /* some values are compared twice, which does no harm */
    for (fl_size k = 0; k + VL <= n; k += VL) m = v_max(m, v_load(x + k));
    real lane[VL];
    v_store(lane, m);
    max = lane[0];
    for (int l = 1; l < VL; l++) max = lane[l] > max ? lane[l] : max;
    return max;
}

/* Compute e = e^(x - max), zero where that is too small to matter; return the sum. */
static real exponentials(real *e, const real *x, real max, fl_size n) {
    const vec shift = v_set1(max), least = v_set1(FL_EXP_MIN);
    vec sum[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    fl_size k = 0;
#define FL_EXPONENTIAL(x) v_if_greater(least, v_sub(x, shift), v_zero(), v_exp(v_sub(x, shift)))
    for (; k + 4 * VL <= n; k += 4 * VL) FL_UNROLL
    for (int v = 0; v < 4; v++) {
        const vec y = FL_EXPONENTIAL(v_load(x + k + v * VL));
        v_store(e + k + v * VL, y);
        sum[v] = v_add(sum[v], y);
    }
    for (; k < n; k += VL) {
        const fl_size part = at_most(n - k, VL);
        v_store_part(e + k, FL_EXPONENTIAL(v_load_part(x + k, part)), part);
        sum[0] = v_add(sum[0], v_load_part(e + k, part)); /* read again: zero past the end */
    }
#undef FL_EXPONENTIAL
    real lane[4];
    v_sum4(lane, sum);
    return (lane[0] + lane[1]) + (lane[2] + lane[3]);
}

/* Return sum_k w_k (x_k - max), w NULL for ones. Halves of the differences are summed, since they cannot overflow. */
static double weighted_sum(const real *x, const real *w, real max, fl_size n) {
    wide sum = nothing();
    for (fl_size k = 0; k < n; k += VL) {
        const fl_size part = at_most(n - k, VL);
        const vec weights = w ? v_load_part(w + k, part) : v_set1(1), half = v_set1((real)0.5);
        const vec below = v_sub(v_mul(half, v_load_part(x + k, part)), v_set1((real)0.5 * max));
        add_products(&sum, v_if_greater(weights, v_zero(), below, v_zero()), weights, part); /* 0 times -inf is 0 */
    }
    return 2 * total(&sum);
}

/* Compute g = a g - b w, w NULL for ones. */
static void combine(real *g, real a, real b, const real *w, fl_size n) {
    for (fl_size k = 0; k < n; k += VL) {
        const fl_size part = at_most(n - k, VL);
        const vec weights = w ? v_load_part(w + k, part) : v_set1(1);
        v_store_part(g + k, v_fnma(v_set1(b), weights, v_mul(v_set1(a), v_load_part(g + k, part))), part);
    }
}

/* Write the gradients of rows [row0, row1) and return the sum of the losses of those that the mask counts; without
 * targets, write the softmax instead. */
static double softmax(const fl_softmax *f, fl_size row0, fl_size row1) {
    const fl_size K = f->classes;
    const real *const w = f->weights;
    const double each = f->smoothing / (double)K, all = f->weights ? f->sum_of_weights : (double)K;
    double loss = 0;
    for (fl_size row = row0; row < row1; row++) {
        const real *const x = (const real *)f->logits + row * K;
        real *const g = (real *)f->gradient + row * K;
        if (f->mask && !f->mask[row]) {
            memset(g, 0, (size_t)K * sizeof(real));
            continue;
        }
        const real max = largest(x, K);
        const double sum = exponentials(g, x, max, K);
        if (!f->target) {
            combine(g, (real)(1 / sum), 0, NULL, K);
            continue;
        }
        const int64_t target = f->target[row];
        const double hit = (1 - f->smoothing) * (w ? (double)w[target] : 1), mass = each > 0 ? hit + each * all : hit;
        loss += mass * log(sum);
        if (hit > 0) loss -= hit * ((double)x[target] - (double)max);
        if (each > 0) loss -= each * weighted_sum(x, w, max, K);
        combine(g, (real)(f->scale * mass / sum), (real)(f->scale * each), each > 0 ? w : NULL, K);
        g[target] -= (real)(f->scale * hit);
    }
    return loss;
}

#endif
