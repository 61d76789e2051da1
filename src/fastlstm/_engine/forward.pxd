from fastlstm._arrays.buffers cimport Buffers
from fastlstm._cells.kernel cimport KernelCell
from fastlstm._engine.passes cimport fl_arena, fl_forward_pass, fl_span
from fastlstm._system.backend cimport Device
from fastlstm._system.kernels cimport fl_cell, fl_size

# Divide the work and pack the weights, before all steps.
cdef void prepare(fl_forward_pass *f, int num_threads) noexcept nogil
# Run the steps of a span, block by block.
cdef void run_span(fl_forward_pass *f, fl_span left) noexcept nogil
# Run all steps of passes, side by side where threads allow; on a device, on its stream.
cdef int run_all(fl_forward_pass **passes, int count, int num_threads, Device device) except -1
# Take the sizes of a pass whose values have `f.size` bytes: I inputs, H units, P outputs, K columns of R.
cdef void describe(fl_forward_pass *f, const fl_cell *cell, fl_size I, fl_size H, fl_size P, fl_size K) noexcept
# Take the weights of a pass whose values have `f.size` bytes, and what follows from them.
cdef int take_weights(fl_forward_pass *f, Buffers get, KernelCell cell, weights) except -1
cdef void choose_kernels(fl_forward_pass *f, Device device) noexcept
# Decide how a pass uses its memory and weights, once rows, tape and what else there is are known.
cdef void plan(fl_forward_pass *f, bint options) noexcept
# Lay out the memory of a pass that is planned, and divide its work.
cdef void lay_out(fl_forward_pass *f, fl_arena *arena) noexcept
cdef void divide(fl_forward_pass *f, int num_threads) noexcept


cdef class ForwardPass:
    cdef fl_forward_pass f
    cdef Buffers get
    cdef KernelCell cell
    cdef int begin(self, x, first, checkpoints) except -1
