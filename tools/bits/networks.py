"""Combinations of `fastlstm.nn`: layers, losses, optimisers, CTC, networks and their training."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

import fastlstm
from fastlstm import nn

from .cases import Case, Results, chosen, named, random_numbers
from .functions import DTYPES, VARIANTS, lengths_of

SHAPES = [(1, 1, 1, 1), (7, 3, 5, 8), (12, 20, 16, 32), (6, 40, 33, 17), (30, 2, 3, 70)]  # T, B, I, H
OPTIMISERS = {
    "SGD": partial(nn.SGD, learning_rate=0.1),
    "momentum": partial(nn.SGD, learning_rate=nn.StepDecay(0.1, 0.5, 3), momentum=0.9),
    "Nesterov": partial(nn.SGD, learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": partial(nn.Adam, learning_rate=nn.CosineDecay(0.01, 20, 4)),
    "AdamW": partial(nn.AdamW, learning_rate=nn.ExponentialDecay(0.01, 0.9, 2), weight_decay=0.1),
}
LOSSES: dict[str, list[Any]] = {
    "loss": ["mse", "mae", "huber", "logistic_loss", "softmax_cross_entropy", "class_weights", "label_smoothing"],
    "dtype": DTYPES,
    "shape": SHAPES,
    "mask": [False, True],
    "threads": [1, 2],
}
STEPS: dict[str, list[Any]] = {"optimiser": list(OPTIMISERS), "dtype": DTYPES, "size": [1, 7, 40000]}
TRAINING: dict[str, list[Any]] = {
    "data": ["Batches", "Batches per step", "Chunks", "Transcripts", "Pairs"],
    "cell": [*VARIANTS, "rnn"],
    "dtype": DTYPES,
    "threads": [1, 3],
    "optimiser": list(OPTIMISERS),
    "dropout": [0.0, 0.3],
    "batch_first": [False, True],
    "bidirectional": [False, True],
    "layers": [1, 2],
    "clip": [None, 0.5],
    "average": [None, 0.9],
}
PARTS: dict[str, list[Any]] = {
    "part": ["Dense tanh", "Dense relu", "Dense identity", "Embedding", "Attention", "Last", "Mean", "Dropout"],
    "dtype": DTYPES,
    "threads": [1, 2],
    "shape": SHAPES,
    "lengths": [None, "some"],
    "added": [False, True],
}
CTC: dict[str, list[Any]] = {
    "dtype": DTYPES,
    "threads": [1, 2, 3],
    "shape": [(1, 1, 2), (9, 3, 4), (40, 8, 30), (25, 2, 70)],  # T, B, K
    "lengths": [None, "some"],
    "per_label": [True, False],
    "batch_first": [False, True],
    "blank": [0, 1],
    "scale": [1.0, 30.0],
}


def cases() -> Iterator[Case]:
    """Yield the combinations of `fastlstm.nn`."""
    for subject, values, more, compute in (
        ("parts of nn", PARTS, 0, _part),
        ("losses", LOSSES, 0, _loss),
        ("optimiser", STEPS, 0, _optimiser),
        ("ctc", CTC, 0, _ctc),
        ("fit", TRAINING, 40, _fit),
    ):
        for options in chosen(subject, values, more):
            name = named(subject, options)
            yield Case(name, partial(_with_threads, compute, SimpleNamespace(**options), name))


def _with_threads(compute: Any, o: SimpleNamespace, name: str) -> Results:
    """Compute with a number of threads as the default, which most of `fastlstm.nn` uses."""
    before = fastlstm.get_num_threads()
    fastlstm.set_num_threads(vars(o).get("threads", 1))
    try:
        found: Results = compute(o, random_numbers(name))
        return found
    finally:
        fastlstm.set_num_threads(before)


def _part(o: SimpleNamespace, rng: np.random.Generator) -> Results:
    T, B, I, H = o.shape
    x = rng.standard_normal((T, B, I)).astype(o.dtype)
    lengths = lengths_of(o.lengths, T, B, rng)
    if lengths is not None:
        lengths = np.maximum(lengths, 1)
    made = {"dtype": o.dtype, "seed": 4}
    layer: Any
    if o.part.startswith("Dense"):
        layer, given = nn.Dense(I, H, activation=o.part.split()[1], **made), (x,)
    elif o.part == "Embedding":
        layer, given = nn.Embedding(I + 3, H, **made), (rng.integers(0, I + 3, (T, B)),)
    elif o.part == "Attention":
        query = rng.standard_normal((T + 1, B, H)).astype(o.dtype)
        layer, given = nn.Attention(H, I, 9, **made), (query, x, lengths)
    elif o.part == "Dropout":
        layer, given = nn.Dropout(0.4), (x,)
    else:
        layer, given = getattr(nn, o.part)(), (x, lengths)
    rest = {"rng": np.random.default_rng(3)} if o.part == "Dropout" else {}
    y, tape = layer.forward(*given, **rest)
    dy = rng.standard_normal(y.shape).astype(y.dtype)
    grads = layer.backward(tape, dy)
    if o.added:
        grads = layer.backward(tape, dy, out=grads, accumulate=True)
    return {"call": layer(*given), "y": y, "gradients": {"flat": grads.flat, "x": grads.x}}


def _loss(o: SimpleNamespace, rng: np.random.Generator) -> Results:
    T, B, I, _ = o.shape
    K = I + 1
    y = rng.standard_normal((T, B, K)).astype(o.dtype)
    options: dict[str, Any] = {"mask": rng.random((T, B)) < 0.8 if o.mask else None}
    name = o.loss
    if name in ("class_weights", "label_smoothing"):
        options[name] = rng.random(K).astype(o.dtype) + 0.5 if name == "class_weights" else 0.1
        name = "softmax_cross_entropy"
    if name == "softmax_cross_entropy":
        target = rng.integers(0, K, (T, B))
    else:
        target = (rng.random(y.shape) if name == "logistic_loss" else rng.standard_normal(y.shape)).astype(o.dtype)
    return {"loss": getattr(nn, name)(y, target, **options), "softmax": nn.softmax(y)}


def _optimiser(o: SimpleNamespace, rng: np.random.Generator) -> Results:
    flat = rng.standard_normal(o.size).astype(o.dtype)
    optimiser = OPTIMISERS[o.optimiser](flat)
    norms = []
    for _ in range(5):
        gradient = rng.standard_normal(o.size).astype(o.dtype)
        norms.append(nn.clip_norm(gradient, 0.5 * o.size**0.5))
        nn.clip_value(gradient, 0.4)
        optimiser.step(gradient)
    return {"flat": flat, "norms": norms, "state": optimiser.state()}


def _ctc(o: SimpleNamespace, rng: np.random.Generator) -> Results:
    T, B, K = o.shape
    logits = (o.scale * rng.standard_normal((T, B, K))).astype(o.dtype)
    lengths = lengths_of(o.lengths, T, B, rng)
    labels = rng.integers(0, K - 1, (B, max(T // 3, 1)))
    labels += labels >= o.blank
    label_lengths = rng.integers(0, labels.shape[1] + 1, B)
    if o.batch_first:
        logits = np.ascontiguousarray(logits.swapaxes(0, 1))
    options = {"blank": o.blank, "batch_first": o.batch_first}
    how = options | {"per_label": o.per_label, "zero_infinity": True, "num_threads": o.threads}
    loss = nn.ctc_loss(logits, lengths, labels, label_lengths, **how)
    beams = nn.ctc_beam_search(logits, lengths, beam_width=6, num_results=2, num_threads=o.threads, **options)
    return {"loss": loss, "best path": nn.ctc_best_path(logits, lengths, **options), "beams": beams}


def _recurrent(o: SimpleNamespace, I: int, H: int, seed: int) -> Any:
    directions = {"bidirectional": o.bidirectional and o.data != "Chunks"}
    made = {"dtype": o.dtype, "seed": seed, "dropout": o.dropout if o.layers > 1 else 0.0}
    if o.cell == "rnn":
        return fastlstm.RNN(I, H, o.layers, **made, **directions)
    return fastlstm.LSTM(I, H, o.layers, variant=o.cell, peephole=o.cell != "NP", **made, **directions)


def _fit(o: SimpleNamespace, rng: np.random.Generator) -> Results:
    """Train a small network for two epochs, and use it."""
    I, H, K, N = 4, 11, 5, 13
    x = [rng.standard_normal((n, I)).astype(o.dtype) for n in rng.integers(4, 12, N)]
    layout = {"batch_first": o.batch_first}
    layer = _recurrent(o, I, H, 1)
    E = H * layer.directions
    dense = nn.Dense(E, K, dtype=o.dtype, seed=2)
    drop = [nn.Dropout(o.dropout)] if o.dropout else []
    model: Any
    use: Any
    if o.data == "Batches":
        model = nn.Sequential(layer, *drop, nn.Last(), dense, **layout)
        data: Any = nn.Batches(x, rng.integers(0, K, N), 4)
        loss: Any = nn.softmax_cross_entropy
        use = partial(model.predict, x, 5)
    elif o.data == "Batches per step":
        mean = nn.Dense(E, H, activation="relu", dtype=o.dtype, seed=3)
        model = nn.Sequential(
            layer, mean, *drop, _recurrent(o, H, H, 4), nn.Dense(E, 2, dtype=o.dtype, seed=5), **layout
        )
        data = nn.Batches(x, [rng.standard_normal((len(one), 2)).astype(o.dtype) for one in x], 4)
        loss, use = nn.mse, partial(model.predict, x, 5)
    elif o.data == "Chunks":
        text = rng.integers(0, K, 121)
        model = nn.Sequential(nn.Embedding(K, I, dtype=o.dtype, seed=3), layer, *drop, dense, **layout)
        data, loss = nn.Chunks(text[:-1], text[1:], 3, 9), nn.softmax_cross_entropy
        use = partial(model, text[:12].reshape(3, 4))
    elif o.data == "Transcripts":
        model = nn.Sequential(layer, dense, **layout)
        data = nn.Transcripts(x, [rng.integers(1, K, n) for n in rng.integers(0, 3, N)], 4)
        loss, use = nn.ctc_loss, partial(model.predict, x, 5)
    else:
        variant = "NP" if o.cell == "rnn" else o.cell
        decoder = nn.Decoder(
            K + 2, I, H, o.layers, encoded_size=E, attention_size=6 if o.batch_first else None, dropout=o.dropout,
            peephole=variant != "NP", variant=variant, dtype=o.dtype, seed=6,
        )  # fmt: skip
        model = nn.Seq2Seq(layer, decoder)
        data = nn.Pairs(x, [rng.integers(2, K + 2, n) for n in rng.integers(1, 6, N)], 4, begin=0, end=1)
        loss = nn.softmax_cross_entropy
        padded, lengths = nn.pad(x)
        ends = {"begin": 0, "end": 1, "max_steps": 7}

        def use() -> Any:
            return model.greedy(padded, lengths, **ends), model.beam_search(padded, lengths, beam_width=3, **ends)

    optimiser = OPTIMISERS[o.optimiser](model.flat)
    history = nn.fit(
        model, loss, data, data, optimiser=optimiser, epochs=2, clip=o.clip, average=o.average, seed=7, progress=False
    )
    losses = [(epoch.loss, epoch.validation) for epoch in history.epochs]
    return {"losses": losses, "flat": model.flat, "state": optimiser.state(), "use": use()}
