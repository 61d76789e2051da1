"""Rows of a batch with lengths: from the caller's order to the kernels', which _loops.pxd describes, and back."""
from cpython.buffer cimport PyBUF_STRIDES, PyBUF_WRITABLE
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from ._kernels cimport fl_size
from ._runtime cimport Buffers, parallel, parts_for

cdef enum:
    # Bytes below which another thread costs more than it brings.
    BYTES_PER_PART = 1 << 17

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
    """Fills `order`, the rows longest first, its inverse `back`, and `offsets`, where each step's rows begin.

    False where a length is not from 0 to T. All are arrays of int64.
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
    cdef fl_size t = part, b
    while t < m.T:
        for b in range(m.offsets[t + 1] - m.offsets[t]):
            memcpy(m.rows + (m.offsets[t] + b) * m.row, m.padded + t * m.step_t + m.order[b] * m.step_b, m.row)
        t += parts  # so that each part has steps with many rows and with few


cdef void scatter_part(void *argument, int part, int parts) noexcept nogil:
    cdef Move *m = <Move *>argument
    cdef fl_size t = part, b
    cdef char *here
    while t < m.T:
        for b in range(m.B):
            here = m.padded + t * m.step_t + m.order[b] * m.step_b
            if b < m.offsets[t + 1] - m.offsets[t]:
                memcpy(here, m.rows + (m.offsets[t] + b) * m.row, m.row)
            else:
                memset(here, 0, m.row)
        t += parts


cdef Py_ssize_t lay_out(Move *m, Buffers get, batch, order, padded, fl_size row, bint writable) except -1:
    cdef Py_buffer *view = get.take(padded, PyBUF_STRIDES | (PyBUF_WRITABLE if writable else 0))
    m.T, m.B, m.row = batch.T, batch.B, row
    m.offsets, m.order = <const int64_t *>get.read(batch.offsets), <const int64_t *>get.read(order)
    m.padded, m.step_t, m.step_b = <char *>view.buf, view.strides[0], view.strides[1]
    return 0


def gather(batch, order, padded, rows, int num_threads):
    """The rows of `padded` (T, B, ...), which has any strides of T and B, to `rows` (count, ...)."""
    cdef Buffers get = Buffers(4)
    cdef Move m
    lay_out(&m, get, batch, order, padded, rows.nbytes // max(batch.count, 1), False)
    m.rows = <char *>get.write(rows)
    with nogil:
        parallel(gather_part, &m, parts_for(m.offsets[m.T] * m.row, BYTES_PER_PART, num_threads))


def scatter(batch, order, rows, padded, int num_threads):
    """`rows` (count, ...) to `padded` (T, B, ...), which has any strides of T and B; zeros past the ends."""
    cdef Buffers get = Buffers(4)
    cdef Move m
    lay_out(&m, get, batch, order, padded, padded.nbytes // max(batch.T * batch.B, 1), True)
    m.rows = <char *>get.read(rows)
    with nogil:
        parallel(scatter_part, &m, parts_for(m.T * m.B * m.row, BYTES_PER_PART, num_threads))
