#include "cuda_context.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>

/* cuBLAS is taken from the process or the system when it is needed: there are no headers to build with, and CuPy's or
 * PyTorch's own copy will do. These are the few of its functions that are used, as its reference describes them. */
typedef struct cublasContext *cublas_handle;
typedef int cublas_status;
typedef cublas_status (*create_function)(cublas_handle *);
typedef cublas_status (*set_stream_function)(cublas_handle, cudaStream_t);
typedef cublas_status (*gemm_function)(cublas_handle, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a,
                                       int lda, const void *b, int ldb, const void *beta, void *c, int ldc);
enum { OP_N = 0, OP_T = 1, MOST_DEVICES = 64 };

static struct {
    create_function create;
    set_stream_function set_stream;
    gemm_function sgemm, dgemm;
} cublas;

static thread_local struct {
    cudaStream_t stream;
    int device;
    char message[256]; /* empty without an error */
    cublas_handle handles[MOST_DEVICES];
} context;

static void fail(const char *what) {
    if (!context.message[0]) snprintf(context.message, sizeof(context.message), "%s", what);
}

void fl_cuda_begin(void *stream) {
    context.stream = (cudaStream_t)stream;
    context.message[0] = 0;
    fl_cuda_check(cudaGetDevice(&context.device));
}

const char *fl_cuda_end(void) { return context.message[0] ? context.message : NULL; }
cudaStream_t fl_cuda_stream(void) { return context.stream; }
int fl_cuda_failed(void) { return context.message[0] != 0; }
void fl_cuda_check(cudaError_t error) {
    if (error != cudaSuccess) fail(cudaGetErrorString(error));
}

static int load_cublas(void) {
    static const char *const names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so"};
    void *library = NULL;
    if (cublas.dgemm) return 1;
    for (size_t k = 0; k < sizeof(names) / sizeof(names[0]) && !library; k++) library = dlopen(names[k], RTLD_NOW | RTLD_GLOBAL);
    if (!library) {
        fail("cuBLAS was not found: install nvidia-cublas, or import CuPy or PyTorch first");
        return 0;
    }
    cublas.create = (create_function)dlsym(library, "cublasCreate_v2");
    cublas.set_stream = (set_stream_function)dlsym(library, "cublasSetStream_v2");
    cublas.sgemm = (gemm_function)dlsym(library, "cublasSgemm_v2");
    cublas.dgemm = (gemm_function)dlsym(library, "cublasDgemm_v2");
    if (cublas.create && cublas.set_stream && cublas.sgemm && cublas.dgemm) return 1;
    fail("cuBLAS lacks a function that is needed");
    cublas.dgemm = NULL;
    return 0;
}

/* cuBLAS counts by columns and sees each matrix transposed: it computes C^T = op(B)^T op(A)^T. */
void fl_cuda_gemm(int bits, int transpose_a, int transpose_b, fl_size m, fl_size n, fl_size k, const void *a, fl_size lda,
                  const void *b, fl_size ldb, int add, void *c, fl_size ldc) {
    const float one_32 = 1, beta_32 = add ? 1 : 0;
    const double one_64 = 1, beta_64 = add ? 1 : 0;
    const fl_size steps[3] = {lda, ldb, ldc};
    if (m <= 0 || n <= 0 || fl_cuda_failed() || !load_cublas()) return;
    for (int i = 0; i < 3; i++)
        if (m > INT_MAX || n > INT_MAX || k > INT_MAX || steps[i] > INT_MAX) {
            fail("a matrix with more than 2^31 rows or columns");
            return;
        }
    cublas_handle *handle = &context.handles[context.device];
    if (!*handle && cublas.create(handle)) {
        fail("cuBLAS could not be started: out of memory?");
        return;
    }
    const int op_a = transpose_a ? OP_T : OP_N, op_b = transpose_b ? OP_T : OP_N;
    const int a_step = lda > 0 ? (int)lda : 1, b_step = ldb > 0 ? (int)ldb : 1;
    if (cublas.set_stream(*handle, context.stream) ||
        (bits == 32 ? cublas.sgemm(*handle, op_b, op_a, (int)n, (int)m, (int)k, &one_32, b, b_step, a, a_step, &beta_32, c, (int)ldc)
                    : cublas.dgemm(*handle, op_b, op_a, (int)n, (int)m, (int)k, &one_64, b, b_step, a, a_step, &beta_64, c,
                                   (int)ldc)))
        fail("a product by cuBLAS failed");
}
