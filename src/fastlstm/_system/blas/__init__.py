"""The instruction set "blas": the steps of the cells in Cython, their products by SciPy's BLAS."""
