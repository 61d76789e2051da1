"""examples/characters.py on a text made here: the 5-gram model by hand and by its sums, the measure, a run."""

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import fastlstm

pytest.importorskip("matplotlib")
pytest.importorskip("platformdirs")

EXAMPLES = Path(__file__).parents[2] / "examples"
SIZE = 5


@pytest.fixture
def characters(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import characters

    return characters


@pytest.fixture
def ids():
    """A sequence in which the next value depends on the last two; 4 never occurs."""
    rng = np.random.default_rng(0)
    x = [1, 2]
    for _ in range(2000):
        x.append((x[-1] + x[-2] + (rng.random() < 0.2)) % 4)
    return np.array(x)


def test_characters_that_are_not_in_the_alphabet(characters):
    assert characters.encode("abcz", "?abc").tolist() == [1, 2, 3, 0]


def test_bigrams_by_hand(characters):
    model = characters.NGrams(np.array([1, 2, 1, 3, 1, 2]), order=2, size=4)  # 0 before the first
    model.discount, model.strength = np.array([0.5, 0.25]), np.array([2.0, 3.0])
    p = model.probabilities(model.evidence(np.array([1, 2, 3, 1])))
    one = np.array([4, 3, 1, 1])  # below 1 are 0, 2 and 3; below 2 and 3 is 1: five pairs in all
    pairs = 5
    first = {1: (3 - 0.5), 2: (1 - 0.5), 3: (1 - 0.5)}
    first = {k: (value + (2 + 0.5 * 3) / 4) / (pairs + 2) for k, value in first.items()}
    assert one[1] == 3
    expected = [
        (1 - 0.25 + (3 + 0.25 * 1) * first[1]) / (1 + 3),  # 0 1: once, of 1 after 0
        (2 - 0.25 + (3 + 0.25 * 2) * first[2]) / (3 + 3),  # 1 2: twice, of 3 after 1, which are of 2 kinds
        (0 + 3 * first[3]) / (1 + 3) + 0.25 * 1 * first[3] / (1 + 3),  # 2 3: never, of 1 after 2
        (1 - 0.25 + (3 + 0.25 * 1) * first[1]) / (1 + 3),  # 3 1
    ]
    np.testing.assert_allclose(p, expected)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_what_can_follow_sums_to_one(characters, ids, order):
    model = characters.NGrams(ids, order, SIZE)
    model.tune(ids[:200])
    rng = np.random.default_rng(1)
    for context in [*rng.integers(0, SIZE, (20, 6)), np.array([4, 4, 4, 4, 4, 4]), ids[100:106]]:
        each = [model.probabilities(model.evidence(np.append(context, k)))[-1] for k in range(SIZE)]
        assert np.all(np.array(each) > 0)
        assert sum(each) == pytest.approx(1, abs=1e-12)


def test_tuning_and_higher_orders_help(characters, ids):
    known, other = ids[:1500], ids[1500:]
    bits = []
    for order in (1, 2, 3):
        model = characters.NGrams(known, order, SIZE)
        before = model.surprise(other).mean()
        model.tune(other)
        bits.append(model.surprise(other).mean())
        assert bits[-1] < before
    assert 1.9 < bits[1] < 2.1  # one value says nothing of the next
    assert 0.72 < bits[2] < 1  # two do, but for a coin that falls on one side in five


def test_surprise_is_the_loss_in_bits_and_in_order(characters, ids):
    model = characters.network(SIZE, 6, seed=0)
    rows = 3
    bits = characters.surprise(model, ids[:200], rows)
    assert len(bits) == 198
    loss = fastlstm.nn.evaluate(
        model, fastlstm.nn.softmax_cross_entropy, fastlstm.nn.Chunks(ids[:199], ids[1:200], rows, 10)
    )
    assert bits.mean() * np.log(2) == pytest.approx(loss, rel=1e-6)
    logits, _ = model(ids[66 : 66 + 5, np.newaxis])  # where the second stream begins
    p = fastlstm.nn.softmax(logits)[4, 0, ids[66 + 5]]
    assert bits[66 + 4] == pytest.approx(-np.log2(p), rel=1e-5)


def test_the_parts_of_the_streams_take_turns(characters, monkeypatch):
    monkeypatch.setattr(characters, "ROWS", 2)
    monkeypatch.setattr(characters, "STEPS", 3)
    source = characters.InTurn(np.arange(22), 2)
    read = [list(source.epoch()) for _ in range(3)]
    assert [[batch.inputs["x"].T.tolist() for batch in epoch] for epoch in read] == [
        [[[0, 1, 2], [10, 11, 12]], [[3, 4], [13, 14]]],
        [[[5, 6, 7], [15, 16, 17]], [[8, 9], [18, 19]]],
        [[[0, 1, 2], [10, 11, 12]], [[3, 4], [13, 14]]],
    ]
    assert all(np.all(batch.targets["target"] == batch.inputs["x"] + 1) for epoch in read for batch in epoch)
    assert len(source) == 2


def test_what_is_said_follows_from_what_was_said(characters):
    alphabet = "?abcd"
    model = characters.network(SIZE, 6, seed=0)
    model.flat[:] *= 3
    said = "".join(islice(characters.speak(model, alphabet, "ab", np.random.default_rng(0)), 30))
    assert set(said) <= set("abcd")
    rng, text = np.random.default_rng(0), "ab"
    for _ in range(30):  # the same without a state: all of the text each time
        logits, _ = model(characters.encode(text, alphabet)[:, np.newaxis])
        p = np.exp(logits[-1, 0].astype(np.float64) / characters.TEMPERATURE)
        p[0] = 0
        text += alphabet[rng.choice(5, p=p / p.sum())]
    assert text == "ab" + said


def test_the_cell_that_counts_is_found(characters, monkeypatch):
    text = "abc\nabcdefgh\n\nab\n"
    place = characters.place_in_line(text)
    assert place.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 1, 2]
    noise = np.random.default_rng(0).normal(size=(len(text), 4))
    found = np.column_stack([noise[:, :2], -3.0 * place + 1, noise[:, 2:]])
    monkeypatch.setattr(characters, "cells", lambda model, ids: found)
    assert characters.counting_cell(None, text, "?") == (2, pytest.approx(-1))


def test_run_from_end_to_end(characters, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    words = np.array(["to", "be", "or", "not", "king", "queen.\n", "\n\nHAMLET\n", "crown,"])
    texts = [" ".join(rng.choice(words, n)) for n in (2000, 500, 500)]
    small = {"ROWS": 4, "STEPS": 20, "PASSAGE": 1000, "CONTEXT": 200, "SPOKEN": 50, "LINES": 3}
    for name, value in small.items():
        monkeypatch.setattr(characters, name, value)
    monkeypatch.setattr(characters, "fetch", lambda source, cache: {})
    monkeypatch.setattr(characters.characters, "read", lambda files: characters.Parts(*texts))
    options = characters.Options(quick=True, out=tmp_path)
    result, figure = characters.run(options)
    said = capsys.readouterr().out
    assert len(said) > 50
    assert 0.3 < result.found < 2.5  # guessing evenly takes more than 4
    assert 0.3 < result.baseline < 1.0  # 3 bits a word, of about five characters
    json.dumps(result.details)
    figure.savefig(tmp_path / "picture.png")
    model = fastlstm.load(tmp_path / "characters.safetensors")
    alphabet = fastlstm.load_extra(tmp_path / "characters.safetensors")["alphabet"]
    assert characters.surprise(model, characters.encode(texts[2], alphabet)).mean() == pytest.approx(result.found)
    characters.run(options)
    assert capsys.readouterr().out == said  # one seed, one text
