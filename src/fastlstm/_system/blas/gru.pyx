"""The step on SciPy's BLAS of a GRU that resets after the recurrent product, forward and backward.

    r = sigma(W_r x + R_r h + b_r)      z = sigma(W_z x + R_z h + b_z)
    q = R_n h + bn                      n = tanh(W_n x + b_n + r q)
    h^t = (1 - z) n + z h^{t-1}

and back, where delta are the gradients with respect to the arguments of sigma and tanh:

    dh = what arrives from above + z dh^{t+1} + R^T (delta_r, delta_z, delta_q)^{t+1}
    delta_n = dh (1 - z) (1 - n^2)      delta_z = dh (h^{t-1} - n) z (1 - z)
    delta_q = delta_n r                 delta_r = delta_n q r (1 - r)

The products see h^{t-1} through the dropout mask; z keeps it without the mask, as c^{t-1}.
"""
from libc.string cimport memcpy

from fastlstm._system.blas.activations cimport activate, times_derivative
from fastlstm._system.blas.carry cimport gradient_of_y, gradient_seen
from fastlstm._system.blas.products cimport multiply_R, real
from fastlstm._system.kernels cimport fl_backward, fl_forward, fl_size


cdef void forward(const fl_forward *s, real *a, fl_size row0, fl_size row1) noexcept nogil:
    """Compute h^t; `a`, (B, 3H), has W x^t, and in the end r, z and n."""
    cdef fl_size H = s.hidden, bytes = H * sizeof(real), row, gate
    cdef real *q
    cdef real *h
    multiply_R(s, <real *>s.Ry, False, row0, row1)
    for row in range(row0, row1):
        q = <real *>s.Ry + (row * 3 + 2) * H
        h = <real *>s.y_copy + row * s.y_copy_step
        forward_row(s, a, h, row)
        if s.gates != NULL:
            for gate in range(3):
                memcpy(<real *>s.gates + (row * 4 + gate) * H, a + (row * 3 + gate) * H, bytes)
            memcpy(<real *>s.gates + (row * 4 + 3) * H, q, bytes)
        if s.c != NULL:
            memcpy(<real *>s.c + row * H, h, bytes)
        if s.y != NULL and row < s.keep:
            memcpy(<real *>s.y + row * s.y_step, h, bytes)


cdef void forward_row(const fl_forward *s, real *a, real *h, fl_size row) noexcept nogil:
    """Compute the gates, q and h^t of a row; q where R_n h is."""
    cdef fl_size H = s.hidden, k
    cdef const real *b_r = <const real *>s.b
    cdef const real *b_z = b_r + H
    cdef const real *b_n = b_z + H
    cdef const real *bn = <const real *>s.p
    cdef real *r = a + row * 3 * H
    cdef real *z = r + H
    cdef real *candidate = z + H
    cdef real *R_r = <real *>s.Ry + row * 3 * H
    cdef real *R_z = R_r + H
    cdef real *q = R_z + H
    cdef const real *h_prev = <const real *>s.c_prev + row * H
    if s.c_prev == NULL:
        h_prev = <const real *>s.y_prev + row * s.y_prev_step
    for k in range(H):
        r[k] = R_r[k] + (r[k] + b_r[k])
        z[k] = R_z[k] + (z[k] + b_z[k])
        q[k] += bn[k]
    activate(s.cell.gate, r, r, H)
    activate(s.cell.gate, z, z, H)
    for k in range(H):
        candidate[k] = r[k] * q[k] + (candidate[k] + b_n[k])
    activate(s.cell.g, candidate, candidate, H)
    for k in range(H):
        h[k] = z[k] * (h_prev[k] - candidate[k]) + candidate[k]


cdef void backward(const fl_backward *s, real *delta, fl_size row0, fl_size row1) noexcept nogil:
    """Compute the deltas of W x, (B, 3H), and those of R h, which has q in place of n."""
    cdef fl_size H = s.hidden, row
    cdef real *dh = <real *>s.sent
    gradient_seen(&s.y, dh, H, H, row0, row1)
    for row in range(row0, row1):
        gradient_of_y(&s.y, dh + row * H, row, H)
        backward_row(s, delta, dh + row * H, row)


cdef void backward_row(const fl_backward *s, real *delta, const real *dh, fl_size row) noexcept nogil:
    """Compute the deltas of a row, and what z passes on."""
    cdef fl_size H = s.hidden, at = row * H, at_deltas = row * 3 * H, k
    cdef const real *r = <const real *>s.gates + row * 4 * H
    cdef const real *z = r + H
    cdef const real *candidate = z + H
    cdef const real *q = candidate + H
    cdef const real *h_prev = <const real *>s.c_prev + at
    cdef real *of_x = delta + at_deltas
    cdef real *of_h = <real *>s.delta_R + at_deltas
    cdef real d_n
    for k in range(H):
        d_n = times_derivative(s.cell.g, dh[k] * (1 - z[k]), candidate[k])
        of_x[k] = of_h[k] = times_derivative(s.cell.gate, d_n * q[k], r[k])
        of_x[H + k] = of_h[H + k] = times_derivative(s.cell.gate, dh[k] * (h_prev[k] - candidate[k]), z[k])
        of_x[2 * H + k], of_h[2 * H + k] = d_n, d_n * r[k]
        (<real *>s.dc + at)[k] = dh[k] * z[k]
    if s.y_again != NULL:
        memcpy(<real *>s.y_again + at, <const real *>s.c + at, H * sizeof(real))
