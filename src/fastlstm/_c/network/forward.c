/* The forward pass of a network, and its single step. */
#include "system/float_mode.h"
#include "network/network.h"

/* ---- memory ---- */

fl_tape_layer fl_take_tape(const fastlstm_plan *plan, const fl_layer *layer, size_t T, size_t B, fl_arena *arena) {
    const size_t rows = fl_times(T, B), row_bytes = fl_times((size_t)layer->hidden, plan->bytes);
    const int last = layer == &plan->layers[plan->layer_count - 1];
    fl_tape_layer tape = {0};
    if (!last) tape.y = fl_take(arena, fl_times(fl_times(rows, (size_t)layer->outputs), plan->bytes));
    for (int way = 0; way < layer->directions; way++) {
        fl_tape_direction *d = &tape.direction[way];
        if (layer->lstm || layer->directions == 2)
            d->gates = fl_take(arena, fl_times(fl_times(rows, (size_t)layer->cell.gates), row_bytes));
        if (layer->seen) d->h_first = fl_take(arena, fl_times(B, row_bytes));
        if (layer->lstm) d->cells = fl_take(arena, fl_times(fl_plus(rows, B), row_bytes));
    }
    return tape;
}

/* Is W x better one product over many steps? See plan() of _loops.pyx. */
static int hoists(const fastlstm_plan *plan, const fl_layer *layer, size_t T, size_t B) {
    const fl_size weights = layer->cell.gates * layer->hidden * (layer->input + layer->seen);
    return layer->seen && T > 1 && (B < FL_ROWS_TO_FOLD || weights * (fl_size)plan->bytes > FL_CACHED);
}

typedef struct {
    char *y[2];      /* of layers that are not the last, in turns */
    char *wx, *state;
} workspace;

static void lay_out_outputs(const fastlstm_plan *plan, size_t rows, fl_arena *arena, char *y[2]) {
    for (int k = 0; k < 2; k++)
        y[k] = plan->between[k] ? fl_take(arena, fl_times(rows, fl_times(plan->between[k], plan->bytes))) : NULL;
}

/* Rows of W x in a block. Where so many sequences have none, seven still do: memory for more is to be enough for them. */
static size_t wx_rows(const fastlstm_plan *plan, const fl_layer *layer, size_t T, size_t B) {
    if (!layer->seen || T < 2) return 0;
    const size_t sequences = hoists(plan, layer, T, B) ? B : FL_ROWS_TO_FOLD - 1, rows = fl_times(T, sequences);
    const size_t most = sequences > FL_ROWS_PER_BLOCK ? sequences : FL_ROWS_PER_BLOCK;
    return rows < most ? rows : most;
}

static workspace lay_out(const fastlstm_plan *plan, size_t T, size_t B, fl_arena *arena) {
    workspace w;
    size_t wx = 0;
    lay_out_outputs(plan, fl_times(T, B), arena, w.y);
    for (size_t n = 0; n < plan->layer_count; n++) {
        const fl_layer *layer = &plan->layers[n];
        const size_t values = fl_times(wx_rows(plan, layer, T, B), (size_t)(layer->cell.gates * layer->hidden));
        if (values > wx) wx = values;
    }
    w.wx = fl_take(arena, fl_times(wx, plan->bytes));
    w.state = fl_take(arena, fl_times(fastlstm_state_count(plan, B), plan->bytes));
    return w;
}

void fl_lay_out_forward(const fastlstm_plan *plan, size_t T, size_t B, fl_arena *arena) { lay_out(plan, T, B, arena); }

/* ---- a single step ---- */

/* Of all layers, with the state changed in place and nothing else kept. */
static void step_network(const fastlstm_plan *plan, fl_size B, const char *x, char *state, char *y, char *const between[2]) {
    const fl_float_mode mode = fl_flush_denormals();
    const size_t bytes = plan->bytes;
    for (size_t n = 0; n < plan->layer_count; n++) {
        const fl_layer *layer = &plan->layers[n];
        const fl_size H = layer->hidden, seen = layer->seen;
        char *out = n + 1 == plan->layer_count ? y : between[n % 2];
        for (int way = 0; way < layer->directions; way++) {
            fl_forward f = layer->direction[way].forward;
            char *h = state, *c = (char *)fl_at(state, B * seen, bytes);
            f.x = x;
            f.y_prev = seen ? h : x;
            f.c_prev = f.c = c;
            f.y_copy = (char *)fl_at(out, way * H, bytes);
            (layer->lstm ? plan->k->lstm_forward : plan->k->rnn_forward)(&f, 0, B, 0, H);
            for (fl_size b = 0; seen && b < B; b++) /* not before all units have read it */
                memcpy(h + b * H * (fl_size)bytes, fl_at(f.y_copy, b * f.y_copy_step, bytes), (size_t)H * bytes);
            state = (char *)fl_at(state, (layer->lstm ? 2 : 1) * B * seen, bytes);
        }
        x = out;
    }
    fl_restore_float_mode(mode);
}

fastlstm_status fastlstm_step(const fastlstm_plan *plan, size_t B, const void *x, void *state, void *y, void *space) {
    const fastlstm_status status = fl_check_plan(plan);
    if (status) return status;
    if (!x || (!state && plan->state) || !y || !space) return FASTLSTM_NULL;
    if (!plan->has_parameters) return FASTLSTM_PARAMETERS;
    if (!fl_have_size(plan, 1, B)) return FASTLSTM_SIZE;
    fl_arena arena = fl_arena_in(space);
    char *between[2];
    lay_out_outputs(plan, B, &arena, between);
    if (fl_is_too_much(&arena)) return FASTLSTM_SIZE;
    step_network(plan, (fl_size)B, (const char *)x, (char *)state, (char *)y, between);
    return FASTLSTM_OK;
}

/* ---- a layer in one direction ---- */

typedef struct {
    const fastlstm_plan *plan;
    const fl_layer *layer;
    const fl_direction *direction;
    const fl_tape_direction *tape;   /* NULL without */
    fl_size B;
    fl_rows rows;
    int hoist;
    const char *x;                   /* (rows, I) */
    char *y;                         /* (rows, outputs): H values of them */
    char *h, *c;                     /* (B, H) the state, in and out */
    char *wx;                        /* of a block of steps, where the tape has no place for it */
} run;

/* W x of a block of steps, of which `row` is the first row in time; gives where it is. */
static char *multiply_block(const run *r, fl_size row, fl_size count) {
    const fl_kernels *k = r->plan->k;
    const fl_size H = r->layer->hidden, G = r->layer->cell.gates, I = r->layer->input;
    char *wx = r->tape && r->tape->gates ? (char *)fl_at(r->tape->gates, row * G * H, r->plan->bytes) : r->wx;
    const fl_product product = {.columns = H, .K = I, .a = fl_at(r->x, row * I, r->plan->bytes), .a_row_step = I,
                                .a_k_step = 1, .panels = r->direction->W_columns,
                                .vectors = (int)(k->column_block / k->unit_block), .gates = G, .c = wx, .c_row_step = G * H};
    k->multiply(&product, 0, count, 0, H);
    return wx;
}

static void run_steps(const run *r) {
    const fl_layer *layer = r->layer;
    const size_t bytes = r->plan->bytes;
    const fl_size H = layer->hidden, G = layer->cell.gates, row_bytes = H * (fl_size)bytes, outputs = layer->outputs;
    const int reverse = r->direction->reverse;
    const fl_size block = r->hoist ? fl_block_steps(&r->rows) : 0;
    const fl_forward_step step = layer->lstm ? r->plan->k->lstm_forward : r->plan->k->rnn_forward;
    char *wx = NULL;
    fl_size wx_row = 0, before = 0;
    fl_forward f = r->direction->forward;
    for (fl_size s = 0; s < r->rows.steps; s++) {
        const fl_size row = fl_row(&r->rows, reverse, s), count = fl_count(&r->rows, row);
        if (r->hoist && s % block == 0) {
            const fl_size steps = r->rows.steps - s < block ? r->rows.steps - s : block;
            wx_row = reverse ? row - (steps - 1) * r->rows.step_rows : row;
            wx = multiply_block(r, wx_row, steps * r->rows.step_rows);
        }
        if (r->hoist)
            f.wx = fl_at(wx, (row - wx_row) * G * H, bytes);
        else
            f.x = fl_at(r->x, row * layer->input, bytes);
        f.y_prev = !layer->seen ? f.x : s ? fl_at(r->y, before * outputs, bytes) : r->h;
        if (s && layer->seen) f.y_prev_step = outputs;
        f.c_prev = f.c = r->c;
        if (r->tape) {
            f.gates = (char *)fl_at(r->tape->gates, row * G * H, bytes);
            f.c_prev = fl_cell_before(r->tape, reverse, row, r->B, row_bytes);
            f.c = fl_cell_of(r->tape, reverse, row, r->B, row_bytes);
        }
        f.y_copy = (char *)fl_at(r->y, row * outputs, bytes);
        step(&f, 0, count, 0, H);
        before = row;
    }
}

/* The state before into the tape, that after out of y and the tape. */
static void begin(const run *r) {
    const fl_size row_bytes = r->layer->hidden * (fl_size)r->plan->bytes;
    if (!r->tape || !r->layer->seen) return;
    memcpy(r->tape->h_first, r->h, (size_t)(r->B * row_bytes));
    if (r->layer->lstm) {
        char *c = r->direction->reverse ? r->tape->cells + r->rows.rows * row_bytes : r->tape->cells;
        memcpy(c, r->c, (size_t)(r->B * row_bytes));
    }
}

static void end(const run *r) {
    const fl_size row_bytes = r->layer->hidden * (fl_size)r->plan->bytes;
    if (!r->layer->seen || !r->rows.steps) return;
    const fl_size row = fl_row(&r->rows, r->direction->reverse, r->rows.steps - 1);
    for (fl_size b = 0; b < r->B; b++)
        memcpy(r->h + b * row_bytes, fl_at(r->y, (row + b) * r->layer->outputs, r->plan->bytes), (size_t)row_bytes);
    if (r->tape && r->layer->lstm)
        memcpy(r->c, fl_cell_of(r->tape, r->direction->reverse, row, r->B, row_bytes), (size_t)(r->B * row_bytes));
}

/* ---- the network ---- */

/* All layers, with the state changed in place. `tape` is an arena in the tape, or NULL. */
static void run_network(const fastlstm_plan *plan, size_t T, size_t B, const char *x, char *state, char *y, fl_arena *tape,
                        const workspace *w) {
    const fl_float_mode mode = fl_flush_denormals();
    for (size_t n = 0; n < plan->layer_count; n++) {
        const fl_layer *layer = &plan->layers[n];
        const fl_tape_layer kept = tape ? fl_take_tape(plan, layer, T, B, tape) : (fl_tape_layer){0};
        char *out = n + 1 == plan->layer_count ? y : kept.y ? kept.y : w->y[n % 2];
        run r = {.plan = plan, .layer = layer, .B = (fl_size)B, .rows = fl_rows_of(layer, (fl_size)T, (fl_size)B),
                 .hoist = hoists(plan, layer, T, B), .x = x, .wx = w->wx};
        for (int way = 0; way < layer->directions; way++) {
            r.direction = &layer->direction[way];
            r.tape = tape ? &kept.direction[way] : NULL;
            r.y = (char *)fl_at(out, way * layer->hidden, plan->bytes);
            r.h = state;
            r.c = (char *)fl_at(state, r.B * layer->seen, plan->bytes);
            begin(&r);
            run_steps(&r);
            end(&r);
            state = (char *)fl_at(state, (layer->lstm ? 2 : 1) * r.B * layer->seen, plan->bytes);
        }
        x = out;
    }
    fl_restore_float_mode(mode);
}

fastlstm_status fastlstm_forward(const fastlstm_plan *plan, size_t T, size_t B, const void *x, const void *first, void *y,
                                 void *last, void *tape, void *space) {
    const fastlstm_status status = fl_check_plan(plan);
    if (status) return status;
    if (!x || !y || !space) return FASTLSTM_NULL;
    if (!plan->has_parameters) return FASTLSTM_PARAMETERS;
    if (tape && !plan->training) return FASTLSTM_TRAINING;
    if (!fl_have_size(plan, T, B) || (tape && !fastlstm_tape_bytes(plan, T, B))) return FASTLSTM_SIZE;
    fl_arena arena = fl_arena_in(space), kept = fl_arena_in(tape);
    const workspace w = lay_out(plan, T, B, &arena);
    if (fl_is_too_much(&arena)) return FASTLSTM_SIZE;
    const size_t state_bytes = fastlstm_state_count(plan, B) * plan->bytes;
    if (first)
        memcpy(w.state, first, state_bytes);
    else
        memset(w.state, 0, state_bytes);
    if (tape) {
        const fl_tape_head head = {plan, T, B};
        memcpy(fl_take(&kept, sizeof(head)), &head, sizeof(head));
    }
    run_network(plan, T, B, (const char *)x, w.state, (char *)y, tape ? &kept : NULL, &w);
    if (last) memcpy(last, w.state, state_bytes);
    return FASTLSTM_OK;
}
