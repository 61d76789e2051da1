/* A block's product by tensor cores, which multiply tiles of 16 bits and add up in 32. A warp has 16 lines of
 * weights and N batch rows, in tiles of 16 x 8.
 *
 * D (16, 8) += A (16, 16) B (16, 8). Of lane l, with q = l / 4 and r = l % 4: A at rows q and q + 8, columns 2r, 2r
 * + 1 and 8 more; B at rows 2r, 2r + 1 and 8 more, column q; D at rows q and q + 8, columns 2r and 2r + 1. See
 * "Matrix fragments for mma.m16n8k16" in the PTX reference.
 *
 * The including file defines:
 *   HERE                          lanes that run here: 1 on a device, where each is a thread; 32 where one thread is
 * all FIRST_LANE                    the first of them multiply_tiles(d, a, b)       the product above, of all lanes:
 * d[HERE][4], a[HERE][4], b[HERE][2]
 */
#ifndef FL_TENSOR_H
#define FL_TENSOR_H

#define EACH_LANE for (int own = 0, lane = FIRST_LANE; own < HERE; own++, lane++)

FL_INLINE uint32_t two_values(const stored *from) { /* at a multiple of 4 bytes */
#ifdef __CUDACC__
    return *(const uint32_t *)from;
#else
    uint32_t two;
    memcpy(&two, from, sizeof(two));
    return two;
#endif
}

FL_INLINE void tile_product(const block *b, const geometry *g, const int N, fl_size line, int part) {
    enum { MOST_TILES = MOST_TOGETHER / 8 };
    const fl_size lines = b->units * g->gates;
    fl_size first, end;
    float d[MOST_TILES][HERE][4];
    values_of_part(g, part, &first, &end);
    FL_UNROLL
    for (int tile = 0; tile < N / 8; tile++) EACH_LANE FL_UNROLL
    for (int i = 0; i < 4; i++) d[tile][own][i] = 0;
    for (fl_size k = first; k < end; k += STEP) {
        uint32_t A[HERE][4], B[HERE][2];
        EACH_LANE {
            const int q = lane / 4, r = lane % 4;
            const stored *upper = b->weights + smaller(line + q, lines - 1) * g->stride + k + 2 * r;
            const stored *lower = b->weights + smaller(line + q + 8, lines - 1) * g->stride + k + 2 * r;
            A[own][0] = two_values(upper);
            A[own][1] = two_values(lower);
            A[own][2] = two_values(upper + 8);
            A[own][3] = two_values(lower + 8);
        }
        FL_UNROLL
        for (int tile = 0; tile < N / 8; tile++) {
            EACH_LANE {
                const stored *seen = b->seen + (tile * 8 + lane / 4) * g->stride + k + 2 * (lane % 4);
                B[own][0] = two_values(seen);
                B[own][1] = two_values(seen + 8);
            }
            multiply_tiles(d[tile], A, B);
        }
    }
    FL_UNROLL
    for (int tile = 0; tile < N / 8; tile++) EACH_LANE FL_UNROLL
    for (int half = 0; half < 2; half++) {
        const fl_size at = line + lane / 4 + 8 * half;
        real *to = b->sums + (part * lines + at) * N + tile * 8 + 2 * (lane % 4);
        if (at < lines) {
            to[0] = d[tile][own][2 * half];
            to[1] = d[tile][own][2 * half + 1];
        }
    }
}

#endif
