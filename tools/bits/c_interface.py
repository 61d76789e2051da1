"""Combinations of the C interface, called as the tests call it: `tests/c_interface.py` has its structures."""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import byref, c_void_p
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from c_interface import ACTIVATIONS, KINDS, VARIANTS, C, Layer, address, network

from .cases import Case, Results, chosen, named, random_numbers
from .functions import DTYPES

NETWORKS: dict[str, list[Any]] = {
    "layers": [
        ("lstm",), ("rnn",), ("dense",), ("lstm", "lstm"), ("lstm", "dense"), ("rnn", "lstm", "dense"),
        ("dense", "lstm", "rnn"),
    ],
    "dtype": DTYPES,
    "shape": [  # T, B, I, H
        (1, 1, 1, 1), (5, 1, 4, 7), (7, 3, 5, 8), (0, 2, 3, 4), (3, 0, 2, 4), (9, 4, 17, 16), (40, 16, 6, 9),
        (12, 20, 16, 32), (6, 2, 30, 160), (20, 1, 9, 264), (4, 5, 250, 420),
    ],
    "bidirectional": [False, True],
    "peephole": [True, False],
    "variant": list(VARIANTS),
    "gate": ["usual", "hard_logistic"],
    "g": list(ACTIVATIONS),
    "h": list(ACTIVATIONS),
    "clip": [0.0, 0.7],
    "cell_clip": [0.0, 0.4],
    "first": [False, True],
    "dlast": [False, True],
    "added": [False, True],
    "by": ["steps", "forward", "backward", "backward of a plan that is smaller before"],
}  # fmt: skip


def cases(isa: str) -> Iterator[Case]:
    """Yield the combinations of the C interface."""
    for options in chosen("C interface", NETWORKS, 60):
        if options["g"] == "hard_logistic" and {"rnn", "dense"} & set(options["layers"]):
            options["g"] = "usual"  # neither has it
        if options["variant"] == "CIFG" and options["by"] == "steps":
            options["bidirectional"] = False
        name = named("C interface", options)
        yield Case(name, partial(_run, isa, SimpleNamespace(**options), random_numbers(name)))


def _layer(o: SimpleNamespace, kind: str) -> Layer:
    H, number, kind_number = o.shape[3], ACTIVATIONS.index, KINDS.index(kind.upper())
    if kind == "dense":
        return Layer(kind=kind_number, units=H, g=number(o.g))
    if kind == "rnn":
        return Layer(kind=kind_number, units=H, bidirectional=o.bidirectional, g=number(o.g))
    return Layer(
        kind_number, H, o.bidirectional, o.peephole, VARIANTS.index(o.variant),
        number(o.gate), number(o.g), number(o.h), o.clip, o.cell_clip,
    )  # fmt: skip


def _run(isa: str, o: SimpleNamespace, rng: np.random.Generator) -> Results:
    (T, B, I, _), dtype = o.shape, np.dtype(o.dtype)

    def call(name: str, *arguments: Any) -> None:
        status = getattr(C, name)(*arguments)
        if status:
            raise RuntimeError(f"fastlstm_{name}: {C.message(status).decode()}")

    training = o.by.startswith("backward")
    description = network(I, [_layer(o, kind) for kind in o.layers], dtype, training, isa.encode())
    memory, plan = np.full(C.plan_bytes(byref(description)), 0xFF, np.uint8), c_void_p()
    call("make_plan", byref(description), address(memory), memory.size, byref(plan))

    def normal(scale: float, *shape: int) -> np.ndarray:
        return (scale * rng.standard_normal(shape)).astype(dtype)

    def space(count: int) -> np.ndarray:
        return np.full(count, 0xFF, np.uint8)

    parameters = normal(0.6 / max(o.shape[3], I) ** 0.5, C.parameter_count(plan))
    call("set_parameters", plan, address(parameters), parameters.size)
    x, states = normal(1, T, B, I), C.state_count(plan, B)
    first = normal(0.5, states) if o.first else None
    y, last = np.full((T, B, C.output_count(plan)), np.nan, dtype), np.full(states, np.nan, dtype)
    if o.by == "steps":
        last[:] = 0 if first is None else first
        workspace = space(C.workspace_bytes(plan, 1, B))
        for x_t, y_t in zip(x, y, strict=True):
            call("step", plan, B, address(x_t), address(last), address(y_t), address(workspace))
        return {"y": y, "state": last}
    tape = space(C.tape_bytes(plan, T, B)) if training else None
    workspace = space(C.workspace_bytes(plan, T, B))
    outputs = address(y), address(last), address(tape), address(workspace)
    if "smaller before" in o.by:
        call("forward", plan, T // 2, B // 2, address(x), None, *outputs)
    call("forward", plan, T, B, address(x), address(first), *outputs)
    found = {"y": y, "state": last}
    if not training:
        return found
    dy, dlast = normal(1, *y.shape), normal(1, states) if o.dlast else None
    dx, dfirst = np.full_like(x, np.nan), np.full(states, np.nan, dtype)
    gradients = normal(1, parameters.size) if o.added else np.full(parameters.size, np.nan, dtype)
    given = [address(array) for array in (x, y, tape, dy, dlast, dx, dfirst, gradients)]
    call("backward", plan, T, B, *given, o.added, address(workspace))
    return found | {"gradients": gradients, "dx": dx, "dstate": dfirst}
