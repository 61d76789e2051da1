"""The step on SciPy's BLAS of a layer-normalised LSTM, forward and backward.

With n(v) the values of a row v less their mean, divided by the root of their variance + EPSILON,

    bars = gR n(R y^{t-1}) + gW n(W x^t) + b, of all gates at once
    i, f, z, o and c^t from the bars as in any LSTM
    y^t = h(u) o      u = gc n(c^t) + bc

and back, where delta are the gradients with respect to the bars:

    d_u = dy o h'(u)                              dgc += d_u n(c)    dbc += d_u
    dc gets what n(c) passes back of gc d_u; then delta as in any LSTM, with h(u) in place of h(c)
    delta_R = what n(R y^{t-1}) passes back of gR delta     dgR += delta n(R y^{t-1})
    delta_W = what n(W x^t) passes back of gW delta         dgW += delta n(W x^t)

    n(v) passes d back as (d - mean(d) - n(v) mean(d n(v))) / root of the variance
"""
from libc.math cimport sqrt
from libc.string cimport memcpy

from fastlstm._system.blas.activations cimport activate, times_derivative
from fastlstm._system.blas.carry cimport gradient_of_y, gradient_seen
from fastlstm._system.blas.lstm cimport backward_row as lstm_backward_row
from fastlstm._system.blas.lstm cimport forward_gates
from fastlstm._system.blas.products cimport multiply_R, real
from fastlstm._system.kernels cimport fl_backward, fl_cell, fl_forward, fl_size

cdef double EPSILON = 1e-5


# ---- a normalised row ------------------------------------------------------------------------------------------------

cdef real normalise(real *v, fl_size count) noexcept nogil:
    """Compute n(v) in place, and return 1 / root of the variance. A row whose values are all the same becomes zero."""
    cdef real first = v[0]
    cdef double total = 0, squares = 0
    cdef real mean, scale
    cdef fl_size k
    for k in range(count):
        v[k] -= first
        total += v[k]
    mean = <real>(total / count)
    for k in range(count):
        v[k] -= mean
        squares += <double>v[k] * v[k]
    scale = <real>(1 / sqrt(squares / count + EPSILON))
    for k in range(count):
        v[k] *= scale
    return scale


cdef void through_norm(real *n, real scale, const real *gain, const real *d, real *share,
                       fl_size count) noexcept nogil:
    """Compute the gradient of v where n = n(v) is, from d, which arrives at gain n(v); and the row's share of dgain."""
    cdef double mean = 0, product = 0
    cdef real m, p
    cdef fl_size k
    for k in range(count):
        share[k] = d[k] * n[k]
        mean += <double>gain[k] * d[k]
        product += <double>gain[k] * share[k]
    m, p = <real>(mean / count), <real>(product / count)
    for k in range(count):
        n[k] = scale * (gain[k] * d[k] - m - n[k] * p)


# ---- forward ---------------------------------------------------------------------------------------------------------

cdef void forward(const fl_forward *s, real *a, fl_size row0, fl_size row1) noexcept nogil:
    """Compute a step of some rows; `a`, (B, gates H), has W x^t, and in the end the gates."""
    cdef fl_size GH = s.cell.gates * s.hidden, row
    multiply_R(s, <real *>s.Ry, False, row0, row1)
    for row in range(row0, row1):
        forward_row(s, a + row * GH, <real *>s.Ry + row * GH, row)


cdef void forward_row(const fl_forward *s, real *a, real *Ry, fl_size row) noexcept nogil:
    """Compute the gates, c^t and y^t of a row; Ry is R y^{t-1}."""
    cdef const fl_cell *cell = s.cell
    cdef fl_size H = s.hidden, GH = cell.gates * H, bytes = sizeof(real), k
    cdef const real *gR = <const real *>s.norm
    cdef const real *gW = gR + GH
    cdef const real *gc = gW + GH
    cdef const real *bc = gc + H
    cdef real *tape = <real *>s.gates
    cdef real *y = <real *>s.y_copy + row * s.y_copy_step
    cdef const real *o = a + cell.o * H
    if tape != NULL:
        tape += row * cell.kept * H
        memcpy(tape + GH, Ry, GH * bytes)
        memcpy(tape + 2 * GH, a, GH * bytes)
    normalise(Ry, GH)
    normalise(a, GH)
    for k in range(GH):
        a[k] = gR[k] * Ry[k] + gW[k] * a[k]
    forward_gates(s, a, row)
    memcpy(y, <const real *>s.c + row * H, H * bytes)
    normalise(y, H)
    for k in range(H):
        y[k] = gc[k] * y[k] + bc[k]
    activate(cell.h, y, y, H)
    if tape != NULL:
        memcpy(tape, a, GH * bytes)
        memcpy(tape + 3 * GH, y, H * bytes)
    if cell.o >= 0:
        for k in range(H):
            y[k] *= o[k]
    if s.y != NULL and row < s.keep:
        memcpy(<real *>s.y + row * s.y_step, y, H * bytes)


# ---- backward --------------------------------------------------------------------------------------------------------

cdef void backward(const fl_backward *s, real *delta, fl_size row0, fl_size row1) noexcept nogil:
    """Compute the deltas of a step, (B, gates H), for some rows, and those of R y^{t-1} and of W x^t."""
    cdef fl_size H = s.hidden, row
    cdef real *dy = <real *>s.sent
    gradient_seen(&s.y, dy, H, H, row0, row1)
    for row in range(row0, row1):
        gradient_of_y(&s.y, dy + row * H, row, H)
        backward_row(s, delta, dy + row * H, row)


cdef void backward_row(const fl_backward *s, real *delta, const real *dy, fl_size row) noexcept nogil:
    """Compute the deltas of a row, and its shares of the gradient of `norm`."""
    cdef const fl_cell *cell = s.cell
    cdef fl_size H = s.hidden, GH = cell.gates * H, bytes = sizeof(real), k
    cdef const real *gates = <const real *>s.gates + row * cell.kept * H
    cdef const real *o = gates + cell.o * H
    cdef const real *hu = gates + 3 * GH
    cdef const real *gR = <const real *>s.norm
    cdef const real *gW = gR + GH
    cdef const real *gc = gW + GH
    cdef real *dgR = <real *>s.norm_deltas + row * cell.norm_rows * H
    cdef real *dgW = dgR + GH
    cdef real *dgc = dgW + GH
    cdef real *dbc = dgc + H
    cdef real *of_R = <real *>s.delta_R + row * GH
    cdef real *of_W = <real *>s.delta_W + row * GH
    cdef real *to_c = of_R  # what comes to c^t through its normalisation, until the deltas of R y^{t-1} are here
    for k in range(H):
        dbc[k] = times_derivative(cell.h, dy[k] * o[k] if cell.o >= 0 else dy[k], hu[k])
    memcpy(to_c, <const real *>s.c + row * H, H * bytes)
    through_norm(to_c, normalise(to_c, H), gc, dbc, dgc, H)
    lstm_backward_row(s, delta, dy, False, hu, to_c, row)
    memcpy(of_R, gates + GH, GH * bytes)
    through_norm(of_R, normalise(of_R, GH), gR, delta + row * GH, dgR, GH)
    memcpy(of_W, gates + 2 * GH, GH * bytes)
    through_norm(of_W, normalise(of_W, GH), gW, delta + row * GH, dgW, GH)
