/* What a library of device kernels offers: its tables, and where a thread's work goes. Such a library is a module
 * of its own, which hands an fl_backend over in a capsule. */
#ifndef FL_BACKEND_H
#define FL_BACKEND_H

#include "kernels.h"

#define FL_BACKEND_CAPSULE "fastlstm.backend"

/* How a device runs many steps: one by one, a product and a kernel each; in one kernel whose blocks keep R on the
 * chip, all of them together or in clusters. Where a call cannot be run as asked for, it runs step by step. */
typedef enum { FL_AUTO, FL_STEPS, FL_RESIDENT, FL_CLUSTER } fl_algorithm;

/* What arrays hold: cells and sums are of 32 bits for the last two. */
typedef enum { FL_IN_FLOAT32, FL_IN_FLOAT64, FL_IN_BFLOAT16, FL_IN_FLOAT16, FL_PRECISIONS } fl_precision;

typedef struct {
    size_t table_bytes; /* sizeof(fl_kernels): another one is of another version */
    const char *name;
    const fl_kernels *kernels[FL_PRECISIONS];
    const char *(*unavailable)(void);         /* why no device can be used; NULL where one can */
    void (*describe)(char *to, size_t bytes); /* the devices, in words */
    /* Of this thread, from here on: work goes to this stream of this device, */
    void (*begin)(int device, void *stream, fl_algorithm, int tf32); /* float32 products in TF32 */
    const char *(*end)(void);  /* until here. The first error in between, in words; NULL where there was none */
    int (*used)(fl_algorithm); /* in between, how many kernels or programs ran so */
} fl_backend;

#endif
