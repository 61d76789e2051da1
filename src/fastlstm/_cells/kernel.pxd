from fastlstm._system.kernels cimport fl_cell


cdef class KernelCell:
    cdef fl_cell cell
    # Whether the state has a c, and whether steps keep one: that of the state, or y.
    cdef readonly bint has_c, keeps_c
    # The number of blocks of H values in the gates on the tape.
    cdef readonly int kept
    # The rows of H values of the parameters of layer normalisation; 0 without it.
    cdef readonly int norm_rows
