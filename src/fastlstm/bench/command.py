"""The common part of the smaller benchmarks' commands: options, numbers of threads, the report."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from fastlstm.bench import machine
from fastlstm.bench.measure import DisagreementError
from fastlstm.bench.peers import Peers
from fastlstm.bench.results import save

__all__ = ["progress", "run"]

Report = dict[str, Any]


def progress(text: str) -> None:
    """Print what is being measured."""
    print(text, file=sys.stderr, flush=True)


def run(
    name: str,
    doc: str | None,
    measure: Callable[[int, float, Peers], Iterable[Report]],
    markdown: Callable[[Report], str],
    argv: Sequence[str] | None,
    plot: Callable[[Report, Path], None] | None = None,
    *,
    quick: Callable[[int, float, Peers], Iterable[Report]] | None = None,
    needs: str | None = None,
) -> int:
    """Measure with one thread and with two, print the report and write it; or print an earlier report.

    Parameters
    ----------
    name : str
        The name of the module, below `fastlstm.bench`.
    doc : str
        The docstring of the module.
    measure : callable
        ``measure(threads, seconds, peers)`` returns the parts of the report.
    markdown : callable
        A function that returns the report as text.
    argv : sequence of str, optional
        The arguments. Default: those of the process.
    plot : callable, optional
        ``plot(report, path)`` draws the report, for an option ``--plot``.
    quick : callable, optional
        What ``measure`` is with an option ``--quick``, and with one thread alone.
    needs : str, optional
        The one of the peers without which there is nothing to measure.

    Returns
    -------
    int
        The exit status.
    """
    parser = argparse.ArgumentParser(prog=f"python -m fastlstm.bench.{name}", description=doc)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--seconds", type=float, default=0.5, metavar="S", help="for each contestant (default: 0.5)")
    if quick:
        parser.add_argument("--quick", action="store_true", help="fewer shapes and rounds, one thread: rough")
    parser.add_argument("--table", type=Path, metavar="FILE", help="measure nothing: print such a FILE's tables")
    if plot:
        parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the ratios; needs matplotlib")
    options = parser.parse_args(argv)
    if options.table is not None:
        if not options.table.is_file():
            parser.error(f"{options.table} is no file")
        report: Report = json.loads(options.table.read_text("utf-8"))
        print(markdown(report))
        return _drawn(report, plot, options)
    peers = Peers.find()
    if needs is not None and needs in peers.missing:
        print(f"fastlstm.bench.{name} needs {needs}: {peers.missing[needs]}", file=sys.stderr)
        return 1
    report = {"machine": machine.describe(), "versions": machine.versions(), "parts": []}
    measured = quick if quick and options.quick else measure
    for threads in (1,) if measured is quick or report["machine"]["processors"] == 1 else (1, 2):
        with machine.limited_threads(threads, peers):
            try:
                report["parts"] += measured(threads, options.seconds, peers)
            except DisagreementError as error:
                print(f"The comparison is void: {error}", file=sys.stderr)
                return 1
    print(markdown(report))
    if options.json is not None:
        save(report, options.json)
    return _drawn(report, plot, options)


def _drawn(report: Report, plot: Callable[[Report, Path], None] | None, options: argparse.Namespace) -> int:
    """Draw the report if that is wished for; return the exit status."""
    if plot and options.plot is not None:
        try:
            plot(report, options.plot)
        except (ImportError, ValueError) as error:
            print(f"No picture: {error}", file=sys.stderr)
            return 1
    return 0
