"""The compiled parts: Cython modules, and the C kernels, compiled once per instruction set. Metadata: pyproject.toml.

FASTLSTM_DEBUG=1      assertions of sizes and bounds in C, no optimisation, Cython's line numbers
FASTLSTM_SANITIZE=..  gcc's or clang's -fsanitize=.., for example address,undefined; may be combined with the assertions
FASTLSTM_CUDA=1       with the GPU backend; needs nvcc, see cuda/nvcc.py
FASTLSTM_EMULATED=1   with the kernels of a device, run by the processor: the instruction set "emulated", for tests
"""

import os
import platform
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib

DEBUG = os.environ.get("FASTLSTM_DEBUG", "0") not in ("", "0")
SANITIZE = os.environ.get("FASTLSTM_SANITIZE", "")
MSVC = sys.platform == "win32" and "GCC" not in sys.version
CUDA = os.environ.get("FASTLSTM_CUDA", "0") not in ("", "0")
EMULATED = os.environ.get("FASTLSTM_EMULATED", "0") not in ("", "0")
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
if not (MSVC or DEBUG or SANITIZE):
    # The product's loop fits into one line of the instruction cache; across two a step takes up to a quarter longer.
    INSTRUCTION_SETS = {name: [*flags, "-falign-loops=64"] for name, flags in INSTRUCTION_SETS.items()}
if EMULATED:  # see _c/device/emulated; in a debug build, too, as fast as tests need it
    INSTRUCTION_SETS["emulated"] = [] if MSVC else ["-O2"]
HALVES = ("bfloat16", "float16")  # what a device stores in half as many bits
# Beside another one it is only a reference, which is to be small.
INSTRUCTION_SETS["portable"] = ["-O2"] if INSTRUCTION_SETS and not (MSVC or DEBUG or SANITIZE) else []

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
        "-O1" if SANITIZE else "-O0" if DEBUG else "-O3",
        *(["-g", "-UNDEBUG"] if DEBUG else ["-DNDEBUG", "-g0"]),
    ]
    LINK_FLAGS = [] if sys.platform == "win32" else ["-pthread", "-lm"]
    if SANITIZE:
        FLAGS += [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-g1"]
        LINK_FLAGS += [f"-fsanitize={SANITIZE}"]

INCLUDE = "include"
HEADERS = [str(path) for path in [*C.rglob("*.h"), *C.rglob("*.inc"), *Path(INCLUDE).rglob("*.h")]]
LIBRARIES = [
    (
        f"fastlstm_{name}",
        {
            "sources": [str(C / source) for source in sources],
            "obj_deps": {"": HEADERS},
            "include_dirs": [str(C), INCLUDE],
            "cflags": [*FLAGS, *flags],
        },
    )
    for name, flags, sources in [
        *(
            (name, flags, [f"targets/{name}_{bits}.c" for bits in (32, 64, *(HALVES if name == "emulated" else ()))])
            for name, flags in INSTRUCTION_SETS.items()
        ),
        (
            "network",
            ["-DFL_EMULATED"] if EMULATED else [],
            [
                "system/dispatch.c",
                "network/plan.c",
                "network/forward.c",
                "network/backward.c",
                *(["device/emulated/emulated.c"] if EMULATED else []),
            ],
        ),
    ]
]


class BuildLibrary(build_clib):
    """What is compiled once per instruction set, and the networks: one library, for our modules and for C programs."""

    def build_libraries(self, libraries):
        build = super().build_libraries
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # a library takes a compiler a while
            list(pool.map(lambda library: build([library]), libraries))
        objects = [
            name
            for _, info in libraries
            for name in self.compiler.object_filenames(info["sources"], output_dir=self.build_temp)
        ]
        self.compiler.create_static_lib(objects, "fastlstm", output_dir=self.build_clib)
        editable = self.get_finalized_command("build_py").editable_mode
        package = PACKAGE if editable else Path(self.get_finalized_command("build").build_lib, PACKAGE.name)
        (package / "lib").mkdir(parents=True, exist_ok=True)
        name = self.compiler.library_filename("fastlstm")
        self.copy_file(str(Path(self.build_clib, name)), str(package / "lib" / name))


MACROS = [] if FREE_THREADED else [("Py_LIMITED_API", "0x030B0000")]


def extension(name: str, sources: tuple[str, ...] = (), libraries: tuple[str, ...] = ()) -> Extension:
    return Extension(
        f"fastlstm.{name}",
        [str(PACKAGE / f"{name.replace('.', '/')}.pyx"), *(str(C / source) for source in sources)],
        include_dirs=[str(C), INCLUDE],
        depends=[*HEADERS, *(source for _, info in LIBRARIES if libraries for source in info["sources"])],
        libraries=list(libraries),
        define_macros=MACROS,
        extra_compile_args=FLAGS,
        extra_link_args=LINK_FLAGS,
        py_limited_api=not FREE_THREADED,
    )


EXTENSIONS = [
    # The kernels and the threads are in one module; the others reach them through it.
    extension("_system.runtime", ("system/pool.c", "network/interface.c"), ("fastlstm",)),
    extension("_engine.blas"),
    extension("_engine.rows"),
    extension("_engine.loops"),
    extension("_engine.forward"),
    extension("_engine.backward"),
    extension("nn._losses"),
    extension("nn._gradients"),
    extension("nn._products"),
    extension("nn._ctc"),
    extension("nn._ctc_beam"),
]
COMMANDS = {"build_clib": BuildLibrary}
if CUDA:
    sys.path.insert(0, "cuda")
    import nvcc

    nvcc.find_nvcc()  # at once, before anything is built
    EXTENSIONS.append(nvcc.extension("fastlstm"))
    COMMANDS["build_ext"] = nvcc.BuildWithCuda

setup(
    libraries=LIBRARIES,
    cmdclass=COMMANDS,
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
