/* A program with the kernels of one instruction set, or of a chosen few: without this header it has all of those that
 * its kind of processor may have, in both precisions, and takes the fastest when it runs.
 *
 *   cc -DFASTLSTM_ONLY=avx2 ...                           portable, base, avx2 or avx512; on ARM portable or neon
 *   cc -DFASTLSTM_ONLY=avx2 -DFASTLSTM_ONLY_FLOAT32 ...   in one precision; or FASTLSTM_ONLY_FLOAT64
 *
 * where fastlstm.h, which includes this header then, is included: in one source file of the program or in all. The same
 * by `#define FASTLSTM_ONLY avx2` before it. For a chosen few, include this header in one source file, and list them:
 *
 *   const fastlstm_kernels *const fastlstm_linked[] = {&fastlstm_base_float32, &fastlstm_avx2_float32, NULL};
 *
 * A linker takes from a library what is not defined yet: where the program has a list of its own, it leaves out the
 * library's, and with it all kernels that are on that list alone. On a processor that has none of the program's,
 * fastlstm_make_plan returns FASTLSTM_INSTRUCTION_SET; none of their instructions was run. Since version 5. */
#ifndef FASTLSTM_ONLY_H
#define FASTLSTM_ONLY_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The kernels of one instruction set in one precision. */
typedef struct fastlstm_kernels fastlstm_kernels;

extern const fastlstm_kernels fastlstm_portable_float32, fastlstm_portable_float64;
extern const fastlstm_kernels fastlstm_base_float32, fastlstm_base_float64; /* SSE2, which every x86-64 has */
extern const fastlstm_kernels fastlstm_avx2_float32, fastlstm_avx2_float64; /* with FMA */
extern const fastlstm_kernels fastlstm_avx512_float32, fastlstm_avx512_float64;
extern const fastlstm_kernels fastlstm_neon_float32, fastlstm_neon_float64; /* of every 64-bit ARM */

/* Those that a program has, in any order; NULL after the last. Hidden, so that each shared library has its own; and of
 * many source files that are told the same, one is taken. */
#ifdef FASTLSTM_ONLY
#define FASTLSTM_NAME_(set, precision) fastlstm_##set##_##precision
#define FASTLSTM_NAME(set, precision) FASTLSTM_NAME_(set, precision)
#ifdef __cplusplus
extern
#endif
#ifdef _WIN32 /* GCC heeds this only where nothing was declared before. */
    __declspec(selectany)
#else
__attribute__((visibility("hidden"), weak))
#endif
    const fastlstm_kernels *const fastlstm_linked[] = {
#ifndef FASTLSTM_ONLY_FLOAT64
        &FASTLSTM_NAME(FASTLSTM_ONLY, float32),
#endif
#ifndef FASTLSTM_ONLY_FLOAT32
        &FASTLSTM_NAME(FASTLSTM_ONLY, float64),
#endif
        NULL};
#else
#ifndef _WIN32
__attribute__((visibility("hidden")))
#endif
extern const fastlstm_kernels *const fastlstm_linked[];
#endif

#ifdef __cplusplus
}
#endif

#endif
