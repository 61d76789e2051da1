"""examples/pytorch.py: its model and measures by hand, both trainings on struck bells, and a word without PyTorch."""

import os
import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

for package in ("matplotlib", "platformdirs", "tqdm"):
    pytest.importorskip(package)
torch = pytest.importorskip("torch")

import fastlstm.torch  # noqa: E402

EXAMPLES = Path(__file__).parents[2] / "examples"
TONES = {"a": 400, "e": 1000, "o": 2500}  # Hz


@pytest.fixture
def pytorch(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    for name in ("pytorch", "speech"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import pytorch

    return pytorch


@pytest.fixture(autouse=True)
def one_thread(default_threads):
    """Let PyTorch have no threads of its own, which are in the way of those of other tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["torch.nn.LSTM", "fastlstm.torch.LSTM"])
def model(pytorch, request):
    torch.manual_seed(0)
    made = pytorch.Model(pytorch.Size(6, 5))
    return fastlstm.torch.replace(made) if request.param == pytorch.OURS else made


def test_what_is_beside_an_utterance_does_not_change_it(pytorch, model):
    heard = [torch.randn(n, 40) for n in (9, 50, 1, 24)]
    alone = [pytorch.logits_of(model, [x])[0] for x in heard]
    assert [len(logits) for logits in alone] == [3, 13, 1, 6]
    for together, one in zip(pytorch.logits_of(model, heard), alone, strict=True):
        torch.testing.assert_close(together, one, rtol=0, atol=1e-6)


def test_an_utterance_is_heard_in_both_directions(pytorch, model):
    x = torch.randn(60, 40)
    before = pytorch.logits_of(model, [x])[0]
    for changed in (0, -1):
        other = x.clone()
        other[changed] += 10
        assert ((pytorch.logits_of(model, [other])[0] - before).abs().max(dim=1).values > 0).all()


def test_texts_by_hand(pytorch):
    path = [0, 3, 3, 0, 3, 28, 1, 1, 2, 0]
    logits = torch.nn.functional.one_hot(torch.tensor(path), 29).float()
    assert pytorch.texts_of([logits, logits[:1]]) == ["cc ab", ""]


def test_batches_have_each_once(pytorch):
    assert list(pytorch.batches(18)) == [[*range(8)], [*range(8, 16)], [16, 17]]
    drawn = list(pytorch.batches(18, np.random.default_rng(0)))
    assert [len(batch) for batch in drawn] == [8, 8, 2]
    order = list(chain.from_iterable(drawn))
    assert sorted(order) == [*range(18)]
    assert order != [*range(18)]


def test_how_far_apart(pytorch):
    courses = {pytorch.OURS: pytorch.Course([3.0, 1.0]), pytorch.THEIRS: pytorch.Course([2.0, 1.0])}
    np.testing.assert_array_equal(pytorch.apart(courses), [0.5, 0])


def test_the_clock_has_forward_and_backward(pytorch, model, monkeypatch):
    """Each look at the clock finds it a second later."""
    seconds = iter(range(100))
    monkeypatch.setattr(pytorch.time, "perf_counter", lambda: next(seconds))
    clock = pytorch.Clock(model.lstm)
    heard = [torch.randn(n, 40) for n in (9, 50)]
    pytorch.logits_of(model, heard)
    assert clock.seconds == 1
    logits, _ = model(heard)
    assert clock.seconds == 2
    logits.sum().backward()
    assert clock.seconds == 3
    assert next(seconds) == 6


def bell(text, rng):
    """Give a struck bell for each letter: a tone that fades away."""
    times = np.arange(2000) / 8000
    rings = [np.sin(2 * np.pi * TONES[letter] * times) * np.exp(-20 * times) for letter in text]
    return (np.concatenate(rings) + rng.normal(0, 0.001, 2000 * len(text))).astype(np.float32)


@pytest.fixture
def bells(pytorch, monkeypatch):
    """The example with utterances of bells instead of its data."""
    from _datasets import Parts
    from _datasets.speech import Utterance

    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list(TONES), rng.integers(1, 5))) for _ in range(80)]
    texts[59], texts[70] = "aeo" * 4, "aeo" * 3  # too long to be learnt from; long enough to be drawn
    utterances = [Utterance(bell(text, rng), text) for text in texts]
    parts = Parts(utterances[:60], utterances[60:70], utterances[70:])
    monkeypatch.setattr(pytorch, "fetch", lambda source, cache: {})
    monkeypatch.setattr(pytorch, "read", lambda sounds, transcripts: parts)
    for name, value in {
        "QUICK": pytorch.Size(32, 32, 16, 250), "BATCH": 2, "LEARNING_RATE": 0.005, "DROPOUT": 0.1,
    }.items():  # fmt: skip
        monkeypatch.setattr(pytorch, name, value)
    return parts


@pytest.fixture
def options(pytorch, tmp_path):
    return pytorch.Options(quick=True, out=tmp_path)


def test_both_learn_bells_and_take_the_same_steps(pytorch, bells, options, monkeypatch):
    courses = {}

    def learn(model, heard, texts, epochs, seed, name, learn=pytorch.learn):
        assert type(model.lstm) is {pytorch.OURS: fastlstm.torch.LSTM, pytorch.THEIRS: torch.nn.LSTM}[name]
        assert len(heard.train) == len(texts.train) == 59
        assert "aeo" * 4 not in texts.train
        courses[name] = learn(model, heard, texts, epochs, seed, name)
        return courses[name]

    monkeypatch.setattr(pytorch, "learn", learn)
    fastlstm.torch.fallbacks.clear()
    result, figure = pytorch.run(options)
    assert not fastlstm.torch.fallbacks
    figure.savefig(options.out / "pytorch.png")
    assert result.found < 10 < 50 < result.baseline
    assert float(result.details["with torch.nn.LSTM"].removesuffix(" %")) < 10
    assert result.details["same weights in torch.nn.LSTM"].startswith("100% of the texts the same")
    assert [len(course.losses) for course in courses.values()] == [30 * 16] * 2
    assert pytorch.apart(courses)[:8].max() < 1e-5
    for course in courses.values():
        assert 0 < course.inside < course.seconds[-1]
        assert course.seconds == sorted(course.seconds)

    model = pytorch.Model(pytorch.QUICK)
    model.load_state_dict(torch.load(options.out / "pytorch.pt", weights_only=True))
    heard = [pytorch.spectrogram(one.samples) for one in bells.train]
    mean, std = (measure(np.concatenate(heard), axis=0) for measure in (np.mean, np.std))
    test = [torch.from_numpy((pytorch.spectrogram(one.samples) - mean) / std) for one in bells.test]
    found = pytorch.texts_of(pytorch.logits_of(model, test))
    assert pytorch.error_rate(found, [one.text for one in bells.test]) == result.found


@pytest.mark.usefixtures("bells")
def test_a_seed_gives_the_same(pytorch, tmp_path, monkeypatch):
    monkeypatch.setattr(pytorch, "QUICK", pytorch.Size(8, 8, 2))
    weights = []
    for k, seed in enumerate((0, 0, 1)):
        out = tmp_path / str(k)
        out.mkdir()
        pytorch.run(pytorch.Options(quick=True, seed=seed, out=out))
        weights.append(torch.load(out / "pytorch.pt", weights_only=True))
    first, again, other = weights
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_without_pytorch_one_sentence():
    program = "import runpy, sys; sys.modules['torch'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"
    ended = subprocess.run(
        [sys.executable, "-c", program, EXAMPLES / "pytorch.py"], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES)},
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr == "This example needs PyTorch: pip install '.[examples,torch]'\n"
