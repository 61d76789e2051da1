/* Threads that share what they may, for ThreadSanitizer: a plan, in which each runs its own sequences, forward,
 * backward and step by step; a kernel's step, divided by hidden units and by rows. The results are those of one thread,
 * bit for bit. tools/check-threads compiles and runs it, without Python. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fastlstm/fastlstm.h>

#include "system/dispatch.h"
#include "system/pool.h"

enum { THREADS = 6, ROUNDS = 20, T = 9, B = 5, I = 3, O = 2 };

typedef struct {
    const fastlstm_plan *plan;
    float x[T * B * I], y[T * B * O], dx[T * B * I], stepped[B * O];
    float *gradients;
    size_t count;
} job;

static void check(fastlstm_status status) {
    if (status == FASTLSTM_OK) return;
    fprintf(stderr, "%s\n", fastlstm_message(status));
    exit(1);
}

static void *run(void *argument) {
    job *j = argument;
    void *workspace = malloc(fastlstm_workspace_bytes(j->plan, T, B)),
         *tape = malloc(fastlstm_tape_bytes(j->plan, T, B));
    float *state = malloc(fastlstm_state_count(j->plan, B) * sizeof(float));
    for (int round = 0; round < ROUNDS; round++) {
        memset(state, 0, fastlstm_state_count(j->plan, B) * sizeof(float));
        check(fastlstm_forward(j->plan, T, B, j->x, NULL, j->y, state, tape, workspace));
        check(fastlstm_backward(j->plan, T, B, j->x, j->y, tape, j->y, state, j->dx, NULL, j->gradients, 0, workspace));
        check(fastlstm_step(j->plan, B, j->x, state, j->stepped, workspace));
    }
    free(workspace), free(tape), free(state);
    return NULL;
}

static job *make_job(const fastlstm_plan *plan, int seed) {
    job *j = calloc(1, sizeof(job));
    j->plan = plan;
    j->count = fastlstm_parameter_count(plan);
    j->gradients = malloc(j->count * sizeof(float));
    for (int k = 0; k < T * B * I; k++) j->x[k] = (float)((k * 37 + seed * 101) % 19) / 10 - 1;
    return j;
}

/* ---- a step of a kernel ---- */

enum { ROWS = 12, H = 100, PARTS = 3 };

typedef struct {
    const fl_kernels *k;
    fl_forward forward;
    fl_backward backward;
    int by_rows;
} divided;

static void part_of(void *argument, int part, int parts) {
    const divided *d = argument;
    const fl_size blocks = (H + d->k->column_block - 1) / d->k->column_block;
    const fl_size row0 = d->by_rows ? ROWS * part / parts : 0, row1 = d->by_rows ? ROWS * (part + 1) / parts : ROWS;
    fl_size unit0 = 0, unit1 = H;
    if (!d->by_rows) {
        unit0 = blocks * part / parts * d->k->column_block;
        unit1 = part + 1 == parts ? H : blocks * (part + 1) / parts * d->k->column_block;
    }
    d->k->cells[FL_LSTM].forward(&d->forward, row0, row1, unit0, unit1);
    d->k->cells[FL_LSTM].backward(&d->backward, row0, row1, unit0, unit1);
}

static int divided_steps(const fl_kernels *k) {
    static const fl_cell cell = {.kind = FL_LSTM,
                                 .gates = 4,
                                 .i = 0,
                                 .f = 1,
                                 .z = 2,
                                 .o = 3,
                                 .gate = {FL_LOGISTIC},
                                 .g = {FL_TANH},
                                 .h = {FL_TANH},
                                 .plain = 1};
    static float weights[4 * H * H], row[ROWS * H], out[3][2][4 * ROWS * H], gates[3][4 * ROWS * H], c[3][ROWS * H];
    int failed = 0;
    for (int n = 0; n < 4 * H * H; n++) weights[n] = (float)(n % 29) / 100 - 0.14f;
    for (int n = 0; n < ROWS * H; n++) row[n] = (float)(n % 31) / 15 - 1;
    for (int way = 0; way < 3; way++) { /* alone, by units, by rows */
        divided d = {k,
                     {.cell = &cell,
                      .hidden = H,
                      .input = H,
                      .outputs = H,
                      .W = weights,
                      .R = weights,
                      .b = row,
                      .x = row,
                      .y_prev = row,
                      .y_prev_step = H,
                      .c_prev = row,
                      .gates = gates[way],
                      .c = c[way],
                      .y_copy = out[way][0],
                      .y_copy_step = H},
                     {.cell = &cell,
                      .hidden = H,
                      .simple = 1,
                      .gates = gates[way],
                      .c_prev = row,
                      .c = c[way],
                      .delta = out[way][1],
                      .dc = c[way],
                      .y = {.above = row, .above_step = H}},
                     way == 2};
        if (way == 0)
            part_of(&d, 0, 1);
        else
            fl_parallel(part_of, &d, PARTS);
        failed += memcmp(out[way], out[0], sizeof(out[0])) != 0 || memcmp(c[way], c[0], sizeof(c[0])) != 0;
    }
    return failed;
}

int main(void) {
    const fastlstm_layer layers[] = {
        {.kind = FASTLSTM_LSTM, .units = 21, .peephole = 1, .bidirectional = 1},
        {.kind = FASTLSTM_RNN, .units = 18},
        {.kind = FASTLSTM_GRU, .units = 19},
        {.kind = FASTLSTM_GRU_BEFORE, .units = 20},
        {.kind = FASTLSTM_LSTM_NORM, .units = 17, .peephole = 1, .bidirectional = 1},
        {.kind = FASTLSTM_DENSE, .units = O},
    };
    const fastlstm_network network = {.version = FASTLSTM_C_VERSION,
                                      .dtype = FASTLSTM_FLOAT32,
                                      .inputs = I,
                                      .layer_count = sizeof(layers) / sizeof(layers)[0],
                                      .layers = layers,
                                      .training = 1};
    const size_t bytes = fastlstm_plan_bytes(&network);
    fastlstm_plan *plan;
    check(fastlstm_make_plan(&network, malloc(bytes), bytes, &plan));
    const size_t count = fastlstm_parameter_count(plan);
    float *parameters = malloc(count * sizeof(float));
    for (size_t k = 0; k < count; k++) parameters[k] = (float)(k % 23) / 40 - 0.25f;
    check(fastlstm_set_parameters(plan, parameters, count));

    job *together[THREADS];
    pthread_t threads[THREADS];
    for (int k = 0; k < THREADS; k++) {
        together[k] = make_job(plan, k);
        pthread_create(&threads[k], NULL, run, together[k]);
    }
    int failed = 0;
    for (int k = 0; k < THREADS; k++) pthread_join(threads[k], NULL);
    for (int k = 0; k < THREADS; k++) {
        job *alone = make_job(plan, k);
        run(alone);
        failed += memcmp(alone->gradients, together[k]->gradients, count * sizeof(float)) != 0;
        alone->gradients = together[k]->gradients;
        failed += memcmp(alone, together[k], sizeof(job)) != 0;
    }
    const int plans = failed;
    for (int isa = 0; isa < FL_ISA_COUNT; isa++)
        for (int round = 0; round < ROUNDS && fl_isa_kernels(isa, 4) && fl_isa_available(isa); round++)
            failed += divided_steps(fl_isa_kernels(isa, 4));
    printf("%d threads with a plan, %d wrong results; steps divided among threads, %d wrong\n", THREADS, plans,
           failed - plans);
    return failed != 0;
}
