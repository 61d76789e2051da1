"""Arrays where they are: NumPy's on the host, on a GPU those of the library that the caller uses.

What an array is like is its `Kind`: a NumPy dtype for the host, a `DeviceKind` for a GPU. What makes arrays takes one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy import empty as new_empty
from numpy import ndarray
from numpy import zeros as new_zeros
from numpy.typing import NDArray

from fastlstm._arrays.libraries import DeviceKind, library_of

Array = NDArray[Any]
Kind = np.dtype[Any] | DeviceKind
Given = TypeVar("Given", Array, Array | None)

ALIGNMENT = 64
WORTH_ALIGNING = 1 << 14


def kind_of(array: Array) -> Kind:
    """What an array is like."""
    if isinstance(array, ndarray):
        return array.dtype
    library = library_of(array)
    assert library is not None
    return library.kind(array)


class Shape:
    """Stands for an array where only the shape counts: it has no values."""

    def __init__(self, shape: tuple[int, ...], itemsize: int) -> None:
        self.shape, self.itemsize = shape, itemsize

    def __len__(self) -> int:
        return self.shape[0]


def memory(array: Array | Shape) -> tuple[int, int]:
    """Where an array on a device begins, and its bytes."""
    if isinstance(array, Shape):
        return ALIGNMENT, prod(array.shape) * array.itemsize  # nobody reads there
    library = library_of(array)
    if library is None:
        raise TypeError(f"an array was expected, not {type(array).__name__}")
    return library.memory(array)


def cells_of(kind: Kind) -> Kind:
    """What cells are like where other arrays are of this kind."""
    return kind.cells if isinstance(kind, DeviceKind) else kind


def empty(shape: tuple[int, ...], kind: Kind) -> Array:
    """An uninitialised array; a large one begins at a multiple of 64 bytes, as vectors like it."""
    if type(kind) is DeviceKind:
        array: Array = kind.library.empty(shape, kind)
        return array
    if prod(shape) * kind.itemsize < WORTH_ALIGNING:
        return new_empty(shape, kind)
    return _aligned(new_empty, shape, kind)


def zeros(shape: tuple[int, ...], kind: Kind) -> Array:
    """An array of zeros, aligned likewise."""
    if type(kind) is DeviceKind:
        array: Array = kind.library.zeros(shape, kind)
        return array
    if prod(shape) * kind.itemsize < WORTH_ALIGNING:
        return new_zeros(shape, kind)
    return _aligned(new_zeros, shape, kind)


def _aligned(make: Callable[..., Array], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    size = prod(shape) * dtype.itemsize
    memory = make(size + ALIGNMENT, np.uint8)
    start = -memory.__array_interface__["data"][0] % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def empty_like(array: Array) -> Array:
    """An uninitialised array of the same shape and kind."""
    return np.empty_like(array) if isinstance(array, ndarray) else empty(tuple(array.shape), kind_of(array))


def zeros_like(array: Array) -> Array:
    """An array of zeros of the same shape and kind."""
    return np.zeros_like(array) if isinstance(array, ndarray) else zeros(tuple(array.shape), kind_of(array))


def contiguous(array: Array) -> Array:
    """The same, or a C-contiguous copy."""
    kind = kind_of(array)
    return kind.library.contiguous(array) if isinstance(kind, DeviceKind) else np.ascontiguousarray(array)


def take(array: Array, indices: Array | range, axis: int) -> Array:
    """Those of an axis; `indices` are on the host."""
    kind = kind_of(array)
    if not isinstance(kind, DeviceKind):
        return np.take(array, indices, axis)
    own = moved(np.asarray(indices, np.int64), kind.of("int64"))
    taken: Array = kind.library.take(array, own, axis % array.ndim)
    return taken


def concatenate(arrays: Sequence[Array], axis: int) -> Array:
    """One after the other."""
    kind = kind_of(arrays[0])
    return kind.library.concatenate(arrays, axis) if isinstance(kind, DeviceKind) else np.concatenate(arrays, axis)


def moved(array: Array, kind: Kind) -> Array:
    """A host's array where `kind` says, of that dtype."""
    return kind.library.from_host(array, kind) if isinstance(kind, DeviceKind) else array


def on_device(array: Given, kind: Kind) -> Given:
    """As `moved`, of what may be there already, or None."""
    return moved(array, kind) if isinstance(array, np.ndarray) else array


def on_host(array: Array) -> Array:
    """The array, or a copy of one on a device, for NumPy."""
    kind = kind_of(array)
    return kind.library.to_host(array) if isinstance(kind, DeviceKind) else array
