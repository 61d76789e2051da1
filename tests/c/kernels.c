/* The kernels of each instruction set against those in portable C, without Python: for other compilers and, under an
 * emulator, other processors. tools/check-kernels compiles and runs it. What the portable kernels compute is tested
 * against the equations by the Python tests. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "system/dispatch.h"

static int bytes; /* of a value: 4 or 8 */
static int compared, failed;
static unsigned long long state = 1;

static double uniform(void) { /* -1 to 1 */
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (double)(state >> 11) / (double)(1ULL << 52) - 1;
}

static double at(const void *array, long k) {
    return bytes == 4 ? ((const float *)array)[k] : ((const double *)array)[k];
}

static void put(void *array, long k, double value) {
    if (bytes == 4)
        ((float *)array)[k] = (float)value;
    else
        ((double *)array)[k] = value;
}

static void *array(long n, double scale) { /* random; 64 values more, which nobody is to touch */
    void *found = malloc((size_t)(n + 64) * (size_t)bytes);
    for (long k = 0; k < n + 64; k++) put(found, k, scale * uniform());
    return found;
}

static void *copy(const void *from, long n) {
    return memcpy(malloc((size_t)(n + 64) * (size_t)bytes), from, (size_t)(n + 64) * (size_t)bytes);
}

/* n values, and the 64 behind them bit for bit. */
static void compare(const char *what, long size, const void *found, const void *expected, long n) {
    const double tolerance = bytes == 4 ? 3e-5 : 1e-12;
    double worst = 0;
    for (long k = 0; k < n; k++) {
        const double error = fabs(at(found, k) - at(expected, k)) / fmax(1, fabs(at(expected, k)));
        if (!(error <= worst)) worst = error;
    }
    compared++;
    if (!(worst <= tolerance) ||
        memcmp((const char *)found + n * bytes, (const char *)expected + n * bytes, (size_t)(64 * bytes))) {
        failed++;
        printf("  %s, size %ld, %d bytes: off by %g\n", what, size, bytes, worst);
    }
}

static const fl_cell LSTM = {.kind = FL_LSTM,
                             .gates = 4,
                             .i = 0,
                             .f = 1,
                             .z = 2,
                             .o = 3,
                             .gate = {FL_LOGISTIC},
                             .g = {FL_TANH},
                             .h = {FL_TANH},
                             .plain = 1};
static const fl_cell CIFG = {.kind = FL_LSTM,
                             .gates = 3,
                             .i = 0,
                             .f = -1,
                             .z = 1,
                             .o = 2,
                             .coupled = 1,
                             .gate = {FL_LOGISTIC},
                             .g = {FL_TANH},
                             .h = {FL_TANH},
                             .clip = 2,
                             .cell_clip = 1};
static const fl_cell RNN = {.kind = FL_RNN,
                            .gates = 1,
                            .i = -1,
                            .f = -1,
                            .z = 0,
                            .o = -1,
                            .gate = {FL_LOGISTIC},
                            .g = {FL_TANH},
                            .h = {FL_TANH}};

static long padded(const fl_kernels *k, long gates, long H) {
    const long block = gates == 1 ? k->column_block : k->unit_block;
    return (H + block - 1) / block * block * gates;
}

static void *packed(const fl_kernels *k, long gates, long H, const void *A, long K) {
    void *panels = malloc((size_t)(padded(k, gates, H) * K * bytes + 64));
    const long block = gates == 1 ? k->column_block : k->unit_block;
    k->pack_columns(panels, gates, H, A, K, 0, (H + block - 1) / block);
    return panels;
}

static void step(const fl_kernels *k, const fl_cell *cell, int peephole, int pack, long B, long I, long H,
                 void **results) {
    /* results: gates, c, y of the forward step; delta, dc of the backward one */
    const long G = cell->gates;
    state = 7;
    void *W = array(G * H * I, 1), *R = array(G * H * H, 1), *b = array(G * H, 1), *p = array(3 * H, 1);
    void *x = array(B * I, 1), *h = array(B * H, 1), *c_prev = array(B * H, 1), *dy = array(B * H, 1);
    void *W_panels = pack ? packed(k, G, H, W, I) : NULL, *R_panels = pack ? packed(k, G, H, R, H) : NULL;
    void *gates = array(B * G * H, 1), *c = array(B * H, 1), *y = array(B * H, 1), *delta = array(B * G * H, 1),
         *dc = array(B * H, 1);
    const fl_forward forward = {.cell = cell,
                                .hidden = H,
                                .input = I,
                                .outputs = H,
                                .W = W,
                                .R = R,
                                .W_panels = W_panels,
                                .R_panels = R_panels,
                                .b = b,
                                .p = peephole ? p : NULL,
                                .x = x,
                                .y_prev = h,
                                .y_prev_step = H,
                                .c_prev = c_prev,
                                .gates = gates,
                                .c = c,
                                .keep = B,
                                .y = y,
                                .y_step = H};
    const fl_backward backward = {.cell = cell,
                                  .hidden = H,
                                  .y = {.above = dy, .above_step = H},
                                  .p = peephole ? p : NULL,
                                  .gates = gates,
                                  .c_prev = c_prev,
                                  .c = c,
                                  .delta = delta,
                                  .dc = dc};
    k->cells[cell->kind].forward(&forward, 0, B, 0, H), k->cells[cell->kind].backward(&backward, 0, B, 0, H);
    results[0] = gates, results[1] = c, results[2] = y, results[3] = delta, results[4] = dc;
    void *rest[] = {W, R, b, p, x, h, c_prev, dy, W_panels, R_panels};
    for (size_t n = 0; n < sizeof rest / sizeof *rest; n++) free(rest[n]);
}

static void steps(const fl_kernels *k, const fl_kernels *portable) {
    static const char *const names[] = {"gates", "c", "y", "delta", "dc"};
    const fl_cell *cells[] = {&LSTM, &CIFG, &RNN};
    for (int which = 0; which < 3; which++)
        for (int peephole = 0; peephole < (which == 2 ? 1 : 2); peephole++)
            for (int pack = 0; pack < 2; pack++)
                for (long H = 1; H < 70; H += H < 18 ? 1 : 15)
                    for (long B = 1; B < 16; B += 3) {
                        void *found[5], *expected[5];
                        step(k, cells[which], peephole, pack, B, 5, H, found);
                        step(portable, cells[which], peephole, pack, B, 5, H, expected);
                        for (int n = 0; n < 5; n++) {
                            compare(names[n], H, found[n], expected[n],
                                    n == 0 || n == 3 ? B * cells[which]->gates * H : B * H);
                            free(found[n]), free(expected[n]);
                        }
                    }
}

static void elements(const fl_kernels *k, const fl_kernels *portable) {
    for (long n = 1; n < 80; n++) {
        void *x = array(n, 20), *y = array(n, 1), *same = copy(y, n), *target = array(n, 1);
        for (int g = FL_TANH; g <= FL_FAST_LOGISTIC; g++) {
            const fl_activation activation = {(fl_activation_kind)g, 0.2, 0.5};
            k->activate(activation, x, y, n), portable->activate(activation, x, same, n);
            compare("activation", n, y, same, n);
        }
        void *theta = array(n, 1), *theta2 = copy(theta, n), *m = array(n, 1), *m2 = copy(m, n), *v = array(n, 1);
        for (long j = 0; j < n; j++) put(v, j, fabs(at(v, j)));
        void *v2 = copy(v, n);
        fl_adam adam = {theta, x, m, v, 0.9, 0.99, 1e-8, 0.01, 1.5, 0.999}, adam2 = adam;
        adam2.theta = theta2, adam2.m = m2, adam2.v = v2;
        k->adam(&adam, 0, n), portable->adam(&adam2, 0, n);
        compare("adam theta", n, theta, theta2, n), compare("adam m", n, m, m2, n), compare("adam v", n, v, v2, n);
        fl_sgd sgd = {theta, x, m, 0.01, 0.9, 0.1, 1}, sgd2 = {theta2, x, m2, 0.01, 0.9, 0.1, 1};
        k->sgd(&sgd, 0, n), portable->sgd(&sgd2, 0, n);
        compare("sgd", n, theta, theta2, n);
        void *sum = array(1, 0), *sum2 = copy(sum, 1);
        for (int kind = FL_SQUARED; kind <= FL_HUBER; kind++) {
            fl_loss loss = {(fl_loss_kind)kind, n, x, target, NULL, 0.5, 1, y}, loss2 = loss;
            loss2.gradient = same;
            put(sum, 0, k->elementwise_loss(&loss, 0, 1)), put(sum2, 0, portable->elementwise_loss(&loss2, 0, 1));
            compare("loss", n, sum, sum2, 1), compare("gradient of a loss", n, y, same, n);
        }
        fl_softmax softmax = {.classes = n, .logits = x, .sum_of_weights = 1, .scale = 1, .gradient = y},
                   softmax2 = softmax;
        softmax2.gradient = same;
        k->softmax(&softmax, 0, 1), portable->softmax(&softmax2, 0, 1);
        compare("softmax", n, y, same, n);
        put(sum, 0, k->sum_of_squares(x, n)), put(sum2, 0, portable->sum_of_squares(x, n));
        compare("sum of squares", n, sum, sum2, 1);
        void *all[] = {x, y, same, target, theta, theta2, m, m2, v, v2, sum, sum2};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++) free(all[j]);
    }
}

static void products(const fl_kernels *k, const fl_kernels *portable) {
    for (long rows = 1; rows < 20; rows += 3)
        for (long columns = 1; columns < 70; columns += 4)
            for (long K = 1; K < 40; K += 13) {
                void *a = array(rows * K, 1), *B = array(K * columns, 1), *c[2] = {array(rows * columns, 1), NULL};
                c[1] = copy(c[0], rows * columns);
                const fl_kernels *both[] = {k, portable};
                for (int n = 0; n < 2; n++) {
                    const int vectors = (int)(both[n]->column_block / both[n]->unit_block);
                    const long width = both[n]->column_block, panels = (columns + width - 1) / width;
                    void *packed_B = malloc((size_t)(panels * width * K * bytes + 64));
                    both[n]->pack_rows(packed_B, vectors, B, columns, K, columns, 0, panels);
                    const fl_product product = {columns, K,       a,    K,       1, packed_B, vectors,
                                                1,       FL_FULL, c[n], columns, 1, 0};
                    both[n]->multiply(&product, 0, rows, 0, columns);
                    free(packed_B);
                }
                compare("product", columns, c[0], c[1], rows * columns);
                void *t = array(rows * K, 1), *t2 = copy(t, rows * K);
                k->transpose(t, a, rows, K, 0, K), portable->transpose(t2, a, rows, K, 0, K);
                compare("transpose", K, t, t2, rows * K);
                free(a), free(B), free(c[0]), free(c[1]), free(t), free(t2);
            }
}

int main(void) {
    int all = 0;
    for (int isa = FL_ISA_portable + 1; isa < FL_ISA_COUNT; isa++) {
        if (!fl_isa_kernels(isa, 4) || !fl_isa_available(isa)) continue;
        compared = failed = 0;
        for (bytes = 4; bytes <= 8; bytes += 4) {
            const fl_kernels *k = fl_isa_kernels(isa, bytes), *portable = fl_isa_kernels(FL_ISA_portable, bytes);
            steps(k, portable), elements(k, portable), products(k, portable);
        }
        printf("%s: %d results compared with portable C's, %d differ\n", fl_isa_name(isa), compared, failed);
        if (failed) return 1;
        all += compared;
    }
    printf("%d results agree\n", all);
    return all == 0; /* nothing but portable C here: nothing was tested */
}
