from fastlstm._system.kernels cimport fl_size


cdef class Buffers:
    cdef Py_buffer *views
    cdef int count
    cdef int capacity
    cdef Py_buffer *take(self, array, int flags) except NULL
    cdef Py_buffer *take_device(self, array, Py_buffer *view) except NULL
    cdef const void *read(self, array) except? NULL
    cdef void *write(self, array) except? NULL
    # Take an array as `read` and `write` do, and raise unless it has `size` bytes: its owner may have changed it since
    # it was checked.
    cdef const void *input(self, const char *name, array, fl_size size) except? NULL
    cdef void *output(self, const char *name, array, fl_size size) except? NULL
    # Raise where the memory of the last array, a workspace, ends before `end`.
    cdef int check_end(self, const void *end) except -1
    cdef Py_buffer *strided(self, array, bint writable) except NULL
    cdef bint fits(self, array, bint writable, int size, fl_size first, fl_size B, fl_size columns) except -1
    cdef bint overlap(self, int a, int b) noexcept
    cdef bint overlap_partly(self, int a, int b) noexcept
