/* A forward pass of one layer in one direction: how it uses its memory and its weights, and what each of its steps
 * reads and writes. The loops over time are in _engine/forward.pyx and network/forward.c.
 *
 * `s` counts steps in the order in which they run, `t` in time: they differ in the reverse direction. A row of y has P
 * values, H without a projection; a row of y as the next step sees it has K, with the extra columns. */
#ifndef FL_PASS_FORWARD_H
#define FL_PASS_FORWARD_H

#include "pass/arena.h"
#include "pass/packing.h"
#include "pass/tape.h"

typedef struct {
    const fl_kernels *k;
    const fl_kernels *over_time; /* what computes W x of many steps at once: `k`, or those of a library */
    fl_forward_step step;
    fl_ask_stop stopped;
    fl_forward constant; /* a step's arguments that are the same at every step */
    fl_carry between;    /* arguments of `carry` that are the same between any two steps */
    fl_rows rows;
    int reverse;
    fl_size size;        /* bytes of a value */
    fl_size cell_size;   /* bytes of a value of c, and of a sum */
    fl_size weight_size; /* bytes of a value of W and R as they are stored */
    fl_size gates;       /* number of gate blocks */
    fl_size outputs;     /* P */
    fl_size block;       /* hidden units in a block, of which a thread's share has whole ones */
    fl_size unit_work;   /* multiply-adds of a step per row and unit; 0 on a device */
    int taped;           /* Is there a tape? */
    int y_on_tape;       /* Is y^{t-1} on the tape? */
    int carries;         /* Does anything lie between two steps? */
    int packed;          /* Are the weights given as panels? */
    int direct;          /* Does a step read y where the previous step has written it for the caller? */
    int packs;           /* Do the steps read panels? Else they read the weights as they are. */
    int packs_W;         /* Does the product W x over many steps read panels? */
    int hoists_few;      /* May W x be hoisted for few rows too? Where the weights are packed once for many calls. */
    int hoists;          /* Is W x one product over many steps, before them? Else it is part of each step. */
    fl_division division;
    fl_size s0, s1;     /* the steps [s0, s1) to run */
    fl_size s_end;      /* the end of the steps, after which no state is passed on */
    fl_size wx_row;     /* the row, among all rows, at which `wx` begins */
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
    fl_size block_rows; /* rows in a block of steps */
    /* Recompute. The first pass, without a tape, keeps checkpoints: the state that each segment's first step sees. Then
     * each segment runs again, with its tape in the workspace. */
    fl_size segment;            /* rows of a segment; 0 without recompute */
    int again;                  /* Does this pass run a segment again? */
    char *checkpoints_y;        /* (segments, B, K) */
    char *checkpoints_c;        /* (segments, B, H), or NULL */
    char *checkpoints_y_before; /* (segments, B, P): with zoneout, y^{t-1} itself; or NULL */
    /* Options. */
    const char *reset;  /* (rows,) bytes, or NULL */
    const char *zone_y; /* (rows, P), or NULL */
    const char *zone_c; /* (rows, H), or NULL */
    /* Workspace. */
    char *W_panels, *R_panels; /* may be given */
    char *proj_panels;
    char *wx_space;
    char *pong;    /* (2, B, K): y^{t-1} as the steps see it, where it is not on the tape */
    char *m_space; /* (B, H): m, without a tape */
    char *c_space; /* (B, H): c, without a tape */
} fl_forward_pass;

/* Return whether steps keep a c that is y in the precision of cells. Without anything between two steps they read it as
 * y alone; on a device y may have fewer bits. */
static inline int fl_keeps_y_as_c(const fl_forward_pass *f) {
    return fl_row_of_cell(f->constant.cell->kind)->c_is_y && (f->taped || !f->direct || f->k->device);
}

/* Return whether there are enough rows for packing weights to pay. */
static inline int fl_many_rows(const fl_rows *r) { return r->invariant || r->count >= FL_ROWS_TO_PACK; }

/* Decide whether W x is hoisted and whether the steps read panels. */
void fl_plan_weights(fl_forward_pass *f);

/* Lay out the workspace. */
void fl_lay_out_forward_pass(fl_forward_pass *f, fl_arena *arena);

/* Divide the work. */
void fl_divide_forward_pass(fl_forward_pass *f, int num_threads);

/* Return the number of gates that panels of W hold side by side: all of them for a step; one for W x before the steps,
 * so that its results lie side by side. Weights that are given as panels serve both. */
static inline fl_size fl_gates_side_by_side(const fl_forward_pass *f) {
    return f->hoists && !f->packed ? 1 : fl_gates_of_panel(f->constant.cell);
}

/* Return R as panels, for the first or the second product of a step: a task for fl_pack. */
fl_packing fl_R_to_pack(const fl_forward_pass *f, int product);
/* Return the number of values of these panels for all products. */
fl_size fl_R_panels(const fl_forward_pass *f);

/* Return W x of a block of steps, as a task for fl_multiply. */
fl_multiplication fl_hoisted_product(fl_forward_pass *f, fl_span block);

/* Start with the initial state: write it as the final state of rows without a step, and as what the first steps see. */
void fl_start_forward_pass(const fl_forward_pass *f);

/* Keep a checkpoint, which is what the first step of a segment sees; or restore it, and write the states with which
 * later rows of the segment begin. */
void fl_keep_checkpoint(const fl_forward_pass *f, fl_span segment);
void fl_begin_segment(fl_forward_pass *f, fl_span segment);

/* Run some rows and units of step s; return the number of multiply-adds. `step` is a copy of `constant`, which steps
 * that run one after the other in a thread fill in turns. */
fl_size fl_run_forward_step(const fl_forward_pass *f, fl_forward *step, fl_size s, fl_share own);

/* Pass y and c from step s to the next, for a part's rows, hidden units and columns of y; write the final states of
 * rows that end. */
void fl_hand_on(const fl_forward_pass *f, fl_size s, fl_share own, fl_size column0, fl_size column1);

/* Return where step s writes y for the caller, and where it writes m, the projection's input. */
char *fl_y_of(const fl_forward_pass *f, fl_size s);
char *fl_m_of(const fl_forward_pass *f, fl_size s);

#endif
