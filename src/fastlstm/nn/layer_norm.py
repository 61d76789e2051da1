"""Layer normalisation: the values of each step get the same mean and variance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, empty
from fastlstm._engine.threads import get_num_threads
from fastlstm.layers.network_layer import Signal
from fastlstm.nn import _norm
from fastlstm.nn.layer import Layer

__all__ = ["LayerNorm"]


class LayerNorm(Layer):
    r"""Layer normalisation on the last axis: the values of each step are centred and scaled by their own statistics.

    .. math::

        \mu &= \frac{1}{n} \sum_k x_k \qquad \sigma^2 = \frac{1}{n} \sum_k (x_k - \mu)^2 \qquad
        \hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \qquad y = g \odot \hat x + b \\
        \frac{dJ}{d\hat x} &= g \odot \frac{dJ}{dy} \qquad
        \frac{dJ}{dx} = \frac{1}{\sqrt{\sigma^2 + \epsilon}} \left( \frac{dJ}{d\hat x}
        - \overline{\frac{dJ}{d\hat x}} - \hat x \odot \overline{\hat x \odot \frac{dJ}{d\hat x}} \right) \\
        \frac{dJ}{dg} &= \sum \hat x \odot \frac{dJ}{dy} \qquad \frac{dJ}{db} = \sum \frac{dJ}{dy}

    with bars for means over the last axis and the sums over all others. Where the values of a step are all the
    same, y is b.

    Parameters
    ----------
    features : int
        n, the length of the last axis.
    epsilon : float
        :math:`\epsilon`, above 0.
    dtype : float32 or float64
        The dtype of the parameters and of all arrays.

    Attributes
    ----------
    params : mapping of str to array
        ``g`` (n,), the gain, at first ones, and ``b`` (n,), the bias, at first zeros. Write to them in place.
    flat : (2 n,) array
        All parameters in one buffer, of which `params` are views. In a network they move into its buffer.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If a shape is wrong, or `epsilon` is not above 0 and finite.

    References
    ----------
    Ba, Kiros, Hinton: "Layer Normalization", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import LayerNorm
    >>> norm = LayerNorm(4, dtype=np.float64)
    >>> x = np.array([[1, 2, 3, 4], [7, 7, 7, 7]], np.float64)
    >>> norm(x).round(2).tolist()
    [[-1.34, -0.45, 0.45, 1.34], [0.0, 0.0, 0.0, 0.0]]
    """

    def __init__(self, features: int, epsilon: float = 1e-5, *, dtype: DTypeLike = np.float32) -> None:
        self.features = self.input_size = self.output_size = check.positive_int("features", features)
        self.epsilon = check.above_zero("epsilon", epsilon)
        if math.isinf(self.epsilon):
            raise ValueError("epsilon must be finite")
        super().__init__(dtype=dtype)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of the gain and the bias."""
        return {"g": (self.features,), "b": (self.features,)}

    def initialise(self, rng: np.random.Generator) -> None:
        """Set the gain to ones."""
        self.params["g"][:] = 1

    def output_for(self, below: Signal) -> Signal:
        """Return `below`: the outputs of two directions stay side by side."""
        return below._replace(features=self.features)

    def compute(self, x: Array) -> tuple[Array, Any]:
        """Return y, and x with what its rows are normalised by."""
        rows, y = x.reshape(-1, self.features), empty(x.shape, self.dtype)
        mean, inverse = (empty((len(rows),), self.dtype) for _ in range(2))
        g, b = self.params["g"], self.params["b"]
        _norm.forward(rows, g, b, y.reshape(rows.shape), mean, inverse, self.epsilon, get_num_threads())
        return y, (rows, mean, inverse)

    def gradients(self, kept: Any, dy: Array) -> tuple[Array, dict[str, Array]]:
        """Return dJ/dx, dJ/dg and dJ/db."""
        rows, mean, inverse = kept
        dx = empty(dy.shape, self.dtype)
        sums = _norm.backward(
            rows, self.params["g"], mean, inverse, dy.reshape(rows.shape), dx.reshape(rows.shape), self.trainable,
            get_num_threads(),
        )  # fmt: skip
        return dx, {} if sums is None else dict(zip("gb", sums.astype(self.dtype), strict=True))
