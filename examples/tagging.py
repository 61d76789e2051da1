"""Tagging: the part of speech of each word of a sentence, in Turkish.

A many-to-many task: a tag for every word, with what is before it and after it in sight, so the LSTM is bidirectional;
sentences have different lengths. To beat: the most frequent tag of each word.

    pip install '.[examples]'
    python -m examples tagging

Turkish builds words from many endings, and a fifth of those in a new sentence have never been seen. So only words that
are seen twice or more are symbols of their own. Others are spelled: the network reads their letters, one a step, and
then a space, where it says the tag. In training it has to spell common words too, now and then.

The data are the Turkish treebanks of the web and of Wikipedia in the package turkish-treebanks (Apache licence 2.0),
which pip downloads once. Long words come there in the parts that they are built of.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain

import numpy as np
from _data import fetch
from _datasets.tagging import SOURCE, Sentence, read
from _task import Options, Result, main
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fastlstm import LSTM, nn, save

Ids = NDArray[np.int64]
Index = Mapping[str, int]

UNKNOWN, SPACE = "", " "  # symbols: for letters never seen, and for the end of a word that was spelled
OFTEN = 2  # times that a word is seen in training to be a symbol
SPELLED = 0.2  # how often such a word is spelled all the same, in training
BATCH = 16
LEARNING_RATE = 2e-3


def symbols(sentences: Sequence[Sentence]) -> list[str]:
    """Give all letters, and the words that are seen often, each with a space at its end, by their ids."""
    counts = Counter(word for sentence in sentences for word in sentence.words)
    letters = set(chain.from_iterable(counts)) - {SPACE}
    words = [word + SPACE for word, count in counts.items() if count >= OFTEN]
    return [UNKNOWN, SPACE, *sorted(letters), *sorted(words)]


def spell(words: Sequence[str], index: Index, rng: np.random.Generator | None = None) -> tuple[list[int], list[int]]:
    """Give the symbols of a sentence (T,), and at which steps words end: there the tags are to be said."""
    steps: list[int] = []
    ends = []
    for word in words:
        if word + SPACE in index and not (rng is not None and rng.random() < SPELLED):
            steps.append(index[word + SPACE])
        else:
            steps += [index.get(letter, index[UNKNOWN]) for letter in word + SPACE]
        ends.append(len(steps) - 1)
    return steps, ends


class Spelled:
    """Batches for `fit`: sentences, spelled anew in each epoch, and the tags, or where no word ends one class more."""

    def __init__(self, sentences: Sequence[Sentence], index: Index, tags: Index) -> None:
        self.sentences, self.index, self.tags = sentences, index, tags

    def __len__(self) -> int:
        return -(-len(self.sentences) // BATCH)

    def epoch(self, rng: np.random.Generator | None = None) -> Iterator[nn.Batch]:
        """Give them in random order, or without `rng` always the same."""
        inputs, targets = [], []
        for sentence in self.sentences:
            steps, ends = spell(sentence.words, self.index, rng)
            target = np.full(len(steps), len(self.tags))
            target[ends] = [self.tags[tag] for tag in sentence.tags]
            inputs.append(np.array(steps))
            targets.append(target)
        return nn.Batches(inputs, targets, BATCH).epoch(rng)


def network(vocabulary_size: int, tags: int, hidden_size: int, seed: int) -> nn.Sequential:
    """Give a vector for each symbol, an LSTM that reads in both directions, and scores of all tags at each step."""
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Embedding(vocabulary_size, 64, seed=rng),
        LSTM(64, hidden_size, bidirectional=True, seed=rng),
        nn.Dropout(0.5),
        nn.Dense(2 * hidden_size, tags + 1, seed=rng),
    )


def tag(model: nn.Sequential, sentences: Sequence[Sentence], index: Index, tags: Sequence[str]) -> list[list[str]]:
    """Give a tag for each word of each sentence."""
    spelled = [spell(sentence.words, index) for sentence in sentences]
    scores = model.predict([np.array(steps) for steps, _ in spelled])
    best = (own[ends, : len(tags)].argmax(axis=1) for own, (_, ends) in zip(scores, spelled, strict=True))
    return [[tags[k] for k in ids] for ids in best]


def most_frequent_tags(sentences: Sequence[Sentence]) -> tuple[dict[str, str], str]:
    """Give the baseline: the most frequent tag of each word, and of words that were never seen.

    What those are like is seen from the words that occur once.
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sentence in sentences:
        for word, own in zip(*sentence, strict=True):
            counts[word][own] += 1
    once = Counter(own for found in counts.values() if found.total() == 1 for own in found)
    return {word: found.most_common(1)[0][0] for word, found in counts.items()}, once.most_common(1)[0][0]


def look_up(sentences: Sequence[Sentence], words: Mapping[str, str], unknown: str) -> list[list[str]]:
    """Give the baseline's tags."""
    return [[words.get(word, unknown) for word in sentence.words] for sentence in sentences]


def accuracy(said: Sequence[Sequence[str]], sentences: Sequence[Sentence], known: Mapping[str, str] = {}) -> float:
    """Give the share of words with the right tag, in %, among those that are not known."""
    right = [
        one == own
        for tags, sentence in zip(said, sentences, strict=True)
        for one, word, own in zip(tags, *sentence, strict=True)
        if word not in known
    ]
    return 100 * float(np.mean(right))


def draw_sentences(
    axis: Axes, sentences: Sequence[Sentence], said: Sequence[Sequence[str]], baseline: Sequence[Sequence[str]],
    known: Mapping[str, str], number: int = 6, width: int = 140,
) -> None:  # fmt: skip
    """Write the first sentences that have a line's length and a new word: the words and their tags, wrong ones red."""
    top = 0
    for sentence, *tagged in zip(sentences, said, baseline, strict=True):
        widths = [max(map(len, column)) + 2 for column in zip(*sentence, *tagged, strict=True)]
        if not 0.7 * width < 11 + sum(widths) <= width or all(word in known for word in sentence.words):
            continue
        for row, name in enumerate(("", "marked", "LSTM", "baseline")):
            axis.text(0, top + row, name, color="0.5")
        for column, x in enumerate(11 + np.cumsum([0, *widths[:-1]])):
            word, own = sentence.words[column], sentence.tags[column]
            axis.text(x, top, word, weight=400 if word in known else 700)
            axis.text(x, top + 1, own, color="0.5")
            for row, tags in enumerate(tagged, top + 2):
                right = tags[column] == own
                axis.text(x, row, tags[column], color="tab:green" if right else "tab:red", weight=400 if right else 700)
        top += 5
        if top == 5 * number:
            break
    axis.set(xlim=(0, width), ylim=(5 * number - 1, -1), title="Held-out sentences; in bold, words never seen before")
    for text in axis.texts:
        text.set(family="monospace", size=9.5)
    axis.axis("off")


def draw_confusion(axis: Axes, sentences: Sequence[Sentence], said: Sequence[Sequence[str]]) -> None:
    """Draw how often, in %, a tag in a row is taken for that in a column."""
    true = list(chain.from_iterable(sentence.tags for sentence in sentences))
    names = [name for name, _ in Counter(true).most_common()]
    counts = Counter(zip(true, chain.from_iterable(said), strict=True))
    table = np.array([[counts[row, column] for column in names] for row in names], float)
    table *= 100 / np.array([true.count(name) for name in names])[:, np.newaxis]
    axis.imshow(table, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for (row, column), share in np.ndenumerate(table):
        if share >= 0.5:
            axis.text(column, row, f"{share:.0f}", ha="center", va="center", size=8, color="w" if share > 50 else "k")
    places = range(len(names))
    axis.set_xticks(places, names, rotation=60, ha="right", rotation_mode="anchor", size=8)
    axis.set_yticks(places, names, size=8)
    axis.set(title="What is taken for what, of 100 of a row", xlabel="the LSTM's tag", ylabel="marked by hand")


def run(options: Options) -> tuple[Result, Figure]:
    """Do everything from the data to the picture."""
    hidden_size, epochs = (64, 6) if options.quick else (128, 30)
    train, validation, test = read(fetch(SOURCE, options.cache))
    vocabulary = symbols(train)
    tags = sorted(set(chain.from_iterable(sentence.tags for sentence in train)))
    index, tag_index = ({name: k for k, name in enumerate(names)} for names in (vocabulary, tags))
    words, unknown = most_frequent_tags(train)

    model = network(len(vocabulary), len(tags), hidden_size, options.seed)
    weights = np.array([1] * len(tags) + [0], np.float32)  # the last class does not count
    history = nn.fit(
        model,
        partial(nn.softmax_cross_entropy, class_weights=weights),
        Spelled(train, index, tag_index),
        optimiser=nn.Adam(model.flat, LEARNING_RATE),
        epochs=epochs,
        clip=1.0,
        average=0.995,
        score=lambda model: accuracy(tag(model, validation, index, tags), validation),
        patience=5,
        seed=options.seed,
    )
    save(model, options.out / "tagging.safetensors", {"symbols": vocabulary, "tags": tags})

    said = tag(model, test, index, tags)
    simple = look_up(test, words, unknown)
    found, baseline = accuracy(said, test), accuracy(simple, test)
    figure = Figure(figsize=(13, 10.5), layout="constrained")
    axes = figure.subplot_mosaic([["text", "text"], ["curve", "confusion"]], height_ratios=[1, 1])
    figure.suptitle(f"Parts of speech of held-out Turkish: LSTM {found:.1f} %, most frequent tag {baseline:.1f} %")
    draw_sentences(axes["text"], test, said, simple, words)
    draw_confusion(axes["confusion"], test, said)
    scores = [epoch.score for epoch in history.epochs]
    level = accuracy(look_up(validation, words, unknown), validation)
    axes["curve"].plot(range(1, len(scores) + 1), scores, marker="o", color="tab:blue", label="LSTM")
    axes["curve"].axhline(level, color="0.5", linestyle="--", label="most frequent tag of each word")
    axes["curve"].set(title="Learning: the validation part", xlabel="epoch", ylabel="words with the right tag (%)")
    axes["curve"].set_ylim(bottom=level - 5)  # where it begins does not matter
    axes["curve"].locator_params("x", integer=True)
    axes["curve"].spines[["top", "right"]].set_visible(False)
    axes["curve"].legend(frameon=False)

    details = {
        "new words": f"{accuracy(said, test, words):.1f} %, baseline {accuracy(simple, test, words):.1f} %",
        "epochs": f"{history.best + 1}, the best of {len(scores)} on the validation part: {max(scores):.1f} %",
    }
    measure = "words with the right part of speech"
    return Result(measure, "%", found, baseline, "most frequent tag", True, model.flat.size, details), figure


if __name__ == "__main__":
    main(__doc__, "tagging", run)
