"""Arrays where they are: NumPy's on the host, on a GPU those of the caller's library.

The `Kind` of an array is a NumPy dtype on the host and a `DeviceKind` on a GPU. Functions that make arrays take one.
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

# The dtypes of arrays on the host.
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

ALIGNMENT = 64
WORTH_ALIGNING = 1 << 14


def kind_of(array: Array) -> Kind:
    """Return the kind of an array."""
    if isinstance(array, ndarray):
        return array.dtype
    library = library_of(array)
    assert library is not None
    return library.kind(array)


class Shape:
    """A stand-in for an array, with a shape but no values."""

    def __init__(self, shape: tuple[int, ...], itemsize: int) -> None:
        self.shape, self.itemsize = shape, itemsize

    def __len__(self) -> int:
        return self.shape[0]


def memory(array: Array | Shape) -> tuple[int, int]:
    """Return the address of an array on a device and its number of bytes."""
    if isinstance(array, Shape):
        return ALIGNMENT, prod(array.shape) * array.itemsize  # Nobody reads that memory.
    library = library_of(array)
    if library is None:
        raise TypeError(f"an array was expected, not {type(array).__name__}")
    return library.memory(array)


def cells_of(kind: Kind) -> Kind:
    """Return the kind of cells where other arrays are of this kind."""
    return kind.cells if isinstance(kind, DeviceKind) else kind


def empty(shape: tuple[int, ...], kind: Kind) -> Array:
    """Return an uninitialised array; a large one is aligned to 64 bytes, which suits vectors."""
    if type(kind) is DeviceKind:
        array: Array = kind.library.empty(shape, kind)
        return array
    if prod(shape) * kind.itemsize < WORTH_ALIGNING:
        return new_empty(shape, kind)
    return _aligned(new_empty, shape, kind)


def zeros(shape: tuple[int, ...], kind: Kind) -> Array:
    """Return an array of zeros, aligned as by `empty`."""
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
    """Return an uninitialised array of the same shape and kind."""
    return np.empty_like(array) if isinstance(array, ndarray) else empty(tuple(array.shape), kind_of(array))


def zeros_like(array: Array) -> Array:
    """Return an array of zeros of the same shape and kind."""
    return np.zeros_like(array) if isinstance(array, ndarray) else zeros(tuple(array.shape), kind_of(array))


def contiguous(array: Array) -> Array:
    """Return the array, or a C-contiguous copy."""
    kind = kind_of(array)
    return kind.library.contiguous(array) if isinstance(kind, DeviceKind) else np.ascontiguousarray(array)


def take(array: Array, indices: Array | range, axis: int) -> Array:
    """Return the entries at these indices along an axis; the indices are on the host."""
    kind = kind_of(array)
    if not isinstance(kind, DeviceKind):
        return np.take(array, indices, axis)
    own = moved(np.asarray(indices, np.int64), kind.of("int64"))
    taken: Array = kind.library.take(array, own, axis % array.ndim)
    return taken


def concatenate(arrays: Sequence[Array], axis: int) -> Array:
    """Join arrays along an axis."""
    kind = kind_of(arrays[0])
    return kind.library.concatenate(arrays, axis) if isinstance(kind, DeviceKind) else np.concatenate(arrays, axis)


def moved(array: Array, kind: Kind) -> Array:
    """Return an array of the host as one of `kind`."""
    return kind.library.from_host(array, kind) if isinstance(kind, DeviceKind) else array


def on_device(array: Given, kind: Kind) -> Given:
    """Move an array of the host as `moved` does; leave an array on a device, or None, as it is."""
    return moved(array, kind) if isinstance(array, np.ndarray) else array


def on_host(array: Array) -> Array:
    """Return a NumPy array: the array itself, or a copy of one on a device."""
    kind = kind_of(array)
    return kind.library.to_host(array) if isinstance(kind, DeviceKind) else array
