"""The names of the contestants, the modules of the peers, and the inputs and weights of a shape, which all share."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.bench.shapes import Shape
from fastlstm.layers.frozen import Format

__all__ = [
    "CHECKED_STEPS", "FROZEN", "FROZEN_PEEPHOLE", "OPENVINO", "ORT", "ORT_PEEPHOLE", "OURS", "OURS_BLAS",
    "OURS_FLOAT64", "OURS_PEEPHOLE", "TORCH", "Contestant", "Peers", "Work", "in_format",
]  # fmt: skip

Array = NDArray[Any]

OURS, OURS_PEEPHOLE, OURS_FLOAT64 = "fastlstm", "fastlstm, peepholes", "fastlstm, float64"
OURS_BLAS = "fastlstm, blas"
FROZEN, FROZEN_PEEPHOLE = "fastlstm, Frozen", "fastlstm, Frozen, peepholes"
TORCH, ORT, ORT_PEEPHOLE, OPENVINO = "PyTorch", "ONNX Runtime", "ONNX Runtime, peepholes", "OpenVINO"

# Outputs are compared after this many steps, which are enough for the state to matter.
CHECKED_STEPS = 3


def in_format(name: str, weights: Format) -> str:
    """Return the name of a contestant with its weights in a format."""
    return name if weights == "full" else f"{name}, {weights}"


@dataclass
class Contestant:
    """A computation that is timed.

    Attributes
    ----------
    name : str
        The name in the report.
    repeat : callable
        ``repeat(n)`` computes n times; the loop is inside, so that it adds as little as possible to short calls.
    results : callable
        A function that returns the arrays that must be equal for all contestants.
    """

    name: str
    repeat: Callable[[int], None]
    results: Callable[[], list[Array]]


@dataclass
class Peers:
    """The modules of the peers; one that cannot be imported is None, and the reason is in `missing`."""

    torch: Any = None
    onnx: Any = None
    onnxruntime: Any = None
    openvino: Any = None
    missing: dict[str, str] = field(default_factory=dict)

    @classmethod
    def find(cls) -> Peers:
        """Import the modules that are installed."""
        peers = cls()
        for name in ("torch", "onnx", "onnxruntime", "openvino"):
            try:
                setattr(peers, name, importlib.import_module(name))
            except (ImportError, OSError) as error:  # OSError: a shared library of the package does not load.
                peers.missing[name] = str(error)
        for name in ("onnxruntime", "openvino"):
            if getattr(peers, name) and not peers.onnx:
                peers.missing[name] = "without the package onnx there is no model to run"
                setattr(peers, name, None)
        if peers.onnxruntime:
            # Only errors are shown: it warns about processors that it does not know.
            peers.onnxruntime.set_default_logger_severity(3)
        return peers


class Work:
    """The inputs and weights of one shape in float32, the same in every run.

    Attributes
    ----------
    x, dy : (T, B, I), (T, B, H) arrays
        The inputs, and the gradient of the outputs.
    W, R, b, p : (4H, I), (4H, H), (4H,), (3, H) arrays
        The weights: gate blocks in the order i, f, z, o, rows of p in the order i, f, o.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        T, B, I, H = shape
        rng = np.random.default_rng(0)
        bound = 1 / math.sqrt(H)

        def weights(*sizes: int) -> Array:
            return rng.uniform(-bound, bound, sizes).astype(np.float32)

        self.W, self.R, self.b, self.p = weights(4 * H, I), weights(4 * H, H), weights(4 * H), weights(3, H)
        self.x = rng.normal(size=(T, B, I)).astype(np.float32)
        self.dy = rng.normal(size=(T, B, H)).astype(np.float32)
