/* Training in C: an LSTM and a dense layer learn to add up what comes in, by gradient descent.
 *
 *   cc examples/c/train.c $(python -m fastlstm --cflags --libs) -o train && ./train */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <fastlstm/fastlstm.h>

enum { T = 20, B = 32, STEPS = 600 };

static void check(fastlstm_status status) {
    if (status == FASTLSTM_OK) return;
    fprintf(stderr, "fastlstm: %s\n", fastlstm_message(status));
    exit(1);
}

static float uniform(void) { /* -1 to 1 */
    static unsigned long long state = 1;
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (float)((double)(state >> 11) / (double)(1ULL << 52) - 1);
}

int main(void) {
    const fastlstm_layer layers[] = {
        {.kind = FASTLSTM_LSTM, .units = 24, .peephole = 1},
        {.kind = FASTLSTM_DENSE, .units = 1},
    };
    const fastlstm_network network = {.version = FASTLSTM_C_VERSION,
                                      .dtype = FASTLSTM_FLOAT32,
                                      .inputs = 1,
                                      .layer_count = 2,
                                      .layers = layers,
                                      .training = 1};
    const size_t bytes = fastlstm_plan_bytes(&network);
    fastlstm_plan *plan;
    void *memory = malloc(bytes);
    check(fastlstm_make_plan(&network, memory, bytes, &plan));

    const size_t count = fastlstm_parameter_count(plan);
    float *parameters = malloc(count * sizeof(float)), *gradients = malloc(count * sizeof(float));
    void *workspace = malloc(fastlstm_workspace_bytes(plan, T, B)), *tape = malloc(fastlstm_tape_bytes(plan, T, B));
    static float x[T][B], target[T][B], y[T][B], dy[T][B];
    for (size_t k = 0; k < count; k++) parameters[k] = 0.3f * uniform();

    double loss = 0;
    for (int step = 0; step <= STEPS; step++) {
        for (int b = 0; b < B; b++)
            for (int t = 0; t < T; t++) {
                x[t][b] = uniform();
                target[t][b] = x[t][b] / 4 + (t ? target[t - 1][b] : 0);
            }
        check(fastlstm_set_parameters(plan, parameters, count));
        check(fastlstm_forward(plan, T, B, x, NULL, y, NULL, tape, workspace));
        loss = 0; /* the mean of the squares, and its gradient */
        for (int t = 0; t < T; t++)
            for (int b = 0; b < B; b++) {
                const float error = y[t][b] - target[t][b];
                loss += error * error / (T * B);
                dy[t][b] = 2 * error / (T * B);
            }
        if (step % 100 == 0) printf("%4d %.5f\n", step, loss);
        check(fastlstm_backward(plan, T, B, x, y, tape, dy, NULL, NULL, NULL, gradients, 0, workspace));

        double norm = 0; /* clipped to 1; the rate falls to 0 */
        for (size_t k = 0; k < count; k++) norm += gradients[k] * gradients[k];
        const float rate = 0.3f * (1 - (float)step / STEPS) / (float)fmax(1, sqrt(norm));
        for (size_t k = 0; k < count; k++) parameters[k] -= rate * gradients[k];
    }
    free(parameters), free(gradients), free(workspace), free(tape), free(memory);
    return loss < 0.01 ? 0 : 1;
}
