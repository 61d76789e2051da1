# Nothing of it is seen from Python: the tables of kernels have its functions.
