/* Connectionist temporal classification (Graves et al., 2006), one step of one row; _ctc.pyx has the loops.
 *
 * L labels have 2L + 1 positions: label i, and blank i before it, the last blank after them all. A state holds the
 * logarithms of what reaches each: `labels`, with a label[-1] that nothing reaches, and `blanks`. Its arithmetic is double
 * whatever the logits are, and the logarithm of zero is a number, so that no difference of two is NaN.
 *
 * Forward, what reaches a position comes from itself, the one before and, where a label is not the same as the label
 * before, also from that:
 *
 *     blank'[i] = ln(e^blank[i] + e^label[i - 1])                            + ln y_blank
 *     label'[i] = ln(e^label[i] + e^blank[i] (+ e^label[i - 1]))             + ln y_label[i]
 *
 * where the sum in brackets is what blank'[i] has already. Backward is forward on labels and steps from the end.
 */
#ifndef FL_CTC_H
#define FL_CTC_H

#include <math.h>

#include "activations.h"
#include "kernels.h"
#include "simd.h"

/* y = weight softmax(x), unless y is NULL; gives ln sum e^x. */
static double ctc_softmax(const void *logits, fl_size K, double weight, void *y) {
    const real *x = logits;
    const fl_size whole = K - K % VL;
    real lane[VL], most = x[K - 1], sum = 0; /* a NaN that the maximum does not see is in the sum */
    vec shift = v_set1(most), sums = v_zero();
    for (fl_size k = 0; k < whole; k += VL) shift = v_max(shift, v_load(x + k));
    v_store(lane, shift);
    for (fl_size l = 0; l < VL; l++) most = lane[l] > most ? lane[l] : most;
    for (fl_size k = whole; k < K; k++) most = x[k] > most ? x[k] : most;
    shift = v_set1(most);
    for (fl_size k = 0; k < K; k += VL) {
        const fl_size n = at_most(K - k, VL);
        const vec d = v_sub(v_load_part(x + k, n), shift);
        /* What exp only bounds from below is zero. */
        const vec e = v_if_greater(v_set1((real)FL_EXP_MIN), d, v_zero(), v_exp(d));
        if (y) v_store_part((real *)y + k, e, n);
        if (n == VL) {
            sums = v_add(sums, e);
        } else {
            v_store(lane, e);
            for (fl_size l = 0; l < n; l++) sum += lane[l];
        }
    }
    v_store(lane, sums);
    for (fl_size l = 0; l < VL; l++) sum += lane[l];
    if (y) {
        const real scale = (real)(weight / (double)sum);
        for (fl_size k = 0; k < K; k++) ((real *)y)[k] *= scale;
    }
    return (double)most + log((double)sum);
}

/* y[i] = ln y of labels[i step] for i in [0, L), with `norm` from ctc_softmax. */
static void ctc_emissions(const void *logits, double norm, const int64_t *labels, fl_size step, fl_size L, double *y) {
    for (fl_size i = 0; i < L; i++) {
        const double e = (double)((const real *)logits)[labels[i * step]] - norm;
        y[i] = e < FL_CTC_ZERO ? FL_CTC_ZERO : e;
    }
}

/* dx -= weight times the shares: of labels[i step], i in [0, L), then those of L + 1 blanks. */
static void ctc_subtract(void *dx, double weight, const double *share, const int64_t *labels, fl_size step, fl_size L,
                         fl_size blank) {
    double blanks = 0;
    for (fl_size i = 0; i < L; i++) ((real *)dx)[labels[i * step]] -= (real)(weight * share[i]);
    for (fl_size i = L; i < 2 * L + 1; i++) blanks += share[i];
    ((real *)dx)[blank] -= (real)(weight * blanks);
}

#if FL_BITS == 64

/* ln(1 + y) for y in [0, 1]: 2 artanh(v), v = y / (2 + y), whose odd polynomial is near-minimax (relative error 5e-17). */
static const double log1p_terms[] = {0.1773976532385059,  0.09902817874689634, 0.13586314855848264,
                                     0.15364295463094396, 0.18182814076003243, 0.22222192904545643,
                                     0.28571429057998793, 0.399999999960497,   0.666666666666777};

FL_INLINE vec v_log1p(vec y) {
    const vec v = v_div(y, v_add(v_set1(2), y)), v2 = v_mul(v, v);
    vec q = v_set1(log1p_terms[0]);
    FL_UNROLL
    for (int k = 1; k < (int)(sizeof log1p_terms / sizeof log1p_terms[0]); k++)
        q = v_fma(q, v2, v_set1(log1p_terms[k]));
    return v_fma(v, v_mul(v2, q), v_add(v, v));
}

/* ln(e^a + e^b) */
FL_INLINE vec v_log_add(vec a, vec b) {
    const vec distance = v_abs(v_sub(a, b)); /* NaN if either is */
    return v_add(v_max(a, b), v_log1p(v_exp(v_sub(v_zero(), distance))));
}

/* A state and the next, of `size` labels and blanks, a multiple of VL; skip[i] is 0, or FL_CTC_ZERO where label i cannot
 * follow label i - 1 at once. */
static void ctc_step(const double *labels, const double *blanks, const double *skip, const double *y_labels,
                     double y_blank, fl_size size, double *next_labels, double *next_blanks) {
    /* Two loops of short chains of operations, of which a processor has many at work at once. */
    for (fl_size i = 0; i < size; i += VL)
        v_store(next_blanks + i, v_log_add(v_load(blanks + i), v_load(labels + i - 1)));
    for (fl_size i = 0; i < size; i += VL) {
        const vec both = v_load(next_blanks + i);
        const vec before = v_max(v_load(blanks + i), v_add(both, v_load(skip + i)));
        v_store(next_labels + i, v_add(v_log_add(v_load(labels + i), before), v_load(y_labels + i)));
        v_store(next_blanks + i, v_add(both, v_set1(y_blank)));
    }
}

/* What share of e^total passes each position at a step: L labels, then L + 1 blanks. Both states have the step's y, of
 * which the product needs one; `labels` and `blanks` count from the start, all others from the end. */
static void ctc_shares(const double *labels, const double *blanks, const double *labels_back, const double *blanks_back,
                       const double *y_labels, double y_blank, double total, fl_size L, double *share) {
    for (fl_size i = 0; i < L; i++) share[i] = labels[L - 1 - i] + labels_back[i] - y_labels[i] - total;
    for (fl_size i = 0; i <= L; i++) share[L + i] = blanks[L - i] + blanks_back[i] - y_blank - total;
    for (fl_size i = 0; i < 2 * L + 1; i += VL) {
        const fl_size n = at_most(2 * L + 1 - i, VL);
        v_store_part(share + i, v_exp(v_load_part(share + i, n)), n);
    }
}

#define FL_CTC_STEP ctc_step
#define FL_CTC_SHARES ctc_shares
#else
#define FL_CTC_STEP NULL
#define FL_CTC_SHARES NULL
#endif

#endif
