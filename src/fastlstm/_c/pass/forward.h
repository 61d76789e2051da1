/* A forward pass of one layer in one direction: how it uses its memory and its weights, and what each of its steps
 * reads and writes. The loops over time are in _engine/forward.pyx and network/forward.c.
 *
 * `s` counts steps in the order in which they run, `t` in time: they differ in the reverse direction. P values are in a
 * row of y, H without a projection; K are what the next step sees: extra columns too. */
#ifndef FL_PASS_FORWARD_H
#define FL_PASS_FORWARD_H

#include "pass/arena.h"
#include "pass/packing.h"
#include "pass/tape.h"

typedef struct {
    const fl_kernels *k;
    fl_forward_step step;
    fl_ask_stop stopped;
    fl_forward constant; /* what is the same at every step */
    fl_carry between;    /* likewise, between two steps */
    fl_rows rows;
    int reverse;
    fl_size size;      /* bytes of a value */
    fl_size cell_size; /* bytes of a cell, and of a sum */
    fl_size gates;     /* blocks of H */
    fl_size outputs;   /* P */
    fl_size block;     /* hidden units that a thread's share is made of */
    fl_size unit_work; /* multiply-adds that a step takes for a row and unit; 0 on a device */
    int taped;
    int y_on_tape;  /* Is y^{t-1} on the tape? */
    int carries;    /* Does anything lie between two steps? */
    int packed;     /* Are the weights given as panels? */
    int direct;     /* A step reads y where the step before has written it for the caller. */
    int packs;      /* The steps read panels, else the weights as they are. */
    int hoists_few; /* W x may be hoisted for few rows too: somebody has packed the weights, once and for all. */
    int hoists;     /* W x is one product over many steps, before them; else it is part of each step. */
    fl_division division;
    fl_size s0, s1;     /* the steps to run */
    fl_size s_end;      /* where the steps end: nothing is handed on */
    fl_size wx_row;     /* of `wx`, the row of all steps at which it begins */
    const char *x;      /* (rows, I) */
    const char *wx;     /* (rows of some steps, gates H), or NULL */
    const char *h0;     /* (B, P) */
    const char *c0;     /* (B, H) */
    const char *extra0; /* (B, K - P) the extra columns that the first step sees, or NULL */
    char *y;            /* (rows, ...): P values every y_step */
    fl_size y_step;
    char *h_last;     /* (B, P) */
    char *c_last;     /* (B, H) */
    char *extra_last; /* (B, K - P), or NULL */
    const char *proj; /* (P, H), or NULL */
    fl_tape tape;
    fl_size block_rows; /* in a block of steps */
    /* Recompute: a segment's rows, or 0. The first pass, without a tape, keeps the state that each segment's first step
     * sees; then each segment runs `again`, its tape in the workspace. */
    fl_size segment;
    int again;
    char *checkpoints_y;        /* (segments, B, K) */
    char *checkpoints_c;        /* (segments, B, H), or NULL */
    char *checkpoints_y_before; /* (segments, B, P) for zoneout y^{t-1} itself, or NULL */
    /* Options. */
    const char *reset;  /* (rows,) bytes, or NULL */
    const char *zone_y; /* (rows, P), or NULL */
    const char *zone_c; /* (rows, H), or NULL */
    /* Workspace. */
    char *W_panels, *R_panels; /* may be given */
    char *proj_panels;
    char *wx_space;
    char *pong;    /* (2, B, K): y^{t-1} as seen, where it is not on the tape */
    char *m_space; /* (B, H), without a tape */
    char *c_space; /* (B, H), likewise */
} fl_forward_pass;

/* Return whether there are enough rows for packing weights to pay. */
static inline int fl_many_rows(const fl_rows *r) { return r->invariant || r->count >= FL_ROWS_TO_PACK; }

/* Decide whether W x is hoisted and whether the steps read panels. `weight_size` is the bytes of a stored weight. */
void fl_plan_weights(fl_forward_pass *f, fl_size weight_size);

/* Lay out the workspace. */
void fl_lay_out_forward_pass(fl_forward_pass *f, fl_arena *arena);

/* Divide the work. */
void fl_divide_forward_pass(fl_forward_pass *f, int num_threads);

/* The gates that panels of W hold side by side: all for a step; for W x before the steps one, whose results lie side by
 * side too. Weights that are given as panels serve both. */
static inline fl_size fl_gates_side_by_side(const fl_forward_pass *f) { return f->hoists && !f->packed ? 1 : f->gates; }

/* Return W x of a block of steps, as a task for fl_multiply. */
fl_multiplication fl_hoisted_product(fl_forward_pass *f, fl_span block);

/* Start with the initial state: write the final state of rows without a step, and what the first steps see. */
void fl_start_forward_pass(const fl_forward_pass *f);

/* Keep what the first step of a segment sees; or restore it, and write the states that the segment's later rows begin
 * with. */
void fl_keep_checkpoint(const fl_forward_pass *f, fl_span segment);
void fl_begin_segment(fl_forward_pass *f, fl_span segment);

/* Run some rows and units of step s; return the number of multiply-adds. */
fl_size fl_run_forward_step(const fl_forward_pass *f, fl_size s, fl_share own);

/* Hand y and c from step s to the next, for a part's rows, hidden units and columns of y; write the final states of
 * rows that end. */
void fl_hand_on(const fl_forward_pass *f, fl_size s, fl_share own, fl_size column0, fl_size column1);

/* Return where step s writes y for the caller, and where what is projected. */
char *fl_y_of(const fl_forward_pass *f, fl_size s);
char *fl_m_of(const fl_forward_pass *f, fl_size s);

#endif
