/* What the deltas of a block give beside the gradients of the weights. */
#include "pass/backward.h"
#include "pass/places.h"

void fl_y_prev_part(void *backward_pass, int part, int parts) {
    const fl_backward_pass *b = (const fl_backward_pass *)backward_pass;
    const fl_rows *r = &b->rows;
    const fl_size H = b->constant.hidden, s0 = b->s0;
    const fl_size unit0 = fl_border(H, b->k->column_block, part, parts),
                  unit1 = fl_border(H, b->k->column_block, part + 1, parts), end = r->offsets ? b->s1 : s0 + 1;
    if (s0 > 0) {
        const fl_size t = time_of(b, s0 - 1), row = fl_first_row(r, t) - b->tape.row;
        b->k->cells[b->constant.cell->kind].outputs(
            b->constant.cell, H, b->tape.gates + row * b->constant.cell->kept * H * b->size, c_of(b, t),
            y_prev_of(b, s0), fl_smaller(fl_rows_at(r, t), fl_rows_at(r, time_of(b, s0))), unit0, unit1);
    }
    for (fl_size s = s0; s < end; s++) {
        const fl_size begin = s ? fl_rows_at(r, time_of(b, s - 1)) : 0, rows = fl_rows_at(r, time_of(b, s));
        if (begin < rows)
            b->k->copy(y_prev_of(b, s) + unit0 * b->size, H * b->size, b->tape.h0 + unit0 * b->size, H * b->size,
                       (unit1 - unit0) * b->size, begin, rows);
    }
}

void fl_p_gradient_part(void *backward_pass, int part, int parts) {
    const fl_backward_pass *b = (const fl_backward_pass *)backward_pass;
    const fl_size H = b->constant.hidden, values = b->gates * H;
    const fl_size unit0 = fl_border(H, b->k->column_block, part, parts),
                  unit1 = fl_border(H, b->k->column_block, part + 1, parts);
    const fl_size first = b->reverse ? time_of(b, b->s1 - 1) : b->s0, end = b->reverse ? time_of(b, b->s0) + 1 : b->s1;
    if (b->dnorm)
        b->k->add_bias_gradient(b->dnorm, b->norm_deltas, b->parts[0].rows, values_of_norm(b),
                                fl_border(values_of_norm(b), b->k->column_block, part, parts),
                                fl_border(values_of_norm(b), b->k->column_block, part + 1, parts));
    if (!b->dp) return;
    for (fl_size t = first, start; t < end;) {
        start = t++;
        /* The cells of steps follow one another as the deltas do, where as many rows came before; with lengths a
         * block's first step stands alone, since a tape may begin with it. */
        while (t < end &&
               (!b->rows.offsets || (t - 1 > first && fl_rows_at(&b->rows, t - 2) == fl_rows_at(&b->rows, t - 1))))
            t++;
        const fl_size row = fl_first_row(&b->rows, start);
        const fl_size at = (row - b->delta_row) * values * b->size;
        b->k->cells[b->constant.cell->kind].add_p_gradient(
            b->dp, b->constant.cell, (const char *)b->parts[0].delta + at, (const char *)b->parts[0].delta_R + at,
            c_prev_of(b, start), c_of(b, start), fl_first_row(&b->rows, t) - row, H, unit0, unit1);
    }
}

void fl_projection_part(void *backward_pass, int part, int parts) {
    const fl_backward_pass *b = (const fl_backward_pass *)backward_pass;
    const fl_size H = b->constant.hidden, P = b->outputs;
    const fl_size column0 = fl_border(H, b->k->column_block, part, parts),
                  column1 = fl_border(H, b->k->column_block, part + 1, parts);
    const fl_product product = {.columns = H,
                                .K = b->parts[0].rows,
                                .a = b->dy_space,
                                .a_row_step = 1,
                                .a_k_step = P,
                                .panels = b->m_panels,
                                .vectors = fl_vectors(b->k),
                                .gates = 1,
                                .c = b->dproj,
                                .c_row_step = H,
                                .add = 1};
    if (product.K > FL_ROWS_PER_GROUP && b->k->packs)
        fl_multiply_in_groups(b->k, &product, P, column0, column1, b->size);
    else
        fl_multiply_pieces(b->k, &product, b->stopped, 0, P, column0, column1);
}
