/* FL_TABLE, the name of a table of kernels: fl_kernels_avx2_32, of the target and the precision that are compiled; and
 * FL_CHOICE, which gives the table the name by which programs choose it: fastlstm_avx2_float32, see fastlstm/only.h.
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

#define FL_CHOICE_OF_(target, bits) \
    const fastlstm_kernels fastlstm_##target##_float##bits = {FL_ISA_##target, bits / 8, &FL_TABLE}
#define FL_CHOICE_OF(target, bits) FL_CHOICE_OF_(target, bits)
#define FL_CHOICE FL_CHOICE_OF(FL_TARGET, FL_BITS)

#endif
