"""The report of a run as text: aligned tables for a terminal, Markdown for the README."""

from __future__ import annotations

from fastlstm._arrays.checks import counted
from fastlstm.bench.peers import (
    FROZEN,
    OPENVINO,
    ORT,
    ORT_PEEPHOLE,
    OURS,
    OURS_BLAS,
    OURS_FLOAT64,
    OURS_PEEPHOLE,
    PEERS,
    TORCH,
)
from fastlstm.bench.results import Machine, Part, Report, Row
from fastlstm.bench.tables import ABSENT, largest_errors, markdown_table, number, shape_text, spread_text, used

__all__ = ["busy", "markdown", "text", "title"]

BUSY_LOAD = 0.5
_OVER = {"inference": "best peer", "training": "PyTorch", "step": "best peer"}


def _percent(fraction: float | None) -> str:
    """Return a fraction in percent."""
    return ABSENT if fraction is None else f"{100 * fraction:.0f} %"


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
            return number(scale * row["ms"][name]) if name in row["ms"] else ABSENT

        return {
            "I H" if step else "T B I H": shape_text((I, H) if step else (T, B, I, H)),
            f"fastlstm {unit}": time(OURS),
            f"Frozen {unit}": time(FROZEN),
            f"PyTorch {unit}": time(TORCH),
            f"ONNX Runtime {unit}": time(ORT),
            f"OpenVINO {unit}": time(OPENVINO),
            f"{_OVER[part['kind']]} / fastlstm": spread_text(row["ratios"][best] if best else None),
            "GFLOP/s": ABSENT if step else number(row["gflops"]),
            "of sgemm": _percent(row["fraction"]),
            f"peepholes: fastlstm {unit}": time(OURS_PEEPHOLE),
            "ONNX Runtime / fastlstm": spread_text(row["ratios"].get(ORT_PEEPHOLE)),
            "with / without": spread_text(row["peephole_cost"]),
            f"on BLAS: fastlstm {unit}": time(OURS_BLAS),
        }

    return used([row_of(row) for row in part["rows"]])


def _conclusions(part: Part) -> list[str]:
    """Return sentences on wins, losses, float64 and errors."""
    lines = []
    count = sum(row["best_peer"] is not None for row in part["rows"])
    if part["mean"] is None:
        lines.append("No peer took part.")
    else:
        shapes = f"{count} shape{'s' if count > 1 else ''}"
        lines.append(f"Geometric mean of {_OVER[part['kind']]} / fastlstm over {shapes}: {part['mean']:.2f}.")
        if part["peephole_mean"] is not None:
            lines.append(f"With peepholes, ONNX Runtime / fastlstm: {part['peephole_mean']:.2f}.")
        if not part["losses"]:
            lines.append("fastlstm is slower at no shape.")
        lines += [
            f"fastlstm is slower than {loss['peer']} at {shape_text(loss['shape'])}: {spread_text(loss['ratio'])}."
            for loss in part["losses"]
        ]
    double = [
        f"{shape_text(row['shape'])}: {number(row['ms'][OURS_FLOAT64])} ms, {spread_text(row['float64'])}"
        for row in part["rows"]
        if row["float64"] is not None
    ]
    if double:
        lines.append(f"float64 (time / float32 time) at {'; '.join(double)}.")
    return lines + largest_errors(part["rows"], (OURS, FROZEN, *PEERS))


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
    if any(FROZEN in row["ms"] for part in report["parts"] for row in part["rows"]):
        lines.append(
            "PyTorch is compared with the layer; ONNX Runtime and OpenVINO, whose weights are fixed, with Frozen."
        )
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
        lines += [
            "",
            f"**{title(part).capitalize()}**",
            "",
            *markdown_table(_table(part)),
            "",
            *(f"- {line}" for line in _conclusions(part)),
        ]
    return "\n".join(lines)
