"""The picture of `fastlstm.bench.modules`: how many times as fast as torch.nn's modules ours are, in bars."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from fastlstm._arrays.checks import counted
from fastlstm.bench.peers import TORCH
from fastlstm.bench.plot import OWN, label_rows, log_axis
from fastlstm.bench.results import geometric_mean
from fastlstm.bench.tables import shape_text

__all__ = ["plot"]

COLOURS = {"training": OWN, "inference": "#a9cdb0"}
SLOWER = "#b02a37"
TITLES = {"packed": "packed sequences", "padded": "padded sequences", "step": "one step of one sequence"}
# Of a bar, and of what is free between tasks, which are 1 apart.
HEIGHT, FREE = 0.4, 0.04


def plot(report: dict[str, Any], path: Path) -> None:
    """Draw a run: for each number of threads a panel for each kind of sequences.

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
    parts, machine, versions = report["parts"], report["machine"], report["versions"]
    threads = sorted({part["threads"] for part in parts})
    most = max(len({_label(row) for row in part["rows"]}) for part in parts)
    figure = figures.Figure(figsize=(14.5, 1.3 + len(threads) * (0.9 + 0.32 * most)), dpi=110, layout="constrained")
    axes = figure.subplots(len(threads), len(TITLES), squeeze=False)
    seen: dict[str, Any] = {}
    for part in parts:
        axis = axes[threads.index(part["threads"])][list(TITLES).index(part["kind"])]
        seen |= _draw(axis, part["rows"])
        title = f"{TITLES[part['kind']]}, {counted(part['threads'], 'thread')}"
        axis.set_title(f"{title}\n{_means(part['rows'])}", fontsize=10)
    figure.legend(seen.values(), seen, loc="outside lower center", ncols=len(seen), frameon=False, fontsize=9)
    figure.suptitle(
        f"fastlstm.torch {versions['fastlstm']}: how many times as fast as torch.nn, PyTorch {versions['torch']}\n"
        f"{machine['cpu']}, {machine['isa']}, float32",
        fontsize=11,
    )
    figure.savefig(path)


def _label(row: dict[str, Any]) -> str:
    """Return the name of a task: its shape, and what it is beside an LSTM with one layer in one direction."""
    layers = f"{row['layers']} layers" if row["layers"] > 1 else ""
    stack = ", ".join(text for text in (layers, "bidirectional" if row["bidirectional"] else "") if text)
    module = "" if row["module"] == "LSTM" else f"{row['module']}  "
    return f"{stack}\n{module}{shape_text(row['shape'])}".lstrip()


def _means(rows: list[dict[str, Any]]) -> str:
    over = {name: [row["ratios"][TORCH]["median"] for row in rows if row["computed"] == name] for name in COLOURS}
    return "geometric mean: " + ", ".join(f"{name} {geometric_mean(values):.1f}" for name, values in over.items())


def _draw(axis: Any, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Draw the bars of a panel; return those of each colour."""
    labels = list(dict.fromkeys(_label(row) for row in rows if row["computed"] == "inference"))
    drawn: dict[str, Any] = {}
    for name, side in zip(COLOURS, (-1, 1), strict=True):
        own = [row for row in rows if row["computed"] == name]
        medians = [row["ratios"][TORCH]["median"] for row in own]
        places = [labels.index(_label(row)) + side * HEIGHT / 2 for row in own]
        drawn[name] = axis.barh(
            places, [median - 1 for median in medians], left=1, height=HEIGHT - FREE, color=COLOURS[name]
        )
        for y, median in zip(places, medians, strict=True):
            text = f"{median:.2f}" if median < 1.05 else f"{median:.{1 if median < 10 else 0}f}"
            colour = "#333333" if median >= 1 else SLOWER
            axis.text(max(median, 1) * 1.04, y, text, fontsize=7, va="center", color=colour)
    over = [row["ratios"][TORCH]["median"] for row in rows]
    log_axis(axis, min(0.9, *over) / 1.05, max(3, *over) * 1.3)
    axis.axvline(1, color="black", linewidth=1)
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_xlabel("time of torch.nn / time of fastlstm.torch", fontsize=8)
    label_rows(axis, "T B I H", labels)
    return drawn
