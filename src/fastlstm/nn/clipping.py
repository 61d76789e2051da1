"""Clipping of exploding gradients, in place."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm._engine.threads import get_num_threads
from fastlstm.nn import _gradients

__all__ = ["clip_norm", "clip_value"]


def clip_norm(gradients: Array | Sequence[Array], threshold: float) -> float:
    r"""Shorten gradients whose norm is above a threshold, in place, keeping their direction.

    .. math::

        g \leftarrow g \frac{\theta}{\|g\|} \quad \text{if } \|g\| > \theta

    Parameters
    ----------
    gradients : array, or sequence of arrays
        C-contiguous, of float32 or float64, such as ``grads.flat``. Several arrays are taken as one long vector.
    threshold : float
        :math:`\theta`, above 0. With ``math.inf`` the norm is only measured.

    Returns
    -------
    norm : float
        The Euclidean norm before clipping, computed in float64. If it is infinite or NaN, there is no direction to
        keep: the gradients are left as they are, and the caller should skip the step.

    Raises
    ------
    TypeError
        If `gradients` are not arrays of floats, or `threshold` is not a number.
    ValueError
        If an array cannot be written to or overlaps another, or `threshold` is not above 0.

    References
    ----------
    Pascanu, Mikolov, Bengio: "On the difficulty of training recurrent neural networks", 2013, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import clip_norm
    >>> gradient = np.array([3.0, 4.0])
    >>> clip_norm(gradient, threshold=1)
    5.0
    >>> gradient.round(6).tolist()
    [0.6, 0.8]
    """
    arrays = _arrays(gradients)
    threshold, threads = check.above_zero("threshold", threshold), get_num_threads()
    norm = math.sqrt(sum(_gradients.sum_of_squares(array, threads) for array in arrays))
    if math.isfinite(norm) and norm > threshold:
        for array in arrays:
            _gradients.scale(array, threshold / norm, threads)
    return norm


def clip_value(gradients: Array | Sequence[Array], limit: float) -> None:
    r"""Limit each element of the gradients, in place.

    .. math::

        g_k \leftarrow \min(\max(g_k, -\lambda), \lambda)

    NaN stays NaN; infinities become the limit.

    Parameters
    ----------
    gradients : array, or sequence of arrays
        C-contiguous, of float32 or float64, such as ``grads.flat``.
    limit : float
        :math:`\lambda`, above 0.

    Raises
    ------
    TypeError
        If `gradients` are not arrays of floats, or `limit` is not a number.
    ValueError
        If an array cannot be written to or overlaps another, or `limit` is not above 0.

    References
    ----------
    Mikolov: "Statistical Language Models Based on Neural Networks", 2012, section 3.2.2.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import clip_value
    >>> gradient = np.array([3.0, -0.5, -7.0])
    >>> clip_value(gradient, limit=1)
    >>> gradient.tolist()
    [1.0, -0.5, -1.0]
    """
    arrays = _arrays(gradients)
    limit = check.above_zero("limit", limit)
    with np.errstate(over="ignore"):  # A limit too large for float32 becomes infinite, and limits nothing.
        for array in arrays:
            np.clip(array, -limit, limit, out=array)


def _arrays(gradients: Array | Sequence[Array]) -> list[Array]:
    """Return `gradients` as a list of arrays; raise unless they can be written to and do not overlap."""
    if isinstance(gradients, np.ndarray):
        named = {"gradients": gradients}
    elif isinstance(gradients, Sequence):
        named = {f"gradients[{k}]": array for k, array in enumerate(gradients)}
    else:
        raise TypeError(f"gradients must be an array or a sequence of arrays, not {type(gradients).__name__}")
    for name, value in named.items():
        array = check.is_array(name, value)
        check.output(name, array, array.shape, array.dtype, "its own")
    check.disjoint(named, {})
    return list(named.values())
