"""Captions: from the image of a handwritten digit to its name, letter by letter.

A one-to-many task from a semantic vector: a dense layer makes a vector of the image, an affine map of it is the initial
state of an LSTM, and that writes the name: it sees the letter that it wrote last, until it writes the end. Nobody tells
it that there are ten names. To beat: the most frequent name, whatever the image; but look at the nearest neighbour too.
The images are of fourteen forms that people filled in. Every two forms are held out once, from a network of their own:
no caption is of a hand that was seen before. The results are of all together.

    pip install '.[examples]'
    python -m examples captions

The data are 1,797 images of 8 x 8 pixels by E. Alpaydin and C. Kaynak (1998; UCI Machine Learning Repository, CC BY
4.0), as they come with the package scikit-learn (BSD licence), which pip downloads once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from _data import fetch
from _datasets import Parts
from _datasets.digits import SOURCE, Digits, read
from _task import Options, Result, main
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

import fastlstm
from fastlstm import nn

Array = NDArray[np.floating]
Ids = NDArray[np.int64]

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
END = "\N{MIDDLE DOT}"  # also what is before the first letter
LETTERS = END + "".join(sorted(set("".join(NAMES))))
LONGEST = 8  # letters; no name has more than five
SIDE = 8  # pixels

BATCH = 32
LEARNING_RATE = 3e-3
HIDDEN = 64
FULL, QUICK = (512, 120), (256, 60)  # units of the encoder, epochs
SHEAR, SHIFT = 0.08, 0.35  # of the images that are learnt from: standard deviations, of the matrix and in pixels


# ---- data ------------------------------------------------------------------------------------------------------------


def encode(text: str) -> Ids:
    """Give the number of each letter."""
    return np.array([LETTERS.index(letter) for letter in text], np.int64)


def decode(ids: Ids) -> str:
    """Give the text."""
    return "".join(LETTERS[k] for k in ids)


def together(forms: Sequence[Digits]) -> Digits:
    """Give the images of some forms."""
    return Digits(*(np.concatenate(arrays) for arrays in zip(*forms, strict=True)))


def folds(forms: Sequence[Digits]) -> Iterator[Parts[Digits]]:
    """Give the forms in parts: each two are the test part once, the next two, in a circle, are for validation."""
    for k in range(0, len(forms), 2):
        order = [*forms[k:], *forms[:k]]
        yield Parts(together(order[4:]), together(order[2:4]), together(order[:2]))


def pairs(digits: Digits) -> nn.Pairs:
    """Give batches of images and names."""
    return nn.Pairs(digits.images, [encode(NAMES[label]) for label in digits.labels], BATCH, begin=0, end=0)


def moved(image: Array, rng: np.random.Generator) -> Array:
    """Shift, turn, shear and stretch an image a little, at random."""
    matrix = np.eye(2) + SHEAR * rng.standard_normal((2, 2))
    centre = np.full(2, (SIDE - 1) / 2)
    offset = centre - matrix @ centre + SHIFT * rng.standard_normal(2)
    return affine_transform(image.reshape(SIDE, SIDE), matrix, offset, order=1).reshape(-1)


class Moved:
    """Images as other hands could have written them too, in each epoch other ones: 1,440 alone are few."""

    def __init__(self, digits: Digits) -> None:
        self.digits, self.unmoved = digits, pairs(digits)

    def __len__(self) -> int:
        return len(self.unmoved)

    def epoch(self, rng: np.random.Generator | None = None) -> Iterator[nn.Batch]:
        """Give the batches of an epoch."""
        if rng is None:
            return self.unmoved.epoch()
        images = np.stack([moved(image, rng) for image in self.digits.images])
        return pairs(self.digits._replace(images=images)).epoch(rng)


# ---- the network -----------------------------------------------------------------------------------------------------


def network(units: int, seed: int) -> nn.Seq2Seq:
    """Make a network that reads images (B, 64) and writes letters."""
    rng = np.random.default_rng(seed)
    encoder = nn.Sequential(nn.Dense(SIDE * SIDE, units, activation="relu", seed=rng), nn.Dropout(0.4))
    return nn.Seq2Seq(encoder, nn.Decoder(len(LETTERS), 16, HIDDEN, encoded_size=units, seed=rng))


def learn(model: nn.Seq2Seq, parts: Parts[Digits], epochs: int, seed: int) -> nn.History:
    """Train the network; that of the best epoch on the validation part stays."""
    train = Moved(parts.train)
    return nn.fit(
        model,
        nn.softmax_cross_entropy,
        train,
        pairs(parts.validation),
        optimiser=nn.Adam(model.flat, nn.CosineDecay(LEARNING_RATE, steps=epochs * len(train))),
        epochs=epochs,
        clip=1.0,
        average=0.99,
        seed=seed,
    )


def captions(model: nn.Seq2Seq, images: Array) -> list[str]:
    """Write the most probable letters for each image."""
    return [decode(ids) for ids in model.greedy(images, begin=0, end=0, max_steps=LONGEST)]


def letter_probabilities(model: nn.Seq2Seq, image: Array, caption: str) -> Array:
    """Give the probability of each letter at each step (T + 1, letters), after those of the caption before it."""
    logits, _ = model(image[np.newaxis], encode(END + caption)[:, np.newaxis])
    return nn.softmax(logits)[:, 0]


# ---- the measure and the baselines -----------------------------------------------------------------------------------


def exact_matches(found: Sequence[str], digits: Digits) -> float:
    """Give how many captions are right to the letter, in per cent."""
    return 100 * float(np.mean([text == NAMES[label] for text, label in zip(found, digits.labels, strict=True)]))


def most_frequent(train: Digits, digits: Digits) -> list[str]:
    """Give every image the name that is most frequent in the training part."""
    return [NAMES[np.bincount(train.labels).argmax()]] * len(digits.labels)


def nearest(train: Digits, digits: Digits) -> list[str]:
    """Give each image the name of the one that differs least from it, by the sum of squared differences."""
    distance = (train.images**2).sum(axis=1) - 2 * digits.images @ train.images.T  # but for a term that is the same
    return [NAMES[label] for label in train.labels[distance.argmin(axis=1)]]


# ---- the picture -----------------------------------------------------------------------------------------------------


def picture(
    test: Digits, found: Sequence[str], letters: Sequence[Array], histories: Sequence[nn.History], title: str
) -> Figure:
    """Draw images and their captions, those that are wrong first; two captions letter by letter; the learning curve."""
    right = np.array([text == NAMES[label] for text, label in zip(found, test.labels, strict=True)])
    figure = Figure(figsize=(14, 9), layout="constrained")
    figure.suptitle(title, fontsize="x-large")
    left, side = figure.subfigures(1, 2, width_ratios=[5, 4])
    for axes, k in zip(left.subplots(5, 6).flat, np.argsort(right, kind="stable"), strict=False):
        draw(axes, test.images[k])
        text = found[k] if right[k] else f"{found[k]}\nit is {NAMES[test.labels[k]]}"
        axes.set_xlabel(text, color="black" if right[k] else "tab:red", fontsize="large")

    order = np.argsort([p.max(axis=1).prod() for p in letters])
    axes = side.subplot_mosaic([["image 0", "image 1"], ["0", "1"], ["curve", "curve"]], height_ratios=[2, 8, 5])
    for panel, k, kind in (("0", order[0], "the most doubtful"), ("1", order[-1], "the surest")):
        draw(axes[f"image {panel}"], test.images[k])
        axes[f"image {panel}"].set_title(f"{kind}: it is {NAMES[test.labels[k]]}")
        axes[panel].imshow(letters[k].T, cmap="Blues", vmin=0, vmax=1.3, aspect="auto")
        for step, letter in np.argwhere(letters[k] >= 0.01):
            p = letters[k][step, letter]
            colour = "white" if p > 0.7 else "black"
            axes[panel].text(step, letter, f"{100 * p:.0f}", ha="center", va="center", color=colour)
        axes[panel].set_xticks(range(len(letters[k])), found[k] + END)
        axes[panel].set_yticks(range(len(LETTERS)), LETTERS)
        axes[panel].set(xlabel="what it writes")
    axes["0"].set_ylabel(f"letter ({END} is the end), with its probability (%)")

    for name, colour, label in (
        ("loss", "tab:blue", "training, moved images"), ("validation", "tab:orange", "validation"),
    ):  # fmt: skip
        for k, history in enumerate(histories):
            curve = [getattr(epoch, name) for epoch in history.epochs]
            axes["curve"].semilogy(
                range(1, len(curve) + 1), curve, color=colour, linewidth=0.8, label=None if k else label
            )
    axes["curve"].set(xlabel="epoch", ylabel="cross-entropy per letter", title="Learning")
    axes["curve"].legend(frameon=False)
    return figure


def draw(axes: Axes, image: Array) -> None:
    """Draw an image, ink on paper."""
    axes.imshow(image.reshape(SIDE, SIDE), cmap="Greys", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])


def run(options: Options) -> tuple[Result, Figure]:
    """Train a network for each two forms, compare them with the baselines and draw the picture."""
    forms = read(fetch(SOURCE, options.cache))
    units, epochs = QUICK if options.quick else FULL
    tests, found, usual, neighbours, letters, histories = [], [], [], [], [], []
    for k, parts in enumerate(islice(folds(forms), 1 if options.quick else None), 1):
        model = network(units, options.seed)
        histories.append(learn(model, parts, epochs, options.seed))
        fastlstm.save(model, options.out / f"captions-{k}.safetensors", extra={"letters": LETTERS})
        written = captions(model, parts.test.images)
        letters += [letter_probabilities(model, *pair) for pair in zip(parts.test.images, written, strict=True)]
        found += written
        usual += most_frequent(parts.train, parts.test)
        neighbours += nearest(parts.train, parts.test)
        tests.append(parts.test)

    test = together(tests)
    right, baseline, neighbour = (exact_matches(texts, test) for texts in (found, usual, neighbours))
    result = Result(
        f"{len(found)} images, captions right to the letter", "%", right, baseline, "the most frequent caption", True,
        model.flat.size, {"misspelled": f"{sum(text not in NAMES for text in found)} captions are no digit's name"},
        neighbour, "that of the nearest image",
    )  # fmt: skip
    title = f"Right captions: LSTM {right:.1f} %, nearest image {neighbour:.1f} %, always one {baseline:.1f} %"
    return result, picture(test, found, letters, histories, title)


if __name__ == "__main__":
    main(__doc__, "captions", run)
