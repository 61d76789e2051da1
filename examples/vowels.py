"""Japanese vowels: which of nine men said "ae", from 7 to 29 frames of sound.

A many-to-one task: a series of vectors of variable length goes in, one of nine classes comes out. What is to be beaten
is dynamic time warping: the speaker of the most similar known recording, each warped so as to fit the other best,
is right in about 95 % of the test part. The network is an LSTM in both directions, the mean of whose outputs a dense
layer reads. As there are only 270 recordings to learn from, each of five networks is trained on four fifths of them;
the last fifth, another one for each, tells when to stop. The mean of what the five say decides.

    pip install '.[examples]'
    python -m examples vowels

The data are recordings by M. Kudo, J. Toyama and M. Shimbo (UCI Machine Learning Repository, doi:10.24432/C5NS47), 12
cepstral coefficients a frame, as they come with the package sktime (BSD licence), which pip downloads once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from _data import fetch
from _datasets import vowels
from _datasets.vowels import Utterance
from _task import Options, Result, main
from matplotlib.figure import Figure
from numpy.typing import NDArray

import fastlstm
from fastlstm import nn

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

SPEAKERS = 9
NETWORKS = 5  # as many as there are parts, each the validation part of one
BATCH = 16
LEARNING_RATE = 3e-3


# ---- the baseline ----------------------------------------------------------------------------------------------------


def nearest(known: Sequence[Floats], series: Sequence[Floats]) -> Ints:
    """Give for each series which of the known ones is nearest, by dynamic time warping.

    The distance of two series is the least sum of squared distances between their frames along a path that goes through
    both, at each step on by a frame in the one, in the other, or in both.
    """
    others, lengths = nn.pad(known)
    found = []
    for one in series:
        distance = ((one[:, np.newaxis, np.newaxis] - others) ** 2).sum(axis=-1)  # (T, T of the others, N)
        total = np.cumsum(distance[0], axis=0)  # along the best path to each frame of the others, at this one's first
        for here in distance[1:]:
            before, total = total, np.empty_like(total)
            total[0] = before[0] + here[0]
            for k in range(1, len(total)):
                total[k] = here[k] + np.minimum(np.minimum(before[k], before[k - 1]), total[k - 1])
        found.append(np.argmin(total[lengths - 1, np.arange(len(known))]))
    return np.array(found)


# ---- the network -----------------------------------------------------------------------------------------------------


def scaling(known: Sequence[Utterance]) -> tuple[Floats, Floats]:
    """Give mean and standard deviation of each channel."""
    frames = np.concatenate([one.series for one in known])
    return frames.mean(axis=0), frames.std(axis=0)


def arrays(utterances: Sequence[Utterance], scale: tuple[Floats, Floats]) -> tuple[list[Floats], Ints]:
    """Give the scaled series and their speakers."""
    mean, std = scale
    return [(one.series - mean) / std for one in utterances], np.array([one.speaker for one in utterances])


def network(channels: int, hidden_size: int, seed: int) -> nn.Sequential:
    """Build the network: from (T, B, channels) to a logit for each speaker, (B, 9)."""
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Dropout(0.1),
        fastlstm.LSTM(channels, hidden_size, bidirectional=True, seed=rng),
        nn.Mean(),
        nn.Dropout(0.5),
        nn.Dense(2 * hidden_size, SPEAKERS, seed=rng),
    )


def learn(
    series: list[Floats], speakers: Ints, hidden_size: int, epochs: int, seed: int
) -> tuple[list[nn.Sequential], list[nn.History]]:
    """Train the networks, each with another part of the data held back to stop by."""
    models, histories = [], []
    part = np.arange(len(series)) % NETWORKS
    for k in range(NETWORKS):
        train, validation = (
            nn.Batches([series[n] for n in rows], speakers[rows], BATCH)
            for rows in (np.flatnonzero(part != k), np.flatnonzero(part == k))
        )
        model = network(series[0].shape[1], hidden_size, seed + k)
        optimiser = nn.AdamW(model.flat, LEARNING_RATE)
        history = nn.fit(
            model, nn.softmax_cross_entropy, train, validation, optimiser=optimiser, epochs=epochs, clip=1.0,
            average=0.98, patience=20, seed=seed + k,
        )  # fmt: skip
        models.append(model)
        histories.append(history)
    return models, histories


def probabilities(models: Sequence[nn.Sequential], series: Sequence[Floats]) -> Floats:
    """Give the probability of each speaker, (N, 9): the mean of what the networks say."""
    return np.mean([nn.softmax(model.predict(series)) for model in models], axis=0)


def as_heard(models: Sequence[nn.Sequential], series: Floats) -> Floats:
    """Give the probabilities after each frame, (T, 9), as if the recording ended there."""
    return probabilities(models, [series[: t + 1] for t in range(len(series))])


# ---- the measure and the picture -------------------------------------------------------------------------------------


def accuracy(found: Ints, speakers: Ints) -> float:
    """Give how many are right, in per cent."""
    return 100 * float(np.mean(found == speakers))


def picture(
    test: Sequence[Utterance], chances: Sequence[Floats], histories: Sequence[nn.History], right: float, warping: float
) -> Figure:
    """Draw three recordings and what the networks think as they hear them; accuracy by frames heard; confusions."""
    speakers = np.array([one.speaker for one in test])
    end = np.array([chance[-1] for chance in chances])
    true = end[np.arange(len(test)), speakers]
    correct = end.argmax(axis=1) == speakers
    figure = Figure(figsize=(13, 9), layout="constrained")
    figure.suptitle(f"Who said it? Right in the test part: LSTM {right:.1f} %, dynamic time warping {warping:.1f} %")
    names = ["surest", "doubtful", "worst"]
    axes = figure.subplot_mosaic(
        [[f"{name} series" for name in names], names, ["learning", "heard", "confusion"]], height_ratios=[2, 3, 4]
    )
    shown = [np.argmax(true), np.argmin(np.where(correct, true, 2)), np.argmin(true)]
    reach = max(np.abs(one.series).max() for one in test) / 2
    for name, k in zip(names, shown, strict=True):
        series, speaker = test[k]
        axes[f"{name} series"].imshow(series.T, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
        axes[f"{name} series"].set(title=f"{name}: recording {k + 1}, speaker {speaker + 1}", xticks=[], yticks=[])
        for other in range(SPEAKERS):
            seen = chances[k][:, other].max() > 0.15 or other == speaker
            axes[name].plot(
                np.arange(1, len(series) + 1), chances[k][:, other], color=f"C{other}" if seen else "0.8",
                linewidth=3 if other == speaker else 1.5, label=f"speaker {other + 1}" if seen else None,
            )  # fmt: skip
        axes[name].set(xlim=(0.5, len(series) + 0.5), ylim=(-0.03, 1.03), xlabel="frames heard")
        axes[name].xaxis.get_major_locator().set_params(integer=True)
        axes[name].legend(fontsize="small", framealpha=0.8)
    axes["surest series"].set_ylabel("12 channels")
    axes["surest"].set_ylabel("probability")

    for k, history in enumerate(histories):
        for values, colour, label in (
            ([epoch.loss for epoch in history.epochs], "tab:blue", "training"),
            ([epoch.validation for epoch in history.epochs], "tab:orange", "validation"),
        ):
            numbers = range(1, len(values) + 1)
            axes["learning"].semilogy(numbers, values, color=colour, linewidth=1, label=None if k else label)
    axes["learning"].set(title=f"Learning, {len(histories)} networks", xlabel="epoch", ylabel="cross-entropy")
    axes["learning"].legend(frameon=False)

    longest = max(map(len, chances))
    heard = [accuracy(np.array([c[: t + 1][-1].argmax() for c in chances]), speakers) for t in range(longest)]
    axes["heard"].plot(range(1, longest + 1), heard, marker=".", color="tab:red", label="LSTM")
    axes["heard"].axhline(warping, color="0.5", label="dynamic time warping, of all frames")
    axes["heard"].set(title="Test part: hearing only the beginning", xlabel="frames heard", ylabel="right (%)")
    axes["heard"].legend(frameon=False, loc="lower right")

    confusion = np.zeros((SPEAKERS, SPEAKERS), int)
    np.add.at(confusion, (speakers, end.argmax(axis=1)), 1)
    axes["confusion"].imshow(confusion, cmap="Blues", vmax=2 * confusion.max())
    for row, column in np.argwhere(confusion):
        axes["confusion"].text(column, row, confusion[row, column], ha="center", va="center")
    numbers = range(1, SPEAKERS + 1)
    axes["confusion"].set_xticks(range(SPEAKERS), numbers)
    axes["confusion"].set_yticks(range(SPEAKERS), numbers)
    axes["confusion"].set(title="Test part: who it was", xlabel="speaker according to the networks", ylabel="speaker")
    return figure


def run(options: Options) -> tuple[Result, Figure]:
    """Train the networks, compare them with the baseline and draw the picture."""
    parts = vowels.read(fetch(vowels.SOURCE, options.cache))
    known = parts.train + parts.validation  # shared out again, among the networks
    scale = scaling(known)
    series, speakers = arrays(known, scale)
    test, truth = arrays(parts.test, scale)

    hidden_size, epochs = (64, 25) if options.quick else (128, 100)
    models, histories = learn(series, speakers, hidden_size, epochs, options.seed)
    for k, model in enumerate(models, 1):
        extra = {"mean": scale[0].tolist(), "std": scale[1].tolist()}
        fastlstm.save(model, options.out / f"vowels-{k}.safetensors", extra=extra)

    chances = [as_heard(models, one) for one in test]
    found = np.array([chance[-1].argmax() for chance in chances])
    right = accuracy(found, truth)
    warping = accuracy(speakers[nearest(series, test)], truth)
    each = [accuracy(model.predict(test).argmax(axis=1), truth) for model in models]
    result = Result(
        f"{len(test)} recordings, accuracy", "%", right, warping, "nearest by dynamic time warping", True,
        sum(model.flat.size for model in models),
        {"mistakes": int(np.sum(found != truth)), "one network alone": f"{min(each):.1f} to {max(each):.1f} %"},
    )  # fmt: skip
    return result, picture(parts.test, chances, histories, right, warping)


if __name__ == "__main__":
    main(__doc__, "vowels", run)
