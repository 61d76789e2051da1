/* The vectors of aarch64: NEON. */
#ifndef FL_NEON_H
#define FL_NEON_H

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
FL_INLINE vec v_upper_half(vec x) { return NEON(ext)(x, x, VL / 2); }
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

#endif
