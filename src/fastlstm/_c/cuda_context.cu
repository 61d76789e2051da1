#include "cuda_context.h"

#include <stdio.h>
#include <string.h>

static thread_local struct {
    cudaStream_t stream;
    int device, device_before;
    fl_algorithm asked;
    int used[FL_CLUSTER + 1];
    char message[256]; /* empty without an error */
} context;

void fl_cuda_begin(int device, void *stream, fl_algorithm asked) {
    context.stream = (cudaStream_t)stream;
    context.device = device;
    context.asked = asked;
    memset(context.used, 0, sizeof(context.used));
    context.message[0] = 0;
    (void)cudaGetLastError(); /* someone else's */
    fl_cuda_check(cudaGetDevice(&context.device_before));
    if (device != context.device_before) fl_cuda_check(cudaSetDevice(device));
}

const char *fl_cuda_end(void) {
    fl_cuda_end_products();
    if (context.device != context.device_before) (void)cudaSetDevice(context.device_before);
    return context.message[0] ? context.message : NULL;
}

int fl_cuda_used(fl_algorithm algorithm) { return context.used[algorithm]; }
fl_algorithm fl_cuda_algorithm(void) { return context.asked; }
void fl_cuda_count(fl_algorithm used) { context.used[used]++; }

cudaStream_t fl_cuda_stream(void) { return context.stream; }
int fl_cuda_device(void) { return context.device; }
int fl_cuda_failed(void) { return context.message[0] != 0; }

void fl_cuda_fail(const char *what) {
    if (!context.message[0]) snprintf(context.message, sizeof(context.message), "%s", what);
}

void fl_cuda_check(cudaError_t error) {
    if (error != cudaSuccess) fl_cuda_fail(cudaGetErrorString(error));
}

fl_cuda_limits fl_cuda_limits_of_device(void) {
    enum { PORTABLE_CLUSTER = 8, FIRST_WITH_CLUSTERS = 9 };
    int blocks = 0, bytes = 0, major = 0;
    fl_cuda_check(cudaDeviceGetAttribute(&blocks, cudaDevAttrMultiProcessorCount, context.device));
    fl_cuda_check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, context.device));
    fl_cuda_check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, context.device));
    const fl_cuda_limits limits = {blocks, bytes, major >= FIRST_WITH_CLUSTERS ? PORTABLE_CLUSTER : 0};
    return limits;
}
