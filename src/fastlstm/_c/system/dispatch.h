/* Which instruction sets this build and this machine have, and the kernels of the one in use. */
#ifndef FL_DISPATCH_H
#define FL_DISPATCH_H

#include "device/backend.h"

/* The number of each instruction set of targets.def, slowest first, and how many there are. */
enum {
#define TARGET(name, processor, gcc, msvc, detection) FL_ISA_##name,
#include "targets.def"
#undef TARGET
    FL_ISA_COUNT
};

/* Its name. */
const char *fl_isa_name(int isa);
/* Is it compiled in, and does this machine run it? */
int fl_isa_available(int isa);
/* Its kernels for values of 4 or 8 bytes; NULL where it is not compiled in. */
const fl_kernels *fl_isa_kernels(int isa, int bytes);
/* The processor as a device, for tests; NULL where it is not compiled in. */
const fl_backend *fl_emulated_backend(void);

#endif
