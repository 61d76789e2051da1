/* Programs of many steps on the emulated device, whose blocks are threads that wait for each other: each algorithm
 * against step by step, forward and backward. For ThreadSanitizer: tools/check-threads. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/backend.h"

extern const fl_backend fl_emulated;

enum { T = 40, B = 9, H = 37, G = 4 };

static int bytes; /* of a value: 4 or 8 */
static unsigned long long state;

static double uniform(void) { /* -0.5 to 0.5 */
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (double)(state >> 11) / (double)(1ULL << 53) - 0.5;
}

static double at(const void *array, long k) {
    return bytes == 4 ? ((const float *)array)[k] : ((const double *)array)[k];
}

static void *zeros(long count) {
    void *array = calloc((size_t)count, (size_t)bytes);
    if (!array) abort();
    return array;
}

static void *numbers(long count, double scale) {
    void *array = zeros(count);
    for (long k = 0; k < count; k++) {
        const double value = scale * uniform();
        if (bytes == 4)
            ((float *)array)[k] = (float)value;
        else
            ((double *)array)[k] = value;
    }
    return array;
}

static void *of(void *array, long values) { return (char *)array + values * bytes; }

/* All steps forward and backward; gives y and the deltas in `result`, how many programs ran in this way in `ran`. */
static void run(const fl_kernels *k, fl_algorithm algorithm, void *result, int *ran) {
    static const fl_cell cell = {.kind = FL_LSTM,
                                 .gates = G,
                                 .i = 0,
                                 .f = 1,
                                 .z = 2,
                                 .o = 3,
                                 .gate = {FL_LOGISTIC},
                                 .g = {FL_TANH},
                                 .h = {FL_TANH},
                                 .plain = 1};
    state = 1;
    void *R = numbers(G * H * H, 0.5), *b = numbers(G * H, 1), *p = numbers(3 * H, 1), *wx = numbers(T * B * G * H, 2);
    void *dy = numbers(T * B * H, 1), *y = zeros((T + 1) * B * H), *c = zeros((T + 1) * B * H),
         *gates = zeros(T * B * G * H);
    void *delta = of(result, T * B * H), *dc = zeros(B * H), *panels = zeros(G * H * H), *sent = zeros(B * G * H);
    fl_emulated.begin(0, NULL, algorithm, 0);
    for (int t = 0; t < T; t++) {
        const fl_forward s = {.cell = &cell,
                              .hidden = H,
                              .outputs = H,
                              .R = R,
                              .b = b,
                              .p = p,
                              .wx = of(wx, t * B * G * H),
                              .y_prev = of(y, t * B * H),
                              .y_prev_step = H,
                              .c_prev = of(c, t * B * H),
                              .gates = of(gates, t * B * G * H),
                              .c = of(c, (t + 1) * B * H),
                              .keep = B,
                              .y = of(y, (t + 1) * B * H),
                              .y_step = H,
                              .y_copy = of(result, t * B * H),
                              .y_copy_step = H};
        k->cells[FL_LSTM].forward(&s, 0, B, 0, H);
    }
    k->pack_rows(panels, 1, R, H, G * H, H, 0, H);
    for (int t = T - 1; t >= 0; t--) {
        fl_backward s = {.cell = &cell,
                         .hidden = H,
                         .p = p,
                         .gates = of(gates, t * B * G * H),
                         .c_prev = of(c, t * B * H),
                         .c = of(c, (t + 1) * B * H),
                         .simple = 1,
                         .sent = sent,
                         .delta = of(delta, t * B * G * H),
                         .dc = dc};
        s.y.K = G * H;
        s.y.panels = panels;
        s.y.above = of(dy, t * B * H);
        s.y.above_step = H;
        s.y.a = t + 1 < T ? of(delta, (t + 1) * B * G * H) : NULL;
        s.y.a_step = G * H;
        k->cells[FL_LSTM].backward(&s, 0, B, 0, H);
    }
    k->finish();
    *ran = fl_emulated.used(algorithm);
    void *all[] = {R, b, p, wx, dy, y, c, gates, dc, panels, sent};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) free(all[i]);
}

int main(void) {
    static const char *const names[] = {"auto", "steps", "resident", "cluster"};
    const long count = T * B * H * (1 + G);
    int failed = 0;
    for (bytes = 4; bytes <= 8; bytes += 4) {
        const fl_kernels *k = fl_emulated.kernels[bytes == 4 ? FL_IN_FLOAT32 : FL_IN_FLOAT64];
        void *expected = zeros(count), *found = zeros(count);
        int ran;
        run(k, FL_STEPS, expected, &ran);
        for (fl_algorithm algorithm = FL_RESIDENT; algorithm <= FL_CLUSTER; algorithm++) {
            double worst = 0;
            memset(found, 0, (size_t)(count * bytes));
            run(k, algorithm, found, &ran);
            for (long i = 0; i < count; i++) worst = fmax(worst, fabs(at(found, i) - at(expected, i)));
            const int ok = worst <= (bytes == 4 ? 1e-5 : 1e-13) && ran >= 2;
            printf("float%d, %s: %d programs, largest difference %.2g%s\n", 8 * bytes, names[algorithm], ran, worst,
                   ok ? "" : ": FAILED");
            failed += !ok;
        }
        free(expected);
        free(found);
    }
    return failed != 0;
}
