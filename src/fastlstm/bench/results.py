"""The figures of a run, as they are written to JSON, and the conclusions from them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

__all__ = ["Loss", "Machine", "Part", "Report", "Row", "Spread", "Timed", "conclude", "geometric_mean", "load", "save"]


class Spread(TypedDict):
    """A ratio of times: median and quartiles over the rounds."""

    median: float
    q1: float
    q3: float


class Machine(TypedDict):
    """The machine of a run. `load` is the number of busy processes before the run."""

    cpu: str
    processors: int
    system: str
    isa: str
    load: float | None


class Timed(TypedDict):
    """The contestants at one shape.

    `ms` has the median of each, `errors` the largest difference of its results from float64, which files of earlier
    versions do not have; `ratios` the time of each peer over that of its counterpart of fastlstm.
    """

    shape: list[int]
    rounds: int
    ms: dict[str, float]
    errors: NotRequired[dict[str, float]]
    ratios: dict[str, Spread]


class Row(Timed):
    """The figures of one shape in the suite.

    `float64` has the time of fastlstm in float64 over float32, `peephole_cost` with peepholes over without.
    """

    best_peer: str | None
    peephole_cost: Spread | None
    float64: Spread | None
    gflops: float
    sgemm_gflops: float | None
    fraction: float | None


class Loss(TypedDict):
    """A shape at which fastlstm is slower than a peer, and the ratio of that peer's time to fastlstm's."""

    shape: list[int]
    peer: str
    ratio: Spread


class Part(TypedDict):
    """The figures of one kind with one number of threads. The means are geometric, of peer over fastlstm."""

    kind: str
    threads: int
    rows: list[Row]
    mean: float | None
    peephole_mean: float | None
    losses: list[Loss]


class Report(TypedDict):
    """The figures of a whole run. `sgemm` has GFLOP/s by size, for each number of threads."""

    date: str
    quick: bool
    seconds: float
    elapsed: float
    machine: Machine
    versions: dict[str, str]
    missing: dict[str, str]
    blas_limited: bool
    sgemm: dict[str, dict[str, float]]
    parts: list[Part]


def geometric_mean(values: list[float]) -> float | None:
    """Return the geometric mean, None without values."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def conclude(kind: str, threads: int, rows: list[Row], peephole_peer: str) -> Part:
    """Return the means and the losses of `rows`: against the best peer, and with peepholes against `peephole_peer`."""
    best = [(row, row["best_peer"]) for row in rows if row["best_peer"]]
    peephole = [(row, peephole_peer) for row in rows if peephole_peer in row["ratios"]]
    compared: list[Loss] = [
        {"shape": row["shape"], "peer": peer, "ratio": row["ratios"][peer]} for row, peer in best + peephole if peer
    ]
    return {
        "kind": kind,
        "threads": threads,
        "rows": rows,
        "mean": geometric_mean([item["ratio"]["median"] for item in compared if item["peer"] != peephole_peer]),
        "peephole_mean": geometric_mean(
            [item["ratio"]["median"] for item in compared if item["peer"] == peephole_peer]
        ),
        "losses": [item for item in compared if item["ratio"]["median"] < 1],
    }


def save(report: Report | dict[str, Any], path: Path) -> None:
    """Write a run to a JSON file, with five significant digits: more would suggest more precision than there is."""
    rounded = json.loads(json.dumps(report), parse_float=lambda number: float(f"{float(number):.5g}"))
    partial = path.with_name(path.name + ".partial")  # The file is complete even if the run is killed.
    partial.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def load(path: Path) -> Report:
    """Read a run from a JSON file that `save` wrote."""
    return cast(Report, json.loads(path.read_text(encoding="utf-8")))
