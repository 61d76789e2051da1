/* The vectors of x86: AVX-512, AVX2 with FMA, and SSE2. */
#ifndef FL_X86_H
#define FL_X86_H

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
/* Move the low bits of x into the exponent field: 2^n where x = n + bias + 1.5 * 2^FL_MANTISSA. */
FL_INLINE vec v_exponent(vec x) { return MM_AS_REAL(MM_SHIFT(MM_AS_INT(x), FL_MANTISSA)); }
FL_INLINE vec v_abs(vec x) { return MM(andnot)(v_set1((real)-0.0), x); }
/* Return |a| with the sign of b; a must not be negative. */
FL_INLINE vec v_with_sign(vec a, vec b) { return MM(or)(a, MM (and)(v_set1((real)-0.0), b)); }

/* Return a vector whose lower half is the upper half of x. */
#if FL_BYTES == 64 && FL_BITS == 32
FL_INLINE vec v_upper_half(vec x) { return _mm512_shuffle_f32x4(x, x, 0xee); }
#elif FL_BYTES == 64
FL_INLINE vec v_upper_half(vec x) { return _mm512_shuffle_f64x2(x, x, 0xee); }
#elif FL_BYTES == 32
FL_INLINE vec v_upper_half(vec x) { return MM(permute2f128)(x, x, 0x11); }
#elif FL_BITS == 32
FL_INLINE vec v_upper_half(vec x) { return _mm_movehl_ps(x, x); }
#else
FL_INLINE vec v_upper_half(vec x) { return _mm_unpackhi_pd(x, x); }
#endif

#if FL_BYTES == 64
FL_INLINE vmask v_first(ptrdiff_t n) { return (vmask)((1u << n) - 1); }
/* A load that follows a masked store waits for the cache; after a plain store it does not. */
#if FL_BITS == 32
#define MM_OF_HALF(p) _mm512_zextps256_ps512(_mm256_loadu_ps(p))
#define MM_STORE_HALF(p, x) _mm256_storeu_ps(p, _mm512_castps512_ps256(x))
#else
#define MM_OF_HALF(p) _mm512_zextpd256_pd512(_mm256_loadu_pd(p))
#define MM_STORE_HALF(p, x) _mm256_storeu_pd(p, _mm512_castpd512_pd256(x))
#endif
FL_INLINE vec v_load_n(const real *p, ptrdiff_t n) {
    return n == VL / 2 ? MM_OF_HALF(p) : MM(maskz_loadu)(v_first(n), p);
}
FL_INLINE void v_store_n(real *p, vec x, ptrdiff_t n) {
    if (n == VL / 2)
        MM_STORE_HALF(p, x);
    else
        MM(mask_storeu)(p, v_first(n), x);
}
/* Return a > b ? x : y; a NaN in a or b gives y. */
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

/* Load weights that are stored in fewer bits: a bfloat16 is the upper half of a float. */
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

/* The parts of a vector in double precision. */
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

/* Add up the 128-bit parts of a register. */
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

#endif
