"""Streams: many sequences, one time step at a time, in memory that never changes."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, kind_of, moved, zeros
from fastlstm._arrays.buffers import copy_all
from fastlstm._arrays.libraries import DeviceKind
from fastlstm._engine.threads import checked_num_threads
from fastlstm.layers.frozen import Frozen
from fastlstm.layers.layer import Layer
from fastlstm.layers.steps import MANY_ROWS, FixedStep

__all__ = ["Stream"]


class Stream:
    """The state of B independent sequences in a network, which advance one step at a time.

    All memory is allocated once, and again only where the network's parameters move to the buffer of a larger network.
    A copy has a state of its own: `copy.copy` shares the network, `copy.deepcopy` and `pickle` copy it too.

    Parameters
    ----------
    network : LSTM, GRU, RNN or Frozen
        In one direction. Changes of its parameters take effect at the next step, wherever they have moved.
    B : int
        How many sequences there are.
    num_threads : int, optional
        At most this many threads.

    Attributes
    ----------
    network : LSTM, GRU, RNN or Frozen
        The network that runs.
    num_threads : int or None
        May be set.
    y : (B, H) array
        The outputs of the last step, in the same memory after each step.
    state : (h, c), (h, c, g) or h
        The state after the last step, each (layers, B, H), g of FGR (layers, B, 3H), as the network's calls take it;
        may be written to.

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

    __slots__ = (
        "__weakref__",
        "_apart",
        "_fixed",
        "_network",
        "_next",
        "_shape",
        "num_threads",
        "state",
        "y",
    )

    def __init__(self, network: Layer[Any, Any] | Frozen, B: int = 1, *, num_threads: int | None = None) -> None:
        layers = network._layers if isinstance(network, Frozen) else network
        if not isinstance(layers, Layer):
            raise TypeError(f"network must be an LSTM, a GRU, an RNN or Frozen, not {type(network).__name__}")
        checked_num_threads(num_threads)
        self._network, self.num_threads = network, num_threads
        B = check.positive_int("B", B)
        layers.check_steps()
        state = layers.zero_state(B)
        self.state: Any = layers._cell.public(state)
        # The last state whose parts are known not to overlap.
        self._apart = self.state
        self.y = zeros((B, layers.output_size), layers._array_kind)
        self._shape = B, layers.input_size
        # With many rows it pays to pack the weights anew; those of a Frozen network are packed.
        many = B >= MANY_ROWS
        direct = layers._one_by_one and (not many or isinstance(network, Frozen))
        self._fixed = None if direct else FixedStep(layers, B)
        # An interrupt may stop a step of many rows, or come between two layers; the state must then be as before it.
        self._next = layers.zero_state(B) if direct and (many or layers.num_layers > 1) else None

    @property
    def network(self) -> Layer[Any, Any] | Frozen:
        """Return the network that runs."""
        return self._network

    def __getstate__(self) -> dict[str, Any]:
        return {"network": self.network, "num_threads": self.num_threads, "state": self.state, "y": self.y}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["network"], len(state["y"]), num_threads=state["num_threads"])  # type: ignore[misc]
        self.state, self.y = state["state"], state["y"]

    def __copy__(self) -> Self:
        return copy.deepcopy(self, {id(self.network): self.network})

    def step(self, x_t: Array) -> Array:
        """Advance all sequences by one step.

        Parameters
        ----------
        x_t : (B, I) array

        Returns
        -------
        y : (B, H) array
            `y`, which the next step overwrites.

        Raises
        ------
        KeyboardInterrupt, or what a signal handler raises
            The state is then as before the step or, if the step was complete, as after it; y is undefined.
        """
        if np.shape(x_t) != self._shape:
            check.matching("x_t", x_t, self._shape, kind_of(self.y), "(B, I)")
        if self._fixed is None and self._next is None:
            self._network.step(x_t, self.state, (self.y, self.state), num_threads=self.num_threads)
            return self.y
        state = self.state if isinstance(self.state, tuple) else (self.state,)
        if self.state is not self._apart:
            self._check_apart(state)
        if self._fixed is not None:
            self._fixed.run(x_t, state, self.y, checked_num_threads(self.num_threads))
        elif self._next is not None:
            after: Any = self._next if isinstance(self.state, tuple) else self._next[0]
            self._network.step(x_t, self.state, (self.y, after), num_threads=self.num_threads)
            copy_all(state, self._next)
        return self.y

    def _check_apart(self, state: tuple[Array, ...]) -> None:
        """Raise unless the parts of a state that the caller has set can be written to and do not overlap."""
        named = {f"state {name}": part for name, part in zip("hcg", state, strict=False)}
        for name, part in named.items():
            array = check.is_array(name, part, anywhere=True)
            check.output(name, array, tuple(array.shape), kind_of(array), "its own")
        check.disjoint(named, {})
        self._apart = self.state

    def reset(self, rows: ArrayLike | None = None, state: Any = None) -> None:
        """Begin some sequences anew.

        Parameters
        ----------
        rows : indices or (B,) array of bool, optional
            The sequences. Default: all.
        state : (h, c), (h, c, g) or h, optional
            The initial state, each (layers, number of rows, H), g of FGR (layers, number of rows, 3H). Parts that
            are not given are zero.

        Raises
        ------
        IndexError
            If there is no such row.
        ValueError
            If `state` does not have the parts of the stream's state.
        """
        at: Any = slice(None) if rows is None else np.asarray(rows, dtype=None if np.size(rows) else np.intp)
        arrays = self.state if isinstance(self.state, tuple) else (self.state,)
        given = (None,) * len(arrays) if state is None else state if isinstance(state, (tuple, list)) else (state,)
        if len(given) == 2 and len(arrays) == 3:
            given = *given, None  # The gates of FGR are not given.
        if len(given) != len(arrays):
            raise ValueError(
                f"state must have {check.counted(len(arrays), 'part')}, as the stream's has, not {len(given)}"
            )
        if (
            rows is not None
            and at.dtype != np.bool_
            and at.size
            and not -len(self.y) <= at.min() <= at.max() < len(self.y)
        ):
            raise IndexError(f"rows must be from {-len(self.y)} to {len(self.y) - 1}, not {at.min()} to {at.max()}")
        kind = kind_of(self.y)
        if isinstance(kind, DeviceKind) and rows is not None:
            at = moved(np.flatnonzero(at) if at.dtype == np.bool_ else at, kind.of("int64"))
        parts = []
        for name, array, first in zip("hcg", arrays, given, strict=False):
            shape = tuple(array[:, at].shape)
            if isinstance(kind, DeviceKind):
                part = (
                    zeros(shape, kind_of(array))
                    if first is None
                    else check.is_array(f"state {name}", first, kind_of(array))
                )
            else:
                part = np.zeros(shape, array.dtype) if first is None else np.asarray(first)
            if part.shape != shape:
                raise ValueError(
                    f"state {name} must have shape (layers, rows, units) = {shape}, not {tuple(part.shape)}"
                )
            parts.append(part)
        for array, part in zip(arrays, parts, strict=True):
            array[:, at] = part
