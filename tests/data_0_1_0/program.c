/* A program as a user of 0.1.0 wrote it: layers in arrays of its own, memory of its own, the header beside it.
 *
 * It prints the values of a step, a forward and a backward pass, a line for each array: its name, then numbers. */
#include <stdio.h>
#include <stdlib.h>

#include <fastlstm/fastlstm.h>

enum { T = 4, B = 2, INPUTS = 3, MOST = 1024 };

/* Layers one after the other: a library that took them to be larger or smaller would read one of them wrong. */
static const fastlstm_layer stack[] = {
    {.kind = FASTLSTM_LSTM, .units = 3, .bidirectional = 1, .peephole = 1},
    {.kind = FASTLSTM_LSTM, .units = 4, .variant = FASTLSTM_CIFG, .gate = FASTLSTM_HARD_LOGISTIC,
     .g = FASTLSTM_LOGISTIC, .h = FASTLSTM_IDENTITY, .clip = 0.5, .cell_clip = 0.75},
    {.kind = FASTLSTM_RNN, .units = 3, .bidirectional = 1, .g = FASTLSTM_RELU},
    {.kind = FASTLSTM_LSTM, .units = 2, .peephole = 1, .variant = FASTLSTM_NOG},
    {.kind = FASTLSTM_DENSE, .units = 2, .g = FASTLSTM_TANH},
};
static const fastlstm_layer chain[] = {
    {.kind = FASTLSTM_DENSE, .units = 3},
    {.kind = FASTLSTM_LSTM, .units = 5, .peephole = 1, .variant = FASTLSTM_NIAF},
    {.kind = FASTLSTM_RNN, .units = 4},
};

/* Numbers between -0.5 and 0.5. */
static void fill(void *to, fastlstm_dtype dtype, size_t count, size_t start) {
    for (size_t k = 0; k < count; k++) {
        const double value = (double)((start + k) * 7919 % 1009) / 1009 - 0.5;
        if (dtype == FASTLSTM_FLOAT32)
            ((float *)to)[k] = (float)value;
        else
            ((double *)to)[k] = value;
    }
}

static void print(const char *network, const char *name, const void *from, fastlstm_dtype dtype, size_t count) {
    printf("%s.float%d.%s", network, 8 * (int)dtype, name);
    for (size_t k = 0; k < count; k++)
        printf(" %.17g", dtype == FASTLSTM_FLOAT32 ? (double)((const float *)from)[k] : ((const double *)from)[k]);
    printf("\n");
}

static void check(fastlstm_status status) {
    if (status) {
        fprintf(stderr, "%s\n", fastlstm_message(status));
        exit(1);
    }
}

static void run(const char *name, const fastlstm_layer *layers, size_t count, fastlstm_dtype dtype) {
    const fastlstm_network network = {
        .version = FASTLSTM_C_VERSION, .dtype = dtype, .inputs = INPUTS, .layer_count = count, .layers = layers,
        .training = 1};
    static double x[MOST], y[MOST], dy[MOST], dx[MOST], state[MOST], dstate[MOST], parameters[MOST], gradients[MOST];
    const size_t bytes = fastlstm_plan_bytes(&network);
    fastlstm_plan *plan;
    check(fastlstm_make_plan(&network, malloc(bytes), bytes, &plan));
    const size_t parameter_count = fastlstm_parameter_count(plan), outputs = fastlstm_output_count(plan);
    const size_t state_count = fastlstm_state_count(plan, B);
    if (parameter_count > MOST || state_count > MOST) exit(2);
    fill(parameters, dtype, parameter_count, 0);
    check(fastlstm_set_parameters(plan, parameters, parameter_count));
    void *workspace = malloc(fastlstm_workspace_bytes(plan, T, B)), *tape = malloc(fastlstm_tape_bytes(plan, T, B));

    fill(x, dtype, T * B * INPUTS, 3);
    fill(state, dtype, state_count, 5);
    check(fastlstm_step(plan, B, x, state, y, workspace));
    print(name, "step.y", y, dtype, B * outputs);
    print(name, "step.state", state, dtype, state_count);

    check(fastlstm_forward(plan, T, B, x, NULL, y, state, tape, workspace));
    print(name, "forward.y", y, dtype, T * B * outputs);
    print(name, "forward.state", state, dtype, state_count);

    fill(dy, dtype, T * B * outputs, 7);
    fill(dstate, dtype, state_count, 11);
    fill(gradients, dtype, parameter_count, 13);
    check(fastlstm_backward(plan, T, B, x, y, tape, dy, dstate, dx, dstate, gradients, 1, workspace));
    print(name, "backward.dx", dx, dtype, T * B * INPUTS);
    print(name, "backward.dstate", dstate, dtype, state_count);
    print(name, "backward.gradients", gradients, dtype, parameter_count);
}

int main(void) {
    for (int k = 0; k < 2; k++) {
        const fastlstm_dtype dtype = k ? FASTLSTM_FLOAT64 : FASTLSTM_FLOAT32;
        run("stack", stack, sizeof(stack) / sizeof(*stack), dtype);
        run("chain", chain, sizeof(chain) / sizeof(*chain), dtype);
    }
    return 0;
}
