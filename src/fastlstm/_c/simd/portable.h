/* The vectors of any other processor: C11 loops, which a compiler may vectorise. A device's vectors have one lane. */
#ifndef FL_PORTABLE_H
#define FL_PORTABLE_H

#include <math.h>
#ifdef FL_TARGET_DEVICE
#define FL_BYTES (FL_BITS / 8)
#else
#define FL_BYTES 16
#endif
#ifdef __CUDACC__
#define FL_FMA 1
#else
#define FL_FMA 0
#endif
#define VL (FL_BYTES * 8 / FL_BITS)
typedef struct {
    real lane[VL];
} vec;
#define LANES(expression)                                  \
    vec r;                                                 \
    for (int l = 0; l < VL; l++) r.lane[l] = (expression); \
    return r
FL_INLINE vec v_load(const real *p) { LANES(p[l]); }
FL_INLINE void v_store(real *p, vec x) {
    for (int l = 0; l < VL; l++) p[l] = x.lane[l];
}
FL_INLINE vec v_set1(real x) { LANES(x); }
FL_INLINE vec v_zero(void) { LANES(0); }
FL_INLINE vec v_add(vec a, vec b) { LANES(a.lane[l] + b.lane[l]); }
FL_INLINE vec v_sub(vec a, vec b) { LANES(a.lane[l] - b.lane[l]); }
FL_INLINE vec v_mul(vec a, vec b) { LANES(a.lane[l] * b.lane[l]); }
FL_INLINE vec v_div(vec a, vec b) { LANES(a.lane[l] / b.lane[l]); }
FL_INLINE vec v_sqrt(vec a) { LANES((real)sqrt(a.lane[l])); } /* exact for a float too: computed in double, rounded */
FL_INLINE vec v_max(vec bound, vec x) { LANES(bound.lane[l] > x.lane[l] ? bound.lane[l] : x.lane[l]); }
FL_INLINE vec v_min(vec bound, vec x) { LANES(bound.lane[l] < x.lane[l] ? bound.lane[l] : x.lane[l]); }
#if FL_FMA
FL_INLINE real fused(float a, float b, float c) { return fmaf(a, b, c); }
FL_INLINE real fused(double a, double b, double c) { return fma(a, b, c); }
FL_INLINE vec v_fma(vec a, vec b, vec c) { LANES(fused(a.lane[l], b.lane[l], c.lane[l])); }
FL_INLINE vec v_fnma(vec a, vec b, vec c) { LANES(fused(-a.lane[l], b.lane[l], c.lane[l])); }
#else
FL_INLINE vec v_fma(vec a, vec b, vec c) { LANES(a.lane[l] * b.lane[l] + c.lane[l]); }
FL_INLINE vec v_fnma(vec a, vec b, vec c) { LANES(c.lane[l] - a.lane[l] * b.lane[l]); }
#endif
FL_INLINE real_bits as_bits(real x) {
    real_bits b;
    memcpy(&b, &x, sizeof b);
    return b;
}
FL_INLINE real as_real(real_bits b) {
    real x;
    memcpy(&x, &b, sizeof x);
    return x;
}
#define FL_SIGN ((real_bits)1 << (FL_BITS - 1))
FL_INLINE vec v_exponent(vec x) { LANES(as_real(as_bits(x.lane[l]) << FL_MANTISSA)); }
FL_INLINE vec v_abs(vec x) { LANES(as_real(as_bits(x.lane[l]) & ~FL_SIGN)); }
FL_INLINE vec v_with_sign(vec a, vec b) { LANES(as_real(as_bits(a.lane[l]) | (as_bits(b.lane[l]) & FL_SIGN))); }
FL_INLINE vec v_upper_half(vec x) { LANES(x.lane[(l + VL / 2) % VL]); }
FL_INLINE vec v_if_greater(vec a, vec b, vec x, vec y) { LANES(a.lane[l] > b.lane[l] ? x.lane[l] : y.lane[l]); }
#if FL_BITS == 32
FL_INLINE vec v_load_bfloat16(const uint16_t *p) { LANES(as_real((real_bits)p[l] << 16)); }
FL_INLINE vec v_load_int8(const int8_t *p) { LANES((real)p[l]); }
#define FL_DOUBLE_PARTS VL
typedef double vec_double;
FL_INLINE vec_double d_part(vec x, int k) { return x.lane[k]; }
FL_INLINE vec_double d_fma(vec_double a, vec_double b, vec_double c) { return a * b + c; }
FL_INLINE vec_double d_zero(void) { return 0; }
FL_INLINE void d_store(double *p, vec_double x) { *p = x; }
#endif
FL_INLINE void v_sum4(real *sums, const vec *x) {
    for (int v = 0; v < 4; v++) {
        sums[v] = 0;
        for (int l = 0; l < VL; l++) sums[v] += x[v].lane[l];
    }
}

#endif
