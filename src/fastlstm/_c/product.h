/* The recurrent product: a few batch rows times one panel of packed weights, kept in registers.
 *
 * A panel is a matrix of K rows and up to COLUMNS vectors. An LSTM's forward panel has one vector per gate, for the same
 * VL hidden units; all others have neighbouring units. The result goes to a small accumulator block in L1, from which the
 * cell equations go on.
 */
#ifndef FL_PRODUCT_H
#define FL_PRODUCT_H

#include "kernels.h"
#include "simd.h"
#include "transpose.h"

#define COLUMNS 4 /* vectors per panel */
#define ROW_BLOCK 48 /* batch rows per accumulator block */
#if defined(FL_TARGET_AVX512) || defined(FL_TARGET_NEON)
#define TILE_ROWS 6 /* 6 x 4 accumulators, 4 weights, 1 input: 29 of 32 registers */
#else
#define TILE_ROWS 3 /* 3 x 4 accumulators of 16 registers */
#endif
 
/* Weights beyond the second-level cache must be asked for in time, which the hardware's own prefetch does not do. A tile
 * that is alone asks for those that it needs itself, this many bytes ahead. Where more tiles read a panel after one
 * another, each asks for a share of the panel's next block meanwhile, so that no tile waits for all of it. */
#define PREFETCH 8192
#define PANEL_BLOCK (128 << 10) /* bytes; two of them fit in a second-level cache */

typedef real accumulators[ROW_BLOCK][COLUMNS * VL];

/* A factor's first row: the value at row m and column k is a[m * row_step + k * k_step]; it has K columns. */
typedef struct {
    const real *a;
    fl_size row_step, k_step, K;
} factor;

/* acc = [f1 f2] panel, or acc += where `add`, sizes known at compile time; with few accumulators, several sets hide the
 * latency of the FMA. `next` is the tile's share of the next block, NULL if it is alone. */
FL_INLINE void tile(const int rows, const int columns, const int alone, accumulators acc, fl_size row, const factor *f1,
                    const factor *f2, const real *panel, int add, const char *next) {
    enum { MAX_SETS = 4 };
    const int sets = rows * columns >= 8 ? 1 : rows * columns >= 4 ? 2 : MAX_SETS;
    vec sum[MAX_SETS][TILE_ROWS][COLUMNS];
    FL_UNROLL
    for (int s = 0; s < sets; s++)
        FL_UNROLL
        for (int m = 0; m < rows; m++)
            FL_UNROLL
            for (int v = 0; v < columns; v++) sum[s][m][v] = v_zero();

    for (const factor *f = f1; f; f = f == f1 ? f2 : NULL) {
        const fl_size row_step = f->row_step, k_step = f->k_step;
        const real *a = f->a + row * row_step;
        fl_size k = f->K;
        FL_NO_UNROLL
        for (; k >= sets; k -= sets) {
            FL_UNROLL
            for (int s = 0; s < sets; s++) {
                vec w[COLUMNS];
                FL_UNROLL
                for (int v = 0; v < columns; v++) w[v] = v_load(panel + (s * columns + v) * VL);
                if (alone) {
                    FL_UNROLL
                    for (int v = 0; v < columns; v += FL_CACHE_LINE / FL_BYTES)
                        v_prefetch((const char *)(panel + (s * columns + v) * VL) + PREFETCH);
                } else {
                    v_prefetch_far(next + s * FL_BYTES);
                }
                FL_UNROLL
                for (int m = 0; m < rows; m++) {
                    vec x = v_set1(a[m * row_step + s * k_step]);
                    FL_UNROLL
                    for (int v = 0; v < columns; v++) sum[s][m][v] = v_fma(x, w[v], sum[s][m][v]);
                }
            }
            a += sets * k_step;
            panel += sets * columns * VL;
            if (!alone) next += sets * FL_BYTES;
        }
        if (sets > 1) {
            FL_NO_UNROLL
            for (; k > 0; k--) {
                FL_UNROLL
                for (int m = 0; m < rows; m++) {
                    vec x = v_set1(a[m * row_step]);
                    FL_UNROLL
                    for (int v = 0; v < columns; v++) sum[0][m][v] = v_fma(x, v_load(panel + v * VL), sum[0][m][v]);
                }
                a += k_step;
                panel += columns * VL;
            }
        }
    }

    FL_UNROLL
    for (int m = 0; m < rows; m++)
        FL_UNROLL
        for (int v = 0; v < columns; v++) {
            vec total = sum[0][m][v];
            FL_UNROLL
            for (int s = 1; s < sets; s++) total = v_add(total, sum[s][m][v]);
            if (add) total = v_add(total, v_load(&acc[row + m][v * VL]));
            v_store(&acc[row + m][v * VL], total);
        }
}

typedef void (*tile_function)(accumulators acc, fl_size row, const factor *f1, const factor *f2, const real *panel, int add,
                              const char *next);
#define TILE(rows, columns)                                                                                            \
    static void tile_##rows##x##columns(accumulators acc, fl_size row, const factor *f1, const factor *f2,             \
                                        const real *panel, int add, const char *next) {                                \
        if (next)                                                                                                      \
            tile(rows, columns, 0, acc, row, f1, f2, panel, add, next);                                                \
        else                                                                                                           \
            tile(rows, columns, 1, acc, row, f1, f2, panel, add, NULL);                                                \
    }
#define TILES(rows) TILE(rows, 1) TILE(rows, 2) TILE(rows, 3) TILE(rows, 4)
#define TILE_NAMES(rows) {tile_##rows##x1, tile_##rows##x2, tile_##rows##x3, tile_##rows##x4}
TILES(1)
TILES(2)
TILES(3)
#if TILE_ROWS == 6
TILES(4)
TILES(5)
TILES(6)
static const tile_function tiles[TILE_ROWS][COLUMNS] = {TILE_NAMES(1), TILE_NAMES(2), TILE_NAMES(3),
                                                        TILE_NAMES(4), TILE_NAMES(5), TILE_NAMES(6)};
#else
static const tile_function tiles[TILE_ROWS][COLUMNS] = {TILE_NAMES(1), TILE_NAMES(2), TILE_NAMES(3)};
#endif

/* acc = [f1 f2] panel, or acc +=, in tiles of nearly equal height. K is that of both factors together. */
FL_INLINE void product_block(accumulators acc, int columns, fl_size rows, const factor *f1, const factor *f2, fl_size K,
                             const real *panel, int add) {
    const fl_size count = (rows + TILE_ROWS - 1) / TILE_ROWS;
    const char *next = (const char *)(panel + K * columns * VL);
    for (fl_size n = 0, row = 0; n < count; n++) {
        const fl_size height = (rows - row) / (count - n);
        /* The first tiles share the next block; the others ask for what is there already. */
        const char *own = count == 1 ? NULL : n < columns ? next + n * K * FL_BYTES : (const char *)panel;
        tiles[height - 1][columns - 1](acc, row, f1, f2, panel, add, own);
        row += height;
    }
}

/* acc = [f1 f2] panel for up to ROW_BLOCK rows. f2 may be NULL. */
static void product(accumulators acc, int columns, fl_size rows, const factor *f1, const factor *f2,
                    const real *panel) {
    assert(0 < rows && rows <= ROW_BLOCK && 0 < columns && columns <= COLUMNS);
    const fl_size block = PANEL_BLOCK / (columns * FL_BYTES), whole = f1->K + (f2 ? f2->K : 0);
    if (rows <= TILE_ROWS || whole <= block) {
        product_block(acc, columns, rows, f1, f2, whole, panel, 0);
        return;
    }
    for (const factor *f = f1; f; f = f == f1 ? f2 : NULL)
        for (fl_size k = 0, K; k < f->K; k += K) {
            K = at_most(f->K - k, block);
            const factor part = {f->a + k * f->k_step, f->row_step, f->k_step, K};
            product_block(acc, columns, rows, &part, NULL, K, panel, f != f1 || k > 0);
            panel += K * columns * VL;
        }
}

/* Rows of the next accumulator block, of those from row to end: blocks of nearly equal height. */
FL_INLINE fl_size next_rows(fl_size row, fl_size end) {
    const fl_size blocks = (end - row + ROW_BLOCK - 1) / ROW_BLOCK;
    return (end - row + blocks - 1) / blocks;
}

/* Vectors of the panel that starts at `column` of so many, where panels are `vectors` wide. */
FL_INLINE int vectors_from(fl_size column, fl_size columns, int vectors) {
    return (int)at_most((columns - column + VL - 1) / VL, vectors);
}

FL_INLINE int columns_from(fl_size unit, fl_size hidden) { return vectors_from(unit, hidden, COLUMNS); }

/* Vectors in a whole forward panel, and the units that it holds. */
FL_INLINE int panel_vectors(fl_size gates) { return gates == 1 ? COLUMNS : (int)gates; }
FL_INLINE fl_size panel_units(fl_size gates) { return gates == 1 ? COLUMNS * VL : VL; }

/* A forward panel's column v that starts at `unit`: its first row in the weights, and how many units it has. An LSTM has a
 * column per gate, the simple RNN (gates = 1) neighbouring units. */
FL_INLINE fl_size column_rows(fl_size gates, fl_size hidden, fl_size unit, int v, fl_size *units) {
    const fl_size first = gates == 1 ? unit + v * VL : unit;
    *units = at_most(hidden - first, VL);
    return gates == 1 ? first : v * hidden + first;
}

enum { DOTS = 4 }; /* weight rows at once, in products by rows */

/* Dot products of `rows` rows of [f1 f2], from `row` on, with up to DOTS rows of [W1 W2], from w_row on. */
FL_INLINE void dots(const int rows, accumulators acc, fl_size row, fl_size column, const factor *f1, const real *W1,
                    const factor *f2, const real *W2, fl_size w_row, fl_size count) {
    vec sum[4][DOTS];
    FL_UNROLL
    for (int m = 0; m < rows; m++)
        FL_UNROLL
        for (int u = 0; u < DOTS; u++) sum[m][u] = v_zero();
    for (const factor *f = f1; f; f = f == f1 ? f2 : NULL) {
        const fl_size K = f->K, lda = f->row_step;
        const real *a = f->a + row * lda, *w[DOTS];
        FL_UNROLL
        for (int u = 0; u < DOTS; u++) w[u] = (f == f1 ? W1 : W2) + (w_row + at_most(u, count - 1)) * K;
        FL_NO_UNROLL
        for (fl_size k = 0; k < K; k += VL) {
            const fl_size part = at_most(K - k, VL);
            vec x[4];
            FL_UNROLL
            for (int m = 0; m < rows; m++) x[m] = v_load_part(a + m * lda + k, part);
            FL_UNROLL
            for (int u = 0; u < DOTS; u++) {
                const vec weights = v_load_part(w[u] + k, part);
                FL_UNROLL
                for (int m = 0; m < rows; m++) sum[m][u] = v_fma(x[m], weights, sum[m][u]);
            }
        }
    }
    FL_UNROLL
    for (int m = 0; m < rows; m++) {
        real sums[DOTS];
        v_sum4(sums, sum[m]);
        if (count == DOTS)
            memcpy(&acc[row + m][column], sums, sizeof(sums));
        else
            for (fl_size u = 0; u < count; u++) acc[row + m][column + u] = sums[u];
    }
}

/* The same product from weights that are not packed, for so few rows that packing would not pay. */
static void product_by_rows(accumulators acc, int columns, fl_size rows, const factor *f1, const real *W1,
                            const factor *f2, const real *W2, fl_size gates, fl_size hidden, fl_size unit) {
    assert(0 < rows && rows <= ROW_BLOCK && 0 < columns && columns <= COLUMNS);
    for (int v = 0; v < columns; v++) {
        fl_size units;
        const fl_size first = column_rows(gates, hidden, unit, v, &units);
        for (fl_size l = 0; l < units; l += DOTS) {
            const fl_size w_row = first + l, column = v * VL + l, count = at_most(units - l, DOTS);
            fl_size row = 0;
#if TILE_ROWS == 6
            for (; row + 4 <= rows; row += 4) dots(4, acc, row, column, f1, W1, f2, W2, w_row, count);
#endif
            for (; row + 2 <= rows; row += 2) dots(2, acc, row, column, f1, W1, f2, W2, w_row, count);
            for (; row < rows; row++) dots(1, acc, row, column, f1, W1, f2, W2, w_row, count);
        }
    }
}

/* The part of a forward panel that comes from one weight matrix A (gates H, K). */
static real *pack_one(real *panel, const real *A, fl_size K, fl_size gates, fl_size hidden, fl_size unit) {
    const int columns = gates == 1 ? columns_from(unit, hidden) : (int)gates;
    for (int v = 0; v < columns; v++) {
        fl_size units;
        const real *rows = A + column_rows(gates, hidden, unit, v, &units) * K;
        real *to = panel + v * VL;
        transpose_block(to, columns * VL, rows, K, units, K);
        if (units < VL)
            for (fl_size k = 0; k < K; k++) memset(to + k * columns * VL + units, 0, (size_t)(VL - units) * sizeof(real));
    }
    return panel + K * columns * VL;
}

static void pack_columns(void *panels, fl_size gates, fl_size hidden, const void *W, fl_size input, const void *R,
                         fl_size outputs, fl_size panel0, fl_size panel1) {
    for (fl_size j = panel0; j < panel1; j++) {
        real *panel = (real *)panels + j * (input + (R ? outputs : 0)) * panel_vectors(gates) * VL;
        if (input) panel = pack_one(panel, W, input, gates, hidden, j * panel_units(gates));
        if (R) pack_one(panel, R, outputs, gates, hidden, j * panel_units(gates));
    }
}

static void pack_rows(void *panels, int vectors, const void *A, fl_size row_step, fl_size rows, fl_size columns,
                      fl_size panel0, fl_size panel1) {
    for (fl_size j = panel0; j < panel1; j++) {
        const fl_size first = j * vectors * VL;
        const int count = vectors_from(first, columns, vectors);
        real *panel = (real *)panels + first * rows;
        for (fl_size k = 0; k < rows; k++)
            for (int v = 0; v < count; v++, panel += VL)
                v_store(panel, v_load_part((const real *)A + k * row_step + first + v * VL,
                                           at_most(columns - first - v * VL, VL)));
    }
}

/* C = A B or C += A B, with B in panels. */
static void multiply(const fl_product *p, fl_size row0, fl_size row1, fl_size column0, fl_size column1) {
    assert(0 <= row0 && column0 % (p->vectors * VL) == 0 && column1 <= p->columns);
    FL_ALIGN(64) accumulators acc;
    for (fl_size column = column0; column < column1; column += p->vectors * VL) {
        const int columns = vectors_from(column, p->columns, p->vectors);
        for (fl_size row = row0, rows; row < row1; row += rows) {
            rows = next_rows(row, row1);
            const factor a = {(const real *)p->a + row * p->a_row_step, p->a_row_step, p->a_k_step, p->K};
            product(acc, columns, rows, &a, NULL, (const real *)p->panels + column * p->K);
            for (fl_size m = 0; m < rows; m++)
                for (int v = 0; v < columns; v++) {
                    real *c = (real *)p->c + (row + m) * p->c_row_step + column + v * VL;
                    const fl_size n = at_most(p->columns - column - v * VL, VL);
                    const vec result = v_load(&acc[m][v * VL]);
                    v_store_part(c, p->add ? v_add(v_load_part(c, n), result) : result, n);
                }
        }
    }
}

static void transpose(void *a_transposed, const void *a, fl_size rows, fl_size columns, fl_size column0,
                      fl_size column1) {
    transpose_block((real *)a_transposed + column0 * rows, rows, (const real *)a + column0, columns, rows,
                    column1 - column0);
}

static void unpack_gradient(void *dA, const void *G, fl_size gates, fl_size hidden, fl_size K, int add, fl_size unit0,
                            fl_size unit1) {
    const fl_size units = panel_units(gates), width = panel_vectors(gates) * VL;
    const fl_size columns = (hidden + units - 1) / units * width;
    real block[VL * VL];
    for (fl_size unit = unit0; unit < unit1;) {
        const fl_size at = unit % units, n = at_most(at_most(VL - at % VL, unit1 - unit), hidden - unit);
        for (fl_size gate = 0; gate < gates; gate++) {
            const real *from = (const real *)G + unit / units * width + gate * VL + at;
            real *to = (real *)dA + (gate * hidden + unit) * K;
            if (!add) {
                transpose_block(to, K, from, columns, K, n);
                continue;
            }
            for (fl_size k0 = 0; k0 < K; k0 += VL) {
                const fl_size part = at_most(K - k0, VL);
                transpose_block(block, VL, from + k0 * columns, columns, part, n);
                for (fl_size u = 0; u < n; u++) {
                    real *row = to + u * K + k0;
                    v_store_part(row, v_add(v_load_part(row, part), v_load(block + u * VL)), part);
                }
            }
        }
        unit += n;
    }
}

#endif
