/* The instruction sets of this build and this machine, and their kernels. */
#ifndef FL_DISPATCH_H
#define FL_DISPATCH_H

#include "device/backend.h"

/* The number of each instruction set of targets.def, slowest first, and the count of them. */
enum {
#define TARGET(name, processor, gcc, msvc, detection) FL_ISA_##name,
#include "targets.def"
#undef TARGET
    FL_ISA_COUNT
};

/* Return the name of an instruction set. */
const char *fl_isa_name(int isa);
/* Return whether an instruction set is compiled in and runs on this machine. */
int fl_isa_available(int isa);
/* Return an instruction set's kernels for values of 4 or 8 bytes; NULL where it is not compiled in. */
const fl_kernels *fl_isa_kernels(int isa, int bytes);
/* Return the emulated device, for tests; NULL where it is not compiled in. */
const fl_backend *fl_emulated_backend(void);

#endif
