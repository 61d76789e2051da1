/* The pool of threads without Python: many callers at once, different numbers of parts, calls within calls, calls that
 * are stopped, forks. tools/check-threads compiles and runs it, also with ThreadSanitizer. What a task reads and writes
 * is plain memory: the pool alone puts it in order. -DFORKS=0 is for a system, or a sanitizer, that cannot fork;
 * -DFL_PROCESSORS=n, for the pool too, has it believe in n processors. */
#define _POSIX_C_SOURCE 200809L /* nanosleep, fork */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifndef FORKS
#define FORKS 20
#endif
#if FORKS
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "system/pool.h"

enum { CALLERS = 5, MOST_PARTS = 9, ROUNDS = 2000, ROUNDS_OF_A_CHILD = 100 };

typedef struct {
    pthread_t caller;
    long first; /* what the caller wrote for the parts */
    long found[MOST_PARTS];
    int elsewhere[MOST_PARTS]; /* did another thread run this part? */
    int running;               /* parts at this moment; most is of any: without order, which is the pool's */
    int most;
} job;

static void small(void *argument, int part, int parts) {
    job *j = argument;
    const int running = __atomic_add_fetch(&j->running, 1, __ATOMIC_RELAXED);
    int most = __atomic_load_n(&j->most, __ATOMIC_RELAXED);
    while (running > most &&
           !__atomic_compare_exchange_n(&j->most, &most, running, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    j->found[part] = j->first + part * parts;
    j->elsewhere[part] = !pthread_equal(pthread_self(), j->caller);
    __atomic_fetch_sub(&j->running, 1, __ATOMIC_RELAXED);
}

static void with_another_inside(void *argument, int part, int parts) {
    job inner = {.caller = pthread_self(), .first = part};
    fl_parallel(small, &inner, parts);
    small(argument, part, parts);
    for (int k = 0; k < parts; k++)
        if (inner.found[k] != part + k * parts) ((job *)argument)->found[part] = -1;
}

/* A call that asks twice before it stops, and whose tasks would not end without that. */
typedef struct {
    fl_call call;
    pthread_t caller;
    int asked, elsewhere;
    long looks[MOST_PARTS];
} stopped_call;

static int ask(fl_call *call) {
    stopped_call *own = call->own;
    own->elsewhere += !pthread_equal(pthread_self(), own->caller);
    call->next = fl_ticks();
    return ++own->asked == 2;
}

static void endless(void *argument, int part, int parts) {
    stopped_call *own = argument;
    (void)parts;
    do own->looks[part]++;
    while (!fl_stopped());
}

static int wrong_stops(int parts) {
    stopped_call own = {.call = {.ask = ask, .own = &own}, .caller = pthread_self()};
    job after = {.caller = pthread_self(), .first = 1};
    long looks = 0;
    fl_begin_call(&own.call);
    fl_parallel(endless, &own, parts);
    fl_parallel(small, &after, parts); /* nothing */
    fl_end_call();
    for (int k = 0; k < parts; k++) looks += own.looks[k] + after.found[k];
    return !own.call.stopped || own.asked != 2 || own.elsewhere || !looks || after.most || fl_stopped();
}

static void rest(void) { /* long enough for the workers to fall asleep */
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

typedef struct {
    long seed, rounds, wrong, elsewhere;
    int most;
} caller;

static void *call(void *argument) {
    caller *own = argument;
    for (long round = 0; round < own->rounds; round++) {
        const int parts = 1 + (int)((round + own->seed) % MOST_PARTS);
        job j = {.caller = pthread_self(), .first = own->seed * ROUNDS + round};
        fl_parallel(round % 7 ? small : with_another_inside, &j, parts);
        for (int k = 0; k < parts; k++) {
            own->wrong += j.found[k] != j.first + k * parts;
            own->elsewhere += j.elsewhere[k];
        }
        if (round % 200 == 50) own->wrong += wrong_stops(parts);
        if (j.most > own->most) own->most = j.most;
        if (round % 100 == 0) rest();
    }
    return NULL;
}

#if !FORKS
static int wrong_children(int generations) {
    (void)generations;
    return 0;
}
#else
/* A child has none of its parent's workers; it starts its own, and its child again. */
static int wrong_children(int generations) {
    int status;
    if (!generations) return 0;
    const pid_t child = fork();
    if (child < 0) return 1;
    if (!child) {
        caller own = {.seed = generations, .rounds = ROUNDS_OF_A_CHILD};
        call(&own);
        _exit(own.wrong || wrong_children(generations - 1));
    }
    return waitpid(child, &status, 0) != child || status != 0;
}
#endif

int main(void) {
    pthread_t threads[CALLERS];
    caller callers[CALLERS];
    long wrong = 0, elsewhere = 0;
    int children = 0, most = 0;
    for (int k = 0; k < CALLERS; k++) {
        callers[k] = (caller){.seed = k, .rounds = ROUNDS};
        if (pthread_create(&threads[k], NULL, call, &callers[k])) return 1;
    }
    for (int k = 0; k < FORKS; k++) children += wrong_children(2); /* while the callers work, and when they are done */
    for (int k = 0; k < CALLERS; k++) {
        pthread_join(threads[k], NULL);
        wrong += callers[k].wrong, elsewhere += callers[k].elsewhere;
        if (callers[k].most > most) most = callers[k].most;
    }
    printf("%d callers, %d rounds each: %ld parts wrong, %ld by workers, %d at once; %d of %d forks wrong\n", CALLERS,
           ROUNDS, wrong, elsewhere, most, children, FORKS);
#if defined(FL_PROCESSORS)
    if (most > FL_PROCESSORS || (FL_PROCESSORS == 1 && elsewhere)) return 1;
    if (FL_PROCESSORS == 1) return wrong || children;
#endif
    return wrong || children || !elsewhere; /* without workers nothing would have been tried */
}
