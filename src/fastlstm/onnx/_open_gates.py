"""Variants of the LSTM that lack a gate, which is 1: in ONNX a gate without weights, whose bias saturates it.

The logistic function of 100 is exactly 1 in float32 and in float64, and so is the sum of the bias and of zero times
whatever is finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastlstm._arrays.arrays import Array
from fastlstm._cells.kernel import HARD_LOGISTIC

LACKING = {"NIG": "i", "NFG": "f", "NOG": "o"}
"""The gate that each of these variants lacks."""

# What exp(-x) is too small for to count beside 1, in float64 too.
SATURATED = 40.0

BIAS = 100.0


def bias_of(sigma: Any) -> float | None:
    """Return a bias for which sigma, one of our activations of the gates, is exactly 1; None if there is none."""
    if sigma == "logistic":
        return BIAS
    alpha, beta = _numbers(sigma)
    needed = max(BIAS, 2 * (1 - beta) / alpha) if alpha > 0 else np.inf
    return needed if needed < 1e30 else None


def is_open(sigma: Any, clip: float | None) -> bool:
    """Return whether that bias makes a gate exactly 1, where what goes into sigma is bounded to +-clip."""
    bias = bias_of(sigma)
    if bias is None:
        return False
    largest = bias if clip is None else min(bias, clip)
    if sigma == "logistic":
        return largest >= SATURATED
    alpha, beta = _numbers(sigma)
    # Rounding in float32 must not matter.
    return alpha * largest * (1 - 1e-6) + beta - 1e-6 * abs(beta) >= 1


def _numbers(sigma: Any) -> tuple[float, float]:
    """Return alpha and beta of a hard logistic function."""
    return sigma[1:] if isinstance(sigma, tuple) else HARD_LOGISTIC


def with_open_gate(ours: dict[str, Array], variant: str, sigma: Any) -> dict[str, Array]:
    """Return the arrays of an LSTM with all gates, that computes what one without the variant's gate does."""
    lacking = LACKING[variant]
    has = "ifzo".replace(lacking, "")
    whole = {}
    for name, array in ours.items():
        letters = has.replace("z", "") if name == "p" else has
        blocks = dict(zip(letters, np.split(array, len(letters)), strict=True))
        blocks[lacking] = np.zeros_like(blocks[letters[0]])
        if name == "b":
            blocks[lacking] += bias_of(sigma)
        whole[name] = np.concatenate([blocks[letter] for letter in ("ifo" if name == "p" else "ifzo")])
    return whole


def lacking_gate(every: Sequence[dict[str, Array]], sigma: Any, clip: float | None) -> str | None:
    """Return the variant of the LSTM whose gate is 1 in all of these arrays, each of a layer and direction, if any."""
    bias = bias_of(sigma) if is_open(sigma, clip) else None
    for variant, gate in LACKING.items():
        if bias is not None and all(_has_bias_alone(_parts(ours), gate, bias) for ours in every):
            return variant
    return None


def without_gate(ours: dict[str, Array], variant: str) -> dict[str, Array]:
    """Return the arrays of an LSTM with all gates as those of a variant that lacks one."""
    return {
        name: np.concatenate([block for letter, block in blocks.items() if letter != LACKING[variant]])
        for name, blocks in _parts(ours).items()
    }


def _parts(ours: dict[str, Array]) -> dict[str, dict[str, Array]]:
    """Return the blocks of rows of each array of an LSTM with all gates, by their letters."""
    letters = {name: "ifo" if name == "p" else "ifzo" for name in ours}
    return {
        name: dict(zip(letters[name], np.split(array, len(letters[name])), strict=True)) for name, array in ours.items()
    }


def _has_bias_alone(parts: dict[str, dict[str, Array]], gate: str, bias: float) -> bool:
    """Return whether a gate sees nothing but this bias."""
    return all((blocks[gate] == (bias if name == "b" else 0)).all() for name, blocks in parts.items())
