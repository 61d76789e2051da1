"""The simple (Elman) RNN as layers: its arguments and parameters. `functions/rnn.py` has the equations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastlstm._arrays.arrays import Array
from fastlstm._cells import RNNCell, rnn_cell
from fastlstm._cells.rnn import Nonlinearity
from fastlstm._engine.tapes import RNNTape
from fastlstm.layers.layer import Layer

__all__ = ["RNN"]


class RNN(Layer[Array, Array]):
    r"""Layers of simple (Elman) recurrent units, :math:`h^t = g(W x^t + R h^{t-1} + b)`.

    Threads may share them as they may an `LSTM`.

    Parameters
    ----------
    input_size, hidden_size : int
        I inputs and H hidden units.
    num_layers, bidirectional, batch_first, dropout, recurrent_dropout, drop_connect
        As for `LSTM`.
    nonlinearity : "tanh", "relu", "logistic", "identity", "hard_logistic" or ("hard_logistic", alpha, beta)
        g, as for `rnn_forward`.
    zoneout : float
        How often a unit stays as it was.
    dtype : float32 or float64
        Of the parameters and all arrays.
    seed : int or numpy.random.Generator, optional
        Where the initial weights come from: uniform in :math:`\pm` `init_scale`.
    init_scale : float, optional
        Default :math:`1 / \sqrt{H}`.
    batch_invariant : bool
        As for `LSTM`.

    Attributes
    ----------
    params : mapping of str to array
        For layer 0 ``W_l0`` (H, I), ``R_l0`` (H, H), ``b_l0`` (H,); the second direction's names end in ``_reverse``.
        Write to them in place.
    flat : (n,) array
        All parameters in one buffer, of which `params` are views. In a network they move to the network's.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> rnn = fastlstm.RNN(3, 8, nonlinearity="relu", seed=0)
    >>> x = np.random.default_rng(0).normal(size=(20, 4, 3)).astype(np.float32)
    >>> y, h, tape = rnn.forward(x)
    >>> grads = rnn.backward(tape, dy=np.ones_like(y))
    >>> y.shape, h.shape, grads.params["W_l0"].shape
    ((20, 4, 8), (1, 4, 8), (8, 3))
    """

    _tape_type = RNNTape

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: Nonlinearity = "tanh",
        bidirectional: bool = False,
        batch_first: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        drop_connect: float = 0.0,
        zoneout: float = 0.0,
        dtype: DTypeLike = np.float32,
        seed: int | np.random.Generator | None = None,
        init_scale: float | None = None,
        batch_invariant: bool = False,
    ) -> None:
        self.nonlinearity = rnn_cell(nonlinearity).nonlinearity
        super().__init__(
            input_size, hidden_size, num_layers, bidirectional=bidirectional, batch_first=batch_first, dropout=dropout,
            recurrent_dropout=recurrent_dropout, drop_connect=drop_connect, zoneout=(zoneout, 0.0), proj_size=0,
            dtype=dtype, batch_invariant=batch_invariant,
        )  # fmt: skip
        self._start_weights(seed, init_scale)

    def _find_cell(self) -> RNNCell:
        return rnn_cell(self.nonlinearity)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that the layer was made with; of zoneout one rate."""
        return super().arguments() | {"zoneout": self.zoneout[0]}

    def _options(self) -> str:
        return f"nonlinearity={self.nonlinearity!r}"
