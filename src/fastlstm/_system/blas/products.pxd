from fastlstm._system.kernels cimport fl_forward, fl_kernels, fl_product, fl_size

ctypedef fused real:
    float
    double

cdef void gemm(int itemsize, bint transpose_a, bint transpose_b, fl_size m, fl_size n, fl_size k, const void *a,
               fl_size lda, const void *b, fl_size ldb, double beta, void *c, fl_size ldc) noexcept nogil
cdef void matmul(const fl_kernels *kernels, int itemsize, bint transpose_a, bint transpose_b, Py_ssize_t m,
                 Py_ssize_t n, Py_ssize_t k, const void *a, Py_ssize_t lda, const void *b, double beta,
                 void *c) noexcept nogil
cdef void multiply(const fl_product *p, int itemsize, fl_size row0, fl_size row1, fl_size column0,
                   fl_size column1) noexcept nogil
cdef void write_gradient(real *dA, const real *G, bint add, fl_size gates, fl_size hidden, fl_size K, fl_size unit0,
                         fl_size unit1) noexcept nogil
cdef void copy_columns(void *to, int itemsize, const void *A, fl_size row_step, fl_size rows, fl_size columns,
                       fl_size column0, fl_size column1) noexcept nogil
cdef void multiply_R(const fl_forward *s, real *a, bint add, fl_size row0, fl_size row1) noexcept nogil
