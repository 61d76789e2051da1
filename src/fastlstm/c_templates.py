"""The parts of a C header, with words to be filled in: `n` begins its names, `N` those of its macros."""

from __future__ import annotations

HEAD = """\
/* $summary
 *
 * Written by fastlstm $version. Include it in one source file, and link the library, whose header says more:
 *
 *   cc program.c $$(python -m fastlstm --cflags --libs)
 *
 *   static ${n}_network network;$stream_example
 *
 * All memory is in these; nothing allocates. Functions return FASTLSTM_OK, or what fastlstm_message says in words. */
#ifndef ${N}_H
#define ${N}_H

$math#include <string.h>
$only
#include <fastlstm/fastlstm.h>

"""

ONLY = """\

#ifndef FASTLSTM_ONLY /* the kernels of one instruction set, see only.h */
#define FASTLSTM_ONLY $isa
#define FASTLSTM_ONLY_$precision
#endif
#include <fastlstm/only.h>"""

NETWORK = """\
/* The network. Once it is ready it is only read, by any number of threads; it must stay where it is. The functions of
 * fastlstm.h take its plan. */
typedef struct {
    fastlstm_plan *plan$head;
    unsigned char memory[${N}_PLAN_BYTES]$head_memory;
} ${n}_network;

"""

STREAM = """\
/* A stream: what the network remembers from step to step, zeros at first, and the memory of a step. Each has one thread
 * at a time. */
typedef struct {
    $real state[$states];
    unsigned char workspace[${N}_STEP_BYTES];$features
} ${n}_stream;

"""

PLAN = """\
/* Make the network ready: a plan with the parameters, in the network's own memory. It has room for the plan of every
 * instruction set; FASTLSTM_MEMORY says that a later library needs more: write this header anew. */
static inline fastlstm_status ${n}_plan(${n}_network *network) {
    fastlstm_layer layers[$layer_count];
    fastlstm_network description;
    fastlstm_status status;
    memset(layers, 0, sizeof layers);
    memset(&description, 0, sizeof description);
$layers
    description.version = FASTLSTM_C_VERSION;
    description.dtype = FASTLSTM_$precision;$fast
$plans
    return status;
}

"""

PART = """\
    description.inputs = $inputs;
    description.layer_count = $count;
    description.layers = layers$first;
    status = fastlstm_make_plan(&description, network->$memory, sizeof network->$memory, &network->$plan);$constants
    if (!status) status = fastlstm_set_parameters(network->$plan, ${n}_parameters$start, $parameters);"""

CONSTANTS = """
    if (!status)
        status = fastlstm_set_hard_logistic(network->$plan, $k, FASTLSTM_AT_$place, $alpha, $beta);"""

STEP = """\
/* Run a time step of a stream: y ($outputs) from x ($inputs). */
static inline fastlstm_status ${n}_step(const ${n}_network *network, ${n}_stream *stream, const $real *x, $real *y) {
    const fastlstm_status status = fastlstm_step(network->plan, 1, x, stream->state, y, stream->workspace);$softmax
    return status;
}

"""

STEP_WITH_HEAD = """\
/* Run a time step of a stream: y ($outputs), what the network says of the steps up to this one, from x ($inputs). */
static inline fastlstm_status ${n}_step(const ${n}_network *network, ${n}_stream *stream, const $real *x, $real *y) {
    fastlstm_status status;
    status = fastlstm_step(network->plan, 1, x, stream->state, stream->features, stream->workspace);
    if (!status) status = fastlstm_step(network->head, 1, stream->features, NULL, y, stream->workspace);$softmax
    return status;
}

"""

WORKSPACE = """\
/* Return the bytes of the workspace for T time steps; 0 where memory cannot hold them. */
static inline size_t ${n}_workspace_bytes(const ${n}_network *network, size_t T) {
    return fastlstm_workspace_bytes(network->plan, T, 1);
}

"""

WORKSPACE_WITH_HEAD = """\
/* Return the bytes of the workspace for T time steps; 0 where memory cannot hold them. */
static inline size_t ${n}_workspace_bytes(const ${n}_network *network, size_t T) {
    const size_t body = fastlstm_workspace_bytes(network->plan, T, 1);
    const size_t head = fastlstm_workspace_bytes(network->head, 1, 1);
    return body && body < head ? head : body;
}

"""

FORWARD = """\
/* Run a sequence of T time steps, from a state of zeros: y (T, $outputs) from x (T, $inputs). */
static inline fastlstm_status ${n}_forward(const ${n}_network *network, size_t T, const $real *x, $real *y,
                                           void *workspace) {
    const fastlstm_status status = fastlstm_forward(network->plan, T, 1, x, NULL, y, NULL, NULL, workspace);$softmax
    return status;
}

"""

FORWARD_TO_LAST = """\
/* Run a sequence of T time steps, at least one, from a state of zeros: y ($outputs) from x (T, $inputs). `sequence` is
 * memory for what all time steps give, of which only the last goes on: (T, ${N}_FEATURES). */
static inline fastlstm_status ${n}_forward(const ${n}_network *network, size_t T, const $real *x, $real *sequence,
                                           $real *y, void *workspace) {
    $real *last;
    fastlstm_status status;
    if (!T) return FASTLSTM_SIZE;
    status = fastlstm_forward(network->plan, T, 1, x, NULL, sequence, NULL, NULL, workspace);
    if (status) return status;
    last = sequence + (T - 1) * ${N}_FEATURES;$join
    $finish$softmax
    return status;
}

"""

JOIN = """
    /* The other direction ends at the first step. */
    memmove(last + $half, sequence + $half, $half * sizeof($real));"""

SOFTMAX = """\
/* Turn the outputs of some rows into probabilities: e to the power of each, over the sum of the row. */
static inline void ${n}_softmax($real *y, size_t rows) {
    for (; rows; rows--, y += ${N}_OUTPUTS) {
        $real most = y[0], sum = 0;
        size_t k;
        for (k = 1; k < ${N}_OUTPUTS; k++)
            if (y[k] > most) most = y[k];
        for (k = 0; k < ${N}_OUTPUTS; k++) sum += y[k] = $exp(y[k] - most);
        for (k = 0; k < ${N}_OUTPUTS; k++) y[k] /= sum;
    }
}

"""

EMBEDDING = """\
/* Return the values that stand for an id, from 0 to ${N}_IDS - 1, as ${n}_step takes them; NULL for any other. */
static inline const $real *${n}_vector(int id) {
    return id < 0 || id >= ${N}_IDS ? NULL : ${n}_parameters + (size_t)id * ${N}_INPUTS;
}

/* Look up the values of T ids: x (T, $inputs). FASTLSTM_NULL says that there is no such id. */
static inline fastlstm_status ${n}_vectors(size_t T, const int *ids, $real *x) {
    size_t t;
    for (t = 0; t < T; t++) {
        const $real *vector = ${n}_vector(ids[t]);
        if (!vector) return FASTLSTM_NULL;
        memcpy(x + t * ${N}_INPUTS, vector, ${N}_INPUTS * sizeof($real));
    }
    return FASTLSTM_OK;
}

"""
