#include "pass/weights.h"

#include "pass/sums.h"

static fl_size padded(const fl_weight_gradients *w) { return fl_padded_columns(w->k, w->gates, w->hidden); }

void fl_lay_out_weight_gradients(fl_weight_gradients *w, fl_size rows, int W_too, int own_R_deltas, fl_arena *arena) {
    if (!w->frozen) {
        w->dW_sum = fl_take_array(arena, w->input, fl_columns_of_sums(w), w->size);
        w->dR_sum = fl_take_array(arena, w->outputs, fl_columns_of_sums(w), w->size);
    }
    if (!w->k->packs) return;
    w->delta_panels = fl_take_array(arena, rows, padded(w), w->size);
    w->delta_R_panels = own_R_deltas ? fl_take_array(arena, rows, padded(w), w->size) : w->delta_panels;
    w->x_transposed = fl_take_array(arena, rows, w->input, w->size);
    w->y_transposed = fl_take_array(arena, rows, w->outputs, w->size);
    if (!W_too) return;
    w->W_panels = fl_take_array(arena, fl_row_panels(w->k, fl_vectors(w->k), w->delta_step, w->input), 1, w->size);
}

void fl_clear_weight_gradients(fl_weight_gradients *w, fl_size rows, fl_size count) {
    const fl_size columns = w->gates * w->hidden;
    w->begun = 0;
    if (!w->accumulate && !w->frozen) {
        w->k->clear(w->db, 0, columns * w->size, 1, NULL);
        if (count == 0) {
            w->k->clear(w->dW, 0, columns * w->input * w->size, 1, NULL);
            w->k->clear(w->dR, 0, columns * w->outputs * w->size, 1, NULL);
        }
    }
    /* The panels' padding is multiplied too: it stays zero, and nobody reads what comes of it. */
    if (!w->delta_panels) return;
    w->k->clear(w->delta_panels, 0, rows * padded(w) * w->size, 1, NULL);
    if (w->delta_R_panels != w->delta_panels) w->k->clear(w->delta_R_panels, 0, rows * padded(w) * w->size, 1, NULL);
}

static void pack_deltas(const fl_weight_gradients *w, char *panels, const void *delta, int part, int parts) {
    fl_packing deltas = fl_rows_to_pack(w->k, panels, fl_vectors(w->k), delta, w->delta_step, w->rows,
                                        w->gates * w->hidden);
    fl_pack(&deltas, part, parts);
}

void fl_transpose_part(void *gradients, int part, int parts) {
    const fl_weight_gradients *w = (const fl_weight_gradients *)gradients;
    const fl_size I = w->input, K = w->outputs, block = w->k->unit_block;
    if (w->frozen) return;
    if (fl_is_far(w, I))
        w->k->transpose(w->x_transposed, w->x, w->rows, I, fl_border(I, block, part, parts),
                        fl_border(I, block, part + 1, parts));
    if (fl_is_far(w, K))
        w->k->transpose(w->y_transposed, w->y_prev, w->rows, K, fl_border(K, block, part, parts),
                        fl_border(K, block, part + 1, parts));
    if (w->packs_deltas) {
        pack_deltas(w, w->delta_panels, w->delta_W, part, parts);
        if (w->delta_R_panels != w->delta_panels) pack_deltas(w, w->delta_R_panels, w->delta_R, part, parts);
    }
}

/* total (K, padded gates H) += A^T delta, for A (rows, K). */
static void add_sum(const fl_weight_gradients *w, const void *a, const void *a_transposed, fl_size K,
                    const void *delta_panels, void *total, fl_size column0, fl_size column1) {
    const int vectors = (int)(fl_panel_columns(w->k, w->gates) / w->k->unit_block);
    const fl_size columns = padded(w), width = vectors * w->k->unit_block;
    const fl_size packed = w->packs_deltas ? w->gates * w->hidden : columns; /* the last panel may be narrower */
    fl_product product = {.columns = packed,
                          .K = w->rows,
                          .a = a,
                          .a_row_step = 1,
                          .a_k_step = K,
                          .panels = delta_panels,
                          .vectors = vectors,
                          .gates = 1,
                          .c = total,
                          .c_row_step = columns,
                          .add = w->begun};
    if (fl_is_far(w, K)) product.a = a_transposed, product.a_row_step = w->rows, product.a_k_step = 1;
    column1 = fl_smaller(column1, packed);
    if (product.K <= FL_ROWS_PER_GROUP || w->k->device) {
        fl_multiply_pieces(w->k, &product, w->stopped, 0, K, column0, column1);
        return;
    }
    for (; column0 < column1 && !fl_asked_to_stop(w->stopped); column0 += width)
        fl_multiply_in_groups(w->k, &product, K, column0, fl_smaller(column0 + width, column1), w->size);
}

void fl_add_products_part(void *gradients, int part, int parts) {
    const fl_weight_gradients *w = (const fl_weight_gradients *)gradients;
    const fl_size columns = w->gates * w->hidden, block = fl_panel_columns(w->k, w->gates);
    const fl_size column0 = fl_border(padded(w), block, part, parts),
                  column1 = fl_border(padded(w), block, part + 1, parts);
    if (!w->frozen)
        w->k->add_bias_gradient(w->db, w->delta, w->rows, w->delta_step, fl_border(columns, block, part, parts),
                                fl_border(columns, block, part + 1, parts));
    if (!w->delta_panels) return;
    if (!w->frozen) {
        add_sum(w, w->x, w->x_transposed, w->input, w->delta_panels, w->dW_sum, column0, column1);
        add_sum(w, w->y_prev, w->y_transposed, w->outputs, w->delta_R_panels, w->dR_sum, column0, column1);
    }
    if (w->dx) {
        const fl_product dx = {.columns = w->input,
                               .K = w->delta_step,
                               .a = w->delta_W,
                               .a_row_step = w->delta_step,
                               .a_k_step = 1,
                               .panels = w->W_panels,
                               .vectors = fl_vectors(w->k),
                               .gates = 1,
                               .c = w->dx,
                               .c_row_step = w->input,
                               .add = w->add_dx};
        fl_multiply_pieces(w->k, &dx, w->stopped, fl_border(w->rows, w->k->row_block, part, parts),
                           fl_border(w->rows, w->k->row_block, part + 1, parts), 0, w->input);
    }
}

void fl_unpack_weight_gradients_part(void *gradients, int part, int parts) {
    const fl_weight_gradients *w = (const fl_weight_gradients *)gradients;
    const fl_size unit0 = fl_border(w->hidden, 1, part, parts), unit1 = fl_border(w->hidden, 1, part + 1, parts);
    w->k->unpack_gradient(w->dW, w->dW_sum, w->gates, w->hidden, w->input, w->accumulate, unit0, unit1);
    w->k->unpack_gradient(w->dR, w->dR_sum, w->gates, w->hidden, w->outputs, w->accumulate, unit0, unit1);
}
