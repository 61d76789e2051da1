"""How far two sequences of symbols are apart: what error rates are made of."""

from __future__ import annotations

from collections.abc import Sequence


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Give how many items must be inserted, deleted or replaced to make one of the other (Levenshtein, 1966)."""
    row = list(range(len(b) + 1))
    for k, item in enumerate(a, 1):
        diagonal, row[0] = row[0], k
        for j, other in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (item != other))
    return row[-1]
