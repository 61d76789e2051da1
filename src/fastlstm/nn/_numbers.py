"""Checks of numbers and of ids."""

from __future__ import annotations

from numbers import Real

import numpy as np
from numpy.typing import NDArray

from fastlstm import _checks as check


def real(name: str, value: object) -> float:
    """`value` as a float if it is a real number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} must be a number that fits a float") from None


def within(name: str, value: object, end: float) -> float:
    """`value` as a float if it is at least 0 and below `end`."""
    number = real(name, value)
    if not 0 <= number < end:
        raise ValueError(f"{name} must be at least 0 and below {end}, not {number}")
    return number


def above_zero(name: str, value: object) -> float:
    """`value` as a float if it is above 0."""
    number = real(name, value)
    if not number > 0:
        raise ValueError(f"{name} must be above 0, not {number}")
    return number


def ids(name: str, value: object, vocabulary_size: int | None = None) -> NDArray[np.int64]:
    """A copy of `value` if it is an array of integers, of a vocabulary: what is checked must not change."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, not {type(value).__name__}")
    if check.unmasked(name, value).dtype.kind not in "iu":
        raise TypeError(f"{name} must have an integer dtype, not {value.dtype}")
    found = np.array(value, np.int64, order="C")
    if vocabulary_size is not None and found.size and not (found.min() >= 0 and found.max() < vocabulary_size):
        raise ValueError(f"{name} must be from 0 to {vocabulary_size - 1}, not {found.min()} to {found.max()}")
    return found


def symbol(name: str, value: int, vocabulary_size: int | None = None) -> int:
    """`value` as an int if it is the id of a symbol, one of so many where that is known."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    found = value.__index__()
    if found < 0 or (vocabulary_size is not None and found >= vocabulary_size):
        end = "on" if vocabulary_size is None else f"to {vocabulary_size - 1}"
        raise ValueError(f"{name} must be from 0 {end}, not {found}")
    return found
