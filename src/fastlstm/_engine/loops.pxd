from fastlstm._arrays.buffers cimport Buffers
from fastlstm._engine.passes cimport fl_packing, fl_rows
from fastlstm._system.backend cimport Device
from fastlstm._system.kernels cimport fl_call, fl_kernels, fl_size

# Return the rows of a Batch, once its numbers are known to fit each other; offsets are copied, so that they cannot
# change.
cdef fl_rows rows_of(Buffers get, batch) except *

# Return the values in a row of an array, once they are known to be `columns` or more.
cdef fl_size row_of(name, array, fl_size columns) except -1

# Return the kernels of a pass; with `packing` those that pack weights, where it runs on the host.
cdef const fl_kernels *kernels_of_pass(int size, Device device, bint packing) noexcept
# Return the kernels of the products over time; with `same_bits` those of the pass, since a library promises no bits.
cdef const fl_kernels *kernels_over_time(const fl_kernels *k, int size, bint same_bits) noexcept

cdef void pack(fl_packing packing, int parts) noexcept nogil

# Begin and end the running of passes: interrupts on the host, the stream of a device.
cdef void start_passes(fl_call *call, const fl_kernels *k, Device device) noexcept
cdef int finish_passes(fl_call *call, const fl_kernels *k, Device device) except -1
