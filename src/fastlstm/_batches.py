"""Batches of sequences of different lengths: how their rows lie in memory, and the options that go with each step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlstm import _checks as check
from fastlstm._checks import Array


@dataclass(frozen=True)
class Batch:
    """T steps of at most B rows, `count` in all. `offsets` is where each step's rows begin; None if each has B.

    Where it is `invariant`, no row's result may depend on how many others there are.
    """

    T: int
    B: int
    count: int
    offsets: NDArray[np.int64] | None = None
    invariant: bool = False


def batch_of(T: int, B: int, lengths: Lengths | None, invariant: bool) -> Batch:
    """A call's batch."""
    return Batch(T, B, T * B, None, invariant) if lengths is None else replace(lengths.batch, invariant=invariant)


class Lengths:
    """A batch whose sequences end at different steps. The kernels see it longest first, without the rows past an end.

    Attributes
    ----------
    order : (B,) array
        The caller's rows, longest first.
    index : (count,) array
        For each of the kernels' rows, the row of the caller's (T B, ...) array.
    """

    def __init__(self, lengths: ArrayLike, T: int, B: int) -> None:
        given = np.asarray(lengths)
        if given.dtype.kind not in "iu" and given.size:
            raise TypeError(f"lengths must be integers, not {given.dtype}")
        if given.shape != (B,):
            raise ValueError(f"lengths must have shape (B,) = ({B},), not {given.shape}")
        if B and (given.min() < 0 or given.max() > T):
            raise ValueError(f"lengths must be from 0 to T = {T}, not {given.min()} to {given.max()}")
        self.shape = (T, B)
        self.order = np.argsort(-given.astype(np.int64), kind="stable")
        sizes = B - np.searchsorted(np.sort(given), np.arange(T), side="right") if B else np.zeros(T, np.int64)
        offsets = np.zeros(T + 1, np.int64)
        np.cumsum(sizes, out=offsets[1:])
        count = int(offsets[T])
        self.batch = Batch(T, B, count, offsets)
        step = np.repeat(np.arange(T), sizes)
        self.index = step * B + self.order[np.arange(count) - offsets[step]]

    def pack(self, array: Array) -> Array:
        """(T, B, ...) of the caller's as the kernels' (count, ...)."""
        T, B = self.shape
        packed: Array = array.reshape(T * B, *array.shape[2:])[self.index]
        return packed

    def pad(self, rows: Array) -> Array:
        """The kernels' (count, ...) as (T, B, ...), zero past each end."""
        T, B = self.shape
        padded = np.zeros((T * B, *rows.shape[1:]), rows.dtype)
        padded[self.index] = rows
        return padded.reshape(T, B, *rows.shape[1:])

    def sort(self, state: Array) -> Array:
        """(B, ...) with the longest sequence's row first."""
        sorted_rows: Array = state[self.order]
        return sorted_rows

    def unsort(self, state: Array) -> Array:
        """(B, ...) in the caller's order."""
        result = np.empty_like(state)
        result[self.order] = state
        return result


@dataclass(frozen=True)
class Options:
    """What happens between two steps, in the kernels' order of rows; see `lstm_forward`."""

    reset: NDArray[np.uint8] | None = None
    reset_to_zero: bool = False
    mask: Array | None = None
    zone_y: Array | None = None
    zone_c: Array | None = None


def options_of(
    T: int, B: int, P: int, H: int, dtype: np.dtype[Any], lengths: Lengths | None,
    reset: ArrayLike | None, reset_to: Literal["initial", "zero"], mask: Array | None, zoneout: tuple[Any, Any] | None,
) -> Options | None:  # fmt: skip
    """The options of a call, checked and brought to the kernels' order; None where there are none."""
    if reset_to not in ("initial", "zero"):
        raise ValueError(f"reset_to must be 'initial' or 'zero', not {reset_to!r}")
    if reset is None and mask is None and zoneout is None:
        return None
    flags = None
    if reset is not None:
        given = np.asarray(reset)
        if given.dtype != np.bool_:
            raise TypeError(f"reset must have dtype bool, not {given.dtype}")
        if given.shape != (T, B):
            raise ValueError(f"reset must have shape (T, B) = {(T, B)}, not {given.shape}")
        flags = np.ascontiguousarray(given).view(np.uint8)
    mask = check.optional("recurrent_mask", mask, (B, P), dtype, "(B, H)")
    zone_y, zone_c = (None, None) if zoneout is None else check.pair("zoneout", zoneout, "(share of y, share of c)")
    zone_y = check.optional("zoneout of y", zone_y, (T, B, P), dtype, "(T, B, H)")
    zone_c = check.optional("zoneout of c", zone_c, (T, B, H), dtype, "(T, B, H)")
    if lengths is not None:
        flags, zone_y, zone_c = (None if a is None else lengths.pack(a) for a in (flags, zone_y, zone_c))
        mask = None if mask is None else lengths.sort(mask)
    return Options(flags, reset_to == "zero", mask, zone_y, zone_c)
