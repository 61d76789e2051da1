/* The pool runs one job at a time, divided into as many shares as threads can run at once: of n shares, share k has the
 * parts k, k + n, k + 2n and so on. A job has an epoch; a thread takes share k by changing claims[k] from 2 epoch to
 * 2 epoch + 1. Worker k tries share k only, so that a thread finds the same data in its cache at the next time step. A
 * worker that comes late finds its share taken and goes back to waiting; it never touches the job. */
#if defined(__linux__)
#define _GNU_SOURCE /* sched_getcpu, sched_setaffinity */
#else
#define _POSIX_C_SOURCE 200809L
#define _DARWIN_C_SOURCE /* the number of processors */
#endif
#include "system/pool.h"

#include "system/float_mode.h"

#include <stdint.h>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#endif

/* ---- atomics ---- */
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
typedef volatile long long counter;
static long long load(counter *c) { return _InterlockedCompareExchange64(c, 0, 0); }
static void store(counter *c, long long v) { _InterlockedExchange64(c, v); }
static int change(counter *c, long long from, long long to) {
    return _InterlockedCompareExchange64(c, to, from) == from;
}
static void add(counter *c, long long v) { _InterlockedExchangeAdd64(c, v); }
#else
typedef long long counter;
static long long load(counter *c) { return __atomic_load_n(c, __ATOMIC_SEQ_CST); }
static void store(counter *c, long long v) { __atomic_store_n(c, v, __ATOMIC_SEQ_CST); }
static int change(counter *c, long long from, long long to) {
    return __atomic_compare_exchange_n(c, &from, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static void add(counter *c, long long v) { __atomic_fetch_add(c, v, __ATOMIC_SEQ_CST); }
#endif

static void pause_briefly(void) {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#elif defined(_M_ARM64)
    __yield();
#endif
}

/* ---- locks of Windows and of POSIX systems ---- */
#if defined(_WIN32)
static SRWLOCK lock = SRWLOCK_INIT;
static CONDITION_VARIABLE wake = CONDITION_VARIABLE_INIT;
static void acquire(void) { AcquireSRWLockExclusive(&lock); }
static void release(void) { ReleaseSRWLockExclusive(&lock); }
static void wait_for_wake(void) { SleepConditionVariableSRW(&wake, &lock, INFINITE, 0); }
static void wake_all(void) { WakeAllConditionVariable(&wake); }
static void yield_processor(void) { SwitchToThread(); }
#else
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static void acquire(void) { pthread_mutex_lock(&lock); }
static void release(void) { pthread_mutex_unlock(&lock); }
static void wait_for_wake(void) { pthread_cond_wait(&wake, &lock); }
static void wake_all(void) { pthread_cond_broadcast(&wake); }
static void yield_processor(void) { sched_yield(); }
#endif

/* Return the number of threads that can run at once: the processors that the calling thread may use. */
static int count_processors(void) {
#if defined(FL_PROCESSORS) /* for tests */
    return FL_PROCESSORS;
#elif defined(_WIN32)
    DWORD_PTR own, all;
    int count = 0;
    if (!GetProcessAffinityMask(GetCurrentProcess(), &own, &all)) return FL_MAX_THREADS;
    for (; own; own &= own - 1) count++;
    return count ? count : FL_MAX_THREADS; /* the mask may be empty where the machine has more than 64 processors */
#elif defined(__linux__)
    cpu_set_t allowed;
    return sched_getaffinity(0, sizeof(allowed), &allowed) ? FL_MAX_THREADS : CPU_COUNT(&allowed);
#elif defined(_SC_NPROCESSORS_ONLN)
    const long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 || count > FL_MAX_THREADS ? FL_MAX_THREADS : (int)count;
#else
    return FL_MAX_THREADS;
#endif
}

long long fl_ticks(void) {
#if defined(_WIN32)
    return (long long)GetTickCount64();
#else
#if defined(CLOCK_MONOTONIC_COARSE)
    enum { CLOCK = CLOCK_MONOTONIC_COARSE };
#else
    enum { CLOCK = CLOCK_MONOTONIC };
#endif
    struct timespec now;
    clock_gettime(CLOCK, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
#endif
}

/* A virtual machine's idle processor may look busy to Linux, which then wakes a worker on the caller's own
 * processor and leaves it there for milliseconds. A worker that finds itself there moves away. */
#if defined(__linux__)
static int this_processor(void) { return sched_getcpu(); }
static void leave_processor(int processor) {
    cpu_set_t allowed, others;
    if (processor < 0 || processor != sched_getcpu() || sched_getaffinity(0, sizeof(allowed), &allowed)) return;
    others = allowed;
    CPU_CLR(processor, &others);
    if (CPU_COUNT(&others) && !sched_setaffinity(0, sizeof(others), &others))
        sched_setaffinity(0, sizeof(allowed), &allowed);
}
#else
static int this_processor(void) { return -1; }
static void leave_processor(int processor) { (void)processor; }
#endif

static struct {
    counter busy;   /* 1 while a thread owns the pool */
    int workers;    /* workers started so far; only the owner changes this */
    int processors; /* processors that the owner may use, counted at `looked`, since a program may change them */
    long long looked;
    fl_task task;
    void *argument;
    int parts;
    int threads;   /* shares of the job */
    fl_call *call; /* the call that the job belongs to, or NULL */
    int caller;    /* the processor of the caller that woke the sleeping workers */
    char padding1[64];
    counter epoch;    /* epoch of the latest job */
    counter sleepers; /* workers that wait for `wake` */
    char padding2[64];
    counter pending; /* shares of the job that are not finished, without share 0 */
    char padding3[64];
    counter claims[FL_MAX_THREADS];
} pool;

/* ---- calls that can be stopped ---- */
#if defined(_MSC_VER) && !defined(__clang__)
static __declspec(thread) fl_call *current;
#else
static _Thread_local fl_call *current; /* the call whose task this thread runs, or NULL; its address names the thread */
#endif

static int has_stopped(void) { return current && load(&current->stopped); }

void fl_begin_call(fl_call *call) {
    call->thread = &current;
    call->next = 0;
    call->stopped = 0;
    call->mode = fl_flush_denormals();
    fl_restore_float_mode(call->mode);
    current = call;
}

void fl_end_call(void) { current = NULL; }

int fl_stopped(void) {
    fl_call *call = current;
    if (!call) return 0;
    if (call->thread == &current && !load(&call->stopped)) {
        const long long now = fl_ticks();
        if (!call->next) call->next = now + FL_FIRST_ASKED;
        if (now >= call->next) {
            current = NULL; /* `ask` may make calls of its own, and start threads that inherit the mode */
            const fl_float_mode here = fl_flush_denormals();
            fl_restore_float_mode(call->mode);
            if (call->ask(call)) store(&call->stopped, 1);
            fl_flush_denormals(); /* restoring a mode that flushes leaves the register alone */
            fl_restore_float_mode(here);
            current = call;
        }
    }
    return (int)load(&call->stopped);
}

static void run(fl_task task, void *argument, int share, int shares, int parts) {
    fl_float_mode before = fl_flush_denormals();
    for (int part = share; part < parts && !has_stopped(); part += shares) task(argument, part, parts);
    fl_restore_float_mode(before);
}

/* Wait until the epoch is no longer `seen`; return the new one. */
static long long next_epoch(long long seen) {
    for (int spin = 0; spin < FL_SPINS_BEFORE_SLEEP; spin++) {
        if (load(&pool.epoch) != seen) return load(&pool.epoch);
        pause_briefly();
    }
    acquire();
    add(&pool.sleepers, 1);
    while (load(&pool.epoch) == seen) wait_for_wake();
    add(&pool.sleepers, -1);
    const int caller = pool.caller;
    release();
    leave_processor(caller);
    return load(&pool.epoch);
}

static void work(int share) {
    for (long long epoch = 0;;) {
        epoch = next_epoch(epoch);
        if (change(&pool.claims[share], 2 * epoch, 2 * epoch + 1)) {
            current = pool.call;
            run(pool.task, pool.argument, share, pool.threads, pool.parts);
            current = NULL; /* the call may end as soon as its last share is finished */
            add(&pool.pending, -1);
        }
    }
}

#if defined(_WIN32)
static DWORD WINAPI worker(void *share) {
    work((int)(intptr_t)share);
    return 0;
}
static int start_worker(int share) {
    HANDLE thread = CreateThread(NULL, 0, worker, (void *)(intptr_t)share, 0, NULL);
    if (!thread) return 0;
    CloseHandle(thread);
    return 1;
}
#else
/* Forget the parent's workers in the child of a fork, which has none of them; no thread owns the pool there. A job that
 * another thread of the parent was running is not the child's: none of its shares may be taken. */
static void forget_workers(void) {
    pool.workers = 0;
    store(&pool.pending, 0); /* a call's `ask` may have forked during a job */
    for (int k = 0; k < FL_MAX_THREADS; k++) store(&pool.claims[k], 0);
    store(&pool.busy, 0);
    store(&pool.sleepers, 0);
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&wake, NULL);
}
static void *worker(void *share) {
    work((int)(intptr_t)share);
    return NULL;
}
static int start_worker(int share) {
    static int fork_handled = 0;
    if (!fork_handled) fork_handled = pthread_atfork(NULL, NULL, forget_workers) == 0;
    if (!fork_handled) return 0;
    pthread_t thread;
    sigset_t all, before; /* signals are for the program's own threads */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread, NULL, worker, (void *)(intptr_t)share);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!failed) pthread_detach(thread);
    return !failed;
}
#endif

/* Return the number of threads that run so many parts. */
static int threads_for(int parts) {
    const long long now = fl_ticks();
    if (!pool.processors || now != pool.looked) pool.processors = count_processors();
    pool.looked = now;
    return parts < pool.processors ? parts : pool.processors;
}

static void run_shared(fl_task task, void *argument, int parts, int threads) {
    while (pool.workers < threads - 1 && start_worker(pool.workers + 1)) pool.workers++;

    pool.task = task;
    pool.argument = argument;
    pool.parts = parts;
    pool.threads = threads;
    pool.call = current;
    const long long epoch = load(&pool.epoch) + 1;
    store(&pool.pending, threads - 1);
    for (int k = 1; k < threads; k++) store(&pool.claims[k], 2 * epoch);
    store(&pool.epoch, epoch);
    if (load(&pool.sleepers)) {
        acquire();
        pool.caller = this_processor();
        wake_all();
        release();
        yield_processor(); /* to a worker that was woken on this processor */
    }

    run(task, argument, 0, threads, parts);
    for (int k = 1; k < threads; k++)
        if (change(&pool.claims[k], 2 * epoch, 2 * epoch + 1)) {
            run(task, argument, k, threads, parts);
            add(&pool.pending, -1);
        }
    for (int spin = 0; load(&pool.pending); spin++)
        if (spin < FL_SPINS_BEFORE_YIELD) {
            pause_briefly();
        } else {
            fl_stopped();
            yield_processor();
        }
}

void fl_parallel(fl_task task, void *argument, int parts) {
    if (parts > 1 && !has_stopped() && change(&pool.busy, 0, 1)) {
        const int threads = threads_for(parts);
        if (threads > 1)
            run_shared(task, argument, parts, threads);
        else
            run(task, argument, 0, 1, parts);
        store(&pool.busy, 0);
    } else {
        run(task, argument, 0, 1, parts);
    }
}
