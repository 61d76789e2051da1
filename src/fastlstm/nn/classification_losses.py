"""Losses for classification: each returns its value and its gradient with respect to the logits."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, empty
from fastlstm._engine.threads import get_num_threads
from fastlstm.nn import _losses
from fastlstm.nn._elementwise import NothingCountsError, counted, elementwise

# The largest quotient of a class weight and that of a target: label smoothing's products with it fit a float.
LARGEST_WEIGHT = 2.0**100

__all__ = ["logistic_loss", "softmax", "softmax_cross_entropy"]


def logistic_loss(logits: Array, target: Array, mask: Array | None = None) -> tuple[float, Array]:
    r"""Return the mean logistic loss, or binary cross-entropy, over the n elements that count.

    .. math::

        J &= \frac{1}{n} \sum -y \log p - (1 - y) \log(1 - p)
           = \frac{1}{n} \sum \max(a, 0) - a y + \log(1 + e^{-|a|}) \qquad p = \frac{1}{1 + e^{-a}} \\
        \frac{dJ}{da} &= \frac{1}{n} (p - y)

    for logits a. The second form neither overflows nor loses digits, however large a is.

    Parameters
    ----------
    logits, target : array of float32 or float64
        Arrays of the same shape and dtype, with at least one element. Targets are from 0 to 1.
    mask : array of bool, optional
        Which elements count: shaped as the target, or as its leading axes, (T, B) for (T, B, O). An element that does
        not count may hold anything, and has gradient 0. Default: all elements count.

    Returns
    -------
    loss : float
        The mean, summed in float64.
    gradient : array
        dJ/d(logits), shaped as the logits.

    Raises
    ------
    TypeError
        If the dtypes are not the same, or not of floats, or that of the mask is not bool.
    ValueError
        If the shapes do not fit, or no element counts, or a target that counts is not from 0 to 1.

    References
    ----------
    Goodfellow, Bengio, Courville: "Deep Learning", 2016, section 6.2.2.2.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import logistic_loss
    >>> loss, gradient = logistic_loss(np.array([0.0, 1000.0]), np.array([1.0, 1.0]))
    >>> round(loss, 6), gradient.tolist()
    (0.346574, [-0.25, 0.0])
    """
    return elementwise("logistic", "logits", logits, target, mask)


def softmax_cross_entropy(
    logits: Array,
    target: NDArray[np.integer],
    mask: Array | None = None,
    *,
    class_weights: Array | None = None,
    label_smoothing: float = 0.0,
) -> tuple[float, Array]:
    r"""Return the mean cross-entropy of the softmax over the K classes of the last axis.

    .. math::

        p_k &= \frac{e^{a_k}}{\sum_j e^{a_j}} \qquad
        q_k = (1 - \epsilon) [k = y] + \frac{\epsilon}{K} \qquad Z = \sum w_y \\
        J &= \frac{1}{Z} \sum \sum_k -w_k q_k \log p_k \qquad
        \frac{dJ}{da_k} = \frac{1}{Z} \left(p_k \sum_j w_j q_j - w_k q_k\right)

    for logits a and class y, with the outer sums over the targets that count. Without weights, Z is their number. The
    values are those of PyTorch's ``cross_entropy``.

    Parameters
    ----------
    logits : (..., K) array of float32 or float64
        The logits of at least one target. The logit -inf makes a class impossible.
    target : (...) array of int
        The classes, from 0 to K - 1.
    mask : array of bool, optional
        Which targets count: shaped as the target, or as its leading axes. A target that does not count may be anything,
        and its logits have gradient 0. Default: all targets count.
    class_weights : (K,) array, optional
        :math:`w_k`, at least 0, of the logits' dtype. Default: 1. Only the quotients of the weights matter.
    label_smoothing : float
        :math:`\epsilon`, at least 0 and below 1.

    Returns
    -------
    loss : float
        The mean, summed in float64.
    gradient : array
        dJ/d(logits), shaped as the logits.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype, or `label_smoothing` is not a number.
    ValueError
        If the shapes do not fit, a class that counts or a number is out of its range, or nothing counts.

    References
    ----------
    Goodfellow, Bengio, Courville: "Deep Learning", 2016, section 6.2.2.3; Szegedy, Vanhoucke, Ioffe, Shlens, Wojna:
    "Rethinking the Inception Architecture for Computer Vision", 2016, section 7 (label smoothing).

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import softmax_cross_entropy
    >>> logits = np.log(np.array([[0.25, 0.75], [0.5, 0.5]]))
    >>> loss, gradient = softmax_cross_entropy(logits, np.array([1, 0]))
    >>> round(loss, 6), gradient.round(6).tolist()
    (0.490415, [[0.125, -0.125], [-0.25, 0.25]])
    """
    logits = _logits(logits)
    if logits.size == 0:
        raise ValueError(f"logits must have at least one target, not shape {logits.shape}")
    smoothing, shape = check.within("label_smoothing", label_smoothing, 1), logits.shape[:-1]
    classes = check.ids("target", target)
    if classes.shape != shape:
        raise ValueError(f"target must have the shape of the logits' leading axes, {shape}, not {classes.shape}")
    weights = check.optional("class_weights", class_weights, logits.shape[-1:], logits.dtype, "(K,)")
    if weights is not None and not (np.all(weights >= 0) and np.all(np.isfinite(weights))):
        raise ValueError("class_weights must be at least 0 and finite")
    seen, _ = counted(mask, shape)
    if seen is not None and seen.ndim < len(shape):
        aligned = seen.reshape(seen.shape + (1,) * (len(shape) - seen.ndim))
        seen = np.require(np.broadcast_to(aligned, shape), requirements=["C"])
    gradient, threads = empty(logits.shape, logits.dtype), get_num_threads()
    loss, most = _losses.softmax_cross_entropy(logits, classes, seen, weights, smoothing, gradient, threads)
    if weights is None:
        return loss, gradient
    if most == 0:
        raise NothingCountsError("class_weights must not be 0 for all targets that count")
    if smoothing and float(weights.max()) > LARGEST_WEIGHT * most:
        raise ValueError(
            f"class_weights must be at most {LARGEST_WEIGHT:.3g} times as large as the largest of the targets that "
            f"count, {most}, if label_smoothing is above 0, not {weights.max()}"
        )
    if (
        not _losses.LEAST_WEIGHT <= most <= 1 / _losses.LEAST_WEIGHT
    ):  # Weights may be scaled, since only their quotients matter.
        with np.errstate(over="ignore", under="ignore"):
            weights = np.ldexp(weights, -math.frexp(most)[1])
        loss, _ = _losses.softmax_cross_entropy(logits, classes, seen, weights, smoothing, gradient, threads)
    return loss, gradient


def softmax(logits: Array) -> Array:
    r"""Return the probabilities of the K classes of the last axis.

    .. math::

        p_k = \frac{e^{a_k}}{\sum_j e^{a_j}}

    Parameters
    ----------
    logits : (..., K) array of float32 or float64
        The logits. The logit -inf makes a class impossible.

    Returns
    -------
    (..., K) array
        The probabilities, from 0 to 1, with a sum of 1 along the last axis.

    Raises
    ------
    TypeError
        If `logits` is not an array of floats.
    ValueError
        If there is no class.

    References
    ----------
    Goodfellow, Bengio, Courville: "Deep Learning", 2016, equation 6.29.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import softmax
    >>> softmax(np.array([0.0, 0.0, -np.inf])).tolist()
    [0.5, 0.5, 0.0]
    """
    logits = _logits(logits)
    probabilities = empty(logits.shape, logits.dtype)
    _losses.softmax(logits, probabilities, get_num_threads())
    return probabilities


def _logits(value: Array) -> Array:
    """Return the logits as a contiguous array; raise unless they are an array with at least one class."""
    array = check.is_array("logits", value)
    if array.ndim == 0 or array.shape[-1] == 0:
        raise ValueError(f"logits must have shape (..., K) with at least one class, not {array.shape}")
    return check.matching("logits", array, array.shape, array.dtype, "(..., K)")
