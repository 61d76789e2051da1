# Nothing of it is seen from Python: the loops over time cimport its products.
