/* Make a plan from a description of a network; pack its parameters. */
#include "network/network.h"

#include "system/dispatch.h"

const char *fastlstm_message(fastlstm_status status) {
    switch (status) {
    case FASTLSTM_OK: return "all is well";
    case FASTLSTM_NULL: return "a pointer that must be there is NULL";
    case FASTLSTM_VERSION: return "the version of the description is unknown: .version must be FASTLSTM_C_VERSION";
    case FASTLSTM_DTYPE: return "dtype must be FASTLSTM_FLOAT32 or FASTLSTM_FLOAT64";
    case FASTLSTM_SIZE: return "a size is zero, or larger than memory can hold";
    case FASTLSTM_KIND: return "a layer's kind or variant is unknown";
    case FASTLSTM_ACTIVATION: return "a layer has an activation that its kind cannot have";
    case FASTLSTM_OPTION:
        return "a layer has an option that its kind does not have, or clips to a value that is not a positive number; "
               "or the network is both fast and for training";
    case FASTLSTM_INSTRUCTION_SET:
        return "the instruction set is unknown, or this machine does not have it, or it was not linked: see "
               "fastlstm/only.h";
    case FASTLSTM_MEMORY: return "the memory for the plan is too small: see fastlstm_plan_bytes";
    case FASTLSTM_PARAMETERS: return "the plan has no parameters yet: see fastlstm_set_parameters";
    case FASTLSTM_TRAINING: return "the plan was not made for training";
    case FASTLSTM_TAPE: return "the tape is not of a forward pass of this plan with these sizes";
    case FASTLSTM_PLAN: return "there is no plan: it was never made, or its memory has moved";
    case FASTLSTM_COUNT: return "not as many parameters as the network has: see fastlstm_parameter_count";
    }
    return "unknown status";
}

/* ---- the description ---- */

static const fl_activation_kind ACTIVATIONS[] = {FL_IDENTITY, FL_TANH,     FL_RELU,
                                                 FL_LOGISTIC, FL_IDENTITY, FL_HARD_LOGISTIC};

#define LAST_OF(array) ((int)(sizeof(array) / sizeof(array)[0]) - 1)

static int is_one(int number, int last) { return number >= 0 && number <= last; }

static int is_bound(double value) { return value == 0 || (value > 0 && value <= 1.7976931348623157e308); }

static fl_activation activation_of(fastlstm_activation given, fastlstm_activation usual) {
    return (fl_activation){ACTIVATIONS[given == FASTLSTM_USUAL ? usual : given], 0.2, 0.5};
}

static fl_cell lstm_of(const fastlstm_layer *d) {
    const fastlstm_variant v = d->variant;
    const int norm = d->kind == FASTLSTM_LSTM_NORM;
    fl_cell cell = {.kind = norm ? FL_LSTM_NORM : FL_LSTM,
                    .coupled = v == FASTLSTM_CIFG,
                    .clip = d->clip,
                    .cell_clip = d->cell_clip};
    cell.i = v == FASTLSTM_NIG ? -1 : cell.gates++;
    cell.f = v == FASTLSTM_NFG || v == FASTLSTM_CIFG ? -1 : cell.gates++;
    cell.z = cell.gates++;
    cell.o = v == FASTLSTM_NOG ? -1 : cell.gates++;
    cell.gate = activation_of(d->gate, FASTLSTM_LOGISTIC);
    cell.g = activation_of(d->g, v == FASTLSTM_NIAF ? FASTLSTM_IDENTITY : FASTLSTM_TANH);
    cell.h = activation_of(d->h, v == FASTLSTM_NOAF ? FASTLSTM_IDENTITY : FASTLSTM_TANH);
    cell.kept = norm ? 3 * cell.gates + 1 : cell.gates;
    cell.p_rows = cell.gates - 1;
    cell.norm_rows = norm ? 2 * cell.gates + 2 : 0;
    fl_set_plain(&cell);
    return cell;
}

static fl_cell rnn_of(const fastlstm_layer *d) {
    return (fl_cell){
        .kind = FL_RNN, .gates = 1, .kept = 1, .i = -1, .f = -1, .o = -1, .g = activation_of(d->g, FASTLSTM_TANH)};
}

static fl_cell gru_of(const fastlstm_layer *d) {
    const int after = d->kind == FASTLSTM_GRU;
    return (fl_cell){.kind = after ? FL_GRU : FL_GRU_BEFORE,
                     .gates = 3,
                     .kept = after ? 4 : 3,
                     .p_rows = after,
                     .gate = activation_of(d->gate, FASTLSTM_LOGISTIC),
                     .g = activation_of(d->g, FASTLSTM_TANH)};
}

static fl_cell dense_of(const fastlstm_layer *d) {
    fl_cell cell = rnn_of(d);
    cell.g = activation_of(d->g, FASTLSTM_IDENTITY);
    return cell;
}

/* What the kinds of layers are. */
static const struct {
    fl_cell (*cell_of)(const fastlstm_layer *);
    fastlstm_activation last_g; /* the last of the activations that g may be */
    int since;                  /* the first version that has it */
    int gated;                  /* Has it activations of gates? */
    int has_c;                  /* Has it variants, peepholes, clipping, and an activation of c? */
    int recurrent;              /* Has it R, and perhaps a reverse direction? */
    int fast;                   /* May its activations be fast? */
} KINDS[] = {
    [FASTLSTM_LSTM] = {lstm_of, LAST_OF(ACTIVATIONS), 1, 1, 1, 1, 1},
    [FASTLSTM_RNN] = {rnn_of, LAST_OF(ACTIVATIONS), 1, 0, 0, 1, 1},
    [FASTLSTM_DENSE] = {dense_of, FASTLSTM_IDENTITY, 1, 0, 0, 0, 1},
    [FASTLSTM_GRU] = {gru_of, LAST_OF(ACTIVATIONS), 2, 1, 0, 1, 0},
    [FASTLSTM_GRU_BEFORE] = {gru_of, LAST_OF(ACTIVATIONS), 2, 1, 0, 1, 0},
    [FASTLSTM_LSTM_NORM] = {lstm_of, LAST_OF(ACTIVATIONS), 3, 1, 1, 1, 0},
};

/* Return whether a layer has activations that came with version 5: of GRUs, and an RNN's hard logistic function. */
static int has_later_activation(const fastlstm_layer *d) {
    if (d->kind == FASTLSTM_GRU || d->kind == FASTLSTM_GRU_BEFORE) return d->gate || d->g;
    return d->kind == FASTLSTM_RNN && d->g == FASTLSTM_HARD_LOGISTIC;
}

static fastlstm_status check_layer(const fastlstm_layer *d, int version, int fast) {
    if (!is_one(d->kind, LAST_OF(KINDS)) || !is_one(d->variant, FASTLSTM_CIFG)) return FASTLSTM_KIND;
    if (version < KINDS[d->kind].since) return FASTLSTM_KIND;
    if (d->units == 0 || d->units >= FL_TOO_MUCH) return FASTLSTM_SIZE;
    if (d->gate != FASTLSTM_USUAL && d->gate != FASTLSTM_LOGISTIC && d->gate != FASTLSTM_HARD_LOGISTIC)
        return FASTLSTM_ACTIVATION;
    if (!is_one(d->g, KINDS[d->kind].last_g) || !is_one(d->h, LAST_OF(ACTIVATIONS))) return FASTLSTM_ACTIVATION;
    if (version < 5 && has_later_activation(d)) return FASTLSTM_ACTIVATION;
    if (!is_bound(d->clip) || !is_bound(d->cell_clip)) return FASTLSTM_OPTION;
    if (!KINDS[d->kind].gated && d->gate) return FASTLSTM_OPTION;
    if (!KINDS[d->kind].has_c && (d->peephole || d->variant || d->h || d->clip != 0 || d->cell_clip != 0))
        return FASTLSTM_OPTION;
    if (!KINDS[d->kind].recurrent && d->bidirectional) return FASTLSTM_OPTION;
    if (fast && !KINDS[d->kind].fast) return FASTLSTM_OPTION;
    return FASTLSTM_OK;
}

/* An earlier version's description has padding there, with anything in it. */
static int is_fast(const fastlstm_network *d) { return d->version >= 4 && d->fast; }

static fastlstm_status check_network(const fastlstm_network *d) {
    if (!d) return FASTLSTM_NULL;
    if (d->version < 1 || d->version > FASTLSTM_C_VERSION) return FASTLSTM_VERSION;
    if (!d->layers) return FASTLSTM_NULL;
    if (d->dtype != FASTLSTM_FLOAT32 && d->dtype != FASTLSTM_FLOAT64) return FASTLSTM_DTYPE;
    if (d->inputs == 0 || d->inputs >= FL_TOO_MUCH || d->layer_count == 0) return FASTLSTM_SIZE;
    if (is_fast(d) && d->training) return FASTLSTM_OPTION;
    for (size_t k = 0; k < d->layer_count; k++) {
        const fastlstm_status status = check_layer(&d->layers[k], d->version, is_fast(d));
        if (status) return status;
    }
    return FASTLSTM_OK;
}

/* Return the kernels of an instruction set, or the fastest; NULL where this machine does not have them. */
static const fl_kernels *kernels_for(const char *name, int bytes) {
    for (int isa = FL_ISA_COUNT - 1; isa >= 0; isa--) {
        const fl_kernels *k = fl_isa_kernels(isa, bytes);
        if (k && !k->device && fl_isa_available(isa) && (!name || strcmp(name, fl_isa_name(isa)) == 0)) return k;
    }
    return NULL;
}

/* ---- the plan ---- */

/* Return the place of the next parameters, and move on to those after them. */
static fl_size place(size_t *next, size_t rows, size_t columns) {
    const size_t here = *next;
    *next = fl_plus(*next, fl_times(rows, columns));
    return (fl_size)here;
}

static size_t vectors(const fl_kernels *k) { return (size_t)(k->column_block / k->unit_block); }

/* Pad columns to whole panels; the result may be too much. */
static size_t padded(size_t columns, fl_size width) {
    return fl_plus(columns, (size_t)width - 1) / (size_t)width * (size_t)width;
}

/* Return the columns of some blocks of a cell's weights as panels; the result may be too much. */
static size_t panel_columns(const fl_kernels *k, const fl_cell *cell, size_t blocks, size_t H) {
    const fl_size gates = fl_gates_of_panel(cell), units = fl_panel_units(k, gates);
    return gates > 1 ? fl_times(blocks, padded(H, units)) : padded(fl_times(blocks, H), units);
}

static void take_direction(fl_direction *d, const fastlstm_plan *plan, const fl_layer *layer, int with_p,
                           size_t *parameters, fl_arena *arena) {
    const fl_kernels *k = plan->k;
    const size_t G = (size_t)layer->cell.gates, H = (size_t)layer->hidden, I = (size_t)layer->input,
                 K = (size_t)layer->seen;
    const size_t GH = fl_times(G, H), bytes = plan->bytes;
    const size_t p_rows = with_p ? (size_t)layer->cell.p_rows : 0, norm_rows = (size_t)layer->cell.norm_rows;
    size_t R_columns = 0;
    for (int product = 0; product < fl_parts_of_R(&layer->cell); product++)
        R_columns = fl_plus(
            R_columns, panel_columns(k, &layer->cell, (size_t)fl_blocks_of_product(&layer->cell, product).count, H));
    d->at_W = place(parameters, GH, I);
    d->at_R = place(parameters, GH, K);
    d->at_b = place(parameters, GH, 1);
    d->at_p = place(parameters, p_rows, H);
    d->at_norm = place(parameters, norm_rows, H);
    d->W_columns = fl_take(arena, fl_times(panel_columns(k, &layer->cell, G, H), fl_times(I, bytes)));
    d->R_columns = fl_take(arena, fl_times(R_columns, fl_times(K, bytes)));
    d->b = fl_take(arena, fl_times(GH, bytes));
    if (p_rows) d->p = fl_take(arena, fl_times(fl_times(p_rows, H), bytes));
    if (norm_rows) d->norm = fl_take(arena, fl_times(fl_times(norm_rows, H), bytes));
    if (plan->training) {
        const fl_size width = (fl_size)vectors(k) * k->unit_block;
        d->W_rows = fl_take(arena, fl_times(padded(I, width), fl_times(GH, bytes)));
        d->R_rows = fl_take(arena, fl_times(padded(K, width), fl_times(GH, bytes)));
    }
    d->forward.cell = &layer->cell;
    d->forward.hidden = layer->hidden;
    d->forward.input = layer->input;
    d->forward.outputs = layer->seen;
    d->forward.W_panels = d->W_columns;
    d->forward.R_panels = d->R_columns;
    d->forward.y_prev_step = layer->seen;
    d->forward.b = d->b;
    d->forward.p = d->p;
    d->forward.norm = d->norm;
    d->forward.y_copy_step = layer->outputs;
    d->forward.space_step = FL_MOST_SPACE * layer->hidden;
}

/* Make the layers: one after the other where there is memory; else in one place, to count the bytes they need. */
static fastlstm_status lay_out_plan(fastlstm_plan *plan, const fastlstm_network *d, fl_arena *arena) {
    fl_layer one, *layers = (fl_layer *)fl_take(arena, fl_times(d->layer_count, sizeof(fl_layer)));
    size_t inputs = d->inputs;
    plan->k = kernels_for(d->instruction_set, d->dtype);
    if (!plan->k) return FASTLSTM_INSTRUCTION_SET;
    plan->bytes = d->dtype;
    plan->training = d->training != 0;
    plan->fast = is_fast(d);
    plan->layer_count = d->layer_count;
    plan->layers = layers;
    plan->widest = inputs;
    for (size_t n = 0; n < d->layer_count; n++) {
        const fastlstm_layer *given = &d->layers[n];
        fl_layer *layer = layers ? &layers[n] : &one;
        memset(layer, 0, sizeof(fl_layer));
        layer->cell = KINDS[given->kind].cell_of(given);
        if (plan->fast) fl_make_fast(&layer->cell);
        layer->row = fl_row_of_cell(layer->cell.kind);
        layer->directions = given->bidirectional ? 2 : 1;
        layer->input = (fl_size)inputs;
        layer->hidden = (fl_size)given->units;
        layer->seen = KINDS[given->kind].recurrent ? layer->hidden : 0;
        inputs = fl_times((size_t)layer->directions, given->units);
        layer->outputs = (fl_size)inputs;
        for (int reverse = 0; reverse < layer->directions; reverse++)
            take_direction(&layer->direction[reverse], plan, layer, !KINDS[given->kind].has_c || given->peephole,
                           &plan->parameters, arena);
        plan->state = fl_plus(plan->state, fl_times((size_t)layer->directions, fl_state_of(layer)));
        if (inputs > plan->widest) plan->widest = inputs;
        const size_t whole_rows = fl_has_whole_rows(&layer->cell) ? fl_times(FL_MOST_SPACE, given->units) : 0;
        if (whole_rows > plan->whole_rows) plan->whole_rows = whole_rows;
        if (n + 1 < d->layer_count && inputs > plan->between[n % 2]) plan->between[n % 2] = inputs;
    }
    plan->most_rows = (FL_TOO_MUCH - 1) / fl_times(plan->widest, plan->bytes);
    return fl_is_too_much(arena) || plan->parameters == FL_TOO_MUCH ? FASTLSTM_SIZE : FASTLSTM_OK;
}

static fastlstm_status measure(const fastlstm_network *network, size_t *bytes) {
    fastlstm_plan plan = {0};
    fl_arena arena = {0};
    fastlstm_status status = check_network(network);
    fl_take(&arena, sizeof(fastlstm_plan));
    if (!status) status = lay_out_plan(&plan, network, &arena);
    *bytes = status ? 0 : fl_arena_bytes(&arena);
    return status;
}

size_t fastlstm_plan_bytes(const fastlstm_network *network) {
    size_t bytes;
    measure(network, &bytes);
    return bytes;
}

fastlstm_status fastlstm_make_plan(const fastlstm_network *network, void *memory, size_t bytes, fastlstm_plan **plan) {
    size_t needed;
    const fastlstm_status status = measure(network, &needed);
    if (status) return status;
    if (!memory || !plan) return FASTLSTM_NULL;
    if (bytes < needed) return FASTLSTM_MEMORY;
    fl_arena arena = fl_arena_in(memory);
    *plan = (fastlstm_plan *)fl_take(&arena, sizeof(fastlstm_plan));
    memset(*plan, 0, sizeof(fastlstm_plan));
    (*plan)->self = *plan;
    return lay_out_plan(*plan, network, &arena);
}

/* ---- parameters ---- */

/* Return the number of panels of packed rows. */
static fl_size fl_row_panel_count(const fl_kernels *k, int wide, fl_size columns) {
    return fl_padded(k, wide, columns) / (wide * k->unit_block);
}

static void pack(const fastlstm_plan *plan, const fl_layer *layer, const fl_direction *d, const char *parameters) {
    const fl_kernels *k = plan->k;
    const fl_cell *cell = &layer->cell;
    const fl_size G = cell->gates, H = layer->hidden, I = layer->input, K = layer->seen, bytes = (fl_size)plan->bytes;
    const fl_size gates = fl_gates_of_panel(cell);
    const char *W = fl_at(parameters, d->at_W, bytes), *R = fl_at(parameters, d->at_R, bytes);
    const int wide = (int)vectors(k);
    k->pack_columns(d->W_columns, gates, G * H / gates, W, I, 0, fl_panel_count(k, gates, G * H / gates));
    if (plan->training) k->pack_rows(d->W_rows, wide, W, I, G * H, I, 0, fl_row_panel_count(k, wide, I));
    fl_size columns = 0, rows = 0;
    for (int product = 0; product < fl_parts_of_R(cell); product++) {
        const fl_size own = fl_blocks_of_product(cell, product).count * H, hidden = own / gates;
        const char *part = fl_at(R, rows * K, bytes);
        k->pack_columns(d->R_columns + columns * bytes, gates, hidden, part, K, 0, fl_panel_count(k, gates, hidden));
        columns += fl_column_panels(k, gates, hidden, K);
        if (plan->training)
            k->pack_rows(fl_R_rows_from(k, d, rows, K, bytes), wide, part, K, own, K, 0,
                         fl_row_panel_count(k, wide, K));
        rows += own;
    }
    memcpy(d->b, fl_at(parameters, d->at_b, bytes), (size_t)(G * H * bytes));
    if (d->p) memcpy(d->p, fl_at(parameters, d->at_p, bytes), (size_t)(cell->p_rows * H * bytes));
    if (d->norm) memcpy(d->norm, fl_at(parameters, d->at_norm, bytes), (size_t)(cell->norm_rows * H * bytes));
}

fastlstm_status fastlstm_set_parameters(fastlstm_plan *plan, const void *parameters, size_t count) {
    const fastlstm_status status = fl_check_plan(plan);
    if (status) return status;
    if (!parameters) return FASTLSTM_NULL;
    if (count != plan->parameters) return FASTLSTM_COUNT;
    for (size_t n = 0; n < plan->layer_count; n++)
        for (int reverse = 0; reverse < plan->layers[n].directions; reverse++)
            pack(plan, &plan->layers[n], &plan->layers[n].direction[reverse], (const char *)parameters);
    plan->has_parameters = 1;
    return FASTLSTM_OK;
}

fastlstm_status fastlstm_set_hard_logistic(fastlstm_plan *plan, size_t layer, fastlstm_place place, double alpha,
                                           double beta) {
    const fastlstm_status status = fl_check_plan(plan);
    if (status) return status;
    if (layer >= plan->layer_count) return FASTLSTM_SIZE;
    fl_cell *cell = &plan->layers[layer].cell;
    fl_activation *const places[] = {&cell->gate, &cell->g, &cell->h};
    if (!is_one((int)place, LAST_OF(places)) || places[place]->kind != FL_HARD_LOGISTIC) return FASTLSTM_ACTIVATION;
    if (alpha == 0 || !is_bound(alpha) || !is_bound(beta < 0 ? -beta : beta)) return FASTLSTM_OPTION;
    *places[place] = (fl_activation){FL_HARD_LOGISTIC, alpha, beta};
    return FASTLSTM_OK;
}

/* ---- counts ---- */

size_t fastlstm_parameter_count(const fastlstm_plan *plan) { return fl_check_plan(plan) ? 0 : plan->parameters; }

size_t fastlstm_output_count(const fastlstm_plan *plan) {
    return fl_check_plan(plan) ? 0 : (size_t)plan->layers[plan->layer_count - 1].outputs;
}

size_t fastlstm_state_count(const fastlstm_plan *plan, size_t B) {
    return fl_check_plan(plan) ? 0 : fl_times(plan->state, B);
}
