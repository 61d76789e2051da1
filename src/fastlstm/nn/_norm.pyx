"""Layer normalisation, forward and back, on checked arrays: a row is in the cache while it is read again."""
from libc.math cimport sqrt
from libc.string cimport memset

from fastlstm._arrays.buffers cimport Buffers
from fastlstm._system.kernels cimport FL_LOSSES_PER_PART, FL_VALUES_BEFORE_A_LOOK, fl_call, fl_size
from fastlstm._system.runtime cimport begin_call, end_call, parallel, part_start, parts_for, stopped

from numpy import empty, zeros

ctypedef fused real:
    float
    double

# The sums of a row are made in this many lanes, which a compiler puts into vectors.
cdef enum:
    LANES = 16
    # The rows whose gradients of g and b are summed in the dtype of the arrays; those sums are in double precision.
    ROWS_PER_SUM = 16
# The rows are divided into this many sets, each of which sums the gradients of g and b by itself: their order, and with
# it the rounding, does not depend on the number of threads.
SETS = 16

cdef struct Norm:
    const void *x
    const void *g
    const void *b
    void *y
    void *mean
    void *inverse
    const void *dy
    void *dx
    char *sums              # Of some rows, for each set: of g, of b.
    double *totals          # For each set: of g, of b.
    fl_size rows
    fl_size columns
    fl_size sets
    double epsilon
    int itemsize


cdef inline real total(const real *lanes) noexcept nogil:
    cdef int l
    cdef real sum = 0
    for l in range(LANES):
        sum += lanes[l]
    return sum


cdef void forward_row(const Norm *n, fl_size row, real of_type) noexcept nogil:
    """Normalise a row: y = g (x - mean) / sqrt(variance + epsilon) + b.

    The mean is that of x - x_0, which is exact where all values are the same.
    """
    cdef fl_size F = n.columns, k, blocks = F // LANES, whole = blocks * LANES
    cdef const real *x = <const real *>n.x + row * F
    cdef real *y = <real *>n.y + row * F
    cdef const real *g = <const real *>n.g
    cdef const real *b = <const real *>n.b
    cdef real lanes[LANES]
    cdef real first = x[0], mean, centre, inverse, d
    cdef int l
    memset(lanes, 0, sizeof(lanes))
    for k in range(blocks):
        for l in range(LANES):
            lanes[l] += x[k * LANES + l] - first
    for k in range(whole, F):
        lanes[k - whole] += x[k] - first
    mean = total(lanes) / F
    memset(lanes, 0, sizeof(lanes))
    for k in range(blocks):
        for l in range(LANES):
            d = x[k * LANES + l] - first - mean
            lanes[l] += d * d
    for k in range(whole, F):
        d = x[k] - first - mean
        lanes[k - whole] += d * d
    inverse = <real>(1 / sqrt(<double>total(lanes) / F + n.epsilon))
    for k in range(F):
        y[k] = g[k] * ((x[k] - first - mean) * inverse) + b[k]
    (<real *>n.mean)[row] = mean
    (<real *>n.inverse)[row] = inverse


cdef void backward_row(const Norm *n, fl_size row, real *dg) noexcept nogil:
    """Back-propagate through a row, and add to the gradients of g and b."""
    cdef fl_size F = n.columns, k, blocks = F // LANES, whole = blocks * LANES
    cdef const real *x = <const real *>n.x + row * F
    cdef const real *dy = <const real *>n.dy + row * F
    cdef real *dx = <real *>n.dx + row * F
    cdef const real *g = <const real *>n.g
    cdef real sums[LANES]
    cdef real products[LANES]
    cdef real first = x[0], mean = (<const real *>n.mean)[row], inverse = (<const real *>n.inverse)[row], d, s, p
    cdef int l
    if dg != NULL:
        for k in range(F):
            dg[k] += dy[k] * ((x[k] - first - mean) * inverse)
            dg[F + k] += dy[k]
    if dx == NULL:
        return
    memset(sums, 0, sizeof(sums))
    memset(products, 0, sizeof(products))
    for k in range(blocks):
        for l in range(LANES):
            d = g[k * LANES + l] * dy[k * LANES + l]
            sums[l] += d
            products[l] += d * (x[k * LANES + l] - first - mean)
    for k in range(whole, F):
        d = g[k] * dy[k]
        sums[k - whole] += d
        products[k - whole] += d * (x[k] - first - mean)
    s = total(sums) / F
    p = total(products) * inverse / F * inverse
    for k in range(F):
        dx[k] = inverse * (g[k] * dy[k] - s - (x[k] - first - mean) * p)


cdef void forward_rows(const Norm *n, fl_size row, fl_size last) noexcept nogil:
    for row in range(row, last):
        if n.itemsize == 4:
            forward_row(n, row, <float>0)
        else:
            forward_row(n, row, <double>0)


cdef void forward_part(void *argument, int part, int parts) noexcept nogil:
    cdef Norm *n = <Norm *>argument
    cdef fl_size row = part_start(n.rows, part, parts, 1), last = part_start(n.rows, part + 1, parts, 1)
    cdef fl_size piece = max(1, FL_VALUES_BEFORE_A_LOOK // n.columns)
    while row < last and not stopped():
        forward_rows(n, row, min(row + piece, last))
        row += piece


cdef void backward_rows(const Norm *n, fl_size row, fl_size last, real *sums, double *totals) noexcept nogil:
    """Back-propagate through some rows, and add their gradients of g and b to the totals, unless there are none."""
    cdef fl_size k
    if sums != NULL:
        memset(sums, 0, 2 * n.columns * sizeof(real))
    for row in range(row, last):
        backward_row(n, row, sums)
    if sums != NULL:
        for k in range(2 * n.columns):
            totals[k] += sums[k]


cdef void backward_part(void *argument, int part, int parts) noexcept nogil:
    cdef Norm *n = <Norm *>argument
    cdef fl_size k, row, end, last
    cdef char *sums = NULL
    cdef double *totals = NULL
    for k in range(part_start(n.sets, part, parts, 1), part_start(n.sets, part + 1, parts, 1)):
        row, last = n.rows * k // n.sets, n.rows * (k + 1) // n.sets
        if n.sums != NULL:
            sums, totals = n.sums + 2 * k * n.columns * n.itemsize, n.totals + 2 * k * n.columns
        while row < last and not stopped():
            end = min(row + ROWS_PER_SUM, last)
            if n.itemsize == 4:
                backward_rows(n, row, end, <float *>sums, totals)
            else:
                backward_rows(n, row, end, <double *>sums, totals)
            row = end


cdef fl_size begin(Norm *n, Buffers get, x, g, mean, inverse) except -1:
    """Fill in the sizes and the arrays that both passes have; return the number of bytes of x."""
    n.itemsize, n.rows, n.columns = x.itemsize, x.shape[0], x.shape[1]
    cdef fl_size size = n.rows * n.columns * n.itemsize
    n.x, n.g = get.input("x", x, size), get.input("g", g, n.columns * n.itemsize)
    n.mean = get.output("mean", mean, n.rows * n.itemsize)
    n.inverse = get.output("inverse", inverse, n.rows * n.itemsize)
    n.y = n.dx = NULL
    return size


def forward(x, g, b, y, mean, inverse, double epsilon, int num_threads):
    """Write y, and for the backward pass the mean of x - x_0 and 1 / sqrt(variance + epsilon) of each row of x."""
    cdef Buffers get = Buffers(6)
    cdef Norm n
    cdef fl_call call
    cdef fl_size size = begin(&n, get, x, g, mean, inverse)
    n.b, n.y, n.epsilon = get.input("b", b, n.columns * n.itemsize), get.output("y", y, size), epsilon
    begin_call(&call, True)
    with nogil:
        parallel(forward_part, &n, parts_for(n.rows * n.columns, FL_LOSSES_PER_PART, num_threads))
    end_call(&call)


def backward(x, g, mean, inverse, dy, dx, bint with_parameters, int num_threads):
    """Write dx, unless it is None, and return the gradients of g and b in double precision, or None without them."""
    cdef Buffers get = Buffers(8)
    cdef Norm n
    cdef fl_call call
    cdef fl_size size = begin(&n, get, x, g, mean, inverse), each
    n.dy, n.dx = get.input("dy", dy, size), get.output("dx", dx, size)
    n.sets, n.sums, n.totals = min(SETS, max(1, n.rows)), NULL, NULL
    totals = zeros((n.sets, 2, n.columns)) if with_parameters else None
    if with_parameters:
        each = 2 * n.sets * n.columns
        sums = empty(each, x.dtype)
        n.sums = <char *>get.output("sums", sums, each * n.itemsize)
        n.totals = <double *>get.output("totals", totals, each * sizeof(double))
    begin_call(&call, True)
    with nogil:
        parallel(backward_part, &n, min(n.sets, parts_for(n.rows * n.columns, FL_LOSSES_PER_PART, num_threads)))
    end_call(&call)
    return None if totals is None else totals.sum(axis=0)
