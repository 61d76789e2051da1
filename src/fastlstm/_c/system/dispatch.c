#include "system/dispatch.h"

static int always(void) { return 1; }

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

/* Return whether the processor has the instructions and the operating system saves their registers. */
static int has(unsigned ebx_of_leaf_7, unsigned state) {
    enum { FMA = 1 << 12, OSXSAVE = 1 << 27, AVX = 1 << 28 }; /* leaf 1, ecx */
    unsigned leaf1[4], leaf7[4];
    cpuid(1, leaf1);
    if ((leaf1[2] & (FMA | OSXSAVE | AVX)) != (FMA | OSXSAVE | AVX)) return 0;
    cpuid(7, leaf7);
    return (xcr0() & state) == state && (leaf7[1] & ebx_of_leaf_7) == ebx_of_leaf_7;
}

enum { AVX2 = 1 << 5, AVX512F = 1 << 16, AVX512DQ = 1 << 17 }; /* leaf 7, ebx */
enum { YMM_STATE = 0x06, ZMM_STATE = 0xe6 };                   /* XCR0 */
static int has_avx2(void) { return has(AVX2, YMM_STATE); }
static int has_avx512(void) { return has(AVX2 | AVX512F | AVX512DQ, ZMM_STATE); }

#endif

static const struct {
    const char *name;
    int (*available)(void);
} targets[FL_ISA_COUNT] = {
#define TARGET(name, processor, gcc, msvc, detection) {#name, FL_IF_##processor(detection, NULL)},
#include "targets.def"
#undef TARGET
};

const char *fl_isa_name(int isa) { return targets[isa].name; }

int fl_isa_available(int isa) { return targets[isa].available && targets[isa].available(); }

const fl_kernels *fl_isa_kernels(int isa, int bytes) {
    for (const fastlstm_kernels *const *linked = fastlstm_linked; *linked; linked++)
        if ((*linked)->isa == isa && (*linked)->bytes == bytes) return (*linked)->table;
    return NULL;
}

#ifdef FL_EMULATED /* the processor as a device: see emulated.inc */
extern const fl_backend fl_emulated;
#endif

const fl_backend *fl_emulated_backend(void) {
#ifdef FL_EMULATED
    return &fl_emulated;
#else
    return NULL;
#endif
}
