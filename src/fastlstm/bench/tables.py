"""Figures as text, and tables of them in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from fastlstm.bench.results import Spread, Timed

__all__ = ["ABSENT", "largest_errors", "markdown_table", "number", "shape_text", "spread_text", "used"]

ABSENT = "-"


def number(value: float | None) -> str:
    """Return a number with three significant digits, without an exponent."""
    if value is None:
        return ABSENT
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def spread_text(spread: Spread | None) -> str:
    """Return the median and the quartiles of a ratio."""
    return ABSENT if spread is None else f"{spread['median']:.2f} ({spread['q1']:.2f}-{spread['q3']:.2f})"


def shape_text(shape: Sequence[int]) -> str:
    """Return the numbers of a shape, with spaces between them."""
    return " ".join(map(str, shape))


def used(rows: Sequence[dict[str, str]]) -> list[list[str]]:
    """Return the header and the rows of a table, without columns that have no figures."""
    if not rows:
        return []
    names = [name for name in rows[0] if any(row[name] != ABSENT for row in rows)]
    return [names, *([row[name] for name in names] for row in rows)]


def markdown_table(table: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose first row is the header."""
    head, *rows = table
    return [f"| {' | '.join(head)} |", "|" + " ---: |" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]


def largest_errors(rows: Sequence[Timed], names: Sequence[str]) -> list[str]:
    """Return a sentence on the largest errors of the named contestants over all rows; none if there are no figures."""
    largest = {
        name: max(errors)
        for name in names
        if (errors := [row["errors"][name] for row in rows if name in row.get("errors", {})])
    }
    said = "; ".join(f"{name.removeprefix('fastlstm, ')} {error:.1g}" for name, error in largest.items())
    return [f"Largest error against float64: {said}."] if largest else []
