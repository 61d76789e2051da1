"""The compiled parts: Cython modules, and the C kernels, compiled once per instruction set. Metadata: pyproject.toml.

FASTLSTM_DEBUG=1      assertions of sizes and bounds in C, no optimisation, Cython's line numbers
FASTLSTM_SANITIZE=..  gcc's or clang's -fsanitize=.., for example address,undefined; may be combined with the assertions
FASTLSTM_CUDA=1       with the GPU backend; needs nvcc, see cuda/nvcc.py
FASTLSTM_EMULATED=1   with the kernels of a device, run by the processor: the instruction set "emulated", for tests
"""

import copy
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
sys.path.insert(0, str(C))
import targets  # noqa: E402

# A cross-compiling build says its machine in the platform's name (macOS, Windows), else it is this one's.
MACHINE = next((m for m in ("arm64", "aarch64") if m in sysconfig.get_platform()), platform.machine()).lower()
INSTRUCTION_SETS = targets.instruction_sets(MACHINE, MSVC, EMULATED)
if not (MSVC or DEBUG or SANITIZE):
    # The product's loop fits into one line of the instruction cache; across two a step takes up to a quarter longer.
    fastest = [name for name in INSTRUCTION_SETS if name not in ("emulated", "portable")]
    INSTRUCTION_SETS |= {name: [*INSTRUCTION_SETS[name], "-falign-loops=64"] for name in fastest}
    if fastest:  # beside which portable C is only a reference, which is to be small
        INSTRUCTION_SETS["portable"] = ["-O2"]
    if "base" in INSTRUCTION_SETS:
        # SSE2 alone is for processors from before 2013: it is smaller by a third, and slower by up to 8 % in one row.
        INSTRUCTION_SETS["base"] = [*INSTRUCTION_SETS["base"], "-Os"]

if MSVC:
    FLAGS = ["/std:c11", *(["/Od", "/UNDEBUG"] if DEBUG else ["/O2", "/DNDEBUG"])]
    LINK_FLAGS = []
else:
    # A multiplication and an addition are fused only where the source says so: the same results from every compiler.
    # Python's own flags often ask for debugging symbols, which would quintuple the wheel.
    FLAGS = [
        "-std=c11",
        "-ffp-contract=off",
        "-Werror=implicit-function-declaration",  # as in gcc 14 and clang 16, without being asked
        "-fvisibility=hidden",
        "-fPIC",
        "-O1" if SANITIZE else "-O0" if DEBUG else "-O3",
        *(["-g", "-UNDEBUG"] if DEBUG else ["-DNDEBUG", "-g0"]),
    ]
    LINK_FLAGS = [] if sys.platform == "win32" else ["-pthread", "-lm"]
    if SANITIZE:
        FLAGS += [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-g1"]
        LINK_FLAGS += [f"-fsanitize={SANITIZE}"]
    if not (DEBUG or SANITIZE or sys.platform == "win32"):
        # Tables for debuggers and profilers, which are 70 KB of the wheel: C throws no exceptions.
        FLAGS += ["-fno-asynchronous-unwind-tables"]

INCLUDE = "include"
PATTERNS = ("*.h", "*.inc", "*.def")
HEADERS = [str(path) for folder in (C, Path(INCLUDE)) for pattern in PATTERNS for path in folder.rglob(pattern)]
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
            (f"{name}_{arrays}", [*flags, *definitions], [f"targets/{name}.c"])
            for name, flags in INSTRUCTION_SETS.items()
            for arrays, definitions in (targets.ALL_PRECISIONS if name == "emulated" else targets.PRECISIONS).items()
        ),
        (
            "network",
            ["-DFL_EMULATED"] if EMULATED else [],
            [
                "system/dispatch.c",
                "system/linked.c",
                "network/plan.c",
                "network/tape.c",
                "network/forward.c",
                "network/backward.c",
                "network/workspace.c",
                *(
                    f"pass/{name}.c"
                    for name in ("arena", "rows", "division", "packing", "weights", "block", "forward", "backward")
                ),
                *(["device/emulated/emulated.c"] if EMULATED else []),
            ],
        ),
    ]
]


class BuildLibrary(build_clib):
    """Builds one library of the kernels and the networks, for our modules and for C programs."""

    def objects(self, library: tuple[str, dict]) -> list[str]:
        """Build one library in a folder of its own, since others have the same sources; return its objects."""
        name, info = library
        own = copy.copy(self)
        own.build_temp = str(Path(self.build_temp, name))
        build_clib.build_libraries(own, [library])
        return self.compiler.object_filenames(info["sources"], output_dir=own.build_temp)

    def build_libraries(self, libraries):
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # a library takes a compiler a while
            objects = [name for names in pool.map(self.objects, libraries) for name in names]
        name = self.compiler.library_filename("fastlstm")
        Path(self.build_clib, name).unlink(missing_ok=True)  # an archive keeps members whose names come twice
        self.compiler.create_static_lib(objects, "fastlstm", output_dir=self.build_clib)
        editable = self.get_finalized_command("build_py").editable_mode
        package = PACKAGE if editable else Path(self.get_finalized_command("build").build_lib, PACKAGE.name)
        (package / "lib").mkdir(parents=True, exist_ok=True)
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
    extension("_system.backend"),
    *(extension(f"_system.blas.{name}") for name in ("products", "activations", "carry", "table")),
    *(extension(f"_system.blas.{name}") for name in ("lstm", "lstm_norm", "fgr", "rnn", "gru", "gru_before")),
    extension("_arrays.buffers"),
    extension("_cells.kernel"),
    extension("_engine.rows", libraries=("fastlstm",)),
    extension("_engine.loops", libraries=("fastlstm",)),
    extension("_engine.forward", libraries=("fastlstm",)),
    extension("_engine.backward", libraries=("fastlstm",)),
    extension("_engine.held"),
    extension("_engine.raw"),
    extension("nn._losses"),
    extension("nn._norm"),
    extension("nn._gradients"),
    extension("nn._products", libraries=("fastlstm",)),
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
            # Functions like those in C, and no code for pickles: a tenth of a megabyte less.
            "binding": False,
            "auto_pickle": False,
            "embedsignature": True,
            "embedsignature.format": "clinic",
            "freethreading_compatible": True,
        },
    ),
    options={} if FREE_THREADED else {"bdist_wheel": {"py_limited_api": "cp311"}},
)
