"""What this build is, what it runs on, and the default number of threads."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from pathlib import Path

from fastlstm import _checks as check
from fastlstm import _runtime, _threads

__all__ = ["get_include", "get_library", "get_num_threads", "set_num_threads", "show_config"]

ISA: str = _runtime.choose_isa(os.environ.get("FASTLSTM_ISA") or None)


_default = _threads.default_num_threads(_runtime.MAX_THREADS)


def set_num_threads(num_threads: int) -> None:
    """Set how many threads a call uses by default, in place of what was found when fastlstm was imported.

    That was the environment's FASTLSTM_NUM_THREADS; without it, OMP_NUM_THREADS; without both, as many as this process
    may use processors, by its affinity and by the CPU quota of its container. `show_config` tells which.

    The number decides how work is divided, and so the last digits of results. No more threads run at once than the
    process may use processors: one thread then does the work of several. Small problems use fewer by themselves.

    Parameters
    ----------
    num_threads : int
        At least 1, at most 256.

    Raises
    ------
    TypeError, ValueError
        If it is not such a number.

    Examples
    --------
    >>> import fastlstm
    >>> before = fastlstm.get_num_threads()
    >>> fastlstm.set_num_threads(1)
    >>> fastlstm.get_num_threads()
    1
    >>> fastlstm.set_num_threads(before)
    """
    global _default
    _default = _threads.Default(checked_num_threads(check.integer("num_threads", num_threads)), "set_num_threads")


def get_num_threads() -> int:
    """Return the number of threads that a call uses by default; `set_num_threads` tells where it comes from."""
    return _default.number


def checked_num_threads(num_threads: int | None) -> int:
    """`num_threads` if it is a legal number, the default if it is None."""
    if num_threads is None:
        return _default.number
    number = check.integer("num_threads", num_threads)
    if not 1 <= number <= _runtime.MAX_THREADS:
        raise ValueError(f"num_threads must be from 1 to {_runtime.MAX_THREADS}, not {number}")
    return number


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
    from fastlstm import gpu

    blas = scipy.show_config(mode="dicts")["Build Dependencies"]["blas"]
    free_threaded = " free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    lines = {
        "python": f"{platform.python_version()}{free_threaded} on {sys.platform} {platform.machine()}",
        "numpy": numpy.__version__,
        "scipy": f"{scipy.__version__}, BLAS {blas['name']} {blas['version']}",
        "instruction set": f"{ISA} (available: {', '.join(_runtime.available_isas())})",
        "precision": "float32, float64",
        "threads": f"{_default.number}, from {_default.source}",
        "GPU": gpu.description(),
    }
    print(f"fastlstm {fastlstm.__version__}")
    for name, value in lines.items():
        print(f"  {name:<16} {value}")
