/* The state of a thread that works on a CUDA device: the stream and what belongs to it, the first error, cuBLAS,
 * graphs. */
#ifndef FL_CUDA_CONTEXT_H
#define FL_CUDA_CONTEXT_H

#include <cuda_runtime.h>

#include "device/backend.h"

/* Implement the functions of an fl_backend. fl_cuda_end makes the device current again that was current before. */
void fl_cuda_begin(int device, void *stream, fl_algorithm, int tf32);
const char *fl_cuda_end(void);
int fl_cuda_used(fl_algorithm);

cudaStream_t fl_cuda_stream(void);
/* Set another stream, while a graph is recorded. */
void fl_cuda_set_stream(cudaStream_t);

/* Return whether there was an error: after the first, nothing more is started. */
int fl_cuda_failed(void);
void fl_cuda_fail(const char *what);
void fl_cuda_check(cudaError_t error);
/* Clear an error from which the caller has recovered. */
void fl_cuda_forgive(void);

/* Return the algorithm that was asked for, and whether float32 products may use TF32. */
fl_algorithm fl_cuda_algorithm(void);
int fl_cuda_tf32(void);
void fl_cuda_count(fl_algorithm used);

/* The limits of one kernel on the device: blocks at the same time, one on each multiprocessor; bytes of shared memory
 * of a block; blocks of a cluster, 0 where there are no clusters. */
typedef struct {
    fl_size blocks, bytes, cluster;
    int major; /* compute capability */
} fl_cuda_limits;
fl_cuda_limits fl_cuda_limits_of_device(void);

/* ---- what belongs to one stream, and to one thread at a time ---- */

struct fl_cuda_belongings {
    int device;
    /* The stream's number, since one address may stand for several streams: one after another, or one per thread. */
    unsigned long long stream;
    /* The rest is NULL until it is needed. */
    struct cublasContext *blas;
    void *workspace; /* cuBLAS's workspace: with its default one, results depend on what else runs on the device */
    uint32_t *flags; /* progress of the blocks of a resident program */
    struct fl_cuda_graphs *graphs;
};

/* Return the belongings of this thread's stream. */
fl_cuda_belongings *fl_cuda_own(void);

/* Destroy the belongings of a stream that is no longer used. */
void fl_cuda_destroy(fl_cuda_belongings *);
void fl_cuda_destroy_blas(fl_cuda_belongings *);
void fl_cuda_destroy_graphs(fl_cuda_belongings *);

/* Return whether the caller records a graph of its own on the stream; -1 where that is unknown. */
int fl_cuda_captured(void);
/* Allocate memory of the device, also while a graph is recorded; return NULL after an error. */
void *fl_cuda_allocate(size_t bytes);

/* Return an array of `count` numbers on the device. */
uint32_t *fl_cuda_flags(size_t count);

/* Compute C = op(A) op(B) + (add ? C : 0) for row-major matrices, whose rows are lda, ldb and ldc values apart; C is
 * (m, n), with `sums` of 32 bits or more. */
void fl_cuda_gemm(fl_precision, int transpose_a, int transpose_b, fl_size m, fl_size n, fl_size k, const void *a,
                  fl_size lda, const void *b, fl_size ldb, int add, int sums, void *c, fl_size ldc);

/* ---- work that is repeated with the same arguments: `key` holds all of them ---- */

/* Start the graph that was recorded for a key; return 0 where there is none. */
int fl_cuda_replay(const void *key, size_t bytes);
/* Begin to record a graph, if the key comes for the second time; return whether work is now recorded, until the end. */
int fl_cuda_begin_record(const void *key, size_t bytes);
/* End the recording and start the graph; return 0 where recording failed and nothing was done. */
int fl_cuda_end_record(const void *key, size_t bytes);

#endif
