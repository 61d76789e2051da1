"""The compiled parts: Cython modules, and the C kernels, compiled once per instruction set. Metadata: pyproject.toml.

FASTLSTM_DEBUG=1      assertions of sizes and bounds in C, no optimisation, Cython's line numbers
FASTLSTM_SANITIZE=..  gcc's or clang's -fsanitize=.., for example address,undefined
"""

import os
import platform
import sys
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("FASTLSTM_DEBUG", "0") not in ("", "0")
SANITIZE = os.environ.get("FASTLSTM_SANITIZE", "")
MSVC = sys.platform == "win32" and "GCC" not in sys.version
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

PACKAGE = Path("src/fastlstm")
C = PACKAGE / "_c"

# A cross-compiling build says its machine in the platform's name (macOS, Windows), else it is this one's.
MACHINE = next((m for m in ("arm64", "aarch64") if m in sysconfig.get_platform()), platform.machine()).lower()
if MACHINE in ("x86_64", "amd64"):
    INSTRUCTION_SETS = {
        "base": [],
        "avx2": ["/arch:AVX2"] if MSVC else ["-mavx2", "-mfma"],
        "avx512": ["/arch:AVX512"] if MSVC else ["-mavx512f", "-mavx512dq", "-mavx2", "-mfma"],
    }
elif MACHINE in ("aarch64", "arm64"):
    INSTRUCTION_SETS = {"neon": []}
else:
    INSTRUCTION_SETS = {}
INSTRUCTION_SETS["portable"] = []

if MSVC:
    FLAGS = ["/std:c11", *(["/Od", "/UNDEBUG"] if DEBUG else ["/O2", "/DNDEBUG"])]
    LINK_FLAGS = []
else:
    # A multiplication and an addition are fused only where the source says so: the same results from every compiler.
    # Python's own flags often ask for debugging symbols, which would quintuple the wheel.
    FLAGS = [
        "-std=c11",
        "-ffp-contract=off",
        "-fvisibility=hidden",
        "-fPIC",
        *(["-O0", "-g", "-UNDEBUG"] if DEBUG else ["-O1" if SANITIZE else "-O3", "-DNDEBUG", "-g0"]),
    ]
    LINK_FLAGS = [] if sys.platform == "win32" else ["-pthread", "-lm"]
    if SANITIZE:
        FLAGS += [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-g1"]
        LINK_FLAGS += [f"-fsanitize={SANITIZE}"]

HEADERS = [str(path) for path in [*C.glob("*.h"), *C.glob("*.inc")]]
LIBRARIES = [
    (
        f"fastlstm_{name}",
        {
            "sources": [str(C / "targets" / f"{name}_{bits}.c") for bits in (32, 64)],
            "obj_deps": {"": HEADERS},
            "cflags": [*FLAGS, *flags],
        },
    )
    for name, flags in INSTRUCTION_SETS.items()
]

MACROS = [] if FREE_THREADED else [("Py_LIMITED_API", "0x030B0000")]


def extension(name: str, sources: tuple[str, ...] = (), libraries: tuple[str, ...] = ()) -> Extension:
    return Extension(
        f"fastlstm.{name}",
        [str(PACKAGE / f"{name}.pyx"), *(str(C / source) for source in sources)],
        include_dirs=[str(C)],
        depends=HEADERS,
        libraries=list(libraries),
        define_macros=MACROS,
        extra_compile_args=FLAGS,
        extra_link_args=LINK_FLAGS,
        py_limited_api=not FREE_THREADED,
    )


EXTENSIONS = [
    # The kernels and the threads are in one module; the others reach them through it.
    extension("_runtime", ("dispatch.c", "pool.c"), tuple(name for name, _ in LIBRARIES)),
    extension("_blas"),
    extension("_rows"),
    extension("_loops"),
    extension("_forward"),
    extension("_backward"),
    extension("_losses"),
    extension("_gradients"),
    extension("_ctc"),
    extension("_ctc_beam"),
]

setup(
    libraries=LIBRARIES,
    ext_modules=cythonize(
        EXTENSIONS,
        build_dir="build/cython",
        compiler_directives={
            "language_level": 3,
            "cdivision": True,
            "embedsignature": True,
            "freethreading_compatible": True,
        },
    ),
    options={} if FREE_THREADED else {"bdist_wheel": {"py_limited_api": "cp311"}},
)
