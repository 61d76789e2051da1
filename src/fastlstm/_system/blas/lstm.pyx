"""The LSTM's step on SciPy's BLAS, forward and backward, in the notation of "LSTM: A Search Space Odyssey".

A bar marks what goes into an activation: W x^t + R y^{t-1} + b, for all gates at once one product with the rows of
[W_i W_f W_z W_o], and one with those of R.

    i = sigma(bar i + p_i c^{t-1})      f = sigma(bar f + p_f c^{t-1})      z = g(bar z)
    c^t = z i + c^{t-1} f
    o = sigma(bar o + p_o c^t)          y^t = h(c^t) o

and back, where delta are the gradients with respect to the bars:

    dy = what arrives from above + R^T delta^{t+1}
    d_o = dy h(c) sigma'(bar o)
    dc = what step t + 1 passes to c^t + dy o h'(c) + p_o d_o
    d_z = dc i g'(bar z)                d_f = dc c^{t-1} sigma'(bar f)      d_i = dc z sigma'(bar i)
    to c^{t-1}: dc f + p_i d_i + p_f d_f

Variants lack a gate, which is then 1; with coupled gates f = 1 - i.
"""
from libc.string cimport memcpy

from fastlstm._system.blas.activations cimport activate, between, bounded, times_derivative
from fastlstm._system.blas.carry cimport gradient_of_y, gradient_seen
from fastlstm._system.blas.products cimport multiply_R, real
from fastlstm._system.kernels cimport fl_activation, fl_backward, fl_cell, fl_forward, fl_size


cdef inline const real *block(const real *row, int place, fl_size H) noexcept nogil:
    """Return a gate's block of a row; NULL where the cell lacks the gate, or the row is NULL."""
    if place < 0 or row == NULL:
        return NULL
    return row + place * H


# ---- forward ---------------------------------------------------------------------------------------------------------

cdef void apply(fl_activation g, real *a, const real *b, const real *p, const real *c, double clip,
                fl_size n) noexcept nogil:
    """Compute a = g(a + b + p c), n values, the argument of g clipped; without p and c where p is NULL."""
    cdef fl_size k
    for k in range(n):
        a[k] += b[k]
    if p != NULL:
        for k in range(n):
            a[k] += p[k] * c[k]
    if clip != 0:
        for k in range(n):
            a[k] = bounded(a[k], <real>clip)
    activate(g, a, a, n)


cdef void forward(const fl_forward *s, real *a, fl_size row0, fl_size row1) noexcept nogil:
    """Compute a step of some rows. `a`, (B, gates H), has W x^t, and in the end the gates."""
    cdef fl_size row
    multiply_R(s, a, True, row0, row1)
    for row in range(row0, row1):
        forward_row(s, a, row)


cdef void forward_row(const fl_forward *s, real *a, fl_size row) noexcept nogil:
    """Compute the gates, c^t and y^t of a row."""
    cdef fl_size H = s.hidden
    cdef real *gates = a + row * s.cell.gates * H
    cdef real *y = <real *>s.y_copy + row * s.y_copy_step
    forward_gates(s, gates, row)
    output(s.cell, block(gates, s.cell.o, H), <const real *>s.c + row * H, y, H)
    if s.y != NULL and row < s.keep:
        memcpy(<real *>s.y + row * s.y_step, y, H * sizeof(real))


cdef void forward_gates(const fl_forward *s, real *gates, fl_size row) noexcept nogil:
    """Compute the gates of a row from the products that are there, and c^t."""
    cdef const fl_cell *cell = s.cell
    cdef fl_size H = s.hidden, k
    cdef const real *b = <const real *>s.b
    cdef const real *p = <const real *>s.p
    cdef const real *c_prev = <const real *>s.c_prev + row * H
    cdef real *c = <real *>s.c + row * H
    cdef real *i = <real *>block(gates, cell.i, H)
    cdef real *f = <real *>block(gates, cell.f, H)
    cdef real *z = <real *>block(gates, cell.z, H)
    cdef real *o = <real *>block(gates, cell.o, H)
    cdef real keep, write
    if i != NULL:
        apply(cell.gate, i, block(b, cell.i, H), block(p, cell.i, H), c_prev, cell.clip, H)
    if f != NULL:
        apply(cell.gate, f, block(b, cell.f, H), block(p, cell.f, H), c_prev, cell.clip, H)
    apply(cell.g, z, block(b, cell.z, H), <const real *>NULL, c_prev, cell.clip, H)
    for k in range(H):
        write = i[k] if i != NULL else 1
        keep = f[k] if f != NULL else 1 - write if cell.coupled else 1
        c[k] = z[k] * write + c_prev[k] * keep
        if cell.cell_clip != 0:
            c[k] = bounded(c[k], <real>cell.cell_clip)
    if o != NULL:  # Its peepholes are the last row of p, which has none for z.
        apply(cell.gate, o, block(b, cell.o, H), block(p, cell.o - 1, H), c, cell.clip, H)


cdef void output(const fl_cell *cell, const real *o, const real *c, real *y, fl_size n) noexcept nogil:
    """Compute y = h(c) o, n values; h(c) where o is NULL."""
    cdef fl_size k
    activate(cell.h, c, y, n)
    if o != NULL:
        for k in range(n):
            y[k] *= o[k]


# ---- backward --------------------------------------------------------------------------------------------------------

cdef struct Bounds:
    double low  # the value of an activation at the bounds of clipping, between which its derivative is not zero
    double high


cdef Bounds bounds_of(fl_activation g, double clip, real *_) noexcept nogil:
    """Return the bounds of an activation in the precision of `_`; zeros without clipping."""
    cdef real[2] values
    if clip == 0:
        return Bounds(0, 0)
    values[0], values[1] = -clip, clip
    activate(g, values, values, 2)
    return Bounds(values[0], values[1])


cdef inline real derivative(fl_activation g, real d, real h, double clip, Bounds bounds) noexcept nogil:
    """Return d g'(a), from h = g(a), where a has been clipped."""
    d = times_derivative(g, d, h)
    return d if clip == 0 else between(<real>bounds.low, h, <real>bounds.high, d)


cdef void backward(const fl_backward *s, real *delta, fl_size row0, fl_size row1) noexcept nogil:
    """Compute the deltas of a step, (B, gates H), for some rows."""
    cdef fl_size H = s.hidden, row
    cdef real *dy = <real *>s.sent
    gradient_seen(&s.y, dy, H, H, row0, row1)
    for row in range(row0, row1):
        gradient_of_y(&s.y, dy + row * H, row, H)
        backward_row(s, delta, dy + row * H, False, <const real *>NULL, <const real *>NULL, row)


cdef void backward_row(const fl_backward *s, real *delta, const real *dy, bint to_gates, const real *h_of_c,
                       const real *to_c, fl_size row) noexcept nogil:
    """Compute the deltas of a row from dy^t; with `to_gates`, delta has what arrives at i, f and o themselves.

    Where y^t is not h(c^t) o, `h_of_c` is what o is multiplied with, and `to_c` the gradient that comes through it to
    c^t; else they are NULL.
    """
    cdef const fl_cell *cell = s.cell
    cdef fl_size H = s.hidden, at = row * H, at_gates = row * cell.gates * H, k
    cdef const real *gates = <const real *>s.gates + at * cell.kept
    cdef const real *p = <const real *>s.p
    cdef const real *is_i = block(gates, cell.i, H)
    cdef const real *is_f = block(gates, cell.f, H)
    cdef const real *is_z = block(gates, cell.z, H)
    cdef const real *is_o = block(gates, cell.o, H)
    cdef const real *p_i = block(p, cell.i, H)
    cdef const real *p_f = block(p, cell.f, H)
    cdef const real *p_o = block(p, cell.o - 1, H)
    cdef real *to_i = <real *>block(delta + at_gates, cell.i, H)
    cdef real *to_f = <real *>block(delta + at_gates, cell.f, H)
    cdef real *to_z = <real *>block(delta + at_gates, cell.z, H)
    cdef real *to_o = <real *>block(delta + at_gates, cell.o, H)
    cdef const real *c = <const real *>s.c + at
    cdef const real *c_prev = <const real *>s.c_prev + at
    cdef real *dc_of = <real *>s.dc + at
    cdef Bounds of_gate = bounds_of(cell.gate, cell.clip, delta), of_z = bounds_of(cell.g, cell.clip, delta)
    cdef bint reset = s.reset != NULL and s.reset[row]
    cdef real i, f, z, o, hc, dc, stays, d_i, d_f, d_z, d_o
    if h_of_c == NULL:
        activate(cell.h, c, to_z, H)  # h(c), where d_z will be
    for k in range(H):
        i = is_i[k] if is_i != NULL else 1
        f = is_f[k] if is_f != NULL else 1 - i if cell.coupled else 1
        z = is_z[k]
        o = is_o[k] if is_o != NULL else 1
        hc = h_of_c[k] if h_of_c != NULL else to_z[k]
        if s.y_again != NULL:
            (<real *>s.y_again + at)[k] = hc * o

        dc, stays = dc_of[k], 0
        if reset:
            if s.dc_first != NULL:
                (<real *>s.dc_first + at)[k] += dc
            dc = 0
        if s.zone_c != NULL:
            stays = (<const real *>s.zone_c + at)[k] * dc
            dc -= stays
        if s.dc_above != NULL:
            dc += (<const real *>s.dc_above + at)[k]

        d_o = 0
        if is_o != NULL:
            d_o = dy[k] * hc
            if to_gates:
                d_o += to_o[k]
            d_o = derivative(cell.gate, d_o, o, cell.clip, of_gate)
            to_o[k] = d_o
        dc += to_c[k] if to_c != NULL else times_derivative(cell.h, dy[k] * o, hc)
        if p_o != NULL and is_o != NULL:
            dc += p_o[k] * d_o
        if s.dc_all != NULL:
            (<real *>s.dc_all + at)[k] = dc
        if cell.cell_clip != 0:
            dc = between(<real>-cell.cell_clip, c[k], <real>cell.cell_clip, dc)

        dc_of[k] = dc * f
        if s.zone_c != NULL:
            dc_of[k] += stays
        if is_f != NULL:
            d_f = dc * c_prev[k]
            if to_gates:
                d_f += to_f[k]
            d_f = derivative(cell.gate, d_f, f, cell.clip, of_gate)
            to_f[k] = d_f
            if p_f != NULL:
                dc_of[k] += p_f[k] * d_f
        if is_i != NULL:
            d_i = dc * (z - c_prev[k] if cell.coupled else z)
            if to_gates:
                d_i += to_i[k]
            d_i = derivative(cell.gate, d_i, i, cell.clip, of_gate)
            to_i[k] = d_i
            if p_i != NULL:
                dc_of[k] += p_i[k] * d_i
        to_z[k] = derivative(cell.g, dc * i, z, cell.clip, of_z)
