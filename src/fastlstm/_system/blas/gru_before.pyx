"""The step on SciPy's BLAS of a GRU that resets before the recurrent product, forward and backward.

    r = sigma(W_r x + R_r h + b_r)      z = sigma(W_z x + R_z h + b_z)
    n = tanh(W_n x + R_n (r h) + b_n)
    h^t = (1 - z) n + z h^{t-1}

and back, where delta are the gradients with respect to the arguments of sigma and tanh:

    dh = what arrives from above + z dh^{t+1} + (R_r, R_z)^T (delta_r, delta_z)^{t+1} + r (R_n^T delta_n)^{t+1}
    delta_n = dh (1 - z) (1 - n^2)      delta_z = dh (h^{t-1} - n) z (1 - z)
    delta_r = (R_n^T delta_n) h^{t-1} r (1 - r)

The second product waits for r of all units: a step has all units of its rows. The products see h^{t-1} as y^{t-1},
through the dropout mask; z keeps it without the mask, as c^{t-1}.
"""
from libc.string cimport memcpy

from fastlstm._system.blas.activations cimport activate, times_derivative
from fastlstm._system.blas.carry cimport gradient_of_y, gradient_seen
from fastlstm._system.blas.products cimport gemm, real
from fastlstm._system.kernels cimport fl_backward, fl_forward, fl_size


cdef void forward(const fl_forward *s, real *a, fl_size row0, fl_size row1) noexcept nogil:
    """Compute h^t; `a`, (B, 3H), has W x^t, and in the end r, z and n: it is where the gates will be."""
    cdef fl_size H = s.hidden, K = s.outputs, rows = row1 - row0, row
    cdef const real *y_prev = <const real *>s.y_prev + row0 * s.y_prev_step
    cdef const real *R = <const real *>s.R
    cdef real *r_y = <real *>s.space + row0 * s.space_step
    cdef real *first = a + row0 * 3 * H
    gemm(sizeof(real), False, True, rows, 2 * H, K, y_prev, s.y_prev_step, R, K, 1, first, 3 * H)
    for row in range(row0, row1):
        gates(s, a + row * 3 * H, <real *>s.space + row * s.space_step, row)
    gemm(sizeof(real), False, True, rows, H, K, r_y, s.space_step, R + 2 * H * K, K, 1, first + 2 * H, 3 * H)
    for row in range(row0, row1):
        output(s, a + row * 3 * H, row)


cdef void gates(const fl_forward *s, real *r, real *r_y, fl_size row) noexcept nogil:
    """Compute r and z of a row, and r y^{t-1}."""
    cdef fl_size H = s.hidden, k
    cdef const real *b = <const real *>s.b
    cdef const real *y_prev = <const real *>s.y_prev + row * s.y_prev_step
    for k in range(2 * H):
        r[k] += b[k]
    activate(s.cell.gate, r, r, 2 * H)
    for k in range(H):
        r_y[k] = r[k] * y_prev[k]


cdef void output(const fl_forward *s, real *r, fl_size row) noexcept nogil:
    """Compute n and h^t of a row."""
    cdef fl_size H = s.hidden, bytes = H * sizeof(real), k
    cdef const real *b_n = <const real *>s.b + 2 * H
    cdef const real *z = r + H
    cdef real *candidate = r + 2 * H
    cdef real *h = <real *>s.y_copy + row * s.y_copy_step
    cdef const real *h_prev = <const real *>s.c_prev + row * H
    if s.c_prev == NULL:
        h_prev = <const real *>s.y_prev + row * s.y_prev_step
    for k in range(H):
        candidate[k] += b_n[k]
    activate(s.cell.g, candidate, candidate, H)
    for k in range(H):
        h[k] = z[k] * (h_prev[k] - candidate[k]) + candidate[k]
    if s.c != NULL:
        memcpy(<real *>s.c + row * H, h, bytes)
    if s.y != NULL and row < s.keep:
        memcpy(<real *>s.y + row * s.y_step, h, bytes)


cdef void backward(const fl_backward *s, real *delta, fl_size row0, fl_size row1) noexcept nogil:
    """Compute the deltas, (B, 3H)."""
    cdef fl_size H = s.hidden, row
    cdef real *dh = <real *>s.sent
    gradient_seen(&s.y, dh, H, H, row0, row1)
    for row in range(row0, row1):
        gradient_of_y(&s.y, dh + row * H, row, H)
        output_backward(s, delta + row * 3 * H, dh + row * H, row)
    # dh has been used: what comes next is the gradient of r y^{t-1}.
    gemm(sizeof(real), False, False, row1 - row0, H, H, delta + (row0 * 3 + 2) * H, 3 * H, s.R_panels, H, 0,
         dh + row0 * H, H)
    for row in range(row0, row1):
        reset_backward(s, delta + row * 3 * H, dh + row * H, row)


cdef void output_backward(const fl_backward *s, real *delta, const real *dh, fl_size row) noexcept nogil:
    """Compute the deltas of z and n of a row, and what z passes on."""
    cdef fl_size H = s.hidden, k
    cdef const real *z = <const real *>s.gates + (row * 3 + 1) * H
    cdef const real *candidate = z + H
    cdef const real *h_prev = <const real *>s.c_prev + row * H
    cdef real *dc = <real *>s.dc + row * H
    for k in range(H):
        delta[H + k] = times_derivative(s.cell.gate, dh[k] * (h_prev[k] - candidate[k]), z[k])
        delta[2 * H + k] = times_derivative(s.cell.g, dh[k] * (1 - z[k]), candidate[k])
        dc[k] = dh[k] * z[k]
    if s.y_again != NULL:
        memcpy(<real *>s.y_again + row * H, <const real *>s.c + row * H, H * sizeof(real))


cdef void reset_backward(const fl_backward *s, real *delta, const real *d_ry, fl_size row) noexcept nogil:
    """Compute the delta of r of a row, r y^{t-1}, and what that passes on to y^{t-1}."""
    cdef fl_size H = s.hidden, k
    cdef const real *r = <const real *>s.gates + row * 3 * H
    cdef const real *y_prev = <const real *>s.y_prev + row * H
    cdef real *r_y = <real *>s.r_y + row * H
    cdef real *beside = <real *>s.beside + row * H
    if s.y_prev == NULL:
        y_prev = <const real *>s.c_prev + row * H
    for k in range(H):
        delta[k] = times_derivative(s.cell.gate, d_ry[k] * y_prev[k], r[k])
        r_y[k], beside[k] = r[k] * y_prev[k], r[k] * d_ry[k]
