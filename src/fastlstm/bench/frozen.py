"""The command ``python -m fastlstm.bench.frozen``: networks whose weights are fixed, in full and in fewer bits.

One row over sequences and in single steps, and one batch, beside PyTorch, ONNX Runtime and OpenVINO in the formats that
they have; each with the largest error of its outputs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastlstm._arrays.checks import counted
from fastlstm.bench.command import progress, run
from fastlstm.bench.frozen_plot import plot
from fastlstm.bench.measure import difference, interleave, ratio
from fastlstm.bench.peers import (
    COUNTERPART,
    FIXED,
    FROZEN,
    NARROW,
    OPENVINO,
    ORT,
    OURS,
    PEERS,
    TORCH,
    Peers,
    Work,
    exact,
    in_format,
    narrow,
    plain,
)
from fastlstm.bench.results import Spread, Timed, geometric_mean
from fastlstm.bench.shapes import Shape
from fastlstm.bench.tables import ABSENT, largest_errors, markdown_table, number, shape_text, spread_text, used
from fastlstm.layers.frozen import Format

__all__ = ["FixedRow", "main"]

SIZES = (32, 48, 64, 100, 128, 200, 256, 384, 512, 1024)
SEQUENCES = tuple(Shape(100, 1, size, size) for size in SIZES)
STEPS = tuple(Shape(1, 1, size, size) for size in (32, 64, 128, 256, 512, 1024))
# Where rows are many, a processor's narrow products are at their best.
BATCHES = (Shape(100, 32, 256, 256),)
ROUNDS = 7
# Outputs are between -1 and 1: a wrong computation is further from the right one than any rounding of weights.
ROUNDED = 0.1
BEST_FIXED, BEST = "best of ONNX Runtime and OpenVINO / Frozen", "best peer / fastlstm"
BEST_ROUNDED = "best peer / Frozen"


class FixedRow(Timed):
    """The contestants at one shape; `over_layer` has the time of each over that of the layer in float32."""

    over_layer: dict[str, Spread]


def _measure(kind: str, shape: Shape, threads: int, seconds: float, peers: Peers) -> FixedRow:
    """Measure the errors of all contestants, which must be small, then their times."""
    work = Work(shape)
    full, rounded = plain(kind, work, peers, threads), narrow(kind, work, peers, threads)
    reference = exact(kind, work)
    errors = {one.name: difference(reference, one) for one in full}
    errors |= {one.name: difference(reference, one, tolerance=ROUNDED) for one in rounded}
    times = interleave([*full, *rounded], seconds, ROUNDS)
    return {
        "shape": list(shape),
        "rounds": len(times[OURS]),
        "ms": {name: 1e3 * float(np.median(values)) for name, values in times.items()},
        "errors": errors,
        "ratios": {name: ratio(times[name], times[COUNTERPART[name]]) for name in times if name in COUNTERPART},
        "over_layer": {name: ratio(values, times[OURS]) for name, values in times.items() if name != OURS},
    }


def _parts(threads: int, seconds: float, peers: Peers) -> Iterator[dict[str, Any]]:
    for kind, computed, shapes in (
        ("sequence", "inference", SEQUENCES),
        ("step", "step", STEPS),
        ("batch", "inference", BATCHES),
    ):
        rows = []
        for shape in shapes:
            progress(f"{kind}, {shape_text(shape)}, {counted(threads, 'thread')}")
            rows.append(_measure(computed, shape, threads, seconds, peers))
        yield {"kind": kind, "threads": threads, "rows": rows}


# ---- the report ----


def _best(found: dict[str, Spread], names: Sequence[str]) -> str | None:
    """Return which of the names has the smallest ratio, None if none of them took part."""
    return min((name for name in names if name in found), key=lambda name: found[name]["median"], default=None)


def _spread(found: dict[str, Spread], names: Sequence[str]) -> str:
    """Return the ratio of the best of the names, as text."""
    best = _best(found, names)
    return spread_text(found[best] if best else None)


def _microseconds(row: FixedRow, name: str) -> str:
    return number(1e3 * row["ms"][name]) if name in row["ms"] else ABSENT


def _label(row: FixedRow) -> dict[str, str]:
    T, B, I, H = row["shape"]
    return {"I = H": str(H)} if B == 1 else {"T B I H": shape_text((T, B, I, H))}


def _float32(row: FixedRow) -> dict[str, str]:
    """Return a row of the table of float32."""
    return {
        **_label(row),
        "fastlstm us": _microseconds(row, OURS),
        "Frozen us": _microseconds(row, FROZEN),
        "PyTorch us": _microseconds(row, TORCH),
        "ONNX Runtime us": _microseconds(row, ORT),
        "OpenVINO us": _microseconds(row, OPENVINO),
        BEST_FIXED: _spread(row["ratios"], FIXED),
        BEST: _spread(row["over_layer"], PEERS),
    }


def _rounded(row: FixedRow, weights: Format) -> dict[str, str]:
    """Return a row of the table of a narrower format."""
    names = [in_format(name, weights) for name in (FROZEN, *PEERS)]
    cells = _label(row)
    for name in names:
        error = f" ({row['errors'][name]:.1g})" if name in row["ms"] else ""
        cells[f"{name.removeprefix('fastlstm, ')} us"] = _microseconds(row, name) + error
    return cells | {
        BEST_ROUNDED: _spread(row["ratios"], names),
        "Frozen / fastlstm in float32": _spread(row["over_layer"], names[:1]),
    }


def _verdict(
    rows: Sequence[FixedRow], mean: str, found: Sequence[dict[str, Spread]], names: Sequence[str]
) -> list[str]:
    """Return the geometric mean of the best of the names in each row, and where it is below 1."""
    best = [
        (row, name, ratios[name]) for row, ratios in zip(rows, found, strict=True) if (name := _best(ratios, names))
    ]
    lines = []
    if len(best) > 1:
        value = geometric_mean([spread["median"] for *_, spread in best])
        lines.append(f"Geometric mean of {mean} over {len(best)} sizes: {value:.2f}.")
    ours = mean.rpartition(" / ")[2]
    for name in names:
        slower = [(row, spread) for row, other, spread in best if other == name and spread["median"] < 1]
        if slower:
            at = "; ".join(f"{' '.join(_label(row).values())}: {spread_text(spread)}" for row, spread in slower)
            lines.append(f"{ours} is slower than {name} at {at}.")
    return [f"- {line}" for line in lines]


def _markdown(report: dict[str, Any]) -> str:
    here, versions = report["machine"], report["versions"]
    lines = [
        f"{here['cpu']}, {counted(here['processors'], 'processor')}, instruction set {here['isa']}  ",
        ", ".join(f"{name} {version}" for name, version in versions.items()),
    ]
    for part in report["parts"]:
        rows: list[FixedRow] = part["rows"]
        steps = rows[0]["shape"][0]
        work = {"step": "One step, one row", "sequence": f"{steps} steps, one row", "batch": f"{steps} steps, a batch"}
        title = f"{work[part['kind']]}, {counted(part['threads'], 'thread')}"
        ratios, over_layer = [row["ratios"] for row in rows], [row["over_layer"] for row in rows]
        lines += ["", f"**{title}, float32**", "", *markdown_table(used([_float32(row) for row in rows])), ""]
        lines += _verdict(rows, BEST_FIXED, ratios, FIXED) + _verdict(rows, BEST, over_layer, PEERS)
        lines += [f"- {line}" for line in largest_errors(rows, (OURS, FROZEN, *PEERS))]
        for weights in NARROW:
            lines += ["", f"**{title}, {weights}**, in brackets the largest error of an output", ""]
            lines += markdown_table(used([_rounded(row, weights) for row in rows]))
            theirs = [in_format(peer, weights) for peer in PEERS]
            if verdict := _verdict(rows, BEST_ROUNDED, ratios, theirs):
                lines += ["", *verdict]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments. Default: those of the process.

    Returns
    -------
    int
        The exit status.
    """
    return run("frozen", __doc__, _parts, _markdown, argv, plot)


if __name__ == "__main__":
    sys.exit(main())
