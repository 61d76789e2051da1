"""The simple (Elman) RNN's step on SciPy's BLAS, forward and backward.

    a = W x^t + R h^{t-1} + b           h^t = g(a)
    delta = (dh^t + R^T delta^{t+1}) g'(a)
"""
from libc.string cimport memcpy

from fastlstm._system.blas.activations cimport activate, times_derivative
from fastlstm._system.blas.carry cimport gradient_of_y, gradient_seen
from fastlstm._system.blas.products cimport multiply_R, real
from fastlstm._system.kernels cimport fl_backward, fl_forward, fl_size


cdef void forward(const fl_forward *s, real *a, fl_size row0, fl_size row1) noexcept nogil:
    """Compute h^t; `a`, (B, H), has W x^t, and in the end h^t."""
    cdef fl_size H = s.hidden, bytes = H * sizeof(real), row, k
    cdef const real *b = <const real *>s.b
    cdef real *h
    multiply_R(s, a, True, row0, row1)
    for row in range(row0, row1):
        h = a + row * H
        for k in range(H):
            h[k] += b[k]
        activate(s.cell.g, h, h, H)
        memcpy(<real *>s.y_copy + row * s.y_copy_step, h, bytes)
        if s.y != NULL and row < s.keep:
            memcpy(<real *>s.y + row * s.y_step, h, bytes)


cdef void backward(const fl_backward *s, real *delta, fl_size row0, fl_size row1) noexcept nogil:
    """Compute delta^t, (B, H), from delta^{t+1}."""
    cdef fl_size H = s.hidden, row, at, k
    cdef const real *h
    cdef real *d
    gradient_seen(&s.y, delta, H, H, row0, row1)
    for row in range(row0, row1):
        at = row * H
        d, h = delta + at, <const real *>s.gates + at
        gradient_of_y(&s.y, d, row, H)
        for k in range(H):
            d[k] = times_derivative(s.cell.g, d[k], h[k])
        if s.y_again != NULL:
            memcpy(<real *>s.y_again + at, h, H * sizeof(real))
