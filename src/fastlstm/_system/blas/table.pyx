"""The tables of the instruction set "blas": those of the portable kernels with the steps of this folder.

Losses, optimisers and sums over rows stay the portable ones, and the products of what a library does not promise: a
pass whose results must not depend on the number of rows, and weights that are packed once.
"""
from fastlstm._system.blas cimport carry, fgr, gru, gru_before, lstm, lstm_norm, rnn
from fastlstm._system.blas.activations cimport take_portable
from fastlstm._system.blas.products cimport copy_columns, multiply, real, write_gradient
from fastlstm._system.kernels cimport (FL_CELLS, FL_FGR, FL_GRU, FL_GRU_BEFORE, FL_LSTM, FL_LSTM_NORM, FL_RNN,
                                       fl_backward, fl_carry, fl_cell_kernels, fl_forward, fl_kernels, fl_product,
                                       fl_size, fl_y_gradient)

# ---- the cells -------------------------------------------------------------------------------------------------------

cdef void forward(const fl_forward *s, real *a, fl_size row0, fl_size row1) noexcept nogil:
    if s.cell.kind == FL_LSTM:
        lstm.forward(s, a, row0, row1)
    elif s.cell.kind == FL_FGR:
        fgr.forward(s, a, row0, row1)
    elif s.cell.kind == FL_RNN:
        rnn.forward(s, a, row0, row1)
    elif s.cell.kind == FL_GRU:
        gru.forward(s, a, row0, row1)
    elif s.cell.kind == FL_GRU_BEFORE:
        gru_before.forward(s, a, row0, row1)
    else:
        lstm_norm.forward(s, a, row0, row1)


cdef void backward(const fl_backward *s, real *delta, fl_size row0, fl_size row1) noexcept nogil:
    if s.cell.kind == FL_LSTM:
        lstm.backward(s, delta, row0, row1)
    elif s.cell.kind == FL_FGR:
        fgr.backward(s, delta, row0, row1)
    elif s.cell.kind == FL_RNN:
        rnn.backward(s, delta, row0, row1)
    elif s.cell.kind == FL_GRU:
        gru.backward(s, delta, row0, row1)
    elif s.cell.kind == FL_GRU_BEFORE:
        gru_before.backward(s, delta, row0, row1)
    else:
        lstm_norm.backward(s, delta, row0, row1)


# ---- the functions of a table, by precision --------------------------------------------------------------------------

cdef void forward_32(const fl_forward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) noexcept nogil:
    forward(s, <float *>s.wx, row0, row1)


cdef void backward_32(const fl_backward *s, fl_size row0, fl_size row1, fl_size unit0,
                      fl_size unit1) noexcept nogil:
    backward(s, <float *>s.delta, row0, row1)


cdef void carry_32(const fl_carry *s, fl_size row0, fl_size row1, fl_size column0, fl_size column1, fl_size unit0,
                   fl_size unit1) noexcept nogil:
    carry.carry(s, <float *>s.y, row0, row1, unit1)


cdef void y_gradient_32(const fl_y_gradient *s, void *dy, fl_size width, fl_size row0, fl_size row1, fl_size column0,
                        fl_size column1) noexcept nogil:
    carry.y_gradient(s, <float *>dy, width, row0, row1)


cdef void multiply_32(const fl_product *p, fl_size row0, fl_size row1, fl_size column0,
                      fl_size column1) noexcept nogil:
    multiply(p, 4, row0, row1, column0, column1)


cdef void unpack_gradient_32(void *dA, const void *G, fl_size gates, fl_size hidden, fl_size K, bint add,
                             fl_size unit0, fl_size unit1) noexcept nogil:
    write_gradient(<float *>dA, <const float *>G, add, gates, hidden, K, unit0, unit1)


cdef void pack_rows_32(void *panels, int vectors, const void *A, fl_size row_step, fl_size rows, fl_size columns,
                       fl_size panel0, fl_size panel1) noexcept nogil:
    cdef fl_size width = vectors * tables[0].unit_block
    copy_columns(panels, 4, A, row_step, rows, columns, panel0 * width, panel1 * width)


cdef void forward_64(const fl_forward *s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1) noexcept nogil:
    forward(s, <double *>s.wx, row0, row1)


cdef void backward_64(const fl_backward *s, fl_size row0, fl_size row1, fl_size unit0,
                      fl_size unit1) noexcept nogil:
    backward(s, <double *>s.delta, row0, row1)


cdef void carry_64(const fl_carry *s, fl_size row0, fl_size row1, fl_size column0, fl_size column1, fl_size unit0,
                   fl_size unit1) noexcept nogil:
    carry.carry(s, <double *>s.y, row0, row1, unit1)


cdef void y_gradient_64(const fl_y_gradient *s, void *dy, fl_size width, fl_size row0, fl_size row1, fl_size column0,
                        fl_size column1) noexcept nogil:
    carry.y_gradient(s, <double *>dy, width, row0, row1)


cdef void multiply_64(const fl_product *p, fl_size row0, fl_size row1, fl_size column0,
                      fl_size column1) noexcept nogil:
    multiply(p, 8, row0, row1, column0, column1)


cdef void unpack_gradient_64(void *dA, const void *G, fl_size gates, fl_size hidden, fl_size K, bint add,
                             fl_size unit0, fl_size unit1) noexcept nogil:
    write_gradient(<double *>dA, <const double *>G, add, gates, hidden, K, unit0, unit1)


cdef void pack_rows_64(void *panels, int vectors, const void *A, fl_size row_step, fl_size rows, fl_size columns,
                       fl_size panel0, fl_size panel1) noexcept nogil:
    cdef fl_size width = vectors * tables[1].unit_block
    copy_columns(panels, 8, A, row_step, rows, columns, panel0 * width, panel1 * width)


# ---- the tables ------------------------------------------------------------------------------------------------------

cdef fl_kernels[2] tables
cdef fl_cell_kernels[FL_CELLS] cells_32
cdef fl_cell_kernels[FL_CELLS] cells_64


cdef const fl_kernels *make_tables(const fl_kernels *portable_32, const fl_kernels *portable_64) except NULL:
    """Return two tables, for single and for double precision."""
    cdef int kind
    take_portable(portable_32, portable_64)
    tables[0], tables[1] = portable_32[0], portable_64[0]
    for kind in range(FL_CELLS):
        cells_32[kind], cells_64[kind] = portable_32.cells[kind], portable_64.cells[kind]
        cells_32[kind].forward, cells_64[kind].forward = forward_32, forward_64
        cells_32[kind].backward, cells_64[kind].backward = backward_32, backward_64
    tables[0].packs = tables[1].packs = False
    tables[0].cells, tables[1].cells = cells_32, cells_64
    tables[0].carry, tables[1].carry = carry_32, carry_64
    tables[0].y_gradient, tables[1].y_gradient = y_gradient_32, y_gradient_64
    tables[0].multiply, tables[1].multiply = multiply_32, multiply_64
    tables[0].unpack_gradient, tables[1].unpack_gradient = unpack_gradient_32, unpack_gradient_64
    tables[0].pack_columns = tables[1].pack_columns = NULL
    tables[0].pack_rows, tables[1].pack_rows = pack_rows_32, pack_rows_64
    return tables
