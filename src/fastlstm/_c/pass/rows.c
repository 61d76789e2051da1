#include "pass/rows.h"

fl_span fl_next_block(fl_span *left, const fl_rows *r, fl_size rows, int last) {
    fl_span block = *left;
    if (rows == 0) {
        left->t0 = left->t1;
    } else if (last) {
        block.t0 = left->t1 - 1;
        const fl_size number = fl_first_row(r, block.t0) / rows;
        while (block.t0 > left->t0 && fl_first_row(r, block.t0 - 1) / rows == number) block.t0--;
        left->t1 = block.t0;
    } else {
        block.t1 = left->t0 + 1;
        const fl_size number = fl_first_row(r, left->t0) / rows;
        while (block.t1 < left->t1 && fl_first_row(r, block.t1) / rows == number) block.t1++;
        left->t0 = block.t1;
    }
    return block;
}
