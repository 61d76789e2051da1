"""Matrix products by SciPy's BLAS, or a device's own: the only user of scipy.linalg.cython_blas.

The functions are taken from that module at import, not by cimport: SciPy's integers for BLAS have 32 or 64 bits, by its
version and build, and a cimport would tie a wheel to one of them. BLAS takes integers by address, and all our machines
are little-endian, so one 64-bit integer serves both: its low half is the 32-bit one.
"""
import sys

from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer
from libc.stdint cimport int64_t

from fastlstm._system.kernels cimport fl_kernels

from scipy.linalg import cython_blas

if sys.byteorder != "little":
    raise ImportError("fastlstm needs a little-endian machine")

ctypedef void (*gemm_function)(char *, char *, int64_t *, int64_t *, int64_t *, void *, void *, int64_t *, void *,
                               int64_t *, void *, void *, int64_t *) noexcept nogil

cdef gemm_function find(name):
    capsule = cython_blas.__pyx_capi__[name]
    return <gemm_function>PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule))

cdef gemm_function sgemm = find("sgemm")
cdef gemm_function dgemm = find("dgemm")


cdef void matmul(const fl_kernels *kernels, int itemsize, bint transpose_a, bint transpose_b, Py_ssize_t m,
                 Py_ssize_t n, Py_ssize_t k, const void *a, const void *b, double beta, void *c) noexcept nogil:
    """Compute C = op(A) op(B) + beta C for dense row-major matrices; C is (m, n), op(A) (m, k), op(B) (k, n).

    BLAS counts by columns and so sees each matrix transposed: it computes C^T = op(B)^T op(A)^T.
    """
    cdef int64_t rows = n, columns = m, inner = k
    cdef int64_t lda = m if transpose_a else k, ldb = k if transpose_b else n, ldc = n
    cdef float one_32 = 1, beta_32 = beta
    cdef double one_64 = 1
    cdef char op_a = b"T" if transpose_a else b"N"
    cdef char op_b = b"T" if transpose_b else b"N"
    if m == 0 or n == 0:
        return
    if kernels.device:
        kernels.matmul(transpose_a, transpose_b, m, n, k, a, b, beta, c)
        return
    # BLAS wants leading dimensions of at least 1, even of matrices it does not read.
    lda = max(lda, 1)
    ldb = max(ldb, 1)
    if itemsize == 4:
        sgemm(&op_b, &op_a, &rows, &columns, &inner, &one_32, <void *>b, &ldb, <void *>a, &lda, &beta_32, c, &ldc)
    else:
        dgemm(&op_b, &op_a, &rows, &columns, &inner, &one_64, <void *>b, &ldb, <void *>a, &lda, &beta, c, &ldc)
