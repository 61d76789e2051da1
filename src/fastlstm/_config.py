"""What this build is and what it runs on."""

from __future__ import annotations

import platform
import re
import sys
import sysconfig
from pathlib import Path

from fastlstm._engine import threads
from fastlstm._system import devices
from fastlstm._system.runtime import HAS_MATRIX_ENGINE, ISA, available_isas

__all__ = ["get_include", "get_library", "show_config"]


def _in_package(name: str) -> Path:
    """A folder of the package; of an editable install, where the source tree keeps it."""
    package = Path(__file__).parent
    installed = package / name
    return installed if installed.is_dir() else package.parents[1] / name


def get_include() -> str:
    """Give the folder of the C header `fastlstm/fastlstm.h`, for a compiler's ``-I``.

    Examples
    --------
    >>> import fastlstm, pathlib
    >>> (pathlib.Path(fastlstm.get_include()) / "fastlstm" / "fastlstm.h").is_file()
    True
    """
    return str(_in_package("include"))


def get_library() -> str:
    """Give the static library of the C interface, for programs without Python; extension modules need none.

    ``python -m fastlstm --cflags --libs`` prints what a compiler is to be told.

    Examples
    --------
    >>> import fastlstm, pathlib
    >>> pathlib.Path(fastlstm.get_library()).is_file()
    True
    """
    return str(_in_package("lib") / ("fastlstm.lib" if sys.platform == "win32" else "libfastlstm.a"))


def get_share(name: str) -> str:
    """Return a folder of an installed package's files for other build systems, which find header and library by it."""
    folder = Path(__file__).parent / "share" / name
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no {folder}: fastlstm runs from its sources here, only --cflags and --libs hold"
        )
    return str(folder)


def get_instruction_sets() -> list[str]:
    """Return the instruction sets that a program in C can choose, with libraries for any processor, slowest first."""
    header = Path(get_include()) / "fastlstm" / "only.h"
    return re.findall(r"\bfastlstm_(\w+)_float32, fastlstm_", header.read_text("utf-8"))


def show_config() -> None:
    """Print the version, the instruction sets in use and available, precisions, BLAS, threads and GPU.

    Examples
    --------
    >>> import fastlstm
    >>> fastlstm.show_config()  # doctest: +ELLIPSIS
    fastlstm ...
    """
    import numpy
    import scipy

    import fastlstm

    blas = scipy.show_config(mode="dicts")["Build Dependencies"]["blas"]
    free_threaded = " free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    lines = {
        "python": f"{platform.python_version()}{free_threaded} on {sys.platform} {platform.machine()}",
        "numpy": numpy.__version__,
        "scipy": f"{scipy.__version__}, BLAS {blas['name']} {blas['version']}",
        "instruction set": f"{ISA} (available: {', '.join(available_isas())})",
        **({"not by BLAS": "batch invariance, frozen weights, losses, optimisers: portable"} if ISA == "blas" else {}),
        **({"by BLAS": "products over time: W x, dW, dR, dx"} if HAS_MATRIX_ENGINE and ISA != "blas" else {}),
        "precision": "float32, float64",
        "threads": f"{threads.default().number}, from {threads.default().source}",
        "GPU": devices.description(),
    }
    print(f"fastlstm {fastlstm.__version__}")
    for name, value in lines.items():
        print(f"  {name:<16} {value}")
