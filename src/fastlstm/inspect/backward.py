"""Backward: the delta of every variable at every step, and the norms of the gradient."""

from __future__ import annotations

from typing import Any, NamedTuple, cast, overload

import numpy as np

from fastlstm._arrays.arrays import Array
from fastlstm._system.float_mode import as_in_kernels
from fastlstm.functions.gru import GRUDeltas
from fastlstm.functions.lstm import LSTMDeltas
from fastlstm.functions.rnn import RNNDeltas
from fastlstm.inspect import _runs
from fastlstm.layers.gru import GRU
from fastlstm.layers.lstm import LSTM
from fastlstm.layers.rnn import RNN

__all__ = ["GradientNorms", "deltas", "gradient_norms"]


class GradientNorms(NamedTuple):
    """The norms of the gradient at every step, for each row of the batch.

    Attributes
    ----------
    y : (T, B) array
        ||dJ/dy^t||, for a GRU and a simple RNN ||dJ/dh^t||.
    c : (T, B) array or None
        ||dJ/dc^t||; None for a GRU and a simple RNN.
    """

    y: Array
    c: Array | None


@overload
def deltas(
    network: LSTM, x: Array, dy: Array | None = None, state: Any = None, *, layer: int = 0, direction: int = 0
) -> LSTMDeltas: ...


@overload
def deltas(
    network: GRU, x: Array, dy: Array | None = None, state: Any = None, *, layer: int = 0, direction: int = 0
) -> GRUDeltas: ...


@overload
def deltas(
    network: RNN, x: Array, dy: Array | None = None, state: Any = None, *, layer: int = 0, direction: int = 0
) -> RNNDeltas: ...


def deltas(
    network: LSTM | GRU | RNN,
    x: Array,
    dy: Array | None = None,
    state: Any = None,
    *,
    layer: int = 0,
    direction: int = 0,
) -> LSTMDeltas | GRUDeltas | RNNDeltas:
    r"""Return the deltas :math:`\delta y^t, \delta c^t, \delta\bar{i}^t, \ldots` of every variable at every step.

    These are total derivatives, :math:`dJ/dy^t` and so on, over all paths from the variable to J. The equations are
    those of `lstm_backward`, `gru_backward` and `rnn_backward`.

    Parameters
    ----------
    network : LSTM, GRU or RNN
        A layer with any options. It runs as for inference.
    x, state, layer, direction
        The same as for `flows`.
    dy : array, optional
        dJ/dy, shaped as the network's output. Default: J is the mean of the outputs of the last step, scaled so
        that the gradient arriving there has norm 1. The last step of the reverse direction is step 0.

    Returns
    -------
    LSTMDeltas, GRUDeltas or RNNDeltas
        (T, B, H) arrays: i, f, z, o (r, z, n for a GRU, a for a simple RNN), with respect to the values before
        activation, which have a bar in the equations; c; y (h for a GRU and a simple RNN).

    Raises
    ------
    TypeError
        If `network` is none of these, or an argument is not an array of the right dtype.
    ValueError
        If a shape is wrong, or there is no such layer or direction.

    References
    ----------
    Greff, Srivastava, Koutnik, Steunebrink, Schmidhuber: "LSTM: A Search Space Odyssey", 2017, appendix A.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> from fastlstm.inspect import deltas
    >>> lstm = fastlstm.LSTM(3, 8, seed=0)
    >>> result = deltas(lstm, np.ones((20, 4, 3), np.float32))
    >>> result.f.shape, [round(float(np.linalg.norm(result.y[t, 0])), 3) for t in (19, 0)]
    ((20, 4, 8), [1.0, 0.004])
    """
    run = _runs.run(network, x, state, layer, direction)
    if dy is None:
        dy, P = np.zeros_like(run.y), network.output_size
        last = dy.swapaxes(0, 1) if network.batch_first else dy  # a view
        if len(last):
            last[0 if run.direction else -1, :, run.direction * P :][:, :P] = P**-0.5
    result = cast(list[Any], network.backward(run.tape, dy, deltas=True).deltas)[run.k]
    return cast(LSTMDeltas | GRUDeltas | RNNDeltas, result)


def gradient_norms(
    network: LSTM | GRU | RNN,
    x: Array,
    dy: Array | None = None,
    state: Any = None,
    *,
    layer: int = 0,
    direction: int = 0,
) -> GradientNorms:
    r"""Return the norms :math:`\|dJ/dy^t\|` and :math:`\|dJ/dc^t\|` at every step, which show if it vanishes.

    Parameters
    ----------
    network, x, dy, state, layer, direction
        The same as for `deltas`.

    Returns
    -------
    GradientNorms
        (T, B) arrays, in float64.

    Raises
    ------
    TypeError, ValueError
        The same as by `deltas`.

    References
    ----------
    Bengio, Simard, Frasconi: "Learning long-term dependencies with gradient descent is difficult", 1994.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> from fastlstm.inspect import gradient_norms
    >>> rnn = fastlstm.RNN(3, 8, seed=0)
    >>> norms = gradient_norms(rnn, np.ones((100, 1, 3), np.float32)).y[:, 0]
    >>> bool(norms[0] < 1e-6 * norms[-1])
    True
    """
    result = deltas(network, x, dy, state, layer=layer, direction=direction)
    if isinstance(result, LSTMDeltas):
        return GradientNorms(_norms(result.y), _norms(result.c))
    return GradientNorms(_norms(result.h), None)


def _norms(array: Array) -> Array:
    """Return norms over the last axis, in float64: squares of small float32 values would vanish in float32."""
    with as_in_kernels():
        return np.asarray(np.linalg.norm(array.astype(np.float64), axis=-1))
