"""Recurrent layers on NVIDIA GPUs: what there is of them here.

The same classes and functions as on the processor take arrays on a GPU: CuPy's, PyTorch's CUDA tensors, and whatever
else has ``__cuda_array_interface__`` or DLPack. Results are arrays of the same library. The work goes to that library's
current stream and is not waited for; memory comes from that library. All arrays of a call are on one device.

`LSTM.to` brings a layer to a GPU and back.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from fastlstm import _runtime

__all__ = ["is_available", "use", "why_unavailable"]

PLUGIN = "fastlstm-cuda13x"

Algorithm = Literal["auto", "steps", "resident", "cluster"]
_algorithm: ContextVar[Algorithm] = ContextVar("algorithm", default="auto")
_tf32: ContextVar[bool] = ContextVar("tf32", default=False)


@functools.cache
def _found() -> _runtime.Backend | str:
    """The kernels for GPUs, or why there are none."""
    emulated = _runtime.emulated_backend()
    for name in ("fastlstm._cuda", "fastlstm_cuda._cuda"):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        except ImportError as error:
            return f"{name} cannot be loaded: {error}"
        try:
            found = _runtime.Backend(module.backend)
        except ValueError:
            return f"{name} is of another version: install {PLUGIN} of the version that fastlstm has"
        reason = found.why_unavailable()
        if reason is None:
            _load_cublas()
            return found
        return emulated or reason
    return emulated or f"this installation has no kernels for GPUs: install {PLUGIN}, or build with FASTLSTM_CUDA=1"


def _load_cublas() -> None:
    """Bring cuBLAS into the process where it is a Python package's; the kernels look for it there first."""
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
        pathfinder.load_nvidia_dynamic_lib("cublas")
    except (ImportError, RuntimeError):
        pass  # it may be the system's; if it is not found either, the first product says so


def backend() -> _runtime.Backend:
    """The kernels for GPUs; RuntimeError where there are none."""
    found = _found()
    if isinstance(found, str):
        raise RuntimeError(f"a GPU cannot be used: {found}")
    return found


def device(index: int, stream: int, values: str) -> _runtime.Device:
    """A stream of a GPU, to run a call on as `use` says."""
    return _runtime.Device(backend(), index, stream, values, _algorithm.get(), _tf32.get())


def is_emulated() -> bool:
    """Whether the "device" is the processor, in a build for tests."""
    found = _found()
    return not isinstance(found, str) and found.name == "emulated"


def is_available() -> bool:
    """Tell whether arrays on a GPU can be used.

    Examples
    --------
    >>> import fastlstm
    >>> fastlstm.gpu.is_available() == (fastlstm.gpu.why_unavailable() is None)
    True
    """
    return why_unavailable() is None


def why_unavailable() -> str | None:
    """Say why arrays on a GPU cannot be used; None where they can.

    Returns
    -------
    str or None
        That fastlstm was built without the kernels, that there is no device or no driver, or what else is missing.
    """
    found = _found()
    return found if isinstance(found, str) else None


def description() -> str:
    """What `fastlstm.show_config` says."""
    found = _found()
    return f"none: {found}" if isinstance(found, str) else f"{found.name}: {found.describe()}"


@contextmanager
def use(algorithm: Algorithm | None = None, *, tf32: bool | None = None) -> Iterator[None]:
    """Choose, for all calls within, how a GPU computes. What is not given stays as it is.

    Threads that are started within begin with "auto" and without TF32, as every thread does.

    Parameters
    ----------
    algorithm : "auto", "steps", "resident" or "cluster", optional
        How many time steps are run; for tests and measurements. "steps": a product by cuBLAS and a kernel for each.
        "resident": one kernel for up to 96 steps, whose blocks keep their part of R on the chip. "cluster": likewise,
        in clusters of blocks that share batch rows, on GPUs that have them. "auto", at first: what is likely to be the
        fastest. What cannot run as asked for runs by steps: where R is too large for the chip, with projections, and
        full gate recurrence backward.
    tf32 : bool, optional
        Whether matrix products of float32 may round their inputs to TF32, 10 bits of mantissa, as PyTorch's `LSTM` does
        by default. At first they may not.

    Raises
    ------
    TypeError, ValueError
        If `algorithm` is none of these, or `tf32` no bool.

    Examples
    --------
    >>> import fastlstm
    >>> with fastlstm.gpu.use(tf32=True):
    ...     pass
    """
    from fastlstm import _checks as check  # which imports this module

    if algorithm is not None and not isinstance(algorithm, str):
        raise TypeError(f"algorithm must be a str, not {type(algorithm).__name__}")
    if tf32 is not None:
        tf32 = check.flag("tf32", tf32)
    if algorithm is not None and algorithm not in _runtime.ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(_runtime.ALGORITHMS)}, not {algorithm!r}")
    algorithm_before = _algorithm.set(_algorithm.get() if algorithm is None else algorithm)
    tf32_before = _tf32.set(_tf32.get() if tf32 is None else tf32)
    try:
        yield
    finally:
        _algorithm.reset(algorithm_before)
        _tf32.reset(tf32_before)
