/* All kernels that this library has, for programs that do not say which they want. Nothing else is in this file: a
 * linker that needs nothing of it leaves it out, and with it the kernels that only this file names. */
#include "system/dispatch.h"

#define PRECISIONS(name) &fastlstm_##name##_float32, &fastlstm_##name##_float64,
#define NOTHING

#ifdef FL_EMULATED
extern const fastlstm_kernels fastlstm_emulated_float32, fastlstm_emulated_float64;
#endif

const fastlstm_kernels *const fastlstm_linked[] = {
#define TARGET(name, processor, gcc, msvc, detection) FL_IF_##processor(PRECISIONS(name), NOTHING)
#include "targets.def"
#undef TARGET
    NULL};
