"""examples/sentiment.py on synthetic data: baseline, word vectors and measure by hand, and a run from end to end."""

from pathlib import Path

import numpy as np
import pytest

import fastlstm

for package in ("matplotlib", "platformdirs", "tqdm"):
    pytest.importorskip(package)

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def sentiment(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import sentiment

    return sentiment


def test_words_and_ids(sentiment):
    review = sentiment.Review("It isn't GOOD , it's\tvery-good!", True)
    (words,) = sentiment.words_of([review])
    assert words == ["it", "isn't", "good", ",", "it's", "very", "-", "good", "!"]
    vocabulary = sentiment.vocabulary_of([words, ["good"] * 3, ["it"] * 5])
    assert vocabulary == ["it", "good"]  # 6 and 5 times
    assert [one.tolist() for one in sentiment.ids_of([words, []], vocabulary)] == [[1, 0, 2, 0, 0, 0, 0, 2, 0], []]
    assert sentiment.positive([review, sentiment.Review("bad", False)]).tolist() == [1, 0]


def test_accuracy_and_beginnings(sentiment):
    assert sentiment.accuracy(np.array([0.9, 0.4, 0.6, 0.2]), np.array([1, 1, 0, 0])) == 50
    assert sentiment.beginnings([["a", "b"], ["c"]]) == [["a"], ["a", "b"], ["c"]]


def test_features_of_the_bag(sentiment):
    bag = sentiment.BagOfWords([["a", "b", "a"], ["a", "b", "c"]])
    assert bag.index == {"a": 0, "a b": 1, "b": 2}  # "b a", "c" and "b c" are in one text only
    assert bag.features([["b", "a", "b"], [], ["a", "c", "b"]]).toarray().tolist() == [
        [1, 1, 1, 1],
        [0, 0, 0, 1],
        [1, 0, 1, 1],
    ]


def test_the_bag_is_where_the_penalised_loss_is_least(sentiment):
    rng = np.random.default_rng(0)
    texts = [list(rng.choice(list("abc"), rng.integers(1, 5))) for _ in range(40)]
    target = rng.integers(0, 2, 40).astype(np.float32)
    bag = sentiment.BagOfWords(texts)
    features = bag.features(texts)
    bag.fit(features, target, penalty=2.0)

    def loss(weights):
        p = 1 / (1 + np.exp(-features.toarray() @ weights))
        return -np.log(np.where(target == 1, p, 1 - p)).sum() + np.sum(weights[:-1] ** 2)

    steps = 1e-5 * np.eye(len(bag.weights))
    slopes = [(loss(bag.weights + step) - loss(bag.weights - step)) / 2e-5 for step in steps]
    assert np.abs(bag.weights).max() > 0.1
    np.testing.assert_allclose(slopes, 0, atol=2e-3)
    np.testing.assert_allclose(bag.probabilities(texts), 1 / (1 + np.exp(-features.toarray() @ bag.weights)))


def test_the_penalty_is_chosen_on_the_validation_part(sentiment, monkeypatch):
    monkeypatch.setattr(sentiment, "PENALTIES", (1e6, 0.1, 1e6))
    texts, target = [["good"]] * 4 + [["bad"]] * 2, np.array([1, 1, 1, 1, 0, 0], np.float32)
    bag = sentiment.baseline(texts, target, [["good"], ["bad"]], np.array([1.0, 0.0]))
    # With the others the bias alone decides, for the more frequent class.
    assert bag.probabilities([["good"], ["bad"], []]).round().tolist() == [1, 0, 1]


def test_word_vectors_by_definition(sentiment, monkeypatch):
    monkeypatch.setattr(sentiment, "WINDOW", 2)
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 8, 12).astype(np.int32) for _ in range(6)]
    near = np.zeros((8, 8))
    for text in texts:
        for j, one in enumerate(text):
            for k in range(max(0, j - 2), j):
                if one and text[k]:
                    near[one, text[k]] += 1 / (j - k)
                    near[text[k], one] += 1 / (j - k)
    count = near.sum(axis=1)
    chance = count**0.75 / np.sum(count**0.75)
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix = np.nan_to_num(np.maximum(np.log(near / count[:, np.newaxis] / chance), 0))
    left, values, _ = np.linalg.svd(matrix)
    expected = left[:, :3] * np.sqrt(values[:3])
    expected /= np.linalg.norm(expected, axis=1).mean()
    found = sentiment.word_vectors(texts, 8, 3, seed=0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-5)  # but for the vectors' signs
    np.testing.assert_allclose(found[0], 0, atol=1e-6)


@pytest.fixture
def reviews(sentiment):
    """Texts of filler and one word that says it all."""
    rng = np.random.default_rng(0)

    def made(count):
        for k in range(count):
            words = [f"word{n}" for n in rng.integers(0, 12, rng.integers(3, 12))]
            words[rng.integers(len(words))] = ("awful", "superb")[k % 2]
            yield sentiment.Review(" ".join(words), bool(k % 2))

    parts = sentiment.sentiment.Parts(*(list(made(count)) for count in (120, 40, 40)))
    return sentiment.sentiment.Reviews(parts, list(made(100)))


@pytest.mark.usefixtures("default_threads")
def test_run_from_end_to_end(sentiment, reviews, tmp_path, monkeypatch):
    monkeypatch.setattr(sentiment, "fetch", lambda source, cache: {})
    monkeypatch.setattr(sentiment.sentiment, "read", lambda files: reviews)
    monkeypatch.setattr(sentiment, "QUICK", sentiment.Size(vector=6, hidden=16, networks=2, epochs=20, every=2))
    monkeypatch.setattr(sentiment, "LEARNING_RATE", 1e-2)
    options = sentiment.Options(quick=True, seed=0, out=tmp_path, cache=tmp_path)
    result, figure = sentiment.run(options)
    assert result.baseline > 90
    assert result.found > 90
    figure.savefig(tmp_path / "sentiment.png")
    files = sorted(options.out.glob("*.safetensors"))
    assert [file.name for file in files] == ["sentiment-1.safetensors", "sentiment-2.safetensors"]
    vocabulary = fastlstm.load_extra(files[0])["vocabulary"]
    test = sentiment.ids_of(sentiment.words_of(reviews.sentences.test), vocabulary)
    found = sentiment.probabilities([fastlstm.load(file) for file in files], test)
    assert sentiment.accuracy(found, sentiment.positive(reviews.sentences.test)) == result.found
    assert sentiment.run(options)[0] == result  # one seed, one result
