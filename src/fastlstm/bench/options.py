"""The command ``python -m fastlstm.bench.options``: every variant and option against the vanilla LSTM, in one run.

PyTorch is compared where it has the option.
"""

from __future__ import annotations

import sys
import tracemalloc
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastlstm
from fastlstm._arrays.checks import counted
from fastlstm.bench.command import progress, run
from fastlstm.bench.measure import difference, interleave, ratio
from fastlstm.bench.peers import Contestant, Peers
from fastlstm.bench.shapes import Shape

__all__ = ["main"]

Array = NDArray[Any]

SHAPES = (Shape(100, 32, 64, 128), Shape(100, 32, 128, 256))
KINDS = ("inference", "training")
BASE = "no peepholes"
ROUNDS = 7


@dataclass
class Case:
    """An LSTM with some options, options of its calls and of training alone, and whether PyTorch has them."""

    name: str
    layer: dict[str, Any] = field(default_factory=dict)
    call: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    torch: bool = False


def _cases(shape: Shape) -> list[Case]:
    T, B, _, H = shape
    rng = np.random.default_rng(0)
    half = rng.permutation(np.linspace(0, T, B).round().astype(np.int64).clip(1))
    plain = {"peephole": False}
    return [
        Case(BASE, plain, torch=True),
        Case("peepholes"),
        *(Case(variant, {"variant": variant}) for variant in ("NIAF", "NOAF", "NIG", "NFG", "NOG", "CIFG", "FGR")),
        Case("clip", plain | {"clip": 3.0}),
        Case("cell clip", plain | {"cell_clip": 3.0}),
        Case("reset, 2 % of steps", plain, {"reset": rng.random((T, B)) < 0.02}),
        Case("recurrent dropout", plain | {"recurrent_dropout": 0.1}),
        Case("zoneout", plain | {"zoneout": (0.1, 0.1)}),
        Case("DropConnect", plain | {"drop_connect": 0.1}),
        Case("batch-invariant", plain | {"batch_invariant": True}),
        Case("lengths, half padding", plain, {"lengths": half}, torch=True),
        Case("projection to H/2", plain | {"proj_size": H // 2}, torch=True),
        Case("two directions", plain | {"bidirectional": True}, torch=True),
        Case("three layers", plain | {"num_layers": 3}, torch=True),
        *(Case(f"recompute, k = {k}", plain, training={"recompute": k}) for k in (16, 32)),
    ]


class _Problem:
    """The layer and the data of a case, and its contestants."""

    def __init__(self, case: Case, shape: Shape) -> None:
        T, B, I, H = shape
        rng = np.random.default_rng(1)
        self.case, self.shape = case, shape
        self.layer = fastlstm.LSTM(I, H, seed=0, **case.layer)
        self.x = rng.normal(size=(T, B, I)).astype(np.float32)
        outputs = self.layer.directions * self.layer.output_size
        self.dy = rng.normal(size=(T, B, outputs)).astype(np.float32)
        self.masks = self.layer.draw_masks(T, B, rng)

    def inference(self) -> Contestant:
        def repeat(n: int) -> None:
            for _ in range(n):
                self.layer(self.x, **self.case.call)

        return Contestant(self.case.name, repeat, lambda: [self.layer(self.x, **self.case.call)[0]])

    def training(self) -> Contestant:
        tape: fastlstm.Tape | None = None
        grads: fastlstm.Gradients | None = None

        def repeat(n: int) -> None:
            nonlocal grads, tape
            for _ in range(n):
                options = self.case.call | self.case.training
                _, _, tape = self.layer.forward(self.x, masks=self.masks, tape=tape, **options)
                grads = self.layer.backward(tape, self.dy, out=grads)

        def results() -> list[Array]:
            repeat(1)
            assert grads is not None
            return [grads.x, grads.params["R_l0"]]

        return Contestant(self.case.name, repeat, results)

    def peak(self) -> float:
        """Return the peak memory of a training step in megabytes, its results included."""
        tracemalloc.start()
        self.training().repeat(1)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak / 1e6

    def _torch_module(self, torch: Any) -> Any:
        layer, (_, _, I, H) = self.layer, self.shape
        options = {"proj_size": layer.proj_size, "bidirectional": layer.bidirectional}
        module = torch.nn.LSTM(I, H, layer.num_layers, **options)
        names = {"W": "weight_ih", "R": "weight_hh", "b": "bias_ih", "proj": "weight_hr"}
        with torch.no_grad():
            for name, array in layer.params.items():
                own, _, suffix = name.partition("_")
                getattr(module, f"{names[own]}_{suffix}").copy_(torch.from_numpy(array))
                if own == "b":
                    getattr(module, f"bias_hh_{suffix}").zero_()
        return module

    def _torch_output(self, torch: Any, module: Any, x: Any) -> Any:
        lengths = self.case.call.get("lengths")
        if lengths is None:
            return module(x)[0]
        rnn = torch.nn.utils.rnn
        packed = rnn.pack_padded_sequence(x, torch.from_numpy(lengths), enforce_sorted=False)
        return rnn.pad_packed_sequence(module(packed)[0], total_length=self.shape.T)[0]

    def torch_inference(self, torch: Any) -> Contestant:
        module, x = self._torch_module(torch).eval(), torch.from_numpy(self.x)

        def repeat(n: int) -> None:
            with torch.inference_mode():
                for _ in range(n):
                    self._torch_output(torch, module, x)

        def results() -> list[Array]:
            with torch.inference_mode():
                return [self._torch_output(torch, module, x).numpy()]

        return Contestant(f"PyTorch, {self.case.name}", repeat, results)

    def torch_training(self, torch: Any) -> Contestant:
        module, dy = self._torch_module(torch), torch.from_numpy(self.dy)
        x = torch.from_numpy(self.x.copy()).requires_grad_()

        def repeat(n: int) -> None:
            for _ in range(n):
                module.zero_grad(set_to_none=True)
                x.grad = None
                self._torch_output(torch, module, x).backward(dy)

        def results() -> list[Array]:
            repeat(1)
            return [x.grad.numpy(), module.weight_hh_l0.grad.numpy()]

        return Contestant(f"PyTorch, {self.case.name}", repeat, results)


def _measure(kind: str, shape: Shape, seconds: float, peers: Peers) -> dict[str, Any]:
    contestants, compared, peaks = [], {}, {}
    cases = [case for case in _cases(shape) if kind == "training" or not case.training]
    for case in cases:
        problem = _Problem(case, shape)
        ours = getattr(problem, kind)()
        contestants.append(ours)
        peaks[case.name] = problem.peak() if kind == "training" else None
        if case.torch and peers.torch:
            theirs = getattr(problem, f"torch_{kind}")(peers.torch)
            difference(ours, theirs)
            compared[case.name] = theirs.name
            contestants.append(theirs)
    times = interleave(contestants, seconds, ROUNDS)
    rows = {}
    for case in cases:
        peer = compared.get(case.name)
        rows[case.name] = {
            "ms": 1e3 * float(np.median(times[case.name])),
            "over_base": ratio(times[case.name], times[BASE]),
            "peak_mb": peaks[case.name],
            "pytorch_ms": 1e3 * float(np.median(times[peer])) if peer else None,
            "pytorch_over_ours": ratio(times[peer], times[case.name]) if peer else None,
        }
    return rows


def _markdown(report: dict[str, Any]) -> str:
    here = report["machine"]
    lines = [f"{here['cpu']}, {counted(here['processors'], 'processor')}, instruction set {here['isa']}, float32"]
    for part in report["parts"]:
        shape = " ".join(map(str, part["shape"]))
        threads = counted(part["threads"], "thread")
        lines += ["", f"**{part['kind'].capitalize()}, T B I H = {shape}, {threads}**", ""]
        lines += [f"| option | ms | time / {BASE} | MB | PyTorch ms | PyTorch / fastlstm |", "| --- |" + " ---: |" * 5]
        for name, row in part["rows"].items():
            peak = f"{row['peak_mb']:.1f}" if row["peak_mb"] else ""
            columns = [name, f"{row['ms']:.2f}", f"{row['over_base']['median']:.2f}", peak, "", ""]
            if row["pytorch_ms"]:
                columns[4:] = f"{row['pytorch_ms']:.2f}", f"{row['pytorch_over_ours']['median']:.2f}"
            lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines)


def _parts(threads: int, seconds: float, peers: Peers) -> Iterator[dict[str, Any]]:
    for shape in SHAPES:
        for kind in KINDS:
            progress(f"{kind}, {' '.join(map(str, shape))}, {counted(threads, 'thread')}")
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "LSTM with projections")  # PyTorch has no fast path for them.
                rows = _measure(kind, shape, seconds, peers)
            yield {"kind": kind, "threads": threads, "shape": list(shape), "rows": rows}


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
    return run("options", __doc__, _parts, _markdown, argv)


if __name__ == "__main__":
    sys.exit(main())
