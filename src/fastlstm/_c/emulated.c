/* The processor as a device whose memory is its own, for tests. The kernels are in emulated.inc. */
#include "backend.h"

#include <stdio.h>

extern const fl_kernels fl_kernels_emulated_32, fl_kernels_emulated_64;

static void *const broken = (void *)1; /* a stream whose work always fails */
#if defined(_MSC_VER)
static __declspec(thread) void *stream;
#else
static _Thread_local void *stream;
#endif

static const char *unavailable(void) { return NULL; }
static void describe(char *to, size_t bytes) { snprintf(to, bytes, "the processor, emulating a device"); }
static void begin(int device, void *own) {
    (void)device;
    stream = own;
}
static const char *end(void) { return stream == broken ? "a device's error, emulated" : NULL; }

const fl_backend fl_emulated = {
    sizeof(fl_kernels), "emulated", &fl_kernels_emulated_32, &fl_kernels_emulated_64, unavailable, describe, begin, end,
};
