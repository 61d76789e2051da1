"""The picture of `fastlstm.bench.frozen`: one row against the peers, and what fewer bits cost and bring."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from fastlstm._arrays.checks import counted
from fastlstm.bench.peers import FIXED, FROZEN, NARROW, PEERS, in_format
from fastlstm.bench.plot import COLOURS, OWN, draw_ratios, label_rows, legend, log_axis
from fastlstm.bench.results import Timed, geometric_mean

__all__ = ["plot"]

MARKERS = dict(zip(NARROW, "os", strict=True))
TITLES = {"sequence": "one row", "step": "one row, one step"}


def plot(report: dict[str, Any], path: Path) -> None:
    """Draw a run: for each number of threads, sequences, steps, and time and error in fewer bits.

    Parameters
    ----------
    report : dict
        The figures of the run.
    path : Path
        The file to write, whose suffix decides the format.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    figures: Any = importlib.import_module("matplotlib.figure")
    threads = sorted({part["threads"] for part in report["parts"]})
    figure = figures.Figure(figsize=(15.5, 1.4 + 4.2 * len(threads)), dpi=110, layout="constrained")
    axes = figure.subplots(len(threads), len(TITLES) + 1, squeeze=False)
    seen: dict[str, Any] = {}
    for part in report["parts"]:
        if part["kind"] not in TITLES:
            continue
        row_of_axes, rows = axes[threads.index(part["threads"])], part["rows"]
        axis = row_of_axes[list(TITLES).index(part["kind"])]
        fixed = [_of_fixed(row) for row in rows]
        draw_ratios(axis, fixed, seen)
        axis.set_xlabel("peer's time / that of Frozen (left of 1: Frozen is slower)", fontsize=8)
        label_rows(axis, "I = H", [str(row["shape"][3]) for row in rows])
        best = [min(spread["median"] for spread in row["ratios"].values()) for row in fixed if row["ratios"]]
        mean = f"\ngeometric mean over the faster: {geometric_mean(best):.2f}" if best else ""
        axis.set_title(f"{TITLES[part['kind']]}, {counted(part['threads'], 'thread')}{mean}", fontsize=10)
        if part["kind"] == "sequence":
            _draw_errors(row_of_axes[-1], rows)
            row_of_axes[-1].set_title(
                f"one row, {counted(part['threads'], 'thread')}: weights in fewer bits", fontsize=10
            )
    legend(figure, seen, report["versions"])
    machine = report["machine"]
    figure.suptitle(
        f"fastlstm {report['versions']['fastlstm']}: networks whose weights are fixed\n"
        f"{machine['cpu']}, {machine['isa']}, float32",
        fontsize=11,
    )
    figure.savefig(path)


def _of_fixed(row: Timed) -> Timed:
    """Return a row with the ratios of peers whose weights are fixed alone."""
    fixed = row.copy()
    fixed["ratios"] = {name: row["ratios"][name] for name in FIXED if name in row["ratios"]}
    return fixed


def _draw_errors(axis: Any, rows: list[Any]) -> None:
    """Draw time against error: a dot for each size of a network, larger ones for larger sizes."""
    drawn = []
    for library in (FROZEN, *PEERS):
        for weights in NARROW:
            name = in_format(library, weights)
            points = [row for row in rows if name in row["over_layer"]]
            if not points:
                continue
            times = [row["over_layer"][name]["median"] for row in points]
            axis.scatter(
                times, [row["errors"][name] for row in points], s=[8 + row["shape"][3] / 12 for row in points],
                marker=MARKERS[weights], color=COLOURS.get(library, OWN), edgecolor="white", linewidth=0.5,
                label=name.removeprefix("fastlstm, "),
            )  # fmt: skip
            drawn += times
    log_axis(axis, min([0.5, *drawn]) / 1.2, max([2, *drawn]) * 1.2)
    axis.set_yscale("log")
    axis.axvline(1, color="black", linewidth=1, zorder=0)
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_xlabel("time / that of the layer in float32 (larger dots: larger I = H)", fontsize=8)
    axis.set_ylabel("largest error of an output", fontsize=8)
    axis.legend(fontsize=7)
