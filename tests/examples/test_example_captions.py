"""examples/captions.py on synthetic images: measures and baselines by hand, and a run from end to end."""

from pathlib import Path

import numpy as np
import pytest

import fastlstm

for package in ("matplotlib", "platformdirs", "tqdm"):
    pytest.importorskip(package)

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import captions

    return captions


def digits(example, labels, images=None):
    """Images of one bright bar each, another one for each label, in noise."""
    labels = np.array(labels)
    if images is None:
        rng = np.random.default_rng(len(labels))
        images = rng.uniform(0, 0.2, (len(labels), 64)).astype(np.float32)
        for image, label in zip(images, labels, strict=True):
            image[6 * label : 6 * label + 8] = 1
    return example.Digits(np.asarray(images, np.float32), labels)


def test_each_form_is_held_out_once(example):
    forms = [digits(example, [k] * (k + 1)) for k in range(6)]
    parts = list(example.folds(forms))
    assert [sorted(set(one.test.labels.tolist())) for one in parts] == [[0, 1], [2, 3], [4, 5]]
    assert [sorted(set(one.validation.labels.tolist())) for one in parts] == [[2, 3], [4, 5], [0, 1]]
    assert [sorted(set(one.train.labels.tolist())) for one in parts] == [[4, 5], [0, 1], [2, 3]]
    assert len(parts[1].test.images) == len(parts[1].test.labels) == 7


def test_letters_there_and_back(example):
    assert len(example.LETTERS) == 16  # 15 letters and the end
    for name in example.NAMES:
        ids = example.encode(name)
        assert ids.min() > 0
        assert example.decode(ids) == name


def test_exact_matches(example):
    found = ["two", "tw", "three", "twoo"]
    assert example.exact_matches(found, digits(example, [2, 2, 3, 2])) == 50


def test_baselines_by_hand(example):
    train = digits(example, [4, 7, 4], np.eye(3, 64))
    # Nearest to the second, to the third, and to the second again, though the product with the third is larger.
    test = digits(example, [7, 4, 4], [np.eye(64)[1] * 0.9, np.eye(64)[2] * 3, np.eye(64)[1]])
    assert example.nearest(train, test) == ["seven", "four", "seven"]
    assert example.most_frequent(train, test) == ["four"] * 3


def test_nearest_is_not_the_largest_product(example):
    train = digits(example, [1, 9], [np.full(64, 0.1), np.full(64, 1)])
    assert example.nearest(train, digits(example, [1], [np.full(64, 0.2)])) == ["one"]


def test_moved_images(example, monkeypatch):
    image = digits(example, [5]).images[0]
    monkeypatch.setattr(example, "SHIFT", 0.0)
    monkeypatch.setattr(example, "SHEAR", 0.0)
    np.testing.assert_allclose(example.moved(image, np.random.default_rng(0)), image, atol=1e-6)
    monkeypatch.setattr(example, "SHEAR", 0.1)
    centre = np.zeros((8, 8), np.float32)
    centre[3:5, 3:5] = 1
    turned = example.moved(centre.reshape(-1), np.random.default_rng(0)).reshape(8, 8)
    assert np.any(turned != centre)
    np.testing.assert_allclose(turned, turned[::-1, ::-1], atol=1e-6)  # about its centre


def test_only_training_images_move(example):
    moved = example.Moved(digits(example, [0, 1, 2]))
    still, first, second = (next(moved.epoch(rng)) for rng in (None, *2 * [np.random.default_rng(0)]))
    assert len(moved) == 1
    for batch in (first, second):
        assert np.abs(batch.inputs["x"] - moved.digits.images[batch.rows]).max() > 0.1
    assert np.any(np.sort(first.inputs["x"], axis=0) != np.sort(second.inputs["x"], axis=0))
    np.testing.assert_array_equal(still.inputs["x"], moved.digits.images[still.rows])
    written = np.concatenate((still.inputs["target_in"][1:, 0], [0]))
    assert example.decode(written).strip(example.END) == example.NAMES[moved.digits.labels[still.rows[0]]]


def test_probabilities_are_those_of_the_caption(example):
    model = example.network(4, seed=0)
    image = digits(example, [3]).images[0]
    p = example.letter_probabilities(model, image, "six")
    assert p.shape == (4, 16)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    found = model.beam_search(image[np.newaxis], begin=0, end=0, max_steps=1, beam_width=16)[0]
    chances = {example.decode(one.ids): one.log_probability for one in found}
    expected = np.log(p[0, 0])  # that of writing nothing
    assert chances[""] == pytest.approx(expected, rel=1e-4)


@pytest.mark.usefixtures("default_threads")
def test_run_from_end_to_end(example, tmp_path, monkeypatch):
    labels = np.arange(60) % 10
    forms = [digits(example, labels[:n]) for n in (12, 18, 20, 10, 24, 36)]
    monkeypatch.setattr(example, "fetch", lambda source, cache: {})
    monkeypatch.setattr(example, "read", lambda files: forms)
    monkeypatch.setattr(example, "SHEAR", 0.0)
    monkeypatch.setattr(example, "SHIFT", 0.0)
    monkeypatch.setattr(example, "BATCH", 10)
    monkeypatch.setattr(example, "QUICK", (64, 60))
    monkeypatch.setattr(example, "LEARNING_RATE", 0.01)
    fastlstm.set_num_threads(1)
    result, figure = example.run(example.Options(quick=True, out=tmp_path))
    assert 5 < result.baseline < 20
    assert result.measure.startswith("30 images")
    assert result.found > 90
    assert result.beats_baseline
    figure.savefig(tmp_path / "captions.png")
    model = fastlstm.load(tmp_path / "captions-1.safetensors")
    letters = fastlstm.load_extra(tmp_path / "captions-1.safetensors")["letters"]
    images = example.together(forms[:2]).images
    found = model.greedy(images, begin=0, end=0, max_steps=8)
    assert ["".join(letters[k] for k in ids) for ids in found] == example.captions(model, images)
    (tmp_path / "again").mkdir()
    again, _ = example.run(example.Options(quick=True, out=tmp_path / "again"))
    assert again == result
    np.testing.assert_array_equal(fastlstm.load(tmp_path / "again" / "captions-1.safetensors").flat, model.flat)
