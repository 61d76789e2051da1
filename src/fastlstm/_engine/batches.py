"""Batches of sequences of different lengths: how their rows lie in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, empty, kind_of, moved, on_host, take, zeros
from fastlstm._arrays.libraries import DeviceKind, library_of
from fastlstm._engine import rows as _rows


@dataclass
class Batch:
    """T steps of at most B rows, `count` in all. `offsets` is where each step's rows begin; None if each has B.

    Where it is `invariant`, no row's result may depend on how many others there are. Nothing changes a batch: calls and
    tapes share it. It is not frozen, since that takes several times as long to make and to read.
    """

    T: int
    B: int
    count: int
    offsets: NDArray[np.int64] | None = None
    invariant: bool = False

    def same_rows(self, other: Batch) -> bool:
        """Return whether another batch has the same rows at each step."""
        a, b = self.offsets, other.offsets
        same = a is b or (a is not None and b is not None and np.array_equal(a, b))
        return same and (self.T, self.B, self.count) == (other.T, other.B, other.count)


def batch_of(T: int, B: int, lengths: Lengths | None, invariant: bool) -> Batch:
    """Return the batch of a call."""
    return Batch(T, B, T * B, None, invariant) if lengths is None else replace(lengths.batch, invariant=invariant)


class PackedSequence(NamedTuple):
    """Sequences of different lengths without padding, as PyTorch's `torch.nn.utils.rnn.PackedSequence` has them.

    Attributes
    ----------
    data : (count, columns) array
        The rows of all steps, step after step, each with the longest sequence first.
    batch_sizes : (T,) array of int64
        How many sequences have each step: never more than the step before.
    sorted_indices : (B,) array of int64 or None
        The caller's sequences, longest first. None where they are in that order already.
    unsorted_indices : (B,) array of int64 or None
        The inverse: where each of the caller's sequences is.
    """

    data: Array
    batch_sizes: NDArray[np.int64]
    sorted_indices: NDArray[np.int64] | None = None
    unsorted_indices: NDArray[np.int64] | None = None


Sequences = TypeVar("Sequences", Array, PackedSequence)


def _field(name: str, value: Any) -> Array:
    if isinstance(value, np.ndarray) or library_of(value) is not None:
        array: Array = value
        return array
    try:
        return np.asarray(value)
    except (RuntimeError, TypeError) as error:  # a tensor's that needs a gradient, or is not on the CPU
        raise TypeError(f"{name} must be a NumPy array or share its memory with one: {error}") from error


def _integers(name: str, value: Any) -> NDArray[np.int64]:
    array = on_host(_field(name, value))  # of a GPU's, only after what it is still doing
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{name} must be integers, not {array.dtype}")
    return array.astype(np.int64)  # a copy: what is checked must not change


def as_packed(name: str, value: Any) -> Any:
    """Return a packed sequence of any library as a `PackedSequence`, once its order is checked; else `value` itself."""
    if isinstance(value, np.ndarray) or not hasattr(value, "batch_sizes"):
        return value
    sizes = _integers(f"{name}.batch_sizes", value.batch_sizes)
    if sizes.ndim != 1:
        raise ValueError(f"{name}.batch_sizes must have shape (T,), not {sizes.shape}")
    if sizes.size and (sizes[-1] < 1 or np.any(sizes[1:] > sizes[:-1])):
        raise ValueError(f"{name}.batch_sizes must be positive and never increase, not {sizes.tolist()}")
    B = int(sizes[0]) if sizes.size else 0
    order, inverse = value.sorted_indices, value.unsorted_indices
    if order is not None:
        order = _integers(f"{name}.sorted_indices", order)
        if order.shape != (B,) or not np.array_equal(np.sort(order), np.arange(B)):
            raise ValueError(f"{name}.sorted_indices must have each of 0 to {B - 1} once, not {order.tolist()}")
    if inverse is not None or order is not None:
        expected = np.arange(B) if order is None else np.argsort(order)
        inverse = expected if inverse is None else _integers(f"{name}.unsorted_indices", inverse)
        if not np.array_equal(inverse, expected):
            raise ValueError(
                f"{name}.unsorted_indices must be the inverse of sorted_indices, {expected.tolist()}, "
                f"not {inverse.tolist()}"
            )
    return PackedSequence(_field(f"{name}.data", value.data), sizes, order, inverse)


class Lengths:
    """A batch whose sequences end at different steps. The kernels see it longest first, without the rows past an end.

    It cannot be changed: tapes keep it, and the kernels trust it.

    Attributes
    ----------
    order : (B,) array
        The caller's rows, longest first.
    packed : PackedSequence or None
        Where the caller's sequences came packed: they.
    """

    shape: tuple[int, int]
    order: NDArray[np.int64]
    _back: NDArray[np.int64]
    batch: Batch
    packed: PackedSequence | None

    def __init__(self, lengths: ArrayLike, T: int, B: int) -> None:
        if not isinstance(lengths, np.ndarray) and library_of(lengths) is not None:
            raise TypeError("lengths must be on the host, where the steps are planned, not on a GPU")
        given = np.array(check.unmasked("lengths", lengths))  # a copy: what is checked must not change
        if given.dtype.kind not in "iu" and given.size:
            raise TypeError(f"lengths must be integers, not {given.dtype}")
        if given.shape != (B,):
            raise ValueError(f"lengths must have shape (B,) = ({B},), not {given.shape}")
        order, back, offsets = (np.empty(n, np.int64) for n in (B, B, T + 1))
        if not _rows.arrange(given.astype(np.int64), order, back, offsets):
            raise ValueError(f"lengths must be from 0 to T = {T}, not {given.min()} to {given.max()}")
        self._set(T, B, order, back, offsets, None)

    @classmethod
    def of_packed(cls, packed: PackedSequence) -> Lengths:
        """Return the lengths of a packed sequence that `as_packed` has returned."""
        self = cls.__new__(cls)
        sizes, order, back = packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
        T, B = len(sizes), int(sizes[0]) if sizes.size else 0
        offsets = np.zeros(T + 1, np.int64)
        np.cumsum(sizes, out=offsets[1:])
        order, back = (np.arange(B) if given is None else given.copy() for given in (order, back))
        self._set(T, B, order, back, offsets, packed)
        return self

    def _set(
        self, T: int, B: int, order: NDArray[np.int64], back: NDArray[np.int64], offsets: NDArray[np.int64],
        packed: PackedSequence | None,
    ) -> None:  # fmt: skip
        for array in (order, back, offsets):
            array.flags.writeable = False
        batch = Batch(T, B, int(offsets[T]), offsets)
        vars(self).update(shape=(T, B), order=order, _back=back, batch=batch, packed=packed)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} cannot be set: the lengths of a call stay as they are")

    def _caller_rows(self) -> NDArray[np.int64]:
        """Return the index of each of the kernels' rows among the caller's T B rows."""
        batch = self.batch
        assert batch.offsets is not None
        step = np.repeat(np.arange(batch.T), np.diff(batch.offsets))
        row = np.arange(batch.count) - batch.offsets[step]
        return np.asarray(step * batch.B + self.order[row], np.int64)

    def pack(self, array: Array, num_threads: int = 1, out: Array | None = None) -> Array:
        """Return a (T, B, ...) array of the caller's as the kernels' rows, (count, ...)."""
        if not isinstance(array, np.ndarray):
            return take(array.reshape(array.shape[0] * array.shape[1], *array.shape[2:]), self._caller_rows(), 0)
        rows = empty((self.batch.count, *array.shape[2:]), array.dtype) if out is None else out
        if array.strides[2:] != rows.strides[1:]:
            array = np.ascontiguousarray(array)
        _rows.gather(self.batch, self.order, array, rows, num_threads)
        return rows

    def pad(self, rows: Array, out: Array | None = None, num_threads: int = 1) -> Array:
        """Return the kernels' rows as (T, B, ...), zero past each end; rows of `out` must be contiguous."""
        if len(rows) != self.batch.count:
            raise ValueError(f"there must be {check.counted(self.batch.count, 'row')}, not {len(rows)}")
        kind, (T, B) = kind_of(rows), self.shape
        if isinstance(kind, DeviceKind):
            all_rows = zeros((T * B, *rows.shape[1:]), kind)
            all_rows[moved(self._caller_rows(), kind.of("int64"))] = rows
            padded = all_rows.reshape(T, B, *rows.shape[1:])
            if out is None:
                return padded
            out[...] = padded
            return out
        padded = empty((*self.shape, *rows.shape[1:]), rows.dtype) if out is None else out
        _rows.scatter(self.batch, self.order, np.ascontiguousarray(rows), padded, num_threads)
        return padded

    def repacked(self, data: Array) -> PackedSequence:
        """Return the kernels' rows as a packed sequence like the caller's, in arrays of its own."""
        assert self.packed is not None
        _, sizes, order, back = self.packed
        return PackedSequence(data, sizes.copy(), *(None if own is None else own.copy() for own in (order, back)))

    def sort(self, state: Array) -> Array:
        """Return a (..., B, size) array with the row of the longest sequence first."""
        return take(state, self.order, -2)

    def unsort(self, state: Array) -> Array:
        """Return a (..., B, size) array in the caller's order."""
        return take(state, self._back, -2)
