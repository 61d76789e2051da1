from fastlstm._system.blas.products cimport real
from fastlstm._system.kernels cimport fl_backward, fl_forward, fl_size

cdef void forward(const fl_forward *s, real *a, fl_size row0, fl_size row1) noexcept nogil
cdef void backward(const fl_backward *s, real *delta, fl_size row0, fl_size row1) noexcept nogil
cdef void forward_gates(const fl_forward *s, real *gates, fl_size row) noexcept nogil
cdef void backward_row(const fl_backward *s, real *delta, const real *dy, bint to_gates, const real *h_of_c,
                       const real *to_c, fl_size row) noexcept nogil
