"""A run of the whole suite: every kind, shape and number of threads."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fastlstm._arrays.checks import counted
from fastlstm.bench import machine
from fastlstm.bench.measure import difference, interleave, ratio
from fastlstm.bench.peers import (
    COUNTERPART,
    ORT_PEEPHOLE,
    OURS,
    OURS_FLOAT64,
    OURS_PEEPHOLE,
    PEERS,
    WITH_PEEPHOLES,
    Contestant,
    Peers,
    Work,
    contestants,
    exact,
)
from fastlstm.bench.results import Part, Report, Row, conclude
from fastlstm.bench.shapes import FLOAT64, KINDS, QUICK, SEQUENCES, STEPS, Shape, flops

__all__ = ["Plan", "run"]

SGEMM = "sgemm"


@dataclass
class Plan:
    """The plan of a run.

    Attributes
    ----------
    threads : sequence of int
        The numbers of threads.
    quick : bool
        Whether to run fewer shapes and rounds.
    seconds : float
        The time for each contestant and shape.
    kinds : sequence of str
        The kinds of `shapes.KINDS` to run.
    shapes : sequence of Shape, optional
        Shapes to run instead of the suite's own; a step takes I and H from them.
    """

    threads: Sequence[int]
    quick: bool
    seconds: float
    kinds: Sequence[str] = KINDS
    shapes: Sequence[Shape] | None = None

    def shapes_of(self, kind: str) -> list[Shape]:
        """Return the shapes to measure for a kind."""
        if self.shapes is None:
            return list(STEPS if kind == "step" else QUICK if self.quick else SEQUENCES)
        wanted = [Shape(1, 1, shape.I, shape.H) if kind == "step" else shape for shape in self.shapes]
        return list(dict.fromkeys(wanted))

    @property
    def least_rounds(self) -> int:
        """The number of rounds that even the longest calls get."""
        return 3 if self.quick else 7


def run(plan: Plan, peers: Peers, progress: Callable[[str], None]) -> Report:
    """Run the suite.

    Parameters
    ----------
    plan : Plan
        What to run.
    peers : Peers
        The other libraries.
    progress : callable
        A function that is told what is being measured.

    Returns
    -------
    Report

    Raises
    ------
    DisagreementError
        If the results of a contestant differ from those of fastlstm in float64.
    """
    began = time.perf_counter()
    report: Report = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "quick": plan.quick,
        "seconds": plan.seconds,
        "elapsed": 0.0,
        "machine": machine.describe(),
        "versions": machine.versions(),
        "missing": peers.missing,
        "blas_limited": machine.load_threadpoolctl() is not None,
        "sgemm": {},
        "parts": [],
    }
    jobs = [(threads, kind) for threads in plan.threads for kind in plan.kinds]
    total, done = sum(len(plan.shapes_of(kind)) for _, kind in jobs), 0
    for threads in plan.threads:
        with machine.limited_threads(threads, peers):
            progress(f"sgemm, {counted(threads, 'thread')}")
            rates = {size: machine.sgemm_rate(size, 4 if plan.quick else 12) for size in machine.SGEMM_SIZES}
            report["sgemm"][str(threads)] = {"x".join(map(str, size)): rate for size, rate in rates.items()}
            yardstick = max(rates, key=lambda size: rates[size])
            for kind in plan.kinds:
                rows = []
                for shape in plan.shapes_of(kind):
                    done += 1
                    progress(f"[{done}/{total}] {kind}, {counted(threads, 'thread')}, {' '.join(map(str, shape))}")
                    rows.append(_measure(kind, shape, threads, yardstick, plan, peers))
                part: Part = conclude(kind, threads, rows, ORT_PEEPHOLE)
                report["parts"].append(part)
    report["elapsed"] = round(time.perf_counter() - began, 1)
    return report


def _measure(kind: str, shape: Shape, threads: int, yardstick: tuple[int, int, int], plan: Plan, peers: Peers) -> Row:
    """Measure the errors of all contestants, which must be small, then their times."""
    double = kind != "step" and (shape in FLOAT64 or plan.shapes is not None)
    work = Work(shape)
    taking_part = contestants(kind, work, peers, threads, double)
    errors: dict[str, float] = {}
    for peephole in (False, True):
        if group := [one for one in taking_part if (one.name in WITH_PEEPHOLES) == peephole]:
            reference = exact(kind, work, peephole)
            errors |= {one.name: difference(reference, one) for one in group if one.name != OURS_FLOAT64}
    if kind != "step":
        # sgemm runs in the same rounds, so that a machine that slows down does not change the fraction of its rate.
        taking_part.append(Contestant(SGEMM, machine.sgemm_calls(yardstick), list))
    times = interleave(taking_part, plan.seconds, plan.least_rounds)
    theirs = [name for name in (*PEERS, ORT_PEEPHOLE) if name in times]
    ratios = {name: ratio(times[name], times[COUNTERPART[name]]) for name in theirs}
    plain = {name: spread["median"] for name, spread in ratios.items() if name != ORT_PEEPHOLE}
    gflops = flops(kind, shape) * 1e-9 / float(np.median(times[OURS]))
    sgemm = None
    if SGEMM in times:
        m, n, k = yardstick
        # The median of fastlstm is compared with the best time of sgemm, which is the stricter choice.
        sgemm = 2e-9 * m * n * k / float(times.pop(SGEMM).min())
    return {
        "shape": list(shape),
        "rounds": len(times[OURS]),
        "ms": {name: 1e3 * float(np.median(values)) for name, values in times.items()},
        "errors": errors,
        "ratios": ratios,
        "best_peer": min(plain, key=lambda name: plain[name]) if plain else None,
        "peephole_cost": ratio(times[OURS_PEEPHOLE], times[OURS]) if OURS_PEEPHOLE in times else None,
        "float64": ratio(times[OURS_FLOAT64], times[OURS]) if OURS_FLOAT64 in times else None,
        "gflops": gflops,
        "sgemm_gflops": sgemm,
        "fraction": gflops / sgemm if sgemm else None,
    }
