"""The command ``python -m fastlstm.bench.frozen``: frozen networks, at batch 1.

Each format of the weights is compared with the plain layer, with its error, and with PyTorch's bfloat16 and int8.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastlstm
from fastlstm._arrays.checks import counted
from fastlstm.bench.command import progress, run
from fastlstm.bench.measure import interleave, ratio
from fastlstm.bench.peers import Contestant, Peers
from fastlstm.layers.frozen import Format

__all__ = ["main"]

Array = NDArray[Any]

SIZES = (256, 512, 1024)
STEPS = 50
BASE = "float32"
FORMATS: tuple[Format, ...] = ("full", "bfloat16", "int8")
ROUNDS = 7


def _repeated(name: str, call: Callable[[], Any], results: Callable[[], Array]) -> Contestant:
    def repeat(n: int) -> None:
        for _ in range(n):
            call()

    return Contestant(name, repeat, lambda: [results()])


def _ours(network: fastlstm.LSTM | fastlstm.Frozen, name: str, x: Array, kind: str) -> Contestant:
    def sequence() -> Array:
        y: Array = network(x)[0]
        return y

    if kind == "sequence":
        return _repeated(name, sequence, sequence)
    stream = fastlstm.Stream(network)
    return _repeated(name, lambda: stream.step(x[0]), sequence)


def _torch(torch: Any, network: fastlstm.LSTM, x: Array, kind: str) -> list[Contestant]:
    """Return the same network in PyTorch: in float32, in bfloat16, and with int8 weights (dynamic quantisation)."""
    module = torch.nn.LSTM(network.input_size, network.hidden_size).eval()
    with torch.no_grad():
        for name, own in (("weight_ih", "W"), ("weight_hh", "R"), ("bias_ih", "b")):
            getattr(module, f"{name}_l0").copy_(torch.from_numpy(network.params[f"{own}_l0"]))
        module.bias_hh_l0.zero_()
    quantised = torch.ao.quantization.quantize_dynamic(torch.nn.ModuleList([module]), {torch.nn.LSTM}, torch.qint8)[0]
    half = torch.nn.LSTM(network.input_size, network.hidden_size).eval().to(torch.bfloat16)
    half.load_state_dict(module.state_dict())
    contestants = []
    for name, peer, dtype in (
        ("PyTorch", module, torch.float32),
        ("PyTorch, bfloat16", half, torch.bfloat16),
        ("PyTorch, int8", quantised, torch.float32),
    ):
        inputs = torch.from_numpy(x).to(dtype)

        def call(peer: Any = peer, inputs: Any = inputs[: None if kind == "sequence" else 1]) -> Any:
            with torch.inference_mode():
                return peer(inputs)[0]

        def results(peer: Any = peer, inputs: Any = inputs) -> Array:
            with torch.inference_mode():
                y: Array = peer(inputs)[0].float().numpy()
            return y

        contestants.append(_repeated(name, call, results))
    return contestants


def _measure(kind: str, H: int, seconds: float, peers: Peers) -> dict[str, Any]:
    network = fastlstm.LSTM(H, H, peephole=False, seed=0)
    x = np.random.default_rng(1).normal(size=(STEPS, 1, H)).astype(np.float32)
    contestants = [_ours(network, BASE, x, kind)]
    contestants += [_ours(fastlstm.Frozen(network, form), form, x, kind) for form in FORMATS]
    if peers.torch:
        contestants += _torch(peers.torch, network, x, kind)
    (exact,) = contestants[0].results()
    times = interleave(contestants, seconds, ROUNDS)
    return {
        contestant.name: {
            "us": 1e6 * float(np.median(times[contestant.name])),
            "base_over": ratio(times[BASE], times[contestant.name]),
            "largest_error": float(np.abs(contestant.results()[0] - exact).max()),
        }
        for contestant in contestants
    }


def _markdown(report: dict[str, Any]) -> str:
    here = report["machine"]
    lines = [f"{here['cpu']}, {counted(here['processors'], 'processor')}, instruction set {here['isa']}"]
    for part in report["parts"]:
        threads = counted(part["threads"], "thread")
        work = "one step" if part["kind"] == "step" else f"{STEPS} steps"
        lines += ["", f"**{work.capitalize()}, batch 1, I = H = {part['H']}, {threads}**", ""]
        lines += ["| weights | us | float32 / this | largest error of y |", "| --- |" + " ---: |" * 3]
        for name, row in part["rows"].items():
            columns = f"{row['us']:.1f}", f"{row['base_over']['median']:.2f}", f"{row['largest_error']:.1g}"
            lines.append(f"| {name} | {' | '.join(columns)} |")
    return "\n".join(lines)


def _parts(threads: int, seconds: float, peers: Peers) -> Iterator[dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns of its plans for quantisation.
        for H in SIZES:
            for kind in ("step", "sequence"):
                progress(f"{kind}, H = {H}, {counted(threads, 'thread')}")
                yield {"kind": kind, "threads": threads, "H": H, "rows": _measure(kind, H, seconds, peers)}


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
    return run("frozen", __doc__, _parts, _markdown, argv)


if __name__ == "__main__":
    sys.exit(main())
