"""The CUDA module, compiled and linked by nvcc: for fastlstm itself, and for the wheel fastlstm-cuda13x.

NVCC                       the compiler; else that of CUDA_PATH, of CUDA_HOME, in PATH, of the package
                           nvidia-cuda-nvcc, or in the usual place
FASTLSTM_CUDA_ARCHS=80,90  the GPUs to compile for, by compute capability; the default is ARCHS
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension
from setuptools.command.build_ext import build_ext
from setuptools.errors import PlatformError

ARCHS = "75,80,86,89,90,100,120"
C = Path(__file__).resolve().parents[1] / "src" / "fastlstm" / "_c"
sys.path.insert(0, str(C))
from targets import ALL_PRECISIONS  # noqa: E402

# Each object's name, source and definitions.
OBJECTS = [
    *((f"device/cuda/{source.stem}", source, []) for source in sorted(C.glob("device/cuda/*.cu"))),
    *((f"targets/cuda_{arrays}", C / "targets" / "cuda.cu", flags) for arrays, flags in ALL_PRECISIONS.items()),
]
# A multiplication and an addition are fused only where the source says so, and denormals are zero, as on processors.
FLAGS = [
    "-std=c++20", "-O3", "-DNDEBUG", "--extended-lambda", "-fmad=false", "-ftz=true",
    "-Xcompiler", "-fPIC,-fvisibility=hidden", f"-I{C}", f"-I{sysconfig.get_paths()['include']}",
]  # fmt: skip
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def extension(package: str) -> Extension:
    """The module `_cuda` of a package."""
    return Extension(f"{package}._cuda", [], py_limited_api=not FREE_THREADED)


def find_nvcc() -> str:
    """The compiler, by the first way that leads to one."""
    if not sys.platform.startswith("linux"):
        raise PlatformError(f"FASTLSTM_CUDA=1 builds on Linux only, not on {sys.platform}")
    asked = os.environ.get("NVCC")
    homes = [os.environ[name] for name in ("CUDA_PATH", "CUDA_HOME") if os.environ.get(name)]
    package = importlib.util.find_spec("nvidia")
    folders = [] if package is None else package.submodule_search_locations or []
    usual = [*(f"{home}/bin/nvcc" for home in homes), "nvcc", *(f"{folder}/cu13/bin/nvcc" for folder in folders)]
    for name in [asked] if asked else [*usual, "/usr/local/cuda/bin/nvcc"]:
        if found := shutil.which(name):
            return found
    where = f"{asked}, which NVCC says, is not there" if asked else "set NVCC to it, or CUDA_PATH to its toolkit"
    raise PlatformError(f"FASTLSTM_CUDA=1 needs nvcc, which was not found: {where}")


def arch_flags() -> list[str]:
    """Machine code for each architecture, and for later ones PTX of the last."""
    text = os.environ.get("FASTLSTM_CUDA_ARCHS") or ARCHS
    archs = [arch.strip() for arch in text.split(",")]
    if not all(arch.isdigit() for arch in archs):
        raise PlatformError(f"FASTLSTM_CUDA_ARCHS must be compute capabilities such as 80,90, not {text}")
    codes = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    return [*codes, f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}"]


def run(command: list[str]) -> None:
    """Run a command of the build, which is shown."""
    print(" ".join(command), flush=True)
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise PlatformError(f"FASTLSTM_CUDA=1: {error}") from error


class BuildWithCuda(build_ext):
    """Builds the extension `_cuda` with nvcc, all others as ever."""

    def build_extension(self, ext: Extension) -> None:
        """Compile and link an extension."""
        if not ext.name.endswith("._cuda"):
            super().build_extension(ext)
            return
        nvcc = find_nvcc()
        limited = [] if FREE_THREADED else ["-DPy_LIMITED_API=0x030B0000"]

        def compiled(name: str, source: Path, definitions: list[str]) -> str:
            target = Path(self.build_temp, "cuda", f"{name}.o")
            target.parent.mkdir(parents=True, exist_ok=True)
            run([nvcc, *FLAGS, *limited, *definitions, "-t0", *arch_flags(), "-c", str(source), "-o", str(target)])
            return str(target)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(lambda one: compiled(*one), OBJECTS))
        library = Path(self.get_ext_fullpath(ext.name))
        library.parent.mkdir(parents=True, exist_ok=True)
        folders = [f"-L{Path(nvcc).resolve().parents[1] / name}" for name in ("lib64", "lib")]
        run([nvcc, "-shared", "-cudart=static", *folders, "-Xlinker", "-s", *objects, "-o", str(library)])
