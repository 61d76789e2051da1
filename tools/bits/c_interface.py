"""Combinations of the C interface, called through the capsule that `fastlstm/capsule.h` names."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_size_t, c_void_p
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from .cases import Case, Results, chosen, named, random_numbers
from .functions import DTYPES

CAPSULE = b"fastlstm._runtime.c_interface"
KINDS = {"lstm": 0, "rnn": 1, "dense": 2}
VARIANTS = ["vanilla", "NIG", "NFG", "NOG", "NIAF", "NOAF", "CIFG"]
ACTIVATIONS = ["usual", "tanh", "relu", "logistic", "identity", "hard_logistic"]
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
    "variant": VARIANTS,
    "gate": ["usual", "hard_logistic"],
    "g": ACTIVATIONS,
    "h": ACTIVATIONS,
    "clip": [0.0, 0.7],
    "cell_clip": [0.0, 0.4],
    "first": [False, True],
    "dlast": [False, True],
    "added": [False, True],
    "by": ["steps", "forward", "backward", "backward of a plan that is smaller before"],
}  # fmt: skip


class Layer(ctypes.Structure):
    """fastlstm_layer."""

    _fields_ = (
        ("kind", c_int), ("units", c_size_t), ("bidirectional", c_int), ("peephole", c_int), ("variant", c_int),
        ("gate", c_int), ("g", c_int), ("h", c_int), ("clip", c_double), ("cell_clip", c_double),
    )  # fmt: skip


class Network(ctypes.Structure):
    """fastlstm_network."""

    _fields_ = (
        ("version", c_int), ("dtype", c_int), ("inputs", c_size_t), ("layer_count", c_size_t),
        ("layers", POINTER(Layer)), ("training", c_int), ("instruction_set", c_char_p),
    )  # fmt: skip


class Interface(ctypes.Structure):
    """fastlstm_interface."""

    _fields_ = (
        ("version", c_int),
        ("message", ctypes.CFUNCTYPE(c_char_p, c_int)),
        ("plan_bytes", ctypes.CFUNCTYPE(c_size_t, POINTER(Network))),
        ("make_plan", ctypes.CFUNCTYPE(c_int, POINTER(Network), c_void_p, c_size_t, POINTER(c_void_p))),
        ("parameter_count", ctypes.CFUNCTYPE(c_size_t, c_void_p)),
        ("output_count", ctypes.CFUNCTYPE(c_size_t, c_void_p)),
        ("state_count", ctypes.CFUNCTYPE(c_size_t, c_void_p, c_size_t)),
        ("workspace_bytes", ctypes.CFUNCTYPE(c_size_t, c_void_p, c_size_t, c_size_t)),
        ("tape_bytes", ctypes.CFUNCTYPE(c_size_t, c_void_p, c_size_t, c_size_t)),
        ("set_parameters", ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)),
        ("step", ctypes.CFUNCTYPE(c_int, c_void_p, c_size_t, *[c_void_p] * 4)),
        ("forward", ctypes.CFUNCTYPE(c_int, c_void_p, c_size_t, c_size_t, *[c_void_p] * 6)),
        ("backward", ctypes.CFUNCTYPE(c_int, c_void_p, c_size_t, c_size_t, *[c_void_p] * 8, c_int, c_void_p)),
    )


def cases(isa: str) -> Iterator[Case]:
    """Give the combinations of the C interface."""
    imported = ctypes.pythonapi.PyCapsule_Import
    imported.restype, imported.argtypes = c_void_p, (c_char_p, c_int)
    C = Interface.from_address(imported(CAPSULE, 0))
    for options in chosen("C interface", NETWORKS, 60):
        if options["g"] == "hard_logistic" and {"rnn", "dense"} & set(options["layers"]):
            options["g"] = "usual"  # neither has it
        if options["variant"] == "CIFG" and options["by"] == "steps":
            options["bidirectional"] = False
        name = named("C interface", options)
        yield Case(name, partial(_run, C, isa, SimpleNamespace(**options), random_numbers(name)))


def _layer(o: SimpleNamespace, kind: str) -> Layer:
    _, _, _, H = o.shape
    number = ACTIVATIONS.index
    if kind == "dense":
        return Layer(kind=KINDS[kind], units=H, g=number(o.g))
    if kind == "rnn":
        return Layer(kind=KINDS[kind], units=H, bidirectional=o.bidirectional, g=number(o.g))
    return Layer(
        KINDS[kind], H, o.bidirectional, o.peephole, VARIANTS.index(o.variant),
        number(o.gate), number(o.g), number(o.h), o.clip, o.cell_clip,
    )  # fmt: skip


def _address(array: np.ndarray | None) -> int | None:
    return None if array is None else array.ctypes.data


def _run(C: Any, isa: str, o: SimpleNamespace, rng: np.random.Generator) -> Results:
    (T, B, I, _), dtype = o.shape, np.dtype(o.dtype)

    def call(name: str, *arguments: Any) -> None:
        status = getattr(C, name)(*arguments)
        if status:
            raise RuntimeError(f"fastlstm_{name}: {C.message(status).decode()}")

    layers = (Layer * len(o.layers))(*(_layer(o, kind) for kind in o.layers))
    training = o.by.startswith("backward")
    network = Network(1, dtype.itemsize, I, len(layers), layers, training, isa.encode())
    memory, plan = np.full(C.plan_bytes(byref(network)), 0xFF, np.uint8), c_void_p()
    call("make_plan", byref(network), _address(memory), memory.size, byref(plan))

    def normal(scale: float, *shape: int) -> np.ndarray:
        return (scale * rng.standard_normal(shape)).astype(dtype)

    def space(count: int) -> np.ndarray:
        return np.full(count, 0xFF, np.uint8)

    parameters = normal(0.6 / max(o.shape[3], I) ** 0.5, C.parameter_count(plan))
    call("set_parameters", plan, _address(parameters), parameters.size)
    x, states = normal(1, T, B, I), C.state_count(plan, B)
    first = normal(0.5, states) if o.first else None
    y, last = np.full((T, B, C.output_count(plan)), np.nan, dtype), np.full(states, np.nan, dtype)
    if o.by == "steps":
        last[:] = 0 if first is None else first
        workspace = space(C.workspace_bytes(plan, 1, B))
        for x_t, y_t in zip(x, y, strict=True):
            call("step", plan, B, _address(x_t), _address(last), _address(y_t), _address(workspace))
        return {"y": y, "state": last}
    tape = space(C.tape_bytes(plan, T, B)) if training else None
    workspace = space(C.workspace_bytes(plan, T, B))
    outputs = _address(y), _address(last), _address(tape), _address(workspace)
    if "smaller before" in o.by:
        call("forward", plan, T // 2, B // 2, _address(x), None, *outputs)
    call("forward", plan, T, B, _address(x), _address(first), *outputs)
    found = {"y": y, "state": last}
    if not training:
        return found
    dy, dlast = normal(1, *y.shape), normal(1, states) if o.dlast else None
    dx, dfirst = np.full_like(x, np.nan), np.full(states, np.nan, dtype)
    gradients = normal(1, parameters.size) if o.added else np.full(parameters.size, np.nan, dtype)
    given = [_address(array) for array in (x, y, tape, dy, dlast, dx, dfirst, gradients)]
    call("backward", plan, T, B, *given, o.added, _address(workspace))
    return found | {"gradients": gradients, "dx": dx, "dstate": dfirst}
