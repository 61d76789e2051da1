"""Matrix products by SciPy's BLAS: the only user of scipy.linalg.cython_blas.

The functions are taken from that module at import, not by cimport: SciPy's integers for BLAS have 32 or 64 bits, by its
version and build, and a cimport would tie a wheel to one of them. BLAS takes integers by address, and all our machines
are little-endian, so one 64-bit integer serves both: its low half is the 32-bit one.
"""
import sys

from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from fastlstm._system.kernels cimport fl_forward, fl_kernels, fl_product, fl_size

from scipy.linalg import cython_blas

if sys.byteorder != "little":
    raise ImportError("fastlstm needs a little-endian machine")

ctypedef void (*gemm_function)(char *, char *, int64_t *, int64_t *, int64_t *, void *, const void *, int64_t *,
                               const void *, int64_t *, void *, void *, int64_t *) noexcept nogil

cdef gemm_function find(name):
    capsule = cython_blas.__pyx_capi__[name]
    return <gemm_function>PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule))

cdef gemm_function sgemm = find("sgemm")
cdef gemm_function dgemm = find("dgemm")


cdef void gemm(int itemsize, bint transpose_a, bint transpose_b, fl_size m, fl_size n, fl_size k, const void *a,
               fl_size lda, const void *b, fl_size ldb, double beta, void *c, fl_size ldc) noexcept nogil:
    """Compute C = op(A) op(B) + beta C for row-major matrices; C is (m, n), op(A) (m, k), op(B) (k, n).

    Rows of A, B and C are lda, ldb and ldc values apart. BLAS counts by columns and so sees each matrix transposed: it
    computes C^T = op(B)^T op(A)^T.
    """
    cdef int64_t rows = n, columns = m, inner = k, step_a, step_b, step_c
    cdef float one_32 = 1, beta_32 = beta
    cdef double one_64 = 1
    cdef char op_a = b"T" if transpose_a else b"N"
    cdef char op_b = b"T" if transpose_b else b"N"
    if m == 0 or n == 0:
        return
    # BLAS wants leading dimensions of at least 1, even of matrices it does not read.
    step_a, step_b, step_c = max(lda, 1), max(ldb, 1), max(ldc, 1)
    if itemsize == 4:
        sgemm(&op_b, &op_a, &rows, &columns, &inner, &one_32, b, &step_b, a, &step_a, &beta_32, c, &step_c)
    else:
        dgemm(&op_b, &op_a, &rows, &columns, &inner, &one_64, b, &step_b, a, &step_a, &beta, c, &step_c)


cdef void matmul(const fl_kernels *kernels, int itemsize, bint transpose_a, bint transpose_b, Py_ssize_t m,
                 Py_ssize_t n, Py_ssize_t k, const void *a, Py_ssize_t lda, const void *b, double beta,
                 void *c) noexcept nogil:
    """Compute C = op(A) op(B) + beta C for row-major matrices, on the device of `kernels` if that is one.

    Rows of A are lda values apart; B and C are dense.
    """
    if m == 0 or n == 0:
        return
    if kernels.device:
        kernels.matmul(transpose_a, transpose_b, m, n, k, a, lda, b, beta, c)
    else:
        gemm(itemsize, transpose_a, transpose_b, m, n, k, a, lda, b, k if transpose_b else n, beta,
             c, n)


cdef void multiply(const fl_product *p, int itemsize, fl_size row0, fl_size row1, fl_size column0,
                   fl_size column1) noexcept nogil:
    """Compute C = A B, or with `add` C += A B, for some rows and columns of C: fl_kernels.multiply.

    B is what copy_columns has written, or where the product has no width of panels, B^T as it is.
    """
    cdef bint transpose_a = p.a_k_step != 1 or p.a_row_step < p.K, transpose_b = p.vectors == 0
    gemm(itemsize, transpose_a, transpose_b, row1 - row0, column1 - column0, p.K,
         <const char *>p.a + row0 * p.a_row_step * itemsize, p.a_k_step if transpose_a else p.a_row_step,
         <const char *>p.panels + column0 * (p.K if transpose_b else 1) * itemsize,
         p.K if transpose_b else p.columns, p.add, <char *>p.c + (row0 * p.c_row_step + column0) * itemsize,
         p.c_row_step)


cdef void copy_columns(void *to, int itemsize, const void *A, fl_size row_step, fl_size rows, fl_size columns,
                       fl_size column0, fl_size column1) noexcept nogil:
    """Copy columns [column0, column1) of A, whose rows are `row_step` values apart, to a dense matrix (rows, columns).

    That is a panel which BLAS can read: it packs by itself.
    """
    cdef fl_size row, bytes = (min(column1, columns) - column0) * itemsize
    for row in range(rows):
        memcpy(<char *>to + (row * columns + column0) * itemsize,
               <const char *>A + (row * row_step + column0) * itemsize, bytes)


cdef void multiply_R(const fl_forward *s, real *a, bint add, fl_size row0, fl_size row1) noexcept nogil:
    """Compute a = R y^{t-1}, (B, gates H), or with `add` a += R y^{t-1}, for some rows."""
    cdef fl_size columns = s.cell.gates * s.hidden, K = s.outputs
    gemm(sizeof(real), False, True, row1 - row0, columns, K, <const real *>s.y_prev + row0 * s.y_prev_step,
         s.y_prev_step, s.R, K, add, a + row0 * columns, columns)



cdef void write_gradient(real *dA, const real *G, bint add, fl_size gates, fl_size hidden, fl_size K, fl_size unit0,
                         fl_size unit1) noexcept nogil:
    """Write a sum G to the gradient dA, (gates H, K), for some units of each gate; with `add`, add it."""
    cdef fl_size gate, k
    for gate in range(gates):
        for k in range((gate * hidden + unit0) * K, (gate * hidden + unit1) * K):
            dA[k] = dA[k] + G[k] if add else G[k]
