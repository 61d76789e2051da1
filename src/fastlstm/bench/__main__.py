"""The command ``python -m fastlstm.bench``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fastlstm.bench import machine
from fastlstm.bench.measure import DisagreementError
from fastlstm.bench.peers import Peers
from fastlstm.bench.plot import plot
from fastlstm.bench.report import busy, markdown, text
from fastlstm.bench.results import Report, load, save
from fastlstm.bench.shapes import KINDS, Shape
from fastlstm.bench.suite import Plan, run

__all__ = ["main"]

QUICK_SECONDS, FULL_SECONDS = 0.04, 1.0


def _counts(value: str) -> list[int]:
    """Return the positive numbers of an argument such as 1,2."""
    counts = [int(part) for part in value.split(",") if part.strip().isdigit()]
    if len(counts) != value.count(",") + 1 or min(counts) < 1:
        raise argparse.ArgumentTypeError(f"must be positive numbers, with commas between them, not {value!r}")
    return counts


def _shape(value: str) -> Shape:
    """Return the shape of an argument T,B,I,H."""
    counts = _counts(value)
    if len(counts) != 4:
        raise argparse.ArgumentTypeError(f"must be four numbers T,B,I,H, not {value!r}")
    return Shape(*counts)


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m fastlstm.bench",
        description="Measure fastlstm against PyTorch, ONNX Runtime and OpenVINO, where they are installed.",
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="fewer shapes, one thread, rough figures, in less than a minute")
    add("--json", type=Path, metavar="FILE", help="write all figures")
    add("--plot", type=Path, metavar="FILE", help="draw the ratios (.png, .svg, .pdf); needs matplotlib")
    add("--threads", type=_counts, metavar="N[,N]", help="numbers of threads (default: 1,2; 1 with --quick)")
    add("--only", choices=KINDS, help="this kind alone")
    add("--seconds", type=float, metavar="S", help=f"per contestant and shape (default: {FULL_SECONDS})")
    add("--shape", type=_shape, action="append", metavar="T,B,I,H", help="instead of the suite's; may be repeated")
    add("--table", type=Path, metavar="FILE", help="measure nothing: print the Markdown tables of such a JSON FILE")
    return parser


def _selected(report: Report, only: str | None, threads: Sequence[int] | None) -> Report:
    """Return the parts of a stored run that the options select."""
    report["parts"] = [
        part
        for part in report["parts"]
        if (only is None or part["kind"] == only) and (threads is None or part["threads"] in threads)
    ]
    if threads is not None:
        report["sgemm"] = {count: rates for count, rates in report["sgemm"].items() if int(count) in threads}
    return report


def _progress(line: str) -> None:
    """Print what is being measured, on a terminal over the last line."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
    else:
        print(line, file=sys.stderr, flush=True)


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
    parser = _parser()
    options = parser.parse_args(argv)
    if options.seconds is not None and options.seconds <= 0:
        parser.error("--seconds must be positive")
    if options.table is not None:
        if not options.table.is_file():
            parser.error(f"{options.table} is no file")
        report = _selected(load(options.table), options.only, options.threads)
        if not report["parts"]:
            parser.error(f"{options.table} has no such part")
        print(markdown(report))
    else:
        here = machine.describe()
        if warning := busy(here):
            print(warning, file=sys.stderr)
        plan = Plan(
            threads=options.threads or ([1] if options.quick or here["processors"] == 1 else [1, 2]),
            quick=options.quick,
            seconds=options.seconds or (QUICK_SECONDS if options.quick else FULL_SECONDS),
            kinds=(options.only,) if options.only else KINDS,
            shapes=options.shape,
        )
        try:
            report = run(plan, Peers.find(), _progress)
        except DisagreementError as error:
            print(f"\nThe comparison is void: {error}", file=sys.stderr)
            return 1
        if sys.stderr.isatty():
            _progress("")
        print(text(report))
        if options.json is not None:
            save(report, options.json)
    if options.plot is not None:
        try:
            plot(report, options.plot)
        except (ImportError, ValueError) as error:
            print(f"No picture: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
