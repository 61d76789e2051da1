/* Sums in double precision, whatever the precision of the vectors: a loss over many elements, a norm that must not
 * overflow. */
#ifndef FL_WIDE_H
#define FL_WIDE_H

#include "simd/simd.h"

typedef struct {
    vec_double part[FL_DOUBLE_PARTS];
    double rest;
} wide;

/* Add a b to the sum, in each of the first n lanes. */
FL_INLINE void add_products(wide *sum, vec a, vec b, ptrdiff_t n) {
    if (n == VL) {
        FL_UNROLL
        for (int k = 0; k < FL_DOUBLE_PARTS; k++) sum->part[k] = d_fma(d_part(a, k), d_part(b, k), sum->part[k]);
    } else {
        real x[VL], y[VL];
        v_store(x, a);
        v_store(y, b);
        for (int l = 0; l < n; l++) sum->rest += (double)x[l] * (double)y[l];
    }
}

FL_INLINE wide nothing(void) {
    wide sum;
    for (int k = 0; k < FL_DOUBLE_PARTS; k++) sum.part[k] = d_zero();
    sum.rest = 0;
    return sum;
}

/* Write the sum of each lane. */
FL_INLINE void lanes(double *lane, const wide *sum) {
    for (int k = 0; k < FL_DOUBLE_PARTS; k++) d_store(lane + k * (VL / FL_DOUBLE_PARTS), sum->part[k]);
}

FL_INLINE double total(const wide *sum) {
    double all = sum->rest, lane[VL];
    lanes(lane, sum);
    for (int l = 0; l < VL; l++) all += lane[l];
    return all;
}

#endif
