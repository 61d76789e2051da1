from fastlstm._system.kernels cimport fl_algorithm, fl_backend, fl_call, fl_kernels, fl_precision, fl_size, fl_task

cdef const fl_kernels *kernels(int itemsize) noexcept nogil
cdef const fl_kernels *host_kernels(int itemsize) noexcept nogil
cdef void parallel(fl_task task, void *argument, int parts) noexcept nogil

# What takes long is put between these two. In the main thread, Python's signal handlers then run every few
# milliseconds, and `end_call` raises what they raise: Ctrl-C's KeyboardInterrupt. Tasks look at `stopped` now and then
# and return where it is so; what they were to write is then undefined.
cdef void begin_call(fl_call *call, bint stoppable) noexcept
cdef int end_call(fl_call *call) except -1
cdef bint stopped() noexcept nogil

cdef inline int parts_for(fl_size work, fl_size least, int num_threads) noexcept nogil:
    """Return among how many threads to divide work of which `least` is worth another thread."""
    return <int>max(<fl_size>1, min(<fl_size>num_threads, work // least))


cdef inline fl_size part_start(fl_size n, int part, int parts, fl_size block) noexcept nogil:
    """Return where a part of n begins: at a multiple of `block`, so that no two write to one cache line."""
    return n if part == parts else n * part // parts // block * block


cdef class Device:
    cdef const fl_backend *backend
    cdef int index
    cdef void *stream
    cdef fl_algorithm algorithm
    cdef fl_precision precision
    cdef bint tf32
    cdef readonly dict used
    cdef const fl_kernels *kernels(self)
    cdef void begin(self) noexcept
    cdef int end(self) except -1


cdef class Buffers:
    cdef Py_buffer *views
    cdef int count
    cdef int capacity
    cdef Py_buffer *take(self, array, int flags) except NULL
    cdef Py_buffer *take_device(self, array, Py_buffer *view) except NULL
    cdef const void *read(self, array) except? NULL
    cdef void *write(self, array) except? NULL
    # The same, of an array that must have so many bytes: whoever owns it may change it after it was checked.
    cdef const void *input(self, const char *name, array, fl_size size) except? NULL
    cdef void *output(self, const char *name, array, fl_size size) except? NULL
    # Raises where the memory of the last array, a workspace, ends before `end`.
    cdef int check_end(self, const void *end) except -1
    cdef Py_buffer *strided(self, array, bint writable) except NULL
    cdef bint fits(self, array, bint writable, int ndim, int size, fl_size B, fl_size columns) except -1
    cdef bint overlap(self, int a, int b) noexcept
    cdef bint overlap_partly(self, int a, int b) noexcept
