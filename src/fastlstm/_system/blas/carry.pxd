from fastlstm._system.blas.products cimport real
from fastlstm._system.kernels cimport fl_carry, fl_size, fl_y_gradient

cdef void carry(const fl_carry *s, real *y_t, fl_size row0, fl_size row1, fl_size units) noexcept nogil
cdef void gradient_seen(const fl_y_gradient *s, real *dy, fl_size dy_step, fl_size width, fl_size row0,
                        fl_size row1) noexcept nogil
cdef void gradient_of_y(const fl_y_gradient *s, real *dy, fl_size row, fl_size width) noexcept nogil
cdef void y_gradient(const fl_y_gradient *s, real *dy, fl_size width, fl_size row0, fl_size row1) noexcept nogil
