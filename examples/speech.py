"""Speech recognition: from sound to letters, without being told when each letter is said.

A many-to-many task of different lengths: hundreds of spectra go in, a few letters come out. A bidirectional LSTM says
at every step how probable each letter is, and none; connectionist temporal classification (CTC) adds up all ways to
place the text in time. To beat: the most common text of the training part, whatever is said.

    pip install '.[examples]'
    python -m examples speech

The data are 25 minutes of announcements of a telephone exchange, of one speaker, in two packages of Debian 12 (licence
CC BY-SA 3.0). None of the sentences tested was heard in training, nor a fifth of their words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from _data import fetch
from _datasets import Parts
from _datasets.speech import RATE, SOUNDS, TRANSCRIPTS, read
from _distance import edit_distance
from _task import Options, Result, main
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

import fastlstm
from fastlstm import nn

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

LETTERS = "-abcdefghijklmnopqrstuvwxyz' "  # the first stands for the blank of CTC
WINDOW, HOP, FFT = RATE * 25 // 1000, RATE // 100, 512  # samples: 25 ms every 10 ms, with zeros for a finer spectrum
BANDS = 40
SILENCE = 1e-6  # power below which there is nothing to hear
STACK = 3  # spectra in a step of the network: 30 ms, while the fastest sentence has a letter in 51

BATCH = 16
LEARNING_RATE = 4e-3
CLIP = 20.0
DROPOUT = 0.5
BEAM = 50
FULL, QUICK = (160, 110), (96, 35)  # hidden units in each layer and direction, epochs

# ---- sound to spectra ------------------------------------------------------------------------------------------------


def mel(frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give how high frequencies in Hz sound (Stevens, Volkmann and Newman, 1937)."""
    return 1127 * np.log1p(frequencies / 700)


def filter_bank() -> NDArray[np.float64]:
    """Give the weight of each frequency in each band, (257, 40): triangles of the same width in mel."""
    heights = mel(np.fft.rfftfreq(FFT, 1 / RATE))
    places = heights / heights[-1] * (BANDS + 1)  # the middle of band k is at k + 1
    return np.maximum(0, 1 - np.abs(places[:, np.newaxis] - np.arange(1, BANDS + 1)))


def spectrogram(samples: Floats) -> Floats:
    """Give the logarithm of the power in each band, every 10 ms: (n, 40)."""
    windows = sliding_window_view(np.pad(samples, WINDOW // 2), WINDOW)[::HOP] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(windows, FFT)) ** 2
    return np.log(power @ filter_bank() + SILENCE).astype(np.float32)


def varied(x: Floats, rng: np.random.Generator) -> Floats:
    """Give a spectrogram as it could have been too: faster or slower, with noise, bands and moments left out.

    The last two are of Park et al.: "SpecAugment", 2019.
    """
    times = np.arange(0, len(x) - 1, rng.uniform(0.8, 1.2))
    before, share = times.astype(int), (times % 1).astype(np.float32)[:, np.newaxis]
    x = (1 - share) * x[before] + share * x[before + 1]
    x += np.float32(0.2) * rng.standard_normal(x.shape, np.float32)
    for _ in range(2):
        low = rng.integers(BANDS)
        x[:, low : low + rng.integers(7)] = 0
    for _ in range(1 + len(x) // 100):
        start = rng.integers(len(x))
        x[start : start + rng.integers(11)] = 0
    return x


def stacked(x: Floats) -> Floats:
    """Put `STACK` spectra side by side, so that there are fewer steps."""
    return x[: len(x) // STACK * STACK].reshape(-1, STACK * BANDS)


# ---- learning --------------------------------------------------------------------------------------------------------


class Spoken:
    """Spectrograms and what is said, in batches for `nn.fit` with `nn.ctc_loss`."""

    def __init__(self, spectrograms: Sequence[Floats], texts: Sequence[str]) -> None:
        self.spectrograms, self.texts = spectrograms, texts

    def __len__(self) -> int:
        return -(-len(self.texts) // BATCH)

    def epoch(self, rng: np.random.Generator | None = None) -> Iterator[nn.Batch]:
        """Give the batches of an epoch; with `rng` in random order, and never twice the same."""
        spectrograms, texts = (self.spectrograms, self.texts) if rng is None else self.other(rng)
        return nn.Transcripts([stacked(x) for x in spectrograms], [encode(text) for text in texts], BATCH).epoch(rng)

    def other(self, rng: np.random.Generator) -> tuple[list[Floats], list[str]]:
        """Vary what is heard, and let many go on with another: so their words have other neighbours."""
        spectrograms, texts = [varied(x, rng) for x in self.spectrograms], list(self.texts)
        for k, other in enumerate(rng.permutation(len(texts))):
            if len(self.spectrograms[other]) < 300 and rng.random() < 0.7:
                spectrograms[k] = np.concatenate([spectrograms[k], varied(self.spectrograms[other], rng)])
                texts[k] += " " + self.texts[other]
        return spectrograms, texts


def encode(text: str) -> Ints:
    """Give the class of each letter."""
    return np.array([LETTERS.index(letter) for letter in text], np.int64)


def decode(labels: Ints) -> str:
    """Give the text of classes."""
    return "".join(LETTERS[label] for label in labels)


def network(hidden_size: int, seed: int) -> nn.Sequential:
    """Build the network: from (T, B, 120) to a logit for each letter at each step, (T, B, 29)."""
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        fastlstm.LSTM(STACK * BANDS, hidden_size, num_layers=2, bidirectional=True, dropout=DROPOUT, seed=rng),
        nn.Dropout(DROPOUT),
        nn.Dense(2 * hidden_size, len(LETTERS), seed=rng),
    )


def learn(
    model: nn.Sequential, spectrograms: Parts[list[Floats]], texts: Parts[list[str]], epochs: int, seed: int
) -> nn.History:
    """Train the network; it is the one with the fewest errors on the validation part in the end."""
    train = Spoken(spectrograms.train, texts.train)
    rate = nn.CosineDecay(LEARNING_RATE, epochs * len(train), warm_up=epochs * len(train) // 20)
    return nn.fit(
        model,
        partial(nn.ctc_loss, per_label=False),
        train,
        optimiser=nn.Adam(model.flat, rate),
        epochs=epochs,
        clip=CLIP,
        average=0.99,
        score=lambda model: -error_rate(recognise(model, spectrograms.validation), texts.validation),
        patience=30,
        seed=seed,
    )


# ---- recognition and its measure -------------------------------------------------------------------------------------


def recognise(model: nn.Sequential, spectrograms: Sequence[Floats], beam_width: int | None = None) -> list[str]:
    """Give the text of each spectrogram, of the best path or of a beam search."""
    texts = []
    for y in model.predict([stacked(x) for x in spectrograms], BATCH):
        if beam_width is None:
            labels = nn.ctc_best_path(y[:, np.newaxis])[0]
        else:
            labels, _ = nn.ctc_beam_search(y[:, np.newaxis], beam_width=beam_width)[0][0]
        texts.append(decode(labels))
    return texts


def error_rate(found: Sequence[str], said: Sequence[str]) -> float:
    """Give the edits for 100 letters that were said."""
    return 100 * sum(map(edit_distance, found, said)) / sum(map(len, said))


def most_common(texts: Parts[list[str]]) -> Parts[list[str]]:
    """Give the most common text of the training part for each utterance: the baseline."""
    ((text, _),) = Counter(texts.train).most_common(1)
    return Parts(*([text] * len(part) for part in texts))


def nearest_in_length(heard: Parts[list[Floats]], texts: Parts[list[str]]) -> Parts[list[str]]:
    """Give the text of the training utterance that takes most nearly as long: better than the baseline."""
    lengths = np.array([len(x) for x in heard.train])
    return Parts(*([texts.train[np.argmin(np.abs(lengths - len(x)))] for x in part] for part in heard))


# ---- the picture -----------------------------------------------------------------------------------------------------


def draw_utterance(above: Axes, below: Axes, x: Floats, logits: Floats, title: str) -> None:
    """Draw what is heard, and below it how probable each letter is, the blank in grey."""
    times, y = (np.arange(len(logits)) + 0.5) * STACK / 100, nn.softmax(logits)
    seconds = len(logits) * STACK / 100
    above.imshow(x.T, origin="lower", aspect="auto", extent=(0, len(x) / 100, 0, BANDS), cmap="magma", vmin=-2, vmax=2)
    above.set_title(title, loc="left", size=9, family="monospace")
    above.set(xticks=[], yticks=[], xlim=(0, seconds))
    below.fill_between(times, y[:, 0], color="0.92")
    for label in range(1, len(LETTERS)):
        below.plot(times, y[:, label], color=f"C{label % 10}", linewidth=1)
    path = y.argmax(axis=1)
    borders = np.flatnonzero(np.diff(path, prepend=-1, append=-1))
    last, height = -1.0, 0.0
    for start, end in pairwise(borders):
        label, top = path[start], start + y[start:end, path[start]].argmax()
        if label:
            letter = LETTERS[label].replace(" ", "\u2423")  # a visible space
            height = 0.08 if height == 0 and times[top] - last < 0.06 else 0.0  # those too near stand higher
            below.text(times[top], y[top, label] + 0.02 + height, letter, ha="center", size=9, color=f"C{label % 10}")
            last = times[top]
    below.set(xlim=(0, seconds), ylim=(0, 1.2), yticks=(0, 0.5, 1), xlabel="seconds")


def picture(
    model: nn.Sequential, heard: list[Floats], said: list[str], found: list[str], rates: list[float],
    lines: dict[str, float], title: str,
) -> Figure:  # fmt: skip
    """Draw a good, a middling and a bad one of the test part's utterances of about 2 seconds; texts; the learning."""
    figure = Figure(figsize=(15, 10), layout="constrained")
    figure.suptitle(title, size=14)
    names = ["good", "middling", "bad"]
    axes = figure.subplot_mosaic(
        [[f"{name} sound" for name in names], names, ["learning", "texts", "texts"]], height_ratios=[2, 3, 5]
    )
    wrong = np.array([error_rate([a], [b]) for a, b in zip(found, said, strict=True)])
    sentences = [k for k in np.argsort(wrong, kind="stable") if 180 <= len(heard[k]) <= 280]
    for name, place in zip(names, (0, len(sentences) // 2, -1), strict=True):
        k = sentences[place]
        (logits,) = model.predict([stacked(heard[k])])
        heading = f"said:  {said[k]}\nheard: {found[k]}"
        draw_utterance(axes[f"{name} sound"], axes[name], heard[k], logits, heading)
    axes["good sound"].set_ylabel(f"{BANDS} bands, 0 to 4 kHz")
    axes["good"].set_ylabel("probability (grey: of no letter)")

    axes["learning"].plot(range(1, len(rates) + 1), rates, color="tab:blue", label="LSTM")
    for (name, rate), style in zip(lines.items(), ("--", ":"), strict=True):
        axes["learning"].axhline(rate, color="0.4", linestyle=style, label=name)
    axes["learning"].set(title="Learning: the validation part", xlabel="epoch", ylabel="character error rate (%)")
    axes["learning"].set(ylim=(0, None))
    axes["learning"].legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 0.93))
    axes["learning"].spines[["top", "right"]].set_visible(False)

    axes["texts"].set_axis_off()
    axes["texts"].set_title("Some of the test part, from few errors to many", loc="left")
    short = [k for k in np.argsort(wrong, kind="stable") if len(said[k]) <= 46]
    shown = [short[k] for k in np.linspace(0, len(short) - 1, 17).astype(int)]
    rows = [("said", "heard", "errors"), *((said[k], found[k], f"{wrong[k]:.0f} %") for k in shown)]
    table = "\n".join(f"{text:46}  {recognised:46} {errors:>6}" for text, recognised, errors in rows)
    axes["texts"].text(0, 1, table, va="top", size=10, family="monospace", linespacing=1.6)
    return figure


def run(options: Options) -> tuple[Result, Figure]:
    """Train the network, compare it with the baseline and draw the picture."""
    hidden_size, epochs = QUICK if options.quick else FULL
    parts = read(fetch(SOUNDS, options.cache), fetch(TRANSCRIPTS, options.cache))
    texts = Parts(*([one.text for one in part] for part in parts))
    heard = Parts(*([spectrogram(one.samples) for one in part] for part in parts))
    mean, std = (measure(np.concatenate(heard.train), axis=0) for measure in (np.mean, np.std))
    heard = Parts(*([(x - mean) / std for x in part] for part in heard))

    model = network(hidden_size, options.seed)
    history = learn(model, heard, texts, epochs, options.seed)
    extra = {"letters": LETTERS, "mean": mean.tolist(), "std": std.tolist()}
    fastlstm.save(model, options.out / "speech.safetensors", extra)

    found, searched = (recognise(model, heard.test, beam_width) for beam_width in (None, BEAM))
    rate = error_rate(found, texts.test)
    simple, better = most_common(texts), nearest_in_length(heard, texts)
    baseline = error_rate(simple.test, texts.test)
    rates = [-epoch.score for epoch in history.epochs]
    details = {
        "beam search": f"{error_rate(searched, texts.test):.1f} %, {BEAM} wide",
        "without error": f"{np.mean(np.equal(found, texts.test)):.0%} of {len(found)} utterances",
        "validation": f"{rates[0]:.1f} % after the first epoch, {min(rates):.1f} % after the best, {history.best + 1}",
    }
    figure = picture(
        model, heard.test, texts.test, found, rates,
        {
            "most common text": error_rate(simple.validation, texts.validation),
            "nearest in length": error_rate(better.validation, texts.validation),
        },
        f"Speech to letters, test part: LSTM with CTC {rate:.1f} % character errors, most common text {baseline:.0f} %",
    )  # fmt: skip
    measure = f"{len(found)} utterances, character error rate"
    result = Result(
        measure, "%", rate, baseline, "most common text", False, model.flat.size, details,
        error_rate(better.test, texts.test), "text of the training utterance nearest in length",
    )  # fmt: skip
    return result, figure


if __name__ == "__main__":
    main(__doc__, "speech", run)
