"""Recurrent layers on NVIDIA GPUs: what there is of them here.

The same classes and functions as on the processor take arrays on a GPU: CuPy's, PyTorch's CUDA tensors, and whatever
else has ``__cuda_array_interface__`` or DLPack. Results are arrays of the same library. The work goes to that library's
current stream and is not waited for; memory comes from that library. All arrays of a call are on one device.

`LSTM.to` brings a layer to a GPU and back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastlstm._arrays import checks as check
from fastlstm._system import devices
from fastlstm._system.backend import ALGORITHMS
from fastlstm._system.devices import Algorithm

__all__ = ["is_available", "use", "why_unavailable"]


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
    return devices.why_unavailable()


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
    if algorithm is not None and not isinstance(algorithm, str):
        raise TypeError(f"algorithm must be a str, not {type(algorithm).__name__}")
    if tf32 is not None:
        tf32 = check.flag("tf32", tf32)
    if algorithm is not None and algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}, not {algorithm!r}")
    algorithm_before = devices.algorithm.set(devices.algorithm.get() if algorithm is None else algorithm)
    tf32_before = devices.tf32.set(devices.tf32.get() if tf32 is None else tf32)
    try:
        yield
    finally:
        devices.algorithm.reset(algorithm_before)
        devices.tf32.reset(tf32_before)
