"""The mask, and the mean over elements, which several losses share."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, empty
from fastlstm._arrays.hints import conversion
from fastlstm._engine.threads import get_num_threads
from fastlstm.nn import _losses


class NothingCountsError(ValueError):
    """The error of a loss in which no element counts; training skips such a batch."""


def counted(mask: object, shape: tuple[int, ...]) -> tuple[NDArray[np.bool] | None, int]:
    """Return a checked `mask` for a target of this `shape`, and the number of elements that count, at least one."""
    if mask is None:
        return None, math.prod(shape)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool:
        given = f"an array of {mask.dtype}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise TypeError(f"mask must be a NumPy array of bool, not {given}{conversion('mask', mask, 'bool')}")
    mask = np.array(check.unmasked("mask", mask), order="C")  # A copy cannot change once it is checked.
    if mask.shape != shape[: mask.ndim]:
        raise ValueError(f"mask must have the target's shape {shape}, or that of its leading axes, not {mask.shape}")
    count = int(np.count_nonzero(mask)) * math.prod(shape[mask.ndim :])
    if count == 0:
        raise NothingCountsError("mask must let at least one element count")
    return mask, count


def elementwise(
    kind: str, name: str, prediction: Array, target: Array, mask: Array | None, delta: float = 0.0
) -> tuple[float, Array]:
    """Return the mean of a loss over the elements that count, and its gradient."""
    prediction = check.is_array(name, prediction)
    if prediction.size == 0:
        raise ValueError(f"{name} must have at least one element, not shape {prediction.shape}")
    shape, dtype = prediction.shape, prediction.dtype
    prediction = check.matching(name, prediction, shape, dtype, "its own")
    target = check.matching("target", target, shape, dtype, f"that of {name}")
    mask, count = counted(mask, shape)
    if kind == "logistic":
        seen = target if mask is None else target[mask]
        if not (seen.min() >= 0 and seen.max() <= 1):
            wrong = ~((target >= 0) & (target <= 1))
            if mask is not None:
                wrong[~mask] = False
            message = f"target must be from 0 to 1, not {seen.min()} to {seen.max()}"
            raise check.EntryError(message, "target", check.first_entry(wrong))
    gradient = empty(shape, dtype)
    threads = get_num_threads()
    return _losses.elementwise(kind, prediction, target, mask, 1 / count, delta, gradient, threads) / count, gradient
