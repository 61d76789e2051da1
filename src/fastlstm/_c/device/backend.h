/* The interface of a library of device kernels: its tables, and where a thread's work goes. Such a library is a module
 * of its own, which gives an fl_backend in a capsule. */
#ifndef FL_BACKEND_H
#define FL_BACKEND_H

#include "kernels.h"

#define FL_BACKEND_CAPSULE "fastlstm.backend"

/* How a device runs many steps: one by one, a product and a kernel each; in one kernel whose blocks keep R on the
 * chip, all of them together or in clusters. Where a call cannot be run as asked for, it runs step by step. */
typedef enum { FL_AUTO, FL_STEPS, FL_RESIDENT, FL_CLUSTER } fl_algorithm;

/* The precision of arrays. For the last two, cell states and sums have 32 bits. */
typedef enum { FL_IN_FLOAT32, FL_IN_FLOAT64, FL_IN_BFLOAT16, FL_IN_FLOAT16, FL_PRECISIONS } fl_precision;

typedef struct {
    size_t table_bytes; /* sizeof(fl_kernels): with any other size, the library is of another version */
    const char *name;
    const fl_kernels *kernels[FL_PRECISIONS];
    const char *(*unavailable)(void);         /* why no device can be used; NULL where one can */
    void (*describe)(char *to, size_t bytes); /* the devices, in words */
    /* Send this thread's work to a stream of a device; with tf32, float32 products may use TF32. */
    void (*begin)(int device, void *stream, fl_algorithm, int tf32);
    /* End that; return the first error since `begin`, in words, or NULL where there was none. */
    const char *(*end)(void);
    /* Return how many kernels or programs have used an algorithm since `begin`. */
    int (*used)(fl_algorithm);
} fl_backend;

#endif
