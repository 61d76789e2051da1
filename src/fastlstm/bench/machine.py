"""The machine: its description, the number of threads that all libraries may use, and the speed of its sgemm."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg.blas import sgemm

import fastlstm
from fastlstm._system.runtime import ISA
from fastlstm.bench.peers import Peers
from fastlstm.bench.results import Machine

__all__ = ["SGEMM_SIZES", "describe", "limited_threads", "load_threadpoolctl", "sgemm_calls", "sgemm_rate", "versions"]

SGEMM_SIZES = ((1024, 1024, 1024), (2048, 1024, 1024))


def _cpu() -> str:
    """Return the model name of the processor, or its architecture if the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def describe() -> Machine:
    """Return the kind of the machine, without its name, which is private."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "cpu": _cpu(),
        "processors": affinity,
        "system": f"{platform.system()} {platform.machine()}",
        "isa": ISA,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of every package that takes part."""
    result = {"python": platform.python_version(), "fastlstm": fastlstm.__version__}
    for name in ("numpy", "scipy", "torch", "onnxruntime", "openvino", "onnx", "threadpoolctl"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            result[name] = importlib.metadata.version(name)
    return result


def load_threadpoolctl() -> Any:
    """Return the module threadpoolctl, or None."""
    try:
        return importlib.import_module("threadpoolctl")
    except ImportError:
        return None


@contextlib.contextmanager
def limited_threads(threads: int, peers: Peers) -> Iterator[None]:
    """Let fastlstm, PyTorch and the BLAS of NumPy and SciPy use this many threads.

    ONNX Runtime and OpenVINO take the number per model. Without threadpoolctl, BLAS keeps what the environment gave it.
    """
    before = fastlstm.get_num_threads()
    torch_before = peers.torch.get_num_threads() if peers.torch else None
    threadpoolctl = load_threadpoolctl()
    # Only the pools of BLAS are limited: limiting OpenMP would also change PyTorch's own setting.
    limits = threadpoolctl.threadpool_limits(threads, user_api="blas") if threadpoolctl else contextlib.nullcontext()
    try:
        with limits:
            fastlstm.set_num_threads(threads)
            if peers.torch:
                peers.torch.set_num_threads(threads)
            yield
    finally:
        fastlstm.set_num_threads(before)
        if peers.torch:
            peers.torch.set_num_threads(torch_before)


def sgemm_calls(size: tuple[int, int, int]) -> Callable[[int], None]:
    """Return a function that calls sgemm a number of times, for a `size` (m, n, k)."""
    m, n, k = size
    rng = np.random.default_rng(0)
    # With Fortran order and a given result SciPy copies nothing, so that BLAS alone is timed.
    a, b = (np.asfortranarray(rng.normal(size=shape).astype(np.float32)) for shape in ((m, k), (k, n)))
    c = np.zeros((m, n), np.float32, order="F")

    def repeat(count: int) -> None:
        for _ in range(count):
            sgemm(1.0, a, b, beta=0.0, c=c, overwrite_c=True)

    return repeat


def sgemm_rate(size: tuple[int, int, int], repetitions: int = 8) -> float:
    """Return the best rate of several calls of sgemm, in GFLOP/s."""
    repeat = sgemm_calls(size)
    repeat(2)
    best = float("inf")
    for _ in range(repetitions):
        start = time.perf_counter()
        repeat(1)
        best = min(best, time.perf_counter() - start)
    m, n, k = size
    return 2e-9 * m * n * k / best
