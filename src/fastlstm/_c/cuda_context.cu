#include "cuda_context.h"

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
static std::vector<fl_cuda_belongings> idle; /* of streams that no thread is at work on */
static thread_local fl_cuda_belongings own = {-1, NULL, NULL, NULL, NULL, NULL};

void fl_cuda_begin(int device, void *stream, fl_algorithm asked, int tf32) {
    context.stream = (cudaStream_t)stream;
    context.device = device;
    context.asked = asked;
    context.tf32 = tf32;
    memset(context.used, 0, sizeof(context.used));
    context.message[0] = 0;
    (void)cudaGetLastError(); /* someone else's */
    fl_cuda_check(cudaGetDevice(&context.device_before));
    if (device != context.device_before) fl_cuda_check(cudaSetDevice(device));
}

const char *fl_cuda_end(void) {
    if (own.device >= 0) {
        const std::lock_guard<std::mutex> locked(lock);
        idle.push_back(own);
    }
    own.device = -1;
    if (context.device != context.device_before) (void)cudaSetDevice(context.device_before);
    return context.message[0] ? context.message : NULL;
}

fl_cuda_belongings *fl_cuda_own(void) {
    if (own.device >= 0) return &own;
    own = fl_cuda_belongings{context.device, context.stream, NULL, NULL, NULL, NULL};
    const std::lock_guard<std::mutex> locked(lock);
    for (size_t k = 0; k < idle.size(); k++)
        if (idle[k].device == own.device && idle[k].stream == own.stream) {
            own = idle[k];
            idle.erase(idle.begin() + (ptrdiff_t)k);
            break;
        }
    return &own;
}

uint32_t *fl_cuda_flags(size_t count) {
    enum { MOST = 1 << 12 };
    fl_cuda_belongings *belongings = fl_cuda_own();
    if (count > MOST) fl_cuda_fail("a kernel of too many blocks");
    if (!belongings->flags) fl_cuda_check(cudaMalloc(&belongings->flags, MOST * sizeof(uint32_t)));
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
