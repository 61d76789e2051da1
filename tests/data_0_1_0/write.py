"""Write with fastlstm 0.1.0 what every later version must read, and the values that 0.1.0 computed with it.

    python tests/data_0_1_0/write.py        # with a build of 0.1.0, revision 628c36b, as the fastlstm in use

Later versions use the functions here on what 0.1.0 wrote; so they use the public interface of 0.1.0 alone.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import shlex
import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

import fastlstm
from fastlstm import LSTM, RNN, nn

FOLDER = Path(__file__).resolve().parent
T, B, V = 6, 3, 7  # Steps, rows, symbols.
LENGTHS = [6, 2, 4]
EXTRA = {"unit": "degrees C", "symbols": list("abcdefg"), "mean": 0.25}

Results = dict[str, Any]


def values(*shape: int, start: int = 0, dtype: Any = np.float32) -> np.ndarray:
    """Return numbers between -0.5 and 0.5 that are the same on every machine and with every version of NumPy."""
    count = int(np.prod(shape))
    return ((np.arange(start, start + count) * 7919 % 1009) / 1009 - 0.5).astype(dtype).reshape(shape)


def symbols(*shape: int, low: int = 0) -> np.ndarray:
    """Return ids of symbols."""
    return low + np.arange(np.prod(shape)).reshape(shape) * 5 % (V - low)


def filled(network: Any) -> Any:
    """Give a network these values as its parameters."""
    network.flat[:] = values(network.flat.size, dtype=network.dtype)
    return network


# ---- networks in files ----


def networks() -> dict[str, Any]:
    """Return networks of every type of layer, with every option."""
    made = {
        "lstm": LSTM(
            3, 5, 2, variant="CIFG", bidirectional=True, proj_size=4, activations=("hard_logistic", "tanh", "relu"),
            clip=2.0, cell_clip=3.0, dropout=0.25, recurrent_dropout=0.1, drop_connect=0.1, zoneout=(0.1, 0.2),
        ),
        "fgr": LSTM(3, 4, variant="FGR", dtype=np.float64, batch_first=True, batch_invariant=True),
        "np": LSTM(3, 4, 3, variant="NP"),
        "rnn": RNN(3, 5, 2, nonlinearity="relu", bidirectional=True, zoneout=0.2),
        "dense": nn.Dense(3, 2, activation="tanh"),
        "attention": nn.Attention(3, 3, 5),
        "decoder": nn.Decoder(V, 3, 5, 2, encoded_size=3, dropout=0.25, peephole=False, variant="NIG"),
        "sequential": nn.Sequential(
            nn.Embedding(V, 3), nn.Sequential(LSTM(3, 4, bidirectional=True), nn.Dropout(0.0)), nn.Dense(8, 3),
            RNN(3, 4), nn.Last(), nn.Dense(4, 2, activation="relu"),
        ),
        "mean": nn.Sequential(
            LSTM(3, 4, peephole=False, dtype=np.float64), nn.Mean(), nn.Dense(4, 2, dtype=np.float64)
        ),
        "seq2seq": nn.Seq2Seq(
            nn.Sequential(nn.Embedding(V, 3), LSTM(3, 2, bidirectional=True)),
            nn.Decoder(V, 3, 5, encoded_size=4, attention_size=3),
        ),
    }  # fmt: skip
    return {name: filled(network) for name, network in made.items()}


def used(name: str, network: Any) -> Results:
    """Compute with a network: its outputs and, where nothing in it is random, its gradients."""
    x = values(T, B, 3, start=3, dtype=network.dtype)
    given: tuple[Any, ...] = (x,)
    if name == "fgr":
        given = (np.ascontiguousarray(x.swapaxes(0, 1)), None, LENGTHS)
    elif name in ("lstm", "np", "rnn", "mean"):
        given = (x, None, LENGTHS)
    elif name == "sequential":
        given = (symbols(T, B), None, LENGTHS)
    elif name == "attention":
        given = (x[:2], x, LENGTHS)
    elif name == "decoder":
        given = (symbols(T, B), x, LENGTHS)
    elif name == "seq2seq":
        given = (symbols(T, B), symbols(T + 1, B), LENGTHS)
    found: Results = {"call": network(*given)}
    if name == "seq2seq":
        ends = {"begin": 0, "end": 1, "max_steps": 8}
        found["greedy"] = network.greedy(given[0], LENGTHS, **ends)
        found["beams"] = [rows[0].ids for rows in network.beam_search(given[0], LENGTHS, beam_width=3, **ends)]
    if name not in ("lstm", "rnn", "decoder"):
        options = {"rng": np.random.default_rng(0)} if name == "sequential" else {}  # whose dropout drops nothing
        y, *_, tape = network.forward(*given, **options)
        grads = network.backward(tape, values(*y.shape, start=9, dtype=network.dtype))
        found["gradients"] = {"flat": grads.flat, "x": grads.x}
    return found


# ---- a checkpoint of `fit` ----


def trained(checkpoint: Path, epochs: int) -> tuple[Results, Results]:
    """Train a network, or go on from a checkpoint; give the results exactly and up to rounding.

    There is a single batch, whose rows may be in any order.
    """
    kind = np.float64
    model = filled(nn.Sequential(LSTM(3, 4, dtype=kind), nn.Mean(), nn.Dense(4, 2, dtype=kind)))
    x = [values(n, 3, start=n, dtype=kind) for n in (4, 6, 5, 3)]
    batches = nn.Batches(x, values(4, 2, start=5, dtype=kind), 4)
    adam = nn.AdamW(model.flat, nn.CosineDecay(0.05, 8, 2), weight_decay=0.1)
    history = nn.fit(
        model, nn.mse, batches, batches, optimiser=adam, epochs=epochs, clip=0.5, average=0.9, progress=False,
        checkpoint=checkpoint, resume=True,
    )  # fmt: skip
    losses = [(epoch.loss, epoch.validation) for epoch in history.epochs]
    return {"first losses": losses[:2]}, {"losses": losses, "flat": model.flat, "adam": adam.state()}


# ---- pickles ----


def pickled() -> dict[str, Any]:
    """Return objects to pickle, each with what goes with it."""
    weights = {"W": values(16, 3), "R": values(16, 4, start=1), "b": values(16, start=2), "p": values(3, 4, start=3)}
    x = values(T, B, 3, start=4)
    options = {"lengths": LENGTHS, "clip": 0.5, "reset": symbols(T, B) == 0}
    rnn_weights = {"W": values(4, 3), "R": values(4, 4, start=1), "b": values(4, start=2)}
    lstm, model = filled(LSTM(3, 4, 2)), filled(nn.Sequential(LSTM(3, 4), nn.Last(), nn.Dense(4, 2)))
    seq2seq = networks()["seq2seq"]
    _, _, tape = model.forward(x, lengths=LENGTHS)
    adam = nn.Adam(np.linspace(0, 1, 5), nn.StepDecay(0.1, 0.5, 2))
    adam.step(np.ones(5))
    stream, rnn_stream = fastlstm.Stream(lstm, B), fastlstm.Stream(filled(RNN(3, 4)), B)
    for one in (stream, rnn_stream):
        one.step(x[0])
    return {
        "lstm tape": fastlstm.lstm_forward(x, **weights, **options, tape=True)[2],
        "lstm tape, recompute": fastlstm.lstm_forward(x, **weights, **options, tape=True, recompute=2)[2],
        "rnn tape": fastlstm.rnn_forward(x, **rnn_weights, reverse=True, tape=True)[2],
        "sequential tape": (model, tape),
        "seq2seq tape": (seq2seq, seq2seq.forward(symbols(T, B), symbols(T + 1, B), LENGTHS)[2]),
        "adam": adam,
        "streams": [stream, rnn_stream],
        "history": nn.History([nn.Epoch(0.5, 0.25, None, 0.1, 2.0), nn.Epoch(0.25, 0.125, 1.0, 0.1, 2.0)], "patience"),
        "data": [
            nn.Batches([x[:, 0], x[:3, 1]], np.array([1, 2]), 2), nn.Chunks(symbols(12), symbols(12), 2, 3),
            nn.Pairs([x[:, 0], x[:3, 1]], [symbols(3, low=2), symbols(2, low=2)], 2, begin=0, end=1),
            nn.Transcripts([x[:, 0], x[:3, 1]], [symbols(2), symbols(1, low=3)], 2),
        ],
    }  # fmt: skip


def used_pickle(name: str, found: Any) -> Results:
    """Compute with an object from a pickle."""
    dy = values(T, B, 4, start=6)
    if name.startswith("lstm tape"):
        weights = values(16, 3), values(16, 4, start=1), values(3, 4, start=3)
        grads = fastlstm.lstm_backward(found, *weights, dy, (dy[0], dy[1]))
        return {name: getattr(grads, name) for name in ("x", "W", "R", "b", "p", "state")}
    if name == "rnn tape":
        grads = fastlstm.rnn_backward(found, values(4, 3), values(4, 4, start=1), dy, dy[0])
        return {name: getattr(grads, name) for name in ("x", "W", "R", "b", "state")}
    if name == "sequential tape":
        model, tape = found
        grads = model.backward(tape, values(B, 2, start=8))
        return {"flat": grads.flat, "x": grads.x}
    if name == "seq2seq tape":
        network, tape = found
        return {"flat": network.backward(tape, values(T + 1, B, V)).flat}
    if name == "adam":
        for _ in range(3):
            found.step(np.linspace(-1, 1, 5))
        return {"flat": found.flat, "state": found.state()}
    if name == "streams":
        for one in found:
            one.reset([1])
        return {"y": [one.step(values(B, 3, start=7)).copy() for one in found], "state": [one.state for one in found]}
    if name == "history":
        return {"best": found.best, "epochs": [[-1.0 if v is None else v for v in epoch] for epoch in found.epochs]}
    return {str(k): [(b.inputs, b.targets, b.size) for b in source.epoch()] for k, source in enumerate(found)}


# ---- a program in C ----


def printed(program: Path) -> Results:
    """Run program.c, compiled, and return what it prints: arrays by network, precision and name."""
    text = subprocess.run([program], capture_output=True, text=True, check=True, timeout=300).stdout
    lines = [line.split() for line in text.splitlines()]
    return {name: np.array(numbers, name.split(".")[1]) for name, *numbers in lines}


def compiled(folder: Path) -> Path:
    """Compile program.c with the header of 0.1.0 and the library of the fastlstm in use."""
    flags = [sys.executable, "-m", "fastlstm", "--libs"]
    libraries = shlex.split(subprocess.run(flags, capture_output=True, text=True, check=True).stdout)
    program = folder / "program"
    strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{FOLDER}"]
    subprocess.run(["cc", *strict, FOLDER / "program.c", *libraries, "-o", program], check=True)
    return program


# ---- writing ----


def arrays(results: Any, name: str = "") -> dict[str, np.ndarray]:
    """Return all numbers of results as arrays, by name."""
    if isinstance(results, (tuple, list)) and not (results and isinstance(results[0], (int, float))):
        results = dict(enumerate(results))
    if isinstance(results, dict):
        parts = [arrays(value, f"{name}/{key}" if name else str(key)) for key, value in results.items()]
        return {key: array for part in parts for key, array in part.items()}
    return {} if results is None else {name: np.asarray(results)}


def main() -> None:
    """Write all files."""
    found: dict[str, Results] = {}
    for name, network in networks().items():
        fastlstm.save(network, FOLDER / f"{name}.safetensors", extra=EXTRA)
        found[name] = used(name, network)
    checkpoint = FOLDER / "checkpoint.safetensors"
    checkpoint.unlink(missing_ok=True)
    trained(checkpoint, 2)
    with tempfile.TemporaryDirectory() as folder:
        later = shutil.copy(checkpoint, folder)
        exact, rounded = trained(Path(later), 5)
        found["checkpoint"] = exact | rounded
        found["program"] = printed(compiled(Path(folder)))
    texts = {}
    for name, one in pickled().items():
        data = pickle.dumps(one, 4)
        texts[name] = base64.b64encode(zlib.compress(data, 9)).decode()
        found[name] = used_pickle(name, pickle.loads(data))
    (FOLDER / "pickles.json").write_text(json.dumps(texts, indent=1) + "\n")
    np.savez_compressed(FOLDER / "results.npz", **arrays(found))
    print(f"fastlstm {fastlstm.__version__} wrote {sum(map(os.path.getsize, FOLDER.iterdir()))} bytes")


if __name__ == "__main__":
    main()
