#include "pass/packing.h"

void fl_pack(void *packing, int part, int parts) {
    const fl_packing *p = (const fl_packing *)packing;
    const fl_size width = p->vectors * p->k->unit_block;
    const fl_size count = p->gates ? fl_panel_count(p->k, p->gates, p->H) : fl_ceil_div(p->H, width);
    const fl_size first = fl_border(count, 1, part, parts), end = fl_border(count, 1, part + 1, parts);
    if (p->gates)
        p->k->pack_columns(p->panels, p->gates, p->H, p->A, p->K, first, end);
    else
        p->k->pack_rows(p->panels, p->vectors, p->A, p->row_step, p->K, p->H, first, end);
}

void fl_multiply_pieces(const fl_kernels *k, const fl_product *product, fl_ask_stop stopped, fl_size row0, fl_size row1,
                        fl_size column0, fl_size column1) {
    if (!k->packs) {
        const fl_size row_work = k->device ? 0 : product->K * (column1 - column0);
        for (fl_size end; row0 < row1; row0 = end) {
            end = fl_piece_end(row0, row1, FL_ROWS_OF_A_PIECE, row_work);
            k->multiply(product, row0, end, column0, column1);
            if (end < row1 && fl_asked_to_stop(stopped)) return;
        }
        return;
    }
    const int vectors = product->gates > 1 ? 1 : product->vectors ? product->vectors : fl_vectors(k);
    const fl_size block = vectors * k->unit_block;
    const fl_size work = (row1 - row0) * product->K * product->gates;
    while (column0 < column1) {
        const fl_size end = fl_piece_end(column0, column1, block, work);
        k->multiply(product, row0, row1, column0, end);
        column0 = end;
        if (column0 < column1 && fl_asked_to_stop(stopped)) return;
    }
}

void fl_multiply(void *multiplication, int part, int parts) {
    const fl_multiplication *m = (const fl_multiplication *)multiplication;
    fl_multiply_pieces(m->k, &m->product, m->stopped, fl_border(m->rows, m->k->row_block, part, parts),
                       fl_border(m->rows, m->k->row_block, part + 1, parts), 0, m->product.columns);
}
