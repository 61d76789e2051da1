"""Real ONNX models beside ONNX Runtime: whole, their recurrent layers alone, and one of them step by step.

    pip install '.[dev]'
    python bench/onnx_files.py [--seconds S] [--json FILE]
    python bench/onnx_report.py FILE             # prints the tables again

All take turns, with one thread. Before a time counts, the results agree: those of whole models to 1e-4 of their largest
value, but for the int8 one, whose layers round to 8 bits in scales of their own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_real
import onnxruntime
from onnx_report import FROZEN, LAYER, ORT, SESSION, STREAM, markdown

import fastlstm
import fastlstm.onnx
from fastlstm.bench import machine
from fastlstm.bench.measure import difference, interleave, ratio
from fastlstm.bench.peers import Contestant, Peers
from fastlstm.bench.results import save

ROUNDS = 7
INT8 = "common_old.onnx"
STEPS = 50


def runtime(model: Any) -> Any:
    """Return a session of ONNX Runtime with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def contestant(name: str, call: Any) -> Contestant:
    """Return the contestant that makes a call again and again, whose result is a list of arrays."""

    def repeat(n: int) -> None:
        for _ in range(n):
            call()

    return Contestant(name, repeat, call)


def timed(contestants: list[Contestant], seconds: float) -> dict[str, Any]:
    """Return the times of contestants, and those of the first over those of each of the others."""
    times = interleave(contestants, seconds, ROUNDS)
    first, *others = times
    return {
        "ms": {name: 1e3 * float(np.median(each)) for name, each in times.items()},
        "ratios": {name: ratio(times[first], times[name]) for name in others},
    }


def whole_models(seconds: float) -> Iterator[dict[str, Any]]:
    """Measure each model with each of its inputs."""
    for case in onnx_real.cases():
        print(case.name, file=sys.stderr, flush=True)
        theirs, ours = runtime(case.content), fastlstm.onnx.Session(case.content)
        expected, found = theirs.run(None, case.feeds), ours.run(None, case.feeds)
        worst = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(found, expected, strict=True))
        if not worst <= (0.02 if case.name == INT8 else 1e-4):
            raise SystemExit(f"{case.name}: the outputs differ by {worst:.2g}, and times are of no use")
        pair = [
            contestant(name, lambda one=one, feeds=case.feeds: one.run(None, feeds))
            for name, one in ((ORT, theirs), (SESSION, ours))
        ]
        rate = f", {case.feeds['sr'] / 1000:g} kHz" if "sr" in case.feeds else ""
        yield {"file": case.name + rate, "nodes": operators(case), "difference": worst} | timed(pair, seconds)


def operators(case: onnx_real.Case) -> str:
    """Return the recurrent nodes of a model in words."""
    kinds = [node.kind for node in fastlstm.onnx.nodes(case.content)]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds))) or "1 DynamicQuantizeLSTM"


def layers(seconds: float) -> Iterator[dict[str, Any]]:
    """Measure a recurrent layer of each kind alone, over as many steps as its model gives it."""
    contents = {case.name: case.content for case in onnx_real.cases()}
    for name, T in (("silero_vad_16k_sequence.onnx", 60), ("common.onnx", 25), ("enc.onnx", 100)):
        print(f"the layer of {name}", file=sys.stderr, flush=True)
        layer = fastlstm.onnx.nodes(contents[name])[0].layer()
        x = np.random.default_rng(0).normal(size=(T, 1, layer.input_size)).astype(np.float32)
        session, frozen = runtime(fastlstm.onnx.to_onnx(layer, state=False)), fastlstm.Frozen(layer)
        all_three = [
            contestant(ORT, lambda session=session, x=x: session.run(None, {"x": x})),
            contestant(LAYER, lambda layer=layer, x=x: [layer(x)[0]]),
            contestant(FROZEN, lambda frozen=frozen, x=x: [frozen(x)[0]]),
        ]
        worst = max(difference(one, all_three[0]) for one in all_three[1:])
        kind = f"{type(layer).__name__}{' in two directions' if layer.bidirectional else ''}"
        shape = [T, layer.input_size, layer.hidden_size]
        yield {"file": name, "layer": kind, "shape": shape, "difference": worst} | timed(all_three, seconds)


def stream(seconds: float) -> dict[str, Any]:
    """Measure steps of silero-vad's LSTM, with the state of the last one: STEPS of them are a call."""
    [case] = [case for case in onnx_real.cases() if case.name == "silero_vad_16k_sequence.onnx"]
    layer = fastlstm.onnx.nodes(case.content)[0].layer()
    x = np.random.default_rng(0).normal(size=(STEPS, 1, layer.input_size)).astype(np.float32)
    session = runtime(fastlstm.onnx.to_onnx(layer))

    def theirs() -> list[Any]:
        h = c = np.zeros((1, 1, layer.hidden_size), np.float32)
        for x_t in x:
            y, h, c = session.run(None, {"x": x_t[np.newaxis], "h0": h, "c0": c})
        return [y[0]]

    def ours(network: Any) -> Any:
        own = fastlstm.Stream(network)

        def run() -> list[Any]:
            own.reset()
            for x_t in x:
                y = own.step(x_t)
            return [y.copy()]

        return run

    frozen = f"{STREAM} of {FROZEN}"
    all_three = [
        contestant(ORT, theirs), contestant(STREAM, ours(layer)), contestant(frozen, ours(fastlstm.Frozen(layer)))
    ]  # fmt: skip
    worst = max(difference(one, all_three[0]) for one in all_three[1:])
    return {"file": case.name, "steps": STEPS, "difference": worst} | timed(all_three, seconds)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--seconds", type=float, default=0.5, metavar="S", help="for each contestant (default: 0.5)")
    options = parser.parse_args()
    report: dict[str, Any] = {"machine": machine.describe(), "versions": machine.versions()}
    onnxruntime.set_default_logger_severity(3)
    with machine.limited_threads(1, Peers.find()):
        report["models"] = list(whole_models(options.seconds))
        report["layers"] = list(layers(options.seconds))
        report["stream"] = stream(options.seconds)
    report["versions"]["onnx"] = onnx.__version__
    print(markdown(report))
    if options.json is not None:
        save(report, options.json)


if __name__ == "__main__":
    main()
