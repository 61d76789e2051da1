/* What a thread works with on a CUDA device: the stream, the first error, products by cuBLAS. */
#ifndef FL_CUDA_CONTEXT_H
#define FL_CUDA_CONTEXT_H

#include <cuda_runtime.h>

#include "backend.h"

/* As an fl_backend has them. The device that was current before is again after the end. */
void fl_cuda_begin(int device, void *stream, fl_algorithm);
const char *fl_cuda_end(void);
int fl_cuda_used(fl_algorithm);

cudaStream_t fl_cuda_stream(void);
int fl_cuda_device(void);
int fl_cuda_failed(void); /* after an error nothing more is started */
void fl_cuda_fail(const char *what);
void fl_cuda_check(cudaError_t error);

fl_algorithm fl_cuda_algorithm(void); /* that was asked for */
void fl_cuda_count(fl_algorithm used);

/* What one kernel may have of the device: blocks at the same time, one on each multiprocessor, their own memory, and the
 * blocks of a cluster, 0 where there are none. */
typedef struct {
    fl_size blocks, bytes, cluster;
} fl_cuda_limits;
fl_cuda_limits fl_cuda_limits_of_device(void);

/* So many numbers on the device, of this stream's own, for blocks to say how far they are. */
uint32_t *fl_cuda_flags(size_t count);

/* C = op(A) op(B) + (add ? C : 0) for row-major matrices of 32 or 64 bits, a row every so many values; C is (m, n). */
void fl_cuda_gemm(int bits, int transpose_a, int transpose_b, fl_size m, fl_size n, fl_size k, const void *a, fl_size lda,
                  const void *b, fl_size ldb, int add, void *c, fl_size ldc);
/* At the end of a thread's work: another thread may have what belongs to the stream. */
void fl_cuda_end_products(void);

#endif
