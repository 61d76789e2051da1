from fastlstm._system.kernels cimport fl_kernels

cdef void matmul(const fl_kernels *kernels, int itemsize, bint transpose_a, bint transpose_b, Py_ssize_t m,
                 Py_ssize_t n, Py_ssize_t k,
                 const void *a, const void *b, double beta, void *c) noexcept nogil
