/* What a device is to do, step after step: the loops over time put it here, and it runs when something else is
 * asked for.
 *
 * So a device has many steps in hand at once. It may run them one by one, a product and a kernel each; or all of
 * them in one kernel whose blocks keep their part of R on the chip (resident.h).
 */
#ifndef FL_PROGRAM_H
#define FL_PROGRAM_H

#include "kernels.h"

typedef enum { OP_FORWARD, OP_BACKWARD, OP_CARRY, OP_COPY } op_kind;

typedef struct {
    void *to;
    const void *from;
    fl_size to_step, from_step, bytes;
} row_copy;
typedef struct {
    fl_carry s;
    fl_size columns, units; /* values in a row of y, and of c */
} row_carry;

/* An operation on batch rows [row0, row1) and all units. */
typedef struct {
    op_kind kind;
    fl_size row0, row1;
    union {
        fl_forward forward;
        fl_backward backward;
        row_carry carry;
        row_copy copy;
    } of;
} op;

/* A program is an argument of a kernel, whose arguments may take 32,764 bytes. */
enum { MOST_OPS = 80 };
typedef struct {
    fl_cell cell;   /* the cell of all steps */
    op_kind kind;   /* the kind of all steps; OP_CARRY where there is no step yet */
    fl_size hidden; /* H of all steps */
    int count;      /* number of ops */
    op ops[MOST_OPS];
} program;

#ifdef __CUDACC__
#define FL_BOTH static __host__ __device__ inline /* functions of the processor and of the device */
#else
#define FL_BOTH static inline
#endif

FL_BOTH int is_step(op_kind kind) { return kind == OP_FORWARD || kind == OP_BACKWARD; }
FL_BOTH int is_forward(op_kind kind) { return kind == OP_FORWARD; }

/* What a step multiplies: its R, and the values in a row of that. */
FL_BOTH const void *weights_of(const op *o) { return is_forward(o->kind) ? o->of.forward.R : o->of.backward.y.panels; }
FL_BOTH fl_size inner_of(const op *o) { return is_forward(o->kind) ? o->of.forward.outputs : o->of.backward.y.K; }

#endif
