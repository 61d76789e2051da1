/* A small pool of threads for parallel loops of a few microseconds. */
#ifndef FL_POOL_H
#define FL_POOL_H

#define FL_MAX_THREADS 256

typedef void (*fl_task)(void *argument, int part, int parts);

/* Runs task(argument, part, parts) for every part in [0, parts), parts <= FL_MAX_THREADS, and returns when all are done.
 * No more threads run them than the caller may use processors. The calling thread takes part 0 and whatever no worker has
 * started. The parts must not wait for each other: while another thread uses the pool, or where no worker can be had, the
 * caller runs them all. May be called from any thread,
 * and in a child process after fork. */
void fl_parallel(fl_task task, void *argument, int parts);

#endif
