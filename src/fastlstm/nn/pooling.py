"""Layers that turn the outputs of all steps into one vector for each sequence: the last outputs, or the mean."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm._engine.threads import get_num_threads
from fastlstm._system.float_mode import as_in_kernels
from fastlstm.layers.network_layer import Signal
from fastlstm.layers.parameters import Gradients
from fastlstm.nn import _gradients
from fastlstm.nn.layer import Layer

__all__ = ["Last", "Mean", "PoolingTape"]


class PoolingTape(NamedTuple):
    """The values that a forward pass stores for the backward pass: the shape of y, the lengths, the directions."""

    shape: tuple[int, int, int]
    lengths: NDArray[np.int64]
    directions: int


class _Pooling(Layer):
    """A layer without parameters from (T, B, P) to (B, P)."""

    takes_sequences = True

    def __init__(self) -> None:
        super().__init__()

    def output_for(self, below: Signal) -> Signal:
        """Return the output of the layer: one vector for each row, as long as those of the steps."""
        return Signal(below.features, False)

    def _checked_y(self, y: Array, lengths: ArrayLike | None, directions: int) -> tuple[Array, PoolingTape]:
        """Return y and its tape, checked."""
        y = check.sized("y", y, 3, "(T, B, P)")
        return y, self._tape(y.shape, lengths, directions)

    @staticmethod
    def _tape(shape: tuple[int, ...], lengths: ArrayLike | None, directions: int, prefix: str = "") -> PoolingTape:
        """Return a tape of these values; raise unless they go together."""
        T, B, P = shape
        ends = check.lengths(lengths, T, B, name=f"{prefix}lengths")
        if check.integer(f"{prefix}directions", directions) not in (1, 2) or P % directions:
            raise ValueError(f"{prefix}directions must be 1 or 2 and divide P = {P}, not {directions}")
        return PoolingTape((T, B, P), ends, directions)

    def _arriving(
        self, tape: PoolingTape, dy: Array, out: Gradients | None, accumulate: bool
    ) -> tuple[PoolingTape, Array, Array, Gradients]:
        """Return the checked tape, dJ/d(output), zeros for dJ/dy, and the gradients whose x is those zeros."""
        if not isinstance(tape, PoolingTape):
            raise TypeError(f"tape must be a PoolingTape from forward, not {type(tape).__name__}")
        shape = tuple(check.count("tape.shape", n) for n in check.items("tape.shape", tape.shape, "(T, B, P)", 3))
        tape = self._tape(shape, np.asarray(tape.lengths), tape.directions, "tape.")
        dy = check.is_array("dy", dy)
        dy = check.matching("dy", dy, shape[1:], dy.dtype, "(B, P)")
        grads = self._gradients(out, accumulate)
        grads.x, grads.state = np.zeros(shape, dy.dtype), None
        return tape, dy, grads.x, grads

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Last(_Pooling):
    r"""The outputs at the end of each sequence, when the network has seen all of it.

    .. math::

        o = y^{T_b} \quad \text{and, of the other direction,} \quad y^1

    for a row with :math:`T_b` steps. A sequence without steps gives zeros.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If a shape is wrong, or a length is not from 0 to T.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import Last
    >>> y = np.arange(6.0).reshape(3, 2, 1)  # time, batch, outputs
    >>> Last()(y, lengths=[3, 2]).tolist()
    [[4.0], [3.0]]
    """

    needs = ("lengths", "directions")

    def __call__(self, y: Array, lengths: ArrayLike | None = None, *, directions: int = 1) -> Array:
        """Return each row's last outputs, without a tape.

        Parameters
        ----------
        y : (T, B, P) array
            The outputs of a recurrent layer.
        lengths : (B,) array of int, optional
            The number of steps of each row. Default: all T.
        directions : int
            2 if the layer was bidirectional: the second half of P ends at the first step. A `Sequential` knows this.

        Returns
        -------
        (B, P) array
        """
        return self.forward(y, lengths, directions=directions)[0]

    def forward(self, y: Array, lengths: ArrayLike | None = None, *, directions: int = 1) -> tuple[Array, PoolingTape]:
        """Run the layer as a call does, and return the outputs and a tape for `backward`."""
        y, tape = self._checked_y(y, lengths, directions)
        T, B, P = tape.shape
        last = np.zeros((B, P), y.dtype)
        some, ends, half = self._ends(tape)
        last[some, :half] = y[ends, some, :half]
        last[some, half:] = y[0, some, half:] if T else 0
        return last, tape

    def backward(
        self, tape: PoolingTape, dy: Array, *, out: Gradients | None = None, accumulate: bool = False
    ) -> Gradients:
        """Back-propagate: the result's `x` is dJ/dy of all steps, (T, B, P), from dJ/d(last outputs) (B, P)."""
        tape, dy, dx, grads = self._arriving(tape, dy, out, accumulate)
        some, ends, half = self._ends(tape)
        dx[ends, some, :half] = dy[some, :half]
        if len(dx):
            dx[0, some, half:] = dy[some, half:]
        return grads

    @staticmethod
    def _ends(tape: PoolingTape) -> tuple[NDArray[np.intp], NDArray[np.int64], int]:
        """Return the rows that have steps, the last step of each, and the column where the second direction begins."""
        some = np.flatnonzero(tape.lengths)
        return some, tape.lengths[some] - 1, tape.shape[2] // tape.directions


class Mean(_Pooling):
    r"""The mean of the outputs over the steps of each sequence.

    .. math::

        o = \frac{1}{T_b} \sum_{t \le T_b} y^t

    for a row with :math:`T_b` steps. A sequence without steps gives zeros; values past an end are not read.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If a shape is wrong, or a length is not from 0 to T.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import Mean
    >>> y = np.arange(6.0).reshape(3, 2, 1)  # time, batch, outputs
    >>> Mean()(y, lengths=[3, 2]).tolist()
    [[2.0], [2.0]]
    """

    needs = ("lengths",)

    def __call__(self, y: Array, lengths: ArrayLike | None = None) -> Array:
        """Return each row's mean outputs, without a tape.

        Parameters
        ----------
        y : (T, B, P) array
            The outputs of a layer.
        lengths : (B,) array of int, optional
            The number of steps of each row. Default: all T.

        Returns
        -------
        (B, P) array
        """
        return self.forward(y, lengths)[0]

    def forward(self, y: Array, lengths: ArrayLike | None = None) -> tuple[Array, PoolingTape]:
        """Run the layer as a call does, and return the means and a tape for `backward`."""
        y, tape = self._checked_y(y, lengths, 1)
        mean = np.empty(tape.shape[1:], y.dtype)
        y = check.matching("y", y, tape.shape, y.dtype, "(T, B, P)")
        _gradients.sum_rows(mean, y, tape.lengths, get_num_threads(), mean=True)
        return mean, tape

    def backward(
        self, tape: PoolingTape, dy: Array, *, out: Gradients | None = None, accumulate: bool = False
    ) -> Gradients:
        """Back-propagate: the result's `x` is dJ/dy of all steps, (T, B, P), from dJ/d(means) (B, P)."""
        tape, dy, dx, grads = self._arriving(tape, dy, out, accumulate)
        within = np.arange(tape.shape[0])[:, np.newaxis] < tape.lengths
        with as_in_kernels():
            share = dy / np.maximum(tape.lengths, 1)[:, np.newaxis].astype(dy.dtype)
        np.copyto(dx, share, where=within[..., np.newaxis])
        return grads
