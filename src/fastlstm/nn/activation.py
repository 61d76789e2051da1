"""An activation function as a layer of its own, above any other: the softmax of a classifier, or what `Dense` has."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from fastlstm._arrays.arrays import Array, empty
from fastlstm._cells.kernel import activate, differentiate
from fastlstm._system.float_mode import as_in_kernels
from fastlstm.layers.network_layer import Signal
from fastlstm.nn.classification_losses import softmax
from fastlstm.nn.layer import Layer

__all__ = ["Activation"]

Function = Literal["softmax", "tanh", "logistic", "relu"]


class Activation(Layer):
    r"""A layer without parameters that computes a function of each value, or the softmax of the last axis.

    .. math::

        y = g(x) \quad \frac{dJ}{dx} = g'(x) \odot \frac{dJ}{dy} \qquad \text{or} \qquad
        y_k = \frac{e^{x_k}}{\sum_j e^{x_j}} \quad
        \frac{dJ}{dx} = y \odot \left(\frac{dJ}{dy} - \sum_j y_j \frac{dJ}{dy_j}\right)

    A network that is trained with `softmax_cross_entropy` or `logistic_loss` gives logits, and needs no such layer at
    its end: it is for networks from elsewhere, whose outputs are probabilities.

    Parameters
    ----------
    function : {"softmax", "tanh", "logistic", "relu"}
        What the layer computes.

    Attributes
    ----------
    params : mapping
        Empty.
    flat : (0,) array

    Raises
    ------
    TypeError
        If an argument is not an array of floats.
    ValueError
        If there is no such function, a shape is wrong, or a softmax has no values.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm import nn
    >>> network = nn.Sequential(nn.Dense(3, 2, seed=0), nn.Activation("softmax"))
    >>> network(np.ones((5, 4, 3), np.float32))[0].sum(axis=-1).round(6).max()
    np.float32(1.0)
    """

    def __init__(self, function: Function) -> None:
        if function not in get_args(Function):
            raise ValueError(f"function must be one of {', '.join(get_args(Function))}, not {function!r}")
        self.function = function
        super().__init__()

    def output_for(self, below: Signal) -> Signal:
        """Return `below`: the outputs of two directions stay side by side."""
        return below

    def compute(self, x: Array) -> tuple[Array, Array]:
        """Return y, twice: it is also what the derivative is computed from."""
        if self.function == "softmax":
            y = softmax(x)
        else:
            y = empty(x.shape, x.dtype)
            activate(self.function, x, y)
        return y, y

    def gradients(self, kept: Array, dy: Array) -> tuple[Array, dict[str, Any]]:
        """Return dJ/dx."""
        if self.function == "softmax":
            with as_in_kernels():
                return kept * (dy - np.sum(kept * dy, axis=-1, keepdims=True)), {}
        dx = empty(dy.shape, dy.dtype)
        differentiate(self.function, kept, dy, dx)
        return dx, {}
