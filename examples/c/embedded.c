/* A trained network in a program that needs no file and no Python when it runs, and allocates nothing. In Python, train
 * it, save it and write it as a header:
 *
 *   fastlstm.save(model, "model.safetensors")
 *   python -m fastlstm export model.safetensors model.h
 *
 * Then, where model.h is:
 *
 *   cc -I. embedded.c $(python -m fastlstm --cflags --libs) -o embedded
 *   printf '0.5\n-1\n2\n' | ./embedded
 *
 * prints the network's outputs for each time step, whose inputs are the numbers that come in. */
#include <stdio.h>

#include "model.h"

static model_network network;
static model_stream stream;

int main(void) {
    float x[MODEL_INPUTS], y[MODEL_OUTPUTS];
    int k = 0;
    fastlstm_status status = model_plan(&network);
    while (!status && scanf("%f", &x[k]) == 1) {
        if (++k < MODEL_INPUTS) continue;
        status = model_step(&network, &stream, x, y);
        for (k = 0; k < MODEL_OUTPUTS; k++) printf("%.9g%c", y[k], k + 1 < MODEL_OUTPUTS ? ' ' : '\n');
        k = 0;
    }
    if (status) fprintf(stderr, "fastlstm: %s\n", fastlstm_message(status));
    return status != FASTLSTM_OK;
}
