/* The recurrent product: a few batch rows times one panel of packed weights, kept in registers.
 *
 * A panel is a matrix of K rows and up to COLUMNS vectors. A forward panel has one vector per gate, for the same VL
 * hidden units, where there are several gates; all others have neighbouring units. The result goes to a small
 * accumulator block in L1, from which the cell equations go on.
 */
#ifndef FL_PRODUCT_H
#define FL_PRODUCT_H

#include "kernels.h"
#include "simd/simd.h"

#ifndef FL_TARGET_DEVICE /* where products are a library's */
#include "step/transpose.h"

#define COLUMNS 4 /* vectors per panel */
#if defined(FL_TARGET_AVX512) || defined(FL_TARGET_NEON)
#define TILE_ROWS 6 /* 6 x 4 accumulators, 4 weights, 1 input: 29 of 32 registers */
#else
#define TILE_ROWS 3 /* 3 x 4 accumulators of 16 registers */
#endif

/* The hardware fetches a panel that a single tile reads from end to end: to ask for it too takes a third longer. Where
 * more tiles read a panel after one another, each asks for a share of the panel's next block meanwhile, so that no tile
 * waits for all of it. */

typedef real accumulator_row[COLUMNS * VL];
typedef accumulator_row accumulators[FL_ROW_BLOCK];

/* A factor's first row: the value at row m and column k is a[m * row_step + k * k_step]; it has K columns. `panel`
 * is what they are multiplied with. */
typedef struct {
    const real *a;
    fl_size row_step, k_step, K;
    const char *panel;
    const real *rescale; /* what the sums before are multiplied by, a value for each column; or NULL */
} factor;

#if FL_BITS == 32
FL_INLINE fl_size weight_bytes(fl_format format) { return format == FL_BFLOAT16 ? 2 : format == FL_INT8 ? 1 : 4; }
FL_INLINE vec v_load_weights(const fl_format format, const char *panel, int v) {
    if (format == FL_BFLOAT16) return v_load_bfloat16((const uint16_t *)panel + v * VL);
    if (format == FL_INT8) return v_load_int8((const int8_t *)panel + v * VL);
    return v_load((const real *)panel + v * VL);
}
#else /* there is one format only */
FL_INLINE fl_size weight_bytes(fl_format format) { return (void)format, 8; }
FL_INLINE vec v_load_weights(const fl_format format, const char *panel, int v) {
    return (void)format, v_load((const real *)panel + v * VL);
}
#endif

/* Return where the panel that begins at `column` lies. */
FL_INLINE const char *panel_at(const void *panels, fl_format format, fl_size K, fl_size column) {
    return panels ? (const char *)panels + column * K * weight_bytes(format) : NULL;
}

enum { ALONE = -1 };

/* acc = [f1 f2] panels, or acc += where `add`, sizes known at compile time. A row's result is one sum over k, in
 * order: it does not depend on the rows beside it, nor on how many there are. `share` says which of the tiles that
 * read the panel this is, or ALONE. */
FL_INLINE void tile(const int rows, const int columns, const fl_format format, const int alone, accumulators acc,
                    fl_size row, const factor *f1, const factor *f2, int add, int share) {
    const fl_size step = columns * VL * weight_bytes(format), share_step = VL * weight_bytes(format);
    vec sum[TILE_ROWS][COLUMNS];
    FL_UNROLL
    for (int m = 0; m < rows; m++) FL_UNROLL
    for (int v = 0; v < columns; v++) sum[m][v] = add ? v_load(&acc[row + m][v * VL]) : v_zero();

    for (const factor *f = f1; f; f = f == f1 ? f2 : NULL) {
        const fl_size row_step = f->row_step, k_step = f->k_step;
        const real *a = f->a + row * row_step;
        const char *panel = f->panel;
        if (format == FL_INT8 && f->rescale) FL_UNROLL
        for (int v = 0; v < columns; v++) FL_UNROLL
        for (int m = 0; m < rows; m++) sum[m][v] = v_mul(sum[m][v], v_load(f->rescale + v * VL));
        /* The first tiles share the next block; the others ask for what is there already. */
        const char *next = share < columns ? panel + f->K * (step + share * share_step) : panel;
        FL_NO_UNROLL
        for (fl_size k = f->K; k > 0; k--) {
            vec w[COLUMNS];
            FL_UNROLL
            for (int v = 0; v < columns; v++) w[v] = v_load_weights(format, panel, v);
            if (!alone) v_prefetch(next);
            FL_UNROLL
            for (int m = 0; m < rows; m++) {
                vec x = v_set1(a[m * row_step]);
                FL_UNROLL
                for (int v = 0; v < columns; v++) sum[m][v] = v_fma(x, w[v], sum[m][v]);
            }
            a += k_step;
            panel += step;
            if (!alone) next += share_step;
        }
    }

    FL_UNROLL
    for (int m = 0; m < rows; m++) FL_UNROLL
    for (int v = 0; v < columns; v++) v_store(&acc[row + m][v * VL], sum[m][v]);
}

typedef void (*tile_function)(accumulators acc, fl_size row, const factor *f1, const factor *f2, int add, int share);
#define TILE(rows, columns, format)                                                                                   \
    static void tile_##rows##x##columns##_##format(accumulators acc, fl_size row, const factor *f1, const factor *f2, \
                                                   int add, int share) {                                              \
        if (share == ALONE)                                                                                           \
            tile(rows, columns, format, 1, acc, row, f1, f2, add, share);                                             \
        else                                                                                                          \
            tile(rows, columns, format, 0, acc, row, f1, f2, add, share);                                             \
    }
#define TILES(rows, format) TILE(rows, 1, format) TILE(rows, 2, format) TILE(rows, 3, format) TILE(rows, 4, format)
#define NAMES(rows, format) \
    {tile_##rows##x1_##format, tile_##rows##x2_##format, tile_##rows##x3_##format, tile_##rows##x4_##format}
#if TILE_ROWS == 6
#define ALL_TILES(format) \
    TILES(1, format) TILES(2, format) TILES(3, format) TILES(4, format) TILES(5, format) TILES(6, format)
#define ALL_NAMES(format) \
    {NAMES(1, format), NAMES(2, format), NAMES(3, format), NAMES(4, format), NAMES(5, format), NAMES(6, format)}
#else
#define ALL_TILES(format) TILES(1, format) TILES(2, format) TILES(3, format)
#define ALL_NAMES(format) {NAMES(1, format), NAMES(2, format), NAMES(3, format)}
#endif
ALL_TILES(FL_FULL)
#if FL_BITS == 32
ALL_TILES(FL_BFLOAT16)
ALL_TILES(FL_INT8)
static const tile_function tiles[][TILE_ROWS][COLUMNS] = {ALL_NAMES(FL_FULL), ALL_NAMES(FL_BFLOAT16),
                                                          ALL_NAMES(FL_INT8)};
#else
static const tile_function tiles[][TILE_ROWS][COLUMNS] = {ALL_NAMES(FL_FULL)};
#endif

/* acc = [f1 f2] panels, or acc +=, in tiles of nearly equal height. */
FL_INLINE void product_block(accumulators acc, int columns, fl_size rows, fl_format format, const factor *f1,
                             const factor *f2, int add) {
    const fl_size count = (rows + TILE_ROWS - 1) / TILE_ROWS;
    for (fl_size n = 0, row = 0; n < count; n++) {
        const fl_size height = n + 1 < count ? (rows - row) / (count - n) : rows - row;
        tiles[format][height - 1][columns - 1](acc, row, f1, f2, add, count == 1 ? ALONE : (int)n);
        row += height;
    }
}

/* acc = [f1 f2] panels for up to FL_ROW_BLOCK rows. f2 may be NULL. */
static void product(accumulators acc, int columns, fl_size rows, fl_format format, const factor *f1, const factor *f2) {
    assert(0 < rows && rows <= FL_ROW_BLOCK && 0 < columns && columns <= COLUMNS);
    const fl_size step = columns * VL * weight_bytes(format);
    if (rows <= TILE_ROWS || (f1->K + (f2 ? f2->K : 0)) * step <= FL_PANEL_BLOCK) {
        product_block(acc, columns, rows, format, f1, f2, 0);
        return;
    }
    const fl_size block = FL_PANEL_BLOCK / step;
    for (const factor *f = f1; f; f = f == f1 ? f2 : NULL)
        for (fl_size k = 0, K; k < f->K; k += K) {
            K = at_most(f->K - k, block);
            const factor part = {f->a + k * f->k_step, f->row_step,          f->k_step, K,
                                 f->panel + k * step,  k ? NULL : f->rescale};
            product_block(acc, columns, rows, format, &part, NULL, f != f1 || k > 0);
        }
}

/* Return the height of the next accumulator block of the rows from `row` to `end`; all are nearly equal. */
FL_INLINE fl_size next_rows(fl_size row, fl_size end) {
    const fl_size rows = end - row, blocks = (rows + FL_ROW_BLOCK - 1) / FL_ROW_BLOCK;
    return rows <= FL_ROW_BLOCK ? rows : (rows + blocks - 1) / blocks; /* a division is long beside a small step */
}

/* Return how many vectors the panel has that begins at `column` of `columns`; a whole one has `vectors`. */
FL_INLINE int vectors_from(fl_size column, fl_size columns, int vectors) {
    return (int)at_most((columns - column + VL - 1) / VL, vectors);
}

FL_INLINE int columns_from(fl_size unit, fl_size hidden) { return vectors_from(unit, hidden, COLUMNS); }

/* In a whole forward panel, the vectors of neighbouring units that each gate has; the units that it holds; and all
 * vectors, as in fl_panel_units. */
FL_INLINE int vectors_of_gate(fl_size gates) { return gates > 1 ? 1 : COLUMNS; }
FL_INLINE fl_size panel_units(fl_size gates) { return vectors_of_gate(gates) * VL; }
FL_INLINE int panel_vectors(fl_size gates) { return (int)gates * vectors_of_gate(gates); }

/* Return the first row in the weights of a forward panel's vector v, where the panel begins at `unit`; store its number
 * of units. */
FL_INLINE fl_size column_rows(fl_size gates, fl_size hidden, fl_size unit, int v, fl_size *units) {
    const int alone = vectors_of_gate(gates) > 1;
    const fl_size first = alone ? unit + v * VL : unit;
    *units = at_most(hidden - first, VL);
    return alone ? first : v * hidden + first;
}

/* Return how many lanes of a panel's row each gate has: those of a vector, or fewer in a last panel with so few units
 * that gates share vectors. And the vectors of such a row. */
FL_INLINE fl_size lanes_of_gate(fl_size gates, fl_size units) {
    fl_size lanes = VL;
    while (gates > 1 && 2 * units <= lanes) lanes /= 2;
    return lanes;
}
FL_INLINE int vectors_of_gates(fl_size gates, fl_size units) {
    return (int)((gates * lanes_of_gate(gates, units) + VL - 1) / VL);
}

/* acc = [f1 f2] panels for a forward panel of so many gates and units, with a vector for each gate. */
static void product_of_gates(accumulators acc, fl_size gates, fl_size units, fl_size rows, fl_format format,
                             const factor *f1, const factor *f2) {
    const fl_size lanes = lanes_of_gate(gates, units);
    product(acc, vectors_of_gates(gates, units), rows, format, f1, f2);
    if (lanes == VL) return;
    for (fl_size m = 0; m < rows; m++)
        for (fl_size gate = gates - 1; gate > 0; gate--) v_store(&acc[m][gate * VL], v_load(&acc[m][gate * lanes]));
}

/* Return the columns of whole panels that hold so many columns. */
FL_INLINE fl_size padded_to_panels(fl_size columns) {
    return (columns + COLUMNS * VL - 1) / (COLUMNS * VL) * (COLUMNS * VL);
}

enum { DOTS = 4 }; /* weight rows at once, in products by rows */

/* Compute the dot products of `rows` rows of [f1 f2], from `row` on, with up to DOTS rows of [W1 W2], from w_row on. */
FL_INLINE void dots(const int rows, accumulators acc, fl_size row, fl_size column, const factor *f1, const real *W1,
                    const factor *f2, const real *W2, fl_size w_row, fl_size count) {
    vec sum[4][DOTS];
    FL_UNROLL
    for (int m = 0; m < rows; m++) FL_UNROLL
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

/* Compute the product from weights that are not packed, for so few rows that packing would not pay. */
static void product_by_rows(accumulators acc, int columns, fl_size rows, const factor *f1, const real *W1,
                            const factor *f2, const real *W2, fl_size gates, fl_size hidden, fl_size unit) {
    assert(0 < rows && rows <= FL_ROW_BLOCK && 0 < columns && columns <= COLUMNS);
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

static void pack_columns(void *panels, fl_size gates, fl_size hidden, const void *A, fl_size K, fl_size panel0,
                         fl_size panel1) {
    for (fl_size j = panel0; j < panel1; j++) {
        const fl_size unit = j * panel_units(gates), lanes = lanes_of_gate(gates, hidden - unit);
        const int blocks = gates > 1 ? (int)gates : columns_from(unit, hidden);
        const fl_size width = (gates > 1 ? vectors_of_gates(gates, hidden - unit) : blocks) * VL;
        real *panel = (real *)panels + j * K * panel_vectors(gates) * VL;
        if (hidden - unit < panel_units(gates)) memset(panel, 0, (size_t)(K * width) * sizeof(real));
        for (int v = 0; v < blocks; v++) {
            fl_size units;
            const real *rows = (const real *)A + column_rows(gates, hidden, unit, v, &units) * K;
            transpose_block(panel + v * lanes, width, rows, K, units, K);
        }
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

/* Compute C = A B or C += A B, with B in panels. */
static void multiply(const fl_product *p, fl_size row0, fl_size row1, fl_size column0, fl_size column1) {
    const int vectors = p->vectors ? p->vectors : COLUMNS;
    const fl_size H = p->columns, width = p->gates > 1 ? VL : vectors * VL;
    assert(0 <= row0 && column0 % width == 0 && column1 <= H);
    FL_ALIGN(64) accumulators acc;
    for (fl_size column = column0; column < column1; column += width) {
        const int columns = p->gates > 1 ? (int)p->gates : vectors_from(column, H, vectors); /* of the result */
        const char *panel = panel_at(p->panels, p->format, p->K, column * p->gates);
        for (fl_size row = row0, rows; row < row1; row += rows) {
            rows = next_rows(row, row1);
            const factor a = {(const real *)p->a + row * p->a_row_step, p->a_row_step, p->a_k_step, p->K, panel, NULL};
            if (p->gates > 1)
                product_of_gates(acc, p->gates, H - column, rows, p->format, &a, NULL);
            else if (p->vectors)
                product(acc, columns, rows, p->format, &a, NULL);
            else
                product_by_rows(acc, columns, rows, &a, p->panels, NULL, NULL, 1, H, column);
            for (fl_size m = 0; m < rows; m++)
                for (int v = 0; v < columns; v++) {
                    const fl_size first = p->gates > 1 ? column : column + v * VL, n = at_most(H - first, VL);
                    real *c = (real *)p->c + (row + m) * p->c_row_step + (p->gates > 1 ? v * H : 0) + first;
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

#endif
