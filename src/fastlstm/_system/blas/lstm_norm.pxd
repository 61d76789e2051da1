from fastlstm._system.blas.products cimport real
from fastlstm._system.kernels cimport fl_backward, fl_forward, fl_size

cdef void forward(const fl_forward *s, real *a, fl_size row0, fl_size row1) noexcept nogil
cdef void backward(const fl_backward *s, real *delta, fl_size row0, fl_size row1) noexcept nogil
