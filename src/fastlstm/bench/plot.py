"""The picture of a run: a dot for each peer and shape, and a line where fastlstm and the peer are equally fast."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastlstm.bench.peers import OPENVINO, ORT, ORT_PEEPHOLE, TORCH
from fastlstm.bench.report import title
from fastlstm.bench.results import Report, Row, Timed
from fastlstm.bench.tables import shape_text

__all__ = ["draw_ratios", "label_rows", "legend", "log_axis", "plot"]

COLOURS = {TORCH: "#d1495b", ORT: "#2e6f95", OPENVINO: "#8d5fa8", ORT_PEEPHOLE: "#8fb8d6"}
MARKERS = {TORCH: "o", ORT: "s", OPENVINO: "^", ORT_PEEPHOLE: "D"}
# Dots of one shape are a little above each other, so that equal ratios do not hide one another.
OFFSETS = {TORCH: -0.24, ORT: -0.08, OPENVINO: 0.08, ORT_PEEPHOLE: 0.24}
OWN = "#4a7c59"
TICKS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 50, 100)


def plot(report: Report, path: Path) -> None:
    """Draw a run: a panel for each kind and number of threads.

    Without peers the panels show the fraction of the sgemm rate, for the kinds that have one.

    Parameters
    ----------
    report : Report
        The figures of the run.
    path : Path
        The file to write, whose suffix decides the format.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there is nothing to draw: single steps without peers.
    """
    # Unlike pyplot, a plain Figure draws with Agg on every machine and leaves no global state.
    figures: Any = importlib.import_module("matplotlib.figure")
    compared = any(row["ratios"] for part in report["parts"] for row in part["rows"])
    parts = [part for part in report["parts"] if compared or any(row["fraction"] for row in part["rows"])]
    if not parts:
        raise ValueError("single steps are compared with peers only, and there were none")
    threads = sorted({part["threads"] for part in parts})
    kinds = list(dict.fromkeys(part["kind"] for part in parts))
    most = max(len(part["rows"]) for part in parts)
    figure = figures.Figure(
        figsize=(1.5 + 4.6 * len(kinds), 1.6 + len(threads) * (0.9 + 0.29 * most)), dpi=110, layout="constrained"
    )
    axes = figure.subplots(len(threads), len(kinds), squeeze=False)
    seen: dict[str, Any] = {}
    for part in parts:
        axis = axes[threads.index(part["threads"])][kinds.index(part["kind"])]
        if compared:
            draw_ratios(axis, part["rows"], seen)
        else:
            _draw_fractions(axis, part["rows"])
        over = "PyTorch" if part["kind"] == "training" else "the faster peer"
        mean = f"\ngeometric mean over {over}: {part['mean']:.2f}" if part["mean"] is not None else ""
        axis.set_title(f"{title(part)}{mean}", fontsize=10)
        step = part["kind"] == "step"
        shapes = [row["shape"][2 if step else 0 :] for row in part["rows"]]
        label_rows(axis, "I H" if step else "T B I H", [shape_text(shape) for shape in shapes])
    machine, versions = report["machine"], report["versions"]
    heading = "How many times as fast as each peer" if compared else "Fraction of the sgemm rate"
    figure.suptitle(
        f"fastlstm {versions['fastlstm']}: {heading[0].lower()}{heading[1:]}\n"
        f"{machine['cpu']}, {machine['isa']}, float32, {report['date']}",
        fontsize=11,
    )
    legend(figure, seen, versions)
    figure.savefig(path)


_LEGEND = {
    TORCH: "PyTorch {torch}",
    ORT: "ONNX Runtime {onnxruntime}",
    OPENVINO: "OpenVINO {openvino}",
    ORT_PEEPHOLE: "ONNX Runtime {onnxruntime}, both with peepholes",
}


def legend(figure: Any, seen: dict[str, Any], versions: dict[str, str]) -> None:
    """Name the peers that were `seen`, below the panels."""
    if seen:
        names = [_LEGEND[name].format(**versions) for name in seen]
        figure.legend(seen.values(), names, loc="outside lower center", ncols=len(seen), frameon=False, fontsize=9)


def label_rows(axis: Any, head: str, labels: Sequence[str]) -> None:
    """Name each row of a panel, the first one above."""
    axis.set_yticks(range(len(labels)), labels, fontsize=8)
    axis.text(-0.012, 1.01, head, transform=axis.transAxes, fontsize=8, ha="right", color="#555555")
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)


def log_axis(axis: Any, low: float, high: float) -> None:
    """Give a panel a logarithmic scale of ratios from left to right."""
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_xticks([], minor=True)


def draw_ratios(axis: Any, rows: Sequence[Timed], seen: dict[str, Any]) -> None:
    """Draw the ratios of some rows; add the peers' artists to `seen`, for the legend."""
    largest, smallest = 1.0, 1.0
    apart = sum(any(name in row["ratios"] for row in rows) for name in OFFSETS) > 1
    for name in OFFSETS:
        points = [(y, row["ratios"][name]) for y, row in enumerate(rows) if name in row["ratios"]]
        if not points:
            continue
        middle = [spread["median"] for _, spread in points]
        below = [spread["median"] - spread["q1"] for _, spread in points]
        above = [spread["q3"] - spread["median"] for _, spread in points]
        seen[name] = axis.errorbar(
            middle, [y + apart * OFFSETS[name] for y, _ in points], xerr=(below, above),
            fmt=MARKERS[name], color=COLOURS[name], markersize=5, elinewidth=1.5,
            markeredgecolor="white", markeredgewidth=0.5,
        )  # fmt: skip
        largest = max(largest, *(spread["q3"] for _, spread in points))
        smallest = min(smallest, *(spread["q1"] for _, spread in points))
    low, high = min(0.7, smallest / 1.2), max(3.0, largest * 1.2)
    log_axis(axis, low, high)
    axis.axvspan(low, 1, color="#f4e3e3", zorder=0)
    axis.axvline(1, color="black", linewidth=1, zorder=1)
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    axis.grid(axis="y", color="#eeeeee", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_xlabel("peer's time / fastlstm's time (left of 1: fastlstm is slower)", fontsize=8)


def _draw_fractions(axis: Any, rows: Sequence[Row]) -> None:
    """Draw the fractions of the sgemm rate of some rows."""
    fractions = [100 * (row["fraction"] or 0.0) for row in rows]
    axis.barh(range(len(fractions)), fractions, color=OWN, height=0.6)
    axis.set_xlim(0, max(100, *fractions) * 1.02)
    axis.set_xlabel("percent of the sgemm rate", fontsize=8)
