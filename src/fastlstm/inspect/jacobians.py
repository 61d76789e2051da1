"""Jacobians over many steps: how much a change at one step matters at a later one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastlstm._arrays.arrays import Array
from fastlstm._system.float_mode import all_as_in_kernels
from fastlstm.functions.lstm import PartialState, lstm_backward
from fastlstm.functions.rnn import rnn_backward
from fastlstm.inspect import _runs
from fastlstm.inspect._runs import after, index, no_zoneout, one_row
from fastlstm.layers.lstm import LSTM
from fastlstm.layers.rnn import RNN
from fastlstm.reference.activations import activation

__all__ = ["CellJacobians", "HiddenJacobians", "cell_jacobians", "hidden_jacobians"]


class CellJacobians(NamedTuple):
    """How c^t depends on the cell of every step k.

    Attributes
    ----------
    jacobians : (T, H, H) array
        dc^t/dc^k, total derivatives: row j, column m has dc^t_j / dc^k_m. Zero for steps that come after t.
    norms : (T,) array
        The spectral norms of the Jacobians, in float64.
    carousel : (T, H) array
        The constant error carousel alone: the diagonal of the product of diag(f^s), k < s <= t.
    carousel_norms : (T,) array
        The spectral norms of the carousel: its largest value at each step.
    """

    jacobians: Array
    norms: Array
    carousel: Array
    carousel_norms: Array


class HiddenJacobians(NamedTuple):
    """How h^t depends on the hidden units of every step k.

    Attributes
    ----------
    jacobians : (T, H, H) array
        dh^t/dh^k: row j, column m has dh^t_j / dh^k_m. Zero for steps that come after t.
    norms : (T,) array
        The spectral norms of the Jacobians, in float64.
    bounds : (T,) array
        Upper bounds of the norms: ||R||^(t-k) times the product of ||diag(g'(a^s))||, k < s <= t.
    """

    jacobians: Array
    norms: Array
    bounds: Array


@all_as_in_kernels
def cell_jacobians(
    network: LSTM,
    x: Array,
    t: int = -1,
    state: PartialState | None = None,
    *,
    row: int = 0,
    layer: int = 0,
    direction: int = 0,
) -> CellJacobians:
    r"""Return the exact Jacobians :math:`dc^t / dc^k` for all k, and the part of the forget gates alone.

    .. math::

        \frac{dc^t}{dc^{t-1}} = \operatorname{diag}(f^t) + \text{(paths through gates, output and peepholes)}

    Row j is the result of a backward pass from a one-hot gradient that arrives at :math:`c^t_j`; H copies of the
    sequence run side by side, one for each j.

    Parameters
    ----------
    network : LSTM
        An LSTM of any variant, without zoneout. It runs as for inference.
    x, state, layer, direction
        The same as for `flows`.
    t : int
        The step of the cell; numbers below 0 count from the end.
    row : int
        The row of the batch.

    Returns
    -------
    CellJacobians

    Raises
    ------
    TypeError
        If `network` is no `LSTM`, or an argument is not an array of the right dtype.
    ValueError
        If a shape is wrong, there is no such step, row, layer or direction, or the network has zoneout.

    References
    ----------
    Hochreiter, Schmidhuber: "Long Short-Term Memory", 1997. Gers, Schmidhuber, Cummins: "Learning to Forget", 2000.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> from fastlstm.inspect import cell_jacobians
    >>> lstm = fastlstm.LSTM(3, 8, seed=0)
    >>> result = cell_jacobians(lstm, np.ones((20, 4, 3), np.float32))
    >>> result.jacobians.shape, bool(np.all(result.jacobians[-1] == np.eye(8)))
    ((20, 8, 8), True)
    """
    _runs.is_network(network, LSTM)
    no_zoneout(network, "Jacobians")
    H = network.hidden_size
    run = _runs.run(network, *one_row(network, x, state, row, H), layer, direction)
    t = index("t", t, run.shape[0])
    dc = np.zeros((run.shape[0], H, H), network.dtype)
    dc[t] = np.eye(H)
    W, R, p, G, proj, norm = run.weights().values()
    deltas = lstm_backward(run.cell_tape, W, R, p, None, G=G, proj=proj, norm=norm, dc=dc, deltas=True).deltas
    assert deltas is not None
    forget = run.gates()["f"][:, 0]
    steps = after(t, run.shape[0], run.direction)
    carousel = np.zeros_like(forget)
    carousel[steps] = _products(forget[steps])
    largest = np.abs(carousel).max(axis=1).astype(np.float64)
    return CellJacobians(deltas.c, _spectral(deltas.c), carousel, largest)


@all_as_in_kernels
def hidden_jacobians(
    network: RNN,
    x: Array,
    t: int = -1,
    state: Array | None = None,
    *,
    row: int = 0,
    layer: int = 0,
    direction: int = 0,
) -> HiddenJacobians:
    r"""Return the exact Jacobians :math:`dh^t / dh^k` of a simple RNN for all k, and an upper bound of their norms.

    .. math::

        \frac{dh^t}{dh^k} &= \prod_{k < s \le t} \operatorname{diag}(g'(a^s)) R
            = \operatorname{diag}(g'(a^t)) R \cdots \operatorname{diag}(g'(a^{k+1})) R \\
        \left\| \frac{dh^t}{dh^k} \right\| &\le \|R\|^{t-k} \prod_{k < s \le t} \|\operatorname{diag}(g'(a^s))\|

    The latest step is on the left. Texts that write :math:`R^T \operatorname{diag}(g'(a^s))` have the transpose of a
    factor, and the opposite order. The bound may be far above the norms: these can vanish while it grows.

    Parameters
    ----------
    network : RNN
        A layer without zoneout. It runs as for inference.
    x, state, t, row, layer, direction
        The same as for `cell_jacobians`.

    Returns
    -------
    HiddenJacobians

    Raises
    ------
    TypeError
        If `network` is no `RNN`, or an argument is not an array of the right dtype.
    ValueError
        If a shape is wrong, there is no such step, row, layer or direction, or the network has zoneout.

    References
    ----------
    Pascanu, Mikolov, Bengio: "On the difficulty of training recurrent neural networks", 2013, section 2.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> from fastlstm.inspect import hidden_jacobians
    >>> rnn = fastlstm.RNN(3, 8, seed=0)
    >>> result = hidden_jacobians(rnn, np.ones((20, 4, 3), np.float32))
    >>> result.jacobians.shape, bool(np.all(result.norms <= result.bounds * 1.0001))
    ((20, 8, 8), True)
    """
    _runs.is_network(network, RNN)
    no_zoneout(network, "Jacobians")
    H = network.hidden_size
    run = _runs.run(network, *one_row(network, x, state, row, H), layer, direction)
    t = index("t", t, run.shape[0])
    dh = np.zeros((run.shape[0], H, H), network.dtype)
    dh[t] = np.eye(H)
    W, R, *_ = run.weights().values()
    deltas = rnn_backward(run.cell_tape, W, R, dh, None, deltas=True).deltas
    assert deltas is not None
    steps = after(t, run.shape[0], run.direction)
    _, slope = activation(network.nonlinearity)
    slopes = slope(run.cell_tape.h[steps, 0].astype(np.float64)).max(axis=1)
    bounds = np.zeros(run.shape[0])
    bounds[steps] = _products(slopes * np.linalg.norm(R.astype(np.float64), 2))
    return HiddenJacobians(deltas.h, _spectral(deltas.h), bounds)


def _products(factors: Array) -> Array:
    """Return for each step from t back the product of the factors of the steps after it."""
    return np.asarray(np.cumprod(np.concatenate([np.ones_like(factors[:1]), factors[:-1]]), axis=0))


def _spectral(jacobians: Array) -> Array:
    """Return the spectral norm of each Jacobian, in float64."""
    return np.asarray(np.linalg.norm(jacobians.astype(np.float64), 2, axis=(1, 2)))
