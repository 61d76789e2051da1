"""Losses and their gradients, on checked arrays."""
import numpy as np

from libc.stdint cimport int64_t

from fastlstm._arrays.checks import EntryError

from fastlstm._arrays.buffers cimport Buffers
from fastlstm._system.kernels cimport (FL_ABSOLUTE, FL_HUBER, FL_LOGISTIC_LOSS, FL_LOSSES_PER_PART, FL_MAX_THREADS,
                                       FL_SQUARED, FL_VALUES_BEFORE_A_LOOK, FL_VALUES_PER_LINE, fl_call, fl_loss,
                                       fl_size, fl_softmax)
from fastlstm._system.runtime cimport begin_call, end_call, kernels, parallel, part_start, parts_for, stopped

# The least value of the largest weight that counts: products with weights in its range neither vanish nor overflow.
LEAST_WEIGHT = 2.0**-60

KINDS = {"squared": FL_SQUARED, "absolute": FL_ABSOLUTE, "huber": FL_HUBER, "logistic": FL_LOGISTIC_LOSS}

cdef struct Elements:
    fl_loss loss
    int itemsize
    fl_size rows
    double sums[FL_MAX_THREADS]

cdef struct Classes:
    fl_softmax loss
    int itemsize
    fl_size rows
    double sums[FL_MAX_THREADS]


cdef void elementwise_part(void *argument, int part, int parts) noexcept nogil:
    cdef Elements *e = <Elements *>argument
    cdef fl_size row = part_start(e.rows, part, parts, FL_VALUES_PER_LINE), end
    cdef fl_size last = part_start(e.rows, part + 1, parts, FL_VALUES_PER_LINE)
    e.sums[part] = 0
    while row < last:
        end = min(row + max(1, FL_VALUES_BEFORE_A_LOOK // e.loss.columns), last)
        e.sums[part] += kernels(e.itemsize).elementwise_loss(&e.loss, row, end)
        row = end
        if row < last and stopped():
            return


cdef void softmax_part(void *argument, int part, int parts) noexcept nogil:
    cdef Classes *c = <Classes *>argument
    cdef fl_size row = part_start(c.rows, part, parts, 1), last = part_start(c.rows, part + 1, parts, 1), end
    c.sums[part] = 0
    while row < last:
        end = min(row + max(1, FL_VALUES_BEFORE_A_LOOK // c.loss.classes), last)
        c.sums[part] += kernels(c.itemsize).softmax(&c.loss, row, end)
        row = end
        if row < last and stopped():
            return


cdef double total_of(const double *sums, int parts) noexcept nogil:
    """Return the total of the parts' sums."""
    cdef double total = 0
    cdef int part
    for part in range(parts):
        total += sums[part]
    return total


def elementwise(str kind, prediction, target, mask, double scale, double delta, gradient, int num_threads):
    """Return the sum of a loss over the elements that count, and write the gradient.

    An item of `mask`, if there is one, stands for as many neighbours as the prediction has for each item.
    """
    cdef Buffers get = Buffers(4)
    cdef Elements e
    cdef fl_call call
    cdef int parts = parts_for(prediction.size, FL_LOSSES_PER_PART, num_threads)
    e.itemsize, e.rows = prediction.itemsize, prediction.size if mask is None else mask.size
    e.loss.kind, e.loss.scale, e.loss.delta = KINDS[kind], scale, delta
    e.loss.columns = <fl_size>prediction.size // e.rows
    cdef fl_size size = e.rows * e.loss.columns * e.itemsize
    e.loss.prediction, e.loss.target = get.input("prediction", prediction, size), get.input("target", target, size)
    e.loss.mask = <const unsigned char *>get.input("mask", mask, e.rows)
    e.loss.gradient = get.output("gradient", gradient, size)
    begin_call(&call, True)
    with nogil:
        parallel(elementwise_part, &e, parts)
    end_call(&call)
    return total_of(e.sums, parts)


cdef Py_ssize_t lay_out(Classes *c, Buffers get, logits, gradient) except -1:
    """Fill in the sizes and the arrays that both functions of a softmax need."""
    c.itemsize, c.loss.classes = logits.itemsize, logits.shape[logits.ndim - 1]
    c.rows = <fl_size>logits.size // c.loss.classes
    cdef fl_size size = c.rows * c.loss.classes * c.itemsize
    c.loss.logits, c.loss.gradient = get.input("logits", logits, size), get.output("gradient", gradient, size)
    c.loss.target, c.loss.mask, c.loss.weights = NULL, NULL, NULL
    c.loss.sum_of_weights, c.loss.smoothing, c.loss.scale = 0, 0, 1
    return 0


def softmax(logits, probabilities, int num_threads):
    """Write the softmax of each row; there is at least one class."""
    cdef Buffers get = Buffers(2)
    cdef Classes c
    cdef fl_call call
    lay_out(&c, get, logits, probabilities)
    begin_call(&call, True)
    with nogil:
        parallel(softmax_part, &c, parts_for(c.rows * c.loss.classes, FL_LOSSES_PER_PART, num_threads))
    end_call(&call)


cdef double weight(const Classes *c, fl_size k) noexcept nogil:
    """Return the weight of class k."""
    if c.loss.weights == NULL:
        return 1
    return (<const float *>c.loss.weights)[k] if c.itemsize == 4 else (<const double *>c.loss.weights)[k]


def softmax_cross_entropy(logits, target, mask, class_weights, double smoothing, gradient, int num_threads):
    """Return the weighted mean of the loss over the rows that count, and the largest of their weights.

    If that weight is too large or too small, there is neither a mean nor a gradient. `target` is int64, `mask` bool or
    None, each with an item for each row.
    """
    cdef Buffers get = Buffers(5)
    cdef Classes c
    cdef fl_call call
    cdef int parts
    cdef fl_size row, k, wrong = -1
    cdef double total = 0, most = 0
    lay_out(&c, get, logits, gradient)
    c.loss.target = <const int64_t *>get.input("target", target, c.rows * sizeof(int64_t))
    c.loss.mask = <const unsigned char *>get.input("mask", mask, c.rows)
    c.loss.weights = get.input("class_weights", class_weights, c.loss.classes * c.itemsize)
    c.loss.smoothing = smoothing
    with nogil:
        for row in range(c.rows):
            if c.loss.mask == NULL or c.loss.mask[row]:
                if c.loss.target[row] < 0 or c.loss.target[row] >= c.loss.classes:
                    wrong = row
                    break
                total += weight(&c, c.loss.target[row])
                most = max(most, weight(&c, c.loss.target[row]))
        if c.loss.weights != NULL:
            for k in range(c.loss.classes):
                c.loss.sum_of_weights += weight(&c, k)
    if wrong >= 0:
        message = f"target must be from 0 to {c.loss.classes - 1}, a class each, not {c.loss.target[wrong]}"
        raise EntryError(message, "target", tuple(map(int, np.unravel_index(wrong, target.shape))))
    if not LEAST_WEIGHT <= most <= 1 / LEAST_WEIGHT:
        return 0.0, most
    c.loss.scale = 1 / total
    parts = parts_for(c.rows * c.loss.classes, FL_LOSSES_PER_PART, num_threads)
    begin_call(&call, True)
    with nogil:
        parallel(softmax_part, &c, parts)
    end_call(&call)
    return total_of(c.sums, parts) / total, most
