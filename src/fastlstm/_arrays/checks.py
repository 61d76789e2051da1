"""Checks of arguments before any kernel runs: each error names the argument, what was expected and what came.

Arrays must be of a `Kind`: for a call on a GPU they must all be on its device, but may be of any library.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Mapping
from numbers import Real
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy import empty as new_empty
from numpy import ndarray  # Every call looks it up often, and an attribute of the module takes several times as long.
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastlstm._arrays.arrays import FLOATS, Array, Kind, empty
from fastlstm._arrays.buffers import find_overlap
from fastlstm._arrays.hints import conversion, dtype_hint
from fastlstm._arrays.libraries import FLOATS as DEVICE_FLOATS
from fastlstm._arrays.libraries import DeviceKind, library_of
from fastlstm._system import devices

Value = TypeVar("Value")

MOST_LAYERS = 1 << 16


class EntryError(ValueError):
    """The error of a wrong entry of an array; code that made the array of rows of data can translate the index.

    `message` has "{at}" where the entry's index belongs, if anywhere.
    """

    def __init__(self, message: str, name: str = "", index: tuple[int, ...] = ()) -> None:
        self.message, self.name, self.index = message, name, index
        super().__init__(self.told(index))

    def told(self, index: tuple[int, ...]) -> str:
        """Return the message with this index."""
        return self.message.replace("{at}", f"[{', '.join(map(str, index))}]" if index else "")


def first_entry(wrong: NDArray[np.bool]) -> tuple[int, ...]:
    """Return the index of the first entry that is wrong."""
    return tuple(map(int, np.argwhere(wrong)[0]))


def float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return `dtype` if it is float32 or float64."""
    try:
        found: np.dtype[Any] | None = np.dtype(dtype)
    except TypeError:  # NumPy does not know the name, which may be that of a format of GPUs.
        found = None
    if found is None or found not in FLOATS:
        name = str(dtype if found is None else found)
        hint = ": arrays on a GPU may have it, layer.to('cuda', dtype=...)" if name in DEVICE_FLOATS else ""
        raise TypeError(f"dtype must be float32 or float64, not {name}{hint}")
    return found


def flag(name: str, value: object) -> bool:
    """Return `value` as a bool if it is one: no other object is taken as true or false."""
    if value is True or value is False:
        return value
    if isinstance(value, np.bool):
        return bool(value)
    raise TypeError(f"{name} must be a bool, not {_named(value)}")


def integer(name: str, value: object) -> int:
    """Return `value` as an int if it is an integer of Python or NumPy."""
    if not isinstance(value, (bool, np.bool)):
        try:
            return operator.index(value)  # type: ignore[arg-type]  # An object without an index raises TypeError.
        except TypeError:
            pass
    raise TypeError(f"{name} must be an int, not {_named(value)}")


def positive_int(name: str, value: object) -> int:
    """Return `value` as an int if it is at least 1."""
    found = integer(name, value)
    if found < 1:
        raise ValueError(f"{name} must be at least 1, not {found}")
    return found


def num_layers(value: object) -> int:
    """Return `value` as the number of layers, which is limited: even a small layer takes time and memory."""
    found = positive_int("num_layers", value)
    if found > MOST_LAYERS:
        raise ValueError(f"num_layers must be at most {MOST_LAYERS}, not {found}")
    return found


def count(name: str, value: object) -> int:
    """Return `value` as an int if it is at least 0."""
    found = integer(name, value)
    if found < 0:
        raise ValueError(f"{name} must be at least 0, not {found}")
    return found


def number(name: str, value: object) -> float:
    """Return `value` as a float if it is a real number other than NaN."""
    found = number_or_nan(name, value)
    if math.isnan(found):
        raise ValueError(f"{name} must be a number, not {found}")
    return found


def number_or_nan(name: str, value: object) -> float:
    """Return `value` as a float if it is a real number of Python or NumPy."""
    if type(value) is float:
        return value
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, (bool, np.bool)) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {_named(value)}")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if math.isinf(found) and value != found:
        raise ValueError(f"{name} must be a number that fits a float")
    return found


def finite(name: str, value: object, dtype: np.dtype[Any] = FLOATS[1]) -> float:
    """Return `value` as a float if it is a finite number in this dtype."""
    found, largest = number(name, value), float(np.finfo(dtype).max)
    if abs(found) > largest:
        raise ValueError(f"{name} must be a finite number of {dtype}, not {found}")
    return found


def within(name: str, value: object, end: float) -> float:
    """Return `value` as a float if it is at least 0 and below `end`."""
    found = number_or_nan(name, value)
    if not 0 <= found < end:
        upper = "finite" if end == math.inf else f"below {end}"
        raise ValueError(f"{name} must be at least 0 and {upper}, not {found}")
    return found


def rate(name: str, value: object) -> float:
    """Return `value` as a float if it is a rate at which something may be dropped."""
    found = number_or_nan(name, value)
    if not 0 <= found < 1:
        raise ValueError(f"{name} must be a number from 0 to less than 1, not {value!r}")
    return found


def above_zero(name: str, value: object) -> float:
    """Return `value` as a float if it is above 0."""
    found = number_or_nan(name, value)
    if not found > 0:
        raise ValueError(f"{name} must be above 0, not {found}")
    return found


def seed(name: str, value: object) -> np.random.Generator:
    """Return the generator of random numbers for `value`: None, a seed, or a generator itself."""
    if value is None or isinstance(value, np.random.Generator):
        return np.random.default_rng(value)
    try:
        return np.random.default_rng(integer(name, value))
    except TypeError:
        raise TypeError(f"{name} must be an int, a numpy.random.Generator or None, not {_named(value)}") from None
    except ValueError:
        raise ValueError(f"{name} must be at least 0, not {value}") from None


def generator(name: str, value: object) -> np.random.Generator:
    """Return `value` if it is a generator of random numbers."""
    if not isinstance(value, np.random.Generator):
        raise TypeError(f"{name} must be a numpy.random.Generator, not {_named(value)}")
    return value


def ids(name: str, value: object, vocabulary_size: int | None = None) -> NDArray[np.int64]:
    """Return a copy of `value` if it is an array of integers, of a vocabulary; a copy cannot change once checked."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, not {_named(value)}{conversion(name, value, 'int64')}")
    if unmasked(name, value).dtype.kind not in "iu":
        raise TypeError(f"{name} must have an integer dtype, not {value.dtype}")
    found = np.array(value, np.int64, order="C")
    if vocabulary_size is not None and found.size and not (found.min() >= 0 and found.max() < vocabulary_size):
        message = f"{name} must be from 0 to {vocabulary_size - 1}, not {found.min()} to {found.max()}"
        raise EntryError(message, name, first_entry((found < 0) | (found >= vocabulary_size)))
    return found


def symbol(name: str, value: object, vocabulary_size: int | None = None) -> int:
    """Return `value` as an int if it is the id of a symbol, below `vocabulary_size` if that is given."""
    found = integer(name, value)
    if found < 0 or (vocabulary_size is not None and found >= vocabulary_size):
        end = "on" if vocabulary_size is None else f"to {vocabulary_size - 1}"
        raise ValueError(f"{name} must be from 0 {end}, not {found}")
    return found


def path(name: str, value: object) -> str:
    """Return `value` as text if it is the path of a file; a number would be a descriptor."""
    if not isinstance(value, (str, bytes, os.PathLike)):
        raise TypeError(f"{name} must be the path of a file, a str or a pathlib.Path, not {_named(value)}")
    found = os.fsdecode(value)
    if not found or "\0" in found:
        raise ValueError(f"{name} must be the path of a file, not {found!r}")
    return found


def may_have(thing: object, name: str) -> None:
    """Raise AttributeError for a new attribute of one of fastlstm's own classes; a user's subclass may have more."""
    if type(thing).__module__.partition(".")[0] == "fastlstm":
        raise AttributeError(f"{type(thing).__name__} has no attribute {name} that can be set")


def counted(number: int, thing: str) -> str:
    """Return a number of things in words: "1 thread", "2 threads"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def with_article(name: str) -> str:
    """Return the name of a class after its article: "a GRU", "an LSTM", "a Tape"."""
    vowels = "AEFHILMNORSX" if name[1:2].isupper() else "AEIOU"  # Abbreviations are read letter by letter.
    return f"{'an' if name[0] in vowels else 'a'} {name}"


def _named(value: object) -> str:
    """Return a description of `value` for a message: the name of the type, the shape of an array."""
    return f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def is_array(name: str, value: object, kind: Kind | None = None, anywhere: bool = False) -> Array:
    """Return `value` if it is an array of `kind`; for None, a float array on the host or, with `anywhere`, a device."""
    if not isinstance(value, ndarray):
        hint = "" if isinstance(kind, DeviceKind) else conversion(name, value, kind)
        return _on_device(name, value, FLOATS[0] if kind is None and not anywhere else kind, hint)
    if type(value) is not ndarray:
        unmasked(name, value)
    if value.dtype in FLOATS if kind is None else value.dtype == kind:
        return value
    if isinstance(kind, DeviceKind):
        raise TypeError(f"{name} is on the host, but must be on {kind.place} as the other arrays are")
    raise TypeError(
        f"{name} must have dtype {kind or 'float32 or float64'}, not {value.dtype}{dtype_hint(name, value, kind)}"
    )


def _on_device(name: str, value: object, kind: Kind | None, hint: str) -> Array:
    """Return `value` as an array of the call's library if it is on a device; `is_array` of values not NumPy's."""
    library = library_of(value)
    if library is None:
        expected = f"an array on {kind.place}" if isinstance(kind, DeviceKind) else "a NumPy array"
        raise TypeError(f"{name} must be {expected}, not {type(value).__name__}{hint}")
    reason = devices.why_unavailable()
    if reason is not None:
        raise TypeError(f"{name} is on a GPU, which cannot be used: {reason}")
    if isinstance(kind, np.dtype):
        raise TypeError(f"{name} is on a GPU, but must be on the host")
    if kind is not None:
        library = kind.library
    array: Array = library.adopt(name, value)
    found = library.kind(array)
    if kind is not None and found.index != kind.index:
        raise TypeError(f"{name} is on {found.place}, but must be on {kind.place} as the other arrays are")
    if found.values not in DEVICE_FLOATS if kind is None else found.values != kind.values:
        expected = f"a dtype of {', '.join(DEVICE_FLOATS)}" if kind is None else f"dtype {kind.values}"
        raise TypeError(f"{name} must have {expected}, not {found.values}")
    return array


def unmasked(name: str, value: Value) -> Value:
    """Return `value` unless it is a masked array."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be ignored: fill it first")
    return value


def sized(name: str, value: object, ndim: int, axes: str, kind: Kind | None = None, *, anywhere: bool = False) -> Array:
    """Return `value`, an argument that decides sizes, if it is a float array of `ndim` dimensions, named by `axes`."""
    array = is_array(name, value, kind, anywhere)
    if array.ndim != ndim:
        raise ValueError(f"{name} must have shape {axes}, not {tuple(array.shape)}")
    return array


def matching(name: str, value: object, shape: tuple[int, ...], kind: Kind, axes: str) -> Array:
    """Return `value` as a C-contiguous array if it has this shape and kind; a copy if it is not contiguous."""
    if type(value) is ndarray and value.dtype == kind and value.shape == shape:
        array = value  # The usual case, quickly.
    else:
        array = is_array(name, value, kind)
        if array.shape != shape:
            expected = f"{shape}, {axes}" if axes.startswith(("that of", "the ", "its ")) else f"{axes} = {shape}"
            raise ValueError(f"{name} must have shape {expected}, not {tuple(array.shape)}")
        if isinstance(kind, DeviceKind):
            return array if kind.library.is_contiguous(array) else kind.library.contiguous(array)
        array = np.asarray(array)
    flags = array.flags
    if flags.carray or (flags.c_contiguous and flags.aligned):  # One attribute settles it for arrays to be written to.
        return array
    return np.require(array, requirements=["C", "A"])


def output(name: str, value: object, shape: tuple[int, ...], kind: Kind, axes: str) -> Array:
    """Return `value` if results can be written to it: of this shape and kind, C-contiguous, aligned, writable."""
    if isinstance(kind, DeviceKind):
        array = is_array(name, value, kind)
        if not kind.library.is_contiguous(array):
            raise ValueError(f"{name} must be C-contiguous, since results are written to it")
        return matching(name, array, shape, kind, axes)
    array = is_array(name, value)
    if not array.flags.carray:
        raise ValueError(f"{name} must be C-contiguous, aligned and writable, since results are written to it")
    return matching(name, array, shape, kind, axes)


def disjoint(
    outputs: Mapping[str, Array], inputs: Mapping[str, Array | None], in_place: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Raise unless no output shares memory with an input or with another output; all are C-contiguous.

    `in_place` names outputs that may be an input of the same shape itself, and which.
    """
    arrays = [array for array in (*inputs.values(), *outputs.values()) if array is not None]
    same = {}
    if in_place:
        names = _names_of(outputs, inputs)
        same = {names.index(name): names.index(own) for name, own in in_place.items()}
    found = find_overlap(arrays, len(outputs), same)
    if found:
        names = _names_of(outputs, inputs)
        output, other = (names[k] for k in found)
        expected = f"be {other} itself or not overlap it" if in_place.get(output) == other else f"not overlap {other}"
        raise ValueError(f"{output} must {expected}")


def _names_of(outputs: Mapping[str, Array], inputs: Mapping[str, Array | None]) -> list[str]:
    """Return the names of the arrays that are not None, in the order in which `disjoint` looks at them."""
    return [name for name, array in (*inputs.items(), *outputs.items()) if array is not None]


def workspace(value: Array | None, size: int, kind: Kind) -> Array:
    """Return `value` if it is a one-dimensional array of at least `size` values; a new one for None."""
    if value is None:
        return empty((size,), kind) if type(kind) is DeviceKind else new_empty(size, kind)
    array = sized("workspace", value, 1, "(n,)", kind)
    if len(array) < size:
        raise ValueError(f"workspace must have at least {size} values, not {len(array)}")
    return output("workspace", array, tuple(array.shape), kind, "(n,)")


def items(name: str, value: object, expected: str, *counts: int) -> tuple[Any, ...]:
    """Return `value` as a tuple if it is a tuple or list with one of these lengths."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{name} must be {expected}, not {type(value).__name__}")
    if len(value) not in counts:
        raise ValueError(f"{name} must be {expected}, not {counted(len(value), 'item')}")
    return tuple(value)


def pair(name: str, value: object, expected: str) -> tuple[Any, Any]:
    """Return the two items of a tuple or list."""
    first, second = items(name, value, expected, 2)
    return first, second


def optional(name: str, value: object, shape: tuple[int, ...], kind: Kind, axes: str) -> Array | None:
    """Return `value` as `matching` does; None stays None."""
    return None if value is None else matching(name, value, shape, kind, axes)


def lengths(value: ArrayLike | None, T: int, B: int, axis: str = "T", name: str = "lengths") -> NDArray[np.int64]:
    """Return how many of T steps each of B rows has, all if `value` is None; messages call T `axis`."""
    if value is None:
        return np.full(B, T, np.int64)
    given = np.array(unmasked(name, value))  # A copy cannot change once it is checked.
    if given.dtype.kind not in "iu" and given.size:
        raise TypeError(f"{name} must be integers, not {given.dtype}")
    if given.shape != (B,):
        raise ValueError(f"{name} must have shape (B,) = ({B},), not {given.shape}")
    if B and not 0 <= given.min() <= given.max() <= T:
        raise ValueError(f"{name} must be from 0 to {axis} = {T}, not {given.min()} to {given.max()}")
    return given.astype(np.int64)
