"""Devices other than the host: the kernels for GPUs, and how a call is to run there."""

from __future__ import annotations

import functools
import importlib
from contextvars import ContextVar
from typing import Literal

from fastlstm._system import runtime
from fastlstm._system.backend import Backend, Device

PLUGIN = "fastlstm-cuda13x"

Algorithm = Literal["auto", "steps", "resident", "cluster"]
algorithm: ContextVar[Algorithm] = ContextVar("algorithm", default="auto")
tf32: ContextVar[bool] = ContextVar("tf32", default=False)


@functools.cache
def _found() -> Backend | str:
    """Return the kernels for GPUs, or why there are none."""
    capsule = runtime.emulated_backend()
    emulated = None if capsule is None else Backend(capsule)
    for name in ("fastlstm._cuda", "fastlstm_cuda._cuda"):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        except ImportError as error:
            return f"{name} cannot be loaded: {error}"
        try:
            found = Backend(module.backend)
        except ValueError:
            return f"{name} is of another version: install {PLUGIN} of the version that fastlstm has"
        reason = found.why_unavailable()
        if reason is None:
            _load_cublas()
            return found
        return emulated or reason
    return emulated or f"this installation has no kernels for GPUs: install {PLUGIN}, or build with FASTLSTM_CUDA=1"


def _load_cublas() -> None:
    """Load cuBLAS from a Python package where there is one: the kernels look first for what is loaded."""
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
        pathfinder.load_nvidia_dynamic_lib("cublas")
    except (ImportError, RuntimeError):
        pass  # The system may have one; if not, the first product says so.


def backend() -> Backend:
    """Return the kernels for GPUs; raise RuntimeError where there are none."""
    found = _found()
    if isinstance(found, str):
        raise RuntimeError(f"a GPU cannot be used: {found}")
    return found


def device(index: int, stream: int, values: str) -> Device:
    """Return a stream of a GPU, to run a call on as `fastlstm.gpu.use` says."""
    return Device(backend(), index, stream, values, algorithm.get(), tf32.get())


def is_emulated() -> bool:
    """Return whether the "device" is the processor, in a build for tests."""
    found = _found()
    return not isinstance(found, str) and found.name == "emulated"


def why_unavailable() -> str | None:
    """Return why no device can be used; None where one can."""
    found = _found()
    return found if isinstance(found, str) else None


def description() -> str:
    """Return what `fastlstm.show_config` says of the devices."""
    found = _found()
    return f"none: {found}" if isinstance(found, str) else f"{found.name}: {found.describe()}"
