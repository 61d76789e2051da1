"""The densely connected layer (DCL), which turns the outputs of a recurrent layer into predictions."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import DTypeLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, empty
from fastlstm._cells.kernel import activate, differentiate
from fastlstm._engine.threads import get_num_threads
from fastlstm.layers.parameters import Gradients, draw
from fastlstm.nn import _gradients, _products
from fastlstm.nn.layer import Layer

__all__ = ["Dense", "DenseTape"]

Activation = Literal["identity", "tanh", "logistic", "relu"]


class DenseTape(NamedTuple):
    """The values that a forward pass stores for the backward pass. A tape may be used many times.

    It refers to h and y without copying them: like the weights, they must not change before `Dense.backward`.

    Attributes
    ----------
    h : (..., I) array
        The input.
    y : (..., O) array
        The output.
    """

    h: Array
    y: Array


class Dense(Layer):
    r"""A densely connected layer on the last axis.

    .. math::

        y &= g(o) \qquad o = c + V h \qquad \frac{dJ}{do} = g'(o) \frac{dJ}{dy} \\
        \frac{dJ}{dV} &= \sum \frac{dJ}{do} h^T \qquad
        \frac{dJ}{dc} = \sum \frac{dJ}{do} \qquad
        \frac{dJ}{dh} = V^T \frac{dJ}{do}

    with the sums over all leading axes.

    Parameters
    ----------
    input_size, output_size : int
        I inputs and O outputs.
    activation : {"identity", "tanh", "logistic", "relu"}
        g.
    dtype : float32 or float64
        The dtype of the parameters and of all arrays.
    seed : int or numpy.random.Generator, optional
        The source of the initial weights: uniform in :math:`\pm 1 / \sqrt{I}`.

    Attributes
    ----------
    params : mapping of str to array
        ``V`` (O, I) and ``c`` (O,). Write to them in place: ``dense.params["c"][:] = 0``.
    flat : (n,) array
        All parameters in one buffer, of which `params` are views. In a network they move into its buffer.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If a shape is wrong.

    References
    ----------
    Goodfellow, Bengio, Courville: "Deep Learning", 2016, equation 10.10; with g, section 6.3.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import Dense
    >>> dense = Dense(3, 2, seed=0)
    >>> h = np.ones((20, 4, 3), np.float32)
    >>> dense(h).shape
    (20, 4, 2)
    >>> y, tape = dense.forward(h)
    >>> grads = dense.backward(tape, dy=np.ones_like(y))
    >>> grads.params["V"].shape, grads.x.shape
    ((2, 3), (20, 4, 3))
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        activation: Activation = "identity",
        dtype: DTypeLike = np.float32,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        self.input_size = check.positive_int("input_size", input_size)
        self.output_size = check.positive_int("output_size", output_size)
        if activation not in get_args(Activation):
            raise ValueError(f"activation must be one of {', '.join(get_args(Activation))}, not {activation!r}")
        self.activation = activation
        super().__init__(dtype=dtype, seed=seed)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of the parameters."""
        return {"V": (self.output_size, self.input_size), "c": (self.output_size,)}

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw the initial parameters."""
        draw(rng, self.flat, 1 / math.sqrt(self.input_size))

    def __call__(self, h: Array) -> Array:
        """Return y = g(c + V h), without a tape.

        Parameters
        ----------
        h : (..., I) array

        Returns
        -------
        y : (..., O) array
        """
        return self.forward(h)[0]

    def forward(self, h: Array) -> tuple[Array, DenseTape]:
        """Run the layer as a call does, and return y and a tape for `backward`."""
        leading = check.is_array("h", h, self.dtype).shape[:-1]
        h = check.matching("h", h, (*leading, self.input_size), self.dtype, "(..., input_size)")
        y = empty((*leading, self.output_size), self.dtype)
        rows = y.reshape(-1, self.output_size)  # One large product is faster than one for each leading index.
        rows[:] = self.params["c"]
        _products.multiply(h.reshape(-1, self.input_size), self.params["V"].T, rows, get_num_threads(), add=True)
        if self.activation != "identity":
            activate(self.activation, y, y)
        return y, DenseTape(h, y)

    def backward(
        self, tape: DenseTape, dy: Array, *, out: Gradients | None = None, accumulate: bool = False
    ) -> Gradients:
        """Back-propagate through the layer.

        Parameters
        ----------
        tape : DenseTape
            The tape from `forward`; neither parameters nor inputs may have changed since. It is left as it was.
        dy : (..., O) array
            dJ/dy, shaped as y.
        out : Gradients, optional
            An earlier result, whose arrays are written to again.
        accumulate : bool
            Add the parameters' gradients to those in `out`, instead of overwriting them.

        Returns
        -------
        Gradients
            ``.params`` (the keys of `params`), ``.flat`` and ``.x``, which is dJ/dh; ``.state`` is None.
        """
        return self._back(tape, dy, (), out, accumulate, True)

    def _back(
        self, tape: Any, dy: Any, dstates: tuple[Any, ...], out: Gradients | None, accumulate: bool, to_x: bool
    ) -> Gradients:
        grads = self._gradients(out, accumulate)
        if not isinstance(tape, DenseTape):
            raise TypeError(f"tape must be a DenseTape from forward, not {type(tape).__name__}")
        lead = check.is_array("tape.h", tape.h, self.dtype).shape[:-1]
        h = check.matching("tape.h", tape.h, (*lead, self.input_size), self.dtype, "(..., input_size)")
        shape = (*lead, self.output_size)
        dy = check.matching("dy", dy, shape, self.dtype, "(..., output_size)")
        check.disjoint({"out.flat": grads.flat}, {"tape.h": h, "dy": dy, "the layer's flat": self.flat})
        if self.activation != "identity":
            y = check.matching("tape.y", tape.y, shape, self.dtype, "(..., output_size)")
            check.disjoint({"out.flat": grads.flat}, {"tape.y": y})
            given, dy = dy, empty(shape, self.dtype)
            differentiate(self.activation, y, given, dy)
        threads, do, dh = get_num_threads(), dy.reshape(-1, self.output_size), None
        if self._trainable:
            dV, dc, rows = grads.params["V"], grads.params["c"], np.array([len(do)], np.int64)
            _products.multiply(do.T, h.reshape(-1, self.input_size), dV, threads, add=accumulate)
            _gradients.sum_rows(dc[np.newaxis], do[:, np.newaxis], rows, threads, add=accumulate)
        if to_x:
            dh = empty(h.shape, self.dtype)
            _products.multiply(do, self.params["V"], dh.reshape(-1, self.input_size), threads)
        grads.x, grads.state = dh, None
        return grads

    def __repr__(self) -> str:
        activation = "" if self.activation == "identity" else f"activation={self.activation!r}, "
        return f"Dense({self.input_size}, {self.output_size}, {activation}dtype={self.dtype})"
