/* Matrix products by cuBLAS, which is taken from the process or the system when it is needed: there are no headers to build
 * with, and CuPy's or PyTorch's own copy will do. The few declarations of it here are as its reference has them. */
#include "cuda_context.h"

#include <dlfcn.h>
#include <limits.h>
#include <mutex>
#include <stdio.h>
#include <vector>

typedef struct cublasContext *cublas_handle;
enum { OP_N = 0, OP_T = 1 };
enum { REAL_32 = 0, REAL_64 = 1 };          /* cudaDataType */
enum { COMPUTE_32 = 68, COMPUTE_64 = 70 };   /* cublasComputeType_t: IEEE arithmetic in float32 and float64 */
enum { DEFAULT_ALGORITHM = -1 };

static struct {
    int (*create)(cublas_handle *);
    int (*set_stream)(cublas_handle, cudaStream_t);
    int (*set_workspace)(cublas_handle, void *, size_t);
    int (*gemm)(cublas_handle, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a, int a_type, int lda,
                const void *b, int b_type, int ldb, const void *beta, void *c, int c_type, int ldc, int compute, int algorithm);
} cublas;

static void *open_cublas(void) {
    static const char *const names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so"};
    for (const int flags : {RTLD_NOW | RTLD_NOLOAD, RTLD_NOW}) /* one that is in the process already, first */
        for (const char *name : names)
            if (void *library = dlopen(name, flags)) return library;
    return NULL;
}

static bool load_cublas(void) {
    static std::once_flag once;
    std::call_once(once, [] {
        void *library = open_cublas();
        if (!library) return;
        *(void **)&cublas.create = dlsym(library, "cublasCreate_v2");
        *(void **)&cublas.set_stream = dlsym(library, "cublasSetStream_v2");
        *(void **)&cublas.set_workspace = dlsym(library, "cublasSetWorkspace_v2");
        *(void **)&cublas.gemm = dlsym(library, "cublasGemmEx");
    });
    return cublas.create && cublas.set_stream && cublas.set_workspace && cublas.gemm;
}

/* What belongs to one stream, and to one thread at a time. The handle has memory of its own to work in, so that results do
 * not depend on what else is on the device, and a graph that records a product records no allocation. */
struct Belongings {
    int device;
    cudaStream_t stream;
    cublas_handle handle; /* each of these only where it was needed */
    uint32_t *flags;
};
static std::mutex lock;
static std::vector<Belongings> idle;
static thread_local Belongings own = {-1, NULL, NULL, NULL};

/* Takes hold of what this stream has. */
static void take_belongings(void) {
    if (own.device >= 0) return;
    own = {fl_cuda_device(), fl_cuda_stream(), NULL, NULL};
    const std::lock_guard<std::mutex> locked(lock);
    for (size_t k = 0; k < idle.size(); k++)
        if (idle[k].device == own.device && idle[k].stream == own.stream) {
            own = idle[k];
            idle.erase(idle.begin() + (ptrdiff_t)k);
            return;
        }
}

void fl_cuda_end_products(void) {
    if (own.handle || own.flags) {
        const std::lock_guard<std::mutex> locked(lock);
        idle.push_back(own);
    }
    own = {-1, NULL, NULL, NULL};
}

uint32_t *fl_cuda_flags(size_t count) {
    enum { MOST = 1 << 12 };
    take_belongings();
    if (count > MOST) fl_cuda_fail("a kernel of too many blocks");
    if (!own.flags) fl_cuda_check(cudaMalloc(&own.flags, MOST * sizeof(uint32_t)));
    return own.flags;
}

static bool create_handle(Belongings *made) {
    enum { WORKSPACE = 32 << 20 };
    void *workspace = NULL;
    cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed; /* so that this may happen while a graph is recorded */
    fl_cuda_check(cudaThreadExchangeStreamCaptureMode(&mode));
    const bool ok = cublas.create(&made->handle) == 0 && cudaMalloc(&workspace, WORKSPACE) == cudaSuccess &&
                    cublas.set_stream(made->handle, made->stream) == 0 &&
                    cublas.set_workspace(made->handle, workspace, WORKSPACE) == 0;
    fl_cuda_check(cudaThreadExchangeStreamCaptureMode(&mode));
    if (!ok) {
        (void)cudaGetLastError();
        fl_cuda_fail("cuBLAS could not be started: is the device's memory full?");
    }
    return ok;
}

static bool take_handle(void) {
    take_belongings();
    if (own.handle) return true;
    if (!load_cublas()) {
        fl_cuda_fail("cuBLAS was not found: install nvidia-cublas, or import CuPy or PyTorch first");
        return false;
    }
    return create_handle(&own);
}

/* cuBLAS counts by columns and sees each matrix transposed: it computes C^T = op(B)^T op(A)^T. */
void fl_cuda_gemm(int bits, int transpose_a, int transpose_b, fl_size m, fl_size n, fl_size k, const void *a, fl_size lda,
                  const void *b, fl_size ldb, int add, void *c, fl_size ldc) {
    const float one_32 = 1, beta_32 = add ? 1 : 0;
    const double one_64 = 1, beta_64 = add ? 1 : 0;
    const bool single = bits == 32;
    const int type = single ? REAL_32 : REAL_64;
    if (m <= 0 || n <= 0 || fl_cuda_failed() || !take_handle()) return;
    for (const fl_size size : {m, n, k, lda, ldb, ldc})
        if (size > INT_MAX) {
            fl_cuda_fail("a matrix with more than 2^31 rows or columns");
            return;
        }
    const int a_step = lda > 0 ? (int)lda : 1, b_step = ldb > 0 ? (int)ldb : 1; /* also of matrices that it does not read */
    const int status =
        cublas.gemm(own.handle, transpose_b ? OP_T : OP_N, transpose_a ? OP_T : OP_N, (int)n, (int)m, (int)k,
                    single ? (const void *)&one_32 : &one_64, b, type, b_step, a, type, a_step,
                    single ? (const void *)&beta_32 : &beta_64, c, type, (int)ldc,
                    single ? COMPUTE_32 : COMPUTE_64, DEFAULT_ALGORITHM);
    char message[64];
    snprintf(message, sizeof(message), "a product by cuBLAS failed with status %d", status);
    if (status) fl_cuda_fail(message);
}
