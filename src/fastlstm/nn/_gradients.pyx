"""Operations on gradients, on checked arrays: the steps of optimisers, norms, sums of rows."""
from libc.stdint cimport int64_t

from fastlstm._arrays.buffers cimport Buffers
from fastlstm._system.kernels cimport (FL_ADDED_PER_PART, FL_MAX_THREADS, FL_PARAMETERS_PER_PART, FL_VALUES_PER_LINE,
                                       fl_adam, fl_sgd, fl_size)
from fastlstm._system.runtime cimport kernels, parallel, part_start, parts_for

cdef struct SGD:
    fl_sgd step
    int itemsize
    fl_size first
    fl_size n
    bint finite[FL_MAX_THREADS]

cdef struct Adam:
    fl_adam step
    int itemsize
    fl_size first
    fl_size n
    bint finite[FL_MAX_THREADS]

cdef struct Vector:
    void *x
    int itemsize
    fl_size n
    double factor
    double sums[FL_MAX_THREADS]

cdef struct Rows:
    void *sums
    const int64_t *ids
    const void *rows
    int itemsize
    fl_size count
    fl_size columns

cdef struct RowSums:
    void *sums
    const void *rows
    const int64_t *lengths
    int itemsize
    fl_size count
    fl_size columns
    bint add
    bint mean


cdef void sgd_part(void *argument, int part, int parts) noexcept nogil:
    cdef SGD *s = <SGD *>argument
    s.finite[part] = kernels(s.itemsize).sgd(&s.step, s.first + part_start(s.n, part, parts, FL_VALUES_PER_LINE),
                                             s.first + part_start(s.n, part + 1, parts, FL_VALUES_PER_LINE))


cdef bint all_of(const bint *flags, int parts) noexcept nogil:
    """Return whether the flags of all parts are set."""
    cdef int part
    for part in range(parts):
        if not flags[part]:
            return False
    return True


cdef const int64_t *bounds_of(Buffers get, sections, fl_size n, fl_size *count) except? NULL:
    """Return the start and end of each section of n parameters, (count, 2)."""
    cdef fl_size k
    count[0] = sections.shape[0]
    cdef const int64_t *bounds = <const int64_t *>get.input("sections", sections, 2 * count[0] * sizeof(int64_t))
    for k in range(count[0]):
        if not 0 <= bounds[2 * k] <= bounds[2 * k + 1] <= n:
            raise IndexError(f"section {bounds[2 * k]} to {bounds[2 * k + 1]} of {n}")
    return bounds


def sgd(t, theta, gradient, velocity, double rate, double momentum, bint nesterov, double decay, int num_threads,
        sections):
    """Make a step and t += 1, and return whether all moments are finite; no interrupt can come between the two."""
    cdef Buffers get = Buffers(4)
    cdef SGD s
    cdef bint finite = True
    cdef fl_size k, count
    cdef int64_t *steps = <int64_t *>get.output("t", t, sizeof(int64_t))
    s.itemsize, s.n = theta.itemsize, theta.size
    cdef fl_size size = s.n * s.itemsize
    s.step.theta, s.step.gradient = get.output("flat", theta, size), get.input("gradient", gradient, size)
    s.step.velocity = get.output("velocity", velocity, size)
    s.step.rate, s.step.momentum, s.step.nesterov, s.step.decay = rate, momentum, nesterov, decay
    cdef int64_t whole[2]
    whole[0], whole[1], count = 0, s.n, 1
    cdef Buffers own
    cdef const int64_t *bounds = whole
    if sections is not None:
        own = Buffers(1)
        bounds = bounds_of(own, sections, s.n, &count)
    cdef int parts
    with nogil:
        for k in range(count):
            s.first, s.n = bounds[2 * k], bounds[2 * k + 1] - bounds[2 * k]
            parts = parts_for(s.n, FL_PARAMETERS_PER_PART, num_threads)
            parallel(sgd_part, &s, parts)
            finite = all_of(s.finite, parts) and finite
        steps[0] += 1
    return finite


cdef void adam_part(void *argument, int part, int parts) noexcept nogil:
    cdef Adam *s = <Adam *>argument
    s.finite[part] = kernels(s.itemsize).adam(&s.step, s.first + part_start(s.n, part, parts, FL_VALUES_PER_LINE),
                                              s.first + part_start(s.n, part + 1, parts, FL_VALUES_PER_LINE))


def adam(t, theta, gradient, m, v, double beta1, double beta2, double epsilon, double rate, double root, double keep,
         int num_threads, sections):
    """Make a step and t += 1, and return whether all moments are finite; no interrupt can come between the two."""
    cdef Buffers get = Buffers(5)
    cdef Adam s
    cdef bint finite = True
    cdef fl_size k, count
    cdef int64_t *steps = <int64_t *>get.output("t", t, sizeof(int64_t))
    s.itemsize, s.n = theta.itemsize, theta.size
    cdef fl_size size = s.n * s.itemsize
    s.step.theta, s.step.gradient = get.output("flat", theta, size), get.input("gradient", gradient, size)
    s.step.m, s.step.v = get.output("m", m, size), get.output("v", v, size)
    s.step.beta1, s.step.beta2, s.step.epsilon = beta1, beta2, epsilon
    s.step.rate, s.step.root, s.step.keep = rate, root, keep
    cdef int64_t whole[2]
    whole[0], whole[1], count = 0, s.n, 1
    cdef Buffers own
    cdef const int64_t *bounds = whole
    if sections is not None:
        own = Buffers(1)
        bounds = bounds_of(own, sections, s.n, &count)
    cdef int parts
    with nogil:
        for k in range(count):
            s.first, s.n = bounds[2 * k], bounds[2 * k + 1] - bounds[2 * k]
            parts = parts_for(s.n, FL_PARAMETERS_PER_PART, num_threads)
            parallel(adam_part, &s, parts)
            finite = all_of(s.finite, parts) and finite
        steps[0] += 1
    return finite


cdef void sum_of_squares_part(void *argument, int part, int parts) noexcept nogil:
    cdef Vector *a = <Vector *>argument
    cdef fl_size first = part_start(a.n, part, parts, FL_VALUES_PER_LINE)
    cdef fl_size last = part_start(a.n, part + 1, parts, FL_VALUES_PER_LINE)
    a.sums[part] = kernels(a.itemsize).sum_of_squares(<char *>a.x + first * a.itemsize, last - first)


def sum_of_squares(x, int num_threads):
    """Return the sum of the squares of all values, in double precision."""
    cdef Buffers get = Buffers(1)
    cdef Vector a
    cdef double total = 0
    cdef int part, parts = parts_for(x.size, FL_PARAMETERS_PER_PART, num_threads)
    a.itemsize, a.n = x.itemsize, x.size
    a.x = <void *>get.input("x", x, a.n * a.itemsize)
    with nogil:
        parallel(sum_of_squares_part, &a, parts)
    for part in range(parts):
        total += a.sums[part]
    return total


cdef void scale_part(void *argument, int part, int parts) noexcept nogil:
    cdef Vector *a = <Vector *>argument
    cdef fl_size first = part_start(a.n, part, parts, FL_VALUES_PER_LINE)
    cdef fl_size last = part_start(a.n, part + 1, parts, FL_VALUES_PER_LINE)
    kernels(a.itemsize).scale(<char *>a.x + first * a.itemsize, a.factor, last - first)


def scale(x, double factor, int num_threads):
    """Multiply x by the factor in place, each product in double precision."""
    cdef Buffers get = Buffers(1)
    cdef Vector a
    a.itemsize, a.n, a.factor = x.itemsize, x.size, factor
    a.x = get.output("x", x, a.n * a.itemsize)
    with nogil:
        parallel(scale_part, &a, parts_for(a.n, FL_PARAMETERS_PER_PART, num_threads))


cdef void add_rows_part(void *argument, int part, int parts) noexcept nogil:
    cdef Rows *r = <Rows *>argument
    kernels(r.itemsize).add_rows(r.sums, r.ids, r.rows, r.count, r.columns,
                                 part_start(r.columns, part, parts, FL_VALUES_PER_LINE),
                                 part_start(r.columns, part + 1, parts, FL_VALUES_PER_LINE))


def add_rows(sums, ids, rows, int num_threads):
    """Add rows[k] to sums[ids[k]] for each k in order, with any number of threads: each has columns of its own."""
    cdef Buffers get = Buffers(3)
    cdef Rows r
    cdef fl_size k, limit = sums.shape[0]
    r.itemsize, r.columns, r.count = sums.itemsize, sums.shape[1], ids.size
    r.sums = get.output("E", sums, limit * r.columns * r.itemsize)
    r.ids = <const int64_t *>get.input("ids", ids, r.count * sizeof(int64_t))
    r.rows = get.input("dx", rows, r.count * r.columns * r.itemsize)
    cdef int parts = parts_for(r.count * r.columns, FL_ADDED_PER_PART,
                               min(<fl_size>num_threads, max(1, r.columns // FL_VALUES_PER_LINE)))
    for k in range(r.count):
        if r.ids[k] < 0 or r.ids[k] >= limit:
            raise IndexError(f"row {r.ids[k]} of {limit}")
    with nogil:
        parallel(add_rows_part, &r, parts)


cdef void sum_rows_part(void *argument, int part, int parts) noexcept nogil:
    cdef RowSums *r = <RowSums *>argument
    cdef fl_size b, first = part_start(r.columns, part, parts, FL_VALUES_PER_LINE)
    cdef fl_size last = part_start(r.columns, part + 1, parts, FL_VALUES_PER_LINE)
    for b in range(r.count):
        kernels(r.itemsize).sum_rows(<char *>r.sums + b * r.columns * r.itemsize,
                                     <const char *>r.rows + b * r.columns * r.itemsize, r.count * r.columns,
                                     r.lengths[b], 1.0 / r.lengths[b] if r.mean and r.lengths[b] else 1.0, r.add,
                                     first, last)


def sum_rows(sums, rows, lengths, int num_threads, *, bint add=False, bint mean=False):
    """Write to sums (B, P), or add to it, the sum or the mean of the first lengths[b] of rows (T, B, P) for each b.

    Sums are in double precision.
    """
    cdef Buffers get = Buffers(3)
    cdef RowSums r
    cdef fl_size k
    r.itemsize, r.count, r.columns, r.add, r.mean = sums.itemsize, sums.shape[0], sums.shape[1], add, mean
    r.sums = get.output("sums", sums, r.count * r.columns * r.itemsize)
    r.rows = get.input("rows", rows, rows.shape[0] * r.count * r.columns * r.itemsize)
    r.lengths = <const int64_t *>get.input("lengths", lengths, r.count * sizeof(int64_t))
    for k in range(r.count):
        if not 0 <= r.lengths[k] <= rows.shape[0]:
            raise ValueError(f"lengths must be from 0 to T = {rows.shape[0]}, not {r.lengths[k]}")
    cdef int parts = parts_for(rows.size, FL_PARAMETERS_PER_PART,
                               min(<fl_size>num_threads, max(1, r.columns // FL_VALUES_PER_LINE)))
    with nogil:
        parallel(sum_rows_part, &r, parts)
