"""Chorales: the next notes of four voices by Bach, and how a chorale goes on after its first bars.

Next-step prediction, and a one-to-many task when the network goes on by itself: what it sings is what it hears next.
Four notes that sound together depend on each other, so they are said one after the other: a step of the music is four
steps of the network, which knows all that was sung before, in this step and in earlier ones. To beat: how often each
voice sings each note.

    pip install '.[examples]'
    python -m examples chorales

The data are the four-part pieces by Bach in the package music21, in steps of a quarter note. The music is in the public
domain; its encodings are distributed by permission of those who made them, some not for commercial use. Some hundred
pieces are few, so they are learnt in all keys that the voices can sing.
"""

from __future__ import annotations

import numpy as np
from _data import fetch
from _datasets import chorales
from _datasets.chorales import Chorale
from _midi import midi, notes
from _task import Options, Result, main
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

import fastlstm
from fastlstm import nn

Array = NDArray[np.floating]

VOICES = ("soprano", "alto", "tenor", "bass")
COLOURS = ("tab:red", "tab:orange", "tab:green", "tab:blue")
ORDER = (0, 3, 1, 2)  # in which the voices are said: those at the border first, and then what fits between them
LOW, HIGH = 36, 81  # the range of all voices, C2 to A5
NOTES = HIGH - LOW + 2  # 0 is silence
GIVEN, SHOWN = 16, 64  # steps of a held-out chorale that are given, and with what follows
BATCH = 16
TEMPERATURE = 0.8  # below 1, what is likely becomes likelier


# ---- data ------------------------------------------------------------------------------------------------------------


def transposed(chorale: Chorale, semitones: int) -> Chorale:
    """Give the same in another key."""
    return np.where(chorale > 0, chorale + semitones, 0)


def all_keys(pieces: list[Chorale]) -> list[Chorale]:
    """Give each piece in all keys in which each voice keeps to the notes that it has somewhere."""
    sung = np.concatenate(pieces)
    lowest, highest = np.where(sung > 0, sung, HIGH).min(axis=0), sung.max(axis=0)
    keys = [transposed(piece, semitones) for piece in pieces for semitones in range(-6, 6)]
    return [key for key in keys if np.all(((key >= lowest) & (key <= highest)) | (key == 0))]


def to_ids(chorale: Chorale) -> NDArray[np.int64]:
    """Give the notes as numbers from 0, silence, to `NOTES` - 1."""
    return np.where(chorale > 0, chorale - LOW + 1, 0)


def features(latest: NDArray[np.int64], voice: NDArray[np.int64]) -> Array:
    """Give what the network reads, (n, F): as 0 and 1, the latest note of each voice (n, 4) and who is to sing (n,)."""
    note = latest[..., np.newaxis] == np.arange(NOTES)
    turn = voice[:, np.newaxis] == np.arange(len(VOICES))
    return np.concatenate([note.reshape(len(note), -1), turn], axis=1).astype(np.float32)


def one_by_one(chorale: Chorale) -> tuple[Array, NDArray[np.int64]]:
    """Give a piece note by note: what the network reads before each, (4T, F), and the note (4T,)."""
    ids = to_ids(chorale)
    before = np.concatenate([np.zeros_like(ids[:1]), ids[:-1]])
    latest = np.repeat(before[:, np.newaxis], len(ORDER), axis=1)  # step, turn, voice
    for turn, voice in enumerate(ORDER):
        latest[:, turn + 1 :, voice] = ids[:, voice, np.newaxis]
    return features(latest.reshape(-1, len(ORDER)), np.tile(ORDER, len(ids))), ids[:, ORDER].ravel()


def batches(pieces: list[Chorale], batch_size: int) -> nn.Batches:
    """Give the pieces for training or measuring."""
    inputs, targets = zip(*map(one_by_one, pieces), strict=True)
    return nn.Batches(inputs, targets, batch_size)


# ---- the network -----------------------------------------------------------------------------------------------------


def network(hidden_size: int, seed: int) -> nn.Sequential:
    """Make a network that gives logits of the next note."""
    rng = np.random.default_rng(seed)
    size = len(VOICES) * (NOTES + 1)
    lstm = fastlstm.LSTM(size, hidden_size, seed=rng)
    return nn.Sequential(lstm, nn.Dropout(0.5), nn.Dense(hidden_size, NOTES, seed=rng))


def learn(model: nn.Sequential, train: list[Chorale], validation: list[Chorale], epochs: int, seed: int) -> nn.History:
    """Train the network, on all keys, and keep the best epoch."""
    source = batches(all_keys(train), BATCH)
    rate = nn.CosineDecay(3e-3, steps=epochs * len(source), warm_up=len(source) // 4)
    return nn.fit(
        model, nn.softmax_cross_entropy, source, batches(validation, 64), optimiser=nn.Adam(model.flat, rate),
        epochs=epochs, clip=1.0, average=0.99, seed=seed,
    )  # fmt: skip


def surprise(model: nn.Sequential, pieces: list[Chorale]) -> Array:
    """Give the nats -log p of all notes, (steps of all pieces, 4)."""
    inputs, targets = zip(*map(one_by_one, pieces), strict=True)
    chances = [
        nn.softmax(logits)[np.arange(len(ids)), ids] for logits, ids in zip(model.predict(inputs), targets, strict=True)
    ]
    return -np.log(np.concatenate(chances).reshape(-1, len(ORDER))[:, np.argsort(ORDER)], dtype=np.float64)


def go_on(model: nn.Sequential, beginning: Chorale, steps: int, rng: np.random.Generator) -> Chorale:
    """Sing so many steps after a beginning: each note is drawn, and heard at the next."""
    _, state = model(one_by_one(beginning)[0][:, np.newaxis])
    latest = to_ids(beginning)[-1:].copy()
    sung = list(beginning)
    for _ in range(steps):
        for voice in ORDER:
            logits, state = model(features(latest, np.array([voice]))[np.newaxis], state)
            p = nn.softmax(logits[0, 0].astype(np.float64) / TEMPERATURE)
            latest[0, voice] = rng.choice(NOTES, p=p)
        sung.append(np.where(latest[0] > 0, latest[0] + LOW - 1, 0))
    return np.array(sung)


# ---- the baselines ---------------------------------------------------------------------------------------------------


def frequencies(train: list[Chorale]) -> Array:
    """Give how often each voice sings each note, (4, NOTES), with half a note more of each."""
    counts = np.stack([np.bincount(line, minlength=NOTES) for line in to_ids(np.concatenate(train)).T]) + 0.5
    return counts / counts.sum(axis=1, keepdims=True)


def moves(train: list[Chorale]) -> Array:
    """Give how often each voice sings each note after each note, (4, NOTES, NOTES).

    What is rare is mixed with the frequencies of notes: n after a note that was seen with k different ones count as
    much as k of these (Witten and Bell, 1991).
    """
    counts = np.zeros((len(VOICES), NOTES, NOTES))
    for piece in map(to_ids, train):
        np.add.at(counts, (np.arange(len(VOICES)), piece[:-1], piece[1:]), 1)
    kinds = np.maximum((counts > 0).sum(axis=2, keepdims=True), 1)
    return (counts + kinds * frequencies(train)[:, np.newaxis]) / (counts.sum(axis=2, keepdims=True) + kinds)


def baselines(train: list[Chorale], pieces: list[Chorale]) -> tuple[Array, Array]:
    """Give the nats of all notes, (steps of all pieces, 4), by frequencies and by moves."""
    voice, note, move = np.arange(len(VOICES)), frequencies(train), moves(train)
    alone = [-np.log(note[voice, ids]) for ids in map(to_ids, pieces)]
    after = [-np.log(move[voice, ids[:-1], ids[1:]]) for ids in map(to_ids, pieces)]
    first = [nats[:1] for nats in alone]
    return np.concatenate(alone), np.concatenate([part for pair in zip(first, after, strict=True) for part in pair])


# ---- results ---------------------------------------------------------------------------------------------------------


def roll(axes: Axes, voices: Chorale, title: str) -> None:
    """Draw voices as a piano roll."""
    for line, name, colour in zip(voices.T, VOICES, COLOURS, strict=True):
        for begin, end, pitch in notes(line):
            axes.broken_barh([(begin + 0.06, end - begin - 0.12)], (pitch - 0.4, 0.8), color=colour)
        axes.plot([], [], color=colour, linewidth=5, label=name)
    axes.axvspan(0, GIVEN, color="0.92", zorder=0)
    axes.set(title=title, xlim=(0, SHOWN), ylim=(LOW, HIGH), ylabel="pitch")
    axes.set_xticks(range(0, SHOWN + 1, 4))
    axes.set_yticks(range(LOW, HIGH, 12), [f"C{k}" for k in range(2, 6)])
    axes.grid(color="0.9")
    axes.set_axisbelow(True)


def picture(bach: Chorale, sung: Chorale, history: nn.History, nats: dict[str, Array]) -> Figure:
    """Draw how a chorale goes on, the learning curve, and how well each voice is foretold."""
    figure = Figure(figsize=(12, 10), layout="constrained")
    axes = figure.subplot_mosaic([["sung"] * 2, ["bach"] * 2, ["learning", "voices"]], height_ratios=[3, 3, 2.5])
    roll(axes["sung"], sung, "A held-out chorale: its beginning (grey), and how the network goes on")
    roll(axes["bach"], bach, "How Bach goes on")
    axes["bach"].set_xlabel("quarter notes")
    axes["sung"].legend(ncols=4, loc="lower right", fontsize="small")

    epochs = range(1, len(history.epochs) + 1)
    for name in ("loss", "validation"):
        values = [len(VOICES) * getattr(epoch, name) for epoch in history.epochs]
        axes["learning"].plot(epochs, values, marker=".", label="training, with dropout" if name == "loss" else name)
    axes["learning"].set(title="Learning", xlabel="epoch", ylabel="nats per step", ylim=(0, None))
    axes["learning"].xaxis.get_major_locator().set_params(integer=True)
    axes["learning"].legend(frameon=False)

    places, width = np.arange(len(VOICES)), 0.8 / len(nats)
    for k, (name, values) in enumerate(nats.items()):
        colour = "tab:red" if name == "LSTM" else f"{0.8 - 0.2 * k}"
        bars = axes["voices"].bar(places + width * (k - 1), values.mean(axis=0), width, color=colour, label=name)
        axes["voices"].bar_label(bars, fmt="%.2f", fontsize="small")
    axes["voices"].set(title="Test part: surprise by voice", ylabel="nats per note")
    axes["voices"].set_xticks(places, VOICES)
    axes["voices"].margins(y=0.25)
    axes["voices"].legend(frameon=False, ncols=len(nats), loc="upper center", fontsize="small")
    return figure


def run(options: Options) -> tuple[Result, Figure]:
    """Train the network, compare it with the baselines, let it sing and draw the picture."""
    parts = chorales.read(fetch(chorales.SOURCE, options.cache))
    hidden_size, epochs = (64, 6) if options.quick else (300, 20)
    model = network(hidden_size, options.seed)
    history = learn(model, parts.train, parts.validation, epochs, options.seed)
    fastlstm.save(model, options.out / "chorales.safetensors", extra={"lowest": LOW, "order": ORDER})

    frequency, bigram = baselines(parts.train, parts.test)
    nats = {"frequencies": frequency, "moves": bigram, "LSTM": surprise(model, parts.test)}
    per_step = {name: float(values.sum(axis=1).mean()) for name, values in nats.items()}

    bach = next(piece for piece in parts.test if len(piece) >= SHOWN and piece.all())[:SHOWN]
    sung = go_on(model, bach[:GIVEN], SHOWN - GIVEN, np.random.default_rng(options.seed))
    for name, voices in (("network", sung), ("bach", bach)):
        (options.out / f"chorales-{name}.mid").write_bytes(midi(voices))
    result = Result(
        f"{len(parts.test)} chorales, negative log-likelihood of a quarter-note step", "nats", per_step["LSTM"],
        per_step["frequencies"], "frequencies of notes", False, model.flat.size,
        {"to be heard": "chorales-network.mid, chorales-bach.mid"},
        per_step["moves"], "frequencies of moves from the last note",
    )  # fmt: skip
    return result, picture(bach, sung, history, nats)


if __name__ == "__main__":
    main(__doc__, "chorales", run)
