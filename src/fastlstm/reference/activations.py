"""Activation functions and their derivatives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def sigma(a: Array) -> Array:
    """The logistic function."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-a))


# A name, or ("hard_logistic", alpha, beta).
Activation = str | tuple[str, float, float]
Pair = tuple[Callable[[Array], Array], Callable[[Array], Array]]


def hard_logistic(alpha: float = 0.2, beta: float = 0.5) -> Pair:
    """Alpha a + beta between 0 and 1, and its derivative; alpha is positive."""
    return lambda a: np.clip(alpha * a + beta, 0, 1), lambda h: alpha * ((h > 0) & (h < 1)).astype(h.dtype)


ACTIVATIONS: dict[str, Pair] = {
    "tanh": (np.tanh, lambda h: 1 - h**2),
    "relu": (lambda a: np.maximum(a, 0), lambda h: (h > 0).astype(h.dtype)),
    "logistic": (sigma, lambda h: h * (1 - h)),
    "identity": (lambda a: a, np.ones_like),
    "hard_logistic": hard_logistic(),
}
"""Each g, and its derivative as a function of h = g(a)."""


def activation(g: Activation) -> Pair:
    """An activation by its name, or by ("hard_logistic", alpha, beta)."""
    return ACTIVATIONS[g] if isinstance(g, str) else hard_logistic(*g[1:])
