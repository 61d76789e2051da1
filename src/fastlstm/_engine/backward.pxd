from fastlstm._engine.passes cimport fl_arena, fl_backward_pass
from fastlstm._system.backend cimport Device
from fastlstm._system.kernels cimport fl_cell, fl_size

# Run all steps of passes, side by side where threads allow; on a device, on its stream.
cdef int run_all(fl_backward_pass **passes, int count, int num_threads, Device device) except -1
# Take the sizes of a pass, over rows that are known, whose values have `b.size` bytes, and choose its kernels.
cdef void describe(fl_backward_pass *b, const fl_cell *cell, fl_size I, fl_size H, fl_size P, fl_size K,
                   Device device) noexcept
# Decide whether a pass, whose weights have been taken, packs them.
cdef void plan(fl_backward_pass *b, bint options) noexcept
# Lay out the memory of a pass that is planned.
cdef void lay_out(fl_backward_pass *b, fl_arena *arena) noexcept
