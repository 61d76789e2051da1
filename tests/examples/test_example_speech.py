"""examples/speech.py: its features, its measure and its batches by hand, and a run on utterances of pure tones."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("platformdirs")

EXAMPLES = Path(__file__).parents[2] / "examples"
TONES = {"a": 400, "e": 1000, "o": 2500}  # Hz


@pytest.fixture
def speech(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delitem(sys.modules, "speech", raising=False)
    import speech

    return speech


def tone(frequency, seconds, rate=8000):
    return np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate).astype(np.float32)


def utterances(speech, texts, seed):
    """Each letter is a struck bell: a tone that fades away."""
    from _datasets.speech import Utterance

    rng = np.random.default_rng(seed)
    fading = np.exp(-np.arange(2000) / 400)
    bells = {letter: tone(frequency, 0.25) * fading for letter, frequency in TONES.items()}
    return [
        Utterance((np.concatenate([bells[one] for one in text]) + noise).astype(np.float32), text)
        for text in texts
        for noise in [rng.normal(0, 0.001, 2000 * len(text))]
    ]


def test_bands_overlap_and_cover_all_frequencies_between(speech):
    bank = speech.filter_bank()
    assert bank.shape == (257, 40)
    frequencies = np.fft.rfftfreq(512, 1 / 8000)
    middles = 700 * (np.exp(np.arange(1, 41) / 41 * np.log1p(4000 / 700)) - 1)
    between = (frequencies >= middles[0]) & (frequencies <= middles[-1])
    np.testing.assert_allclose(bank[between].sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_less(np.abs(frequencies[bank.argmax(axis=0)] - middles), 8000 / 512)


@pytest.mark.parametrize(("frequency", "band"), [(150, 3), (1000, 18), (3500, 38)])
def test_a_sine_wave_is_loudest_in_its_band(speech, frequency, band):
    x = speech.spectrogram(tone(frequency, 1))
    assert x.shape == (101, 40)
    assert x.dtype == np.float32
    assert (x[2:-2].argmax(axis=1) == band).all()
    far = np.abs(np.arange(40) - band) > 3
    assert x[2:-2, far].max() < x[2:-2, band].min() - np.log(100)
    louder = speech.spectrogram(10 * tone(frequency, 1))
    np.testing.assert_allclose((louder - x)[2:-2, band], np.log(100), rtol=1e-4)


def test_silence_is_finite(speech):
    np.testing.assert_array_equal(speech.spectrogram(np.zeros(800, np.float32)), np.float32(np.log(1e-6)))


def test_variations_are_other_speeds_of_the_same(speech):
    x = np.repeat(np.arange(200, dtype=np.float32)[:, np.newaxis], 40, axis=1)
    rng = np.random.default_rng(0)
    many = [speech.varied(x, rng) for _ in range(100)]
    lengths = np.array([len(one) for one in many])
    assert lengths.min() in range(166, 172)
    assert lengths.max() in range(242, 250)
    for one in many:  # each band still rises from 0 to 199, but for the noise and what is left out
        steps, bands = np.nonzero(one)
        speed = (len(x) - 1) / len(one)
        assert np.abs(one[steps, bands] - speed * steps).max() < 4
        assert 0.5 < len(steps) / one.size < 1
    assert (x == np.arange(200)[:, np.newaxis]).all()  # what came in stays


def test_stacked_spectra_are_side_by_side(speech):
    x = np.arange(8 * 40, dtype=np.float32).reshape(8, 40)
    np.testing.assert_array_equal(speech.stacked(x), x[:6].reshape(2, 120))


@pytest.mark.parametrize(
    ("a", "b", "edits"),
    [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("ab", "ba", 2)],
)
def test_edit_distance_by_hand(speech, a, b, edits):
    assert speech.edit_distance(a, b) == edits
    assert speech.edit_distance(b, a) == edits


def test_error_rate_is_of_all_letters(speech):
    assert speech.error_rate(["one", "", "threee"], ["one", "tw", "three"]) == 100 * 3 / 10


def test_baselines_know_the_training_part_only(speech):
    from _datasets import Parts

    texts = Parts(["one", "two", "two", "three hundred"], ["one"], ["three", "one"])
    assert speech.most_common(texts).test == ["two", "two"]
    heard = Parts(*([np.zeros((n, 40)) for n in lengths] for lengths in ([10, 20, 20, 90], [11], [60, 19])))
    assert speech.nearest_in_length(heard, texts).test == ["three hundred", "two"]


def test_batches_have_what_ctc_wants(speech):
    heard = [np.full((n, 40), n, np.float32) for n in (31, 60, 45)]
    spoken = speech.Spoken(heard, ["one", "a b", "it's"])
    (batch,) = spoken.epoch()
    np.testing.assert_array_equal(batch.inputs["x"][0, :, 0], [31, 45, 60])
    np.testing.assert_array_equal(batch.targets["lengths"], [10, 15, 20])
    np.testing.assert_array_equal(batch.targets["label_lengths"], [3, 4, 3])
    labels = [[15, 14, 5, 0], [9, 20, 27, 19], [1, 28, 2, 0]]
    np.testing.assert_array_equal(batch.targets["labels"], labels)
    assert batch.size == 3
    (same,) = speech.Spoken(heard[:1], ["one"]).epoch()  # all of one length
    assert same.targets["lengths"] is None


def test_in_training_some_go_on_with_another(speech):
    heard = [np.zeros((90, 40), np.float32), np.zeros((330, 40), np.float32)]
    seen = set()
    for seed in range(30):
        spectrograms, texts = speech.Spoken(heard, ["a", "b"]).other(np.random.default_rng(seed))
        seen |= set(texts)
        for x, text in zip(spectrograms, texts, strict=True):
            shortest, longest = (sum((90, 330)["ab".index(one)] / speed for one in text[::2]) for speed in (1.2, 0.8))
            assert shortest - 3 < len(x) < longest + 3
    assert seen == {"a", "b", "a a", "b a"}  # never on with one of more than three seconds


@pytest.fixture
def bells(speech, monkeypatch):
    """The example with utterances of bells instead of its data."""
    from _datasets import Parts

    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list(TONES), rng.integers(1, 5))) for _ in range(80)]
    texts[60] = texts[70] = "aeo" * 3  # one of the test part must be long enough to be drawn
    parts = Parts(*(utterances(speech, some, k) for k, some in enumerate((texts[:60], texts[60:70], texts[70:]))))
    monkeypatch.setattr(speech, "fetch", lambda source, cache: {})
    monkeypatch.setattr(speech, "read", lambda sounds, transcripts: parts)
    monkeypatch.setattr(speech, "BATCH", 4)
    return parts


@pytest.mark.usefixtures("default_threads")
def test_run_learns_bells(speech, bells, tmp_path, monkeypatch):
    from _task import Options

    import fastlstm

    fastlstm.set_num_threads(1)
    for name, value in {"QUICK": (16, 60), "DROPOUT": 0.0, "LEARNING_RATE": 0.02}.items():
        monkeypatch.setattr(speech, name, value)
    result, figure = speech.run(Options(quick=True, out=tmp_path))
    assert result.found < 10 < 50 < result.baseline
    figure.savefig(tmp_path / "speech.png")

    network = fastlstm.load(tmp_path / "speech.safetensors")
    extra = fastlstm.load_extra(tmp_path / "speech.safetensors")
    mean, std = np.float32(extra["mean"]), np.float32(extra["std"])
    found = speech.recognise(network, [(speech.spectrogram(one.samples) - mean) / std for one in bells.test])
    assert speech.error_rate(found, [one.text for one in bells.test]) == result.found


@pytest.mark.usefixtures("default_threads", "bells")
def test_a_seed_gives_the_same(speech, tmp_path, monkeypatch):
    from _task import Options

    monkeypatch.setattr(speech, "QUICK", (8, 2))
    for k in range(3):
        (tmp_path / str(k)).mkdir()
    first, again, _ = (
        speech.run(Options(quick=True, seed=seed, out=tmp_path / str(k)))[0] for k, seed in enumerate((0, 0, 1))
    )
    assert first == again
    weights = [(tmp_path / str(k) / "speech.safetensors").read_bytes() for k in range(3)]
    assert weights[0] == weights[1] != weights[2]
