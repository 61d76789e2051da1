/* A small pool of threads for parallel loops of a few microseconds. */
#ifndef FL_POOL_H
#define FL_POOL_H

#include "system/float_mode.h"
#include "tuning.h"

#define FL_MAX_THREADS 256

typedef void (*fl_task)(void *argument, int part, int parts);

/* Run task(argument, part, parts) for every part in [0, parts), parts <= FL_MAX_THREADS, and return when all are done.
 * No more threads run them than the caller may use processors. The calling thread takes part 0 and whatever no worker
 * has started. The parts must not wait for each other: while another thread uses the pool, or where no worker can be
 * started, the caller runs them all. Any thread may call this, also in a child process after a fork. */
void fl_parallel(fl_task task, void *argument, int parts);

/* A call that can be stopped: long tasks look at fl_stopped() and return early, and from then on fl_parallel runs
 * nothing. `ask` tells whether to stop; it is called now and then, and only by the thread that began the call. Where no
 * call has begun, as in C programs, nothing is asked and nothing stops. */
typedef struct fl_call fl_call;
struct fl_call {
    int (*ask)(fl_call *call); /* returns whether to stop, and sets `next` */
    void *own;                 /* data of `ask` */
    const void *thread;        /* identifies the thread that began the call */
    long long next;            /* when to ask again, in fl_ticks; 0 before the first look */
    long long stopped;         /* whether to stop; read by all threads that run the call's parts */
    fl_float_mode mode;        /* the caller's floating-point mode, in which `ask` runs */
};

/* Begin and end a call: in between, the calling thread's parts and tasks belong to it, and it must stay where it is. */
void fl_begin_call(fl_call *call);
void fl_end_call(void);
/* Return whether the calling thread is to return from a call's task; ask, where it is time. This is as cheap as reading
 * a clock. */
int fl_stopped(void);
/* Return milliseconds, by a clock that ticks every few of them and costs next to nothing. */
long long fl_ticks(void);

#endif
