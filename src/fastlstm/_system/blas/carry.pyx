"""Carry the state between two time steps, forward and backward: zoneout, resets, dropout of what the next step sees.

    y = zone y^{t-1} + (1 - zone) y^t           zoneout, likewise of c
    y_seen = mask y                             what the next step sees; the initial state, where that is reset

The gradient of y^t is R^T delta^{t+1} from the next step, back through the mask and zoneout, and what arrives from
above.
"""
from libc.string cimport memset

from fastlstm._system.blas.products cimport gemm, real
from fastlstm._system.kernels cimport fl_carry, fl_size, fl_y_gradient


cdef void keep_share(real *to, const real *share, const real *before, const real *now, fl_size n) noexcept nogil:
    """Compute to = share before + (1 - share) now; with before NULL, as if that were zero."""
    cdef fl_size k
    for k in range(n):
        to[k] = share[k] * (before[k] if before != NULL else 0) + (1 - share[k]) * now[k]


cdef void write(real *to, const real *values, const real *mask, fl_size n) noexcept nogil:
    """Write values, or mask times values; with values NULL, zeros."""
    cdef fl_size k
    for k in range(n):
        to[k] = 0 if values == NULL else values[k] if mask == NULL else mask[k] * values[k]


cdef inline const real *at_row(const void *array, fl_size row, fl_size step, real *_) noexcept nogil:
    """Return a row of an array of the type of `_`, with `step` values; NULL of a NULL array."""
    if array == NULL:
        return NULL
    return <const real *>array + row * step


cdef void carry(const fl_carry *s, real *y_t, fl_size row0, fl_size row1, fl_size units) noexcept nogil:
    """Compute what lies between two steps, for rows [row0, row1): fl_kernels.carry; y_t is y^t.

    `units` is H, or 0 for y alone.
    """
    cdef fl_size H = s.hidden, P = s.width, extra = s.y_seen_step - P, row, k
    cdef bint kept, reset, reset_before
    cdef const real *y_first
    cdef const real *c_first
    cdef const real *extra_first
    cdef const real *before
    cdef const real *zone
    cdef real *y
    cdef real *c
    cdef real *seen
    cdef void *c_seen
    for row in range(row0, row1):
        kept = row < s.keep
        reset = kept and s.reset != NULL and s.reset[row]
        reset_before = s.reset_before != NULL and s.reset_before[row]
        y_first, c_first = at_row(s.y_first, row, P, y_t), at_row(s.c_first, row, H, y_t)
        extra_first = at_row(s.extra_first, row, extra, y_t)
        y = y_t + row * s.y_step
        if s.zone_y != NULL:
            before = y_first
            if reset_before and s.reset_to_zero:
                before = NULL
            elif not reset_before and row < s.before:
                before = at_row(s.y_before, row, s.y_before_step, y_t)
            keep_share(y, at_row(s.zone_y, row, P, y_t), before, y, P)
        if s.reset_to_zero:
            y_first = c_first = extra_first = NULL
        if s.y_seen != NULL and kept and (reset or not s.y_is_there):
            seen = <real *>s.y_seen + row * s.y_seen_step
            write(seen, y_first if reset else y, at_row(s.mask, row, P, y_t), P)
            if reset and s.extra_first != NULL:
                write(seen + P, extra_first, <const real *>NULL, extra)
        c_seen = s.c_seen if kept else s.c_last
        if s.c_seen != NULL and (reset or c_seen != s.c):
            seen = <real *>c_seen + row * H
            c = y if s.c == NULL else <real *>s.c + row * H  # c may be y itself.
            if reset:
                write(seen, y_first if s.c_first == NULL else c_first, <const real *>NULL, units)
            elif s.zone_c != NULL:
                keep_share(seen, at_row(s.zone_c, row, H, y_t), at_row(s.c_prev, row, H, y_t), c, units)
            else:
                write(seen, c, <const real *>NULL, units)


# ---- backward --------------------------------------------------------------------------------------------------------

cdef void gradient_seen(const fl_y_gradient *s, real *dy, fl_size dy_step, fl_size width, fl_size row0,
                        fl_size row1) noexcept nogil:
    """Compute the gradient of y as the next step saw it, delta^{t+1} R; zero where there is no next step.

    Rows of dy are dy_step values apart.
    """
    cdef fl_size row
    if s.a != NULL:
        gemm(sizeof(real), False, False, row1 - row0, width, s.K, <const real *>s.a + row0 * s.a_step, s.a_step,
             s.panels, width, 0, dy + row0 * dy_step, dy_step)
        return
    for row in range(row0, row1):
        memset(dy + row * dy_step, 0, width * sizeof(real))


cdef void add(real *to, const real *values, fl_size n) noexcept nogil:
    cdef fl_size k
    for k in range(n):
        to[k] += values[k]


cdef void gradient_of_y(const fl_y_gradient *s, real *dy, fl_size row, fl_size width) noexcept nogil:
    """Compute the gradient of a row of y^t from that of y as the next step saw it, which `dy` holds."""
    cdef fl_size k, n = width, at = row * width
    cdef const real *mask = <const real *>s.mask + at
    cdef const real *zone = <const real *>s.zone + at
    cdef real *zoned = <real *>s.zoned + at
    if s.beside != NULL:
        add(dy, <const real *>s.beside + at, n)
    if s.mask != NULL:
        for k in range(n):
            dy[k] *= mask[k]
    if s.zoned != NULL:
        add(dy, zoned, n)
    if s.through_c != NULL:
        add(dy, <const real *>s.through_c + at, n)
    if s.reset != NULL and s.reset[row]:
        if s.to_first != NULL:
            add(<real *>s.to_first + at, dy, n)
        memset(dy, 0, n * sizeof(real))
    if s.above != NULL:
        add(dy, <const real *>s.above + row * s.above_step, n)
    if s.last != NULL:
        add(dy, <const real *>s.last + at, n)
    if s.all != NULL:
        for k in range(n):
            (<real *>s.all + at)[k] = dy[k]
    if s.zoned != NULL:
        for k in range(n):
            zoned[k] = zone[k] * dy[k] if s.zone != NULL else 0
            dy[k] -= zoned[k]


cdef void y_gradient(const fl_y_gradient *s, real *dy, fl_size width, fl_size row0, fl_size row1) noexcept nogil:
    """Compute the gradient of y^t, (B, width): fl_kernels.y_gradient."""
    cdef fl_size row
    gradient_seen(s, dy, width, width, row0, row1)
    for row in range(row0, row1):
        gradient_of_y(s, dy + row * width, row, width)
