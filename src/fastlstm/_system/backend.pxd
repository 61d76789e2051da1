from fastlstm._system.kernels cimport fl_algorithm, fl_backend, fl_kernels, fl_precision


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
