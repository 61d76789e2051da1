/* fastlstm in C: networks of LSTMs, GRUs, simple RNNs and dense layers; forward, back-propagated through time, step by
 * step.
 *
 *   1. Describe a network, and make a plan of it, in memory of your own.
 *   2. Give it parameters: those of a trained network's `flat` in Python, or your own.
 *   3. Call fastlstm_step, fastlstm_forward, fastlstm_backward, with memory of your own.
 *
 * Nothing here allocates memory, locks or makes a system call, and nothing is kept but in memory that the caller gives.
 * A plan that has its parameters is only read: threads may share it, each with its own workspace. Each call runs on the
 * thread that calls it.
 *
 * Sizes are counted in values of the network's precision, or in bytes where that is said. All arrays are row-major and
 * dense: x is (T, B, inputs) and y (T, B, outputs) for T time steps and B sequences. Memory in bytes may have any
 * alignment; arrays have that of their values. Arrays must not overlap, except where one is said to be allowed to be
 * another. T and B may be 0: there is nothing to do then, states stay as they were and gradients are 0; arrays may be
 * empty, but not NULL.
 *
 * With this header: link libfastlstm.a, `cc program.c $(python -m fastlstm --cflags --libs)`; with the kernels of one
 * instruction set alone, see fastlstm/only.h. In a Python extension: fastlstm/capsule.h, and no library.
 */
#ifndef FASTLSTM_H
#define FASTLSTM_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this interface. A program runs with every library whose version is the same or later. */
#define FASTLSTM_C_VERSION 5

typedef enum {
    FASTLSTM_OK,
    FASTLSTM_NULL,            /* a pointer that must be there is NULL */
    FASTLSTM_VERSION,         /* the description has no version, or a later one than the library */
    FASTLSTM_DTYPE,           /* neither FASTLSTM_FLOAT32 nor FASTLSTM_FLOAT64 */
    FASTLSTM_SIZE,            /* no layers, inputs or units; or more than memory can hold */
    FASTLSTM_KIND,            /* a layer has an unknown kind or variant */
    FASTLSTM_ACTIVATION,      /* a layer has an unknown activation, or one that it cannot have there */
    FASTLSTM_OPTION,          /* an option that a layer's kind, or training, lacks; a bound that is not positive */
    FASTLSTM_INSTRUCTION_SET, /* an unknown instruction set, or one that this machine or program lacks */
    FASTLSTM_MEMORY,          /* fewer bytes than the plan needs */
    FASTLSTM_PARAMETERS,      /* the plan has no parameters yet */
    FASTLSTM_TRAINING,        /* the plan is not for training */
    FASTLSTM_TAPE,            /* the tape is not from a forward pass of this plan with these T and B */
    FASTLSTM_PLAN,            /* not a plan: it was never made, or its memory has moved */
    FASTLSTM_COUNT            /* not as many parameters as the network has */
} fastlstm_status;

typedef enum { FASTLSTM_FLOAT32 = 4, FASTLSTM_FLOAT64 = 8 } fastlstm_dtype; /* bytes of a value */

typedef enum {
    FASTLSTM_LSTM,
    FASTLSTM_RNN,
    FASTLSTM_DENSE,
    FASTLSTM_GRU,        /* resets after the recurrent product; since version 2 */
    FASTLSTM_GRU_BEFORE, /* resets before the recurrent product; since version 2 */
    FASTLSTM_LSTM_NORM   /* the layer-normalised LSTM, layer_norm=True in Python; since version 3 */
} fastlstm_kind;

/* The variants of "LSTM: A Search Space Odyssey"; peepholes are a field of fastlstm_layer. */
typedef enum {
    FASTLSTM_VANILLA,
    FASTLSTM_NIG,  /* no input gate */
    FASTLSTM_NFG,  /* no forget gate */
    FASTLSTM_NOG,  /* no output gate */
    FASTLSTM_NIAF, /* no input activation: g is the identity */
    FASTLSTM_NOAF, /* no output activation: h is the identity */
    FASTLSTM_CIFG  /* coupled gates: f = 1 - i */
} fastlstm_variant;

/* USUAL is the logistic function for gates, tanh for g and h unless a variant says otherwise, and the identity for
 * dense layers. HARD_LOGISTIC is 0.2 a + 0.5 between 0 and 1: see fastlstm_set_hard_logistic for others. */
typedef enum {
    FASTLSTM_USUAL,
    FASTLSTM_TANH,
    FASTLSTM_RELU,
    FASTLSTM_LOGISTIC,
    FASTLSTM_IDENTITY,
    FASTLSTM_HARD_LOGISTIC
} fastlstm_activation;

/* A layer. Fields that are not given are 0: {.kind = FASTLSTM_LSTM, .units = 64, .peephole = 1}. A
 * layer-normalised LSTM has the fields of an LSTM. */
typedef struct {
    fastlstm_kind kind;
    size_t units;             /* H; of a dense layer, its outputs */
    int bidirectional;        /* all but dense: outputs of both directions side by side */
    int peephole;             /* LSTM: 1 for peepholes, which a layer in Python has by default */
    fastlstm_variant variant; /* LSTM */
    fastlstm_activation gate; /* LSTM, and GRU since version 5: LOGISTIC or HARD_LOGISTIC */
    fastlstm_activation g;    /* LSTM: of the block input z; GRU since version 5: of the candidate n; RNN and dense: of
                                 the units, HARD_LOGISTIC since version 5 and of an RNN alone */
    fastlstm_activation h;    /* LSTM: of c, of LSTM_NORM the normalised c, before the output gate */
    double clip;              /* LSTM: clipping bound of the arguments of gate and g; 0 for no clipping */
    double cell_clip;         /* LSTM: clipping bound of c; 0 for no clipping */
} fastlstm_layer;

/* The description of a network. Set it to zero before its fields, as {.version = FASTLSTM_C_VERSION, ...} does.
 *
 * Parameters follow one another layer by layer, and in a layer direction by direction, forward first: as in `flat` of a
 * layer or a network in Python. With I inputs:
 *
 *   LSTM        W (4H, I)   R (4H, H)   b (4H)   p (3, H) with peepholes
 *   LSTM_NORM   W (4H, I)   R (4H, H)   b (4H)   p (3, H) with peepholes   norm (10, H)
 *   GRU         W (3H, I)   R (3H, H)   b (3H)   bn (H)
 *   GRU_BEFORE  W (3H, I)   R (3H, H)   b (3H)
 *   simple RNN  W (H, I)    R (H, H)    b (H)
 *   dense       V (H, I)    c (H)
 *
 * The 4H rows of an LSTM are blocks of H for the gates i, f, z, o (z is what others call g or c), the rows of p for i,
 * f, o, both without those that a variant lacks: CIFG and NFG have no f, NIG no i, NOG no o. The rows of norm, 2n + 2
 * with n blocks, are the gains of R y, a row for each block, those of W x, and the gain and the bias of c. The 3H rows
 * of a GRU are blocks for r, z, n; bn is the bias of R's block n, which r multiplies. */
typedef struct {
    int version; /* FASTLSTM_C_VERSION */
    fastlstm_dtype dtype;
    size_t inputs;
    size_t layer_count;
    const fastlstm_layer *layers; /* each layer's inputs are the outputs of the one before */
    int training;                 /* whether the plan is for tapes and backward passes too, which makes it larger */
    int fast; /* whether tanh and the logistic function may be off by 2e-6 and 1e-6, for shorter steps; not with
                 training, GRUs and LSTM_NORM. Steps then leave the floating-point mode as it is: flush denormals in it,
                 as audio programs do. Since version 4 */
    const char *instruction_set; /* NULL for the fastest; or portable, base, avx2, avx512, neon */
} fastlstm_network;

/* A network, ready to run: its layers and their packed parameters. It lies in the caller's memory and points into it:
 * that memory must stay where it is, as a tape's must between the passes. */
typedef struct fastlstm_plan fastlstm_plan;

/* Return what a status means, in a few words of English. */
const char *fastlstm_message(fastlstm_status status);

/* Return the bytes of a plan; 0 where the description is not valid: fastlstm_make_plan says why. */
size_t fastlstm_plan_bytes(const fastlstm_network *network);

/* Make a plan in `bytes` bytes of memory, and let *plan point to it. The plan needs parameters next; the description is
 * no longer needed. */
fastlstm_status fastlstm_make_plan(const fastlstm_network *network, void *memory, size_t bytes, fastlstm_plan **plan);

/* Return a number of values: the parameters; the outputs of a step of one sequence; the state of B sequences. The state
 * has for each LSTM, GRU and RNN, direction by direction, h (B, H), and for an LSTM then c (B, H). */
size_t fastlstm_parameter_count(const fastlstm_plan *plan);
size_t fastlstm_output_count(const fastlstm_plan *plan);
size_t fastlstm_state_count(const fastlstm_plan *plan, size_t B);

/* Return the bytes that calls for T steps of B sequences need, with T = 1 for fastlstm_step; 0 where that is more than
 * memory can hold. A tape of a plan that is not for training has 0 bytes, too. What is enough for T and B is enough for
 * fewer of either. */
size_t fastlstm_workspace_bytes(const fastlstm_plan *plan, size_t T, size_t B);
size_t fastlstm_tape_bytes(const fastlstm_plan *plan, size_t T, size_t B);

/* Copy `count` parameters into the plan, packed as its steps read them; no call with the plan may be under way. */
fastlstm_status fastlstm_set_parameters(fastlstm_plan *plan, const void *parameters, size_t count);

/* The places of a layer's activations: the fields of fastlstm_layer. Since version 5. */
typedef enum { FASTLSTM_AT_GATE, FASTLSTM_AT_G, FASTLSTM_AT_H } fastlstm_place;

/* Let the hard logistic function of a layer, counted from 0, be alpha a + beta between 0 and 1, where its activation at
 * this place is HARD_LOGISTIC; Keras 3's has 1.0 / 6 and 0.5. alpha must be positive. No call with the plan may be
 * under way. Since version 5. */
fastlstm_status fastlstm_set_hard_logistic(fastlstm_plan *plan, size_t layer, fastlstm_place place, double alpha,
                                           double beta);

/* Run one time step: y from x and the state, which becomes the next one. With both directions, a step is a whole
 * sequence.
 *
 *   x (B, inputs) in, state in and out, y (B, outputs) out, workspace for T = 1 */
fastlstm_status fastlstm_step(const fastlstm_plan *plan, size_t B, const void *x, void *state, void *y,
                              void *workspace);

/* Run all time steps, from the state `first`, NULL for zeros, to the state `last`, NULL where it is not wanted.
 *
 *   x in, first in, y out, last out (may be first itself), tape out: what backward needs, or NULL */
fastlstm_status fastlstm_forward(const fastlstm_plan *plan, size_t T, size_t B, const void *x, const void *first,
                                 void *y, void *last, void *tape, void *workspace);

/* Back-propagate through time: compute the gradients of a J from its gradients dy, and dlast with respect to the final
 * state. x, y, the tape and the plan's parameters are those of the forward pass.
 *
 *   x, y, tape in; dy in; dlast in, or NULL for zeros; dx out, or NULL; dfirst out, or NULL (may be dlast itself);
 *   gradients out, in the order of the parameters; added to what is there where `accumulate` is not 0 */
fastlstm_status fastlstm_backward(const fastlstm_plan *plan, size_t T, size_t B, const void *x, const void *y,
                                  const void *tape, const void *dy, const void *dlast, void *dx, void *dfirst,
                                  void *gradients, int accumulate, void *workspace);

#ifdef __cplusplus
}
#endif

#ifdef FASTLSTM_ONLY
#include "only.h"
#endif

#endif
