/* The steps of all cells, and the table of them. */
#ifndef FL_CELLS_H
#define FL_CELLS_H

#include "step/fgr.h"
#include "step/lstm.h"
#include "step/rnn.h"

#ifndef FL_TARGET_DEVICE
static const fl_cell_kernels cell_kernels[FL_CELLS] = {
#define CELL(name, NAME, has_c, forms) {name##_forward, name##_backward},
#include "cells.def"
#undef CELL
};
#endif

#endif
