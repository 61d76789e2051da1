"""The data sets of the examples, a module each: where the files come from and how they are read.

Each has its `SOURCE` and a function `read`, from the files that `_data.fetch` gives to arrays and texts in three parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Parts(NamedTuple, Generic[T]):
    """What is learnt from, what choices are made on, and what is seen only at the end."""

    train: T
    validation: T
    test: T


def split(items: Iterable[T], key: Callable[[T], Any]) -> Parts[list[T]]:
    """Share out the items: of every ten keys in order, the ninth is for validation and the tenth for the test.

    Items of the same key come into the same part, so that none is tested on what was learnt by heart.
    """
    items = list(items)
    parts = Parts[list[T]]([], [], [])
    place = {k: max(0, number % 10 - 7) for number, k in enumerate(sorted({key(item) for item in items}))}
    for item in items:
        parts[place[key(item)]].append(item)
    return parts
