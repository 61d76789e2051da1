# The C side: kernels.h, dispatch.h and pool.h say what each name means.

cdef extern from "kernels.h":
    ctypedef Py_ssize_t fl_size

    ctypedef struct fl_lstm_forward:
        fl_size hidden
        fl_size input
        const void *W
        const void *R
        const void *panels
        const void *b
        const void *p
        const void *x
        const void *wx
        const void *y_prev
        const void *c_prev
        void *gates
        void *c
        void *y
        void *y_copy

    ctypedef struct fl_lstm_backward:
        fl_size hidden
        const void *panels
        const void *p
        const void *gates
        const void *c_prev
        const void *c
        const void *dy
        const void *dy_final
        const void *delta_next
        void *delta
        void *delta_panels
        fl_size panel_step
        void *dc

    ctypedef enum fl_activation:
        FL_TANH
        FL_RELU
        FL_LOGISTIC
        FL_IDENTITY

    ctypedef struct fl_rnn_forward:
        fl_size hidden
        fl_size input
        fl_activation activation
        const void *W
        const void *R
        const void *panels
        const void *b
        const void *x
        const void *wx
        const void *h_prev
        void *h
        void *h_copy

    ctypedef struct fl_rnn_backward:
        fl_size hidden
        fl_activation activation
        const void *panels
        const void *h
        const void *dh
        const void *dh_final
        const void *delta_next
        void *delta
        void *delta_panels
        fl_size panel_step

    ctypedef struct fl_product:
        fl_size columns
        fl_size K
        const void *a
        fl_size a_row_step
        fl_size a_k_step
        const void *panels
        void *c
        bint add

    ctypedef struct fl_kernels:
        fl_size unit_block
        fl_size row_block
        fl_size column_block
        void (*pack_columns)(void *panels, fl_size gates, fl_size hidden, const void *W, fl_size input, const void *R,
                             fl_size panel0, fl_size panel1) noexcept nogil
        void (*pack_rows)(void *panels, const void *A, fl_size rows, fl_size columns, fl_size panel0,
                          fl_size panel1) noexcept nogil
        void (*lstm_forward)(const fl_lstm_forward *, fl_size row0, fl_size row1, fl_size unit0,
                             fl_size unit1) noexcept nogil
        void (*lstm_backward)(const fl_lstm_backward *, fl_size row0, fl_size row1, fl_size unit0,
                              fl_size unit1) noexcept nogil
        void (*rnn_forward)(const fl_rnn_forward *, fl_size row0, fl_size row1, fl_size unit0,
                            fl_size unit1) noexcept nogil
        void (*rnn_backward)(const fl_rnn_backward *, fl_size row0, fl_size row1, fl_size unit0,
                             fl_size unit1) noexcept nogil
        void (*multiply)(const fl_product *, fl_size row0, fl_size row1, fl_size column0, fl_size column1) noexcept nogil
        void (*transpose)(void *a_transposed, const void *a, fl_size rows, fl_size columns, fl_size column0,
                          fl_size column1) noexcept nogil
        void (*unpack_gradient)(void *dA, const void *G, fl_size gates, fl_size hidden, fl_size K, bint add, fl_size unit0,
                                fl_size unit1) noexcept nogil
        void (*add_bias_gradient)(void *db, const void *delta, fl_size rows, fl_size columns, fl_size column0,
                                  fl_size column1) noexcept nogil
        void (*add_peephole_gradient)(void *dp, const void *delta, const void *c_prev, const void *c, fl_size rows,
                                      fl_size hidden, fl_size unit0, fl_size unit1) noexcept nogil
        void (*activate)(fl_activation, const void *x, void *y, fl_size n) noexcept nogil

cdef extern from "dispatch.h":
    enum: FL_ISA_COUNT
    const char *fl_isa_name(int isa) nogil
    int fl_isa_available(int isa) nogil
    const fl_kernels *fl_isa_kernels(int isa, int bytes) nogil

cdef extern from "pool.h":
    enum: FL_MAX_THREADS
    ctypedef void (*fl_task)(void *argument, int part, int parts) noexcept nogil
    void fl_parallel(fl_task task, void *argument, int parts) noexcept nogil
