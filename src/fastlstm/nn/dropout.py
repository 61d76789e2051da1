"""Dropout between layers. Dropout inside an LSTM is an option of the LSTM."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, empty
from fastlstm._system.float_mode import as_in_kernels
from fastlstm.layers import masks
from fastlstm.layers.network_layer import Signal
from fastlstm.layers.parameters import Gradients
from fastlstm.nn.layer import Layer

__all__ = ["Dropout", "DropoutTape"]


class DropoutTape(NamedTuple):
    """The values that a forward pass stores for the backward pass. A tape may be used many times.

    Attributes
    ----------
    mask : array
        The factors of x: 0 or 1 / (1 - rate).
    """

    mask: Array


class Dropout(Layer):
    r"""A layer without parameters that drops values at random in training, so that no unit relies on another.

    .. math::

        y = \frac{b}{1 - r} x \qquad \frac{dJ}{dx} = \frac{b}{1 - r} \frac{dJ}{dy}

    where b, drawn for each value of x, is 0 with probability r and otherwise 1. The remaining values are scaled up
    (inverted dropout), so that the mean stays the same and inference is the identity.

    Parameters
    ----------
    rate : float
        r, from 0 to below 1.

    Attributes
    ----------
    params : mapping
        Empty.
    flat : (0,) array

    Raises
    ------
    TypeError
        If an argument is not an array of floats, or `rng` is not a generator.
    ValueError
        If the rate is out of its range, or a shape is wrong.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov: "Dropout: A Simple Way to Prevent Neural Networks from
    Overfitting", 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import Dropout
    >>> dropout = Dropout(0.5)
    >>> x = np.ones((2, 4))
    >>> y, tape = dropout.forward(x, rng=np.random.default_rng(0))
    >>> y.tolist()
    [[2.0, 2.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    >>> dropout(x) is x
    True
    """

    needs = ("rng",)

    def __init__(self, rate: float) -> None:
        self.rate = check.rate("rate", rate)
        super().__init__()

    def output_for(self, below: Signal) -> Signal:
        """Return `below`: the output is like the input."""
        return below

    def __call__(self, x: Array) -> Array:
        """Return x itself, without dropping anything.

        Parameters
        ----------
        x : array of float32 or float64
        """
        return check.is_array("x", x)

    def forward(self, x: Array, *, rng: np.random.Generator) -> tuple[Array, DropoutTape]:
        """Drop values, and return y and a tape for `backward`.

        Parameters
        ----------
        x : array of float32 or float64
            An array of any shape.
        rng : numpy.random.Generator
            The source of the mask.
        """
        x = check.is_array("x", x)
        mask = masks.kept(self.rate, x.shape, x.dtype, check.generator("rng", rng))
        return _product(x, mask), DropoutTape(mask)

    def backward(
        self, tape: DropoutTape, dy: Array, *, out: Gradients | None = None, accumulate: bool = False
    ) -> Gradients:
        """Back-propagate through the layer.

        Parameters
        ----------
        tape : DropoutTape
            The tape from `forward`, which is left as it was.
        dy : array
            dJ/dy, shaped as y.
        out, accumulate
            The same as for other layers; there are no gradients of parameters to write or add.

        Returns
        -------
        Gradients
            ``.x``, which is dJ/dx; ``.params`` and ``.flat`` are empty, ``.state`` is None.
        """
        grads = self._gradients(out, accumulate)
        if not isinstance(tape, DropoutTape):
            raise TypeError(f"tape must be a DropoutTape from forward, not {type(tape).__name__}")
        mask = check.is_array("tape.mask", tape.mask)
        dy = check.matching("dy", dy, mask.shape, mask.dtype, "that of x")
        grads.x, grads.state = _product(dy, mask), None
        return grads

    def __repr__(self) -> str:
        return f"Dropout({self.rate})"


def _product(x: Array, mask: Array) -> Array:
    """Return x times the mask, in new memory."""
    with as_in_kernels():
        return np.multiply(x, mask, out=empty(x.shape, x.dtype))
