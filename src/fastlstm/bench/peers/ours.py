"""The contestants of fastlstm: the layer, and `Frozen`, whose weights are fixed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

import fastlstm
from fastlstm._system import runtime
from fastlstm.bench.peers.work import CHECKED_STEPS, Contestant, Work
from fastlstm.layers.frozen import Format

__all__ = ["fastlstm_inference", "fastlstm_step", "fastlstm_training", "on_blas"]

Array = NDArray[Any]


def _layer(work: Work, peephole: bool, dtype: DTypeLike) -> fastlstm.LSTM:
    layer = fastlstm.LSTM(work.shape.I, work.shape.H, peephole=peephole, dtype=dtype)
    values = {"W_l0": work.W, "R_l0": work.R, "b_l0": work.b, "p_l0": work.p}
    for name, parameter in layer.params.items():
        parameter[:] = values[name]
    return layer


def _network(work: Work, peephole: bool, dtype: DTypeLike, frozen: Format | None) -> fastlstm.LSTM | fastlstm.Frozen:
    layer = _layer(work, peephole, dtype)
    return fastlstm.Frozen(layer, frozen) if frozen else layer


def fastlstm_inference(
    name: str, work: Work, peephole: bool = False, dtype: DTypeLike = np.float32, frozen: Format | None = None
) -> Contestant:
    """Return the contestant that calls the layer, or the network that is frozen in a format."""
    network, x = _network(work, peephole, dtype, frozen), work.x.astype(dtype)

    def repeat(n: int) -> None:
        for _ in range(n):
            network(x)

    return Contestant(name, repeat, lambda: [network(x)[0]])


def fastlstm_training(name: str, work: Work, peephole: bool = False, dtype: DTypeLike = np.float32) -> Contestant:
    """Return the contestant that runs forward and backward, with tape and gradients reused as in a training loop."""
    layer, x, dy = _layer(work, peephole, dtype), work.x.astype(dtype), work.dy.astype(dtype)
    tape: fastlstm.Tape | None = None
    gradients: fastlstm.Gradients | None = None

    def repeat(n: int) -> None:
        nonlocal gradients, tape
        for _ in range(n):
            _, _, tape = layer.forward(x, tape=tape)
            gradients = layer.backward(tape, dy, out=gradients)

    def results() -> list[Array]:
        repeat(1)
        assert gradients is not None
        return [gradients.x, *(gradients.params[name] for name in ("W_l0", "R_l0", "b_l0"))]

    return Contestant(name, repeat, results)


def fastlstm_step(name: str, work: Work, dtype: DTypeLike = np.float32, frozen: Format | None = None) -> Contestant:
    """Return the contestant that runs one step, written over the last output and state."""
    network, x = _network(work, False, dtype, frozen), work.x[0].astype(dtype)

    def start() -> tuple[Array, tuple[Array, ...]]:
        shape = (1, work.shape.B, work.shape.H)
        return np.zeros(shape[1:], dtype), (np.zeros(shape, dtype), np.zeros(shape, dtype))

    out = start()

    def repeat(n: int) -> None:
        step, (_, state) = network.step, out
        for _ in range(n):
            _, state = step(x, state, out=out)

    def results() -> list[Array]:
        y, state = start()
        for _ in range(CHECKED_STEPS):
            y, state = network.step(x, state, out=(y, state))
        return [y]

    return Contestant(name, repeat, results)


def on_blas(contestant: Contestant) -> Contestant:
    """Return a contestant of fastlstm with its steps on SciPy's BLAS."""

    def repeat(n: int) -> None:
        runtime.choose_isa("blas")
        try:
            contestant.repeat(n)
        finally:
            runtime.choose_isa(runtime.ISA)

    def results() -> list[Array]:
        runtime.choose_isa("blas")
        try:
            return contestant.results()
        finally:
            runtime.choose_isa(runtime.ISA)

    return Contestant(contestant.name, repeat, results)
