from fastlstm._arrays.buffers cimport Buffers
from fastlstm._cells.kernel cimport KernelCell
from fastlstm._engine.passes cimport fl_forward_pass, fl_span

# Divide the work and pack the weights, before all steps.
cdef void prepare(fl_forward_pass *f, int num_threads) noexcept nogil
# Run the steps of a span, block by block.
cdef void run_span(fl_forward_pass *f, fl_span left) noexcept nogil
# Take the weights of a pass.
cdef int take_weights(fl_forward_pass *f, Buffers get, KernelCell cell, weights) except -1


cdef class ForwardPass:
    cdef fl_forward_pass f
    cdef Buffers get
    cdef KernelCell cell
    cdef int begin(self, x, first, checkpoints) except -1
