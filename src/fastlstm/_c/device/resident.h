/* A program in one kernel: each block keeps the weights of its hidden units on the chip, for all steps.
 *
 * Blocks that have the same batch rows are a group; the members of a group have the hidden units among them, each
 * all gates of its own, so that everything but the product needs no other block. Before a step reads what the step
 * before has written, the members of the group wait for each other. A block's product is over tiles of some lines,
 * which are rows of weights, and some batch rows: 32 sums for a warp, whose lanes have every 32nd part of the inner
 * dimension each. Where there are few tiles, several warps share one, and each adds up a part.
 *
 * The including file defines, beside what device.h needs:
 *   WARP, THREADS, THREAD       threads in a warp and in a block, and which of the block this is
 *   CHUNK, load_chunk(to, from)  values that a thread reads at once; FL_CHUNK_ALIGN, how they lie
 *   block_sync()                 all threads of the block wait for each other,
 *   group_sync(block)            all blocks of the group
 *   store_tile(to, count, acc)   the first `count` of the SUMS sums, each added up over the lanes; for FL_TENSOR_CORES
 * instead of it what tensor.h needs
 */
#ifndef FL_RESIDENT_H
#define FL_RESIDENT_H

#include "device/geometry.h"

typedef struct block {
    fl_size member, members, row0, row1, unit0, units;
    stored *weights, *seen; /* (units gates, padded), (together, padded) */
    real *sums;             /* (parts, units gates, together) */
    op *now;                /* the current operation */
    fl_cell *cell;          /* the cell of the current operation */
    uint32_t *flags, epoch; /* flags of the group's members and epoch of this one, for group_sync */
    int cluster;
} block;

FL_INLINE block block_of(const geometry *g, fl_size hidden, fl_size index, char *memory, uint32_t *flags) {
    const fl_size group = index / g->members, member = index % g->members;
    block b;
    b.member = member;
    b.row0 = group * g->rows;
    b.row1 = b.row0 + g->rows;
    b.unit0 = smaller(member * g->units, hidden);
    b.units = smaller(b.unit0 + g->units, hidden) - b.unit0;
    b.now = (op *)memory;
    b.cell = (fl_cell *)(b.now + 1);
    b.weights = (stored *)(memory + OWN_BYTES);
    b.seen = b.weights + g->units * g->gates * g->stride;
    b.sums = (real *)(b.seen + g->together * g->stride);
    b.members = g->members;
    b.flags = flags + group * g->members;
    b.epoch = 0;
    b.cluster = g->cluster;
    return b;
}

/* Load `count` rows, one every `step` values, of which only the first `there` exist; fill all else with zeros, to the
 * end of each row. */
FL_INLINE void load_rows(stored *to, const geometry *g, const stored *from, fl_size step, fl_size there,
                         fl_size count) {
    enum { AHEAD = FL_CHUNKS_AHEAD };
    const int chunks = (int)(g->padded / CHUNK), all = (int)count * chunks;
    const int whole = ((size_t)from | (size_t)step * sizeof(stored)) % (CHUNK * sizeof(stored)) == 0;
    for (int first = (int)THREAD; first < all; first += AHEAD * THREADS) {
        chunk held[AHEAD];
        FL_UNROLL
        for (int n = 0; n < AHEAD; n++) {
            const int at = first + n * THREADS, row = at / chunks, k = (at - row * chunks) * CHUNK;
            const stored *here = from + row * step + k;
            if (at < all && row < there && whole && k + CHUNK <= g->inner)
                held[n] = *(const chunk *)here;
            else
                for (int v = 0; v < CHUNK; v++)
                    held[n].values[v] = at < all && row < there && k + v < g->inner ? here[v] : to_stored(0);
        }
        FL_UNROLL
        for (int n = 0; n < AHEAD; n++) {
            const int at = first + n * THREADS, row = at / chunks, k = (at - row * chunks) * CHUNK;
            if (at < all) *(chunk *)(to + row * g->stride + k) = held[n];
        }
    }
}

FL_INLINE void load_weights(const block *b, const geometry *g, const op *first, fl_size hidden) {
    const stored *weights = (const stored *)weights_of(first) + b->unit0 * g->inner;
    for (fl_size gate = 0; gate < g->gates; gate++) { /* whose lines are `gates` rows apart here */
        geometry lines = *g;
        lines.stride = g->gates * g->stride;
        load_rows(b->weights + gate * g->stride, &lines, weights + gate * hidden * g->inner, g->inner, b->units,
                  b->units);
    }
}

/* Return which values of the inner dimension a part has. */
FL_INLINE void values_of_part(const geometry *g, int part, fl_size *first, fl_size *end) {
    const fl_size share = ceil_div(g->padded / STEP, g->parts) * STEP;
    *first = smaller(part * share, g->padded);
    *end = smaller(*first + share, g->padded);
}

#ifdef FL_TENSOR_CORES
#include "device/tensor.h"
#else
/* Compute a tile: lines [line, line + M) of the weights times N batch rows, over the values of one part. */
FL_INLINE void tile_product(const block *b, const geometry *g, const int N, fl_size line, int part) {
    const int M = SUMS / N;
    const fl_size lines = b->units * g->gates, lane = THREAD % WARP;
    fl_size first, end;
    int at[SUMS]; /* where the lines begin; past the last one the last one, whose sums are not stored */
    real acc[SUMS];
    values_of_part(g, part, &first, &end);
    FL_UNROLL
    for (int m = 0; m < M; m++) at[m] = (int)(smaller(line + m, lines - 1) * g->stride);
    FL_UNROLL
    for (int i = 0; i < SUMS; i++) acc[i] = 0;
    for (fl_size k = first + lane * CHUNK; k < end; k += WARP * CHUNK) {
        real seen[MOST_TOGETHER][CHUNK];
        FL_UNROLL
        for (int n = 0; n < N; n++) load_chunk(seen[n], b->seen + n * g->stride + k);
        FL_UNROLL
        for (int m = 0; m < M; m++) {
            real weight[CHUNK];
            load_chunk(weight, b->weights + at[m] + k);
            FL_UNROLL
            for (int n = 0; n < N; n++) FL_UNROLL
            for (int v = 0; v < CHUNK; v++)
                acc[m * N + n] = v_fma(v_set1(weight[v]), v_set1(seen[n][v]), v_set1(acc[m * N + n])).lane[0];
        }
    }
    store_tile(b->sums + (part * lines + line) * N, (int)smaller(M, lines - line) * N, acc);
}
#endif

/* Compute a block's product for N batch rows, which are in `seen`. */
FL_INLINE void block_product(const block *b, const geometry *g, const int N) {
    const fl_size M = lines_of_tile(N), tiles = ceil_div(b->units * g->gates, M);
    for (fl_size task = THREAD / WARP; task < tiles * g->parts; task += THREADS / WARP)
        tile_product(b, g, N, task % tiles * M, (int)(task / tiles));
}

FL_FUNCTION void product_of_block(const block *b, const geometry *g) {
    switch (g->together) {
#ifdef FL_TENSOR_CORES
    case 8: block_product(b, g, 8); break;
    case 16: block_product(b, g, 16); break;
    default: block_product(b, g, 32);
#else
    case 1: block_product(b, g, 1); break;
    case 2: block_product(b, g, 2); break;
    case 4: block_product(b, g, 4); break;
    default: block_product(b, g, 8);
#endif
    }
}

/* What remains of a step once a block's product is there, in the form that fits: `cell` is the step for a unit. */
#define FINISH_GENERAL(cell, ...) cell(s, 0, s->p != NULL, __VA_ARGS__)
#define FINISH_WHOLE_ROWS(cell, ...) (void)0
#define FINISH_PLAIN(cell, ...)                \
    if (!plain)                                \
        cell(s, 0, s->p != NULL, __VA_ARGS__); \
    else if (s->p)                             \
        cell(s, 1, 1, __VA_ARGS__);            \
    else                                       \
        cell(s, 1, 0, __VA_ARGS__)

FL_INLINE void finish_forward(const fl_forward *s, const real *sums, fl_size row, fl_size unit) {
    const int plain = s->cell->plain;
    (void)plain;
    switch (s->cell->kind) {
#define CELL(name, NAME, forms, ...) \
    case FL_##NAME: FINISH_##forms(name##_forward_unit, sums, row, unit); break;
#include "cells.def"
#undef CELL
    default: break;
    }
}

FL_INLINE void finish_backward(const fl_backward *s, const real *sent, fl_size row, fl_size unit) {
    const int plain = s->cell->plain && s->simple;
    (void)plain;
    switch (s->cell->kind) {
#define CELL(name, NAME, forms, ...) \
    case FL_##NAME: FINISH_##forms(name##_backward_unit, sent, 1, row, unit); break;
#include "cells.def"
#undef CELL
    default: break;
    }
}

/* Run a step for the block's units and the batch rows [row0, row1). */
FL_FUNCTION void block_step(const block *b, const geometry *g, fl_size row0, fl_size row1) {
    const op *o = b->now;
    const int forward = is_forward(o->kind);
    const stored *from = (const stored *)(forward ? o->of.forward.y_prev : o->of.backward.y.a);
    const fl_size from_step = forward ? o->of.forward.y_prev_step : o->of.backward.y.a_step;
    const fl_size lines = b->units * g->gates, N = g->together;
    for (fl_size row = row0; row < row1; row += N) {
        const fl_size rows = smaller(N, row1 - row);
        if (from) {
            load_rows(b->seen, g, from + row * from_step, from_step, rows, N);
            block_sync();
            product_of_block(b, g);
            block_sync();
        }
        for (fl_size k = THREAD; k < rows * b->units; k += THREADS) {
            const place at = place_of(k, b->units);
            const fl_size n = at.row, unit = at.column;
            real acc[FL_MOST_GATES] = {0, 0, 0, 0};
            FL_UNROLL
            for (int gate = 0; gate < FL_MOST_GATES; gate++)
                for (int part = 0; from && gate < g->gates && part < g->parts; part++)
                    acc[gate] += b->sums[(part * lines + unit * g->gates + gate) * N + n];
            if (forward)
                finish_forward(&o->of.forward, acc, row + n, b->unit0 + unit);
            else
                finish_backward(&o->of.backward, acc, row + n, b->unit0 + unit);
        }
        block_sync();
    }
}

/* Run what lies between two steps, for one unit of one row. */
FL_INLINE void unit_between(const op *o, fl_size hidden, fl_size row, fl_size unit) {
    if (o->kind == OP_CARRY) {
        const row_carry *c = &o->of.carry;
        carry(&c->s, row, row + 1, unit, unit < c->columns ? unit + 1 : unit, unit, unit < c->units ? unit + 1 : unit);
    } else {
        const row_copy *c = &o->of.copy;
        char *to = (char *)c->to + row * c->to_step;
        const char *from = (const char *)c->from + row * c->from_step;
        if (c->bytes == hidden * (fl_size)sizeof(real))
            ((real *)to)[unit] = ((const real *)from)[unit];
        else
            ((stored *)to)[unit] = ((const stored *)from)[unit];
    }
}

/* Run a program, as one block. */
FL_FUNCTION void block_program(const program *p, const geometry *g, block b) {
    int loaded = 0;
    for (int k = 0; k < p->count; k++) {
        const fl_size row0 = larger(p->ops[k].row0, b.row0), row1 = smaller(p->ops[k].row1, b.row1);
        if (row0 >= row1) continue; /* as in all other blocks of the group */
        for (fl_size word = THREAD; word < (fl_size)(sizeof(op) / sizeof(uint64_t)); word += THREADS)
            ((uint64_t *)b.now)[word] = ((const uint64_t *)&p->ops[k])[word];
        if (THREAD == 0) *b.cell = p->cell;
        block_sync();
        if (is_step(b.now->kind)) {
            if (THREAD == 0) {
                if (is_forward(b.now->kind))
                    b.now->of.forward.cell = b.cell;
                else
                    b.now->of.backward.cell = b.cell;
            }
            if (!loaded && weights_of(b.now)) load_weights(&b, g, b.now, p->hidden);
            loaded = 1;
            if (k > 0)
                group_sync(&b);
            else
                block_sync();
            block_step(&b, g, row0, row1);
        } else {
            for (fl_size k = THREAD; k < (row1 - row0) * b.units; k += THREADS) {
                const place at = place_of(k, b.units);
                unit_between(b.now, p->hidden, row0 + at.row, b.unit0 + at.column);
            }
            block_sync();
        }
    }
}

#endif
