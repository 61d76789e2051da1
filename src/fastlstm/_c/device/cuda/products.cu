/* Matrix products by cuBLAS, which is loaded when it is first needed, from the process or the system: the build needs
 * no headers of it, and CuPy's or PyTorch's copy will do. The few declarations here follow its reference. */
#include "device/cuda/context.h"

#include <dlfcn.h>
#include <limits.h>
#include <mutex>
#include <stdio.h>

typedef struct cublasContext *handle;
enum { OP_N = 0, OP_T = 1 };
enum { REAL_32 = 0, REAL_64 = 1, REAL_16 = 2, REAL_B16 = 14 }; /* cudaDataType */
enum { COMPUTE_32 = 68, COMPUTE_64 = 70, COMPUTE_TF32 = 77 };  /* cublasComputeType_t; the first two are IEEE's */
enum { DEFAULT_ALGORITHM = -1 };

static struct {
    int (*create)(handle *);
    int (*destroy)(handle);
    int (*set_stream)(handle, cudaStream_t);
    int (*set_workspace)(handle, void *, size_t);
    int (*gemm)(handle, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a, int a_type, int lda,
                const void *b, int b_type, int ldb, const void *beta, void *c, int c_type, int ldc, int compute,
                int algorithm);
} cublas;

static void *open_cublas(void) {
    static const char *const names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so"};
    for (const int flags : {RTLD_NOW | RTLD_NOLOAD, RTLD_NOW}) /* prefer one that the process has loaded */
        for (const char *name : names)
            if (void *library = dlopen(name, flags)) return library;
    return NULL;
}

/* Load cuBLAS; return whether it was found. A search that failed is repeated, since the process may have loaded it
 * since. */
static bool load_cublas(void) {
    static std::mutex lock;
    static bool found = false;
    const std::lock_guard<std::mutex> locked(lock);
    if (found) return true;
    void *library = open_cublas();
    if (!library) return false;
    *(void **)&cublas.create = dlsym(library, "cublasCreate_v2");
    *(void **)&cublas.destroy = dlsym(library, "cublasDestroy_v2");
    *(void **)&cublas.set_stream = dlsym(library, "cublasSetStream_v2");
    *(void **)&cublas.set_workspace = dlsym(library, "cublasSetWorkspace_v2");
    *(void **)&cublas.gemm = dlsym(library, "cublasGemmEx");
    return found = cublas.create && cublas.destroy && cublas.set_stream && cublas.set_workspace && cublas.gemm;
}

/* Return the cuBLAS handle of this thread's stream, ready for use; NULL after an error. */
static handle take_handle(void) {
    fl_cuda_belongings *own = fl_cuda_own();
    if (!load_cublas()) {
        fl_cuda_fail("cuBLAS was not found: install nvidia-cublas, or import CuPy or PyTorch first");
        return NULL;
    }
    if (!own->workspace) own->workspace = fl_cuda_allocate(FL_CUBLAS_WORKSPACE);
    if (!own->workspace) return NULL;
    if (!own->blas) {
        cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed; /* allows this while a graph is recorded */
        fl_cuda_check(cudaThreadExchangeStreamCaptureMode(&mode));
        if (cublas.create(&own->blas)) own->blas = NULL;
        fl_cuda_check(cudaThreadExchangeStreamCaptureMode(&mode));
    }
    /* Setting the stream resets the workspace. */
    if (own->blas && cublas.set_stream(own->blas, fl_cuda_stream()) == 0 &&
        cublas.set_workspace(own->blas, own->workspace, FL_CUBLAS_WORKSPACE) == 0)
        return own->blas;
    (void)cudaGetLastError();
    fl_cuda_fail("cuBLAS could not be started: is the device's memory full?");
    return NULL;
}

void fl_cuda_destroy_blas(fl_cuda_belongings *belongings) {
    if (belongings->blas) (void)cublas.destroy(belongings->blas);
}

/* cuBLAS is column-major and sees each matrix transposed: it computes C^T = op(B)^T op(A)^T. */
void fl_cuda_gemm(fl_precision precision, int transpose_a, int transpose_b, fl_size m, fl_size n, fl_size k,
                  const void *a, fl_size lda, const void *b, fl_size ldb, int add, int sums, void *c, fl_size ldc) {
    static const int types[FL_PRECISIONS] = {REAL_32, REAL_64, REAL_B16, REAL_16};
    const float one_32 = 1, beta_32 = add ? 1 : 0;
    const double one_64 = 1, beta_64 = add ? 1 : 0;
    const bool wide = precision == FL_IN_FLOAT64;
    const int type = types[precision], c_type = sums && !wide ? REAL_32 : type;
    const int compute = wide ? COMPUTE_64 : precision == FL_IN_FLOAT32 && fl_cuda_tf32() ? COMPUTE_TF32 : COMPUTE_32;
    if (m <= 0 || n <= 0 || fl_cuda_failed()) return;
    if (k <= 0) { /* an empty sum */
        const size_t size = wide ? 8 : c_type == REAL_32 ? 4 : 2;
        if (!add)
            fl_cuda_check(cudaMemset2DAsync(c, (size_t)ldc * size, 0, (size_t)n * size, (size_t)m, fl_cuda_stream()));
        return;
    }
    for (const fl_size size : {m, n, k, lda, ldb, ldc})
        if (size > INT_MAX) {
            fl_cuda_fail("a matrix with more than 2^31 rows or columns");
            return;
        }
    const handle blas = take_handle();
    if (!blas) return;
    const int a_step = lda > 0 ? (int)lda : 1,
              b_step = ldb > 0 ? (int)ldb : 1; /* at least 1, even where cuBLAS reads nothing */
    const int status = cublas.gemm(blas, transpose_b ? OP_T : OP_N, transpose_a ? OP_T : OP_N, (int)n, (int)m, (int)k,
                                   wide ? (const void *)&one_64 : &one_32, b, type, b_step, a, type, a_step,
                                   wide ? (const void *)&beta_64 : &beta_32, c, c_type, (int)ldc, compute,
                                   DEFAULT_ALGORITHM);
    char message[64];
    snprintf(message, sizeof(message), "a product by cuBLAS failed with status %d", status);
    if (status) fl_cuda_fail(message);
}
