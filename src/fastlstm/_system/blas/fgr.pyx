"""The step of an LSTM with full gate recurrence on SciPy's BLAS: each gate sees i, f and o of the step before.

These stand beside y as extra columns of a row, for each vector of the portable kernels three vectors side by side, so
that R y^{t-1} has them too.
"""
from fastlstm._system.blas cimport lstm
from fastlstm._system.blas.activations cimport unit_block
from fastlstm._system.blas.carry cimport gradient_of_y, gradient_seen
from fastlstm._system.blas.products cimport gemm, real
from fastlstm._system.kernels cimport fl_backward, fl_cell, fl_forward, fl_size


cdef inline fl_size columns_of_gates(fl_size H, fl_size vector) noexcept nogil:
    """Return the number of extra columns, padded to whole vectors."""
    return (H + vector - 1) // vector * 3 * vector


cdef inline fl_size column_of(fl_size gate, fl_size unit, fl_size vector) noexcept nogil:
    """Return the extra column of a gate: 0 for i, 1 for f, 2 for o."""
    return (unit // vector * 3 + gate) * vector + unit % vector


cdef inline void places(const fl_cell *cell, fl_size *place) noexcept nogil:
    place[0], place[1], place[2] = cell.i, cell.f, cell.o


cdef void forward(const fl_forward *s, real *a, fl_size row0, fl_size row1) noexcept nogil:
    """Compute a step of the LSTM, then hand its gates on: to the next step, or to the final state."""
    cdef fl_size H = s.hidden, vector = unit_block(sizeof(real)), row, gate, k
    cdef fl_size columns = columns_of_gates(H, vector), step
    cdef fl_size[3] place
    cdef real *to
    cdef const real *from_gate
    lstm.forward(s, a, row0, row1)
    places(s.cell, place)
    for row in range(row0, row1):
        to, step = <real *>s.extra_last, columns
        if row < s.keep:
            to, step = <real *>s.extra_seen, s.y_step
        if to == NULL:
            continue
        to += row * step
        for gate in range(3):
            from_gate = a + (row * s.cell.gates + place[gate]) * H
            for k in range(H):
                to[column_of(gate, k, vector)] = from_gate[k]
            for k in range(H, columns // 3):
                to[column_of(gate, k, vector)] = 0  # padding


cdef void backward(const fl_backward *s, real *delta, fl_size row0, fl_size row1) noexcept nogil:
    """Compute the deltas, from what the next step sends to y and to the gates."""
    cdef fl_size H = s.hidden, G = s.cell.gates, vector = unit_block(sizeof(real)), row, gate, k, column
    cdef fl_size columns = columns_of_gates(H, vector), step = H + columns
    cdef bint from_next = s.extra_panels != NULL and s.delta_next != NULL, reset
    cdef fl_size[3] place
    cdef real *dy
    cdef real *to_gates
    cdef real sent
    places(s.cell, place)
    gradient_seen(&s.y, <real *>s.sent, step, H, row0, row1)
    if from_next:
        gemm(sizeof(real), False, False, row1 - row0, columns, G * H, <const real *>s.delta_next + row0 * G * H,
             G * H, <const real *>s.extra_panels, columns, 0, <real *>s.sent + row0 * step + H, step)
    for row in range(row0, row1):
        dy = <real *>s.sent + row * step
        to_gates = dy + H
        reset = s.reset != NULL and s.reset[row]
        for column in range(columns):
            if not from_next:
                to_gates[column] = 0 if s.d_extra_last == NULL else (<const real *>s.d_extra_last
                                                                     + row * columns)[column]
            if reset and s.d_extra_first != NULL:
                (<real *>s.d_extra_first + row * columns)[column] += to_gates[column]
        for gate in range(3):
            for k in range(H):
                sent = 0 if reset else to_gates[column_of(gate, k, vector)]
                delta[(row * G + place[gate]) * H + k] = sent
        gradient_of_y(&s.y, dy, row, H)
        lstm.backward_row(s, delta, dy, True, <const real *>NULL, <const real *>NULL, row)
