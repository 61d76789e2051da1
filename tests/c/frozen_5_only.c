/* What version 5 has in fastlstm/only.h: see frozen_1.c. */
#include <fastlstm/only.h>

extern const fastlstm_kernels *const named[];
const fastlstm_kernels *const named[] = {
    &fastlstm_portable_float32, &fastlstm_portable_float64, &fastlstm_base_float32,   &fastlstm_base_float64,
    &fastlstm_avx2_float32,     &fastlstm_avx2_float64,     &fastlstm_avx512_float32, &fastlstm_avx512_float64,
    &fastlstm_neon_float32,     &fastlstm_neon_float64,
};
const fastlstm_kernels *const fastlstm_linked[] = {&fastlstm_portable_float32, NULL};
