/* A trained network on a stream, one step at a time, without Python. In Python, train it and write its parameters:
 *
 *   model = nn.Sequential(fastlstm.LSTM(1, 32), nn.Dense(32, 1))
 *   ...
 *   model.flat.tofile("parameters.bin")
 *
 * Then:
 *
 *   cc stream.c $(python -m fastlstm --cflags --libs) -o stream
 *   printf '0.5\n-1\n2\n' | ./stream parameters.bin
 *
 * prints the network's output for each number. After the first lines of main nothing allocates: what is in the loop may
 * run where a deadline counts, as in an audio callback. */
#include <stdio.h>
#include <stdlib.h>

#include <fastlstm/fastlstm.h>

static void check(fastlstm_status status) {
    if (status == FASTLSTM_OK) return;
    fprintf(stderr, "fastlstm: %s\n", fastlstm_message(status));
    exit(1);
}

int main(int argc, char **argv) {
    const fastlstm_layer layers[] = {
        {.kind = FASTLSTM_LSTM, .units = 32, .peephole = 1},
        {.kind = FASTLSTM_DENSE, .units = 1},
    };
    const fastlstm_network network = {
        .version = FASTLSTM_C_VERSION, .dtype = FASTLSTM_FLOAT32, .inputs = 1, .layer_count = 2, .layers = layers};
    const size_t bytes = fastlstm_plan_bytes(&network);
    void *memory = malloc(bytes);
    fastlstm_plan *plan;
    check(fastlstm_make_plan(&network, memory, bytes, &plan));

    const size_t count = fastlstm_parameter_count(plan);
    float *parameters = malloc((count + 1) * sizeof(float)); /* one more, to see that there is none */
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (!file) {
        if (argc == 2) perror(argv[1]);
        fprintf(stderr, "usage: stream FILE, with %zu parameters in the file\n", count);
        return 1;
    }
    check(fastlstm_set_parameters(plan, parameters, fread(parameters, sizeof(float), count + 1, file)));
    fclose(file);
    free(parameters);

    float *state = calloc(fastlstm_state_count(plan, 1), sizeof(float));
    void *workspace = malloc(fastlstm_workspace_bytes(plan, 1, 1));
    float x, y;
    while (scanf("%f", &x) == 1) {
        check(fastlstm_step(plan, 1, &x, state, &y, workspace));
        printf("%.9g\n", y);
    }
    if (!feof(stdin)) fprintf(stderr, "stream: what comes next is no number\n");
    free(workspace), free(state), free(memory);
    return feof(stdin) ? 0 : 1;
}
