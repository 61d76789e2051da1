"""Connectionist temporal classification: the loss and gradient of a batch. Its steps are in _c/training/ctc.h."""
from libc.math cimport INFINITY, exp, fabs, log1p
from libc.stdint cimport int64_t
from libc.string cimport memset

from fastlstm._arrays.buffers cimport Buffers
from fastlstm._system.kernels cimport (FL_CTC_WORK_BEFORE_A_LOOK, FL_CTC_WORK_PER_PART, FL_CTC_ZERO, fl_call,
                                       fl_ctc_norm, fl_kernels, fl_size)
from fastlstm._system.runtime cimport begin_call, end_call, kernels, parallel, stopped

cdef struct Loss:
    fl_size B
    fl_size T
    fl_size K
    fl_size L               # The columns of `labels`.
    fl_size blank
    fl_size row             # The bytes of K logits.
    const fl_kernels *own   # The kernels of the logits' precision.
    const fl_kernels *lattice
    const char *logits
    char *gradient
    const int64_t *lengths
    const int64_t *labels
    const int64_t *label_lengths
    const int64_t *order    # The rows, those with the most work first.
    const double *weights   # The weight of each row's loss.
    double *losses
    double *memory
    fl_size each            # The doubles of memory of each thread.

# The memory of one row. A state is a block whose last value is the label before the first, then labels, then blanks.
cdef struct Row:
    fl_size L
    fl_size size            # The labels of a state, and likewise its blanks.
    fl_size block
    double y_blank
    fl_ctc_norm *norm       # (T,)
    double *skip            # (size,)
    double *y               # (size,), for the labels
    double *share           # (2 size,)
    double *back            # 2 states
    double *states          # T + 1 states


cdef fl_size state_size(fl_size block, fl_size size) noexcept nogil:
    """Return the number of values of a state."""
    return block + 2 * size


cdef fl_size lattice_size(fl_size block, fl_size L) noexcept nogil:
    """Return L + 1, the number of blanks, rounded up to whole blocks."""
    return (L // block + 1) * block


cdef Row lay_out(double *memory, fl_size block, fl_size L, fl_size T) noexcept nogil:
    """Return a row whose arrays lie in `memory`."""
    cdef Row r
    r.L, r.size, r.block = L, lattice_size(block, L), block
    r.skip = memory
    r.y = r.skip + r.size
    r.share = r.y + r.size
    r.back = r.share + 2 * r.size
    r.states = r.back + 2 * state_size(block, r.size)
    r.norm = <fl_ctc_norm *>(r.states + (T + 1) * state_size(block, r.size))
    return r


cdef fl_size doubles(fl_size block, fl_size L, fl_size T) noexcept nogil:
    """Return the number of doubles that `lay_out` needs."""
    cdef fl_size size = lattice_size(block, L)
    return 4 * size + (T + 3) * state_size(block, size) + 2 * T + block


cdef void begin(Row *r, const int64_t *labels, fl_size step, double *state) noexcept nogil:
    """Write the state before the first step, where only the first blank is reached; labels lie `step` apart."""
    cdef fl_size i
    for i in range(state_size(r.block, r.size)):
        state[i] = FL_CTC_ZERO
    state[r.block + r.size] = 0
    for i in range(r.size):
        r.y[i] = r.skip[i] = FL_CTC_ZERO
    for i in range(1, r.L):
        if labels[i * step] != labels[(i - 1) * step]:
            r.skip[i] = 0


cdef void advance(const Loss *c, Row *r, const char *x, fl_ctc_norm norm, const int64_t *labels, fl_size step,
                  const double *state, double *next_state) noexcept nogil:
    """Compute the next state from a state and the logits x of a step."""
    cdef const double *here = state + r.block
    cdef double *there = next_state + r.block
    cdef int64_t blank = c.blank
    c.own.ctc_emissions(x, norm, labels, step, r.L, r.y)
    c.own.ctc_emissions(x, norm, &blank, 1, 1, &r.y_blank)
    c.lattice.ctc_step(here, here + r.size, r.skip, r.y, r.y_blank, r.size, there, there + r.size)
    there[-1] = FL_CTC_ZERO


cdef double run_row(const Loss *c, fl_size b, double *memory) noexcept nogil:
    """Return the loss of row b, and write its gradient up to its length."""
    cdef fl_size T = c.lengths[b], L = c.label_lengths[b], t, work = 0
    cdef const int64_t *labels = c.labels + b * c.L
    cdef const int64_t *last = labels + L - 1
    cdef Row r = lay_out(memory, c.lattice.unit_block, L, T)
    cdef fl_size size = state_size(r.block, r.size), place
    cdef double *state = r.states
    cdef double *back = r.back
    cdef double *next_back = r.back + size
    cdef double total, distance

    begin(&r, labels, 1, state)
    for t in range(T):
        place = (t * c.B + b) * c.row
        r.norm[t] = c.own.ctc_softmax(c.logits + place, c.K, c.weights[b], c.gradient + place)
        advance(c, &r, c.logits + place, r.norm[t], labels, 1, state, state + size)
        state += size
        work += c.K + L
        if work >= FL_CTC_WORK_BEFORE_A_LOOK:
            if stopped():
                return 0
            work = 0
    state += r.block
    distance = fabs(state[r.size + L] - state[L - 1])
    total = max(state[r.size + L], state[L - 1]) + log1p(exp(-distance))
    if total < FL_CTC_ZERO / 2:
        for t in range(T):
            memset(c.gradient + (t * c.B + b) * c.row, 0, c.row)
        return INFINITY

    begin(&r, last, -1, back)
    for t in range(T - 1, -1, -1):
        place = (t * c.B + b) * c.row
        advance(c, &r, c.logits + place, r.norm[t], last, -1, back, next_back)
        back, next_back = next_back, back
        c.lattice.ctc_shares(state, state + r.size, back + r.block, back + r.block + r.size, r.y, r.y_blank, L,
                             r.share)
        c.own.ctc_subtract(c.gradient + place, c.weights[b], r.share, last, -1, L, c.blank)
        state -= size
        work += c.K + L
        if work >= FL_CTC_WORK_BEFORE_A_LOOK:
            if stopped():
                return 0
            work = 0
    return 0 - total


cdef void run_part(void *argument, int part, int parts) noexcept nogil:
    cdef const Loss *c = <const Loss *>argument
    cdef fl_size k = part, b, t
    while k < c.B and not stopped():
        b = c.order[k]
        c.losses[b] = run_row(c, b, c.memory + part * c.each)
        for t in range(c.lengths[b], c.T):
            memset(c.gradient + (t * c.B + b) * c.row, 0, c.row)
        k += parts


def plan(fl_size T, fl_size L, fl_size work, int num_threads):
    """Return the number of threads, and of the doubles that each needs for rows of at most T steps and L labels."""
    return (<int>max(<fl_size>1, min(<fl_size>num_threads, work // FL_CTC_WORK_PER_PART)),
            doubles(kernels(8).unit_block, L, T))


def run(logits, gradient, lengths, labels, label_lengths, order, weights, losses, fl_size blank, memory):
    """Write the `losses` (B,), infinite where impossible, and the `gradient` (T, B, K) of their weighted sum.

    All arrays have been checked: integers are int64; `weights`, `losses` and `memory` (threads, doubles), as `plan`
    gives them, are float64.
    """
    cdef Buffers get = Buffers()
    cdef Loss c
    cdef fl_call call
    cdef int parts = len(memory)
    c.T, c.B, c.K = logits.shape
    c.L, c.blank, c.row = labels.shape[1], blank, c.K * logits.itemsize
    c.own, c.lattice = kernels(logits.itemsize), kernels(8)
    c.logits, c.gradient = <const char *>get.read(logits), <char *>get.write(gradient)
    c.lengths, c.labels = <const int64_t *>get.read(lengths), <const int64_t *>get.read(labels)
    c.label_lengths, c.order = <const int64_t *>get.read(label_lengths), <const int64_t *>get.read(order)
    c.weights, c.losses = <const double *>get.read(weights), <double *>get.write(losses)
    c.memory, c.each = <double *>get.write(memory), memory.shape[1]
    begin_call(&call, True)
    with nogil:
        parallel(run_part, &c, parts)
    end_call(&call)
