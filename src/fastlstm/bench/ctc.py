"""The command ``python -m fastlstm.bench.ctc``: the CTC loss with its gradient, compared with PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlstm._arrays.checks import counted
from fastlstm.bench.command import progress, run
from fastlstm.bench.measure import difference, interleave, ratio
from fastlstm.bench.peers import OURS, TORCH, Contestant, Peers
from fastlstm.nn import ctc_beam_search, ctc_loss

__all__ = ["main"]

Array = NDArray[Any]

ROUNDS = 7
BEAM = "beam search"
BEAM_WIDTH = 20


class Shape(NamedTuple):
    """The size of a problem: T steps, B rows, K classes, L labels; most rows are shorter."""

    T: int
    B: int
    K: int
    L: int


SHAPES = (Shape(100, 16, 30, 20), Shape(500, 16, 30, 60), Shape(200, 32, 100, 40), Shape(1000, 8, 30, 150))


class _Problem:
    """One batch of float32 logits, and its contestants."""

    def __init__(self, shape: Shape) -> None:
        T, B, K, L = shape
        rng = np.random.default_rng(0)
        self.logits = rng.normal(size=(T, B, K)).astype(np.float32)
        self.lengths = rng.integers(T * 3 // 4, T + 1, B)
        self.labels = rng.integers(1, K, (B, L))
        self.label_lengths = rng.integers(L // 2, L * 3 // 4 + 1, B)  # They are few enough for every repeat to fit.
        self.scale = B  # Gradients are compared at this scale, at which they are not all below the tolerance.

    def _loss(self) -> tuple[float, Array]:
        return ctc_loss(self.logits, self.lengths, self.labels, self.label_lengths)

    def ours(self) -> Contestant:
        def repeat(n: int) -> None:
            for _ in range(n):
                self._loss()

        def results() -> list[Array]:
            value, gradient = self._loss()
            return [np.array(value), gradient * self.scale]

        return Contestant(OURS, repeat, results)

    def beam(self) -> Contestant:
        def repeat(n: int) -> None:
            for _ in range(n):
                ctc_beam_search(self.logits, self.lengths, beam_width=BEAM_WIDTH)

        return Contestant(BEAM, repeat, list)

    def torch(self, torch: Any) -> Contestant:
        x = torch.from_numpy(self.logits.copy()).requires_grad_()
        others = [torch.from_numpy(array) for array in (self.labels, self.lengths, self.label_lengths)]

        def loss() -> Any:
            x.grad = None
            value = torch.nn.functional.ctc_loss(x.log_softmax(-1), *others)
            value.backward()
            return value

        def repeat(n: int) -> None:
            for _ in range(n):
                loss()

        return Contestant(TORCH, repeat, lambda: [loss().detach().numpy(), x.grad.numpy() * self.scale])


def _measure(shape: Shape, seconds: float, peers: Peers) -> dict[str, Any]:
    problem = _Problem(shape)
    contestants = [problem.ours(), problem.beam()]
    if peers.torch:
        contestants.append(problem.torch(peers.torch))
        difference(contestants[0], contestants[-1])
    times = interleave(contestants, seconds, ROUNDS)
    return {
        "ms": {name: 1e3 * float(np.median(each)) for name, each in times.items()},
        "pytorch_over_ours": ratio(times[TORCH], times[OURS]) if peers.torch else None,
    }


def _markdown(report: dict[str, Any]) -> str:
    here = report["machine"]
    lines = [f"{here['cpu']}, {counted(here['processors'], 'processor')}, instruction set {here['isa']}, float32"]
    for threads in sorted({part["threads"] for part in report["parts"]}):
        lines += ["", f"**CTC loss and gradient, {counted(threads, 'thread')}**", ""]
        lines += [f"| T B K L | beam of {BEAM_WIDTH} ms | {OURS} ms | {TORCH} ms | {TORCH} / {OURS} |"]
        lines += ["| ---: " * 5 + "|"]
        for part in (part for part in report["parts"] if part["threads"] == threads):
            ms = part["ms"]
            columns = [" ".join(map(str, part["shape"])), f"{ms[BEAM]:.1f}", f"{ms[OURS]:.2f}", "", ""]
            if part["pytorch_over_ours"]:
                columns[3:] = f"{ms[TORCH]:.2f}", f"{part['pytorch_over_ours']['median']:.2f}"
            lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines)


def _parts(threads: int, seconds: float, peers: Peers) -> Iterator[dict[str, Any]]:
    for shape in SHAPES:
        progress(f"{' '.join(map(str, shape))}, {counted(threads, 'thread')}")
        yield {"threads": threads, "shape": list(shape), **_measure(shape, seconds, peers)}


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
    return run("ctc", __doc__, _parts, _markdown, argv)


if __name__ == "__main__":
    sys.exit(main())
