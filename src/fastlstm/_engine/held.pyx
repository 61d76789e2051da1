"""Inference in which nothing lies between steps: the weights are held, and no pass is made in Python.

A small call takes most of its time outside the kernels, so that all of that is here: single steps, and whole sequences.
"""
cimport cython
from libc.string cimport memcpy, memset

from fastlstm._arrays.buffers cimport Buffers
from fastlstm._cells.kernel cimport KernelCell
from fastlstm._engine.forward cimport choose_kernels, divide, lay_out, plan, run_all, run_span, take_weights
from fastlstm._engine.passes cimport fl_arena, fl_arena_bytes, fl_arena_in, fl_forward_pass, fl_span
from fastlstm._system.kernels cimport FL_MOST_SPACE, FL_ROWS_TO_STOP, fl_call, fl_has_whole_rows, fl_size
from fastlstm._system.runtime cimport begin_call, end_call

from fastlstm._arrays.arrays import empty, zeros
from fastlstm._engine.batches import Batch
from fastlstm._engine.forward import ForwardPass, run_passes

MANY_ROWS = FL_ROWS_TO_STOP

cdef enum:
    SMALL = 4096  # Bytes of a pass's memory that is taken from the stack.

DIRECTIONS = "forward", "reverse"  # What their workspaces are called.


@cython.final  # so that `take` is compiled into `step`
cdef class HeldWeights:
    """The weights of one layer in one direction, held for calls, each of which reads them as they then are."""
    cdef Buffers held
    cdef fl_forward_pass prototype
    cdef KernelCell cell
    cdef object weights

    def __init__(self, KernelCell cell, weights):
        cdef fl_forward_pass *f = &self.prototype
        self.held, self.cell, self.weights = Buffers(8), cell, weights
        memset(f, 0, sizeof(fl_forward_pass))
        f.size = f.cell_size = weights.b.itemsize
        f.rows.T, f.direct = 1, True
        take_weights(f, self.held, cell, weights)
        f.y_step, f.between.y_is_there = f.outputs, f.proj == NULL

    cdef inline bint take(self, Buffers get, fl_size B, x, h, c, y, h_out, c_out) except -1:
        """Take the arrays; False where one is not as it must be."""
        cdef fl_size H = self.prototype.constant.hidden, I = self.prototype.constant.input
        cdef int size = self.prototype.size
        if not (get.fits(x, False, size, -1, B, I) and get.fits(h, False, size, 1, B, H)
                and get.fits(y, True, size, -1, B, H) and get.fits(h_out, True, size, 1, B, H)):
            return False
        # y must not overlap anything; h_out may be h itself and c_out c itself.
        if (get.overlap(2, 0) or get.overlap(2, 1) or get.overlap(2, 3) or get.overlap(3, 0)
                or get.overlap_partly(3, 1)):
            return False
        if not self.cell.has_c:
            return True
        if not (get.fits(c, False, size, 1, B, H) and get.fits(c_out, True, size, 1, B, H)):
            return False
        return not (get.overlap(2, 4) or get.overlap(2, 5) or get.overlap(3, 4) or get.overlap(3, 5)
                    or get.overlap(5, 0) or get.overlap(5, 1) or get.overlap_partly(5, 4))

    def step(self, x, h, c, y, h_out, c_out, int num_threads):
        """Run a step; h_out may be h, and c_out c; an RNN has no c.

        Return False, with nothing done, where an array is not as it must be. An interrupt cannot stop a step of fewer
        than MANY_ROWS rows.
        """
        cdef Buffers get = Buffers(6), space
        cdef fl_forward_pass f
        cdef fl_call call
        cdef fl_size B, H = self.prototype.constant.hidden, I = self.prototype.constant.input
        cdef int size = self.prototype.size
        try:
            B = len(x)
            if not self.take(get, B, x, h, c, y, h_out, c_out):
                return False
        except (AttributeError, BufferError, TypeError, ValueError):  # of what is no array, or not contiguous
            return False
        f = self.prototype
        choose_kernels(&f, None)
        if not f.k.packs:
            self.pass_of_one(x, h, c, y, h_out, c_out)
            return True
        f.rows.B = f.rows.count = B
        f.x, f.h0, f.y = <const char *>get.views[0].buf, <const char *>get.views[1].buf, <char *>get.views[2].buf
        if self.cell.has_c:
            f.c_last = <char *>get.views[5].buf
        if fl_has_whole_rows(&self.cell.cell):
            space = Buffers(1)
            f.constant.space_step = FL_MOST_SPACE * H
            f.constant.space = space.write(empty((B * f.constant.space_step,), x.dtype))
        divide(&f, num_threads)
        begin_call(&call, B >= FL_ROWS_TO_STOP)
        with nogil:
            if self.cell.has_c and get.views[5].buf != get.views[4].buf:
                memcpy(f.c_last, get.views[4].buf, B * H * size)
            run_span(&f, fl_span(0, 1))
            memcpy(get.views[3].buf, f.y, B * H * size)
        end_call(&call)
        return True

    cdef int set_up(self, fl_forward_pass *f, fl_size T, fl_size B, bint reverse, bint invariant) except -1:
        """Begin a pass over T steps of B rows."""
        f[0] = self.prototype
        f.rows.T, f.rows.B, f.rows.count, f.rows.invariant, f.reverse = T, B, T * B, invariant, reverse
        choose_kernels(f, None)
        plan(f, False)
        return 0

    cdef int pass_of_one(self, x, h, c, y, h_out, c_out) except -1:
        """Run a step as a pass, where W x is a product of its own and needs memory."""
        B = len(x)
        batch = Batch(1, B, B)
        one = ForwardPass(self.cell, batch, False, self.weights, None, False, False, 0, self.prototype.size)
        one.start(x, (h, c, None), y, 0, (h_out, c_out, None), None, None, empty((one.workspace(),), x.dtype))
        run_passes([one], 1)
        return 0


def run_held(list layers, int directions, x, state, bint invariant, owner, int num_threads):
    """Run a stack over sequences that are all as long; return y and the state after the last step.

    `layers` has the weights of each layer and direction. x is (T, B, I), the state (h, c) or h, None for zeros. Memory
    that is needed meanwhile comes from `owner`, a Memory. Return None, with nothing done, where an array is not as it
    must be.
    """
    cdef HeldWeights one = layers[0]
    cdef fl_forward_pass passes[2]
    cdef fl_forward_pass *all_passes[2]
    cdef char small[2][SMALL]
    cdef fl_forward_pass *f = &one.prototype
    cdef fl_size T, B, H = f.constant.hidden, P = f.outputs
    cdef int size = f.size, count = len(layers), k, n
    cdef bint has_c = one.cell.has_c
    cdef Buffers get = Buffers(5 + 3 * count)
    cdef fl_arena arena
    cdef const char *below
    cdef char *above
    dtype, borrowed, c = owner.dtype, {}, None
    try:
        T, B, _ = x.shape
        if T == 0 or B == 0 or not get.fits(x, False, size, T, B, f.constant.input):
            return None
        if state is None:
            h = zeros((count, B, P), dtype)
            c = (h if P == H else zeros((count, B, H), dtype)) if has_c else None
        elif has_c:
            h, c = state
        else:
            h = state
        if not get.fits(h, False, size, count, B, P) or (has_c and not get.fits(c, False, size, count, B, H)):
            return None
    except (AttributeError, BufferError, TypeError, ValueError):  # of what is no array, or not contiguous
        return None
    h_last, c_last = empty((count, B, P), dtype), empty((count, B, H), dtype) if has_c else None
    cdef const char *h0 = <const char *>get.views[1].buf
    cdef const char *c0 = <const char *>get.views[2].buf if has_c else NULL
    cdef char *h_end = <char *>get.write(h_last)
    cdef char *c_end = <char *>get.write(c_last)
    below = <const char *>get.views[0].buf
    for k in range(0, count, directions):
        y = empty((T, B, directions * P), dtype)
        above = <char *>get.write(y)
        for n in range(directions):
            one, f = layers[k + n], &passes[n]
            one.set_up(f, T, B, n, invariant)
            f.x, f.y, f.y_step = below, above + n * P * size, directions * P
            f.h0, f.h_last = h0 + (k + n) * B * P * size, h_end + (k + n) * B * P * size
            if has_c:
                f.c0, f.c_last = c0 + (k + n) * B * H * size, c_end + (k + n) * B * H * size
            f.between.y_first, f.between.c_first = f.h0, f.c0
            arena = fl_arena(NULL, 0)
            lay_out(f, &arena)
            if fl_arena_bytes(&arena) <= SMALL:
                arena = fl_arena_in(small[n])
            else:
                space = owner._borrow(DIRECTIONS[n], fl_arena_bytes(&arena) // <size_t>size + 1, dtype, borrowed)
                arena = fl_arena_in(get.write(space))
            lay_out(f, &arena)
            all_passes[n] = f
        run_all(all_passes, directions, num_threads, None)
        below = above
    if borrowed:
        owner._keep(borrowed)
    return y, ((h_last, c_last) if has_c else h_last)
