#include "system/dispatch.h"

#if defined(__x86_64__) || defined(_M_X64)
#define FL_X86 1
#elif defined(__aarch64__) || defined(_M_ARM64)
#define FL_ARM 1
#endif

/* Expand a row of targets.def to code(name, detection) where it is compiled, else to none(name, detection). */
#define ROW_ANY(code, none, name, detection) code(name, detection)
#if FL_X86
#define ROW_X86 ROW_ANY
#else
#define ROW_X86 ROW_NONE
#endif
#if FL_ARM
#define ROW_ARM ROW_ANY
#else
#define ROW_ARM ROW_NONE
#endif
#ifdef FL_EMULATED
#define ROW_EMULATED ROW_ANY
#else
#define ROW_EMULATED ROW_NONE
#endif
#define ROW_NONE(code, none, name, detection) none(name, detection)

#define DECLARED(name, detection) extern const fl_kernels fl_kernels_##name##_32, fl_kernels_##name##_64;
#define NOTHING(name, detection)
#define TARGET(name, processor, gcc, msvc, detection) ROW_##processor(DECLARED, NOTHING, name, detection)
#include "targets.def"
#undef TARGET

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
    const fl_kernels *kernels_32, *kernels_64;
    int (*available)(void);
} targets[FL_ISA_COUNT] = {
#define COMPILED(name, detection) {#name, &fl_kernels_##name##_32, &fl_kernels_##name##_64, detection},
#define MISSING(name, detection) {#name, NULL, NULL, NULL},
#define TARGET(name, processor, gcc, msvc, detection) ROW_##processor(COMPILED, MISSING, name, detection)
#include "targets.def"
#undef TARGET
};

const char *fl_isa_name(int isa) { return targets[isa].name; }

int fl_isa_available(int isa) { return targets[isa].available && targets[isa].available(); }

const fl_kernels *fl_isa_kernels(int isa, int bytes) {
    return bytes == 4 ? targets[isa].kernels_32 : targets[isa].kernels_64;
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
