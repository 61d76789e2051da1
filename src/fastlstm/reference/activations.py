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


ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "tanh": (np.tanh, lambda h: 1 - h**2),
    "relu": (lambda a: np.maximum(a, 0), lambda h: (h > 0).astype(h.dtype)),
    "logistic": (sigma, lambda h: h * (1 - h)),
    "identity": (lambda a: a, np.ones_like),
}
"""Each g, and its derivative as a function of h = g(a)."""
