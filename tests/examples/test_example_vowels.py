"""examples/vowels.py on synthetic data: the baseline and the measure by hand, and a run from end to end."""

from pathlib import Path

import numpy as np
import pytest

import fastlstm

for package in ("matplotlib", "platformdirs", "tqdm"):
    pytest.importorskip(package)

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def vowels(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import vowels

    return vowels


def series(*values):
    return np.array(values, np.float32)[:, np.newaxis]


def warped(a, b):
    """The distance by dynamic time warping, straight from its definition."""
    if len(a) == len(b) == 1:
        before = 0.0
    else:
        shorter = [(a[:-1], b), (a, b[:-1]), (a[:-1], b[:-1])]
        before = min(warped(*pair) for pair in shorter if all(map(len, pair)))
    return before + float(np.sum((a[-1] - b[-1]) ** 2))


def test_nearest_by_hand(vowels):
    known = [series(0, 1, 2), series(2, 1, 0), series(5)]
    # Slower, with a first frame that is off by 0.5: of the same shape as the first. The last is nearest to 5 alone.
    assert vowels.nearest(known, [series(0.5, 0, 1, 1, 1, 2, 2), series(2, 2, 1, 0), series(4, 5)]).tolist() == [
        0,
        1,
        2,
    ]


def test_nearest_is_so_by_definition(vowels):
    rng = np.random.default_rng(0)
    known, unknown = ([rng.normal(size=(rng.integers(1, 6), 2)) for _ in range(8)] for _ in range(2))
    expected = [np.argmin([warped(one, other) for other in known]) for one in unknown]
    assert len(set(expected)) > 2
    assert vowels.nearest(known, unknown).tolist() == expected


def test_accuracy(vowels):
    assert vowels.accuracy(np.array([0, 1, 2, 2]), np.array([0, 1, 2, 3])) == 75


def test_each_network_is_validated_on_another_fifth(vowels, monkeypatch):
    seen = []

    def fit(model, loss, train, validation, **_):
        seen.append([sorted(int(one[0, 0]) for one in part.inputs) for part in (train, validation)])
        return fastlstm.nn.History()

    monkeypatch.setattr(vowels.nn, "fit", fit)
    vowels.learn([series(k) for k in range(12)], np.zeros(12, int), hidden_size=2, epochs=1, seed=0)
    assert sorted(n for _, validation in seen for n in validation) == list(range(12))
    for train, validation in seen:
        assert sorted(train + validation) == list(range(12))


@pytest.fixture
def utterances(vowels):
    """Nine speakers, each with a vector of his own at the end of each series, which begins with noise."""
    rng = np.random.default_rng(0)
    own = rng.normal(size=(9, 3))
    made = []
    for k in range(81):
        noise = rng.normal(size=(rng.integers(4, 9), 3))
        noise[2:] = own[k % 9] + 0.1 * noise[2:]
        made.append(vowels.Utterance(noise.astype(np.float32), k % 9))
    return made


@pytest.mark.usefixtures("default_threads")
def test_run_from_end_to_end(vowels, utterances, tmp_path, monkeypatch):
    parts = vowels.vowels.Parts(utterances[:45], utterances[45:63], utterances[63:])
    monkeypatch.setattr(vowels, "fetch", lambda source, cache: {})
    monkeypatch.setattr(vowels.vowels, "read", lambda files: parts)
    options = vowels.Options(quick=True, seed=0, out=tmp_path, cache=tmp_path)
    result, figure = vowels.run(options)
    assert result.found > 80
    assert result.baseline > 80
    figure.savefig(tmp_path / "vowels.png")
    files = sorted(options.out.glob("*.safetensors"))
    assert [file.name for file in files] == [f"vowels-{k}.safetensors" for k in range(1, 6)]
    models = [fastlstm.load(file) for file in files]
    mean, std = (np.array(fastlstm.load_extra(files[0])[name], np.float32) for name in ("mean", "std"))
    test, truth = vowels.arrays(parts.test, (mean, std))
    assert vowels.accuracy(vowels.probabilities(models, test).argmax(axis=1), truth) == result.found
    chances = vowels.as_heard(models, test[0])
    np.testing.assert_allclose(chances[-1], vowels.probabilities(models, test)[0], rtol=1e-5)  # all of it was heard
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-6)
    assert vowels.run(options)[0] == result  # one seed, one result
