/* fastlstm in C: networks of LSTMs, simple RNNs and dense layers; forward, back-propagated through time, step by step.
 *
 *   1. Describe a network, and make a plan of it, in memory of your own.
 *   2. Give it parameters: those of a trained network's `flat` in Python, or your own.
 *   3. Call fastlstm_step, fastlstm_forward, fastlstm_backward, with memory of your own.
 *
 * Nothing here allocates, locks, makes a system call or keeps anything but in memory that it is given. A plan that has
 * its parameters is only read: threads may share it, each with its own workspace. Each call runs on the thread that
 * calls it.
 *
 * Sizes are counted in values of the network's precision, or in bytes where that is said. All arrays are row-major and
 * dense: x is (T, B, inputs) and y (T, B, outputs) for T time steps and B sequences. Memory in bytes may begin
 * anywhere, arrays where their values may. Arrays must not overlap, but where it is said that one may be another
 * itself. T and B may be 0: there is nothing to do then, states are as they were and gradients 0; arrays may be empty,
 * not NULL.
 *
 * With this header: link libfastlstm.a, `cc program.c $(python -m fastlstm --cflags --libs)`. In a Python extension:
 * fastlstm/capsule.h, and no library.
 */
#ifndef FASTLSTM_H
#define FASTLSTM_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of this interface. A program runs with every library whose version is the same or later. */
#define FASTLSTM_C_VERSION 1

typedef enum {
    FASTLSTM_OK,
    FASTLSTM_NULL,       /* a pointer that must be there is NULL */
    FASTLSTM_VERSION,    /* the description has none, or is of a later version than the library */
    FASTLSTM_DTYPE,      /* neither FASTLSTM_FLOAT32 nor FASTLSTM_FLOAT64 */
    FASTLSTM_SIZE,       /* no layers, inputs or units; or more than memory can hold */
    FASTLSTM_KIND,       /* of a layer: there is no such kind or variant */
    FASTLSTM_ACTIVATION, /* of a layer: there is none of that number, or not there */
    FASTLSTM_OPTION, /* of a layer: an option that its kind does not have, or a bound that is not a positive number */
    FASTLSTM_INSTRUCTION_SET, /* unknown, or not on this machine */
    FASTLSTM_MEMORY,          /* fewer bytes than a plan needs */
    FASTLSTM_PARAMETERS,      /* the plan has none yet */
    FASTLSTM_TRAINING,        /* the plan is not for training */
    FASTLSTM_TAPE,            /* not of a forward pass of this plan with these T and B */
    FASTLSTM_PLAN,            /* no plan: never made, or its memory has moved */
    FASTLSTM_COUNT            /* not as many parameters as the network has */
} fastlstm_status;

typedef enum { FASTLSTM_FLOAT32 = 4, FASTLSTM_FLOAT64 = 8 } fastlstm_dtype; /* bytes of a value */

typedef enum { FASTLSTM_LSTM, FASTLSTM_RNN, FASTLSTM_DENSE } fastlstm_kind;

/* The variants of "LSTM: A Search Space Odyssey"; without peepholes: see fastlstm_layer. */
typedef enum {
    FASTLSTM_VANILLA,
    FASTLSTM_NIG,  /* no input gate */
    FASTLSTM_NFG,  /* no forget gate */
    FASTLSTM_NOG,  /* no output gate */
    FASTLSTM_NIAF, /* no input activation: g is the identity */
    FASTLSTM_NOAF, /* no output activation: h is the identity */
    FASTLSTM_CIFG  /* coupled gates: f = 1 - i */
} fastlstm_variant;

/* USUAL: the logistic function for gates, tanh for g and h but as a variant says, the identity for dense layers. */
typedef enum {
    FASTLSTM_USUAL,
    FASTLSTM_TANH,
    FASTLSTM_RELU,
    FASTLSTM_LOGISTIC,
    FASTLSTM_IDENTITY,
    FASTLSTM_HARD_LOGISTIC
} fastlstm_activation;

/* Fields that are not given are 0: {.kind = FASTLSTM_LSTM, .units = 64, .peephole = 1}. */
typedef struct {
    fastlstm_kind kind;
    size_t units;             /* H; of a dense layer, its outputs */
    int bidirectional;        /* LSTM, RNN: outputs of both directions side by side */
    int peephole;             /* LSTM: 1 for peepholes, which a layer in Python has by default */
    fastlstm_variant variant; /* LSTM */
    fastlstm_activation gate; /* LSTM: LOGISTIC or HARD_LOGISTIC */
    fastlstm_activation g;    /* LSTM: of the block input z; RNN and dense: of all, but not HARD_LOGISTIC */
    fastlstm_activation h;    /* LSTM: of c on its way to y */
    double clip;              /* LSTM: bound of what goes into gate and g; 0 for none */
    double cell_clip;         /* LSTM: bound of c; 0 for none */
} fastlstm_layer;

/* Set it to zero before its fields, as {.version = FASTLSTM_C_VERSION, ...} does.
 *
 * Parameters follow one another layer by layer, in a layer direction by direction, forward first: in Python `flat`, of
 * a layer or of a network. With I inputs:
 *
 *   LSTM        W (4H, I)   R (4H, H)   b (4H)   p (3, H) with peepholes
 *   simple RNN  W (H, I)    R (H, H)    b (H)
 *   dense       V (H, I)    c (H)
 *
 * The 4H rows of an LSTM are blocks of H for the gates i, f, z, o (z is what others call g or c), the rows of p for i,
 * f, o, both without those that a variant lacks: CIFG and NFG have no f, NIG no i, NOG no o. */
typedef struct {
    int version; /* FASTLSTM_C_VERSION */
    fastlstm_dtype dtype;
    size_t inputs;
    size_t layer_count;
    const fastlstm_layer *layers; /* each sees the outputs of the one before */
    int training;                 /* whether there are to be tapes and backward passes: the plan is larger */
    const char *instruction_set;  /* NULL for the fastest; or portable, base, avx2, avx512, neon */
} fastlstm_network;

/* A network, ready to run: its packed parameters and what its layers are. It lies in the caller's memory, and points
 * into it: that must stay where it is, as a tape's must between the passes. */
typedef struct fastlstm_plan fastlstm_plan;

/* What a status means, in a few words of English. */
const char *fastlstm_message(fastlstm_status status);

/* Bytes of a plan; 0 where the description is not valid: fastlstm_make_plan says why. */
size_t fastlstm_plan_bytes(const fastlstm_network *network);

/* Makes a plan in `bytes` bytes of memory, and lets *plan point there; it needs parameters next. The description is not
 * needed any more. */
fastlstm_status fastlstm_make_plan(const fastlstm_network *network, void *memory, size_t bytes, fastlstm_plan **plan);

/* Values. The state of B sequences is for each LSTM and RNN, direction by direction, h (B, H), and for an LSTM then c
 * (B, H). */
size_t fastlstm_parameter_count(const fastlstm_plan *plan);
size_t fastlstm_output_count(const fastlstm_plan *plan);
size_t fastlstm_state_count(const fastlstm_plan *plan, size_t B);

/* Bytes that calls for T steps of B sequences need, a step T = 1; 0 where that is more than memory can hold. A tape of
 * a plan that is not for training has 0, too. What is enough for T and B is enough for fewer of either. */
size_t fastlstm_workspace_bytes(const fastlstm_plan *plan, size_t T, size_t B);
size_t fastlstm_tape_bytes(const fastlstm_plan *plan, size_t T, size_t B);

/* Takes `count` parameters over into the plan, in the order in which it reads them; no call may be under way. */
fastlstm_status fastlstm_set_parameters(fastlstm_plan *plan, const void *parameters, size_t count);

/* One time step: y from x and the state, which becomes the next one. In both directions, a step is a whole sequence.
 *
 *   x (B, inputs) in, state in and out, y (B, outputs) out, workspace for T = 1 */
fastlstm_status fastlstm_step(const fastlstm_plan *plan, size_t B, const void *x, void *state, void *y,
                              void *workspace);

/* All time steps, from the state `first`, NULL for zeros, to the state `last`, NULL where it is not wanted.
 *
 *   x in, first in, y out, last out (may be first itself), tape out: what backward needs, or NULL */
fastlstm_status fastlstm_forward(const fastlstm_plan *plan, size_t T, size_t B, const void *x, const void *first,
                                 void *y, void *last, void *tape, void *workspace);

/* Back-propagation through time: the gradients of a J whose gradients dy, and dlast of the final state, are given. x,
 * y, the tape and the plan's parameters are those of the forward pass.
 *
 *   x, y, tape in; dy in; dlast in, or NULL for zeros; dx out, or NULL; dfirst out, or NULL (may be dlast itself);
 *   gradients out, in the order of the parameters; added to what is there where `accumulate` is not 0 */
fastlstm_status fastlstm_backward(const fastlstm_plan *plan, size_t T, size_t B, const void *x, const void *y,
                                  const void *tape, const void *dy, const void *dlast, void *dx, void *dfirst,
                                  void *gradients, int accumulate, void *workspace);

#ifdef __cplusplus
}
#endif

#endif
