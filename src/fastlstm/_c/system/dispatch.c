#include "system/dispatch.h"

#if defined(__x86_64__) || defined(_M_X64)
#define FL_X86 1
#elif defined(__aarch64__) || defined(_M_ARM64)
#define FL_ARM 1
#endif

extern const fl_kernels fl_kernels_portable_32, fl_kernels_portable_64;
#ifdef FL_EMULATED /* a device on the processor: see emulated.inc */
extern const fl_kernels fl_kernels_emulated_32, fl_kernels_emulated_64;
extern const fl_backend fl_emulated;
#endif
#if FL_X86
extern const fl_kernels fl_kernels_base_32, fl_kernels_base_64;
extern const fl_kernels fl_kernels_avx2_32, fl_kernels_avx2_64;
extern const fl_kernels fl_kernels_avx512_32, fl_kernels_avx512_64;
#elif FL_ARM
extern const fl_kernels fl_kernels_neon_32, fl_kernels_neon_64;
#endif

enum { EMULATED, PORTABLE, BASE, AVX2, AVX512, NEON };

const char *fl_isa_name(int isa) {
    static const char *const names[FL_ISA_COUNT] = {"emulated", "portable", "base", "avx2", "avx512", "neon"};
    return names[isa];
}

const fl_kernels *fl_isa_kernels(int isa, int bytes) {
#define BOTH(name) (bytes == 4 ? &fl_kernels_##name##_32 : &fl_kernels_##name##_64)
    switch (isa) {
#ifdef FL_EMULATED
    case EMULATED: return BOTH(emulated);
#endif
    case PORTABLE: return BOTH(portable);
#if FL_X86
    case BASE: return BOTH(base);
    case AVX2: return BOTH(avx2);
    case AVX512: return BOTH(avx512);
#elif FL_ARM
    case NEON: return BOTH(neon);
#endif
    default: return NULL;
    }
}

const fl_backend *fl_emulated_backend(void) {
#ifdef FL_EMULATED
    return &fl_emulated;
#else
    return NULL;
#endif
}

#if FL_X86

#if defined(_MSC_VER)
#include <intrin.h>
static void cpuid(unsigned leaf, unsigned r[4]) { __cpuidex((int *)r, (int)leaf, 0); }
static unsigned long long xcr0(void) { return _xgetbv(0); }
#else
#include <cpuid.h>
static void cpuid(unsigned leaf, unsigned r[4]) {
    if (!__get_cpuid_count(leaf, 0, &r[0], &r[1], &r[2], &r[3])) r[0] = r[1] = r[2] = r[3] = 0;
}
static unsigned long long xcr0(void) {
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (unsigned long long)high << 32 | low;
}
#endif

/* The processor must have the instructions and the operating system must save their registers. */
int fl_isa_available(int isa) {
    enum { FMA = 1 << 12, OSXSAVE = 1 << 27, AVX = 1 << 28 };            /* leaf 1, ecx */
    enum { HAS_AVX2 = 1 << 5, AVX512F = 1 << 16, AVX512DQ = 1 << 17 };   /* leaf 7, ebx */
    enum { YMM_STATE = 0x06, ZMM_STATE = 0xe6 };                         /* XCR0 */
    unsigned leaf1[4], leaf7[4];
    if (isa == EMULATED || isa == PORTABLE || isa == BASE) return 1;
    if (isa == NEON) return 0;
    cpuid(1, leaf1);
    if ((leaf1[2] & (FMA | OSXSAVE | AVX)) != (FMA | OSXSAVE | AVX)) return 0;
    cpuid(7, leaf7);
    if ((xcr0() & YMM_STATE) != YMM_STATE || !(leaf7[1] & HAS_AVX2)) return 0;
    if (isa == AVX2) return 1;
    return (xcr0() & ZMM_STATE) == ZMM_STATE && (leaf7[1] & AVX512F) && (leaf7[1] & AVX512DQ);
}

#else

int fl_isa_available(int isa) { return fl_isa_kernels(isa, 4) != NULL; }

#endif
