/* Sums in double precision, whatever the precision of the vectors: a loss over many elements, a norm that must not overflow. */
#ifndef FL_WIDE_H
#define FL_WIDE_H

#include "simd.h"

typedef struct {
    double lane[VL];
} wide;

/* sum += a b in each of the first n lanes. */
FL_INLINE void add_products(wide *sum, vec a, vec b, ptrdiff_t n) {
    real x[VL], y[VL];
    v_store(x, a);
    v_store(y, b);
    if (n == VL)
        for (int l = 0; l < VL; l++) sum->lane[l] += (double)x[l] * (double)y[l];
    else
        for (int l = 0; l < n; l++) sum->lane[l] += (double)x[l] * (double)y[l];
}

FL_INLINE double total(const wide *sum) {
    double all = 0;
    for (int l = 0; l < VL; l++) all += sum->lane[l];
    return all;
}

#endif
