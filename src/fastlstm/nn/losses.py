"""Losses: each gives its value and its gradient with respect to the prediction."""

from __future__ import annotations

import numpy as np

from fastlstm import _checks as check
from fastlstm._checks import Array

__all__ = ["mae", "mse"]


def mse(prediction: Array, target: Array) -> tuple[float, Array]:
    r"""Give the mean squared error over all n elements.

    .. math::

        J = \frac{1}{n} \sum (\hat y - y)^2 \qquad \frac{dJ}{d \hat y} = \frac{2}{n} (\hat y - y)

    Parameters
    ----------
    prediction, target : array of float32 or float64
        Of one shape and dtype; with at least one element.

    Returns
    -------
    loss : float
        Summed in float64.
    gradient : array
        dJ/d(prediction), shaped as the prediction.

    Raises
    ------
    TypeError
        If the dtypes are not the same, or not of floats.
    ValueError
        If the shapes are not the same, or there are no elements.

    References
    ----------
    Goodfellow, Bengio, Courville: "Deep Learning", 2016, section 5.1.4.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import mse
    >>> loss, gradient = mse(np.array([1.0, 5.0]), np.array([1.0, 3.0]))
    >>> loss, gradient.tolist()
    (2.0, [0.0, 2.0])
    """
    error = _error(prediction, target)
    loss = float(np.square(error, dtype=np.float64).mean())
    error *= 2 / error.size
    return loss, error


def mae(prediction: Array, target: Array) -> tuple[float, Array]:
    r"""Give the mean absolute error over all n elements.

    .. math::

        J = \frac{1}{n} \sum |\hat y - y| \qquad \frac{dJ}{d \hat y} = \frac{1}{n} \operatorname{sign}(\hat y - y)

    At 0, where the absolute value has no derivative, the gradient is its subgradient 0: what is met stays.

    Parameters
    ----------
    prediction, target : array of float32 or float64
        Of one shape and dtype; with at least one element.

    Returns
    -------
    loss : float
        Summed in float64.
    gradient : array
        dJ/d(prediction), shaped as the prediction.

    Raises
    ------
    TypeError
        If the dtypes are not the same, or not of floats.
    ValueError
        If the shapes are not the same, or there are no elements.

    References
    ----------
    Boyd, Vandenberghe: "Convex Optimization", 2004, section 6.1: the l1-norm approximation.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import mae
    >>> loss, gradient = mae(np.array([1.0, 5.0]), np.array([1.0, 3.0]))
    >>> loss, gradient.tolist()
    (1.0, [0.0, 0.5])
    """
    error = _error(prediction, target)
    loss = float(np.abs(error).mean(dtype=np.float64))
    np.sign(error, out=error)
    error /= error.size
    return loss, error


def _error(prediction: Array, target: Array) -> Array:
    prediction = check.is_array("prediction", prediction)
    if prediction.size == 0:
        raise ValueError(f"prediction must have at least one element, not shape {prediction.shape}")
    target = check.matching("target", target, prediction.shape, prediction.dtype, "the prediction's")
    return np.asarray(prediction - target)  # an array for shape (), too
