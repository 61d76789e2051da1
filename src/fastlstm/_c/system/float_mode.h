/* Denormal numbers count as zero inside a kernel, so that they cost no more than others. The mode belongs to the
 * thread; every task saves it, sets it and restores it. */
#ifndef FL_FLOAT_MODE_H
#define FL_FLOAT_MODE_H

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
typedef unsigned fl_float_mode;
static inline fl_float_mode fl_flush_denormals(void) {
    fl_float_mode before = _mm_getcsr();
    if ((before & 0x8040) != 0x8040) _mm_setcsr(before | 0x8040); /* flush to zero, denormals are zero */
    return before;
}
/* Restore the caller's register, without the exception flags that the task raised. Writing the register waits for all
 * earlier instructions: where the caller flushes denormals already, it is left alone, flags included. */
static inline void fl_restore_float_mode(fl_float_mode before) {
    if ((before & 0x8040) != 0x8040) _mm_setcsr(before);
}

#elif defined(__aarch64__)
typedef unsigned long long fl_float_mode;
static inline fl_float_mode fl_flush_denormals(void) {
    fl_float_mode before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | 1ull << 24));
    return before;
}
static inline void fl_restore_float_mode(fl_float_mode before) { __asm__ volatile("msr fpcr, %0" : : "r"(before)); }

#elif defined(_M_ARM64) /* MSVC, which has no inline assembly */
#include <intrin.h>
typedef __int64 fl_float_mode;
enum { FL_FPCR = 0x5A20 }; /* the register's number, as MSVC's ARM64_SYSREG(3, 3, 4, 4, 0) counts it */
static inline fl_float_mode fl_flush_denormals(void) {
    fl_float_mode before = _ReadStatusReg(FL_FPCR);
    _WriteStatusReg(FL_FPCR, before | 1ll << 24);
    return before;
}
static inline void fl_restore_float_mode(fl_float_mode before) { _WriteStatusReg(FL_FPCR, before); }

#else
typedef int fl_float_mode;
static inline fl_float_mode fl_flush_denormals(void) { return 0; }
static inline void fl_restore_float_mode(fl_float_mode before) { (void)before; }
#endif

#endif
