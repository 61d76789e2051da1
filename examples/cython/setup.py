"""Builds mean_output beside its source: ``python setup.py build_ext --inplace``."""

from Cython.Build import cythonize
from setuptools import Extension, setup

import fastlstm

setup(
    name="mean_output",
    ext_modules=cythonize([Extension("mean_output", ["mean_output.pyx"], include_dirs=[fastlstm.get_include()])]),
)
