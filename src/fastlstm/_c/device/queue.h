/* The operations that wait: steps and what lies between them are put into a program, which runs when something else is
 * asked for, or at the end. A copy of rows of units joins it; all other changes of memory run it first. */
#ifndef FL_QUEUE_H
#define FL_QUEUE_H

#include "kernels.h"
#include "simd/simd.h"
#include "device/program.h"

/* ---- the program ---- */

static FL_THREAD_LOCAL program waiting;

/* Run a program, which has an operation at least. */
static void run_program(const program *p);

static void finish(void) {
    if (waiting.count) run_program(&waiting);
    waiting.count = 0;
}

/* Add an operation, whose arguments are still to be written. */
static op *add_op(op_kind kind, fl_size row0, fl_size row1) {
    if (waiting.count == MOST_OPS) finish();
    if (waiting.count == 0) waiting.kind = OP_CARRY;
    op *o = &waiting.ops[waiting.count++];
    memset(o, 0, sizeof(*o)); /* so that equal programs are equal byte for byte */
    o->kind = kind;
    o->row0 = row0;
    o->row1 = row1;
    return o;
}

/* Add a step. Where it does not fit the program that waits, that runs first. */
static op *add_step(op_kind kind, const fl_cell *cell, fl_size hidden, fl_size row0, fl_size row1) {
    if (waiting.count && is_step(waiting.kind) &&
        (waiting.kind != kind || waiting.hidden != hidden || memcmp(&waiting.cell, cell, sizeof(fl_cell))))
        finish();
    op *o = add_op(kind, row0, row1);
    waiting.kind = kind;
    waiting.hidden = hidden;
    waiting.cell = *cell;
    return o;
}

/* ---- memory ---- */

static void copy_rows(void *to, fl_size to_step, const void *from, fl_size from_step, fl_size bytes, fl_size rows);
static void clear_all(void *to, fl_size bytes);

static void copy_now(const op *o) {
    const row_copy *c = &o->of.copy;
    copy_rows((char *)c->to + o->row0 * c->to_step, c->to_step, (const char *)c->from + o->row0 * c->from_step,
              c->from_step, c->bytes, o->row1 - o->row0);
}

/* Copy rows. Between steps, rows of hidden units are copied by the program. */
static void copy(void *to, fl_size to_step, const void *from, fl_size from_step, fl_size bytes, fl_size row0,
                 fl_size row1) {
    const row_copy c = {to, from, to_step, from_step, bytes};
    const fl_size H = waiting.hidden;
    assert(row1 - row0 <= 1 || to_step >= bytes);
    if (waiting.count && is_step(waiting.kind) &&
        (bytes == H * (fl_size)sizeof(real) || bytes == H * (fl_size)sizeof(stored))) {
        add_op(OP_COPY, row0, row1)->of.copy = c;
    } else {
        op now = {OP_COPY, row0, row1, {{0}}};
        now.of.copy = c;
        finish();
        copy_now(&now);
    }
}

typedef struct {
    char *to;
    fl_size step, bytes;
    const unsigned char *which;
} marked_rows;

/* Return the row and the column of element k; a device divides 32 bits much faster than 64. */
typedef struct {
    fl_size row, column;
} place;
FL_INLINE place place_of(fl_size k, fl_size columns) {
    place at;
    if (((uint64_t)k | (uint64_t)columns) >> 32) {
        at.row = k / columns;
        at.column = k % columns;
    } else {
        const uint32_t row = (uint32_t)k / (uint32_t)columns;
        at.row = row;
        at.column = (uint32_t)k - row * (uint32_t)columns;
    }
    return at;
}

FL_FUNCTION void clear_at(const marked_rows *s, fl_size k) {
    const place at = place_of(k, s->bytes);
    if (s->which[at.row]) s->to[at.row * s->step + at.column] = 0;
}

static void clear(void *to, fl_size step, fl_size bytes, fl_size rows, const unsigned char *which) {
    const marked_rows marked = {(char *)to, step, bytes, which};
    finish();
    if (which)
        FL_EACH(clear_at, marked, rows * bytes);
    else
        for (fl_size row = 0; row < rows; row++) clear_all((char *)to + row * step, bytes);
}

#endif
