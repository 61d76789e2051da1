/* Transposing, for the packing of weights and the unpacking of their gradients. */
#ifndef FL_TRANSPOSE_H
#define FL_TRANSPOSE_H

#include "kernels.h"
#include "simd/simd.h"

/* A small square: to[k * to_step + m] = from[m * from_step + k] for m, k < SQUARE. */
#if (defined(FL_TARGET_AVX512) || defined(FL_TARGET_AVX2) || defined(FL_TARGET_BASE)) && FL_BITS == 32
enum { SQUARE = 4 };
FL_INLINE void transpose_square(real *to, fl_size to_step, const real *from, fl_size from_step) {
    __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + from_step);
    __m128 c = _mm_loadu_ps(from + 2 * from_step), d = _mm_loadu_ps(from + 3 * from_step);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(to, a);
    _mm_storeu_ps(to + to_step, b);
    _mm_storeu_ps(to + 2 * to_step, c);
    _mm_storeu_ps(to + 3 * to_step, d);
}
#elif defined(FL_TARGET_AVX512) || defined(FL_TARGET_AVX2) || defined(FL_TARGET_BASE)
enum { SQUARE = 2 };
FL_INLINE void transpose_square(real *to, fl_size to_step, const real *from, fl_size from_step) {
    const __m128d a = _mm_loadu_pd(from), b = _mm_loadu_pd(from + from_step);
    _mm_storeu_pd(to, _mm_unpacklo_pd(a, b));
    _mm_storeu_pd(to + to_step, _mm_unpackhi_pd(a, b));
}
#elif defined(FL_TARGET_NEON) && FL_BITS == 32
enum { SQUARE = 4 };
FL_INLINE void transpose_square(real *to, fl_size to_step, const real *from, fl_size from_step) {
    float32x4x4_t columns = {{vld1q_f32(from), vld1q_f32(from + from_step), vld1q_f32(from + 2 * from_step),
                              vld1q_f32(from + 3 * from_step)}};
    float interleaved[16]; /* st4 writes the four vectors' lanes side by side */
    vst4q_f32(interleaved, columns);
    for (int k = 0; k < 4; k++) vst1q_f32(to + k * to_step, vld1q_f32(interleaved + 4 * k));
}
#elif defined(FL_TARGET_NEON)
enum { SQUARE = 2 };
FL_INLINE void transpose_square(real *to, fl_size to_step, const real *from, fl_size from_step) {
    const float64x2_t a = vld1q_f64(from), b = vld1q_f64(from + from_step);
    vst1q_f64(to, vzip1q_f64(a, b));
    vst1q_f64(to + to_step, vzip2q_f64(a, b));
}
#else
enum { SQUARE = 1 };
FL_INLINE void transpose_square(real *to, fl_size to_step, const real *from, fl_size from_step) {
    (void)to_step, (void)from_step;
    *to = *from;
}
#endif

/* to[k * to_step + m] = from[m * from_step + k] for m < rows, k < columns; in blocks that stay in the L1 cache. */
static void transpose_block(real *to, fl_size to_step, const real *from, fl_size from_step, fl_size rows,
                            fl_size columns) {
    enum { BLOCK = FL_TRANSPOSE_BLOCK };
    const fl_size square_rows = rows - rows % SQUARE, square_columns = columns - columns % SQUARE;
    for (fl_size m0 = 0; m0 < square_rows; m0 += BLOCK)
        for (fl_size k0 = 0; k0 < square_columns; k0 += BLOCK)
            for (fl_size m = m0; m < at_most(m0 + BLOCK, square_rows); m += SQUARE)
                for (fl_size k = k0; k < at_most(k0 + BLOCK, square_columns); k += SQUARE)
                    transpose_square(to + k * to_step + m, to_step, from + m * from_step + k, from_step);
    for (fl_size m = 0; m < rows; m++)
        for (fl_size k = m < square_rows ? square_columns : 0; k < columns; k++)
            to[k * to_step + m] = from[m * from_step + k];
}

#endif
