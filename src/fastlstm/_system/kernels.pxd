# The C side: kernels.h, dispatch.h and pool.h say what each name means.

from libc.stdint cimport int64_t

cdef extern from "tuning.h":
    enum:
        FL_FAR_ROW
        FL_VALUES_PER_LINE
        FL_ROWS_PER_BLOCK
        FL_ROWS_TO_PACK
        FL_COLUMNS_TO_PACK
        FL_LONG_COLUMN
        FL_BLOCKS_PER_SUM
        FL_WORK_PER_CALL
        FL_THREADS_FOR_TWO
        FL_BYTES_PER_PART
        FL_LOSSES_PER_PART
        FL_PARAMETERS_PER_PART
        FL_ADDED_PER_PART
        FL_CTC_WORK_PER_PART
        FL_WORK_BEFORE_A_LOOK
        FL_VALUES_BEFORE_A_LOOK
        FL_BYTES_BEFORE_A_LOOK
        FL_CTC_WORK_BEFORE_A_LOOK
        FL_OFFERS_BEFORE_A_LOOK
        FL_ROWS_TO_STOP
        FL_FIRST_ASKED
        FL_LAST_ASKED
        FL_TIMES_THE_WAIT

cdef extern from "kernels.h":
    ctypedef Py_ssize_t fl_size

    double FL_CTC_ZERO

    ctypedef struct fl_ctc_norm:
        double largest
        double log_sum

    ctypedef enum fl_activation_kind:
        FL_TANH
        FL_RELU
        FL_LOGISTIC
        FL_IDENTITY
        FL_HARD_LOGISTIC

    ctypedef struct fl_activation:
        fl_activation_kind kind
        double alpha
        double beta

    ctypedef enum fl_format:
        FL_FULL
        FL_BFLOAT16
        FL_INT8

    enum: FL_MOST_SPACE
    ctypedef int fl_cell_kind
    enum:
        FL_LSTM
        FL_FGR
        FL_RNN
        FL_GRU
        FL_GRU_BEFORE
        FL_LSTM_NORM
        FL_CELLS

    ctypedef struct fl_cell:
        fl_cell_kind kind
        int gates
        int kept
        int p_rows
        int norm_rows
        int i
        int f
        int z
        int o
        bint coupled
        fl_activation gate
        fl_activation g
        fl_activation h
        double clip
        double cell_clip

    ctypedef struct fl_forward:
        const fl_cell *cell
        fl_size hidden
        fl_size input
        fl_size outputs
        const void *W
        const void *R
        const void *W_panels
        const void *R_panels
        fl_format format
        const void *scale
        const void *ratio
        const void *b
        const void *p
        const void *norm
        const void *x
        const void *wx
        const void *y_prev
        fl_size y_prev_step
        const void *c_prev
        void *space
        fl_size space_step
        void *Ry
        void *gates
        void *c
        fl_size keep
        void *y
        fl_size y_step
        void *y_copy
        fl_size y_copy_step
        void *extra_seen
        void *extra_last

    ctypedef struct fl_carry:
        fl_size hidden
        fl_size width
        fl_size keep
        void *y
        fl_size y_step
        const void *y_before
        fl_size y_before_step
        fl_size before
        const unsigned char *reset_before
        const void *zone_y
        const void *zone_c
        const unsigned char *reset
        const void *y_first
        const void *c_first
        bint reset_to_zero
        const void *mask
        void *y_seen
        fl_size y_seen_step
        bint y_is_there
        int extra
        const void *extra_first
        const void *c
        const void *c_prev
        void *c_seen
        void *c_last

    ctypedef struct fl_y_gradient:
        const void *a
        fl_size a_step
        fl_size K
        const void *panels
        const void *beside
        const void *above
        fl_size above_step
        const void *last
        const void *mask
        const unsigned char *reset
        void *to_first
        const void *zone
        void *zoned
        void *all
        const void *through_c

    ctypedef struct fl_backward:
        const fl_cell *cell
        fl_size hidden
        fl_y_gradient y
        const void *extra_panels
        const void *delta_next
        const void *d_extra_last
        const void *p
        const void *norm
        const void *gates
        const void *c_prev
        const void *c
        const void *y_prev
        const void *R_panels
        void *r_y
        void *beside
        const void *dc_above
        const unsigned char *reset
        void *dc_first
        void *d_extra_first
        const void *zone_c
        bint simple
        void *sent
        void *delta
        void *delta_R
        void *delta_W
        void *norm_deltas
        void *delta_panels
        fl_size panel_step
        void *dc
        void *dc_all
        void *y_again

    ctypedef struct fl_product:
        fl_size columns
        fl_size K
        const void *a
        fl_size a_row_step
        fl_size a_k_step
        const void *panels
        int vectors
        fl_size gates
        fl_format format
        void *c
        fl_size c_row_step
        bint add
        bint sums

    ctypedef void (*fl_forward_step)(const fl_forward *, fl_size row0, fl_size row1, fl_size unit0,
                                     fl_size unit1) noexcept nogil
    ctypedef void (*fl_backward_step)(const fl_backward *, fl_size row0, fl_size row1, fl_size unit0,
                                      fl_size unit1) noexcept nogil
    ctypedef void (*fl_outputs)(const fl_cell *, fl_size hidden, const void *gates, const void *c, void *y,
                                fl_size rows, fl_size unit0, fl_size unit1) noexcept nogil

    ctypedef struct fl_cell_kernels:
        fl_forward_step forward
        fl_backward_step backward
        fl_outputs outputs

    ctypedef enum fl_loss_kind:
        FL_SQUARED
        FL_ABSOLUTE
        FL_HUBER
        FL_LOGISTIC_LOSS

    ctypedef struct fl_loss:
        fl_loss_kind kind
        fl_size columns
        const void *prediction
        const void *target
        const unsigned char *mask
        double scale
        double delta
        void *gradient

    ctypedef struct fl_softmax:
        fl_size classes
        const void *logits
        const int64_t *target
        const unsigned char *mask
        const void *weights
        double sum_of_weights
        double smoothing
        double scale
        void *gradient

    ctypedef struct fl_sgd:
        void *theta
        const void *gradient
        void *velocity
        double rate
        double momentum
        double decay
        bint nesterov

    ctypedef struct fl_adam:
        void *theta
        const void *gradient
        void *m
        void *v
        double beta1
        double beta2
        double epsilon
        double rate
        double root
        double keep

    ctypedef struct fl_kernels:
        fl_size unit_block
        fl_size row_block
        fl_size column_block
        bint device
        bint packs
        void (*pack_columns)(void *panels, fl_size gates, fl_size hidden, const void *A, fl_size K, fl_size panel0,
                             fl_size panel1) noexcept nogil
        void (*pack_rows)(void *panels, int vectors, const void *A, fl_size row_step, fl_size rows, fl_size columns,
                          fl_size panel0, fl_size panel1) noexcept nogil
        const fl_cell_kernels *cells
        void (*carry)(const fl_carry *, fl_size row0, fl_size row1, fl_size column0, fl_size column1, fl_size unit0,
                      fl_size unit1) noexcept nogil
        void (*y_gradient)(const fl_y_gradient *, void *dy, fl_size width, fl_size row0, fl_size row1, fl_size column0,
                           fl_size column1) noexcept nogil
        void (*multiply)(const fl_product *, fl_size row0, fl_size row1, fl_size column0,
                         fl_size column1) noexcept nogil
        void (*transpose)(void *a_transposed, const void *a, fl_size rows, fl_size columns, fl_size column0,
                          fl_size column1) noexcept nogil
        void (*unpack_gradient)(void *dA, const void *G, fl_size gates, fl_size hidden, fl_size K, bint add,
                                fl_size unit0,
                                fl_size unit1) noexcept nogil
        void (*add_bias_gradient)(void *db, const void *delta, fl_size rows, fl_size columns, fl_size column0,
                                  fl_size column1) noexcept nogil
        void (*activate)(fl_activation, const void *x, void *y, fl_size n) noexcept nogil
        void (*differentiate)(fl_activation, const void *y, const void *dy, void *dx, fl_size n) noexcept nogil
        double (*elementwise_loss)(const fl_loss *, fl_size row0, fl_size row1) noexcept nogil
        double (*softmax)(const fl_softmax *, fl_size row0, fl_size row1) noexcept nogil
        int (*sgd)(const fl_sgd *, fl_size first, fl_size last) noexcept nogil
        int (*adam)(const fl_adam *, fl_size first, fl_size last) noexcept nogil
        double (*sum_of_squares)(const void *x, fl_size n) noexcept nogil
        void (*scale)(void *x, double factor, fl_size n) noexcept nogil
        void (*add_rows)(void *sums, const int64_t *ids, const void *rows, fl_size count, fl_size columns,
                         fl_size column0,
                         fl_size column1) noexcept nogil
        void (*sum_rows)(void *sums, const void *rows, fl_size step, fl_size count, double factor, bint add,
                         fl_size column0, fl_size column1) noexcept nogil
        fl_ctc_norm (*ctc_softmax)(const void *x, fl_size K, double weight, void *y) noexcept nogil
        void (*ctc_emissions)(const void *x, fl_ctc_norm norm, const int64_t *labels, fl_size step, fl_size L,
                              double *y) noexcept nogil
        void (*ctc_subtract)(void *dx, double weight, const double *share, const int64_t *labels, fl_size step,
                             fl_size L,
                             fl_size blank) noexcept nogil
        void (*ctc_step)(const double *labels, const double *blanks, const double *skip, const double *y_labels,
                         double y_blank, fl_size size, double *next_labels, double *next_blanks) noexcept nogil
        void (*ctc_shares)(const double *labels, const double *blanks, const double *labels_back,
                           const double *blanks_back, const double *y_labels, double y_blank, fl_size L,
                           double *share) noexcept nogil
        void (*copy)(void *to, fl_size to_step, const void *src, fl_size from_step, fl_size bytes, fl_size row0,
                     fl_size row1) noexcept nogil
        void (*clear)(void *to, fl_size step, fl_size bytes, fl_size rows, const unsigned char *which) noexcept nogil
        void (*matmul)(bint transpose_a, bint transpose_b, fl_size m, fl_size n, fl_size k, const void *a,
                       fl_size lda, const void *b, double beta, void *c) noexcept nogil
        void (*finish)() noexcept nogil

    ctypedef struct fl_cell_row:
        const char *name
        bint has_c
        int extra
        bint c_is_y
        bint own_R_deltas
        int products

    const fl_cell_row *fl_row_of_cell(fl_cell_kind kind) nogil
    void fl_set_plain(fl_cell *cell) nogil
    void fl_make_fast(fl_cell *cell) nogil
    fl_activation fl_fast(fl_activation g) nogil
    int fl_parts_of_R(const fl_cell *cell) nogil
    bint fl_has_whole_rows(const fl_cell *cell) nogil
    fl_size fl_gates_of_panel(const fl_cell *cell) nogil
    fl_size fl_panel_units(const fl_kernels *k, fl_size gates) nogil

cdef extern from "device/backend.h":
    const char *FL_BACKEND_CAPSULE

    ctypedef enum fl_algorithm:
        FL_AUTO
        FL_STEPS
        FL_RESIDENT
        FL_CLUSTER

    ctypedef enum fl_precision:
        FL_IN_FLOAT32
        FL_IN_FLOAT64
        FL_IN_BFLOAT16
        FL_IN_FLOAT16

    ctypedef struct fl_backend:
        size_t table_bytes
        const char *name
        const fl_kernels *kernels[4]
        const char *(*unavailable)() noexcept nogil
        void (*describe)(char *to, size_t bytes) noexcept nogil
        void (*begin)(int device, void *stream, fl_algorithm, bint tf32) noexcept nogil
        const char *(*end)() noexcept nogil
        int (*used)(fl_algorithm) noexcept nogil

cdef extern from "system/dispatch.h":
    enum: FL_ISA_portable, FL_ISA_COUNT
    const char *fl_isa_name(int isa) nogil
    int fl_isa_available(int isa) nogil
    const fl_kernels *fl_isa_kernels(int isa, int bytes) nogil
    const fl_backend *fl_emulated_backend() nogil

cdef extern from "system/pool.h":
    enum: FL_MAX_THREADS
    ctypedef void (*fl_task)(void *argument, int part, int parts) noexcept nogil
    void fl_parallel(fl_task task, void *argument, int parts) noexcept nogil

    ctypedef struct fl_call:
        int (*ask)(fl_call *call) noexcept nogil
        void *own
        long long next
        long long stopped

    void fl_begin_call(fl_call *call) noexcept nogil
    void fl_end_call() noexcept nogil
    int fl_stopped() noexcept nogil
    long long fl_ticks() noexcept nogil
