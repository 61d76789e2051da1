/* One step of an LSTM with one input, batch 1, through the C interface: microseconds, the best of many short runs.
 *
 *   cc -O2 bench/step.c $(python -m fastlstm --cflags --libs) -o step && ./step */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <fastlstm/fastlstm.h>

enum { STEPS = 64, CALLS = 32, RUNS = 100 };

static double now(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* Zeros that begin with a cache line: a vector that crosses one takes longer. */
static void *zeros(size_t bytes) {
    unsigned char *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    for (size_t k = 0; memory && k < bytes; k++) memory[k] = 0;
    return memory;
}

/* The quickest of many runs: what a step takes where nothing disturbs it, alone or in a call for a block of STEPS. */
static double measure(size_t H, fastlstm_dtype dtype, int peephole, int fast, int blocks) {
    const fastlstm_layer lstm = {.kind = FASTLSTM_LSTM, .units = H, .peephole = peephole};
    const fastlstm_network network = {
        .version = FASTLSTM_C_VERSION, .dtype = dtype, .inputs = 1, .layer_count = 1, .layers = &lstm, .fast = fast};
    const size_t bytes = fastlstm_plan_bytes(&network);
    void *memory = zeros(bytes);
    fastlstm_plan *plan;
    fastlstm_status status = fastlstm_make_plan(&network, memory, bytes, &plan);
    const size_t count = fastlstm_parameter_count(plan);
    double *parameters = zeros(count * sizeof(double)), *state = zeros(2 * H * sizeof(double)),
           *y = zeros(STEPS * H * sizeof(double)), *x = zeros(STEPS * sizeof(double));
    for (size_t k = 0; k < count; k++) {
        const double value = 0.4 * rand() / RAND_MAX - 0.2;
        if (dtype == FASTLSTM_FLOAT32)
            ((float *)parameters)[k] = (float)value;
        else
            parameters[k] = value;
    }
    status = status ? status : fastlstm_set_parameters(plan, parameters, count);
    void *workspace = zeros(fastlstm_workspace_bytes(plan, STEPS, 1));
    double best = 1e30;
    for (int run = 0; run < RUNS && !status; run++) {
        const double start = now();
        for (int k = 0; k < CALLS && !status; k++) {
            if (blocks) status = fastlstm_forward(plan, STEPS, 1, x, state, y, state, NULL, workspace);
            for (int t = 0; t < STEPS && !blocks && !status; t++)
                status = fastlstm_step(plan, 1, x, state, y, workspace);
        }
        const double time = (now() - start) / (CALLS * STEPS);
        if (time < best) best = time;
    }
    if (status) {
        fprintf(stderr, "%s\n", fastlstm_message(status));
        exit(1);
    }
    free(memory), free(parameters), free(state), free(y), free(x), free(workspace);
    return best;
}

int main(void) {
    static const size_t sizes[] = {8, 16, 24, 32, 40, 64, 128, 256};
    printf("| H | float32 us | with peepholes | fast | in blocks of %d | fast, in blocks | float64 us |\n", STEPS);
    printf("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
        const size_t H = sizes[k];
        const fastlstm_dtype single = FASTLSTM_FLOAT32;
        printf("| %zu | %.3f | %.3f | %.3f | %.3f | %.3f | %.3f |\n", H, measure(H, single, 0, 0, 0),
               measure(H, single, 1, 0, 0), measure(H, single, 0, 1, 0), measure(H, single, 0, 0, 1),
               measure(H, single, 0, 1, 1), measure(H, FASTLSTM_FLOAT64, 0, 0, 0));
    }
    return 0;
}
