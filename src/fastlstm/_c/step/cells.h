/* The steps of all cells, and the table of them. */
#ifndef FL_CELLS_H
#define FL_CELLS_H

#include "step/fgr.h"
#include "step/gru.h"
#include "step/gru_before.h"
#include "step/lstm_forward.h"
#include "step/lstm_norm.h"
#include "step/rnn.h"

#ifndef FL_TARGET_DEVICE

#define CELL(name, NAME, forms, ...)                                                                                  \
    static void name##_outputs(const fl_cell *cell, fl_size hidden, const void *gates, const void *c, void *y,        \
                               fl_size rows, fl_size unit0, fl_size unit1) {                                          \
        for (fl_size row = 0; row < rows; row++)                                                                      \
            for (fl_size unit = unit0; unit < unit1; unit += VL) {                                                    \
                const fl_size n = at_most(unit1 - unit, VL);                                                          \
                s_store_part((stored *)y + row * hidden + unit,                                                       \
                             name##_output_again(cell, (const stored *)gates, (const real *)c, hidden, row, unit, n), \
                             n);                                                                                      \
            }                                                                                                         \
    }
#include "cells.def"
#undef CELL

static const fl_cell_kernels cell_kernels[FL_CELLS] = {
#define CELL(name, NAME, forms, ...) {name##_forward, name##_backward, name##_outputs, name##_add_p_gradient},
#include "cells.def"
#undef CELL
};

/* Copy h^t from y^t. */
FL_INLINE void copy_y(const fl_forward *constant, const void *y, void *h, fl_size B) {
    const fl_size H = constant->hidden;
    for (fl_size row = 0; row < B; row++)
        for (fl_size unit = 0; unit < H; unit += VL) {
            const fl_size n = at_most(H - unit, VL);
            const real *from = (const real *)y + row * constant->y_copy_step + unit;
            v_store_part((real *)h + row * H + unit, v_load_part(from, n), n);
        }
}

static void step_in_place(const fl_forward *constant, const void *x, void *h, void *c, void *y, void *space,
                          fl_size B) {
    const lstm_form *form = constant->cell->kind == FL_LSTM ? lstm_form_of(constant) : NULL;
    if (B == 1 && form && form->step && constant->hidden % (VL / 2) == 0) {
        form->step(constant, x, h, c, y);
    } else {
        FL_ALIGN(64) fl_forward f = *constant; /* A load from a copy that crosses a cache line would wait for it. */
        f.x = x;
        f.y_prev = h ? h : x; /* without h none is read, but NULL is not valid */
        f.c_prev = f.c = c;
        f.y_copy = y;
        f.space = space;
        cell_kernels[f.cell->kind].forward(&f, 0, B, 0, f.hidden);
    }
    if (h) copy_y(constant, y, h, B); /* only now, since all units read h */
}
#endif

#endif
