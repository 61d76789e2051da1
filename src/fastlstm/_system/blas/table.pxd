from fastlstm._system.kernels cimport fl_kernels

cdef const fl_kernels *make_tables(const fl_kernels *portable_32, const fl_kernels *portable_64) except NULL
