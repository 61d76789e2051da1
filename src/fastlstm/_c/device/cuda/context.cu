#include "device/cuda/context.h"

#include <mutex>
#include <stdio.h>
#include <string.h>
#include <vector>

static thread_local struct {
    cudaStream_t stream;
    int device, device_before;
    fl_algorithm asked;
    int tf32;
    int used[FL_CLUSTER + 1];
    char message[256]; /* empty without an error */
} context;

static std::mutex lock;
static std::vector<fl_cuda_belongings> idle; /* belongings of streams on which no thread works */
static thread_local fl_cuda_belongings own = {-1, 0, NULL, NULL, NULL, NULL};

void fl_cuda_begin(int device, void *stream, fl_algorithm asked, int tf32) {
    context.stream = (cudaStream_t)stream;
    context.device = device;
    context.asked = asked;
    context.tf32 = tf32;
    memset(context.used, 0, sizeof(context.used));
    context.message[0] = 0;
    (void)cudaGetLastError(); /* forget an error of other code */
    fl_cuda_check(cudaGetDevice(&context.device_before));
    if (device != context.device_before) fl_cuda_check(cudaSetDevice(device));
}

const char *fl_cuda_end(void) {
    fl_cuda_belongings oldest;
    oldest.device = -1;
    if (own.device >= 0) {
        const std::lock_guard<std::mutex> locked(lock);
        idle.push_back(own);
        if (idle.size() > FL_IDLE_STREAMS && fl_cuda_captured() == 0) {
            oldest = idle.front();
            idle.erase(idle.begin());
        }
    }
    own.device = -1;
    if (oldest.device >= 0) fl_cuda_destroy(&oldest);
    if (context.device != context.device_before) (void)cudaSetDevice(context.device_before);
    return context.message[0] ? context.message : NULL;
}

fl_cuda_belongings *fl_cuda_own(void) {
    unsigned long long id = 0;
    if (own.device >= 0) return &own;
    fl_cuda_check(cudaStreamGetId(context.stream, &id));
    own = fl_cuda_belongings{context.device, id, NULL, NULL, NULL, NULL};
    const std::lock_guard<std::mutex> locked(lock);
    for (size_t k = 0; k < idle.size(); k++)
        if (idle[k].device == own.device && idle[k].stream == own.stream) {
            own = idle[k];
            idle.erase(idle.begin() + (ptrdiff_t)k);
            break;
        }
    return &own;
}

void fl_cuda_destroy(fl_cuda_belongings *belongings) {
    int before = 0;
    (void)cudaGetDevice(&before);
    (void)cudaSetDevice(belongings->device);
    fl_cuda_destroy_graphs(belongings);
    fl_cuda_destroy_blas(belongings);
    (void)cudaFree(belongings->workspace);
    (void)cudaFree(belongings->flags); /* cudaFree waits for the device */
    (void)cudaSetDevice(before);
    (void)cudaGetLastError();
}

int fl_cuda_captured(void) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    if (cudaStreamIsCapturing(context.stream, &status) != cudaSuccess) {
        (void)cudaGetLastError();
        return -1;
    }
    return status != cudaStreamCaptureStatusNone;
}

void *fl_cuda_allocate(size_t bytes) {
    void *memory = NULL;
    cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
    fl_cuda_check(cudaThreadExchangeStreamCaptureMode(&mode));
    fl_cuda_check(cudaMalloc(&memory, bytes));
    fl_cuda_check(cudaThreadExchangeStreamCaptureMode(&mode));
    return fl_cuda_failed() ? NULL : memory;
}

uint32_t *fl_cuda_flags(size_t count) {
    enum { MOST = 1 << 12 };
    fl_cuda_belongings *belongings = fl_cuda_own();
    /* A graph that the caller records may run at any time, beside other work of this stream: it gets flags of its own.
     */
    if (fl_cuda_captured()) return (uint32_t *)fl_cuda_allocate(count * sizeof(uint32_t));
    if (count > MOST) fl_cuda_fail("a kernel of too many blocks");
    if (!belongings->flags) belongings->flags = (uint32_t *)fl_cuda_allocate(MOST * sizeof(uint32_t));
    return belongings->flags;
}

int fl_cuda_used(fl_algorithm algorithm) { return context.used[algorithm]; }
fl_algorithm fl_cuda_algorithm(void) { return context.asked; }
int fl_cuda_tf32(void) { return context.tf32; }
void fl_cuda_count(fl_algorithm used) { context.used[used]++; }

cudaStream_t fl_cuda_stream(void) { return context.stream; }
void fl_cuda_set_stream(cudaStream_t stream) { context.stream = stream; }
int fl_cuda_failed(void) { return context.message[0] != 0; }

void fl_cuda_fail(const char *what) {
    if (!context.message[0]) snprintf(context.message, sizeof(context.message), "%s", what);
}

void fl_cuda_forgive(void) {
    context.message[0] = 0;
    (void)cudaGetLastError();
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
    const fl_cuda_limits limits = {blocks, bytes, major >= FIRST_WITH_CLUSTERS ? PORTABLE_CLUSTER : 0, major};
    return limits;
}
