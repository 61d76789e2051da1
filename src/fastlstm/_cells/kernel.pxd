from fastlstm._system.kernels cimport fl_cell


cdef class KernelCell:
    cdef fl_cell cell
    cdef readonly bint has_c
