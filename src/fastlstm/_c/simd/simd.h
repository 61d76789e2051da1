/* One vector type `vec` of VL values of type `real`, for every instruction set and both precisions.
 *
 * The compiler's command line defines FL_BITS (32 or 64), and the including file one of FL_TARGET_AVX512,
 * FL_TARGET_AVX2, FL_TARGET_BASE (SSE2), FL_TARGET_NEON, FL_TARGET_PORTABLE, FL_TARGET_DEVICE (a GPU's thread,
 * which has one lane). Everything else in the kernels is written with the few operations below.
 *
 * v_sum4 computes the sums of the lanes of four vectors. In double precision a vec has FL_DOUBLE_PARTS parts; part k,
 * d_part(x, k), is a vec_double.
 *
 * NaN: v_max(bound, x) and v_min(bound, x) return x when x is NaN; the order of the operands matters on x86.
 */
#ifndef FL_SIMD_H
#define FL_SIMD_H

#include <assert.h>
#include <float.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FL_CAT_(a, b, c) a##b##c
#define FL_CAT(a, b, c) FL_CAT_(a, b, c)

/* FL_FUNCTION marks functions that a device runs and that are too long to inline, FL_TERMS constants that it reads. */
#if defined(__CUDACC__)
#define FL_INLINE static __device__ __forceinline__
#define FL_APART static __device__ __noinline__
#define FL_FUNCTION static __device__
#define FL_TERMS static __device__ const
#define FL_ALIGN(n) /* A vector has one lane. */
#define FL_UNROLL _Pragma("unroll")
#else
#define FL_FUNCTION static
#define FL_TERMS static const
#if defined(_MSC_VER) && !defined(__clang__)
#define FL_INLINE static __forceinline
#define FL_APART static __declspec(noinline)
#define FL_RESTRICT __restrict
#define FL_ALIGN(n) __declspec(align(n))
#define FL_UNROLL
#define FL_NO_UNROLL
#else
#define FL_INLINE static inline __attribute__((always_inline))
#define FL_APART static __attribute__((noinline))
#define FL_RESTRICT restrict
#define FL_ALIGN(n) __attribute__((aligned(n)))
#if defined(__clang__)
#define FL_UNROLL _Pragma("clang loop unroll(full)")
#define FL_NO_UNROLL _Pragma("clang loop unroll(disable)")
#else
#define FL_UNROLL _Pragma("GCC unroll 16")
#define FL_NO_UNROLL _Pragma("GCC unroll 1")
#endif
#endif
#endif

/* Prefetch to the second-level cache. */
#if defined(__GNUC__)
#define v_prefetch(address) __builtin_prefetch(address, 0, 2)
#elif defined(_M_X64)
#include <xmmintrin.h>
#define v_prefetch(address) _mm_prefetch((const char *)(address), _MM_HINT_T1)
#else
#define v_prefetch(address) ((void)(address))
#endif

#if FL_BITS == 32
typedef float real;
typedef uint32_t real_bits;
#define FL_MANTISSA 23
#define FL_SMALLEST FLT_MIN
#elif FL_BITS == 64
typedef double real;
typedef uint64_t real_bits;
#define FL_MANTISSA 52
#define FL_SMALLEST DBL_MIN
#else
#error "FL_BITS must be 32 or 64"
#endif

#if defined(FL_TARGET_AVX512) || defined(FL_TARGET_AVX2) || defined(FL_TARGET_BASE)
#include "simd/x86.h"
#elif defined(FL_TARGET_NEON)
#include "simd/neon.h"
#elif defined(FL_TARGET_PORTABLE) || defined(FL_TARGET_DEVICE)
#include "simd/portable.h"
#else
#error "no target is defined"
#endif

#if FL_BITS == 64
#define FL_DOUBLE_PARTS 1
typedef vec vec_double;
FL_INLINE vec_double d_part(vec x, int k) { return (void)k, x; }
FL_INLINE vec_double d_fma(vec_double a, vec_double b, vec_double c) { return v_fma(a, b, c); }
FL_INLINE vec_double d_zero(void) { return v_zero(); }
FL_INLINE void d_store(double *p, vec_double x) { v_store(p, x); }
#endif

/* Targets without masked loads and stores copy the last few lanes. */
#if FL_BYTES <= 16
FL_INLINE vec v_load_n(const real *p, ptrdiff_t n) {
    real buffer[VL] = {0};
    memcpy(buffer, p, (size_t)n * sizeof(real));
    return v_load(buffer);
}
FL_INLINE void v_store_n(real *p, vec x, ptrdiff_t n) {
    real buffer[VL];
    v_store(buffer, x);
    memcpy(p, buffer, (size_t)n * sizeof(real));
}
#endif

/* Return a / b for finite a and b, b not denormal. With AVX-512: a reciprocal of 14 bits and one Newton step on the
 * quotient, within 2^-28 of a division, in a third of its time. */
#if FL_BYTES == 64 && FL_BITS == 32
FL_INLINE vec v_quotient(vec a, vec b) {
    vec r = _mm512_rcp14_ps(b), q = v_mul(a, r);
    return v_fma(v_fnma(b, q, a), r, q);
}
#elif defined(FL_TARGET_PORTABLE) || defined(FL_TARGET_DEVICE) /* no mode that flushes denormals: do it here */
FL_INLINE vec v_quotient(vec a, vec b) {
    const vec q = v_div(a, b);
    return v_if_greater(v_set1(FL_SMALLEST), v_abs(q), v_zero(), q);
}
#else
FL_INLINE vec v_quotient(vec a, vec b) { return v_div(a, b); }
#endif

/* Return the smaller of two numbers: of what is left of a row and VL, the lanes of its next vector. */
FL_INLINE ptrdiff_t at_most(ptrdiff_t n, ptrdiff_t limit) { return n < limit ? n : limit; }

/* Load or store the first n of VL lanes, n in 1..VL: the tail is rare, so a branch is faster than a mask everywhere. */
FL_INLINE vec v_load_part(const real *p, ptrdiff_t n) {
    assert(0 < n && n <= VL);
    return n == VL ? v_load(p) : v_load_n(p, n);
}
FL_INLINE void v_store_part(real *p, vec x, ptrdiff_t n) {
    assert(0 < n && n <= VL);
    if (n == VL)
        v_store(p, x);
    else
        v_store_n(p, x, n);
}

#include "simd/stored.h"

#endif
