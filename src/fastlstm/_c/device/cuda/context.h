/* What a thread works with on a CUDA device: the stream and what belongs to it, the first error, products by
 * cuBLAS, graphs. */
#ifndef FL_CUDA_CONTEXT_H
#define FL_CUDA_CONTEXT_H

#include <cuda_runtime.h>

#include "device/backend.h"

/* As an fl_backend has them. The device that was current before is again after the end. */
void fl_cuda_begin(int device, void *stream, fl_algorithm, int tf32);
const char *fl_cuda_end(void);
int fl_cuda_used(fl_algorithm);

cudaStream_t fl_cuda_stream(void);
void fl_cuda_set_stream(cudaStream_t); /* while a graph is recorded */
int fl_cuda_failed(void);              /* after an error nothing more is started */
void fl_cuda_fail(const char *what);
void fl_cuda_check(cudaError_t error);
void fl_cuda_forgive(void); /* an error that has been made good */

fl_algorithm fl_cuda_algorithm(void); /* that was asked for, */
int fl_cuda_tf32(void);               /* likewise */
void fl_cuda_count(fl_algorithm used);

/* What one kernel may have of the device: blocks at the same time, one on each multiprocessor, their own memory,
 * and the blocks of a cluster, 0 where there are none. */
typedef struct {
    fl_size blocks, bytes, cluster;
    int major; /* compute capability */
} fl_cuda_limits;
fl_cuda_limits fl_cuda_limits_of_device(void);

/* ---- what belongs to one stream, and to one thread at a time ---- */

struct fl_cuda_belongings {
    int device;
    unsigned long long
        stream; /* its number: an address may be of one stream after another, or of one for each thread */
    /* Each of these only where it was needed: */
    struct cublasContext *blas;
    void *workspace; /* for cuBLAS: its own would make results depend on what else is on the device */
    uint32_t *flags; /* for blocks to say how far they are */
    struct fl_cuda_graphs *graphs;
};

fl_cuda_belongings *fl_cuda_own(void);

/* Ends what belongs to a stream that is no more used. */
void fl_cuda_destroy(fl_cuda_belongings *);
void fl_cuda_destroy_blas(fl_cuda_belongings *);
void fl_cuda_destroy_graphs(fl_cuda_belongings *);

/* Whether the caller records a graph of its own on the stream; -1 where that cannot be told. */
int fl_cuda_captured(void);
/* Memory of the device, also while a graph is recorded; NULL after an error. */
void *fl_cuda_allocate(size_t bytes);

/* So many numbers on the device. */
uint32_t *fl_cuda_flags(size_t count);

/* C = op(A) op(B) + (add ? C : 0) for row-major matrices, a row every so many values; C is (m, n), with `sums` of
 * 32 bits. */
void fl_cuda_gemm(fl_precision, int transpose_a, int transpose_b, fl_size m, fl_size n, fl_size k, const void *a,
                  fl_size lda, const void *b, fl_size ldb, int add, int sums, void *c, fl_size ldc);

/* ---- work that is repeated with the same arguments: `key` is all of them ---- */

/* Whether it was recorded as a graph, which then is started. */
int fl_cuda_replay(const void *key, size_t bytes);
/* Whether what follows, until the end, is recorded: where it comes for the second time. */
int fl_cuda_begin_record(const void *key, size_t bytes);
/* Starts what was recorded; 0 where it could not be recorded, and nothing was done. */
int fl_cuda_end_record(const void *key, size_t bytes);

#endif
