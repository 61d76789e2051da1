from libc.stdint cimport int64_t

from fastlstm._system.kernels cimport FL_MAX_THREADS, fl_cell, fl_format, fl_kernels, fl_product, fl_size
from fastlstm._system.runtime cimport Buffers

# ---- batches -----------------------------------------------------------------------------------------------------------

# The rows of a batch, time step after time step, longest sequence first: step t has the rows [first(t), first(t + 1)) of
# all, the batch's first ones.
cdef struct Rows:
    fl_size T
    fl_size B
    fl_size count               # of all steps
    const int64_t *offsets      # first(t), T + 1 of them; NULL where every step has B rows
    bint invariant              # no row's result may depend on how many others there are

# Those of a Batch, once its numbers are known to go together; offsets are copied, so that they cannot change.
cdef Rows rows_of(Buffers get, batch) except *
cdef fl_size first_row(const Rows *r, fl_size t) noexcept nogil
cdef fl_size rows_at(const Rows *r, fl_size t) noexcept nogil

# The steps from time t0 on, before time t1.
cdef struct Span:
    fl_size t0
    fl_size t1

# Time is cut into blocks by where a step's rows begin: step t is in the block first(t) / rows, so that the cuts are the
# same from either end, and a block of more rows is made of whole smaller ones where those divide it.
# The first or the last block of those left, which is taken from them; all at once where `rows` is 0.
cdef Span next_block(Span *left, const Rows *r, fl_size rows, bint last) noexcept nogil
# How many rows a block has where a step leaves so many bytes for each: few, to be used again while they are in the cache;
# on a device many, which has no cache to speak of, but time to lose between blocks.
cdef fl_size rows_per_block(const fl_kernels *k, fl_size bytes) noexcept nogil
# The most rows that any has.
cdef fl_size block_rows(const Rows *r, fl_size rows) noexcept nogil

# ---- what a forward pass keeps -----------------------------------------------------------------------------------------

# Of the steps from t0 on, whose first row is `row` of all; `rows` below are theirs. All NULL without a tape.
cdef struct Tape:
    fl_size t0
    fl_size row
    char *gates         # (rows, gates H)
    char *c             # (B + rows, H): c^0 before those of the first step, in the order of the direction
    char *c_prev        # (rows, H) c^{t-1} as step t saw it, where that is not among c's
    char *y_prev        # (rows, K) y^{t-1} as step t saw it
    char *m             # (rows, H) what is projected

# c^t, and c^{t-1} as step t saw it, where a row of cells has so many bytes; NULL without cells.
cdef char *c_on(const Tape *tape, const Rows *r, bint reverse, fl_size t, fl_size bytes) noexcept nogil
cdef char *c_prev_on(const Tape *tape, const Rows *r, bint reverse, fl_size t, fl_size bytes) noexcept nogil

# With recompute, a segment of k steps is made of whole blocks: its rows.
cdef fl_size segment_rows(fl_size k, fl_size B) noexcept nogil
# How many segments of so many rows there are.
cdef fl_size segments(const Rows *r, fl_size rows) noexcept nogil


cdef class Cell:
    cdef fl_cell cell
    cdef readonly bint lstm


# ---- memory ------------------------------------------------------------------------------------------------------------

# The next `bytes` of a workspace, aligned; `at` moves on.
cdef char *take(char **at, fl_size bytes) noexcept nogil

# Values in a row of an array, which must be so many at least.
cdef fl_size row_of(name, array, fl_size columns) except -1

# Where `values` of an array begin; NULL stays NULL.
cdef inline char *of(const char *array, fl_size values, int size) noexcept nogil:
    return NULL if array == NULL else <char *>array + values * size


# ---- threads -----------------------------------------------------------------------------------------------------------

# How the work of a call is divided: by batch rows, each part running its rows through all time steps, or by hidden
# units, all parts meeting after every step.
cdef struct Division:
    int parts
    bint by_rows
    fl_size borders[FL_MAX_THREADS + 1]     # by rows: where each part begins

# A part's batch rows and hidden units.
cdef struct Share:
    fl_size row0
    fl_size row1
    fl_size unit0
    fl_size unit1

cdef void divide(Division *d, const Rows *r, fl_size H, fl_size block, fl_size weights, int size,
                 int num_threads) noexcept nogil
# Anew, for the steps t0 to t1: some rows may have none of them.
cdef void divide_rows(Division *d, const Rows *r, fl_size t0, fl_size t1) noexcept nogil
cdef Share share(const Division *division, int part, fl_size B, fl_size H, fl_size block) noexcept nogil
cdef fl_size border(fl_size count, fl_size block, int part, int parts) noexcept nogil

# ---- weights -----------------------------------------------------------------------------------------------------------

# How a forward pass uses its weights.
cdef struct Plan:
    bint pack           # the step reads panels; else the weights as they are
    bint hoist          # W x is one product over many steps, before them; else it is part of each step

cdef bint many_rows(const Rows *r) noexcept nogil
cdef Plan plan(const fl_kernels *k, const Rows *r, fl_size I, fl_size H, fl_size K, fl_size gates, int size, bint packed) noexcept nogil

cdef fl_size column_panels(const fl_kernels *k, fl_size gates, fl_size H, fl_size K) noexcept nogil
cdef fl_size row_panels(const fl_kernels *k, int vectors, fl_size rows, fl_size columns) noexcept nogil
cdef void pack_columns(const fl_kernels *k, void *panels, fl_size gates, fl_size H, const void *A, fl_size K,
                       int parts) noexcept nogil
cdef void pack_rows(const fl_kernels *k, void *panels, int vectors, const void *A, fl_size row_step, fl_size rows,
                    fl_size columns, int parts) noexcept nogil

# C (rows, gates H) = A (rows, K) B^T, with B in panels from pack_columns: W x of many steps, as sums.
cdef void multiply_pieces(const fl_kernels *k, const fl_product *product, fl_size row0, fl_size row1, fl_size column0,
                          fl_size column1) noexcept nogil
cdef void multiply(const fl_kernels *k, fl_size rows, fl_size gates, fl_size H, fl_size K, const void *A,
                   const void *panels, fl_format format, void *C, int parts) noexcept nogil

# ---- gradients of the weights ------------------------------------------------------------------------------------------

# What the deltas of some time steps give: the gradients of the weights, and dx.
cdef struct Products:
    const fl_kernels *k
    int size              # bytes of a value
    fl_size gates
    fl_size input
    fl_size hidden
    fl_size outputs       # columns of R
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
    const void *y_prev    # (rows, outputs)
    void *dx              # (rows, I), or NULL
    # Workspace; NULL where the rows are too few for packing to pay.
    char *delta_panels    # written by the backward steps
    char *W_panels
    char *x_transposed    # (I, rows)
    char *y_transposed    # (outputs, rows)
    char *dW_sum          # (I, padded gates H), columns in the order of the delta panels
    char *dR_sum          # (outputs, padded gates H)

cdef void lay_out_products(Products *p, const Rows *r, bint with_dx, char **at) noexcept nogil
cdef void begin_products(Products *p, const Rows *r, int parts) noexcept nogil
cdef void add_products(Products *p, int parts) noexcept nogil
cdef void end_products(Products *p, int parts) noexcept nogil
