/* Activation functions over an array, and their derivatives. */
#ifndef FL_ELEMENTWISE_H
#define FL_ELEMENTWISE_H

#include "simd/activations.h"

static void activate(fl_activation g, const void *x, void *y, fl_size n) {
    for (fl_size k = 0; k < n; k += VL) {
        const fl_size part = at_most(n - k, VL);
        v_store_part((real *)y + k, apply(g, v_load_part((const real *)x + k, part)), part);
    }
}

static void differentiate(fl_activation g, const void *y, const void *dy, void *dx, fl_size n) {
    for (fl_size k = 0; k < n; k += VL) {
        const fl_size part = at_most(n - k, VL);
        const vec d = v_load_part((const real *)dy + k, part), h = v_load_part((const real *)y + k, part);
        v_store_part((real *)dx + k, times_derivative(g, d, h), part);
    }
}

#endif
