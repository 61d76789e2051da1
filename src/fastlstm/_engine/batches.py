"""Batches of sequences of different lengths: how their rows lie in memory, and the options that go with each step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, Kind, contiguous, empty, kind_of, moved, on_host, take, zeros, zeros_like
from fastlstm._arrays.libraries import DeviceKind, library_of
from fastlstm._engine import rows as _rows


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

    def same_rows(self, other: Batch) -> bool:
        """Whether another batch has the same rows at each step."""
        a, b = self.offsets, other.offsets
        same = a is b or (a is not None and b is not None and np.array_equal(a, b))
        return same and (self.T, self.B, self.count) == (other.T, other.B, other.count)


def batch_of(T: int, B: int, lengths: Lengths | None, invariant: bool) -> Batch:
    """A call's batch."""
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
    """A packed sequence of whatever library as a `PackedSequence`, its order checked; anything else as it is."""
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
        """Those of a packed sequence, which `as_packed` gave."""
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
        """Of each of the kernels' rows, which it is of the caller's T x B."""
        batch = self.batch
        assert batch.offsets is not None
        step = np.repeat(np.arange(batch.T), np.diff(batch.offsets))
        row = np.arange(batch.count) - batch.offsets[step]
        return np.asarray(step * batch.B + self.order[row], np.int64)

    def pack(self, array: Array, num_threads: int = 1, out: Array | None = None) -> Array:
        """(T, B, ...) of the caller's as the kernels' (count, ...)."""
        if not isinstance(array, np.ndarray):
            return take(array.reshape(array.shape[0] * array.shape[1], *array.shape[2:]), self._caller_rows(), 0)
        rows = empty((self.batch.count, *array.shape[2:]), array.dtype) if out is None else out
        if array.strides[2:] != rows.strides[1:]:
            array = np.ascontiguousarray(array)
        _rows.gather(self.batch, self.order, array, rows, num_threads)
        return rows

    def pad(self, rows: Array, out: Array | None = None, num_threads: int = 1) -> Array:
        """The kernels' (count, ...) as (T, B, ...), zero past each end; rows of `out` must be contiguous."""
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
        """The kernels' rows packed as the caller's were, in arrays of its own."""
        assert self.packed is not None
        _, sizes, order, back = self.packed
        return PackedSequence(data, sizes.copy(), *(None if own is None else own.copy() for own in (order, back)))

    def sort(self, state: Array) -> Array:
        """(..., B, size) with the longest sequence's row first."""
        return take(state, self.order, -2)

    def unsort(self, state: Array) -> Array:
        """(..., B, size) in the caller's order."""
        return take(state, self._back, -2)


@dataclass(frozen=True)
class Options:
    """What happens between two steps, in the kernels' order of rows; see `lstm_forward`."""

    reset: NDArray[np.uint8] | None = None
    reset_to_zero: bool = False
    mask: Array | None = None
    zone_y: Array | None = None
    zone_c: Array | None = None

    def checked(self, batch: Batch, rows: tuple[int, ...], P: int, H: int, kind: Kind) -> Options:
        """The same, once it is known to be of a call with so many rows."""
        flags = kind.of("uint8") if isinstance(kind, DeviceKind) else np.dtype(np.uint8)
        name = "tape.call.options"
        return Options(
            check.optional(f"{name}.reset", self.reset, rows, flags, "(T, B)"),
            bool(self.reset_to_zero),
            check.optional(f"{name}.mask", self.mask, (batch.B, P), kind, "(B, H)"),
            check.optional(f"{name}.zone_y", self.zone_y, (*rows, P), kind, "(T, B, H)"),
            check.optional(f"{name}.zone_c", self.zone_c, (*rows, H), kind, "(T, B, H)"),
        )

    def named(self) -> dict[str, Array | None]:
        """Its arrays, by the arguments' names."""
        zoneout = {"zoneout of y": self.zone_y, "zoneout of c": self.zone_c}
        return {"reset": self.reset, "recurrent_mask": self.mask, **zoneout}


def _flags(reset: ArrayLike, shape: tuple[int, int], kind: Kind) -> Array:
    """The steps with which a row begins anew, as bytes where the other arrays are."""
    library = None if isinstance(reset, np.ndarray) else library_of(reset)
    if library is not None and isinstance(kind, DeviceKind):
        given = kind.library.adopt("reset", reset)
        found = kind.library.kind(given)
        if found.index != kind.index:
            raise TypeError(f"reset is on {found.place}, but must be on {kind.place} as the other arrays are")
        dtype = found.values
    elif library is not None:
        raise TypeError("reset is on a GPU, but must be on the host as the other arrays are")
    else:
        given = np.asarray(reset)
        dtype = given.dtype.name
    if dtype != "bool":
        raise TypeError(f"reset must have dtype bool, not {dtype}")
    if given.shape != shape:
        raise ValueError(f"reset must have shape (T, B) = {shape}, not {tuple(given.shape)}")
    flags = contiguous(given)
    if isinstance(flags, np.ndarray):
        in_bytes = flags.view(np.uint8)
        return moved(in_bytes, kind.of("uint8")) if isinstance(kind, DeviceKind) else in_bytes
    assert isinstance(kind, DeviceKind)
    as_bytes: Array = kind.library.as_bytes(flags)
    return as_bytes


def _flags_in_reverse(flags: Array, lengths: Lengths | None) -> Array:
    """The same boundaries for the reverse direction, which crosses the one before step t just before step t - 1.

    At a row's end there is none: whether something begins there, the flags do not say.
    """
    if lengths is not None:
        flags = lengths.pad(lengths.pack(flags))  # zero past each end
    moved_up = zeros_like(flags)
    moved_up[:-1] = flags[1:]
    return moved_up


def options_of(
    T: int, B: int, P: int, H: int, kind: Kind, lengths: Lengths | None, reverse: bool,
    reset: ArrayLike | None, reset_to: Literal["initial", "zero"], mask: Array | None, zoneout: tuple[Any, Any] | None,
) -> Options | None:  # fmt: skip
    """The options of a call, checked and brought to the kernels' order; None where there are none."""
    if reset_to not in ("initial", "zero"):
        raise ValueError(f"reset_to must be 'initial' or 'zero', not {reset_to!r}")
    if reset is None and mask is None and zoneout is None:
        return None
    flags = None if reset is None else _flags(reset, (T, B), kind)
    if flags is not None and reverse:
        flags = _flags_in_reverse(flags, lengths)
    mask = check.optional("recurrent_mask", mask, (B, P), kind, "(B, H)")
    zone_y, zone_c = (None, None) if zoneout is None else check.pair("zoneout", zoneout, "(share of y, share of c)")
    zone_y = check.optional("zoneout of y", zone_y, (T, B, P), kind, "(T, B, H)")
    zone_c = check.optional("zoneout of c", zone_c, (T, B, H), kind, "(T, B, H)")
    if lengths is not None:
        flags, zone_y, zone_c = (None if a is None else lengths.pack(a) for a in (flags, zone_y, zone_c))
        mask = None if mask is None else lengths.sort(mask)
    return Options(flags, reset_to == "zero", mask, zone_y, zone_c)
