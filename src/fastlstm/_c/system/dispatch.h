/* The instruction sets of this build and this machine, and their kernels. */
#ifndef FL_DISPATCH_H
#define FL_DISPATCH_H

#include "device/backend.h"
#include "fastlstm/only.h"

/* The number of each instruction set of targets.def, slowest first, and the count of them. */
enum {
#define TARGET(name, processor, gcc, msvc, detection) FL_ISA_##name,
#include "targets.def"
#undef TARGET
    FL_ISA_COUNT
};

#if defined(__x86_64__) || defined(_M_X64)
#define FL_X86 1
#elif defined(__aarch64__) || defined(_M_ARM64)
#define FL_ARM 1
#endif

/* FL_IF_ and the processor of a line of targets.def: `there` where that line is compiled, else `missing`. */
#define FL_IF_ANY(there, missing) there
#if FL_X86
#define FL_IF_X86(there, missing) there
#else
#define FL_IF_X86(there, missing) missing
#endif
#if FL_ARM
#define FL_IF_ARM(there, missing) there
#else
#define FL_IF_ARM(there, missing) missing
#endif
#ifdef FL_EMULATED
#define FL_IF_EMULATED(there, missing) there
#else
#define FL_IF_EMULATED(there, missing) missing
#endif

/* The kernels of an instruction set for values of so many bytes, as fastlstm_linked lists them. */
struct fastlstm_kernels {
    int isa, bytes;
    const fl_kernels *table;
};

/* Return the name of an instruction set. */
const char *fl_isa_name(int isa);
/* Return whether this machine runs an instruction set. */
int fl_isa_available(int isa);
/* Return an instruction set's kernels for values of 4 or 8 bytes; NULL where they are not linked. */
const fl_kernels *fl_isa_kernels(int isa, int bytes);
/* Return the emulated device, for tests; NULL where it is not compiled in. */
const fl_backend *fl_emulated_backend(void);

#endif
