"""The command ``python -m fastlstm.bench.gpu``: microseconds per time step on a GPU, compared with PyTorch's nn.LSTM.

Each algorithm is measured, and peepholes and a variant. PyTorch runs cuDNN, whose kernels are named; a loop in CuPy is
what CuPy's users have without fastlstm. All are compared in the same precision, and checked to compute the same.
PyTorch is needed: arrays are its tensors.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastlstm
from fastlstm import gpu
from fastlstm._arrays.libraries import DeviceDType
from fastlstm._system import devices
from fastlstm.bench import machine
from fastlstm.bench.command import progress
from fastlstm.bench.measure import DisagreementError, interleave, ratio
from fastlstm.bench.peers import Contestant
from fastlstm.bench.results import save

__all__ = ["main"]

OURS, TORCH, CUPY, PEEPHOLES, COUPLED = "fastlstm", "nn.LSTM", "CuPy, a loop", "peepholes", "CIFG"
ALGORITHMS: tuple[devices.Algorithm, ...] = ("steps", "resident", "cluster")
# For each precision: the dtype, whether products may use TF32, and the largest difference of results.
PRECISIONS: dict[str, tuple[DeviceDType, bool, float]] = {
    "float32": ("float32", False, 1e-4),
    "tf32": ("float32", True, 1e-2),
    "bfloat16": ("bfloat16", False, 6e-2),
    "float16": ("float16", False, 1e-2),
}
ROUNDS = 5
UNFINISHED = "the run ended while this was measured"


class Work:
    """A layer, its inputs and the gradient of its outputs, on the device."""

    def __init__(self, torch: Any, T: int, B: int, H: int, dtype: DeviceDType, **options: Any) -> None:
        self.torch, self.dtype = torch, getattr(torch, dtype)
        self.host = fastlstm.LSTM(H, H, seed=0, **options)
        self.layer: Any = self.host.to("cuda", dtype, library="torch")
        self.device: Any = self.layer.flat.device
        rng = np.random.default_rng(1)
        self.x, self.dy = (
            torch.from_numpy(rng.standard_normal((T, B, H)).astype(np.float32)).to(self.device, self.dtype)
            for _ in range(2)
        )

    def synchronize(self) -> None:
        """Wait until the device is idle."""
        if self.device.type == "cuda":
            self.torch.cuda.synchronize(self.device)

    def contestant(self, name: str, call: Callable[[], Any]) -> Contestant:
        """Return a contestant whose time includes that of the device; `call` returns y."""

        def repeat(n: int) -> None:
            for _ in range(n):
                call()
            self.synchronize()

        return Contestant(name, repeat, lambda: [call().float().cpu().numpy()])


def _ours(name: str, work: Work, training: bool, algorithm: devices.Algorithm, tf32: bool) -> Contestant:
    layer: Any = work.layer
    reused: dict[str, Any] = {"tape": None, "out": None}

    def call() -> Any:
        with gpu.use(algorithm, tf32=tf32):
            if not training:
                return layer(work.x)[0]
            y, _, reused["tape"] = layer.forward(work.x, tape=reused["tape"])
            reused["out"] = layer.backward(reused["tape"], work.dy, out=reused["out"])
            return y

    return work.contestant(name, call)


def _torch(work: Work, training: bool, tf32: bool) -> Contestant:
    torch, H = work.torch, work.host.hidden_size
    module = torch.nn.LSTM(H, H).to(work.device, work.dtype)
    W, R, b = (torch.from_numpy(work.host.params[name]) for name in ("W_l0", "R_l0", "b_l0"))
    with torch.no_grad():
        for name, value in (("weight_ih_l0", W), ("weight_hh_l0", R), ("bias_ih_l0", b), ("bias_hh_l0", 0 * b)):
            getattr(module, name).copy_(value)
    module.flatten_parameters()
    x = work.x.clone().requires_grad_(training)

    def call() -> Any:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        if not training:
            with torch.inference_mode():
                return module(x)[0]
        module.zero_grad(set_to_none=True)
        x.grad = None
        y = module(x)[0]
        y.backward(work.dy)
        return y.detach()

    return work.contestant(TORCH, call)


def _cudnn_path(work: Work, call: Callable[[], Any]) -> list[str]:
    """Return the names of the kernels that a call of nn.LSTM runs, the most frequent first."""
    torch = work.torch
    if work.device.type != "cuda":
        return []
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call()
        work.synchronize()
    events = sorted(profile.key_averages(), key=lambda event: -event.count)
    return [event.key[:100] for event in events[:4]]


def _cupy(work: Work) -> Contestant | None:
    """Return the loop that a user of CuPy would write, forward only; None where it cannot run."""
    if work.device.type != "cuda" or work.dtype != work.torch.float32:
        return None
    try:
        cupy = importlib.import_module("cupy")
    except ImportError:
        return None
    W, R, b = (cupy.asarray(work.host.params[name]) for name in ("W_l0", "R_l0", "b_l0"))
    x, H = cupy.asarray(work.x), work.host.hidden_size

    def call() -> Any:
        T, B, _ = x.shape
        a, y = (x.reshape(T * B, H) @ W.T + b).reshape(T, B, 4 * H), cupy.empty((T, B, H), x.dtype)
        h = c = cupy.zeros((B, H), x.dtype)
        for t in range(T):
            i, f, z, o = cupy.split(a[t] + h @ R.T, 4, 1)
            c = cupy.tanh(z) / (1 + cupy.exp(-i)) + c / (1 + cupy.exp(-f))
            h = y[t] = cupy.tanh(c) / (1 + cupy.exp(-o))
        return work.torch.as_tensor(y, device=work.device)

    return work.contestant(CUPY, call)


def _check(contestants: list[Contestant], tolerance: float) -> None:
    """Raise DisagreementError if a contestant does not compute the same as the first."""
    first, *others = ((contestant.name, contestant.results()[0]) for contestant in contestants)
    for name, y in others:
        error = float(np.abs(y - first[1]).max())
        if not error <= tolerance:
            raise DisagreementError(f"{name} and {first[0]} differ by {error:.2g}, more than {tolerance:g}")


def _measure(torch: Any, row: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return the times of one shape, precision and kind of work."""
    (T, B, H), training = row["shape"], row["kind"] == "training"
    dtype, tf32, tolerance = PRECISIONS[row["precision"]]
    work = Work(torch, T, B, H, dtype, peephole=False)
    same = [_ours(OURS, work, training, "auto", tf32)]
    same += [_ours(f"{OURS}, {name}", work, training, name, tf32) for name in ALGORITHMS]
    same.append(_torch(work, training, tf32))
    loop = None if training else _cupy(work)
    same += [loop] if loop is not None else []
    _check(same, tolerance)
    others = [
        _ours(f"{OURS}, {name}", Work(torch, T, B, H, dtype, **options), training, "auto", tf32)
        for name, options in ((PEEPHOLES, {}), (COUPLED, {"variant": "CIFG", "peephole": False}))
    ]
    times = interleave(same + others, seconds, ROUNDS)
    return {
        "us_per_step": {name: 1e6 * float(np.median(each)) / T for name, each in times.items()},
        "torch_over": {name: ratio(times[TORCH], each) for name, each in times.items() if name != TORCH},
        "cudnn": _cudnn_path(work, lambda: same[len(ALGORITHMS) + 1].repeat(1)),
    }  # fmt: skip


def _mean(rows: list[dict[str, Any]], name: str) -> float:
    """Return the geometric mean of PyTorch's time over that of a contestant."""
    return math.exp(sum(math.log(row["torch_over"][name]["median"]) for row in rows) / len(rows))


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return the sort key of a row in the tables."""
    T, B, H = row["shape"]
    return list(PRECISIONS).index(row["precision"]), row["kind"], T, H, B


def _markdown(report: dict[str, Any]) -> str:
    lines = [report["gpu"]]
    measured = sorted((row for row in report["rows"] if "us_per_step" in row), key=_order)
    groups = itertools.groupby(measured, lambda row: (row["precision"], row["kind"]))
    for (precision, kind), group in groups:
        rows = list(group)
        names = list(rows[0]["us_per_step"])
        lines += ["", f"**{precision}, {kind}**: microseconds per step of {rows[0]['shape'][0]}", ""]
        lines += [f"| H | B | {' | '.join(names)} | {TORCH} / {OURS} |", "|" + " ---: |" * (len(names) + 3)]
        for row in rows:
            _, B, H = row["shape"]
            times = " | ".join(f"{row['us_per_step'][name]:.2f}" for name in names)
            lines.append(f"| {H} | {B} | {times} | {row['torch_over'][OURS]['median']:.2f} |")
        small = [row for row in rows if row["shape"][1] <= 64]
        if small:
            lines += ["", f"Geometric mean up to B = 64: {_mean(small, OURS):.2f}"]
    void = [f"- T, B, H = {row['shape']}, {row['precision']}, {row['kind']}: {row['void']}" for row in _void(report)]
    return "\n".join([*lines, "", "Not measured:", "", *void] if void else lines)


def _void(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows without figures."""
    return [row for row in report["rows"] if "void" in row]


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


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
    parser = argparse.ArgumentParser(prog="python -m fastlstm.bench.gpu", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--table", type=Path, metavar="FILE", help="measure nothing: print such a FILE's tables")
    parser.add_argument("--seconds", type=float, default=0.1, metavar="S", help="for each contestant (default: 0.1)")
    parser.add_argument("--steps", type=int, default=200, metavar="T", help="time steps (default: 200)")
    parser.add_argument("--sizes", type=_numbers, default=[256, 512, 1024, 2048], metavar="H,H", help="hidden units")
    parser.add_argument("--batches", type=_numbers, default=[1, 16, 64, 256], metavar="B,B", help="batch rows")
    parser.add_argument("--precisions", default=",".join(PRECISIONS), metavar="P,P", help="of " + ", ".join(PRECISIONS))
    parser.add_argument("--resume", action="store_true", help="go on after what the file of --json has")
    options = parser.parse_args(argv)
    if options.resume and options.json is None:
        parser.error("--resume needs --json, the file to go on from")
    if options.table is not None:
        print(_markdown(json.loads(options.table.read_text("utf-8"))))
        return 0
    precisions = options.precisions.split(",")
    if not set(precisions) <= set(PRECISIONS):
        parser.error(f"--precisions must be of {', '.join(PRECISIONS)}")
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        parser.error("PyTorch is needed, for arrays and as the peer")
    if not gpu.is_available():
        print(f"no GPU: {devices.why_unavailable()}", file=sys.stderr)
        return 1
    report: dict[str, Any] = {
        "machine": machine.describe(), "versions": machine.versions(), "gpu": devices.description(), "rows": [],
    }  # fmt: skip
    if options.resume and options.json.exists():
        report = json.loads(options.json.read_text("utf-8"))
    rows, done = report["rows"], len(report["rows"])
    work = itertools.product(options.sizes, options.batches, precisions, ("inference", "training"))
    for H, B, precision, kind in itertools.islice(work, done, None):
        progress(f"{precision}, {kind}, H = {H}, B = {B}")
        rows.append({"shape": [options.steps, B, H], "precision": precision, "kind": kind, "void": UNFINISHED})
        if options.json is not None:
            save(report, options.json)  # The results so far stay if the time runs out.
        try:
            measured = _measure(torch, rows[-1], options.seconds)
            del rows[-1]["void"]
            rows[-1] |= measured
        except DisagreementError as error:
            rows[-1]["void"] = str(error)
    if options.json is not None:
        save(report, options.json)
    print(_markdown(report))
    if _void(report):
        print(f"{len(_void(report))} of {len(rows)} comparisons are void", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
