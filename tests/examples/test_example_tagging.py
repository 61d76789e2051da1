"""examples/tagging.py on small data: spelling, the baseline and the measure by hand, and a run from end to end."""

from pathlib import Path

import numpy as np
import pytest

from fastlstm import load, load_extra

for package in ("matplotlib", "platformdirs", "tqdm"):
    pytest.importorskip(package)

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def tagging(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import tagging

    return tagging


def sentences(tagging, *texts):
    """Make sentences of texts such as "the/D cat/N"."""
    pairs = [[pair.rsplit("/", 1) for pair in text.split()] for text in texts]
    return [tagging.Sentence(*map(tuple, zip(*sentence, strict=True))) for sentence in pairs]


def test_symbols(tagging):
    train = sentences(tagging, "a/D bc/N", "a/D d/N d/V", "bc/N")
    assert tagging.symbols(train) == ["", " ", "a", "b", "c", "d", "a ", "bc ", "d "]
    assert tagging.symbols(train[:2]) == ["", " ", "a", "b", "c", "d", "a ", "d "]


def test_spelling(tagging, monkeypatch):
    index = {name: k for k, name in enumerate(["", " ", "a", "b", "c", "a ", "cab "])}
    assert tagging.spell(["cab", "ca", "a", "bxa"], index) == ([6, 4, 2, 1, 5, 3, 0, 2, 1], [0, 3, 4, 8])
    monkeypatch.setattr(tagging, "SPELLED", 1)
    assert tagging.spell(["cab", "a"], index, np.random.default_rng(0)) == ([4, 2, 3, 1, 2, 1], [3, 5])
    monkeypatch.setattr(tagging, "SPELLED", 0)
    assert tagging.spell(["cab", "a"], index, np.random.default_rng(0)) == ([6, 5], [0, 1])


def test_batches(tagging):
    index = {name: k for k, name in enumerate(["", " ", "a", "b", "a "])}
    source = tagging.Spelled(sentences(tagging, "a/N ab/V", "a/V"), index, {"N": 0, "V": 1})
    (batch,) = source.epoch()
    assert len(source) == 1
    assert batch.inputs["x"].T.tolist() == [[4, 0, 0, 0], [4, 2, 3, 1]]
    assert batch.inputs["lengths"].tolist() == [1, 4]
    assert batch.targets["target"].T.tolist() == [[1, 0, 0, 0], [0, 2, 2, 1]]
    assert batch.targets["mask"].T.tolist() == [[True, False, False, False], [True] * 4]


def test_baseline(tagging):
    train = sentences(tagging, "a/D b/N a/D", "a/N c/V d/V e/N e/N", "f/N f/N g/D")
    words, unknown = tagging.most_frequent_tags(train)
    assert words == {"a": "D", "b": "N", "c": "V", "d": "V", "e": "N", "f": "N", "g": "D"}
    assert unknown == "V"  # as two of the four words that occur once, though N is more frequent
    assert tagging.look_up(sentences(tagging, "b/V a/N h/N", "e/D"), words, unknown) == [["N", "D", "V"], ["N"]]
    with pytest.raises(ValueError, match="zip"):
        tagging.most_frequent_tags([tagging.Sentence(("a", "b"), ("N",))])


def test_accuracy(tagging):
    held_out = sentences(tagging, "a/D b/N", "c/V a/D")
    said = [["D", "V"], ["V", "N"]]
    assert tagging.accuracy(said, held_out) == 50
    assert tagging.accuracy(said, held_out, {"a": "D"}) == 50
    assert tagging.accuracy(said, held_out, {"a": "D", "b": "N"}) == 100


def made_up(tagging, rng, count):
    """Sentences of new words, whose last letter tells the tag, and of pairs, whose second word tells both tags."""
    found = []
    for _ in range(count):
        pairs = []
        for noun in rng.random(8) < 0.5:
            own, ending, common = ("NOUN", "a", "cat") if noun else ("VERB", "e", "run")
            new = "".join(rng.choice(list("bcdfghjklmnpqrst"), 4)) + ending
            pairs += [(new, own)] if rng.random() < 0.5 else [("it", own), (common, own)]
        found.append(tagging.Sentence(*map(tuple, zip(*pairs, strict=True))))
    return found


def test_run_from_end_to_end(tagging, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    parts = [made_up(tagging, rng, count) for count in (150, 20, 20)]
    monkeypatch.setattr(tagging, "fetch", lambda source, cache: {})
    monkeypatch.setattr(tagging, "read", lambda files: parts)
    monkeypatch.setattr(tagging, "BATCH", 5)
    options = tagging.Options(quick=True, seed=3, out=tmp_path)
    result, figure = tagging.run(options)
    assert 30 < result.baseline < 70
    assert result.found > 95
    assert len(figure.axes) == 3
    assert tagging.run(options)[0] == result

    model, extra = (read(tmp_path / "tagging.safetensors") for read in (load, load_extra))
    index = {name: k for k, name in enumerate(extra["symbols"])}
    assert tagging.accuracy(tagging.tag(model, parts[2], index, extra["tags"]), parts[2]) == result.found
