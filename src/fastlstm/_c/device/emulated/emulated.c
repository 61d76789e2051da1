/* The processor as a device with its own memory, for tests. The kernels are in emulated.inc. */
#include "device/emulated/emulated.h"

#include <stdio.h>
#include <string.h>

extern const fl_kernels fl_kernels_emulated_32, fl_kernels_emulated_64;
extern const fl_kernels fl_kernels_emulated_bfloat16, fl_kernels_emulated_float16;

static void *const broken = (void *)1; /* a stream whose work always fails */
static FL_THREAD_LOCAL struct {
    void *stream;
    fl_algorithm asked;
    int tf32;
    int used[FL_CLUSTER + 1];
} context;

fl_algorithm fl_emulated_algorithm(void) { return context.asked; }
int fl_emulated_tf32(void) { return context.tf32; }
void fl_emulated_count(fl_algorithm used) { context.used[used]++; }

static const char *unavailable(void) { return NULL; }
static void describe(char *to, size_t bytes) { snprintf(to, bytes, "the processor, emulating a device"); }
static void begin(int device, void *stream, fl_algorithm asked, int tf32) {
    (void)device;
    memset(&context, 0, sizeof(context));
    context.stream = stream;
    context.asked = asked;
    context.tf32 = tf32;
}
static const char *end(void) { return context.stream == broken ? "a device's error, emulated" : NULL; }
static int used(fl_algorithm algorithm) { return context.used[algorithm]; }

const fl_backend fl_emulated = {
    sizeof(fl_kernels),
    "emulated",
    {&fl_kernels_emulated_32, &fl_kernels_emulated_64, &fl_kernels_emulated_bfloat16, &fl_kernels_emulated_float16},
    unavailable,
    describe,
    begin,
    end,
    used,
};
