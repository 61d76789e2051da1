"""Residual connections: what layers compute is added to their input."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlstm._arrays.arrays import Array
from fastlstm._system.float_mode import as_in_kernels
from fastlstm.layers.network_layer import NetworkLayer, Signal
from fastlstm.layers.parameters import Gradients
from fastlstm.nn.sequential import Sequential

__all__ = ["Residual"]


class Residual(Sequential):
    r"""Layers one above the other, whose output is added to their input.

    .. math::

        y = x + f(x) \qquad \frac{dJ}{dx} = \frac{dJ}{dy} + \left(\frac{df}{dx}\right)^T \frac{dJ}{dy}

    where f are the layers. In all else it is a `Sequential`, recurrent layers with their states and lengths included.
    Where a row has ended, y is x.

    Parameters
    ----------
    *layers, batch_first
        The same as for a `Sequential`. The layers must give an array of the shape that they take.

    Attributes
    ----------
    layers, params, flat
        The same as of a `Sequential`.

    Raises
    ------
    TypeError
        If something is not a layer, layers differ in dtype, or x is not an array of floats.
    ValueError
        If there is no layer, a layer is in a network already, or sizes do not fit.

    References
    ----------
    He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", 2016.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> from fastlstm import nn
    >>> blocks = [nn.Residual(nn.LayerNorm(8), fastlstm.LSTM(8, 8, seed=k)) for k in range(3)]
    >>> network = nn.Sequential(nn.Dense(3, 8, seed=3), *blocks, nn.Dense(8, 2, seed=4))
    >>> x = np.random.default_rng(0).normal(size=(20, 4, 3)).astype(np.float32)
    >>> y, state, tape = network.forward(x, lengths=[20, 7, 13, 1])
    >>> len(state), network.backward(tape, np.ones_like(y)).x.shape
    (3, (20, 4, 3))
    """

    def __init__(self, *layers: NetworkLayer, batch_first: bool = False) -> None:
        super().__init__(*layers, batch_first=batch_first)

    def _check_below(self, below: Signal, name: str) -> None:
        """Raise ValueError unless the layers take the values from below, and give as many."""
        super()._check_below(below, name)
        name, shape = name or "Residual", self._step_shape
        if shape == ():
            raise ValueError(f"{name} must not begin with a layer of ids, to which nothing can be added: {self!r}")
        if super().output_for(below._replace(is_sequence=True)).is_sequence is False:
            raise ValueError(f"{name} must give sequences where it takes them, as with no Last or Mean: {self!r}")
        taken = below.features if shape is None else shape[0]
        given = super().output_for(below._replace(features=taken)).features
        if None not in (taken, given) and taken != given:
            raise ValueError(f"{name} must give as many values as it takes, {taken}, not {given}: {self!r}")

    def output_for(self, below: Signal) -> Signal:
        """Return the output of the layers; it has two directions where x has or the layers give them."""
        y = super().output_for(below)
        return y._replace(directions=max(y.directions, below.directions))

    def _run_layers(self, x: Any, context: dict[str, Any], tapes: list[Any] | None) -> tuple[Any, tuple[Any, ...]]:
        if not isinstance(x, np.ndarray):
            raise TypeError(f"x must be a NumPy array in a Residual, not {type(x).__name__}")
        y, last = super()._run_layers(x, context, tapes)
        if y.shape != x.shape:
            raise ValueError(f"a Residual must give an array of the shape of x, {x.shape}, not {y.shape}: {self!r}")
        with as_in_kernels():
            return x + y, last

    def _back(
        self, tape: Any, dy: Any, dstates: tuple[Any, ...], out: Gradients | None, accumulate: bool, to_x: bool
    ) -> Gradients:
        grads = super()._back(tape, dy, dstates, out, accumulate, to_x)
        if to_x and dy is not None:
            dx: Array = grads.x
            with as_in_kernels():
                grads.x = dx + dy
        return grads
