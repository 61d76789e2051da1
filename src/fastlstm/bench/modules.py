"""The command ``python -m fastlstm.bench.modules``: `fastlstm.torch` beside `torch.nn`, on the same parameters.

Packed sequences, padded ones, and single steps: LSTMs, and GRUs and RNNs at some sizes. fastlstm's own layer on NumPy
arrays takes part too: what a module takes longer is the way through PyTorch. PyTorch is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from fastlstm._arrays.checks import counted
from fastlstm.bench.command import progress, run
from fastlstm.bench.measure import difference, interleave, ratio
from fastlstm.bench.modules_plot import plot
from fastlstm.bench.peers import OURS, TORCH, Peers
from fastlstm.bench.peers.modules import BRIDGE, Computed, Problem, Task, kernels_alone
from fastlstm.bench.results import Spread, Timed, geometric_mean
from fastlstm.bench.shapes import QUICK, SEQUENCES, Shape
from fastlstm.bench.tables import ABSENT, largest_errors, markdown_table, number, shape_text, spread_text, used

__all__ = ["ModuleRow", "main"]

# Each kind of sequences, with what is computed of which tasks.
Plan = dict[str, list[tuple[Computed, Task]]]

PACKED = (
    Task(Shape(100, 32, 32, 64)),
    Task(Shape(500, 32, 32, 64), bidirectional=True),
    Task(Shape(200, 16, 64, 128), layers=2, bidirectional=True),
    *(Task(Shape(100, 32, 32, 64), module) for module in ("GRU", "RNN")),
)
OTHERS = tuple(Task(Shape(100, 32, 64, 64), module) for module in ("GRU", "RNN"))
STEPS = (
    *(Task(Shape(1, 1, size, size)) for size in (16, 64, 256)),
    *(Task(Shape(1, 1, 64, 64), module) for module in ("GRU", "RNN")),
)
TRAINED_STEPS = STEPS[1:2]
TITLES = {"packed": "Packed sequences", "padded": "Padded sequences", "step": "One step of one sequence"}
ROUNDS, QUICK_ROUNDS = 7, 3
QUICKER = 0.2


class ModuleRow(Timed):
    """The contestants at one task. `ratios` has the time of PyTorch's module over that of ours."""

    module: str
    layers: int
    bidirectional: bool
    computed: Computed
    # The time of our module over that of our layer, and how many microseconds it is more.
    over_layer: Spread
    extra_us: float


def _plan(quick: bool) -> Plan:
    padded = (*(Task(shape) for shape in (QUICK if quick else SEQUENCES)), *OTHERS)
    tasks = {"packed": (PACKED, PACKED), "padded": (padded, padded), "step": (TRAINED_STEPS, STEPS)}
    return {
        kind: [*(("training", task) for task in trained), *(("inference", task) for task in called)]
        for kind, (trained, called) in tasks.items()
    }


def _measure(kind: str, computed: Computed, task: Task, seconds: float, rounds: int, torch: Any) -> ModuleRow:
    """Measure the errors of all contestants, which must be small, then their times."""
    problem = Problem(torch, task, packed=kind == "packed", carried=kind == "step" and computed != "training")
    contestants, reference = problem.contestants(computed), problem.exact(computed)
    errors = {one.name: difference(reference, one) for one in contestants}
    times = interleave(contestants, seconds, rounds)
    return {
        "module": task.module,
        "layers": task.layers,
        "bidirectional": task.bidirectional,
        "computed": computed,
        "shape": list(task.shape),
        "rounds": len(times[OURS]),
        "ms": {name: 1e3 * float(np.median(values)) for name, values in times.items()},
        "errors": errors,
        "ratios": {TORCH: ratio(times[TORCH], times[BRIDGE])},
        "over_layer": ratio(times[BRIDGE], times[OURS]),
        "extra_us": 1e6 * float(np.median(times[BRIDGE] - times[OURS])),
    }


def _parts(threads: int, seconds: float, peers: Peers, quick: bool = False) -> Iterator[dict[str, Any]]:
    seconds, rounds = (QUICKER * seconds, QUICK_ROUNDS) if quick else (seconds, ROUNDS)
    for kind, tasks in _plan(quick).items():
        rows = []
        with kernels_alone() as fallbacks:
            for computed, task in tasks:
                progress(f"{kind}, {computed}, {_name(task)}, {counted(threads, 'thread')}")
                rows.append(_measure(kind, computed, task, seconds, rounds, peers.torch))
            yield {"kind": kind, "threads": threads, "quick": quick, "fallbacks": dict(fallbacks), "rows": rows}


# ---- the report ----


def _name(task: Task) -> str:
    layers = f", {task.layers} layers" if task.layers > 1 else ""
    return f"{task.module} {shape_text(task.shape)}{layers}{', bidirectional' if task.bidirectional else ''}"


def _label(row: ModuleRow) -> str:
    return _name(Task(Shape(*row["shape"]), row["module"], row["layers"], row["bidirectional"]))


def _cells(row: ModuleRow, step: bool) -> dict[str, str]:
    scale, unit = (1e3, "us") if step else (1, "ms")
    times = {name: number(scale * row["ms"][name]) for name in (TORCH, BRIDGE, OURS)}
    return {
        "module, T B I H": _label(row),
        f"torch.nn {unit}": times[TORCH],
        f"fastlstm.torch {unit}": times[BRIDGE],
        "torch.nn / fastlstm.torch": spread_text(row["ratios"][TORCH]),
        f"layer on NumPy {unit}": times[OURS],
        "fastlstm.torch / layer": spread_text(row["over_layer"]),
        "through PyTorch us": number(row["extra_us"]) if step else ABSENT,
    }


def _verdict(rows: Sequence[ModuleRow]) -> list[str]:
    over = [(row, row["ratios"][TORCH]) for row in rows]
    mean = geometric_mean([spread["median"] for _, spread in over])
    lines = [f"Geometric mean of torch.nn / fastlstm.torch over {len(rows)} rows: {mean:.2f}."] * (len(rows) > 1)
    slower = [f"{_label(row)}: {spread_text(spread)}" for row, spread in over if spread["median"] < 1]
    lines += [f"fastlstm.torch is slower at {'; '.join(slower)}."] * bool(slower)
    return [f"- {line}" for line in [*lines, *largest_errors(rows, (TORCH, BRIDGE, OURS))]]


def _markdown(report: dict[str, Any]) -> str:
    here, versions = report["machine"], report["versions"]
    quick = any(part["quick"] for part in report["parts"])
    lines = [
        f"{here['cpu']}, {counted(here['processors'], 'processor')}, instruction set {here['isa']}, float32"
        f"{', a quick run' * quick}  ",
        ", ".join(f"{name} {version}" for name, version in versions.items() if name in ("python", "fastlstm", "torch")),
    ]
    for part in report["parts"]:
        for computed in ("training", "inference"):
            rows: list[ModuleRow] = [row for row in part["rows"] if row["computed"] == computed]
            title = f"{TITLES[part['kind']]}, {computed}, {counted(part['threads'], 'thread')}"
            table = used([_cells(row, part["kind"] == "step") for row in rows])
            lines += ["", f"**{title}**", "", *markdown_table(table), "", *_verdict(rows)]
    left = sum(sum(part["fallbacks"].values()) for part in report["parts"])
    lines += ["", f"Calls of fastlstm.torch that were left to PyTorch's own implementation: {left}."]
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
    return run("modules", __doc__, _parts, _markdown, argv, plot, quick=partial(_parts, quick=True), needs="torch")


if __name__ == "__main__":
    sys.exit(main())
