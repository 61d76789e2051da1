/* Back-propagation through time of a network. Steps run from the last to the first, in blocks whose deltas stay in the
 * cache for the products that give the gradients of the parameters, as in _backward.pyx. */
#include "system/float_mode.h"
#include "network/network.h"
#include "pass/sums.h"

/* ---- memory ---- */

enum { SUMS = 4 };

/* Of a layer in one direction; rows are those of a block. */
typedef struct {
    char *delta;           /* (rows, gates H) */
    char *delta_after;     /* (B, gates H) of the step that ran before this block */
    char *panels;          /* the deltas, as panels */
    char *y_prev;          /* (rows, K) */
    char *x_transposed;    /* (I, rows) */
    char *y_transposed;    /* (K, rows) */
    char *dW, *dR;         /* (I, padded gates H), (K, padded gates H): sums, columns in the order of the panels */
    fl_sum sums[SUMS];     /* of many rows: dW, dR, db, dp */
} scratch;

typedef struct {
    char *dy[2];           /* of layers that are not the last, in turns */
    char *dstate;
    fl_arena scratch;      /* of each layer */
} workspace;

static scratch take_scratch(const fastlstm_plan *plan, const fl_layer *layer, size_t T, size_t B, fl_arena *arena) {
    const size_t all = fl_times(T, B), bytes = plan->bytes;
    const size_t most = layer->seen && B > FL_ROWS_PER_BLOCK ? B : FL_ROWS_PER_BLOCK, rows = all < most ? all : most;
    const size_t GH = (size_t)(layer->cell.gates * layer->hidden), I = (size_t)layer->input, K = (size_t)layer->seen;
    const size_t padded = (size_t)fl_padded_columns(plan->k, layer->cell.gates, layer->hidden);
    scratch s;
    s.delta = fl_take(arena, fl_times(rows, fl_times(GH, bytes)));
    s.delta_after = fl_take(arena, K ? fl_times(B, fl_times(GH, bytes)) : 0);
    s.panels = fl_take(arena, fl_times(rows, fl_times(padded, bytes)));
    s.y_prev = fl_take(arena, fl_times(rows, fl_times(K, bytes)));
    s.x_transposed = fl_take(arena, fl_times(rows, fl_times(I, bytes)));
    s.y_transposed = fl_take(arena, fl_times(rows, fl_times(K, bytes)));
    s.dW = fl_take(arena, fl_times(I, fl_times(padded, bytes)));
    s.dR = fl_take(arena, fl_times(K, fl_times(padded, bytes)));
    const size_t values[SUMS] = {fl_times(I, padded), fl_times(K, padded), GH, GH - (size_t)layer->hidden};
    for (int n = 0; n < SUMS; n++) {
        s.sums[n].values = (fl_size)values[n];
        s.sums[n].total = fl_take(arena, all > FL_ROWS_PER_PART ? fl_times(values[n], bytes) : 0);
    }
    return s;
}

static workspace lay_out(const fastlstm_plan *plan, size_t T, size_t B, fl_arena *arena) {
    const size_t rows = fl_times(T, B);
    size_t most = 0;
    workspace w;
    for (size_t n = 0; n < plan->layer_count; n++) {
        fl_arena one = {0};
        take_scratch(plan, &plan->layers[n], T, B, &one);
        if (one.used > most) most = one.used;
    }
    for (int k = 0; k < 2; k++) w.dy[k] = fl_take(arena, fl_times(rows, fl_times(plan->between[k], plan->bytes)));
    w.dstate = fl_take(arena, fl_times(fastlstm_state_count(plan, B), plan->bytes));
    w.scratch.base = fl_take(arena, most);
    w.scratch.used = 0;
    return w;
}

void fl_lay_out_backward(const fastlstm_plan *plan, size_t T, size_t B, fl_arena *arena) { lay_out(plan, T, B, arena); }

/* ---- a layer in one direction ---- */

typedef struct {
    const fastlstm_plan *plan;
    const fl_layer *layer;
    const fl_direction *direction;
    const fl_tape_direction *tape;
    fl_size B;
    fl_rows rows;
    const char *x, *y;       /* (rows, I); (rows, ...) as dy */
    const char *dy;          /* (rows, ...): H values, a row every so many */
    fl_size y_step;
    char *dh, *dc;           /* (B, H): arriving at the final state, then at the initial one */
    char *dx;                /* (rows, I) or NULL */
    int add_dx;              /* the other direction has been there */
    char *dW, *dR, *db, *dp;
    int accumulate;
    scratch s;
} run;

/* Deltas of steps [s0, s1), of which `row0` is the first row in time and `count` the number of rows. */
static void run_steps(const run *r, fl_size s0, fl_size s1, fl_size row0, fl_size count) {
    const fl_kernels *k = r->plan->k;
    const fl_layer *layer = r->layer;
    const size_t bytes = r->plan->bytes;
    const fl_size H = layer->hidden, GH = layer->cell.gates * H, row_bytes = H * (fl_size)bytes;
    const fl_size panel = fl_panel_columns(k, layer->cell.gates);
    const int reverse = r->direction->reverse;
    const fl_backward_step step = layer->lstm ? k->lstm_backward : k->rnn_backward;
    fl_backward b = {.cell = &layer->cell, .hidden = H, .p = r->direction->p, .simple = 1, .panel_step = count * panel,
                     .dc = layer->lstm ? r->dc : NULL, .y = {.K = GH, .panels = r->direction->R_rows, .above_step = r->y_step}};
    for (fl_size s = s1 - 1; s >= s0; s--) {
        const fl_size row = fl_row(&r->rows, reverse, s), after = fl_row(&r->rows, reverse, s + 1);
        const int last = s == r->rows.steps - 1;
        b.y.above = fl_at(r->dy, row * r->y_step, bytes);
        b.y.last = last && layer->seen ? r->dh : NULL;
        b.y.a = last || !layer->seen ? NULL : s + 1 == s1 ? r->s.delta_after : fl_at(r->s.delta, (after - row0) * GH, bytes);
        b.gates = r->tape->gates ? fl_at(r->tape->gates, row * GH, bytes) : fl_at(r->y, row * r->y_step, bytes);
        b.c_prev = fl_cell_before(r->tape, reverse, row, r->B, row_bytes);
        b.c = fl_cell_of(r->tape, reverse, row, r->B, row_bytes);
        b.delta = (char *)fl_at(r->s.delta, (row - row0) * GH, bytes);
        b.delta_panels = (char *)fl_at(r->s.panels, (row - row0) * panel, bytes);
        step(&b, 0, fl_count(&r->rows, row), 0, H);
    }
}

/* What those steps saw of y, one row after the other. */
static void gather_y_prev(const run *r, fl_size s0, fl_size s1, fl_size row0) {
    const size_t bytes = r->plan->bytes;
    const fl_size H = r->layer->hidden;
    for (fl_size s = s0; s < s1; s++) {
        const fl_size row = fl_row(&r->rows, r->direction->reverse, s);
        const char *from = s ? fl_at(r->y, fl_row(&r->rows, r->direction->reverse, s - 1) * r->y_step, bytes) : r->tape->h_first;
        for (fl_size n = 0; n < r->B; n++)
            memcpy(r->s.y_prev + (row - row0 + n) * H * (fl_size)bytes, fl_at(from, n * (s ? r->y_step : H), bytes),
                   (size_t)H * bytes);
    }
}

/* sum (K, padded gates H) = or += A^T delta for the `count` rows of A (count, K). */
static void add_weight_sum(const run *r, const char *a, char *transposed, fl_size K, fl_size count, char *sum, int add) {
    const fl_kernels *k = r->plan->k;
    const fl_size G = r->layer->cell.gates, columns = fl_padded_columns(k, G, r->layer->hidden);
    fl_product product = {.columns = columns, .K = count, .a = a, .a_row_step = 1, .a_k_step = K, .panels = r->s.panels,
                          .vectors = (int)(fl_panel_columns(k, G) / k->unit_block), .gates = 1, .c = sum,
                          .c_row_step = columns, .add = add};
    if (K * (fl_size)r->plan->bytes >= FL_FAR_ROW) {
        k->transpose(transposed, a, count, K, 0, K);
        product.a = transposed, product.a_row_step = count, product.a_k_step = 1;
    }
    fl_multiply_in_groups(k, &product, K, 0, columns, (fl_size)r->plan->bytes);
}

/* What the deltas of a block give: the gradients of the parameters, and dx. */
static void add_products(const run *r, fl_size s0, fl_size s1, fl_size row0, fl_size count, int begun) {
    const fl_kernels *k = r->plan->k;
    const fl_layer *layer = r->layer;
    const size_t bytes = r->plan->bytes;
    const fl_size H = layer->hidden, GH = layer->cell.gates * H, I = layer->input, row_bytes = H * (fl_size)bytes;
    const int reverse = r->direction->reverse;
    k->add_bias_gradient(r->db, r->s.delta, count, GH, 0, GH);
    add_weight_sum(r, fl_at(r->x, row0 * I, bytes), r->s.x_transposed, I, count, r->s.dW, begun);
    if (layer->seen) {
        gather_y_prev(r, s0, s1, row0);
        add_weight_sum(r, r->s.y_prev, r->s.y_transposed, H, count, r->s.dR, begun);
    }
    if (r->direction->p)
        k->add_peephole_gradient(r->dp, &layer->cell, r->s.delta, fl_cell_before(r->tape, reverse, row0, r->B, row_bytes),
                                 fl_cell_of(r->tape, reverse, row0, r->B, row_bytes), count, H, 0, H);
    if (r->dx) {
        const fl_product product = {.columns = I, .K = GH, .a = r->s.delta, .a_row_step = GH, .a_k_step = 1,
                                    .panels = r->direction->W_rows, .vectors = (int)(k->column_block / k->unit_block),
                                    .gates = 1, .c = (char *)fl_at(r->dx, row0 * I, bytes), .c_row_step = I, .add = r->add_dx};
        k->multiply(&product, 0, count, 0, I);
    }
}

static void run_direction(run *r) {
    const fl_kernels *k = r->plan->k;
    const fl_layer *layer = r->layer;
    const size_t bytes = r->plan->bytes;
    const fl_size H = layer->hidden, G = layer->cell.gates, I = layer->input, K = layer->seen, block = fl_block_steps(&r->rows);
    const int reverse = r->direction->reverse, empty = r->rows.rows == 0;
    if (!r->accumulate) {
        memset(r->db, 0, (size_t)(G * H) * bytes);
        if (r->direction->p) memset(r->dp, 0, (size_t)((G - 1) * H) * bytes);
        if (empty) {
            memset(r->dW, 0, (size_t)(G * H * I) * bytes);
            memset(r->dR, 0, (size_t)(G * H * K) * bytes);
        }
    }
    if (empty) return;
    fl_sum *sums = r->s.sums;
    sums[0].part = r->s.dW, sums[1].part = r->s.dR, sums[2].part = r->db, sums[3].part = r->direction->p ? r->dp : NULL;
    const int in_parts = r->rows.rows > FL_ROWS_PER_PART;
    fl_size in_part = 0; /* rows */
    if (in_parts) fl_start_totals(k, sums, SUMS, (fl_size)bytes);
    /* The panels' padding is multiplied too, so it has numbers; nobody reads what comes of it. */
    memset(r->s.panels, 0, (size_t)(fl_block_rows(&r->rows) * fl_padded_columns(k, G, H)) * bytes);
    for (fl_size s1 = r->rows.steps, s0; s1 > 0; s1 = s0) {
        s0 = s1 > block ? s1 - block : 0;
        const fl_size row0 = fl_row(&r->rows, reverse, reverse ? s1 - 1 : s0);
        const fl_size end = fl_row(&r->rows, reverse, reverse ? s0 : s1 - 1), count = end + fl_count(&r->rows, end) - row0;
        run_steps(r, s0, s1, row0, count);
        add_products(r, s0, s1, row0, count, s1 < r->rows.steps);
        in_part += count;
        if (in_parts && in_part >= FL_ROWS_PER_PART) {
            fl_add_parts(k, sums, SUMS, (fl_size)bytes);
            in_part = 0;
        }
        if (K)
            memcpy(r->s.delta_after, fl_at(r->s.delta, (fl_row(&r->rows, reverse, s0) - row0) * G * H, bytes),
                   (size_t)(r->B * G * H) * bytes);
    }
    if (K) {
        const fl_y_gradient first = {.a = r->s.delta_after, .K = G * H, .panels = r->direction->R_rows};
        k->y_gradient(&first, r->dh, H, 0, r->B, 0, H);
    }
    if (in_parts) fl_add_totals(k, sums, SUMS);
    k->unpack_gradient(r->dW, r->s.dW, G, H, I, r->accumulate, 0, H);
    k->unpack_gradient(r->dR, r->s.dR, G, H, K, r->accumulate, 0, H);
}

/* ---- the network ---- */

/* Of the layers before the n-th, their part of a tape is passed over. */
static fl_tape_layer find_tape(const fastlstm_plan *plan, size_t n, size_t T, size_t B, fl_arena tape) {
    fl_take(&tape, sizeof(fl_tape_head));
    for (size_t k = 0; k < n; k++) fl_take_tape(plan, &plan->layers[k], T, B, &tape);
    return fl_take_tape(plan, &plan->layers[n], T, B, &tape);
}

static int is_of(const fl_arena *tape, const fastlstm_plan *plan, size_t T, size_t B) {
    fl_tape_head head;
    memcpy(&head, tape->base, sizeof(head));
    return head.plan == plan && head.T == T && head.B == B;
}

fastlstm_status fastlstm_backward(const fastlstm_plan *plan, size_t T, size_t B, const void *x, const void *y,
                                  const void *tape, const void *dy, const void *dlast, void *dx, void *dfirst,
                                  void *gradients, int accumulate, void *space) {
    const fastlstm_status status = fl_check_plan(plan);
    if (status) return status;
    if (!x || !y || !tape || !dy || !gradients || !space) return FASTLSTM_NULL;
    if (!plan->has_parameters) return FASTLSTM_PARAMETERS;
    if (!plan->training) return FASTLSTM_TRAINING;
    if (!fl_have_size(plan, T, B)) return FASTLSTM_SIZE;
    const fl_arena kept = fl_arena_in(tape);
    if (!is_of(&kept, plan, T, B)) return FASTLSTM_TAPE;
    fl_arena arena = fl_arena_in(space);
    const workspace w = lay_out(plan, T, B, &arena);
    if (fl_is_too_much(&arena)) return FASTLSTM_SIZE;
    const size_t state_bytes = fastlstm_state_count(plan, B) * plan->bytes;
    if (dlast)
        memcpy(w.dstate, dlast, state_bytes);
    else
        memset(w.dstate, 0, state_bytes);

    const fl_float_mode mode = fl_flush_denormals();
    fl_tape_layer tape_layer = find_tape(plan, plan->layer_count - 1, T, B, kept);
    char *dstate = w.dstate + state_bytes;
    for (size_t n = plan->layer_count; n-- > 0;) {
        const fl_layer *layer = &plan->layers[n];
        const fl_tape_layer below = n ? find_tape(plan, n - 1, T, B, kept) : (fl_tape_layer){0};
        const fl_size parts = layer->lstm ? 2 : 1;
        fl_arena scratch_of = w.scratch;
        run r = {.plan = plan, .layer = layer, .B = (fl_size)B, .rows = fl_rows_of(layer, (fl_size)T, (fl_size)B),
                 .x = n ? below.y : (const char *)x, .y_step = layer->outputs, .dx = n ? w.dy[(n - 1) % 2] : (char *)dx,
                 .accumulate = accumulate != 0, .s = take_scratch(plan, layer, T, B, &scratch_of)};
        dstate -= layer->directions * parts * r.B * layer->seen * (fl_size)plan->bytes;
        for (int way = 0; way < layer->directions; way++) {
            r.direction = &layer->direction[way];
            r.tape = &tape_layer.direction[way];
            r.y = fl_at(n + 1 == plan->layer_count ? y : tape_layer.y, way * layer->hidden, plan->bytes);
            r.dy = fl_at(n + 1 == plan->layer_count ? dy : w.dy[n % 2], way * layer->hidden, plan->bytes);
            r.dh = (char *)fl_at(dstate, way * parts * r.B * layer->seen, plan->bytes);
            r.dc = (char *)fl_at(r.dh, r.B * layer->seen, plan->bytes);
            r.add_dx = way > 0;
            r.dW = (char *)fl_at(gradients, r.direction->at_W, plan->bytes);
            r.dR = (char *)fl_at(gradients, r.direction->at_R, plan->bytes);
            r.db = (char *)fl_at(gradients, r.direction->at_b, plan->bytes);
            r.dp = (char *)fl_at(gradients, r.direction->at_p, plan->bytes);
            run_direction(&r);
        }
        tape_layer = below;
    }
    fl_restore_float_mode(mode);
    if (dfirst) memcpy(dfirst, w.dstate, state_bytes);
    return FASTLSTM_OK;
}
