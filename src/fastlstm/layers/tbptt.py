"""Truncated back-propagation through time, over chunks that carry their state."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, concatenate, take
from fastlstm.layers.layer import Layer
from fastlstm.layers.parameters import Gradients

__all__ = ["Chunk", "truncated_bptt"]


class Chunk:
    """Some steps of long sequences, from which `backward` back-propagates.

    Attributes
    ----------
    start, end : int
        The first step, and the one after the last.
    y : (end - start, B, H) array
        The outputs of the steps; (B, end - start, H) with `batch_first`.
    state : (h, c), (h, c, g) or h
        The state after the steps.
    """

    def __init__(
        self, network: Layer[Any, Any], start: int, end: int, y: Array, state: Any, pieces: list[tuple[int, int, Any]],
        num_threads: int | None,
    ) -> None:  # fmt: skip
        self.start, self.end, self.y, self.state = start, end, y, state
        self._network, self._pieces, self._num_threads = network, pieces, num_threads

    def backward(self, dy: Array | None, *, out: Gradients | None = None, accumulate: bool = False) -> Gradients:
        """Back-propagate from this chunk's outputs through the last k2 steps.

        Parameters
        ----------
        dy : array or None
            dJ/dy, shaped as y.
        out, accumulate
            As for `LSTM.backward`.

        Returns
        -------
        Gradients
            `x` is the gradient of the last k2 inputs, or of all where there are fewer; `state` is the gradient of the
            state before them.
        """
        network, dstate, dxs = self._network, None, []
        axis = 1 if network.batch_first else 0
        if dy is not None and np.shape(dy) != self.y.shape:
            raise ValueError(f"dy must have the shape of y, {self.y.shape}, not {np.shape(dy)}")
        grads = out
        for start, end, tape in reversed(self._pieces):
            part = None
            if dy is not None and start >= self.start:
                part = take(dy, range(start - self.start, end - self.start), axis)
            grads = network.backward(
                tape, part, dstate, out=grads, accumulate=accumulate, num_threads=self._num_threads
            )
            dstate, accumulate = grads.state, True
            dxs.append(grads.x)
            grads.x = None  # The next piece must write to memory of its own.
        assert grads is not None
        grads.x = concatenate(dxs[::-1], axis)
        return grads


def truncated_bptt(
    network: Layer[Any, Any],
    x: Array,
    k1: int,
    k2: int | None = None,
    state: Any = None,
    *,
    lengths: ArrayLike | None = None,
    reset: ArrayLike | None = None,
    rng: np.random.Generator | None = None,
    num_threads: int | None = None,
) -> Iterator[Chunk]:
    """Run a network over long sequences in chunks of k1 steps, each to be back-propagated through k2 steps.

    The state is carried from chunk to chunk; gradients reach k2 steps back from a chunk's end (Williams and Peng 1990).
    With ``k2 = k1``, the default, they stay within the chunk. Parameters may be changed between chunks: the tapes of
    earlier steps are used as they are.

    Parameters
    ----------
    network : LSTM, GRU or RNN
        In one direction.
    x : (T, B, I) array
        (B, T, I) with the network's `batch_first`.
    k1, k2 : int
        1 <= k1 <= k2. Calls run as many steps as the greatest common divisor of both: it is fast if k2 is a multiple
        of k1.
    state : (h, c), (h, c, g) or h, optional
        The initial state. Default: zeros.
    lengths, rng, num_threads
        As for `LSTM.forward`; masks are drawn for each run of steps.
    reset : (T, B) array of bool, optional
        The steps, of all T, with which a new recording begins in a row: the state before them becomes zero.

    Yields
    ------
    Chunk
        `y`, and `backward(dy)`.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> lstm = fastlstm.LSTM(3, 8, seed=0)
    >>> x = np.random.default_rng(0).normal(size=(1000, 4, 3)).astype(np.float32)
    >>> for chunk in fastlstm.truncated_bptt(lstm, x, k1=100, k2=200):
    ...     grads = chunk.backward(dy=np.ones_like(chunk.y))
    >>> chunk.start, chunk.end, grads.x.shape
    (900, 1000, (200, 4, 3))
    """
    k1 = check.positive_int("k1", k1)
    k2 = k1 if k2 is None else check.positive_int("k2", k2)
    if k2 < k1:
        raise ValueError(f"k2 must be at least k1 = {k1}, not {k2}")
    if not isinstance(network, Layer):
        raise TypeError(f"network must be an LSTM, a GRU or an RNN, not {type(network).__name__}")
    if network.bidirectional:
        raise ValueError("network must have one direction: the other would have to begin at the last step")
    axis = 1 if network.batch_first else 0
    shape = check.sized("x", x, 3, "(B, T, I)" if network.batch_first else "(T, B, I)", anywhere=True).shape
    T, B = shape[axis], shape[1 - axis]
    if reset is not None and np.shape(reset) != (T, B):
        raise ValueError(f"reset must have shape (T, B) = ({T}, {B}), not {np.shape(reset)}")
    return _chunks(network, x, T, k1, k2, state, lengths, reset, rng, num_threads)


def _chunks(
    network: Layer[Any, Any], x: Array, T: int, k1: int, k2: int, state: Any, lengths: ArrayLike | None,
    reset: ArrayLike | None, rng: np.random.Generator | None, num_threads: int | None,
) -> Iterator[Chunk]:  # fmt: skip
    """Yield the chunks; a function apart, so that wrong arguments are refused at once, not at the first chunk."""
    axis = 1 if network.batch_first else 0
    piece = math.gcd(k1, k2)
    kept: deque[tuple[int, int, Any]] = deque(maxlen=k2 // piece)
    ends = None if lengths is None else np.asarray(lengths)
    # Each call begins with the state that is carried, so that a recording can only begin with zeros.
    flags = None if reset is None else np.asarray(reset)
    start, outputs = 0, []
    for t in range(0, T, piece):
        end = min(t + piece, T)
        y, state, tape = network.forward(
            take(x, range(t, end), axis), state, None if ends is None else np.clip(ends - t, 0, end - t),
            reset=None if flags is None else flags[t:end], reset_to="zero", rng=rng, num_threads=num_threads,
        )  # fmt: skip
        kept.append((t, end, tape))
        outputs.append(y)
        if end - start == k1 or end == T:
            yield Chunk(network, start, end, concatenate(outputs, axis), state, list(kept), num_threads)
            start, outputs = end, []
