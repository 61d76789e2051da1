"""The C interface, for Cython: `cimport fastlstm`, then once `fastlstm.import_fastlstm()`.

Compile with `fastlstm.get_include()` among the include folders. fastlstm/fastlstm.h says what each function does.
"""

cdef extern from "fastlstm/capsule.h" nogil:
    enum: FASTLSTM_C_VERSION

    ctypedef enum fastlstm_status:
        FASTLSTM_OK
        FASTLSTM_NULL
        FASTLSTM_VERSION
        FASTLSTM_DTYPE
        FASTLSTM_SIZE
        FASTLSTM_KIND
        FASTLSTM_ACTIVATION
        FASTLSTM_OPTION
        FASTLSTM_INSTRUCTION_SET
        FASTLSTM_MEMORY
        FASTLSTM_PARAMETERS
        FASTLSTM_TRAINING
        FASTLSTM_TAPE
        FASTLSTM_PLAN
        FASTLSTM_COUNT

    ctypedef enum fastlstm_dtype:
        FASTLSTM_FLOAT32
        FASTLSTM_FLOAT64

    ctypedef enum fastlstm_kind:
        FASTLSTM_LSTM
        FASTLSTM_RNN
        FASTLSTM_DENSE
        FASTLSTM_GRU
        FASTLSTM_GRU_BEFORE
        FASTLSTM_LSTM_NORM

    ctypedef enum fastlstm_variant:
        FASTLSTM_VANILLA
        FASTLSTM_NIG
        FASTLSTM_NFG
        FASTLSTM_NOG
        FASTLSTM_NIAF
        FASTLSTM_NOAF
        FASTLSTM_CIFG

    ctypedef enum fastlstm_activation:
        FASTLSTM_USUAL
        FASTLSTM_TANH
        FASTLSTM_RELU
        FASTLSTM_LOGISTIC
        FASTLSTM_IDENTITY
        FASTLSTM_HARD_LOGISTIC

    ctypedef enum fastlstm_place:
        FASTLSTM_AT_GATE
        FASTLSTM_AT_G
        FASTLSTM_AT_H

    ctypedef struct fastlstm_layer:
        fastlstm_kind kind
        size_t units
        bint bidirectional
        bint peephole
        fastlstm_variant variant
        fastlstm_activation gate
        fastlstm_activation g
        fastlstm_activation h
        double clip
        double cell_clip

    ctypedef struct fastlstm_network:
        int version
        fastlstm_dtype dtype
        size_t inputs
        size_t layer_count
        const fastlstm_layer *layers
        bint training
        int fast
        const char *instruction_set

    ctypedef struct fastlstm_plan:
        pass

    int import_fastlstm() except -1 with gil

    const char *fastlstm_message(fastlstm_status status)
    size_t fastlstm_plan_bytes(const fastlstm_network *network)
    fastlstm_status fastlstm_make_plan(const fastlstm_network *network, void *memory, size_t bytes,
                                       fastlstm_plan **plan)
    size_t fastlstm_parameter_count(const fastlstm_plan *plan)
    size_t fastlstm_output_count(const fastlstm_plan *plan)
    size_t fastlstm_state_count(const fastlstm_plan *plan, size_t B)
    size_t fastlstm_workspace_bytes(const fastlstm_plan *plan, size_t T, size_t B)
    size_t fastlstm_tape_bytes(const fastlstm_plan *plan, size_t T, size_t B)
    fastlstm_status fastlstm_set_parameters(fastlstm_plan *plan, const void *parameters, size_t count)
    fastlstm_status fastlstm_set_hard_logistic(fastlstm_plan *plan, size_t layer, fastlstm_place place, double alpha,
                                               double beta)
    fastlstm_status fastlstm_step(const fastlstm_plan *plan, size_t B, const void *x, void *state, void *y,
                                  void *workspace)
    fastlstm_status fastlstm_forward(const fastlstm_plan *plan, size_t T, size_t B, const void *x, const void *first,
                                     void *y, void *last, void *tape, void *workspace)
    fastlstm_status fastlstm_backward(const fastlstm_plan *plan, size_t T, size_t B, const void *x, const void *y,
                                      const void *tape, const void *dy, const void *dlast, void *dx, void *dfirst,
                                      void *gradients, bint accumulate, void *workspace)
