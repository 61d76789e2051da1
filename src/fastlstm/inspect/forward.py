"""Forward: the gates, the cell and the output of every step."""

from __future__ import annotations

from typing import Any, NamedTuple, overload

from fastlstm._arrays.arrays import Array
from fastlstm.inspect import _runs
from fastlstm.layers.gru import GRU
from fastlstm.layers.lstm import LSTM
from fastlstm.layers.rnn import RNN

__all__ = ["GRUFlows", "LSTMFlows", "RNNFlows", "flows"]


class LSTMFlows(NamedTuple):
    """All values of an LSTM's equations, for every step.

    Attributes
    ----------
    i, f, z, o : (T, B, H) arrays
        The gates and the block input, activated. A gate that a variant lacks has the value in its equations instead: 1,
        for CIFG f = 1 - i.
    c : (T, B, H) array
        The cells c^t.
    y : (T, B, P) array
        The outputs y^t.
    c_prev, y_prev : (T, B, H) and (T, B, P) arrays
        c^{t-1} and y^{t-1} as each step saw them, the initial state included.
    """

    i: Array
    f: Array
    z: Array
    o: Array
    c: Array
    y: Array
    c_prev: Array
    y_prev: Array


class GRUFlows(NamedTuple):
    """All values of a GRU's equations, for every step.

    Attributes
    ----------
    r, z, n : (T, B, H) arrays
        The gates and the candidate, activated.
    h : (T, B, H) array
        The hidden units h^t.
    h_prev : (T, B, H) array
        h^{t-1} as each step saw it, the initial state included.
    """

    r: Array
    z: Array
    n: Array
    h: Array
    h_prev: Array


class RNNFlows(NamedTuple):
    """All values of a simple RNN's equation, for every step.

    Attributes
    ----------
    h : (T, B, H) array
        The hidden units h^t.
    h_prev : (T, B, H) array
        h^{t-1} as each step saw it, the initial state included.
    """

    h: Array
    h_prev: Array


@overload
def flows(network: LSTM, x: Array, state: Any = None, *, layer: int = 0, direction: int = 0) -> LSTMFlows: ...


@overload
def flows(network: GRU, x: Array, state: Any = None, *, layer: int = 0, direction: int = 0) -> GRUFlows: ...


@overload
def flows(network: RNN, x: Array, state: Any = None, *, layer: int = 0, direction: int = 0) -> RNNFlows: ...


def flows(
    network: LSTM | GRU | RNN, x: Array, state: Any = None, *, layer: int = 0, direction: int = 0
) -> LSTMFlows | GRUFlows | RNNFlows:
    r"""Return the gates, the cell and the output of every step, for a GRU and a simple RNN the hidden units.

    .. math::

        c^t &= z^t \odot i^t + c^{t-1} \odot f^t \qquad y^t = h(c^t) \odot o^t \\
        h^t &= (1 - z^t) \odot n^t + z^t \odot h^{t-1} \\
        h^t &= g(W x^t + R h^{t-1} + b)

    With layer normalisation, y^t is :math:`h(g_c \odot n(c^t) + b_c) \odot o^t`.

    Parameters
    ----------
    network : LSTM, GRU or RNN
        A layer of any variant, with any options. It runs as for inference.
    x : (T, B, I) array
        The inputs; (B, T, I) with `batch_first`.
    state : optional
        The initial state, as for a call of the network.
    layer, direction : int
        The layer and the direction to inspect.

    Returns
    -------
    LSTMFlows, GRUFlows or RNNFlows
        Time-major arrays of the network's dtype.

    Raises
    ------
    TypeError
        If `network` is none of these, or an argument is not an array of the right dtype.
    ValueError
        If a shape is wrong, or there is no such layer or direction.

    References
    ----------
    Greff, Srivastava, Koutnik, Steunebrink, Schmidhuber: "LSTM: A Search Space Odyssey", 2017.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> from fastlstm.inspect import flows
    >>> lstm = fastlstm.LSTM(3, 8, dtype=np.float64, seed=0)
    >>> result = flows(lstm, np.random.default_rng(0).normal(size=(20, 4, 3)))
    >>> result.f.shape
    (20, 4, 8)
    >>> bool(np.allclose(result.c, result.z * result.i + result.c_prev * result.f))
    True
    """
    run = _runs.run(network, x, state, layer, direction)
    tape = run.cell_tape
    if isinstance(network, GRU):
        return GRUFlows(tape.gate("r"), tape.gate("z"), tape.gate("n"), run.outputs(), tape.h_prev)
    if isinstance(network, RNN):
        return RNNFlows(run.outputs(), tape.h_prev)
    c_prev = tape.c_prev
    if c_prev is None:
        c_prev = tape.c[1:] if run.direction else tape.c[:-1]
    y_prev = tape.y_prev[..., : network.output_size]  # The gates of FGR follow in the same rows.
    return LSTMFlows(**run.gates(), c=tape.cells(), y=run.outputs(), c_prev=c_prev, y_prev=y_prev)
