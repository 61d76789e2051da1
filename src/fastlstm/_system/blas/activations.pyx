"""The activation functions of the steps: their values by the portable kernels, their derivatives from these values."""
from fastlstm._system.blas.products cimport real
from fastlstm._system.kernels cimport fl_activation, fl_kernels, fl_size

cdef const fl_kernels *kernels_32 = NULL
cdef const fl_kernels *kernels_64 = NULL


cdef void take_portable(const fl_kernels *portable_32, const fl_kernels *portable_64) noexcept:
    """Take the kernels whose functions are used."""
    global kernels_32, kernels_64
    kernels_32, kernels_64 = portable_32, portable_64


cdef void activate(fl_activation g, const real *a, real *h, fl_size n) noexcept nogil:
    """Compute h = g(a), n values; h may be a."""
    if real is float:
        kernels_32.activate(g, a, h, n)
    else:
        kernels_64.activate(g, a, h, n)


cdef fl_size unit_block(int itemsize) noexcept nogil:
    """Return the hidden units of a vector of the portable kernels, by which extra columns of a state are laid out."""
    return (kernels_32 if itemsize == 4 else kernels_64).unit_block
