"""Losses for regression: each returns its value and its gradient with respect to the prediction."""

from __future__ import annotations

import math

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm.nn._elementwise import elementwise

__all__ = ["huber", "mae", "mse"]


def mse(prediction: Array, target: Array, mask: Array | None = None) -> tuple[float, Array]:
    r"""Return the mean squared error over the n elements that count.

    .. math::

        J = \frac{1}{n} \sum (\hat y - y)^2 \qquad \frac{dJ}{d \hat y} = \frac{2}{n} (\hat y - y)

    Parameters
    ----------
    prediction, target : array of float32 or float64
        Arrays of the same shape and dtype, with at least one element.
    mask : array of bool, optional
        Which elements count: shaped as the target, or as its leading axes, (T, B) for (T, B, O). An element that does
        not count may hold anything, and has gradient 0. Default: all elements count.

    Returns
    -------
    loss : float
        The mean, summed in float64.
    gradient : array
        dJ/d(prediction), shaped as the prediction.

    Raises
    ------
    TypeError
        If the dtypes are not the same, or not of floats, or that of the mask is not bool.
    ValueError
        If the shapes do not fit, or no element counts.

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
    >>> loss, gradient = mse(np.array([1.0, 5.0]), np.array([np.nan, 3.0]), mask=np.array([False, True]))
    >>> loss, gradient.tolist()
    (4.0, [0.0, 4.0])
    """
    return elementwise("squared", "prediction", prediction, target, mask)


def mae(prediction: Array, target: Array, mask: Array | None = None) -> tuple[float, Array]:
    r"""Return the mean absolute error over the n elements that count.

    .. math::

        J = \frac{1}{n} \sum |\hat y - y| \qquad \frac{dJ}{d \hat y} = \frac{1}{n} \operatorname{sign}(\hat y - y)

    At 0, where the absolute value has no derivative, the gradient is the subgradient 0: an exact prediction stays.

    Parameters
    ----------
    prediction, target : array of float32 or float64
        Arrays of the same shape and dtype, with at least one element.
    mask : array of bool, optional
        Which elements count: shaped as the target, or as its leading axes, (T, B) for (T, B, O). An element that does
        not count may hold anything, and has gradient 0. Default: all elements count.

    Returns
    -------
    loss : float
        The mean, summed in float64.
    gradient : array
        dJ/d(prediction), shaped as the prediction.

    Raises
    ------
    TypeError
        If the dtypes are not the same, or not of floats, or that of the mask is not bool.
    ValueError
        If the shapes do not fit, or no element counts.

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
    return elementwise("absolute", "prediction", prediction, target, mask)


def huber(prediction: Array, target: Array, mask: Array | None = None, *, delta: float = 1.0) -> tuple[float, Array]:
    r"""Return the mean of Huber's loss over the n elements that count: squared where small, absolute where large.

    With :math:`e = \hat y - y` and :math:`q = \min(|e|, \delta)`:

    .. math::

        J = \frac{1}{n} \sum q \left(|e| - \frac{q}{2}\right) \qquad
        \frac{dJ}{d \hat y} = \frac{1}{n} \min(\max(e, -\delta), \delta)

    which is :math:`e^2 / 2` up to :math:`\delta`, and a line of slope :math:`\delta` beyond.

    Parameters
    ----------
    prediction, target : array of float32 or float64
        Arrays of the same shape and dtype, with at least one element.
    mask : array of bool, optional
        Which elements count: shaped as the target, or as its leading axes, (T, B) for (T, B, O). An element that does
        not count may hold anything, and has gradient 0. Default: all elements count.
    delta : float
        :math:`\delta`, above 0 and finite.

    Returns
    -------
    loss : float
        The mean, summed in float64.
    gradient : array
        dJ/d(prediction), shaped as the prediction.

    Raises
    ------
    TypeError
        If the dtypes are not the same, or not of floats, or that of the mask is not bool, or `delta` is not a number.
    ValueError
        If the shapes do not fit, or no element counts, or `delta` is out of its range.

    References
    ----------
    Huber: "Robust Estimation of a Location Parameter", 1964.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import huber
    >>> loss, gradient = huber(np.array([1.5, 5.0]), np.array([1.0, 3.0]))
    >>> loss, gradient.tolist()
    (0.8125, [0.25, 0.5])
    """
    delta = check.above_zero("delta", delta)
    if delta == math.inf:
        raise ValueError("delta must be finite: mse has no end")
    return elementwise("huber", "prediction", prediction, target, mask, delta)
