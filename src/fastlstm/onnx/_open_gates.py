"""Variants of the LSTM that lack a gate, which is 1: in ONNX a gate without weights, whose bias saturates it.

The logistic function of 100 is exactly 1 in float32 and in float64, and so is the sum of the bias and of zero times
whatever is finite.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlstm._arrays.arrays import Array

LACKING = {"NIG": "i", "NFG": "f", "NOG": "o"}
"""The gate that each of these variants lacks."""

# What exp(-x) is too small for to count beside 1, in float64 too.
SATURATED = 40.0

BIAS = 100.0


def bias_of(sigma: Any) -> float | None:
    """Return a bias for which sigma, one of our activations of the gates, is exactly 1; None if there is none."""
    if sigma == "logistic":
        return BIAS
    _, alpha, beta = sigma if isinstance(sigma, tuple) else (sigma, 0.2, 0.5)
    needed = max(BIAS, 2 * (1 - beta) / alpha) if alpha > 0 else np.inf
    return needed if needed < 1e30 else None


def is_open(sigma: Any, clip: float | None) -> bool:
    """Return whether a bias makes a gate exactly 1, where what goes into sigma is bounded to +-clip."""
    if sigma == "logistic":
        return clip is None or clip >= SATURATED
    bias = bias_of(sigma)
    return bias is not None and (clip is None or clip >= bias)


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
