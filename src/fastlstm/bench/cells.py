"""The command ``python -m fastlstm.bench.cells``: the GRU in both forms and the layer-normalised LSTM, and their peers.

The GRUs are compared with those of PyTorch and ONNX Runtime. Neither has a layer-normalised LSTM, so that its peer is
one written in PyTorch, run as it is and compiled by torch.compile. The LSTM without peepholes stands beside them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastlstm
from fastlstm._arrays.checks import counted
from fastlstm.bench.command import progress, run
from fastlstm.bench.measure import difference, interleave, ratio
from fastlstm.bench.peers import Contestant, Peers
from fastlstm.bench.peers.onnx import node_model
from fastlstm.bench.peers.onnxruntime import onnx_session
from fastlstm.bench.shapes import KINDS, QUICK, Shape
from fastlstm.bench.torch_layer_norm import LayerNormLSTM

__all__ = ["main"]

Array = NDArray[Any]

SHAPES = QUICK
STEPS = tuple(Shape(1, 1, size, size) for size in (16, 64, 256, 512))
AFTER, BEFORE = "GRU, reset after", "GRU, reset before"
NORM, LSTM = "LSTM, layer norm", "LSTM, no peepholes"
ROUNDS = 7


class _Problem:
    """The layers and the data of a shape."""

    def __init__(self, shape: Shape) -> None:
        T, B, I, H = self.shape = shape
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(T, B, I)).astype(np.float32)
        self.dy = rng.normal(size=(T, B, H)).astype(np.float32)
        self.layers: dict[str, fastlstm.GRU | fastlstm.LSTM] = {
            AFTER: fastlstm.GRU(I, H, seed=0),
            BEFORE: fastlstm.GRU(I, H, reset_after=False, seed=0),
            NORM: fastlstm.LSTM(I, H, peephole=False, layer_norm=True, seed=0),
            LSTM: fastlstm.LSTM(I, H, peephole=False, seed=0),
        }
        # With the first gains of R y, 1, rounding grows over hundreds of steps to more than the results may differ.
        self.layers[NORM].params["norm_l0"][:4] = 0.5

    def ours(self, kind: str, name: str) -> Contestant:
        """Return a layer of fastlstm."""
        layer, x = self.layers[name], self.x
        if kind == "inference":
            return _repeated(name, lambda: layer(x), lambda: [layer(x)[0]])
        if kind == "step":
            stream = fastlstm.Stream(layer)
            return _repeated(name, lambda: stream.step(x[0]), lambda: [layer.step(x[0])[0]])
        tape: fastlstm.Tape | None = None
        grads: fastlstm.Gradients | None = None

        def call() -> None:
            nonlocal grads, tape
            _, _, tape = layer.forward(x, tape=tape)
            grads = layer.backward(tape, self.dy, out=grads)

        def results() -> list[Array]:
            call()
            assert grads is not None
            return [grads.x, grads.params["W_l0"], grads.params["R_l0"]]

        return _repeated(name, call, results)

    def torch_gru(self, kind: str, torch: Any) -> Contestant:
        """Return `torch.nn.GRU`, for a step `torch.nn.GRUCell`."""
        params, (_, B, I, H) = self.layers[AFTER].params, self.shape
        module, suffix = (torch.nn.GRUCell(I, H), "") if kind == "step" else (torch.nn.GRU(I, H), "_l0")
        with torch.no_grad():
            for name, own in (("weight_ih", "W"), ("weight_hh", "R"), ("bias_ih", "b")):
                getattr(module, name + suffix).copy_(torch.from_numpy(params[f"{own}_l0"]))
            second = getattr(module, "bias_hh" + suffix)
            second.zero_()
            second[2 * H :] = torch.from_numpy(params["bn_l0"])
        state = torch.zeros(B, H)
        return self._torch(
            kind, torch, f"PyTorch, {AFTER}",
            lambda x: module(x[0], state) if kind == "step" else module(x)[0],
            list(module.parameters()),
            lambda: [module.weight_ih_l0.grad.numpy(), module.weight_hh_l0.grad.numpy()],
        )  # fmt: skip

    def torch_layer_norm(self, kind: str, torch: Any, compiled: bool) -> Contestant:
        """Return the layer-normalised LSTM written in PyTorch."""
        layer, (_, B, _, H) = self.layers[NORM], self.shape
        assert isinstance(layer, fastlstm.LSTM)
        module = LayerNormLSTM(torch, layer, compiled)
        state = torch.zeros(B, H), torch.zeros(B, H)
        return self._torch(
            kind, torch, f"PyTorch{', compiled' * compiled}, {NORM}",
            lambda x: module.step(x[0], *state)[0] if kind == "step" else module(x),
            module.parameters,
            module.gradients,
        )  # fmt: skip

    def _torch(
        self, kind: str, torch: Any, name: str, outputs: Callable[[Any], Any], parameters: list[Any],
        gradients: Callable[[], list[Array]],
    ) -> Contestant:  # fmt: skip
        """Return a contestant of PyTorch from what gives y of x, its parameters, and the gradients of W and R."""
        x = torch.from_numpy(self.x.copy())
        if kind == "training":
            dy = torch.from_numpy(self.dy)
            leaves = [x.requires_grad_(), *parameters]

            def call() -> None:
                for leaf in leaves:
                    leaf.grad = None
                outputs(x).backward(dy)

            def results() -> list[Array]:
                call()
                return [x.grad.numpy(), *gradients()]

            return _repeated(name, call, results)

        def repeat(n: int) -> None:
            with torch.inference_mode():
                for _ in range(n):
                    outputs(x)

        def inferred() -> list[Array]:
            with torch.inference_mode():
                return [outputs(x).numpy()]

        return Contestant(name, repeat, inferred)

    def onnx(self, name: str, peers: Peers, threads: int) -> Contestant:
        """Return ONNX Runtime with constant weights, whose only output is Y."""
        params, (T, B, I, H) = self.layers[name].params, self.shape

        def blocks(array: Array) -> Array:
            """Return the blocks r, z, n in the operator's order z, r, h."""
            r, z, n = np.split(array, 3)
            return np.concatenate([z, r, n])[np.newaxis]

        second = np.zeros((1, 3 * H), np.float32)
        if name == AFTER:
            second[0, 2 * H :] = params["bn_l0"]
        constants = {"W": blocks(params["W_l0"]), "R": blocks(params["R_l0"])}
        constants["B"] = np.concatenate([blocks(params["b_l0"]), second], axis=1)
        model = node_model(
            peers.onnx, "GRU", constants, {"X": [T, B, I]}, ["X", "W", "R", "B"], ["Y"], hidden_size=H,
            linear_before_reset=int(name == AFTER),
        )  # fmt: skip
        session = onnx_session(peers, model, threads)
        wanted, given = ["Y"], {"X": self.x}
        return _repeated(
            f"ONNX Runtime, {name}",
            lambda: session.run(wanted, given),
            lambda: [session.run(wanted, given)[0][:, 0]],
        )


def _repeated(name: str, call: Callable[[], Any], results: Callable[[], list[Array]]) -> Contestant:
    def repeat(n: int) -> None:
        for _ in range(n):
            call()

    return Contestant(name, repeat, results)


def _works(compiled: Contestant) -> bool:
    """Return whether torch.compile does what it should here, where there may be no C++ compiler."""
    try:
        compiled.results()
    except RuntimeError as error:
        first_line, _, _ = str(error).partition("\n")
        progress(f"{compiled.name} is not measured: {first_line}")
        return False
    return True


def _theirs(kind: str, problem: _Problem, threads: int, peers: Peers) -> Iterator[tuple[str, Contestant]]:
    """Yield the contestants of the peers, each with the name of the layer that computes the same."""
    if peers.torch:
        yield AFTER, problem.torch_gru(kind, peers.torch)
        yield NORM, problem.torch_layer_norm(kind, peers.torch, compiled=False)
        compiled = problem.torch_layer_norm(kind, peers.torch, compiled=True)
        if _works(compiled):
            yield NORM, compiled
    if peers.onnxruntime and kind == "inference":
        for name in (AFTER, BEFORE):
            yield name, problem.onnx(name, peers, threads)


def _measure(kind: str, shape: Shape, threads: int, seconds: float, peers: Peers) -> dict[str, Any]:
    problem = _Problem(shape)
    ours = {name: problem.ours(kind, name) for name in problem.layers}
    theirs = list(_theirs(kind, problem, threads, peers))
    for name, peer in theirs:
        difference(ours[name], peer)
    times = interleave([*ours.values(), *(peer for _, peer in theirs)], seconds, ROUNDS)
    rows: dict[str, Any] = {name: {"us": 1e6 * float(np.median(times[name])), "over_ours": None} for name in ours}
    for name, peer in theirs:
        over = ratio(times[peer.name], times[name])
        rows[peer.name] = {"us": 1e6 * float(np.median(times[peer.name])), "over_ours": over}
    return rows


def _table(parts: list[dict[str, Any]]) -> list[str]:
    """Return a table of some parts, a row for each shape, and a sentence for each at which a peer is faster."""
    names = list(parts[0]["rows"])
    ours = [LSTM, AFTER, BEFORE, NORM]
    peers = {own: [name for name in names if name.endswith(f", {own}")] for own in ours}
    head = ["T B I H"]
    for own in ours:
        head += [f"{own}: us", *(f"{peer.removesuffix(f', {own}')} / it" for peer in peers[own])]
    lines, losses = [f"| {' | '.join(head)} |", "|" + " ---: |" * len(head)], []
    for part in parts:
        rows, shape = part["rows"], " ".join(map(str, part["shape"]))
        cells = [shape]
        for own in ours:
            over = {peer: rows[peer]["over_ours"]["median"] for peer in peers[own]}
            cells += [f"{rows[own]['us']:.{1 if rows[own]['us'] < 100 else 0}f}", *(f"{x:.2f}" for x in over.values())]
            losses += [f"- {peer}, is faster at {shape}: {x:.2f}." for peer, x in over.items() if x < 1]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, *([""] if losses else []), *losses]


def _markdown(report: dict[str, Any]) -> str:
    here = report["machine"]
    lines = [f"{here['cpu']}, {counted(here['processors'], 'processor')}, instruction set {here['isa']}, float32"]
    tables: dict[str, list[dict[str, Any]]] = {}
    for part in report["parts"]:
        title = f"{part['kind'].capitalize()}, {counted(part['threads'], 'thread')}"
        tables.setdefault(title, []).append(part)
    for title, parts in tables.items():
        lines += ["", f"**{title}**, microseconds, and a peer's time over them", "", *_table(parts)]
    return "\n".join(lines)


def _parts(threads: int, seconds: float, peers: Peers) -> Iterator[dict[str, Any]]:
    for kind in KINDS:
        for shape in STEPS if kind == "step" else SHAPES:
            progress(f"{kind}, {' '.join(map(str, shape))}, {counted(threads, 'thread')}")
            rows = _measure(kind, shape, threads, seconds, peers)
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
    return run("cells", __doc__, _parts, _markdown, argv)


if __name__ == "__main__":
    sys.exit(main())
