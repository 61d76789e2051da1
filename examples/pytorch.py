"""PyTorch: speech to letters by a CNN, an LSTM and a linear layer, trained as it is and with two lines changed.

A model of PyTorch as many are: convolutions go along a spectrogram, a bidirectional LSTM reads what they find, a linear
layer says how probable each letter is, and the loss is PyTorch's own CTC. Utterances take from half a second to 25, so
the LSTM gets them packed. It is trained twice, from the same seeds and on the same batches: as it is, and after two
lines, `import fastlstm.torch` and `fastlstm.torch.replace(model)`. To beat are the baselines of speech.py, which learns
the same task in NumPy: the most common text of the training part, or that of the utterance nearest in length.

    pip install '.[examples,torch]'
    python -m examples pytorch

The data are those of speech.py: 25 minutes of announcements of a telephone exchange, of one speaker, in two packages of
Debian 12 (licence CC BY-SA 3.0).
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from _data import fetch
from _datasets import Parts
from _datasets.speech import SOUNDS, TRANSCRIPTS, read
from _task import Options, Result, main
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from speech import BANDS, LETTERS, decode, encode, error_rate, most_common, nearest_in_length, spectrogram
from threadpoolctl import threadpool_limits
from tqdm import tqdm

try:
    import torch
except ModuleNotFoundError:
    sys.exit("This example needs PyTorch: pip install '.[examples,torch]'")
from torch import Tensor, nn
from torch.nn.utils import rnn

import fastlstm.torch

Packed = tuple[rnn.PackedSequence, ...]

OURS, THEIRS = "fastlstm.torch.LSTM", "torch.nn.LSTM"
COLOURS = {OURS: "tab:blue", THEIRS: "tab:red"}

STEP = 4  # spectra in a step of the LSTM: 40 ms
BATCH = 8
LEARNING_RATE = 4e-3
CLIP = 1.0
DROPOUT = 0.3


@dataclass(frozen=True)
class Size:
    """Channels of the CNN, hidden units of the LSTM in each direction, epochs, the longest utterance learnt from."""

    channels: int = 128
    hidden: int = 128
    epochs: int = 25
    longest: float = np.inf  # spectra


FULL, QUICK = Size(), Size(96, 96, 14, 200)

# ---- the model, in which nothing is of fastlstm ----------------------------------------------------------------------


class Model(nn.Module):
    """From spectrograms (n, 40) to a logit for each letter every 40 ms."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inputs, size.channels, 5, stride=2, padding=2) for inputs in (BANDS, size.channels)
        )
        self.dropout = nn.Dropout(DROPOUT)
        self.lstm = nn.LSTM(size.channels, size.hidden, bidirectional=True)
        self.linear = nn.Linear(2 * size.hidden, len(LETTERS))

    def forward(self, spectrograms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Give the logits, (T, B, 29), and the steps of each utterance, (B,)."""
        lengths = torch.tensor([len(x) for x in spectrograms])
        x = rnn.pad_sequence(spectrograms, batch_first=True).transpose(1, 2)
        for convolution in self.convolutions:
            lengths = (lengths + 1) // 2
            x = torch.relu(convolution(x))
            x = x * (torch.arange(x.shape[2]) < lengths[:, None, None])  # nothing after the end of an utterance
        packed = rnn.pack_padded_sequence(x.permute(2, 0, 1), lengths, enforce_sorted=False)
        y, _ = self.lstm(packed._replace(data=self.dropout(packed.data)))
        logits, _ = rnn.pad_packed_sequence(y._replace(data=self.linear(self.dropout(y.data))))
        return logits, lengths


class Clock:
    """The seconds that a module takes, forward and back, by hooks."""

    def __init__(self, module: nn.Module) -> None:
        self.seconds = self.began = 0.0
        module.register_forward_pre_hook(self.start)
        module.register_forward_hook(self.stop_and_wait)

    def start(self, *_: object) -> None:
        """Begin to measure."""
        self.began = time.perf_counter()

    def stop(self, *_: object) -> None:
        """End."""
        self.seconds += time.perf_counter() - self.began

    def stop_and_wait(self, _: nn.Module, inputs: Packed, outputs: Packed) -> None:
        """End, and wait for the gradient of what came out, and then for that of what went in."""
        self.stop()
        if outputs[0].data.requires_grad:
            outputs[0].data.register_hook(self.start)
            inputs[0].data.register_hook(self.stop)


@dataclass
class Course:
    """What is seen of a training: the loss of each batch, and after each epoch the seconds and the error rate.

    `inside` are the seconds that the LSTM took of all.
    """

    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    inside: float = 0.0


def batches(count: int, rng: np.random.Generator | None = None) -> Iterator[list[int]]:
    """Give the places of the utterances of each batch, with `rng` in random order."""
    order = np.arange(count) if rng is None else rng.permutation(count)
    for start in range(0, count, BATCH):
        yield order[start : start + BATCH].tolist()


def learn(
    model: Model, heard: Parts[list[Tensor]], texts: Parts[list[str]], epochs: int, seed: int, name: str
) -> Course:
    """Train the model, for which it does not matter whose LSTM is in it."""
    torch.manual_seed(seed)  # dropout
    rng, labels = np.random.default_rng(seed), [torch.from_numpy(encode(text)) for text in texts.train]
    optimiser = torch.optim.AdamW(model.parameters())
    steps = epochs * -(-len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.15)
    course, clock, began = Course(), Clock(model.lstm), time.perf_counter()
    with tqdm(total=steps, unit="batch", desc=name) as bar:
        for _ in range(epochs):
            model.train()
            for batch in batches(len(labels), rng):
                logits, lengths = model([heard.train[k] for k in batch])
                said = [labels[k] for k in batch]
                loss = nn.functional.ctc_loss(
                    logits.log_softmax(dim=2), torch.cat(said), lengths, torch.tensor([len(text) for text in said]),
                    reduction="sum", zero_infinity=True,
                ) / len(batch)  # fmt: skip
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), CLIP)
                optimiser.step()
                schedule.step()
                course.losses.append(loss.item())
                bar.update()
            course.rates.append(error_rate(texts_of(logits_of(model, heard.validation)), texts.validation))
            course.seconds.append(time.perf_counter() - began)
            bar.set_postfix_str(f"error rate {course.rates[-1]:.1f} %")
    course.inside = clock.seconds
    return course


# ---- recognition and measures ----------------------------------------------------------------------------------------


@torch.no_grad()
def logits_of(model: Model, heard: Sequence[Tensor]) -> list[Tensor]:
    """Give the logits of each utterance, (T, 29)."""
    model.eval()
    found = []
    for batch in batches(len(heard)):
        logits, lengths = model([heard[k] for k in batch])
        found += [logits[:length, k] for k, length in enumerate(lengths)]
    return found


def texts_of(logits: Sequence[Tensor]) -> list[str]:
    """Give the text of each utterance: at each step what is most probable, repeats once, and without the blanks."""
    paths = (one.argmax(dim=1).unique_consecutive() for one in logits)
    return [decode(path[path > 0].numpy()) for path in paths]


def apart(courses: dict[str, Course]) -> NDArray[np.float64]:
    """Give how far apart the two losses of each batch are, relative to PyTorch's."""
    ours, theirs = (np.array(courses[name].losses) for name in (OURS, THEIRS))
    return np.abs(ours / theirs - 1)


# ---- the picture -----------------------------------------------------------------------------------------------------


def draw_letters(axes: Axes, logits: dict[str, Tensor]) -> None:
    """Draw how probable each letter is at each step, according to ours upwards and to PyTorch's downwards."""
    for (name, values), sign, side in zip(logits.items(), (1, -1), ("bottom", "top"), strict=True):
        y = values.softmax(dim=1).numpy()
        times = (np.arange(len(y)) + 0.5) * STEP / 100
        axes.fill_between(times, sign * y[:, 0], color="0.92")
        for label in range(1, len(LETTERS)):
            axes.plot(times, sign * y[:, label], color=f"C{label % 10}", linewidth=1)
        path = y.argmax(axis=1)
        for k in np.flatnonzero((path > 0) & (np.diff(path, prepend=0) != 0)):
            letter = LETTERS[path[k]].replace(" ", "\u2423")  # a visible space
            place = times[k], sign * (y[k, path[k]] + 0.06)
            axes.text(*place, letter, ha="center", va=side, size=9, color=f"C{path[k] % 10}")
        axes.text(0.01, sign * 1.5, name, va="center", size=9, color=COLOURS[name])
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(ylim=(-1.75, 1.75), yticks=(-1, 0, 1), yticklabels=("1", "0", "1"), xlabel="seconds")
    axes.set_ylabel("probability (grey: of no letter)")


def draw_courses(axes: Axes, courses: dict[str, Course], lines: dict[str, float]) -> None:
    """Draw the error rates against the seconds that they took, and what was changed between the two."""
    for name, course in courses.items():
        axes.plot(course.seconds, course.rates, marker=".", color=COLOURS[name], label=name)
        axes.annotate(
            f"{course.seconds[-1]:.0f} s", (course.seconds[-1], course.rates[-1]), (0, -8), ha="right", va="top",
            textcoords="offset points", color=COLOURS[name], size=14, weight="bold",
        )  # fmt: skip
    for (name, rate), style in zip(lines.items(), ("--", ":"), strict=True):
        axes.axhline(rate, color="0.4", linestyle=style, label=name)
    changed = "+ import fastlstm.torch\n+ fastlstm.torch.replace(model)"
    axes.text(0.55, 0.5, changed, transform=axes.transAxes, family="monospace", color=COLOURS[OURS])
    axes.set(title="The same training: the validation part", xlim=(0, None), ylim=(0, None))
    axes.set(xlabel="seconds", ylabel="character error rate (%)")
    axes.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 0.93), ncols=2)


def draw_times(axes: Axes, courses: dict[str, Course]) -> None:
    """Draw how long the trainings took, and how much of that the LSTM."""
    for k, (name, course) in enumerate(courses.items()):
        rest = course.seconds[-1] - course.inside
        axes.bar(k, rest, 0.5, color="0.85")
        axes.bar(k, course.inside, 0.5, rest, color=COLOURS[name])
        axes.text(k + 0.28, rest / 2, f"all else\n{rest:.1f} s", va="center")
        axes.text(k + 0.28, rest + course.inside / 2, f"LSTM\n{course.inside:.1f} s", va="center")
    axes.set_xticks(range(len(courses)), list(courses))
    axes.set(title="What takes the time", ylabel="seconds", xlim=(-0.4, len(courses) - 0.3))


def picture(
    courses: dict[str, Course], logits: dict[str, list[Tensor]], found: dict[str, list[str]],
    heard: list[Tensor], said: list[str], lines: dict[str, float], title: str,
) -> Figure:  # fmt: skip
    """Draw the courses against time, what takes it, how far the two come apart, and what both hear in the test part."""
    figure = Figure(figsize=(15, 11), layout="constrained")
    figure.suptitle(title, size=14)
    axes = figure.subplot_mosaic(
        [["courses", "courses", "time"], ["sound", "sound", "apart"], ["letters", "letters", "apart"], ["texts"] * 3],
        height_ratios=[5, 1.2, 3, 3.6],
    )
    draw_courses(axes["courses"], courses, lines)
    draw_times(axes["time"], courses)
    axes["apart"].semilogy(np.maximum(apart(courses), 2**-24), ".", markersize=3, color="0.3")
    axes["apart"].axhline(2**-23, color="tab:green", linewidth=1, label="rounding to float32")
    axes["apart"].set(title="How far apart the two are", xlabel="batch", ylabel="difference of its losses, relative")
    axes["apart"].legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 0.15))

    wrong = [error_rate([a], [b]) for a, b in zip(found[OURS], said, strict=True)]
    order = np.argsort(wrong, kind="stable")
    shown = next(k for k in order if 180 <= len(heard[k]) <= 400)
    seconds = len(heard[shown]) / 100
    axes["sound"].imshow(
        heard[shown].numpy().T, origin="lower", aspect="auto", extent=(0, seconds, 0, BANDS), cmap="magma", vmin=-2,
        vmax=2,
    )  # fmt: skip
    axes["sound"].set_title(f"said: {said[shown]}", loc="left", size=9, family="monospace")
    axes["sound"].set(xticks=[], yticks=[], ylabel="sound")
    draw_letters(axes["letters"], {name: logits[name][shown] for name in courses})
    axes["letters"].set_xlim(0, seconds)

    axes["texts"].set_axis_off()
    axes["texts"].set_title("Some of the test part, from few errors to many", loc="left")
    short = [k for k in order if len(said[k]) <= 46]
    some = [short[k] for k in np.linspace(0, len(short) - 1, 10).astype(int)]
    rows = [("said", *courses), *((said[k], *(texts[k] for texts in found.values())) for k in some)]
    table = "\n".join("".join(f"{text:50}" for text in row).rstrip() for row in rows)
    axes["texts"].text(0, 1, table, va="top", size=10, family="monospace", linespacing=1.6)
    for panel in ("courses", "time", "apart"):
        axes[panel].spines[["top", "right"]].set_visible(False)
    return figure


def run(options: Options) -> tuple[Result, Figure]:
    """Train the model both ways, compare both with the baselines and with each other, and draw the picture."""
    size = QUICK if options.quick else FULL
    if options.quick:  # steps so small that threads would mostly wait for each other
        torch.set_num_threads(1)  # which fastlstm.torch follows
        fastlstm.set_num_threads(1)  # which the report has
    parts = read(fetch(SOUNDS, options.cache), fetch(TRANSCRIPTS, options.cache))
    texts = Parts(*([one.text for one in part] for part in parts))
    heard = Parts(*([spectrogram(one.samples) for one in part] for part in parts))
    simple, better = most_common(texts), nearest_in_length(heard, texts)
    mean, std = (measure(np.concatenate(heard.train), axis=0) for measure in (np.mean, np.std))
    heard = Parts(*([torch.from_numpy((x - mean) / std) for x in part] for part in heard))
    short = [k for k, x in enumerate(heard.train) if len(x) <= size.longest]
    heard, texts = (part._replace(train=[part.train[k] for k in short]) for part in (heard, texts))

    models, courses = {}, {}
    for name in COLOURS:  # ours first, so that what PyTorch sets up once is in the seconds of ours
        torch.manual_seed(options.seed)  # the initial weights
        models[name] = Model(size)
        if name == OURS:
            fastlstm.torch.replace(models[name])
        with threadpool_limits(torch.get_num_threads(), user_api="blas"):  # as in a program of one's own
            courses[name] = learn(models[name], heard, texts, size.epochs, options.seed, name)
    torch.save(models[OURS].state_dict(), options.out / "pytorch.pt")

    logits = {name: logits_of(model, heard.test) for name, model in models.items()}
    found = {name: texts_of(values) for name, values in logits.items()}
    ours, theirs = (error_rate(said, texts.test) for said in found.values())
    (seconds, inside), (their_seconds, their_inside) = ((one.seconds[-1], one.inside) for one in courses.values())
    restored = logits_of(fastlstm.torch.restore(copy.deepcopy(models[OURS])), heard.test)
    same = np.mean(np.equal(texts_of(restored), found[OURS]))
    furthest = max(float((a - b).abs().max()) for a, b in zip(logits[OURS], restored, strict=True))
    difference = apart(courses)
    details = {
        "with torch.nn.LSTM": f"{theirs:.1f} %",
        "training": f"{seconds:.1f} s, with torch.nn.LSTM {their_seconds:.1f} s, {their_seconds / seconds:.1f} times",
        "in the LSTM": f"{inside:.1f} s, with torch.nn.LSTM {their_inside:.1f} s, {their_inside / inside:.0f} times",
        "losses apart": f"{difference[:20].max():.0e} at most in the first 20 batches, "
        f"{np.median(difference[-100:]):.0e} mostly in the last 100, relative",
        "same weights in torch.nn.LSTM": f"{same:.0%} of the texts the same, logits at most {furthest:.0e} apart",
    }
    baseline = error_rate(simple.test, texts.test)
    lines = {
        "most common text": error_rate(simple.validation, texts.validation),
        "nearest in length": error_rate(better.validation, texts.validation),
    }
    figure = picture(
        courses, logits, found, heard.test, texts.test, lines,
        f"Speech to letters in PyTorch, character errors in the test part: {theirs:.1f} % after {their_seconds:.0f} s "
        f"of training, with two lines more {ours:.1f} % after {seconds:.0f} s",
    )  # fmt: skip
    result = Result(
        f"{len(texts.test)} utterances, character error rate", "%", ours, baseline, "most common text", False,
        sum(weight.numel() for weight in models[OURS].parameters()), details, error_rate(better.test, texts.test),
        "text of the training utterance nearest in length",
    )  # fmt: skip
    return result, figure


if __name__ == "__main__":
    main(__doc__, "pytorch", run)
