/* How a program is divided among blocks of threads (see resident.h): decided on the host. */
#ifndef FL_GEOMETRY_H
#define FL_GEOMETRY_H

#include "device/program.h"

enum { WARPS = 8 };
typedef struct {
    FL_CHUNK_ALIGN stored values[CHUNK];
} chunk;
/* The fewest and the most batch rows of a tile, which has SUMS sums in all. The inner dimension is padded with zeros to
 * a multiple of STEP. Tiles of tensor cores have 16 lines and 8 rows, up to 4 of them side by side. */
#ifdef FL_TENSOR_CORES
enum { FEWEST_TOGETHER = 8, MOST_TOGETHER = 32, STEP = 16 };
FL_BOTH int lines_of_tile(int together) { return (void)together, 16; }
#else
enum { FEWEST_TOGETHER = 1, MOST_TOGETHER = 8, SUMS = 32, STEP = WARP * CHUNK };
FL_BOTH int lines_of_tile(int together) { return SUMS / together; }
#endif

/* The division of a program among blocks. */
typedef struct {
    fl_size groups, members; /* member m of group g is block g members + m */
    fl_size rows, units;     /* the most batch rows and hidden units of a block */
    fl_size gates;           /* rows of weights for a unit */
    fl_size inner, padded;   /* values in a row of weights; the same, padded with zeros to a multiple of STEP */
    fl_size stride;          /* values from a row of weights to the next, so that a column is spread over banks */
    int together, parts;     /* batch rows of a tile; warps that share a tile */
    fl_size bytes;           /* bytes of a block's own memory */
    int cluster;             /* whether the members of a group are a cluster */
} geometry;

/* The limits of one kernel on a device. */
typedef struct {
    fl_size blocks, bytes; /* blocks at the same time; bytes of a block's own memory */
    fl_size cluster;       /* the most blocks of a cluster; 0 where there are no clusters */
} limits;

/* The bytes of a block's memory for the current operation and the cell. */
enum { OWN_BYTES = (sizeof(op) + sizeof(fl_cell) + 15) / 16 * 16 };

FL_BOTH fl_size ceil_div(fl_size a, fl_size b) { return (a + b - 1) / b; }
FL_BOTH fl_size smaller(fl_size a, fl_size b) { return a < b ? a : b; }
FL_BOTH fl_size larger(fl_size a, fl_size b) { return a > b ? a : b; }

/* Return the first step of a program whose steps can share their weights, NULL for any other program; store the number
 * of its batch rows. */
static const op *first_step(const program *p, fl_size *rows) {
    const op *first = NULL;
    int steps = 0;
    *rows = 0;
    if (fl_has_whole_rows(&p->cell)) return NULL;
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

/* Return the number of hidden units, at most `units`, for which a block has memory. */
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

/* Divide a program, into clusters or not; return 0 where that is impossible. */
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

/* Return whether a program runs in one kernel: as asked for, or where that is likely to be faster than single steps. */
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

#endif
