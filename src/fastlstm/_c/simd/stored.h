/* The type of stored inputs, weights, gates, outputs and their gradients: real, or on a device, in half as many bits,
 * bfloat16 (FL_STORED_BFLOAT16) or float16 (FL_STORED_FLOAT16). Cell states, their gradients and all sums are reals. */
#ifndef FL_STORED_H
#define FL_STORED_H

#if defined(FL_STORED_BFLOAT16) && defined(__CUDACC__)
#include <cuda_bf16.h>
typedef __nv_bfloat16 stored;
FL_INLINE real of_stored(stored x) { return __bfloat162float(x); }
FL_INLINE stored to_stored(real x) { return __float2bfloat16_rn(x); }
#elif defined(FL_STORED_FLOAT16) && defined(__CUDACC__)
#include <cuda_fp16.h>
typedef __half stored;
FL_INLINE real of_stored(stored x) { return __half2float(x); }
FL_INLINE stored to_stored(real x) { return __float2half_rn(x); }
#elif defined(FL_STORED_BFLOAT16)
typedef struct {
    uint16_t bits;
} stored;
FL_INLINE real of_stored(stored x) { return as_real((real_bits)x.bits << 16); }
FL_INLINE stored to_stored(real x) { /* to nearest, ties to even; NaN stays NaN */
    const real_bits bits = as_bits(x);
    const stored rounded = {x == x ? (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16) : (uint16_t)0x7fc0};
    return rounded;
}
#elif defined(FL_STORED_FLOAT16)
typedef _Float16 stored;
FL_INLINE real of_stored(stored x) { return (real)x; }
FL_INLINE stored to_stored(real x) { return (stored)x; }
#endif

#if defined(FL_STORED_BFLOAT16) || defined(FL_STORED_FLOAT16)
FL_INLINE vec s_load(const stored *p) { return v_set1(of_stored(*p)); }
FL_INLINE void s_store(stored *p, vec x) { *p = to_stored(x.lane[0]); }
FL_INLINE vec s_load_part(const stored *p, ptrdiff_t n) { return (void)n, s_load(p); }
FL_INLINE void s_store_part(stored *p, vec x, ptrdiff_t n) { (void)n, s_store(p, x); }
FL_INLINE vec s_rounded(vec x) { return v_set1(of_stored(to_stored(x.lane[0]))); } /* as stored and loaded again */
#else
typedef real stored;
#define of_stored(x) (x)
#define to_stored(x) (x)
#define s_load v_load
#define s_store v_store
#define s_load_part v_load_part
#define s_store_part v_store_part
#define s_rounded(x) (x)
#endif

#endif
