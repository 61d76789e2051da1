"""What the LSTM and the simple RNN layers share: parameters in one buffer, initial weights, the layout of sequences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastlstm import _checks as check
from fastlstm import _core, _loops
from fastlstm._batches import Batch
from fastlstm._checks import Array
from fastlstm._core import Call, Cell, Weights

ALIGNMENT = 64
WORTH_ALIGNING = 1 << 14
WORTH_KEEPING = 1 << 18


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An uninitialised array; a large one begins at a multiple of 64 bytes, as vectors like it."""
    size = math.prod(shape) * dtype.itemsize
    if size < WORTH_ALIGNING:
        return np.empty(shape, dtype)
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


class Gradients:
    """What a layer's `backward` returns.

    Attributes
    ----------
    params : mapping of str to array
        dJ/d(parameter), with the keys and shapes of the layer's `params`: views into `flat`.
    flat : (n,) array
        All parameter gradients in one buffer, in the order of the layer's `flat`.
    x : array
        dJ/dx, shaped as x.
    state : array or tuple of array
        dJ/d(initial state), shaped as the state.
    """

    __slots__ = ("flat", "params", "state", "x")

    def __init__(self, flat: Array, params: Mapping[str, Array]) -> None:
        self.flat = flat
        self.params = params
        self.x: Array
        self.state: Any


class Layer:
    """One recurrent layer in one direction; `LSTM` and `RNN` add the cell."""

    params: Mapping[str, Array]
    flat: Array
    _kind: Cell
    _weights: Weights

    def __init__(
        self, input_size: int, hidden_size: int, *, batch_first: bool = False, dtype: DTypeLike = np.float32
    ) -> None:
        self.input_size = check.positive_int("input_size", input_size)
        self.hidden_size = check.positive_int("hidden_size", hidden_size)
        self.batch_first = bool(batch_first)
        self.dtype = check.float_dtype(dtype)
        self._allocate()

    # ---- parameters ----

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the parameters, in the order of the buffer."""
        raise NotImplementedError

    def _bind(self) -> None:
        """Take hold of the parameters' arrays, which never move."""
        raise NotImplementedError

    def _options(self) -> str:
        """The cell's own options, for `repr`."""
        raise NotImplementedError

    def _allocate(self) -> None:
        self.flat = empty((sum(math.prod(shape) for shape in self._shapes().values()),), self.dtype)
        self.params = self._views(self.flat)
        self._spaces: list[Array] = []
        self._sizes: dict[tuple[int, int, int], int] = {}
        self._bind()

    def _views(self, flat: Array) -> Mapping[str, Array]:
        """Names of the parameters to consecutive parts of `flat`."""
        views, start = {}, 0
        for name, shape in self._shapes().items():
            end = start + math.prod(shape)
            views[name] = flat[start:end].reshape(shape)
            start = end
        return MappingProxyType(views)

    def _initialise(self, seed: int | np.random.Generator | None, scale: float | None) -> None:
        bound = 1 / math.sqrt(self.hidden_size) if scale is None else scale
        self.flat[:] = np.random.default_rng(seed).uniform(-bound, bound, self.flat.size)

    def _gradients(self, out: Gradients | None, accumulate: bool) -> Gradients:
        """Where to write gradients: `out`, or new ones."""
        if out is None:
            if accumulate:
                raise ValueError("accumulate needs out, the gradients to add to")
            flat = empty(self.flat.shape, self.dtype)
            return Gradients(flat, self._views(flat))
        if not isinstance(out, Gradients):
            raise TypeError(f"out must be Gradients, not {type(out).__name__}")
        check.output("out.flat", out.flat, self.flat.shape, self.dtype, "the layer's flat")
        out.params = self._views(out.flat)
        return out

    # ---- memory ----

    def _borrow(self, T: int, B: int) -> Array | None:
        """Memory to compute in, kept between calls, since new memory costs the system a clearing.

        None where so little is needed that it costs nothing. Give it back with `_return`; calls at the same time get
        memory of their own.
        """
        key = T, B, _loops.unit_block(self.dtype.itemsize)
        size = self._sizes.get(key)
        if size is None:
            size = self._sizes[key] = _core.workspace_size(Call(self._kind, Batch(T, B, T * B)), self._weights)
        if size * self.dtype.itemsize < WORTH_KEEPING:
            return None
        try:
            space = self._spaces.pop()
        except IndexError:
            return np.empty(size, self.dtype)
        return space if space.size >= size else np.empty(size, self.dtype)

    def _return(self, space: Array | None) -> None:
        if space is not None and not self._spaces:
            self._spaces.append(space)

    def _like_x(self, out: Gradients | None, shape: tuple[int, ...]) -> Array:
        """Where to write dJ/dx, (T, B, I): that of `out` where it has this layout."""
        before = getattr(out, "x", None)
        if isinstance(before, np.ndarray) and before.shape == shape and before.flags.c_contiguous:
            return before
        return empty(shape, self.dtype)

    # ---- sequences and states ----

    def _time_major(self, name: str, sequence: Array, columns: int | None = None) -> Array:
        """A sequence as the kernels want it: (T, B, columns)."""
        columns = self.input_size if columns is None else columns
        axes = "(B, T, columns)" if self.batch_first else "(T, B, columns)"
        array = check.sized(name, sequence, 3, axes)
        array = check.matching(name, array, (*array.shape[:2], columns), self.dtype, axes)
        return np.ascontiguousarray(array.swapaxes(0, 1)) if self.batch_first else array

    def _as_given(self, sequence: Array) -> Array:
        """A (T, B, columns) array in the layout of the caller."""
        return np.ascontiguousarray(sequence.swapaxes(0, 1)) if self.batch_first else sequence

    def _state_in(self, name: str, state: Array | None, B: int) -> Array | None:
        """A state or its gradient (1, B, H) as (B, H)."""
        array = check.optional(name, state, (1, B, self.hidden_size), self.dtype, "(1, B, H)")
        return None if array is None else array[0]

    # ---- Python ----

    def __repr__(self) -> str:
        batch_first = ", batch_first=True" if self.batch_first else ""
        own = self._options()
        return f"{type(self).__name__}({self.input_size}, {self.hidden_size}, {own}{batch_first}, dtype={self.dtype})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "params" and not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._allocate()
        self.flat[:] = state["flat"]
