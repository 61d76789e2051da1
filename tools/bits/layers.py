"""Combinations of the layers: sequences, single steps, streams, frozen networks and truncated BPTT."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

import fastlstm

from .cases import Case, Results, chosen, named, random_numbers
from .functions import ACTIVATIONS, DTYPES, NONLINEARITIES, VARIANTS, lengths_of

CELLS = [*VARIANTS, *(f"rnn {name}" for name in NONLINEARITIES)]
SHAPES = [  # T, B, I, H
    (1, 1, 1, 1), (1, 3, 3, 5), (5, 1, 4, 7), (7, 3, 5, 8), (0, 2, 3, 4), (3, 0, 2, 4), (9, 4, 17, 16), (6, 2, 7, 33),
    (60, 10, 6, 9), (5, 130, 3, 4), (12, 20, 16, 32), (6, 2, 30, 160), (20, 1, 9, 264), (4, 5, 250, 420),
]  # fmt: skip
CELL: dict[str, list[Any]] = {
    "cell": CELLS,
    "dtype": DTYPES,
    "threads": [1, 2, 3],
    "layers": [1, 2, 3],
    "batch_first": [False, True],
    "batch_invariant": [False, True],
    "peephole": [True, False],
    "proj": [False, True],
    "activations": ACTIVATIONS,
    "clip": [None, 0.7],
    "cell_clip": [None, 0.4],
}
SEQUENCES = CELL | {
    "shape": SHAPES,
    "bidirectional": [False, True],
    "dropout": [0.0, 0.3],
    "recurrent_dropout": [0.0, 0.3],
    "drop_connect": [0.0, 0.3],
    "zoneout": [(0.0, 0.0), (0.2, 0.0), (0.2, 0.3)],
    "lengths": [None, "some", "all", "packed"],
    "reset": [None, "initial", "zero"],
    "recompute": [None, 1, 3],
    "tape": ["new", "filled"],
    "state": [False, True],
    "dy": [True, False],
    "arriving": [None, "state", "each c", "all"],
    "gradients": ["new", "deltas", "given", "added"],
}
STEPS = CELL | {
    "rows": [1, 2, 3, 40, 130],
    "sizes": [(3, 5), (17, 16), (7, 33), (30, 160), (250, 420)],  # inputs, hidden units
    "zoneout": [(0.0, 0.0), (0.2, 0.3)],
    "weights": ["own", "full", "bfloat16", "int8"],
    "by": ["step", "step, out given", "Stream", "sequence", "sequence with lengths"],
}
CHUNKS = CELL | {
    "shape": [(10, 3, 5, 8), (12, 20, 16, 32), (7, 1, 4, 9)],
    "k": [(1, 1), (3, 3), (2, 6), (3, 5), (20, 20)],  # k1, k2
    "dropout": [0.0, 0.3],
    "lengths": [None, "some"],
    "reset": [None, "zero"],
}


def cases(frozen: bool) -> Iterator[Case]:
    """Yield the combinations of the layers, with or without frozen networks."""
    for subject, values, more, compute in (
        ("layers", SEQUENCES, 250, _sequences),
        ("steps", STEPS, 100, _steps),
        ("truncated_bptt", CHUNKS, 0, _chunks),
    ):
        for options in chosen(subject, values, more):
            if options.get("weights") in ("bfloat16", "int8") and options["dtype"] == "float64":
                options["dtype"] = "float32"
            if options.get("weights", "own") != "own" and not frozen:
                continue
            name = named(subject, options)
            yield Case(name, partial(compute, SimpleNamespace(**options), random_numbers(name)))


def _layer(o: SimpleNamespace, I: int, H: int, rng: np.random.Generator) -> Any:
    """Return a layer with these options, as far as its cell has them."""
    options = {name: vars(o)[name] for name in ("batch_first", "batch_invariant", "dtype")}
    options |= {name: vars(o).get(name, 0.0) for name in ("dropout", "recurrent_dropout", "drop_connect")}
    options |= {"bidirectional": vars(o).get("bidirectional", False)}
    zoneout = vars(o).get("zoneout", (0.0, 0.0))
    if options["dropout"] and o.layers == 1:
        options["dropout"] = 0.0  # it is between layers
    seed = int(rng.integers(1000))
    if o.cell.startswith("rnn"):
        nonlinearity = o.cell.split()[1]
        layer: Any = fastlstm.RNN(I, H, o.layers, nonlinearity=nonlinearity, zoneout=zoneout[0], seed=seed, **options)
    else:
        layer = fastlstm.LSTM(
            I, H, o.layers, variant=o.cell, peephole=o.peephole and o.cell != "NP", zoneout=zoneout, seed=seed,
            proj_size=(H + 1) // 2 if o.proj and H > 1 else 0, activations=o.activations, clip=o.clip,
            cell_clip=o.cell_clip, **options,
        )  # fmt: skip
    layer.flat[:] += 0.1 * rng.standard_normal(layer.flat.size).astype(o.dtype)
    return layer


def _state(layer: Any, B: int, dtype: str, rng: np.random.Generator) -> Any:
    """Return a random state, or gradients of one."""
    zero = layer.zero_state(B)
    parts = [(0.5 * rng.standard_normal(part.shape)).astype(dtype) for part in zero if part is not None]
    return tuple(parts) if isinstance(layer, fastlstm.LSTM) else parts[0]


def _packed(x: np.ndarray, lengths: np.ndarray) -> fastlstm.PackedSequence:
    """Return the rows of x, (T, B, I), that are within their lengths, as PyTorch packs them."""
    order = np.argsort(-lengths, kind="stable")
    sizes = np.array([(lengths > t).sum() for t in range(lengths.max(initial=0))], np.int64)
    data = np.concatenate([x[t, order[:size]] for t, size in enumerate(sizes)]) if len(sizes) else x[0, :0]
    return fastlstm.PackedSequence(data, sizes, order, np.argsort(order))


def _sequences(o: SimpleNamespace, rng: np.random.Generator) -> Results:
    T, B, I, H = o.shape
    layer = _layer(o, I, H, rng)
    x, other = ((rng.standard_normal((T, B, I))).astype(o.dtype) for _ in range(2))
    lengths: Any = lengths_of("some" if o.lengths == "packed" else o.lengths, T, B, rng)
    options: dict[str, Any] = {"num_threads": o.threads, "lengths": lengths}
    if o.reset:
        options |= {"reset": rng.random((T, B)) < 0.3, "reset_to": o.reset}
    if o.state:
        options["state"] = _state(layer, B, o.dtype, rng)
    if o.lengths == "packed" and T and B:
        lengths = np.maximum(lengths, 1)
        options["lengths"] = None
        x, other = (_packed(one, lengths) for one in (x, other))
    elif o.batch_first:
        x, other = (np.ascontiguousarray(one.swapaxes(0, 1)) for one in (x, other))
    found = {"start": layer.flat, "call": layer(x, **options)}
    options["recompute"] = o.recompute
    tape = None
    if o.tape == "filled":
        tape = layer.forward(other, rng=np.random.default_rng(1), **options)[2]
    y, last, tape = layer.forward(x, rng=np.random.default_rng(2), tape=tape, **options)
    found |= {"y": y, "state": last}

    above = y.data if isinstance(y, fastlstm.PackedSequence) else y
    dy = rng.standard_normal(above.shape).astype(o.dtype) if o.dy else None
    if dy is not None and isinstance(y, fastlstm.PackedSequence):
        dy = y._replace(data=dy)
    backward: dict[str, Any] = {"num_threads": o.threads}
    if o.arriving in ("state", "all"):
        backward["dstate"] = _state(layer, B, o.dtype, rng)
    if o.arriving in ("each c", "all") and isinstance(layer, fastlstm.LSTM):
        count = o.layers * layer.directions
        backward["dc"] = [rng.standard_normal((T, B, H)).astype(o.dtype) for _ in range(count)]
    grads = layer.backward(tape, dy, deltas=o.gradients == "deltas", **backward)
    if o.gradients in ("given", "added"):
        if o.gradients == "given":
            grads.flat[:] = np.nan
        grads = layer.backward(tape, dy, out=grads, accumulate=o.gradients == "added", **backward)
    deltas = grads.deltas if o.gradients == "deltas" else None
    return found | {"gradients": {"flat": grads.flat, "x": grads.x, "state": grads.state, "deltas": deltas}}


def _steps(o: SimpleNamespace, rng: np.random.Generator) -> Results:
    (I, H), B, T = o.sizes, o.rows, 4
    layer = _layer(o, I, H, rng)
    network: Any = layer if o.weights == "own" else fastlstm.Frozen(layer, o.weights)
    x, state = rng.standard_normal((T, B, I)).astype(o.dtype), _state(layer, B, o.dtype, rng)
    if o.by.startswith("sequence"):
        given = np.ascontiguousarray(x.swapaxes(0, 1)) if o.batch_first else x
        lengths = rng.integers(0, T + 1, B) if "lengths" in o.by else None
        return {"result": network(given, state, lengths, num_threads=o.threads)}
    found: list[Any] = []
    if o.by == "Stream":
        stream = fastlstm.Stream(network, B, num_threads=o.threads)
        stream.reset(state=state)
        for t in range(T):
            if t == 2:
                stream.reset([0])
            found.append((stream.step(x[t]).copy(), np.copy(stream.state[0])))
        return {"steps": found, "last": stream.state}
    out = None
    for x_t in x:
        if o.by == "step, out given":
            out = (np.empty((B, layer.output_size), o.dtype), state)
        y, state = network.step(x_t, state, out, num_threads=o.threads)
        found.append(np.copy(y))
    return {"steps": found, "last": state}


def _chunks(o: SimpleNamespace, rng: np.random.Generator) -> Results:
    T, B, I, H = o.shape
    layer = _layer(o, I, H, rng)
    x = rng.standard_normal((B, T, I) if o.batch_first else (T, B, I)).astype(o.dtype)
    options: dict[str, Any] = {"lengths": lengths_of(o.lengths, T, B, rng), "num_threads": o.threads}
    if o.reset:
        options["reset"] = rng.random((T, B)) < 0.3
    found = []
    for chunk in fastlstm.truncated_bptt(layer, x, *o.k, rng=np.random.default_rng(3), **options):
        grads = chunk.backward(rng.standard_normal(chunk.y.shape).astype(o.dtype))
        found.append((chunk.y, chunk.state, grads.flat, grads.x, grads.state))
    return {"chunks": found}
