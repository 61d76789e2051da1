from fastlstm._system.kernels cimport fl_call, fl_kernels, fl_size, fl_task

cdef const fl_kernels *kernels(int itemsize) noexcept nogil
cdef const fl_kernels *packing_kernels(int itemsize) noexcept nogil
cdef const fl_kernels *library_over_time(int itemsize, const fl_kernels *own) noexcept nogil
cdef void parallel(fl_task task, void *argument, int parts) noexcept nogil

# Long work is put between these two. In the main thread, Python's signal handlers then run every few milliseconds, and
# `end_call` raises what they raise, such as KeyboardInterrupt. Tasks ask `stopped` now and then, and return early if it
# is true; what they were to write is then undefined.
cdef void begin_call(fl_call *call, bint stoppable) noexcept
cdef int end_call(fl_call *call) except -1
cdef bint stopped() noexcept nogil

cdef inline int parts_for(fl_size work, fl_size least, int num_threads) noexcept nogil:
    """Return among how many threads to divide work of which `least` is worth another thread."""
    return <int>max(<fl_size>1, min(<fl_size>num_threads, work // least))


cdef inline fl_size part_start(fl_size n, int part, int parts, fl_size block) noexcept nogil:
    """Return where a part of n begins: at a multiple of `block`, so that no two write to one cache line."""
    return n if part == parts else n * part // parts // block * block
