"""Layer normalisation as graphs before the operator of that name have it: mean, variance and what is done with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fastlstm._arrays.arrays import Array
from fastlstm.onnx import _chains
from fastlstm.onnx._constants import Constant
from fastlstm.onnx._signals import as_features
from fastlstm.onnx._values import InTheWayError, Signal

Stage = Literal["mean", "centred", "squares", "variance", "bounded", "deviation", "normal", "scaled"]


@dataclass(frozen=True, eq=False)
class Statistic:
    """What is computed of the features of each step, on the way to their normalisation.

    Attributes
    ----------
    stage : str
        How far it has come.
    of : Signal
        What is normalised.
    epsilon : float
        What has been added to the variance.
    gain : array, optional
        What the normalised features have been multiplied by.
    """

    stage: Stage
    of: Signal
    epsilon: float = 0.0
    gain: Array | None = None


def _is(value: Any, stage: Stage, of: Signal | None = None) -> bool:
    return isinstance(value, Statistic) and value.stage == stage and (of is None or value.of is of)


def _row(value: Any) -> Array:
    """Return a constant with a number for each feature, or one."""
    if not isinstance(value, Constant) or value.array.dtype.kind != "f" or value.array.size != value.array.shape[-1]:
        raise InTheWayError("what it multiplies by or adds is not one number for each feature")
    return value.array.reshape(-1)


def reduced(x: Any, last: bool) -> Statistic | None:
    """Return the mean, or of squares the variance, over the features, if that is what it is."""
    if isinstance(x, Statistic) and x.stage == "squares" and last:
        return Statistic("variance", x.of)
    return Statistic("mean", as_features(x)) if isinstance(x, Signal) and last else None


def subtracted(x: Any, mean: Any) -> Statistic | None:
    """Return x without its mean, if that is what it is."""
    if isinstance(x, Signal) and isinstance(mean, Statistic) and mean.stage == "mean":
        if x.chain is not mean.of.chain or x.axes != mean.of.axes:
            raise InTheWayError("it takes the mean of something else from it")
        return Statistic("centred", mean.of)
    return None


def multiplied(a: Any, b: Any) -> Statistic:
    """Return the squares of what is centred, or what is normal times its gain."""
    if a is b and _is(a, "centred"):
        return Statistic("squares", a.of)
    normal, gain = (a, b) if isinstance(a, Statistic) else (b, a)
    if not _is(normal, "normal"):
        raise InTheWayError
    return Statistic("scaled", normal.of, normal.epsilon, _row(gain))


def raised(x: Any, exponent: Any) -> Statistic:
    """Return the squares of what is centred."""
    if not _is(x, "centred") or not isinstance(exponent, Constant) or exponent.array.tolist() not in (2, [2]):
        raise InTheWayError
    return Statistic("squares", x.of)


def added(a: Any, b: Any) -> Statistic | Signal | None:
    """Return the variance with its epsilon, or, once the bias is added, what a LayerNorm gives."""
    own, constant = (a, b) if isinstance(a, Statistic) else (b, a)
    if not isinstance(own, Statistic):
        return None
    if own.stage == "variance" and isinstance(constant, Constant) and constant.array.size == 1:
        return Statistic("bounded", own.of, _shortest(constant.array.reshape(-1)[0]))
    if own.stage != "scaled" or own.gain is None:
        raise InTheWayError
    shift, x = _row(constant), own.of
    n = max(own.gain.size, shift.size)
    if len(x.chain.features) == 1 and x.chain.features[0].size is not None:
        n = x.chain.features[0].size
    g, b = (np.broadcast_to(array, (n,)) for array in (own.gain, shift))
    item = _chains.LayerNorm(g, b, own.epsilon)
    return Signal(x.chain.add(item, x.chain.features), x.axes)


def rooted(x: Any) -> Statistic:
    """Return the standard deviation."""
    if not _is(x, "bounded"):
        raise InTheWayError
    return Statistic("deviation", x.of, x.epsilon)


def divided(x: Any, deviation: Any) -> Statistic | None:
    """Return what is centred by its standard deviation, if that is what it is."""
    if _is(x, "centred") and _is(deviation, "deviation", x.of):
        return Statistic("normal", x.of, deviation.epsilon)
    return None


def _shortest(value: Any) -> float:
    """Return a number of float32 with the fewest digits that are the same in float32, one of float64 as it is."""
    return float(value) if value.dtype == np.float64 else float(str(np.float32(value)))
