"""Streams: many sequences, one time step at a time, in memory that never changes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastlstm import _checks as check
from fastlstm._checks import Array
from fastlstm.frozen import Frozen
from fastlstm.lstm import LSTM
from fastlstm.rnn import RNN

__all__ = ["Stream"]


class Stream:
    """The state of B independent sequences in a network, which advance one step at a time.

    All memory is allocated here, once.

    Parameters
    ----------
    network : LSTM, RNN or Frozen
        In one direction. Changes of its parameters take effect at the next step.
    B : int
        How many sequences there are.
    num_threads : int, optional
        At most this many threads.

    Attributes
    ----------
    y : (B, H) array
        The outputs of the last step: the same memory after each.
    state : (h, c) or h
        The state after it, each (layers, B, H), as the network's calls take it; may be written to.

    Raises
    ------
    TypeError, ValueError
        If the network cannot run step by step.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> lstm = fastlstm.LSTM(2, 4, num_layers=3, seed=0)
    >>> stream = fastlstm.Stream(lstm, B=1000)
    >>> y = stream.step(np.ones((1000, 2), np.float32))
    >>> stream.reset([3, 17])
    >>> y.shape, bool(stream.state[0][:, 3].any()), bool(stream.state[0][:, 4].any())
    ((1000, 4), False, True)
    """

    def __init__(self, network: LSTM | RNN | Frozen, B: int = 1, *, num_threads: int | None = None) -> None:
        layers = network.layers if isinstance(network, Frozen) else network
        if not isinstance(layers, (LSTM, RNN)):
            raise TypeError(f"network must be an LSTM, an RNN or Frozen, not {type(network).__name__}")
        self.network, self.num_threads = network, num_threads
        B, L, dtype = check.positive_int("B", B), layers.num_layers, layers.dtype
        h = np.zeros((L, B, layers.output_size), dtype)
        self.state: Any = (h, np.zeros((L, B, layers.hidden_size), dtype)) if isinstance(layers, LSTM) else h
        self.y = np.zeros((B, layers.output_size), dtype)
        layers.check_steps()

    def step(self, x_t: Array) -> Array:
        """Advance all sequences by one step.

        Parameters
        ----------
        x_t : (B, I) array

        Returns
        -------
        y : (B, H) array
            `y`, which the next step overwrites.
        """
        self.network.step(x_t, self.state, (self.y, self.state), num_threads=self.num_threads)
        return self.y

    def reset(self, rows: ArrayLike | None = None, state: Any = None) -> None:
        """Begin some sequences anew.

        Parameters
        ----------
        rows : indices or (B,) array of bool, optional
            Which ones. Default: all.
        state : (h, c) or h, optional
            The initial state, each (layers, number of rows, H). Default: zeros.
        """
        at = slice(None) if rows is None else np.asarray(rows, dtype=None if np.size(rows) else np.intp)
        arrays = self.state if isinstance(self.state, tuple) else (self.state,)
        given = (0,) * len(arrays) if state is None else state if isinstance(state, tuple) else (state,)
        for array, first in zip(arrays, given, strict=True):
            array[:, at] = first
