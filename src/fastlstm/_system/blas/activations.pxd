from fastlstm._system.blas.products cimport real
from fastlstm._system.kernels cimport (FL_HARD_LOGISTIC, FL_LOGISTIC, FL_RELU, FL_TANH, fl_activation, fl_kernels,
                                       fl_size)

cdef void take_portable(const fl_kernels *portable_32, const fl_kernels *portable_64) noexcept
cdef void activate(fl_activation g, const real *a, real *h, fl_size n) noexcept nogil
cdef fl_size unit_block(int itemsize) noexcept nogil


cdef inline real bounded(real x, real bound) noexcept nogil:
    """Return x clipped to [-bound, bound]; NaN stays NaN."""
    return -bound if x < -bound else bound if x > bound else x


cdef inline real between(real low, real x, real high, real d) noexcept nogil:
    """Return d where low < x < high, else zero; NaN stays NaN."""
    return d if low < x and x < high else d * x * 0


cdef inline real times_derivative(fl_activation g, real d, real h) noexcept nogil:
    """Return d g'(a), from h = g(a)."""
    if g.kind == FL_TANH:
        return d * (1 - h * h)
    if g.kind == FL_LOGISTIC:
        return d * (h * (1 - h))
    if g.kind == FL_RELU:
        return d if h > 0 else h * d
    if g.kind == FL_HARD_LOGISTIC:
        return between(<real>0, h, <real>1, d * <real>g.alpha)
    return d
