/* FL_TABLE, the name of a table of kernels: fl_kernels_avx2_32, of the target and the precision that are compiled.
 *
 * The including file defines FL_TARGET; the compiler's command FL_BITS (32 or 64), with FL_STORED_BFLOAT16 or
 * FL_STORED_FLOAT16 for arrays of half as many bits. */
#ifndef FL_TABLE_H
#define FL_TABLE_H

#if defined(FL_STORED_BFLOAT16)
#define FL_ARRAYS bfloat16
#elif defined(FL_STORED_FLOAT16)
#define FL_ARRAYS float16
#else
#define FL_ARRAYS FL_BITS
#endif

#define FL_NAME_OF_(target, arrays) fl_kernels_##target##_##arrays
#define FL_NAME_OF(target, arrays) FL_NAME_OF_(target, arrays)
#define FL_TABLE FL_NAME_OF(FL_TARGET, FL_ARRAYS)

#endif
