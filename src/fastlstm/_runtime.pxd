from ._kernels cimport fl_kernels, fl_size, fl_task

cdef const fl_kernels *kernels(int itemsize) noexcept nogil
cdef void parallel(fl_task task, void *argument, int parts) noexcept nogil


cdef class Buffers:
    cdef Py_buffer *views
    cdef int count
    cdef int capacity
    cdef Py_buffer *take(self, array, int flags) except NULL
    cdef const void *read(self, array) except? NULL
    cdef void *write(self, array) except? NULL
    cdef bint fits(self, array, bint writable, int ndim, int size, fl_size B, fl_size columns) except -1
    cdef bint overlap(self, int a, int b) noexcept
    cdef bint overlap_partly(self, int a, int b) noexcept
