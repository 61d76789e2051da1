"""Single time steps, as streams and `step` make them: no pass is prepared for one."""
cimport cython
from libc.string cimport memcpy, memset

from fastlstm._arrays.buffers cimport Buffers
from fastlstm._cells.kernel cimport KernelCell
from fastlstm._engine.forward cimport run_span, take_weights
from fastlstm._engine.loops cimport kernels_of_pass
from fastlstm._engine.passes cimport fl_divide, fl_forward_pass, fl_span
from fastlstm._system.kernels cimport (FL_MOST_SPACE, FL_ROWS_TO_STOP, fl_call, fl_gates_of_panel, fl_has_whole_rows,
                                       fl_kernels, fl_panel_units, fl_size)
from fastlstm._system.runtime cimport begin_call, end_call, stopped

from fastlstm._arrays.arrays import empty
from fastlstm._engine.batches import Batch
from fastlstm._engine.forward import ForwardPass, run_passes

MANY_ROWS = FL_ROWS_TO_STOP


@cython.final  # so that `take` is compiled into `step`
cdef class Step:
    """A layer's weights, held for single time steps, each of which reads them as they then are."""
    cdef Buffers held
    cdef fl_forward_pass prototype
    cdef KernelCell cell
    cdef object weights

    def __init__(self, KernelCell cell, weights):
        cdef fl_forward_pass *f = &self.prototype
        self.held, self.cell, self.weights = Buffers(7), cell, weights
        memset(f, 0, sizeof(fl_forward_pass))
        f.size = f.cell_size = weights.b.itemsize
        f.gates, f.rows.T, f.direct = cell.cell.gates, 1, True
        take_weights(f, self.held, cell, weights)
        f.outputs = f.y_step = f.constant.outputs
        f.unit_work = f.gates * (f.constant.outputs + f.constant.input)

    cdef inline bint take(self, Buffers get, fl_size B, x, h, c, y, h_out, c_out) except -1:
        """Take the arrays; False where one is not as it must be."""
        cdef fl_size H = self.prototype.constant.hidden, I = self.prototype.constant.input
        cdef int size = self.prototype.size
        if not (get.fits(x, False, 2, size, B, I) and get.fits(h, False, 3, size, B, H)
                and get.fits(y, True, 2, size, B, H) and get.fits(h_out, True, 3, size, B, H)):
            return False
        # y must not overlap anything; h_out may be h itself and c_out c itself.
        if (get.overlap(2, 0) or get.overlap(2, 1) or get.overlap(2, 3) or get.overlap(3, 0)
                or get.overlap_partly(3, 1)):
            return False
        if not self.cell.has_c:
            return True
        if not (get.fits(c, False, 3, size, B, H) and get.fits(c_out, True, 3, size, B, H)):
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
        cdef const fl_kernels *k
        cdef fl_call call
        cdef fl_size B, H = self.prototype.constant.hidden, I = self.prototype.constant.input
        cdef int size = self.prototype.size
        try:
            B = len(x)
            if not self.take(get, B, x, h, c, y, h_out, c_out):
                return False
        except (AttributeError, BufferError, TypeError, ValueError):  # of what is no array, or not contiguous
            return False
        k = kernels_of_pass(size, None, self.prototype.packed)
        if not k.packs:
            self.pass_of_one(x, h, c, y, h_out, c_out)
            return True
        f = self.prototype
        f.k = f.over_time = k
        f.step = f.k.cells[self.cell.cell.kind].forward
        f.block = fl_panel_units(f.k, fl_gates_of_panel(&self.cell.cell))
        f.rows.B = f.rows.count = B
        f.x, f.h0, f.y = <const char *>get.views[0].buf, <const char *>get.views[1].buf, <char *>get.views[2].buf
        if self.cell.has_c:
            f.c_last = <char *>get.views[5].buf
        f.stopped = stopped
        if fl_has_whole_rows(&self.cell.cell):
            space = Buffers(1)
            f.constant.space_step = FL_MOST_SPACE * H
            f.constant.space = space.write(empty((B * f.constant.space_step,), x.dtype))
        fl_divide(&f.division, &f.rows, H, f.block, fl_has_whole_rows(&self.cell.cell), H * f.unit_work, size,
                  num_threads)
        begin_call(&call, B >= FL_ROWS_TO_STOP)
        with nogil:
            if self.cell.has_c and get.views[5].buf != get.views[4].buf:
                memcpy(f.c_last, get.views[4].buf, B * H * size)
            run_span(&f, fl_span(0, 1))
            memcpy(get.views[3].buf, f.y, B * H * size)
        end_call(&call)
        return True

    cdef int pass_of_one(self, x, h, c, y, h_out, c_out) except -1:
        """Run a step as a pass, where W x is a product of its own and needs memory."""
        B = len(x)
        batch = Batch(1, B, B)
        one = ForwardPass(self.cell, batch, False, self.weights, None, False, False, 0, self.prototype.size)
        one.start(x, (h, c, None), y, 0, (h_out, c_out, None), None, None, empty((one.workspace(),), x.dtype))
        run_passes([one], 1)
        return 0
