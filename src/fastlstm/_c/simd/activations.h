/* exp, log1p, the logistic function, tanh and the other activations on vectors: see "Numerics" in the documentation.
 *
 * exp: x = n ln 2 + r, |r| <= ln 2 / 2 (Cody and Waite's two-part ln 2); e^r - 1 is a polynomial, near-minimax on that
 * interval (relative error of e^r below 3e-10 in single and 2e-17 in double precision).
 */
#ifndef FL_ACTIVATIONS_H
#define FL_ACTIVATIONS_H

#include "kernels.h"
#include "simd/simd.h"

#if FL_BITS == 32
#define FL_LOG2E 1.44269504088896341f
#define FL_LN2_HI 0.693359375f
#define FL_LN2_LO -2.12194440054690583e-4f
#define FL_ROUND (12582912.0f + 127.0f) /* 1.5 * 2^23 and the exponent's bias */
#define FL_EXP_MIN -87.0f               /* e^x is still a normal number here */
#define FL_EXP_MAX 88.0f                /* e^x is still finite here, and its reciprocal denormal */
#define FL_TANH_IS_1 10.0f              /* the value from which tanh x is 1 */
FL_TERMS float exp_terms[] = {0.00019891080463998842f, 0.0013933730715792083f, 0.008333310844647863f,
                              0.041666464197405692f,   0.16666666681704216f,   0.50000000135387299f};
FL_TERMS float tanh_terms[] = {0.002060621435f, -0.008113507022f, 0.0216894059f,
                               -0.05394817033f, 0.1333325017f,    -0.3333333277f};
FL_TERMS float log1p_terms[] = {0.24289553512603348f, 0.21430741915612808f, 0.286165966414275f, 0.39998888357864393f,
                                0.666666755003564f};
#else
#define FL_LOG2E 1.4426950408889634074
#define FL_LN2_HI 6.93145751953125e-1
#define FL_LN2_LO 1.42860682030941723212e-6
#define FL_ROUND (6755399441055744.0 + 1023.0)
#define FL_EXP_MIN -708.0
#define FL_EXP_MAX 709.0
#define FL_TANH_IS_1 20.0
FL_TERMS double exp_terms[] = {2.09147553258932022e-9, 2.5105312729622102e-8, 2.7557273478718580e-7,
                               2.7557255170000887e-6,  2.4801587325677462e-5, 1.9841269875002279e-4,
                               1.3888888888883711e-3,  8.3333333333260831e-3, 4.1666666666666670e-2,
                               1.6666666666666671e-1,  5.0000000000000000e-1};
FL_TERMS double tanh_terms[] = {-1.9352653686922351e-6, 1.0938896099319773e-5,  -3.5673925977091439e-5,
                                9.514406287829864e-5,   -2.3852603613927419e-4, 5.8988439238888116e-4,
                                -1.4558109507053411e-3, 3.5921254479696532e-3,  -8.8632353455773496e-3,
                                2.1869488528318099e-2,  -5.3968253968080368e-2, 1.3333333333333182e-1,
                                -3.3333333333333333e-1};
FL_TERMS double log1p_terms[] = {1.773976532385059e-1,  9.902817874689634e-2,  1.3586314855848264e-1,
                                 1.5364295463094396e-1, 1.8182814076003243e-1, 2.2222192904545643e-1,
                                 2.8571429057998793e-1, 3.99999999960497e-1,   6.66666666666777e-1};
#endif
#define FL_LOG1P_TERMS ((int)(sizeof log1p_terms / sizeof log1p_terms[0]))
#define FL_TANH_TERMS ((int)(sizeof tanh_terms / sizeof tanh_terms[0]))
#define FL_EXP_TERMS ((int)(sizeof exp_terms / sizeof exp_terms[0]))

/* Evaluate a polynomial whose coefficient of the highest power is terms[0]. Taking the terms in pairs makes a chain of
 * dependent operations half as long as Horner's, with no more work. */
FL_INLINE vec v_polynomial(const real *terms, const int count, vec x, vec x2) {
    vec q = count % 2 ? v_set1(terms[0]) : v_fma(v_set1(terms[0]), x, v_set1(terms[1]));
    FL_UNROLL
    for (int k = 2 - count % 2; k < count; k += 2) q = v_fma(q, x2, v_fma(v_set1(terms[k]), x, v_set1(terms[k + 1])));
    return q;
}

/* e^x = 2^n + 2^n p, for x from FL_EXP_MIN to FL_EXP_MAX, from t = x log2(e) + FL_ROUND: what x is made of may give it
 * sooner than x does. */
typedef struct {
    vec two_n, p;
} exponential;

FL_INLINE exponential v_exponential(vec x, vec t) {
    const vec n = v_sub(t, v_set1(FL_ROUND));
    const vec r = v_fnma(n, v_set1(FL_LN2_LO), v_fnma(n, v_set1(FL_LN2_HI), x)), r2 = v_mul(r, r);
    const exponential e = {v_exponent(t), v_fma(r2, v_polynomial(exp_terms, FL_EXP_TERMS, r, r2), r)};
    return e;
}

FL_INLINE vec v_clamped(vec low, vec high, vec x) { return v_min(high, v_max(low, x)); }

FL_INLINE vec v_exp(vec x) {
    const vec in_range = v_clamped(v_set1(FL_EXP_MIN), v_set1(FL_EXP_MAX), x);
    const exponential e = v_exponential(in_range, v_fma(in_range, v_set1(FL_LOG2E), v_set1(FL_ROUND)));
    return v_fma(e.two_n, e.p, e.two_n);
}

/* Return log(1 + u) for u from 0 to 1: 2 artanh(s), s = u / (2 + u), by an odd polynomial that is near-minimax up to
 * s = 1/3 (relative error 1e-10 in single and 5e-17 in double precision). */
FL_INLINE vec v_log1p(vec u) {
    const vec s = v_quotient(u, v_add(v_set1(2), u)), s2 = v_mul(s, s);
    const vec q = v_polynomial(log1p_terms, FL_LOG1P_TERMS, s2, v_mul(s2, s2));
    return v_fma(v_mul(s, s2), q, v_add(s, s));
}

/* Return 1 / (1 + e^-x); zero where that is a denormal number, in the floating-point mode that kernels run in. */
FL_INLINE vec v_logistic(vec x) {
    const vec one = v_set1(1), in_range = v_clamped(v_set1(-FL_EXP_MAX), v_set1(-FL_EXP_MIN), x);
    const exponential e = v_exponential(v_sub(v_zero(), in_range),
                                        v_fnma(in_range, v_set1(FL_LOG2E), v_set1(FL_ROUND)));
    return v_quotient(one, v_fma(e.two_n, e.p, v_add(one, e.two_n)));
}

/* Return tanh x: up to |x| = 0.695 by an odd polynomial; above, where nothing cancels, by
 * tanh|x| = 1 - 2 / (1 + e^(2|x|)). */
FL_INLINE vec v_tanh(vec x) {
    const vec a = v_abs(x), one = v_set1(1), bounded = v_min(v_set1(FL_TANH_IS_1), a);
    const exponential e = v_exponential(v_add(bounded, bounded),
                                        v_fma(bounded, v_set1(2 * FL_LOG2E), v_set1(FL_ROUND)));
    const vec large = v_sub(one, v_quotient(v_set1(2), v_fma(e.two_n, e.p, v_add(one, e.two_n))));

    const vec a2 = v_mul(a, a), q = v_polynomial(tanh_terms, FL_TANH_TERMS, a2, v_mul(a2, a2));
    const vec small = v_fma(v_mul(a, a2), q, a);

    return v_with_sign(v_if_greater(a, v_set1((real)0.695), large, small), x);
}

/* Return approximations of tanh x and 1 / (1 + e^-x): c P(c^2) / Q(c^2), where c is x bounded, with the least largest
 * error of such functions that are at most 1. The largest errors are 1.6e-6 and 0.8e-6. */
FL_TERMS real fast_tanh_p[] = {(real)3.818907721e-6, (real)0.002253171317, (real)0.1227531816, (real)0.999994549};
FL_TERMS real fast_tanh_q[] = {(real)0.0001397774295, (real)0.02096067253, (real)0.4560685655, 1};
FL_TERMS real fast_logistic_p[] = {(real)1.491760828e-8, (real)3.520580183e-5, (real)0.007672073848,
                                   (real)0.2499986372};
FL_TERMS real fast_logistic_q[] = {(real)2.184022336e-6, (real)0.001310042033, (real)0.1140171414, 1};

FL_INLINE vec v_ratio(const real *p, const real *q, vec c) {
    const vec c2 = v_mul(c, c), c4 = v_mul(c2, c2);
    return v_quotient(v_mul(c, v_polynomial(p, 4, c2, c4)), v_polynomial(q, 4, c2, c4));
}
FL_INLINE vec v_fast_tanh(vec x) {
    const real bound = (real)7.2;
    return v_ratio(fast_tanh_p, fast_tanh_q, v_clamped(v_set1(-bound), v_set1(bound), x));
}
FL_INLINE vec v_fast_logistic(vec x) {
    const real bound = (real)14.4;
    const vec in_range = v_clamped(v_set1(-bound), v_set1(bound), x);
    return v_add(v_set1((real)0.5), v_ratio(fast_logistic_p, fast_logistic_q, in_range));
}

FL_INLINE vec v_bounded(vec x, real bound) { return v_clamped(v_set1(-bound), v_set1(bound), x); }

FL_INLINE vec v_hard_logistic(const fl_activation g, vec x) {
    return v_clamped(v_zero(), v_set1(1), v_fma(v_set1((real)g.alpha), x, v_set1((real)g.beta)));
}

/* Not inlined: the forms in which this saves time have the functions themselves. */
FL_APART vec v_fast(const fl_activation_kind g, vec a) {
    return g == FL_FAST_TANH ? v_fast_tanh(a) : v_fast_logistic(a);
}

FL_INLINE vec apply(const fl_activation g, vec a) {
    switch (g.kind) {
    case FL_TANH: return v_tanh(a);
    case FL_LOGISTIC: return v_logistic(a);
    case FL_RELU: return v_if_greater(v_zero(), a, v_zero(), a); /* NaN stays NaN */
    case FL_HARD_LOGISTIC: return v_hard_logistic(g, a);
    case FL_FAST_TANH:
    case FL_FAST_LOGISTIC: return v_fast(g.kind, a);
    default: return a;
    }
}

/* Return g(a), where g is tanh as a rule: the others are apart. */
FL_APART vec v_apart(const fl_activation *g, vec a) { return apply(*g, a); }
FL_INLINE vec mostly_tanh(const fl_activation *g, vec a) { return g->kind == FL_TANH ? v_tanh(a) : v_apart(g, a); }

/* Return g(a), where g is the logistic function as a rule. */
FL_INLINE vec mostly_logistic(const fl_activation *g, vec a) {
    return g->kind == FL_LOGISTIC ? v_logistic(a) : v_apart(g, a);
}

/* Return d where low < x < high, else zero; NaN stays NaN. */
FL_INLINE vec v_between(vec low, vec x, vec high, vec d) {
    const vec none = v_mul(v_mul(d, x), v_zero());
    return v_if_greater(x, low, v_if_greater(high, x, d, none), none);
}

/* Return d g'(a), from h = g(a). */
FL_INLINE vec times_derivative(const fl_activation g, vec d, vec h) {
    switch (g.kind) {
    case FL_TANH: return v_mul(d, v_fnma(h, h, v_set1(1)));
    case FL_LOGISTIC: return v_mul(d, v_mul(h, v_sub(v_set1(1), h)));
    case FL_RELU: return v_if_greater(h, v_zero(), d, v_mul(h, d)); /* h = 0 gives 0, NaN gives NaN */
    case FL_HARD_LOGISTIC: return v_between(v_zero(), h, v_set1(1), v_mul(d, v_set1((real)g.alpha)));
    default: return d;
    }
}

#endif
