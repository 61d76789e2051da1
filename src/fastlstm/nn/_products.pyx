"""Products of matrices by the packed product of the time steps, on checked arrays.

Unlike those of BLAS they run in the kernels' floating-point mode in every thread, and a sum over many rows is made of
short sums, so that its rounding error does not grow with their number.
"""
from fastlstm._arrays.buffers cimport Buffers
from fastlstm._engine.loops cimport pack
from fastlstm._engine.passes cimport fl_border, fl_column_panels, fl_columns_to_pack, fl_row_panels, fl_rows_to_pack
from fastlstm._system.kernels cimport (FL_BLOCKS_PER_SUM, FL_COLUMNS_TO_PACK, FL_FAR_ROW, FL_FULL, FL_LONG_COLUMN,
                                       FL_ROWS_PER_BLOCK, FL_ROWS_TO_PACK, FL_WORK_PER_CALL, fl_call, fl_kernels,
                                       fl_product, fl_size)
from fastlstm._system.runtime cimport begin_call, end_call, packing_kernels, parallel, parts_for, stopped

from numpy import zeros

from fastlstm._arrays.arrays import empty
from fastlstm.nn._gradients import add_rows

cdef struct Matrix:
    char *at
    fl_size rows
    fl_size columns
    # The distances from row to row, from column to column and from matrix to matrix of a stack, in values.
    fl_size row_step
    fl_size column_step
    fl_size next

cdef struct Product:
    const fl_kernels *k
    int size                # The bytes of a value.
    fl_size count           # The matrices of each stack.
    Matrix a
    Matrix b
    Matrix c
    bint add
    char *space
    fl_size space_each      # The bytes of memory for each matrix that is computed.

# The product with one block of b's rows, which the parts share.
cdef struct Block:
    const fl_kernels *k
    fl_product product
    fl_size rows
    bint by_rows
    const void *a           # The matrix to be transposed.
    void *transposed


cdef Matrix matrix(const Py_buffer *view) noexcept:
    """Return the matrix, or the first matrix of the stack, of an array."""
    cdef int n = view.ndim - 2
    return Matrix(<char *>view.buf, view.shape[n], view.shape[n + 1], view.strides[n] // view.itemsize,
                  view.strides[n + 1] // view.itemsize, view.strides[0] // view.itemsize if n else 0)


cdef bint is_by_columns(const Matrix *m) noexcept nogil:
    """Return whether all columns are contiguous; a long single column is taken for rows, which are summed in blocks."""
    return m.row_step == 1 and (m.column_step == m.rows or m.columns == 1 and m.rows <= FL_LONG_COLUMN)


cdef bint is_by_rows(const Matrix *m) noexcept nogil:
    """Return whether each row is contiguous."""
    return m.columns == 1 or m.column_step == 1


cdef bint few(const Product *p) noexcept nogil:
    """Return whether b is read as it is, because packing would not pay."""
    if p.a.rows >= FL_ROWS_TO_PACK and p.b.columns > FL_COLUMNS_TO_PACK:
        return False
    return is_by_columns(&p.b) and is_by_rows(&p.a)


cdef bint far(const Product *p) noexcept nogil:
    """Return whether a is to be transposed, because the values of its rows lie far from each other."""
    return is_by_columns(&p.a) and p.a.column_step * p.size >= FL_FAR_ROW


cdef fl_size block_of(const Product *p) noexcept nogil:
    """Return the number of b's rows in a block."""
    return p.b.rows if is_by_columns(&p.b) else min(p.b.rows, FL_ROWS_PER_BLOCK)


cdef fl_size panels_of(const Product *p) noexcept nogil:
    """Return the number of values of a packed block of b."""
    if few(p):
        return 0
    if is_by_columns(&p.b):
        return fl_column_panels(p.k, 1, p.b.columns, p.b.rows)
    return fl_row_panels(p.k, <int>(p.k.column_block // p.k.unit_block), block_of(p), p.b.columns)


cdef void transpose_part(void *argument, int part, int parts) noexcept nogil:
    cdef Block *o = <Block *>argument
    cdef fl_size unit = o.k.unit_block
    o.k.transpose(o.transposed, o.a, o.product.K, o.rows, fl_border(o.rows, unit, part, parts),
                  fl_border(o.rows, unit, part + 1, parts))


cdef void multiply_part(void *argument, int part, int parts) noexcept nogil:
    cdef Block *o = <Block *>argument
    cdef fl_size row = 0, end = o.rows, column0 = 0, column1 = o.product.columns, next_row
    if o.by_rows:
        row, end = fl_border(end, o.k.row_block, part, parts), fl_border(end, o.k.row_block, part + 1, parts)
    else:
        column0 = fl_border(column1, o.k.column_block, part, parts)
        column1 = fl_border(column1, o.k.column_block, part + 1, parts)
    while row < end and column0 < column1:
        next_row = min(end, row + FL_ROWS_PER_BLOCK)  # These rows stay in the cache from panel to panel.
        o.k.multiply(&o.product, row, next_row, column0, column1)
        row = next_row
        if row < end and stopped():
            return


cdef void run(const Product *p, fl_size n, char *space, int parts) noexcept nogil:
    """Compute the n-th product of the stacks."""
    cdef fl_size K = p.b.rows, N = p.b.columns, size = p.size, step = block_of(p), k0 = 0
    cdef const char *a = p.a.at + n * p.a.next * size
    cdef const char *b = p.b.at + n * p.b.next * size
    cdef int vectors = <int>(p.k.column_block // p.k.unit_block)
    cdef Block o
    o.k, o.rows, o.by_rows = p.k, p.a.rows, p.a.rows >= N
    o.transposed = space + panels_of(p) * size
    while True:
        o.product = fl_product(N, min(step, K - k0), a + k0 * p.a.column_step * size, p.a.row_step, p.a.column_step,
                               space, vectors, 1, FL_FULL, p.c.at + n * p.c.next * size, p.c.row_step,
                               p.add or k0 > 0, False)
        if few(p):
            o.product.panels, o.product.vectors = b, 0
        elif is_by_columns(&p.b):
            pack(fl_columns_to_pack(p.k, space, 1, N, b, K), parts)
        else:
            pack(fl_rows_to_pack(p.k, space, vectors, b + k0 * p.b.row_step * size, p.b.row_step, o.product.K, N),
                 parts)
        if far(p):
            o.a = o.product.a
            parallel(transpose_part, &o, parts)
            o.product.a, o.product.a_row_step, o.product.a_k_step = o.transposed, o.product.K, 1
        parallel(multiply_part, &o, parts)
        k0 += step
        if k0 >= K or stopped():
            break


cdef void stack_part(void *argument, int part, int parts) noexcept nogil:
    cdef const Product *p = <const Product *>argument
    cdef fl_size n
    for n in range(fl_border(p.count, 1, part, parts), fl_border(p.count, 1, part + 1, parts)):
        run(p, n, p.space + part * p.space_each, 1)


def multiply(a, b, c, int num_threads, bint add=False):
    """Write a b to c, or add it: (M, K), (K, N) and (M, N), or stacks of as many of each.

    Each row of c is contiguous, and so is each row of b, or all columns of b. The result does not depend on the number
    of threads.
    """
    cdef Buffers get = Buffers(4)
    cdef Product p
    cdef fl_call call
    cdef fl_size most = FL_BLOCKS_PER_SUM * FL_ROWS_PER_BLOCK, k0
    cdef int parts
    p.a, p.b, p.c = matrix(get.strided(a, False)), matrix(get.strided(b, False)), matrix(get.strided(c, True))
    p.size, p.k, p.add = c.itemsize, packing_kernels(c.itemsize), add
    p.count = c.shape[0] if c.ndim == 3 else 1
    if (p.a.columns != p.b.rows or p.c.rows != p.a.rows or p.c.columns != p.b.columns or not a.ndim == b.ndim == c.ndim
            or not len(a) == len(b) == len(c) and c.ndim == 3):
        raise ValueError(f"shapes {a.shape}, {b.shape} and {c.shape} do not fit")
    if not (is_by_rows(&p.c) and (is_by_rows(&p.b) or is_by_columns(&p.b))):
        raise ValueError("rows or columns must lie in one piece")
    if p.b.rows > most and not is_by_columns(&p.b):
        total = zeros(c.shape, c.dtype)
        part = empty(c.shape, c.dtype)
        for k0 in range(0, p.b.rows, most):
            multiply(a[..., k0:k0 + most], b[..., k0:k0 + most, :], part, num_threads)
            add_rows(total.reshape(1, -1), zeros(1, "int64"), part.reshape(1, -1), num_threads)
        c[...] = c + total if add else total
        return
    if p.c.rows == 0 or p.c.columns == 0 or p.count == 0:
        return
    parts = parts_for(p.count * p.c.rows * p.c.columns * p.b.rows, FL_WORK_PER_CALL, num_threads)
    p.space_each = (panels_of(&p) + (p.a.rows * block_of(&p) if far(&p) else 0)) * p.size
    p.space_each += (64 - p.space_each % 64) % 64
    space = empty((max(parts if p.count > 1 else 1, 1) * p.space_each // p.size,), c.dtype)
    p.space = <char *>get.write(space)
    begin_call(&call, True)
    with nogil:
        if p.count > 1:
            parallel(stack_part, &p, parts)
        else:
            run(&p, 0, p.space, parts)
    end_call(&call)
