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

#include "device/program.h"

enum { WARPS = 8 };
typedef struct {
    FL_CHUNK_ALIGN stored values[CHUNK];
} chunk;
/* A tile has so many batch rows at least and at most, and SUMS sums in all; with zeros the inner dimension is a
 * multiple of STEP. Those of tensor cores have 16 lines and 8 rows, up to 4 of them side by side. */
#ifdef FL_TENSOR_CORES
enum { FEWEST_TOGETHER = 8, MOST_TOGETHER = 32, STEP = 16 };
FL_BOTH int lines_of_tile(int together) { return (void)together, 16; }
#else
enum { FEWEST_TOGETHER = 1, MOST_TOGETHER = 8, SUMS = 32, STEP = WARP * CHUNK };
FL_BOTH int lines_of_tile(int together) { return SUMS / together; }
#endif

/* How a program is divided among blocks. */
typedef struct {
    fl_size groups, members; /* blocks: member m of group g is block g members + m */
    fl_size rows, units;     /* of a block, at most */
    fl_size gates;           /* rows of weights for a unit */
    fl_size inner, padded;   /* values in a row of weights; with zeros, a multiple of STEP, */
    fl_size stride;          /* and from a row to the next: not one that puts a column into one bank of memory */
    int together, parts;     /* batch rows of a tile; warps for one tile */
    fl_size bytes;           /* of a block's own memory */
    int cluster;             /* the members are a cluster */
} geometry;

/* What a device has for one kernel. */
typedef struct {
    fl_size blocks, bytes; /* at the same time; own memory of each */
    fl_size cluster;       /* most blocks in one; 0 where there are none */
} limits;

/* Of a block's memory, for the op at hand and the cell. */
enum { OWN_BYTES = (sizeof(op) + sizeof(fl_cell) + 15) / 16 * 16 };

FL_BOTH fl_size ceil_div(fl_size a, fl_size b) { return (a + b - 1) / b; }
FL_BOTH fl_size smaller(fl_size a, fl_size b) { return a < b ? a : b; }
FL_BOTH fl_size larger(fl_size a, fl_size b) { return a > b ? a : b; }

/* ---- on the host: whether and how ---- */

/* The first step of a program whose steps can share their weights; NULL of any other. Its rows are in `rows`. */
static const op *first_step(const program *p, fl_size *rows) {
    const op *first = NULL;
    int steps = 0;
    *rows = 0;
    for (int k = 0; k < p->count; k++) {
        const op *o = &p->ops[k];
        *rows = larger(*rows, o->row1);
        if (o->kind == OP_CARRY && ((o->of.carry.columns && o->of.carry.columns != p->hidden) ||
                                    (o->of.carry.units && o->of.carry.units != p->hidden)))
            return NULL;
        if (!is_step(o->kind)) continue;
        steps++;
        if (!is_forward(o->kind) && (o->of.backward.extra_panels || inner_of(o) != p->cell.gates * p->hidden))
            return NULL;
        if (first && (weights_of(o) != weights_of(first) || inner_of(o) != inner_of(first))) return NULL;
        first = first ? first : o;
    }
    return steps > 1 ? first : NULL;
}

static void divide_block(geometry *g) {
    const fl_size lines = g->units * g->gates, tiles = ceil_div(lines, lines_of_tile(g->together));
    g->parts = tiles < WARPS ? (int)(WARPS / tiles) : 1;
    g->bytes = OWN_BYTES + (lines + g->together) * g->stride * (fl_size)sizeof(stored) +
               g->parts * lines * g->together * (fl_size)sizeof(real);
}

/* Hidden units for which a block has the memory, at most `units`. */
static fl_size units_that_fit(geometry g, fl_size units, fl_size bytes) {
    fl_size low = 0, high = units; /* `low` fit; more memory for more units, nearly always */
    while (low < high) {
        g.units = low + (high - low + 1) / 2;
        divide_block(&g);
        if (g.bytes <= bytes)
            low = g.units;
        else
            high = g.units - 1;
    }
    return low;
}

/* How to divide a program, in clusters or not; 0 where it cannot be. */
static int divide_program(geometry *g, const program *p, const limits *most, int cluster) {
    fl_size rows;
    const op *first = first_step(p, &rows);
    const fl_size H = p->hidden, blocks = cluster ? most->cluster : most->blocks;
    if (!first || !blocks || !rows || !H) return 0;
    memset(g, 0, sizeof(*g));
    g->gates = is_forward(first->kind) ? p->cell.gates : 1;
    g->inner = inner_of(first);
    g->padded = ceil_div(g->inner, STEP) * STEP;
    g->stride = g->padded + CHUNK;
    g->cluster = cluster;
    fl_size fewest = 0; /* blocks that hold R, with as many batch rows at a time as there is memory for */
    for (g->together = MOST_TOGETHER; g->together >= FEWEST_TOGETHER; g->together /= 2) {
        const fl_size units = units_that_fit(*g, H, most->bytes);
        fewest = units ? ceil_div(H, units) : blocks + 1;
        if (fewest <= blocks) break;
    }
    if (fewest > blocks) return 0;
    if (cluster) {
        g->groups = smaller(most->blocks / blocks, rows);
        g->members = fewest;
        for (fl_size members = 1; members <= blocks; members *= 2) /* all of a cluster, to have few units each */
            if (members >= fewest && ceil_div(H, members) >= FL_RESIDENT_UNITS) g->members = members;
        if (!g->groups) return 0;
    } else {
        g->groups = larger(1, smaller(blocks / fewest, ceil_div(rows, MOST_TOGETHER)));
        g->members = larger(fewest, smaller(blocks / g->groups, ceil_div(H, FL_RESIDENT_UNITS)));
    }
    g->rows = ceil_div(rows, g->groups);
    g->groups = ceil_div(rows, g->rows);
    g->units = ceil_div(H, g->members);
    if (!cluster) g->members = ceil_div(H, g->units);
    while (g->together > FEWEST_TOGETHER && g->together / 2 >= g->rows) g->together /= 2;
    divide_block(g);
    return g->bytes <= most->bytes;
}

/* Whether a program is to run so, and how: as asked for, or where it is likely to be faster than step by step. */
static int choose_resident(geometry *g, const program *p, const limits *most, fl_algorithm asked) {
    const fl_size worth = sizeof(stored) == 2   ? FL_RESIDENT_WORK_16
                          : sizeof(stored) == 4 ? FL_RESIDENT_WORK_32
                                                : FL_RESIDENT_WORK_64;
    if (asked != FL_STEPS && asked != FL_RESIDENT && divide_program(g, p, most, 1) &&
        (asked == FL_CLUSTER || g->rows * g->units * g->gates * g->padded <= worth))
        return 1;
    return (asked == FL_AUTO || asked == FL_RESIDENT) && divide_program(g, p, most, 0) &&
           (asked == FL_RESIDENT || g->rows * g->units * g->gates * g->padded <= worth);
}

/* ---- in a block ---- */

typedef struct block {
    fl_size member, members, row0, row1, unit0, units;
    stored *weights, *seen; /* (units gates, padded), (together, padded) */
    real *sums;             /* (parts, units gates, together) */
    op *now;                /* the op at hand, */
    fl_cell *cell;          /* and its cell */
    uint32_t *flags, epoch; /* of the group, for group_sync */
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

/* Loads `count` rows, one every `step` values, of which the first `there` are there; all else becomes zero, to the end
 * of each row. */
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

/* The values of the inner dimension that one of the parts has. */
FL_INLINE void values_of_part(const geometry *g, int part, fl_size *first, fl_size *end) {
    const fl_size share = ceil_div(g->padded / STEP, g->parts) * STEP;
    *first = smaller(part * share, g->padded);
    *end = smaller(*first + share, g->padded);
}

#ifdef FL_TENSOR_CORES
#include "device/tensor.h"
#else
/* Adds up a tile: lines [line, line + M) of the weights times N batch rows, over the values of one part. */
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

/* The product of a block for N batch rows, which are in `seen`. */
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
#define CELL(name, NAME, has_c, gates_are_y, extra, forms) \
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
#define CELL(name, NAME, has_c, gates_are_y, extra, forms) \
    case FL_##NAME: FINISH_##forms(name##_backward_unit, sent, 1, row, unit); break;
#include "cells.def"
#undef CELL
    default: break;
    }
}

/* A step for the block's units and the batch rows [row0, row1). */
FL_FUNCTION void block_step(const block *b, const geometry *g, fl_size row0, fl_size row1) {
    const op *o = b->now;
    const int forward = is_forward(o->kind);
    const stored *from = (const stored *)(forward ? o->of.forward.y_prev : o->of.backward.y.a);
    const fl_size from_step = forward ? o->of.forward.y_prev_step : o->of.backward.y.K;
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

/* What lies between steps, one unit of one row. */
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

/* All of a program, by one block. */
FL_FUNCTION void block_program(const program *p, const geometry *g, block b) {
    int loaded = 0;
    for (int k = 0; k < p->count; k++) {
        const fl_size row0 = larger(p->ops[k].row0, b.row0), row1 = smaller(p->ops[k].row1, b.row1);
        if (row0 >= row1) continue; /* so it is for all of the group */
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
