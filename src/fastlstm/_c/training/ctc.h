/* Connectionist temporal classification (Graves et al., 2006), one step of one row; _ctc.pyx has the loops.
 *
 * L labels have 2L + 1 positions: each label i follows blank i, and blank L follows the last label. A state holds the
 * logarithm of the probability of reaching each position: `labels`, with a label[-1] that has probability zero, and
 * `blanks`. The arithmetic is in double precision whatever the logits are, and the logarithm of zero is a finite
 * number, so that no difference of two logarithms is NaN.
 *
 * Forward, a position is reached from itself, from the position before and, where a label differs from the label
 * before, also from that label:
 *
 *     blank'[i] = ln(e^blank[i] + e^label[i - 1])                            + ln y_blank
 *     label'[i] = ln(e^label[i] + e^blank[i] (+ e^label[i - 1]))             + ln y_label[i]
 *
 * where blank'[i] already has the sum in brackets. Backward is forward with labels and steps in reverse order.
 */
#ifndef FL_CTC_H
#define FL_CTC_H

#include <math.h>

#include "simd/activations.h"
#include "kernels.h"
#include "simd/simd.h"
#include "training/softmax.h"

/* Compute y = weight softmax(x); return the logarithm of the sum of e^x, in its two parts. */
static fl_ctc_norm ctc_softmax(const void *x, fl_size K, double weight, void *y) {
    const real max = largest(x, K);
    const double sum = exponentials(y, x, max, K);
    combine(y, (real)(weight / sum), 0, NULL, K);
    return (fl_ctc_norm){max, log(sum)};
}

/* Compute y[i], the log-softmax of label labels[i step], for i in [0, L), with `norm` from ctc_softmax. */
static void ctc_emissions(const void *logits, fl_ctc_norm norm, const int64_t *labels, fl_size step, fl_size L,
                          double *y) {
    for (fl_size i = 0; i < L; i++) {
        const double e = ((double)((const real *)logits)[labels[i * step]] - norm.largest) - norm.log_sum;
        y[i] = e < FL_CTC_ZERO ? FL_CTC_ZERO : e;
    }
}

/* Subtract from dx weight times the shares: L shares of the labels labels[i step], then L + 1 shares of the blanks. */
static void ctc_subtract(void *dx, double weight, const double *share, const int64_t *labels, fl_size step, fl_size L,
                         fl_size blank) {
    double blanks = 0;
    for (fl_size i = 0; i < L; i++) ((real *)dx)[labels[i * step]] -= (real)(weight * share[i]);
    for (fl_size i = L; i < 2 * L + 1; i++) blanks += share[i];
    ((real *)dx)[blank] -= (real)(weight * blanks);
}

#if FL_BITS == 64

/* Return ln(e^a + e^b). */
FL_INLINE vec v_log_add(vec a, vec b) {
    const vec distance = v_abs(v_sub(a, b)); /* NaN if either is */
    return v_add(v_max(a, b), v_log1p(v_exp(v_sub(v_zero(), distance))));
}

/* Compute the next state from a state of `size` labels and blanks, a multiple of VL. skip[i] is 0, or FL_CTC_ZERO where
 * a blank must stand between label i - 1 and label i. */
static void ctc_step(const double *labels, const double *blanks, const double *skip, const double *y_labels,
                     double y_blank, fl_size size, double *next_labels, double *next_blanks) {
    /* Two loops, for short chains of dependent operations, many of which a processor runs at once. */
    for (fl_size i = 0; i < size; i += VL)
        v_store(next_blanks + i, v_log_add(v_load(blanks + i), v_load(labels + i - 1)));
    for (fl_size i = 0; i < size; i += VL) {
        const vec both = v_load(next_blanks + i);
        const vec before = v_max(v_load(blanks + i), v_add(both, v_load(skip + i)));
        v_store(next_labels + i, v_add(v_log_add(v_load(labels + i), before), v_load(y_labels + i)));
        v_store(next_blanks + i, v_add(both, v_set1(y_blank)));
    }
}

/* Compute the share of the whole probability that passes through each position at a step: L labels, then L + 1 blanks.
 * The shares add up to 1, however large the logarithms are. Both states include the step's y, which their product needs
 * only once. `labels` and `blanks` count from the start, all other arrays from the end. */
static void ctc_shares(const double *labels, const double *blanks, const double *labels_back, const double *blanks_back,
                       const double *y_labels, double y_blank, fl_size L, double *share) {
    for (fl_size i = 0; i < L; i++) share[i] = labels[L - 1 - i] + labels_back[i] - y_labels[i];
    for (fl_size i = 0; i <= L; i++) share[L + i] = blanks[L - i] + blanks_back[i] - y_blank;
    const double sum = exponentials(share, share, largest(share, 2 * L + 1), 2 * L + 1);
    combine(share, 1 / sum, 0, NULL, 2 * L + 1);
}

#define FL_CTC_STEP ctc_step
#define FL_CTC_SHARES ctc_shares
#else
#define FL_CTC_STEP NULL
#define FL_CTC_SHARES NULL
#endif

#endif
