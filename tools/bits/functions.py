"""Combinations of `lstm_forward`, `lstm_backward`, `rnn_forward` and `rnn_backward`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

import fastlstm

from .cases import Case, Options, Results, chosen, named, random_numbers

VARIANTS = {
    "vanilla": 4, "NIG": 3, "NFG": 3, "NOG": 3, "NIAF": 4, "NOAF": 4, "NP": 4, "CIFG": 3, "FGR": 4,
}  # fmt: skip
"""The blocks of W, R and b of each variant."""
ACTIVATIONS = [
    None,
    ("hard_logistic", "relu", "identity"),
    ("logistic", "hard_logistic", "logistic"),
    ("hard_logistic", "logistic", "relu"),
    ("logistic", "identity", "hard_logistic"),
    ("hard_logistic", "tanh", "tanh"),
]
NONLINEARITIES = ["tanh", "relu", "logistic", "identity"]
DTYPES = ["float32", "float64"]
SHAPES = [  # T, B, I, H
    (1, 1, 1, 1), (1, 2, 3, 5), (5, 1, 4, 7), (7, 3, 5, 8), (2, 9, 0, 6), (0, 2, 3, 4), (3, 0, 2, 4),
    (9, 4, 17, 16), (6, 2, 7, 33), (1, 40, 9, 20),
    (40, 16, 6, 9), (300, 3, 2, 8), (5, 530, 3, 4),  # more than 512 rows, in blocks
    (12, 20, 16, 32),  # threads that share the rows
    (6, 2, 30, 160),   # threads that share the units
    (20, 1, 9, 264),   # a single row, weights as they are
    (4, 5, 250, 420),  # weights larger than a cache
]  # fmt: skip
OPTIONS: dict[str, list[Any]] = {
    "dtype": DTYPES,
    "shape": SHAPES,
    "threads": [1, 2, 3],
    "lengths": [None, "some", "all"],
    "reverse": [False, True],
    "reset": [None, "initial", "zero"],
    "mask": [False, True],
    "zoneout": [None, "y", "c", "both"],
    "batch_invariant": [False, True],
    "tape": ["new", "filled"],
    "recompute": [None, 1, 3],
    "state": [False, True],
    "dy": [True, False],
    "arriving": [None, "state", "h", "each c", "all"],
    "gradients": ["new", "deltas", "given", "added"],
    "workspace": [False, True],
}
LSTM: dict[str, list[Any]] = OPTIONS | {
    "variant": list(VARIANTS),
    "peephole": [True, False],
    "activations": ACTIVATIONS,
    "clip": [None, 0.7],
    "cell_clip": [None, 0.4],
    "proj": [False, True],
}
RNN: dict[str, list[Any]] = OPTIONS | {
    "nonlinearity": NONLINEARITIES,
    "zoneout": [None, "y"],
    "arriving": [None, "state"],
}


def cases() -> Iterator[Case]:
    """Yield the combinations of the functions."""
    for options in chosen("lstm functions", LSTM, 250):
        name = named("lstm_forward, lstm_backward", options)
        yield Case(name, partial(_lstm, SimpleNamespace(**options), random_numbers(name)))
    for options in chosen("rnn functions", RNN, 100):
        name = named("rnn_forward, rnn_backward", options)
        yield Case(name, partial(_rnn, SimpleNamespace(**options), random_numbers(name)))


def lengths_of(kind: str | None, T: int, B: int, rng: np.random.Generator) -> np.ndarray | None:
    """Return the lengths of B rows: some of them, 0 and T among these where there is room, or all T."""
    if kind is None:
        return None
    lengths = rng.integers(0, T + 1, B) if kind == "some" else np.full(B, T)
    lengths[:1] = T
    return lengths


def _call(o: SimpleNamespace, P: int, H: int, rng: np.random.Generator) -> Options:
    """Return the arguments of a forward pass that LSTM and RNN share; zoneout is that of the LSTM."""
    T, B, _, _ = o.shape
    shares = {"y": (True, False), "c": (False, True), "both": (True, True), None: (False, False)}[o.zoneout]
    zoneout = tuple(
        rng.integers(0, 2, (T, B, size)).astype(o.dtype) if there else None
        for there, size in zip(shares, (P, H), strict=True)
    )
    return {
        "lengths": lengths_of(o.lengths, T, B, rng),
        "reverse": o.reverse,
        "reset": None if o.reset is None else rng.random((T, B)) < 0.3,
        "reset_to": o.reset or "initial",
        "recurrent_mask": (2 * rng.integers(0, 2, (B, P))).astype(o.dtype) if o.mask else None,
        "zoneout": None if o.zoneout is None else zoneout,
        "batch_invariant": o.batch_invariant,
        "recompute": o.recompute,
        "num_threads": o.threads,
    }


def _lstm(o: SimpleNamespace, rng: np.random.Generator) -> Results:
    T, B, I, H = o.shape
    n, P = VARIANTS[o.variant], (H + 1) // 2 if o.proj else H
    fgr, peephole = o.variant == "FGR", o.peephole and o.variant != "NP"

    def normal(scale: float, *shape: int) -> np.ndarray:
        return (scale * rng.standard_normal(shape)).astype(o.dtype)

    x, b, p = normal(1, T, B, I), normal(0.3, n * H), normal(0.3, n - 1, H) if peephole else None
    W, R = normal(0.6 / max(I, 1) ** 0.5, n * H, I), normal(0.6 / P**0.5, n * H, P)
    more = {
        "G": normal(0.4 / H**0.5, 3 * H, 3 * H) if fgr else None,
        "proj": normal(1 / H**0.5, P, H) if o.proj else None,
    }
    sizes = [P, H, 3 * H][: 3 if fgr else 2]
    state = tuple(normal(0.5, B, size) for size in sizes) if o.state else None
    forward = partial(
        fastlstm.lstm_forward, W=W, R=R, b=b, p=p, state=state, variant=o.variant, activations=o.activations,
        clip=o.clip, cell_clip=o.cell_clip, **more, **_call(o, P, H, rng),
    )  # fmt: skip
    space = None
    if o.workspace:
        sized = {"proj_size": P if o.proj else 0, "recompute": o.recompute, "batch_invariant": o.batch_invariant}
        size = fastlstm.lstm_workspace(T, B, max(I, 1), H, o.dtype, variant=o.variant, **sized)
        space = np.full(size, np.nan, o.dtype)
    tape: Any = True
    if o.tape == "filled":
        tape = forward(normal(1, T, B, I), tape=True)[2]
    y, last, tape = forward(x, tape=tape, workspace=space)
    found = {"without tape": forward(x, recompute=None)[:2], "y": y, "state": last}

    dy = normal(1, *y.shape) if o.dy else None
    dstate = [normal(1, B, size) for size in sizes]
    if o.arriving == "h":
        dstate[1:] = [None] * (len(sizes) - 1)
    arriving = tuple(dstate) if o.arriving in ("state", "h", "all") else None
    dc = normal(1, T, B, H) if o.arriving in ("each c", "all") else None
    backward = partial(
        fastlstm.lstm_backward, tape, W, R, p, dy, arriving, dc=dc, workspace=space, num_threads=o.threads, **more
    )
    return found | {"gradients": _gradients(backward, o.gradients)}


def _rnn(o: SimpleNamespace, rng: np.random.Generator) -> Results:
    T, B, I, H = o.shape

    def normal(scale: float, *shape: int) -> np.ndarray:
        return (scale * rng.standard_normal(shape)).astype(o.dtype)

    x, b, W, R = normal(1, T, B, I), normal(0.3, H), normal(0.6 / max(I, 1) ** 0.5, H, I), normal(0.6 / H**0.5, H, H)
    options = _call(o, H, H, rng)
    if options["zoneout"] is not None:
        options["zoneout"] = options["zoneout"][0]
    state = normal(0.5, B, H) if o.state else None
    forward = partial(fastlstm.rnn_forward, W=W, R=R, b=b, state=state, nonlinearity=o.nonlinearity, **options)
    space = None
    if o.workspace:
        size = fastlstm.rnn_workspace(
            T, B, max(I, 1), H, o.dtype, recompute=o.recompute, batch_invariant=o.batch_invariant
        )  # fmt: skip
        space = np.full(size, np.nan, o.dtype)
    tape: Any = True
    if o.tape == "filled":
        tape = forward(normal(1, T, B, I), tape=True)[2]
    y, last, tape = forward(x, tape=tape, workspace=space)
    found = {"without tape": forward(x, recompute=None)[:2], "y": y, "state": last}
    dy, dstate = normal(1, *y.shape) if o.dy else None, normal(1, B, H) if o.arriving else None
    backward = partial(fastlstm.rnn_backward, tape, W, R, dy, dstate, workspace=space, num_threads=o.threads)
    return found | {"gradients": _gradients(backward, o.gradients)}


def _gradients(backward: Any, kind: str) -> Any:
    """Return the gradients, in new arrays or in given ones."""
    if kind in ("new", "deltas"):
        return backward(deltas=kind == "deltas")
    out = backward()
    if kind == "given":
        _fill_with_nan(out)
    return backward(out=out, accumulate=kind == "added")


def _fill_with_nan(arrays: Any) -> None:
    for array in arrays:
        if isinstance(array, tuple):
            _fill_with_nan(array)
        elif array is not None:
            array[:] = np.nan
