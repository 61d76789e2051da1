"""The wheel fastlstm-cuda13x: the CUDA module alone, of the fastlstm in this tree. It needs nvcc; see nvcc.py."""

import re
import sys
from pathlib import Path

from setuptools import setup

sys.path.insert(0, str(Path(__file__).parent))
from nvcc import FREE_THREADED, BuildWithCuda, C, extension

VERSION = re.search('__version__ = "(.+)"', (C.parent / "__init__.py").read_text("utf-8"))[1]

setup(
    version=VERSION,
    packages=["fastlstm_cuda"],
    ext_modules=[extension("fastlstm_cuda")],
    cmdclass={"build_ext": BuildWithCuda},
    install_requires=[f"fastlstm=={VERSION}", "cuda-pathfinder>=1.2"],
    options={} if FREE_THREADED else {"bdist_wheel": {"py_limited_api": "cp311"}},
)
