"""examples/pronunciation.py on a made-up language: measures and baselines by hand, and a run from end to end."""

from functools import cache
from itertools import combinations_with_replacement, pairwise, product
from pathlib import Path

import numpy as np
import pytest

import fastlstm

for package in ("matplotlib", "platformdirs", "tqdm"):
    pytest.importorskip(package)

EXAMPLES = Path(__file__).parents[2] / "examples"
SOUNDS = {"a": ["AA"], "b": ["B"], "e": [], "k": ["K"], "x": ["K", "S"]}  # and th is TH, t alone T, h alone HH


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import pronunciation

    return pronunciation


def word(example, spelling):
    phonemes = []
    for letter in spelling.replace("th", "θ"):
        phonemes += {"θ": ["TH"], "t": ["T"], "h": ["HH"]}.get(letter) or SOUNDS.get(letter, [])
    return example.Word(spelling, tuple(phonemes))


@pytest.fixture
def words(example):
    rng = np.random.default_rng(0)
    spellings = {"".join(rng.choice(list("abekxth"), n)) for n in rng.integers(2, 8, 600)}
    return [word(example, spelling) for spelling in sorted(spellings)]


@cache
def distance(a, b):
    """The edit distance, straight from its definition."""
    if not a or not b:
        return len(a) + len(b)
    return min(distance(a[1:], b) + 1, distance(a, b[1:]) + 1, distance(a[1:], b[1:]) + (a[0] != b[0]))


def test_edit_distance_is_so_by_definition(example):
    assert example.edit_distance("kitten", "sitting") == 3
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = (tuple(rng.integers(3, size=rng.integers(6)).tolist()) for _ in range(2))
        assert example.edit_distance(a, b) == distance(a, b)


def test_error_rates(example):
    said = [example.Word("ab", ("AA", "B")), example.Word("bab", ("B", "AA", "B")), example.Word("x", ("K", "S", "Z"))]
    found = [("AA", "B"), ("B", "B", "B"), ("K",)]
    assert example.error_rates(found, said) == pytest.approx((100 * 3 / 8, 100 * 2 / 3))


def test_most_probable_borders_are_the_best_of_all(example):
    rng = np.random.default_rng(0)
    V = len(example.PHONEMES)
    log_p = rng.normal(size=(26, V * V))
    letters, sounds = rng.integers(26, size=(5, 4)), rng.integers(1, V, size=(5, 5))

    def measure(k, border):
        pieces = [sounds[k, start:end] for start, end in pairwise(border)]
        if max(map(len, pieces)) > 2:
            return -np.inf
        numbers = [0 if not len(one) else one[0] if len(one) == 1 else V * one[0] + one[1] for one in pieces]
        return log_p[letters[k], numbers].sum()

    found = example.most_probable(letters, sounds, log_p)
    every = [(0, *inner, 5) for inner in combinations_with_replacement(range(6), 3)]
    for k in range(5):
        assert measure(k, found[k]) == pytest.approx(max(measure(k, border) for border in every))


def test_alignment_finds_the_language(example, words):
    aligned = dict(example.align([*words, example.Word("k", ("K", "AA", "K"))]))
    assert aligned.keys() == {word.spelling for word in words}  # but the one with too much to say
    for spelling, pieces in aligned.items():
        if "t" not in spelling and "h" not in spelling:
            assert pieces == [tuple(SOUNDS[letter]) for letter in spelling]


def test_dictionary(example, words):
    some = [word(example, spelling) for spelling in ("bab", "xae", "that")]
    alone, context = (example.Dictionary(words, reach) for reach in (0, 1))
    assert alone.pronounce(some[:2]) == [one.phonemes for one in some[:2]]
    assert alone.pronounce(some[2:]) != [some[2].phonemes]
    assert context.pronounce(some) == [one.phonemes for one in some]
    unseen = example.Word("bzb", ())  # z was never seen, nor b next to it: then what b is by itself
    assert context.pronounce([unseen]) == [("B", "B")]


def test_usual_is_the_most_frequent(example):
    known = [example.Word("a", ("AA",)), example.Word("ba", ("B", "AE")), example.Word("ka", ("K", "AE"))]
    assert example.Dictionary(known, 0).pronounce(known[:1]) == [("AE",)]
    assert example.Dictionary(known, 1).pronounce(known[:1]) == [("AA",)]


def test_attention_is_that_of_the_network(example, monkeypatch):
    monkeypatch.setattr(example, "DROPOUT", 0.0)
    model = example.network(4, seed=0)
    one = example.Word("thak", ("TH", "AA", "K"))
    weights = example.attention(model, one, one.phonemes)
    assert weights.shape == (4, 4)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    before = np.array([0, *example.said(one)])[:, np.newaxis]
    _, _, tape = model.forward(example.spelled(one)[:, np.newaxis], before, rng=np.random.default_rng(0))
    np.testing.assert_allclose(weights, tape.decoder.attention.weights[:, 0], rtol=1e-5)


def test_pronounces_in_the_order_of_the_words(example, words):
    model = example.network(4, seed=0)
    model.flat *= 5  # with an opinion on each word
    together = example.pronounce(model, words[:20], beam_width=2)
    assert together == [example.pronounce(model, [one], beam_width=2)[0] for one in words[:20]]
    assert len(set(together)) > 1


@pytest.mark.usefixtures("default_threads")
def test_run_from_end_to_end(example, tmp_path, monkeypatch):
    """Letters in a row that are the same are heard once: a dictionary of letters alone cannot know."""
    sounds = {"a": "AA", "b": "B", "k": "K"}
    spellings = ["".join(letters) for n in range(1, 6) for letters in product("abk", repeat=n)]
    np.random.default_rng(0).shuffle(spellings)
    words = [
        example.Word(one, tuple(sounds[letter] for letter, after in pairwise(one + " ") if letter != after))
        for one in spellings
    ]
    parts = example.Parts(words[80:], words[:40], words[40:80])
    monkeypatch.setattr(example, "fetch", lambda source, cache: {})
    monkeypatch.setattr(example, "read", lambda files: parts)
    monkeypatch.setattr(example, "BATCH", 8)
    monkeypatch.setattr(example, "DROPOUT", 0.0)
    monkeypatch.setattr(example, "LEARNING_RATE", 5e-3)
    monkeypatch.setattr(example, "QUICK", (32, 24))
    fastlstm.set_num_threads(1)
    result, figure = example.run(example.Options(quick=True, out=tmp_path))
    assert result.baseline > 20
    assert result.found < 20
    assert result.beats_baseline
    figure.savefig(tmp_path / "pronunciation.png")
    path = tmp_path / "pronunciation.safetensors"
    assert fastlstm.load_extra(path)["phonemes"] == example.PHONEMES
    found = example.pronounce(fastlstm.load(path), parts.test, example.BEAM)
    assert example.error_rates(found, parts.test)[0] == result.found
    (tmp_path / "again").mkdir()
    again, _ = example.run(example.Options(quick=True, out=tmp_path / "again"))
    assert again == result
    np.testing.assert_array_equal(
        fastlstm.load(tmp_path / "again" / path.name).flat, fastlstm.load(path).flat
    )  # one seed, one result
