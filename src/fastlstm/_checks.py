"""Arrays: new ones, and checks of arguments before any kernel runs.

Each error names the argument, what was expected and what came.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastlstm import _runtime

Array = NDArray[Any]
Value = TypeVar("Value")

ALIGNMENT = 64
WORTH_ALIGNING = 1 << 14

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """`dtype` if it is float32 or float64."""
    found = np.dtype(dtype)
    if found not in FLOATS:
        raise TypeError(f"dtype must be float32 or float64, not {found}")
    return found


def positive_int(name: str, value: int) -> int:
    """`value` as an int of at least 1."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value.__index__() < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    return value.__index__()


def is_array(name: str, value: object, dtype: np.dtype[Any] | None = None) -> Array:
    """`value` if it is an array of float32 or float64, or of `dtype`; for the argument that decides sizes."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, not {type(value).__name__}")
    unmasked(name, value)
    if value.dtype not in FLOATS if dtype is None else value.dtype != dtype:
        raise TypeError(f"{name} must have dtype {dtype or 'float32 or float64'}, not {value.dtype}")
    return value


def unmasked(name: str, value: Value) -> Value:
    """`value`, unless it is a masked array."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be ignored: fill it first")
    return value


def sized(name: str, value: object, ndim: int, axes: str, dtype: np.dtype[Any] | None = None) -> Array:
    """`value` if it is a float array of `ndim` dimensions, described by `axes`."""
    array = is_array(name, value, dtype)
    if array.ndim != ndim:
        raise ValueError(f"{name} must have shape {axes}, not {array.shape}")
    return array


def matching(name: str, value: object, shape: tuple[int, ...], dtype: np.dtype[Any], axes: str) -> Array:
    """`value` as a C-contiguous array if it has this shape and dtype; a copy where it is not contiguous."""
    if type(value) is np.ndarray and value.dtype == dtype and value.shape == shape:
        array = value  # the usual case, quickly
    else:
        array = np.asarray(is_array(name, value, dtype))
        if array.shape != shape:
            expected = f"{shape}, {axes}" if axes.startswith(("that of", "the ", "its ")) else f"{axes} = {shape}"
            raise ValueError(f"{name} must have shape {expected}, not {array.shape}")
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else np.require(array, requirements=["C", "A"])


def output(name: str, value: object, shape: tuple[int, ...], dtype: np.dtype[Any], axes: str) -> Array:
    """`value` if results can be written into it: the shape, the dtype, C-contiguous, aligned, writable."""
    array = is_array(name, value)
    if not (array.flags.c_contiguous and array.flags.aligned and array.flags.writeable):
        raise ValueError(f"{name} must be C-contiguous, aligned and writable, since results are written to it")
    return matching(name, array, shape, dtype, axes)


def disjoint(outputs: Mapping[str, Array], inputs: Mapping[str, Array | None]) -> None:
    """Raise unless no output shares memory with an input or with another output; all are C-contiguous."""
    arrays = [array for array in (*inputs.values(), *outputs.values()) if array is not None]
    found = _runtime.find_overlap(arrays, len(outputs))
    if found:
        names = [name for name, array in (*inputs.items(), *outputs.items()) if array is not None]
        raise ValueError(f"{names[found[0]]} must not overlap {names[found[1]]}")


def workspace(value: Array | None, size: int, dtype: np.dtype[Any]) -> Array:
    """A one-dimensional array of at least `size` values: `value` if it is one, else a new one."""
    if value is None:
        return np.empty(size, dtype)
    array = sized("workspace", value, 1, "(n,)")
    if array.size < size:
        raise ValueError(f"workspace must have at least {size} values, not {array.size}")
    return output("workspace", array, array.shape, dtype, "(n,)")


def items(name: str, value: object, expected: str, *counts: int) -> tuple[Any, ...]:
    """`value` if it is a tuple or list of so many."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{name} must be {expected}, not {type(value).__name__}")
    if len(value) not in counts:
        raise ValueError(f"{name} must be {expected}, not {len(value)} items")
    return tuple(value)


def pair(name: str, value: object, expected: str) -> tuple[Any, Any]:
    """`value` if it is a tuple or list of two."""
    first, second = items(name, value, expected, 2)
    return first, second


def optional(name: str, value: object, shape: tuple[int, ...], dtype: np.dtype[Any], axes: str) -> Array | None:
    """As `matching`, but None stays None."""
    return None if value is None else matching(name, value, shape, dtype, axes)


def lengths(value: ArrayLike | None, T: int, B: int, axis: str = "T", name: str = "lengths") -> NDArray[np.int64]:
    """How many of T steps each of B rows has: all where `value` is None. `axis` is what T is called."""
    if value is None:
        return np.full(B, T, np.int64)
    given = np.array(unmasked(name, value))  # a copy: what is checked must not change
    if given.dtype.kind not in "iu" and given.size:
        raise TypeError(f"{name} must be integers, not {given.dtype}")
    if given.shape != (B,):
        raise ValueError(f"{name} must have shape (B,) = ({B},), not {given.shape}")
    if B and not 0 <= given.min() <= given.max() <= T:
        raise ValueError(f"{name} must be from 0 to {axis} = {T}, not {given.min()} to {given.max()}")
    return given.astype(np.int64)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An uninitialised array; a large one begins at a multiple of 64 bytes, as vectors like it."""
    size = math.prod(shape) * dtype.itemsize
    if size < WORTH_ALIGNING:
        return np.empty(shape, dtype)
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.__array_interface__["data"][0] % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)
