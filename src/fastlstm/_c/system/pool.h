/* A small pool of threads for parallel loops of a few microseconds. */
#ifndef FL_POOL_H
#define FL_POOL_H

#include "system/float_mode.h"
#include "tuning.h"

#define FL_MAX_THREADS 256

typedef void (*fl_task)(void *argument, int part, int parts);

/* Runs task(argument, part, parts) for every part in [0, parts), parts <= FL_MAX_THREADS, and returns when all are
 * done. No more threads run them than the caller may use processors. The calling thread takes part 0 and whatever
 * no worker has started. The parts must not wait for each other: while another thread uses the pool, or where no
 * worker can be had, the caller runs them all. May be called from any thread, and in a child process after fork. */
void fl_parallel(fl_task task, void *argument, int parts);

/* A call that can be stopped: long tasks look at fl_stopped() and return early, and from then on fl_parallel runs
 * nothing. `ask` tells whether to stop; it is called now and then, by the thread that began the call alone. Without
 * a call that has begun, as in C programs, nothing is asked and nothing stops. */
typedef struct fl_call fl_call;
struct fl_call {
    int (*ask)(fl_call *call); /* sets `next` too */
    void *own;                 /* the asker's */
    const void *thread;
    long long next;     /* when to ask again, in fl_ticks; 0 before anything has looked */
    long long stopped;  /* read by all threads that run its parts */
    fl_float_mode mode; /* the caller's, in which it is asked */
};

/* Between these, the calling thread's parts and tasks belong to the call, which must stay where it is. */
void fl_begin_call(fl_call *call);
void fl_end_call(void);
/* Whether the calling thread is to return from a call's task; asks, where it is time. As cheap as reading a clock. */
int fl_stopped(void);
/* Milliseconds, of a clock that changes every few of them and costs next to nothing. */
long long fl_ticks(void);

#endif
