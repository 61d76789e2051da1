"""The command ``python -m fastlstm.bench.training_parts``: losses, optimisers, clipping and embedding.

They are compared with PyTorch. A loss is measured with its gradient, an embedding forward and backward; PyTorch's
optimisers are the fused ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm import nn
from fastlstm._arrays.checks import counted
from fastlstm.bench.command import progress, run
from fastlstm.bench.measure import difference, interleave, ratio
from fastlstm.bench.peers import OURS, TORCH, Contestant, Peers

__all__ = ["main"]

Array = NDArray[Any]

CLASSES = ((32, 5), (3200, 100), (3200, 10_000))  # targets, classes
ELEMENTS = ((32, 5), (3200, 100))
PARAMETERS = (1_000, 100_000, 1_000_000, 10_000_000)
# With more, PyTorch's norm, which is summed in float32, differs by more than the tolerance.
GRADIENTS = (1_000, 100_000, 1_000_000)
EMBEDDINGS = ((3200, 100, 32), (3200, 10_000, 128))  # ids, vocabulary, outputs
ROUNDS = 7
STEPS = 3  # Optimisers must agree after these steps.

# A task, its size, the contestant of fastlstm, and a function from the module torch to that of PyTorch.
Task = tuple[str, str, Contestant, Callable[[Any], Contestant]]


def _repeated(name: str, call: Callable[[], Any], results: Callable[[], list[Array]]) -> Contestant:
    def repeat(n: int) -> None:
        for _ in range(n):
            call()

    return Contestant(name, repeat, results)


def _loss(name: str, theirs: str, loss: Callable[..., tuple[float, Array]], x: Array, target: Array) -> Task:
    def results() -> list[Array]:
        value, gradient = loss(x, target)
        return [np.array(value), gradient * len(x)]  # At this scale they are not all below the tolerance.

    def torch_contestant(torch: Any) -> Contestant:
        leaf, wanted = torch.tensor(x, requires_grad=True), torch.from_numpy(target)
        function = getattr(torch.nn.functional, theirs)

        def call() -> Any:
            leaf.grad = None
            value = function(leaf, wanted)
            value.backward()
            return value

        return _repeated(TORCH, call, lambda: [call().detach().numpy(), leaf.grad.numpy() * len(x)])

    return name, " x ".join(map(str, x.shape)), _repeated(OURS, lambda: loss(x, target), results), torch_contestant


def _losses(rng: np.random.Generator) -> Iterator[Task]:
    for rows, K in CLASSES:
        logits = rng.standard_normal((rows, K), np.float32)
        yield _loss(
            "softmax cross-entropy", "cross_entropy", nn.softmax_cross_entropy, logits, rng.integers(0, K, rows)
        )
    pairs: list[tuple[str, str, Callable[..., tuple[float, Array]]]] = [
        ("mean squared error", "mse_loss", nn.mse),
        ("mean absolute error", "l1_loss", nn.mae),
        ("Huber", "huber_loss", nn.huber),
        ("logistic loss", "binary_cross_entropy_with_logits", nn.logistic_loss),
    ]
    for name, theirs, loss in pairs:
        for shape in ELEMENTS:
            yield _loss(name, theirs, loss, rng.standard_normal(shape, np.float32), rng.random(shape, np.float32))


def _optimiser(name: str, n: int, ours: Callable[[Array], Any], theirs: Callable[[Any, Any], Any]) -> Task:
    rng = np.random.default_rng(0)
    start, gradient = rng.standard_normal((2, n), np.float32)

    def stepped(step: Callable[[], Any]) -> None:
        for _ in range(STEPS):
            step()

    def results() -> list[Array]:
        flat = start.copy()
        optimiser = ours(flat)
        stepped(lambda: optimiser.step(gradient))
        return [flat]

    optimiser = ours(start.copy())

    def torch_contestant(torch: Any) -> Contestant:
        def make() -> tuple[Any, Any]:
            leaf = torch.tensor(start, requires_grad=True)
            leaf.grad = torch.from_numpy(gradient)
            return leaf, theirs(torch.optim, leaf)

        def torch_results() -> list[Array]:
            leaf, fresh = make()
            stepped(fresh.step)
            return [leaf.detach().numpy()]

        return _repeated(TORCH, make()[1].step, torch_results)

    return name, str(n), _repeated(OURS, lambda: optimiser.step(gradient), results), torch_contestant


def _optimisers() -> Iterator[Task]:
    for n in PARAMETERS:
        yield _optimiser(
            "SGD with momentum",
            n,
            lambda flat: nn.SGD(flat, 0.01, momentum=0.9),
            lambda optim, leaf: optim.SGD([leaf], 0.01, 0.9, fused=True),
        )
        yield _optimiser(
            "Adam", n, lambda flat: nn.Adam(flat), lambda optim, leaf: optim.Adam([leaf], 0.001, fused=True)
        )
        yield _optimiser(
            "AdamW",
            n,
            lambda flat: nn.AdamW(flat),
            lambda optim, leaf: optim.AdamW([leaf], 0.001, weight_decay=0.01, fused=True),
        )


def _clipping(name: str, n: int, factor: float) -> Task:
    """Return the task of clipping to `factor` times the norm, with a fresh gradient each time if that changes it."""
    whole = np.random.default_rng(0).standard_normal(n, np.float32)
    threshold, gradient = factor * float(np.linalg.norm(whole)), whole.copy()

    def call() -> float:
        if factor < 1:
            gradient[:] = whole
        return nn.clip_norm(gradient, threshold)

    def torch_contestant(torch: Any) -> Contestant:
        source, leaf = torch.from_numpy(whole), torch.nn.Parameter(torch.zeros(n))
        leaf.grad = source.clone()

        def torch_call() -> Any:
            if factor < 1:
                leaf.grad.copy_(source)
            return torch.nn.utils.clip_grad_norm_([leaf], threshold)

        return _repeated(TORCH, torch_call, lambda: [torch_call().numpy(), leaf.grad.numpy()])

    return name, str(n), _repeated(OURS, call, lambda: [np.array(call()), gradient]), torch_contestant


def _embedding(count: int, vocabulary: int, outputs: int) -> Task:
    rng = np.random.default_rng(0)
    layer = nn.Embedding(vocabulary, outputs, seed=rng)
    ids, dx = rng.integers(0, vocabulary, count), rng.standard_normal((count, outputs), np.float32)
    grads = layer.backward(layer.forward(ids)[1], dx)

    def call() -> None:
        _, tape = layer.forward(ids)
        layer.backward(tape, dx, out=grads)

    def torch_contestant(torch: Any) -> Contestant:
        leaf = torch.tensor(layer.params["E"], requires_grad=True)
        their_ids, their_dx = torch.from_numpy(ids), torch.from_numpy(dx)

        def torch_call() -> None:
            leaf.grad = None
            torch.nn.functional.embedding(their_ids, leaf).backward(their_dx)

        def torch_results() -> list[Array]:
            torch_call()
            return [leaf.grad.numpy()]

        return _repeated(TORCH, torch_call, torch_results)

    size = f"{count} of {vocabulary} x {outputs}"
    return "embedding", size, _repeated(OURS, call, lambda: [grads.params["E"]]), torch_contestant


def _tasks() -> Iterator[Task]:
    yield from _losses(np.random.default_rng(0))
    yield from _optimisers()
    for n in GRADIENTS:
        yield _clipping("clip_norm, nothing to clip", n, 2)
        yield _clipping("clip_norm, and a copy", n, 0.5)
    for sizes in EMBEDDINGS:
        yield _embedding(*sizes)


def _measure(task: Task, seconds: float, peers: Peers) -> dict[str, Any]:
    name, size, ours, torch_contestant = task
    contestants = [ours]
    if peers.torch:
        contestants.append(torch_contestant(peers.torch))
        difference(*contestants)
    times = interleave(contestants, seconds, ROUNDS)
    theirs = times.get(TORCH)
    return {
        "name": name,
        "size": size,
        "us": 1e6 * float(np.median(times[OURS])),
        "pytorch_us": None if theirs is None else 1e6 * float(np.median(theirs)),
        "pytorch_over_ours": None if theirs is None else ratio(theirs, times[OURS]),
    }


def _markdown(report: dict[str, Any]) -> str:
    here = report["machine"]
    lines = [f"{here['cpu']}, {counted(here['processors'], 'processor')}, instruction set {here['isa']}, float32"]
    for part in report["parts"]:
        lines += ["", f"**{counted(part['threads'], 'thread')}**", ""]
        lines += ["| what | size | us | PyTorch us | PyTorch / fastlstm |", "| --- | ---: | ---: | ---: | ---: |"]
        for row in part["rows"]:
            columns = [row["name"], row["size"], f"{row['us']:.1f}", "", ""]
            if row["pytorch_us"]:
                columns[3:] = f"{row['pytorch_us']:.1f}", f"{row['pytorch_over_ours']['median']:.2f}"
            lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines)


def _parts(threads: int, seconds: float, peers: Peers) -> Iterator[dict[str, Any]]:
    rows = []
    for task in _tasks():
        progress(f"{task[0]}, {task[1]}, {counted(threads, 'thread')}")
        rows.append(_measure(task, seconds, peers))
    yield {"threads": threads, "rows": rows}


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
    return run("training_parts", __doc__, _parts, _markdown, argv)


if __name__ == "__main__":
    sys.exit(main())
