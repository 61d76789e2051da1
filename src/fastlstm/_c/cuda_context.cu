#include "cuda_context.h"

#include <stdio.h>

static thread_local struct {
    cudaStream_t stream;
    int device, device_before;
    char message[256]; /* empty without an error */
} context;

void fl_cuda_begin(int device, void *stream) {
    context.stream = (cudaStream_t)stream;
    context.device = device;
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

cudaStream_t fl_cuda_stream(void) { return context.stream; }
int fl_cuda_device(void) { return context.device; }
int fl_cuda_failed(void) { return context.message[0] != 0; }

void fl_cuda_fail(const char *what) {
    if (!context.message[0]) snprintf(context.message, sizeof(context.message), "%s", what);
}

void fl_cuda_check(cudaError_t error) {
    if (error != cudaSuccess) fl_cuda_fail(cudaGetErrorString(error));
}
