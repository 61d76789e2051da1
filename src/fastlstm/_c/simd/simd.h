/* One vector type `vec` of VL values of type `real`, for every instruction set and both precisions.
 *
 * The compiler's command defines FL_BITS (32 or 64), and the including file one of FL_TARGET_AVX512,
 * FL_TARGET_AVX2, FL_TARGET_BASE (SSE2), FL_TARGET_NEON, FL_TARGET_PORTABLE, FL_TARGET_DEVICE (a GPU's thread,
 * which has one lane). Everything else in the kernels is written with the few operations below.
 *
 * v_sum4 gives the sums of four vectors' lanes. The FL_DOUBLE_PARTS parts of a vec in double precision, d_part(x,
 * k), are each a vec_double.
 *
 * NaN: v_max(bound, x) and v_min(bound, x) give x when x is NaN; the order of the operands matters on x86.
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

/* FL_FUNCTION is for what a device runs and is too long to inline, FL_TERMS for constants that it reads. */
#if defined(__CUDACC__)
#define FL_INLINE static __device__ __forceinline__
#define FL_FUNCTION static __device__
#define FL_TERMS static __device__ const
#define FL_UNROLL _Pragma("unroll")
#else
#define FL_FUNCTION static
#define FL_TERMS static const
#if defined(_MSC_VER) && !defined(__clang__)
#define FL_INLINE static __forceinline
#define FL_RESTRICT __restrict
#define FL_ALIGN(n) __declspec(align(n))
#define FL_UNROLL
#define FL_NO_UNROLL
#else
#define FL_INLINE static inline __attribute__((always_inline))
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

#define FL_CACHE_LINE 64
/* To the first-level cache; to the second level. */
#if defined(__GNUC__)
#define v_prefetch(address) __builtin_prefetch(address)
#define v_prefetch_far(address) __builtin_prefetch(address, 0, 2)
#elif defined(_M_X64)
#include <xmmintrin.h>
#define v_prefetch(address) _mm_prefetch((const char *)(address), _MM_HINT_T0)
#define v_prefetch_far(address) _mm_prefetch((const char *)(address), _MM_HINT_T1)
#else
#define v_prefetch(address) ((void)(address))
#define v_prefetch_far(address) ((void)(address))
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

/* ---- x86: AVX-512, AVX2 + FMA, SSE2 ---------------------------------------------------------------------------- */
#if defined(FL_TARGET_AVX512) || defined(FL_TARGET_AVX2) || defined(FL_TARGET_BASE)
#include <immintrin.h>

#if defined(FL_TARGET_AVX512)
#if !defined(__AVX512F__) || !defined(__AVX512DQ__)
#error "compile this file with AVX-512 F and DQ enabled"
#endif
#define FL_BYTES 64
#define FL_PREFIX _mm512_
#define FL_FMA 1
#elif defined(FL_TARGET_AVX2)
#if !defined(__AVX2__) || !(defined(__FMA__) || defined(_MSC_VER))
#error "compile this file with AVX2 and FMA enabled"
#endif
#define FL_BYTES 32
#define FL_PREFIX _mm256_
#define FL_FMA 1
#else
#define FL_BYTES 16
#define FL_PREFIX _mm_
#define FL_FMA 0
#endif

#if FL_BITS == 32
#define MM(op) FL_CAT(FL_PREFIX, op, _ps)
#define MM_SHIFT FL_CAT(FL_PREFIX, slli, _epi32)
#else
#define MM(op) FL_CAT(FL_PREFIX, op, _pd)
#define MM_SHIFT FL_CAT(FL_PREFIX, slli, _epi64)
#endif

#if FL_BYTES == 64
#if FL_BITS == 32
typedef __m512 vec;
#define MM_AS_INT _mm512_castps_si512
#define MM_AS_REAL _mm512_castsi512_ps
typedef __mmask16 vmask;
#else
typedef __m512d vec;
#define MM_AS_INT _mm512_castpd_si512
#define MM_AS_REAL _mm512_castsi512_pd
typedef __mmask8 vmask;
#endif
#elif FL_BYTES == 32
#if FL_BITS == 32
typedef __m256 vec;
#define MM_AS_INT _mm256_castps_si256
#define MM_AS_REAL _mm256_castsi256_ps
#else
typedef __m256d vec;
#define MM_AS_INT _mm256_castpd_si256
#define MM_AS_REAL _mm256_castsi256_pd
#endif
#else
#if FL_BITS == 32
typedef __m128 vec;
#define MM_AS_INT _mm_castps_si128
#define MM_AS_REAL _mm_castsi128_ps
#else
typedef __m128d vec;
#define MM_AS_INT _mm_castpd_si128
#define MM_AS_REAL _mm_castsi128_pd
#endif
#endif

#define VL (FL_BYTES * 8 / FL_BITS)

FL_INLINE vec v_load(const real *p) { return MM(loadu)(p); }
FL_INLINE void v_store(real *p, vec x) { MM(storeu)(p, x); }
FL_INLINE vec v_set1(real x) { return MM(set1)(x); }
FL_INLINE vec v_zero(void) { return MM(setzero)(); }
FL_INLINE vec v_add(vec a, vec b) { return MM(add)(a, b); }
FL_INLINE vec v_sub(vec a, vec b) { return MM(sub)(a, b); }
FL_INLINE vec v_mul(vec a, vec b) { return MM(mul)(a, b); }
FL_INLINE vec v_div(vec a, vec b) { return MM(div)(a, b); }
FL_INLINE vec v_sqrt(vec a) { return MM(sqrt)(a); }
FL_INLINE vec v_max(vec bound, vec x) { return MM(max)(bound, x); }
FL_INLINE vec v_min(vec bound, vec x) { return MM(min)(bound, x); }
#if FL_FMA
FL_INLINE vec v_fma(vec a, vec b, vec c) { return MM(fmadd)(a, b, c); }   /* a b + c */
FL_INLINE vec v_fnma(vec a, vec b, vec c) { return MM(fnmadd)(a, b, c); } /* c - a b */
#else
FL_INLINE vec v_fma(vec a, vec b, vec c) { return v_add(v_mul(a, b), c); }
FL_INLINE vec v_fnma(vec a, vec b, vec c) { return v_sub(c, v_mul(a, b)); }
#endif
/* The low bits of x moved into the exponent field: 2^n where x = n + bias + 1.5 * 2^FL_MANTISSA. */
FL_INLINE vec v_exponent(vec x) { return MM_AS_REAL(MM_SHIFT(MM_AS_INT(x), FL_MANTISSA)); }
FL_INLINE vec v_abs(vec x) { return MM(andnot)(v_set1((real)-0.0), x); }
/* |a| with the sign of b; a must not be negative. */
FL_INLINE vec v_with_sign(vec a, vec b) { return MM(or)(a, MM (and)(v_set1((real)-0.0), b)); }

#if FL_BYTES == 64
FL_INLINE vmask v_first(ptrdiff_t n) { return (vmask)((1u << n) - 1); }
FL_INLINE vec v_load_n(const real *p, ptrdiff_t n) { return MM(maskz_loadu)(v_first(n), p); }
FL_INLINE void v_store_n(real *p, vec x, ptrdiff_t n) { MM(mask_storeu)(p, v_first(n), x); }
/* a > b ? x : y; a NaN in a or b gives y */
#if FL_BITS == 32
FL_INLINE vec v_if_greater(vec a, vec b, vec x, vec y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), y, x);
}
#else
FL_INLINE vec v_if_greater(vec a, vec b, vec x, vec y) {
    return _mm512_mask_blend_pd(_mm512_cmp_pd_mask(a, b, _CMP_GT_OQ), y, x);
}
#endif
#elif FL_BYTES == 32
FL_INLINE __m256i v_first(ptrdiff_t n) {
    static const FL_ALIGN(64) int32_t table[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
    return _mm256_loadu_si256((const __m256i *)(table + 8 - n * (FL_BITS / 32)));
}
FL_INLINE vec v_load_n(const real *p, ptrdiff_t n) { return MM(maskload)(p, v_first(n)); }
FL_INLINE void v_store_n(real *p, vec x, ptrdiff_t n) { MM(maskstore)(p, v_first(n), x); }
FL_INLINE vec v_if_greater(vec a, vec b, vec x, vec y) { return MM(blendv)(y, x, MM(cmp)(a, b, _CMP_GT_OQ)); }
#else
FL_INLINE vec v_if_greater(vec a, vec b, vec x, vec y) {
    vec greater = MM(cmpgt)(a, b);
    return MM(or)(MM (and)(greater, x), MM(andnot)(greater, y));
}
#endif

/* Weights in fewer bits: a bfloat16 is the upper half of a float. */
#if FL_BITS == 32
#if FL_BYTES == 64
FL_INLINE vec v_load_bfloat16(const uint16_t *p) {
    return MM_AS_REAL(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
FL_INLINE vec v_load_int8(const int8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
#elif FL_BYTES == 32
FL_INLINE vec v_load_bfloat16(const uint16_t *p) {
    return MM_AS_REAL(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
FL_INLINE vec v_load_int8(const int8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
#else
FL_INLINE vec v_load_bfloat16(const uint16_t *p) {
    return MM_AS_REAL(_mm_unpacklo_epi16(_mm_setzero_si128(), _mm_loadl_epi64((const __m128i *)p)));
}
FL_INLINE vec v_load_int8(const int8_t *p) {
    const __m128i zero = _mm_setzero_si128();
    int32_t four;
    memcpy(&four, p, sizeof four);
    const __m128i words = _mm_unpacklo_epi8(zero, _mm_cvtsi32_si128(four));
    return _mm_cvtepi32_ps(_mm_srai_epi32(_mm_unpacklo_epi16(zero, words), 24));
}
#endif
#endif

/* A vector's parts in double precision. */
#if FL_BITS == 32
#define FL_DOUBLE_PARTS 2
#if FL_BYTES == 64
typedef __m512d vec_double;
#define MM_DOUBLE(op) FL_CAT(_mm512_, op, _pd)
FL_INLINE vec_double d_part(vec x, int k) {
    return _mm512_cvtps_pd(k ? _mm512_extractf32x8_ps(x, 1) : _mm512_castps512_ps256(x));
}
#elif FL_BYTES == 32
typedef __m256d vec_double;
#define MM_DOUBLE(op) FL_CAT(_mm256_, op, _pd)
FL_INLINE vec_double d_part(vec x, int k) {
    return _mm256_cvtps_pd(k ? _mm256_extractf128_ps(x, 1) : _mm256_castps256_ps128(x));
}
#else
typedef __m128d vec_double;
#define MM_DOUBLE(op) FL_CAT(_mm_, op, _pd)
FL_INLINE vec_double d_part(vec x, int k) { return _mm_cvtps_pd(k ? _mm_movehl_ps(x, x) : x); }
#endif
#if FL_FMA
FL_INLINE vec_double d_fma(vec_double a, vec_double b, vec_double c) { return MM_DOUBLE(fmadd)(a, b, c); }
#else
FL_INLINE vec_double d_fma(vec_double a, vec_double b, vec_double c) { return MM_DOUBLE(add)(MM_DOUBLE(mul)(a, b), c); }
#endif
FL_INLINE vec_double d_zero(void) { return MM_DOUBLE(setzero)(); }
FL_INLINE void d_store(double *p, vec_double x) { MM_DOUBLE(storeu)(p, x); }
#endif

/* The register's 128-bit parts, added up. */
#if FL_BITS == 32
FL_INLINE __m128 fold(vec x) {
#if FL_BYTES == 64
    const __m256 y = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    return _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
#elif FL_BYTES == 32
    return _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
#else
    return x;
#endif
}
FL_INLINE void v_sum4(real *sums, const vec *x) {
    const vec ab = v_add(MM(unpacklo)(x[0], x[1]), MM(unpackhi)(x[0], x[1]));
    const vec cd = v_add(MM(unpacklo)(x[2], x[3]), MM(unpackhi)(x[2], x[3]));
    _mm_storeu_ps(sums, fold(v_add(MM(shuffle)(ab, cd, 0x44), MM(shuffle)(ab, cd, 0xEE))));
}
#else
FL_INLINE __m128d fold(vec x) {
#if FL_BYTES == 64
    const __m256d y = _mm256_add_pd(_mm512_castpd512_pd256(x), _mm512_extractf64x4_pd(x, 1));
    return _mm_add_pd(_mm256_castpd256_pd128(y), _mm256_extractf128_pd(y, 1));
#elif FL_BYTES == 32
    return _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
#else
    return x;
#endif
}
FL_INLINE void v_sum4(real *sums, const vec *x) {
    _mm_storeu_pd(sums, fold(v_add(MM(unpacklo)(x[0], x[1]), MM(unpackhi)(x[0], x[1]))));
    _mm_storeu_pd(sums + 2, fold(v_add(MM(unpacklo)(x[2], x[3]), MM(unpackhi)(x[2], x[3]))));
}
#endif

/* ---- aarch64: NEON ---------------------------------------------------------------------------------------------- */
#elif defined(FL_TARGET_NEON)
#include <arm_neon.h>
#define FL_BYTES 16
#define FL_FMA 1
#define VL (FL_BYTES * 8 / FL_BITS)
#if FL_BITS == 32
typedef float32x4_t vec;
#define NEON(op) FL_CAT(v, op, q_f32)
#define NEON_N(op) FL_CAT(v, op, q_n_f32)
#define NEON_AS_INT vreinterpretq_u32_f32
#define NEON_AS_REAL vreinterpretq_f32_u32
#define NEON_INT(op) FL_CAT(v, op, q_u32)
#define NEON_INT_N(op) FL_CAT(v, op, q_n_u32)
#define NEON_SIGN 0x80000000u
#else
typedef float64x2_t vec;
#define NEON(op) FL_CAT(v, op, q_f64)
#define NEON_N(op) FL_CAT(v, op, q_n_f64)
#define NEON_AS_INT vreinterpretq_u64_f64
#define NEON_AS_REAL vreinterpretq_f64_u64
#define NEON_INT(op) FL_CAT(v, op, q_u64)
#define NEON_INT_N(op) FL_CAT(v, op, q_n_u64)
#define NEON_SIGN 0x8000000000000000u
#endif
FL_INLINE vec v_load(const real *p) { return NEON(ld1)(p); }
FL_INLINE void v_store(real *p, vec x) { NEON(st1)(p, x); }
FL_INLINE vec v_set1(real x) { return NEON_N(dup)(x); }
FL_INLINE vec v_zero(void) { return NEON_N(dup)(0); }
FL_INLINE vec v_add(vec a, vec b) { return NEON(add)(a, b); }
FL_INLINE vec v_sub(vec a, vec b) { return NEON(sub)(a, b); }
FL_INLINE vec v_mul(vec a, vec b) { return NEON(mul)(a, b); }
FL_INLINE vec v_div(vec a, vec b) { return NEON(div)(a, b); }
FL_INLINE vec v_sqrt(vec a) { return NEON(sqrt)(a); }
FL_INLINE vec v_max(vec bound, vec x) { return NEON(max)(bound, x); }
FL_INLINE vec v_min(vec bound, vec x) { return NEON(min)(bound, x); }
FL_INLINE vec v_fma(vec a, vec b, vec c) { return NEON(fma)(c, a, b); }
FL_INLINE vec v_fnma(vec a, vec b, vec c) { return NEON(fms)(c, a, b); }
FL_INLINE vec v_exponent(vec x) { return NEON_AS_REAL(NEON_INT_N(shl)(NEON_AS_INT(x), FL_MANTISSA)); }
FL_INLINE vec v_abs(vec x) { return NEON(abs)(x); }
FL_INLINE vec v_with_sign(vec a, vec b) {
    return NEON_AS_REAL(NEON_INT(orr)(NEON_AS_INT(a), NEON_INT (and)(NEON_AS_INT(b), NEON_INT_N(dup)(NEON_SIGN))));
}
FL_INLINE vec v_if_greater(vec a, vec b, vec x, vec y) { return NEON(bsl)(NEON(cgt)(a, b), x, y); }
#if FL_BITS == 32
FL_INLINE vec v_load_bfloat16(const uint16_t *p) { return NEON_AS_REAL(vshll_n_u16(vld1_u16(p), 16)); }
FL_INLINE vec v_load_int8(const int8_t *p) {
    uint32_t four;
    memcpy(&four, p, sizeof four);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(four))))));
}
#define FL_DOUBLE_PARTS 2
typedef float64x2_t vec_double;
FL_INLINE vec_double d_part(vec x, int k) { return k ? vcvt_high_f64_f32(x) : vcvt_f64_f32(vget_low_f32(x)); }
FL_INLINE vec_double d_fma(vec_double a, vec_double b, vec_double c) { return vfmaq_f64(c, a, b); }
FL_INLINE vec_double d_zero(void) { return vdupq_n_f64(0); }
FL_INLINE void d_store(double *p, vec_double x) { vst1q_f64(p, x); }
FL_INLINE void v_sum4(real *sums, const vec *x) {
    vst1q_f32(sums, vpaddq_f32(vpaddq_f32(x[0], x[1]), vpaddq_f32(x[2], x[3])));
}
#else
FL_INLINE void v_sum4(real *sums, const vec *x) {
    vst1q_f64(sums, vpaddq_f64(x[0], x[1]));
    vst1q_f64(sums + 2, vpaddq_f64(x[2], x[3]));
}
#endif

/* ---- anything else: plain C11 loops that a compiler may vectorise; on a device each is of one lane ----------------
 */
#elif defined(FL_TARGET_PORTABLE) || defined(FL_TARGET_DEVICE)
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
FL_INLINE vec v_sqrt(vec a) { LANES((real)sqrt(a.lane[l])); } /* of a float, in double, and rounded once more: exact */
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

/* a / b for finite a and b, b not denormal. A reciprocal of 14 bits, and one step of Newton's on the quotient: as
 * exact as a division but for 2^-28, in a third of its time. */
#if FL_BYTES == 64 && FL_BITS == 32
FL_INLINE vec v_quotient(vec a, vec b) {
    vec r = _mm512_rcp14_ps(b), q = v_mul(a, r);
    return v_fma(v_fnma(b, q, a), r, q);
}
#elif defined(FL_TARGET_PORTABLE) || \
    defined(FL_TARGET_DEVICE) /* which have no mode for it: a denormal quotient is zero */
FL_INLINE vec v_quotient(vec a, vec b) {
    const vec q = v_div(a, b);
    return v_if_greater(v_set1(FL_SMALLEST), v_abs(q), v_zero(), q);
}
#else
FL_INLINE vec v_quotient(vec a, vec b) { return v_div(a, b); }
#endif

/* The first n of VL lanes, n in 1..VL: the tail case is rare, so a branch beats a mask everywhere. */
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
