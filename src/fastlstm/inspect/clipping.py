"""The effect of clipping: gradient descent on a loss with cliffs, with and without it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm.nn.clipping import clip_norm

__all__ = ["Descent", "descend", "loss_surface"]

Loss = Callable[[Array], tuple[float, Array]]


class Descent(NamedTuple):
    """A path of gradient descent of n steps.

    Attributes
    ----------
    weights : (n + 1, m) array
        The weights after each step, the start first.
    losses : (n + 1,) array
        J at these weights.
    norms : (n + 1,) array
        ||dJ/d(weights)|| at these weights.
    clipped : (n + 1,) array
        The norms after clipping.
    """

    weights: Array
    losses: Array
    norms: Array
    clipped: Array


def loss_surface(loss: Loss, first: Array, second: Array) -> Array:
    """Return the loss over a grid of two weights.

    Parameters
    ----------
    loss : function of a (2,) array
        A function that returns J and its gradient, as the losses of `fastlstm.nn` do.
    first, second : (n,) and (m,) arrays
        The values of the two weights.

    Returns
    -------
    (m, n) array
        J in float64: second weights in rows, first in columns.

    Raises
    ------
    TypeError, ValueError
        If `first` or `second` is not a one-dimensional array of floats.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.inspect import loss_surface
    >>> loss_surface(lambda w: (w[0] - w[1], w), np.array([0.0, 1.0]), np.array([0.0, 2.0])).tolist()
    [[0.0, 1.0], [-2.0, -1.0]]
    """
    first, second = check.sized("first", first, 1, "(n,)"), check.sized("second", second, 1, "(m,)")
    return np.array([[loss(np.array([u, v]))[0] for u in first] for v in second], np.float64)


def descend(loss: Loss, start: Array, *, learning_rate: float, steps: int, threshold: float = math.inf) -> Descent:
    r"""Run gradient descent on a loss, with gradients clipped by norm.

    .. math::

        w \leftarrow w - \alpha\, g \min(1, \theta / \|g\|)

    Parameters
    ----------
    loss : function of an array shaped as `start`
        A function that returns J and its gradient.
    start : (m,) array
        The weights to start from, which are left as they were.
    learning_rate : float
        :math:`\alpha`.
    steps : int
        The number of steps, at least 1.
    threshold : float
        :math:`\theta` of `fastlstm.nn.clip_norm`, above 0. The default clips nothing.

    Returns
    -------
    Descent

    Raises
    ------
    TypeError, ValueError
        If `start` is not a one-dimensional array of floats, `steps` is not an int of at least 1, or `threshold` is not
        a number above 0.

    References
    ----------
    Pascanu, Mikolov, Bengio: "On the difficulty of training recurrent neural networks", 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.inspect import descend
    >>> path = descend(lambda w: (float(w @ w), 2 * w), np.array([3.0]), learning_rate=0.5, steps=2, threshold=2)
    >>> path.weights[:, 0].tolist(), path.norms.tolist(), path.clipped.tolist()
    ([3.0, 2.0, 1.0], [6.0, 4.0, 2.0], [2.0, 2.0, 2.0])
    """
    weights = check.sized("start", start, 1, "(m,)").copy()
    learning_rate = check.within("learning_rate", learning_rate, math.inf)
    path, losses, norms, clipped = [], [], [], []
    for _ in range(check.positive_int("steps", steps) + 1):
        value, gradient = loss(weights)
        gradient = np.array(gradient, weights.dtype)
        path.append(weights.copy())
        losses.append(value)
        norms.append(clip_norm(gradient, threshold))
        clipped.append(float(np.linalg.norm(gradient)))
        weights -= learning_rate * gradient
    return Descent(np.stack(path), np.array(losses), np.array(norms), np.array(clipped))
