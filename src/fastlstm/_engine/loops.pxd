from fastlstm._arrays.buffers cimport Buffers
from fastlstm._engine.passes cimport fl_packing, fl_rows
from fastlstm._system.backend cimport Device
from fastlstm._system.kernels cimport fl_call, fl_kernels, fl_size

# The rows of a Batch, once its numbers are known to go together; offsets are copied, so that they cannot change.
cdef fl_rows rows_of(Buffers get, batch) except *

# Values in a row of an array, which must be so many at least.
cdef fl_size row_of(name, array, fl_size columns) except -1

cdef void pack(fl_packing packing, int parts) noexcept nogil

# Before and after passes are run: interrupts on the host, the stream of a device.
cdef void start_passes(fl_call *call, const fl_kernels *k, Device device) noexcept
cdef int finish_passes(fl_call *call, const fl_kernels *k, Device device) except -1
