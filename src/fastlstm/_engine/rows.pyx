"""Rows of a batch with lengths: from the caller's order to the kernels', which _c/pass/rows.h describes, and back."""
from cpython.buffer cimport PyBUF_STRIDES, PyBUF_WRITABLE
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from fastlstm._arrays.buffers cimport Buffers
from fastlstm._engine.loops cimport rows_of
from fastlstm._engine.passes cimport fl_rows
from fastlstm._system.kernels cimport FL_BYTES_BEFORE_A_LOOK, FL_BYTES_PER_PART, fl_call, fl_size
from fastlstm._system.runtime cimport begin_call, end_call, parallel, parts_for, stopped

cdef struct Move:
    fl_size T
    fl_size B
    const int64_t *offsets      # where each step's rows begin
    const int64_t *order        # the caller's rows, longest first
    fl_size row                 # bytes
    char *rows
    char *padded
    fl_size step_t              # bytes between two steps of `padded`, and between two rows of a step
    fl_size step_b


def arrange(lengths, order, back, offsets):
    """Fill `order`, the rows longest first, its inverse `back`, and `offsets`, where each step's rows begin.

    Return False where a length is not from 0 to T. All are arrays of int64.
    """
    cdef Buffers get = Buffers(4)
    cdef const int64_t *length = <const int64_t *>get.read(lengths)
    cdef int64_t *sorted_rows = <int64_t *>get.write(order)
    cdef int64_t *place = <int64_t *>get.write(back)
    cdef int64_t *first = <int64_t *>get.write(offsets)
    cdef fl_size B = len(lengths), T = len(offsets) - 1, b, t, before = 0, rows
    memset(first, 0, (T + 1) * sizeof(int64_t))
    for b in range(B):
        if length[b] < 0 or length[b] > T:
            return False
        first[length[b]] += 1
    for t in range(T, -1, -1):  # first[t] is how many rows have t steps; then how many have more
        rows, first[t] = first[t], before
        before += rows
    for b in range(B):
        place[b] = first[length[b]]
        sorted_rows[place[b]] = b
        first[length[b]] += 1
    first[0] = 0
    for t in range(1, T + 1):  # first[t] is now how many rows have t steps or more: those of step t - 1
        first[t] += first[t - 1]
    return True


cdef void gather_part(void *argument, int part, int parts) noexcept nogil:
    cdef Move *m = <Move *>argument
    cdef fl_size t = part, b, bytes = 0
    while t < m.T:
        for b in range(m.offsets[t + 1] - m.offsets[t]):
            memcpy(m.rows + (m.offsets[t] + b) * m.row, m.padded + t * m.step_t + m.order[b] * m.step_b, m.row)
        bytes += (m.offsets[t + 1] - m.offsets[t]) * m.row
        if bytes >= FL_BYTES_BEFORE_A_LOOK:
            if stopped():
                return
            bytes = 0
        t += parts  # so that each part has steps with many rows and with few


cdef void scatter_part(void *argument, int part, int parts) noexcept nogil:
    cdef Move *m = <Move *>argument
    cdef fl_size t = part, b, bytes = 0
    cdef char *here
    while t < m.T:
        for b in range(m.B):
            here = m.padded + t * m.step_t + m.order[b] * m.step_b
            if b < m.offsets[t + 1] - m.offsets[t]:
                memcpy(here, m.rows + (m.offsets[t] + b) * m.row, m.row)
            else:
                memset(here, 0, m.row)
        bytes += m.B * m.row
        if bytes >= FL_BYTES_BEFORE_A_LOOK:
            if stopped():
                return
            bytes = 0
        t += parts


cdef int lay_out(Move *m, Buffers get, batch, order, padded, bint writable) except -1:
    """Take the arrays of a move. `order` is copied, so that it cannot change; each of its entries must be a row."""
    cdef Py_buffer *view = get.take(padded, PyBUF_STRIDES | (PyBUF_WRITABLE if writable else 0))
    cdef fl_rows r = rows_of(get, batch)
    cdef fl_size b
    cdef int k
    m.T, m.B, m.offsets = r.T, r.B, r.offsets
    if r.offsets == NULL or view.ndim < 2 or view.shape[0] != r.T or view.shape[1] != r.B:
        raise ValueError(f"an array must be of the {r.T} steps and {r.B} rows of a batch with lengths")
    m.order = <const int64_t *>get.input("order", bytes(order), r.B * sizeof(int64_t))
    for b in range(r.B):
        if not 0 <= m.order[b] < r.B:
            raise ValueError(f"order must have each of 0 to {r.B - 1}, not {m.order[b]}")
    m.padded, m.step_t, m.step_b, m.row = <char *>view.buf, view.strides[0], view.strides[1], view.itemsize
    for k in range(view.ndim - 1, 1, -1):
        if view.shape[k] > 1 and view.strides[k] != m.row:
            raise ValueError("an array must have contiguous rows")
        m.row *= view.shape[k]
    return 0


def gather(batch, order, padded, rows, int num_threads):
    """Copy the rows of `padded` (T, B, ...), which may have any strides of T and B, to `rows` (count, ...)."""
    cdef Buffers get = Buffers(4)
    cdef Move m
    cdef fl_call call
    lay_out(&m, get, batch, order, padded, False)
    m.rows = <char *>get.output("rows", rows, m.offsets[m.T] * m.row)
    begin_call(&call, True)
    with nogil:
        parallel(gather_part, &m, parts_for(m.offsets[m.T] * m.row, FL_BYTES_PER_PART, num_threads))
    end_call(&call)


def scatter(batch, order, rows, padded, int num_threads):
    """Copy `rows` (count, ...) to `padded` (T, B, ...), which may have any strides of T and B; zeros past the ends."""
    cdef Buffers get = Buffers(4)
    cdef Move m
    cdef fl_call call
    lay_out(&m, get, batch, order, padded, True)
    m.rows = <char *>get.input("rows", rows, m.offsets[m.T] * m.row)
    begin_call(&call, True)
    with nogil:
        parallel(scatter_part, &m, parts_for(m.T * m.B * m.row, FL_BYTES_PER_PART, num_threads))
    end_call(&call)
