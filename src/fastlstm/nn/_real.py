"""The check of a number that need not be whole."""

from __future__ import annotations

from numbers import Real


def real(name: str, value: object) -> float:
    """`value` as a float if it is a real number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    return float(value)
