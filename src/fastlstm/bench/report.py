"""The report of a run as text: aligned tables for a terminal, Markdown for the README."""

from __future__ import annotations

from collections.abc import Sequence

from fastlstm._arrays.checks import counted
from fastlstm.bench.peers import ORT, ORT_PEEPHOLE, OURS, OURS_BLAS, OURS_FLOAT64, OURS_PEEPHOLE, TORCH
from fastlstm.bench.results import Machine, Part, Report, Row, Spread

__all__ = ["busy", "markdown", "text", "title"]

ABSENT = "-"
BUSY_LOAD = 0.5
_OVER = {"inference": "best peer", "training": "PyTorch", "step": "best peer"}


def _number(value: float | None) -> str:
    """Return a number with three significant digits, without an exponent."""
    if value is None:
        return ABSENT
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _ratio(spread: Spread | None) -> str:
    """Return the median and the quartiles of a ratio."""
    return ABSENT if spread is None else f"{spread['median']:.2f} ({spread['q1']:.2f}-{spread['q3']:.2f})"


def _percent(fraction: float | None) -> str:
    """Return a fraction in percent."""
    return ABSENT if fraction is None else f"{100 * fraction:.0f} %"


def _shape(shape: Sequence[int]) -> str:
    """Return the numbers of a shape, with spaces between them."""
    return " ".join(map(str, shape))


def busy(machine: Machine) -> str:
    """Return a warning if other processes were running, else an empty text."""
    if machine["load"] is None or machine["load"] <= BUSY_LOAD:
        return ""
    return f"The machine was not idle, its load {machine['load']} before the run: the figures may be far off."


def title(part: Part) -> str:
    """Return the heading of a part: its kind and its threads."""
    names = {"inference": "inference", "training": "training (forward + backward)", "step": "one step, batch 1"}
    return f"{names[part['kind']]}, {counted(part['threads'], 'thread')}"


def _table(part: Part) -> list[list[str]]:
    """Return the header and the rows of a table, without columns that have no figures."""
    step = part["kind"] == "step"
    unit, scale = ("us", 1e3) if step else ("ms", 1.0)

    def row_of(row: Row) -> dict[str, str]:
        T, B, I, H = row["shape"]
        best = row["best_peer"]

        def time(name: str) -> str:
            return _number(scale * row["ms"][name]) if name in row["ms"] else ABSENT

        return {
            "shape": _shape((I, H) if step else (T, B, I, H)),
            f"fastlstm {unit}": time(OURS),
            f"PyTorch {unit}": time(TORCH),
            f"ONNX Runtime {unit}": time(ORT),
            f"{_OVER[part['kind']]} / fastlstm": _ratio(row["ratios"][best] if best else None),
            "GFLOP/s": ABSENT if step else _number(row["gflops"]),
            "of sgemm": _percent(row["fraction"]),
            f"peepholes: fastlstm {unit}": time(OURS_PEEPHOLE),
            "ONNX Runtime / fastlstm": _ratio(row["ratios"].get(ORT_PEEPHOLE)),
            "with / without": _ratio(row["peephole_cost"]),
            f"on BLAS: fastlstm {unit}": time(OURS_BLAS),
        }

    rows = [row_of(row) for row in part["rows"]]
    if not rows:
        return []
    used = [name for name in rows[0] if any(row[name] != ABSENT for row in rows)]
    names = {"shape": "I H" if step else "T B I H"}
    return [[names.get(name, name) for name in used], *([row[name] for name in used] for row in rows)]


def _conclusions(part: Part) -> list[str]:
    """Return sentences on wins, losses and float64."""
    lines = []
    number = sum(row["best_peer"] is not None for row in part["rows"])
    if part["mean"] is None:
        lines.append("No peer took part.")
    else:
        shapes = f"{number} shape{'s' if number > 1 else ''}"
        lines.append(f"Geometric mean of {_OVER[part['kind']]} / fastlstm over {shapes}: {part['mean']:.2f}.")
        if part["peephole_mean"] is not None:
            lines.append(f"With peepholes, ONNX Runtime / fastlstm: {part['peephole_mean']:.2f}.")
        if not part["losses"]:
            lines.append("fastlstm is slower at no shape.")
        lines += [
            f"fastlstm is slower than {loss['peer']} at {_shape(loss['shape'])}: {_ratio(loss['ratio'])}."
            for loss in part["losses"]
        ]
    double = [
        f"{_shape(row['shape'])}: {_number(row['ms'][OURS_FLOAT64])} ms, {_ratio(row['float64'])}"
        for row in part["rows"]
        if row["float64"] is not None
    ]
    if double:
        lines.append(f"float64 (time / float32 time) at {'; '.join(double)}.")
    return lines


def _heading(report: Report) -> list[str]:
    """Return lines on the machine, the versions and the settings of the run."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = [
        f"{machine['cpu']}, {counted(machine['processors'], 'processor')}, {machine['system']}, "
        f"instruction set {machine['isa']}, float32, {report['date']}",
        versions,
    ]
    for threads, rates in report["sgemm"].items():
        sizes = ", ".join(f"{rate:.1f} GFLOP/s at {size}" for size, rate in rates.items())
        lines.append(f"sgemm of SciPy's BLAS, {counted(int(threads), 'thread')}: {sizes}")
    if report["quick"]:
        lines.append("A quick run: fewer shapes and rounds, rough figures.")
    lines += [f"Not measured: {name} ({reason})" for name, reason in report["missing"].items()]
    if not report["blas_limited"]:
        lines.append("The threads of BLAS were not limited, its rate may be that of several: install threadpoolctl.")
    if warning := busy(machine):
        lines.append(warning)
    return lines


def text(report: Report) -> str:
    """Return the whole run as plain text.

    Parameters
    ----------
    report : Report
        The figures of the run.
    """
    lines = _heading(report)
    for part in report["parts"]:
        lines += ["", title(part)]
        table = _table(part)
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines += ["  " + "  ".join(map(str.rjust, row, widths)) for row in table]
        lines += ["", *(f"  {line}" for line in _conclusions(part))]
    lines += ["", f"Times are medians; ratios are medians with quartiles over the rounds. {report['elapsed']:.0f} s."]
    return "\n".join(lines)


def markdown(report: Report) -> str:
    """Return the tables of a run in Markdown.

    Parameters
    ----------
    report : Report
        The figures of the run.
    """
    lines = ["  \n".join(_heading(report))]
    for part in report["parts"]:
        head, *rows = _table(part)
        lines += ["", f"**{title(part).capitalize()}**", "", f"| {' | '.join(head)} |", "|" + " ---: |" * len(head)]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        lines += ["", *(f"- {line}" for line in _conclusions(part))]
    return "\n".join(lines)
