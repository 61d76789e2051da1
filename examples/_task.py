"""What every example does besides its network: options, the clock, the report, the picture."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from _data import DataUnavailable, default_cache
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

import fastlstm
from fastlstm._arrays.checks import counted
from fastlstm.bench import machine


@dataclass
class Options:
    """What the command line asks for: a run of about a minute, the seed, folders for results and for the data."""

    quick: bool = False
    seed: int = 0
    out: Path = Path("results")
    cache: Path = field(default_factory=default_cache)


@dataclass
class Result:
    """A number on held-out data, and that of a simple baseline on the same data.

    `measure` says what it is a number of, `unit` in what; `details` is whatever else is worth a line. Where there is a
    stronger baseline that is still no neural network, its number is `stronger`.
    """

    measure: str
    unit: str
    found: float
    baseline: float
    baseline_name: str
    higher_is_better: bool
    parameters: int
    details: dict[str, Any] = field(default_factory=dict)
    stronger: float | None = None
    stronger_name: str = ""

    @property
    def beats_baseline(self) -> bool:
        """Whether the network is better than the baseline."""
        return self.found > self.baseline if self.higher_is_better else self.found < self.baseline


def main(doc: str, task: str, run: Callable[[Options], tuple[Result, Figure]]) -> None:
    """Run an example as the command line says: prints its result, writes it and the picture."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    usual = Options()
    parser.add_argument("--quick", action="store_true", help="a smaller network and less training: about a minute")
    parser.add_argument("--seed", type=int, default=usual.seed, help="of initial weights, batches and samples")
    parser.add_argument("--out", type=Path, default=usual.out, help="folder for results and the picture")
    parser.add_argument("--cache", type=Path, default=usual.cache, help="folder for the data")
    given = parser.parse_args()
    options = Options(given.quick, given.seed, given.out, given.cache)
    options.out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    try:
        with threadpool_limits(1, user_api="blas"):  # threads of BLAS would be in the way of the layers' own
            result, figure = run(options)
    except DataUnavailable as error:
        sys.exit(str(error))
    report = {
        "task": task,
        **asdict(result),
        "quick": options.quick,
        "seconds": round(time.perf_counter() - began, 1),
        "memory_mb": peak_memory(),
        "threads": fastlstm.get_num_threads(),
        "machine": machine.describe(),
        "versions": machine.versions(),
    }
    figure.savefig(options.out / f"{task}.png", dpi=120)
    (options.out / f"{task}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(text(report))
    if not result.beats_baseline:
        print(
            "the network is behind the baseline" + (", for which a quick run may be too short" if options.quick else "")
        )
    print(f"see {options.out / task}.png")


def text(report: dict[str, Any]) -> str:
    """Give a report for the screen."""
    lines = [
        ("held-out data", report["measure"]),
        ("fastlstm", f"{report['found']:.4g} {report['unit']}"),
        ("baseline", f"{report['baseline']:.4g} {report['unit']}   {report['baseline_name']}"),
        *((name, str(value)) for name, value in report["details"].items()),
        ("parameters", f"{report['parameters']:,}"),
        ("time", f"{report['seconds']:.0f} s on {counted(report['threads'], 'thread')}"),
    ]
    if report["stronger"] is not None:
        lines.insert(3, ("stronger", f"{report['stronger']:.4g} {report['unit']}   {report['stronger_name']}"))
    if report["memory_mb"] is not None:
        lines.append(("memory", f"{report['memory_mb']:.0f} MB at most"))
    width = max(len(name) for name, _ in lines) + 2
    return "\n".join(f"{name:{width}}{value}" for name, value in lines)


def peak_memory() -> float | None:
    """Give the most memory that this process has had, in MB; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
