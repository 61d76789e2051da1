"""Activation functions and their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Activation = str | tuple[str, float] | tuple[str, float, float]
"""A name of `ACTIVATIONS`, or the name with alpha, or with alpha and beta."""


class Function(NamedTuple):
    """An activation function g, and its derivative as a function of h = g(a)."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]


def sigma(a: Array) -> Array:
    """The logistic function."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-a))


def where(condition: NDArray[np.bool_], one: Array | float, other: Array | float, like: Array) -> Array:
    """np.where in the dtype of an array."""
    return np.where(condition, one, other).astype(like.dtype)


def hard_logistic(alpha: float = 0.2, beta: float = 0.5) -> Function:
    """The line alpha a + beta, between 0 and 1."""
    return Function(
        lambda a: np.clip(alpha * a + beta, 0, 1), lambda h: where((h > 0) & (h < 1), alpha, 0, h)
    )  # fmt: skip


def leaky_relu(alpha: float = 0.01) -> Function:
    """The identity, below 0 alpha a. The derivative is for alpha >= 0: else two a have the same h."""
    return Function(lambda a: where(a >= 0, a, alpha * a, a), lambda h: where(h > 0, 1, alpha, h))


def thresholded_relu(alpha: float = 1.0) -> Function:
    """The identity, below alpha 0."""
    return Function(lambda a: where(a >= alpha, a, 0, a), lambda h: where(h != 0, 1, 0, h))


def scaled_tanh(alpha: float = 1.0, beta: float = 1.0) -> Function:
    """The tanh of beta a, times alpha, which is not 0."""
    return Function(lambda a: alpha * np.tanh(beta * a), lambda h: beta * (alpha - h**2 / alpha))


def elu(alpha: float = 1.0) -> Function:
    """The identity, below 0 alpha (e^a - 1). The derivative is for alpha >= 0: else two a have the same h."""
    return Function(
        lambda a: where(a >= 0, a, alpha * np.expm1(np.minimum(a, 0)), a), lambda h: where(h >= 0, 1, h + alpha, h)
    )  # fmt: skip


def affine(alpha: float = 1.0, beta: float = 0.0) -> Function:
    """The line alpha a + beta."""
    return Function(lambda a: alpha * a + beta, lambda h: np.full_like(h, alpha))


ACTIVATIONS: dict[str, Callable[..., Function]] = {
    "tanh": lambda: Function(np.tanh, lambda h: 1 - h**2),
    "relu": lambda: Function(lambda a: np.maximum(a, 0), lambda h: (h > 0).astype(h.dtype)),
    "logistic": lambda: Function(sigma, lambda h: h * (1 - h)),
    "identity": lambda: Function(lambda a: a, np.ones_like),
    "softsign": lambda: Function(lambda a: a / (1 + np.abs(a)), lambda h: (1 - np.abs(h)) ** 2),
    "softplus": lambda: Function(lambda a: np.logaddexp(a, 0), lambda h: -np.expm1(-h)),
    "hard_logistic": hard_logistic,
    "leaky_relu": leaky_relu,
    "thresholded_relu": thresholded_relu,
    "scaled_tanh": scaled_tanh,
    "elu": elu,
    "affine": affine,
}
"""Each g by its name, from its alpha and beta, which are ONNX's unless given."""


def activation(g: Activation, clip: float | None = None) -> Function:
    """The function that a name, or a name with alpha and beta, stands for.

    With `clip` what goes into it is bounded to +-clip, and beyond it has no slope. That a was beyond is to be seen in
    h = g(a), which is then g(-clip) or g(clip); where g is flat, and may have that value elsewhere, its slope is 0
    anyway.
    """
    name, *parameters = (g,) if isinstance(g, str) else g
    value, slope = ACTIVATIONS[name](*parameters)
    if clip is None:
        return Function(value, slope)

    def clipped_slope(h: Array) -> Array:
        low, high = (value(np.full_like(h, end)) for end in (-clip, clip))
        return where((h == low) | (h == high), 0, slope(h), h)

    return Function(lambda a: value(np.clip(a, -clip, clip)), clipped_slope)
