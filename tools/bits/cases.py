"""Combinations, and their choice from the values of each option."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations
from typing import Any

import numpy as np

Options = dict[str, Any]
Results = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One combination: its full name, and the function that computes its results."""

    name: str
    compute: Callable[[], Results]


def random_numbers(name: str) -> np.random.Generator:
    """Return the generator of a combination's data, which depends on its name alone."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def named(subject: str, options: Options) -> str:
    """Return the full name of a combination."""
    return f"{subject} " + " ".join(f"{name}={_written(value)}" for name, value in options.items())


def _written(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def chosen(subject: str, values: dict[str, list[Any]], more: int) -> Iterator[Options]:
    """Choose combinations in which all pairs of two options' values occur, and some more at random.

    Each step begins with a pair that has not occurred yet, and takes the one of some random combinations with it that
    has the most such pairs.
    """
    rng, options = random.Random(subject), list(values)
    missing = {
        (a, i, b, j): None
        for a, b in combinations(options, 2)
        for i in range(len(values[a]))
        for j in range(len(values[b]))
    }

    def random_choice() -> dict[str, int]:
        return {option: rng.randrange(len(values[option])) for option in options}

    def pairs(choice: dict[str, int]) -> list[tuple[str, int, str, int]]:
        return [(a, choice[a], b, choice[b]) for a, b in combinations(options, 2)]

    choices = []
    while missing:
        a, i, b, j = next(iter(missing))
        candidates = [random_choice() | {a: i, b: j} for _ in range(16)]
        best = max(candidates, key=lambda choice: sum(pair in missing for pair in pairs(choice)))
        choices.append(best)
        for pair in pairs(best):
            missing.pop(pair, None)
    choices += [random_choice() for _ in range(more)]
    for choice in choices:
        yield {option: values[option][k] for option, k in choice.items()}


def fingerprints(results: Results) -> dict[str, str]:
    """Return a hash of each array's bytes, shape and dtype, by the name of the result."""
    return {name: _fingerprint(array) for name, array in _arrays(results)}


def _arrays(results: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if hasattr(results, "_asdict"):
        results = results._asdict()
    if isinstance(results, (tuple, list)):
        results = dict(enumerate(results))
    if isinstance(results, dict):
        for key, value in results.items():
            yield from _arrays(value, f"{name}.{key}" if name else str(key))
    elif results is not None:
        yield name, results


def _fingerprint(value: Any) -> str:
    array = np.asarray(value)
    found = blake2b(f"{array.dtype.str} {array.shape}".encode(), digest_size=8)
    found.update(array.tobytes())
    return found.hexdigest()
