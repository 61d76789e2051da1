/* One step of an LSTM with one input, batch 1, through the C interface: microseconds, the best of many short runs.
 *
 *   cc -O2 bench/step.c $(python -m fastlstm --cflags --libs) -o step && ./step */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <fastlstm/fastlstm.h>

enum { STEPS = 2000, RUNS = 100 };

static double now(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* The quickest of many runs: what the step takes where nothing disturbs it. */
static double measure(size_t H, int peephole, fastlstm_dtype dtype) {
    const fastlstm_layer lstm = {.kind = FASTLSTM_LSTM, .units = H, .peephole = peephole};
    const fastlstm_network network = {
        .version = FASTLSTM_C_VERSION, .dtype = dtype, .inputs = 1, .layer_count = 1, .layers = &lstm};
    const size_t bytes = fastlstm_plan_bytes(&network);
    void *memory = malloc(bytes);
    fastlstm_plan *plan;
    fastlstm_status status = fastlstm_make_plan(&network, memory, bytes, &plan);
    const size_t count = fastlstm_parameter_count(plan);
    double *parameters = calloc(count, sizeof(double)), *state = calloc(2 * H, sizeof(double)),
           *y = calloc(H, sizeof(double));
    for (size_t k = 0; k < count; k++) {
        const double value = 0.4 * rand() / RAND_MAX - 0.2;
        if (dtype == FASTLSTM_FLOAT32)
            ((float *)parameters)[k] = (float)value;
        else
            parameters[k] = value;
    }
    status = status ? status : fastlstm_set_parameters(plan, parameters, count);
    void *workspace = malloc(fastlstm_workspace_bytes(plan, 1, 1));
    const double x = 0.5;
    double best = 1e30;
    for (int run = 0; run < RUNS && !status; run++) {
        const double start = now();
        for (int k = 0; k < STEPS && !status; k++) status = fastlstm_step(plan, 1, &x, state, y, workspace);
        const double time = (now() - start) / STEPS;
        if (time < best) best = time;
    }
    if (status) {
        fprintf(stderr, "%s\n", fastlstm_message(status));
        exit(1);
    }
    free(memory), free(parameters), free(state), free(y), free(workspace);
    return best;
}

int main(void) {
    static const size_t sizes[] = {8, 16, 32, 64, 128, 256};
    printf("| H | float32 us | with peepholes | float64 us |\n");
    printf("| ---: | ---: | ---: | ---: |\n");
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
        const size_t H = sizes[k];
        printf("| %zu | %.3f | %.3f | %.3f |\n", H, measure(H, 0, FASTLSTM_FLOAT32), measure(H, 1, FASTLSTM_FLOAT32),
               measure(H, 0, FASTLSTM_FLOAT64));
    }
    return 0;
}
