from ._kernels cimport fl_kernels, fl_size

# How the work of a call is divided: by batch rows, each part running its rows through all time steps, or by hidden
# units, all parts meeting after every step.
cdef struct Division:
    int parts
    bint by_rows

# A part's batch rows and hidden units.
cdef struct Share:
    fl_size row0
    fl_size row1
    fl_size unit0
    fl_size unit1

cdef Division divide(fl_size T, fl_size B, fl_size H, fl_size block, fl_size weights, int size,
                     int num_threads) noexcept nogil
cdef Share share(Division division, int part, fl_size B, fl_size H, fl_size block) noexcept nogil
cdef fl_size border(fl_size count, fl_size block, int part, int parts) noexcept nogil

# How a forward pass uses its weights.
cdef struct Plan:
    bint pack           # pack them for the step; else the step reads them as they are
    bint hoist          # W x is one product over many steps, before them; else it is part of each step
    fl_size folded      # the inputs whose product is part of the step: I or 0

cdef Plan plan(fl_size T, fl_size B, fl_size I, fl_size H, fl_size gates, int size) noexcept nogil
cdef fl_size block_steps(fl_size T, fl_size B) noexcept nogil
cdef char *aligned(char *address) noexcept nogil

cdef fl_size column_panels(const fl_kernels *k, fl_size gates, fl_size H, fl_size K) noexcept nogil
cdef fl_size row_panels(const fl_kernels *k, fl_size rows, fl_size columns) noexcept nogil
cdef void pack_columns(const fl_kernels *k, void *panels, fl_size gates, fl_size H, const void *W, fl_size I,
                       const void *R, int parts) noexcept nogil
cdef void pack_rows(const fl_kernels *k, void *panels, const void *A, fl_size rows, fl_size columns,
                    int parts) noexcept nogil

# C (rows, columns) = A (rows, K) B, with B in panels: W x of many steps, dx, dh^0.
cdef void multiply(const fl_kernels *k, fl_size rows, fl_size columns, fl_size K, const void *A, const void *panels,
                   void *C, int parts) noexcept nogil

# What the deltas of some time steps give: the gradients of the weights, and dx.
cdef struct Products:
    const fl_kernels *k
    int size              # bytes of a value
    fl_size gates         # 4 or 1
    fl_size input
    fl_size hidden
    const void *W         # (gates H, I)
    void *dW
    void *dR
    void *db              # added to
    bint accumulate       # add to dW and dR too
    bint begun            # dW and dR, or their sums below, hold something already
    # Of these steps:
    fl_size rows          # time steps x batch rows
    const void *delta     # (rows, gates H)
    const void *x         # (rows, I)
    const void *y_prev    # (rows, H)
    void *dx              # (rows, I), or NULL
    # Workspace; NULL where the rows are too few for packing to pay.
    char *delta_panels    # written by the backward steps
    char *W_panels
    char *x_transposed    # (I, rows)
    char *y_transposed    # (H, rows)
    char *dW_sum          # (I, padded gates H), columns in the order of the delta panels
    char *dR_sum          # (H, padded gates H)

cdef fl_size products_workspace(const fl_kernels *k, fl_size T, fl_size B, fl_size gates, fl_size I,
                                fl_size H) noexcept nogil
cdef void begin_products(Products *p, fl_size T, fl_size B, char *space, int parts) noexcept nogil
cdef void add_products(Products *p, int parts) noexcept nogil
cdef void end_products(Products *p, int parts) noexcept nogil
