"""Errors name the data's own sequence and step, not the row of a shuffled batch."""

import pickle
import re

import numpy as np
import pytest

from fastlstm import LSTM
from fastlstm._arrays.checks import EntryError
from fastlstm.nn import (
    SGD,
    Batch,
    Batches,
    Chunks,
    Decoder,
    Dense,
    Embedding,
    Last,
    Mean,
    Pairs,
    Seq2Seq,
    Sequential,
    Transcripts,
    ctc_loss,
    evaluate,
    fit,
    huber,
    logistic_loss,
    mse,
    softmax_cross_entropy,
)  # fmt: skip

N, WRONG, STEP = 23, 17, 4
LAYOUTS = [False, True]


def lengths():
    return np.random.default_rng(0).permutation(np.arange(N) % 7 + 5)


def floats(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(T, 3)).astype(np.float32) for T in lengths()]


def classes():
    rng = np.random.default_rng(1)
    return [rng.integers(0, 4, T) for T in lengths()]


def with_wrong(arrays, value):
    """The same, but for one value."""
    arrays[WRONG][STEP] = value
    return arrays


def tagger(batch_first):
    return Sequential(LSTM(3, 4, seed=0), Dense(4, 4, seed=1), batch_first=batch_first)


def assert_named(model, loss, source, message, good):
    """In training, validation and measuring, in random order and not."""
    for name, call in (
        ("train", lambda: fit(model, loss, source, epochs=1, progress=False)),
        ("validation", lambda: fit(model, loss, good, source, epochs=1, progress=False)),
        ("batches", lambda: evaluate(model, loss, source)),
    ):
        with pytest.raises(ValueError, match=f"^{name}: {message}") as caught:
            call()
        assert type(caught.value) is ValueError


@pytest.mark.parametrize("batch_first", LAYOUTS)
@pytest.mark.parametrize("batch_size", [1, 4, 30])
def test_classes_of_steps(batch_first, batch_size):
    assert_named(
        tagger(batch_first), softmax_cross_entropy, Batches(floats(), with_wrong(classes(), 9), batch_size),
        "sequence 17, step 4: target must be from 0 to 3, a class each, not 9$",
        Batches(floats(), classes(), batch_size),
    )  # fmt: skip


@pytest.mark.parametrize("batch_first", LAYOUTS)
def test_classes_of_sequences(batch_first):
    target = np.arange(N) % 4
    wrong = target.copy()
    wrong[WRONG] = -1
    model = Sequential(LSTM(3, 4, seed=0), Mean(), batch_first=batch_first)
    assert_named(
        model, softmax_cross_entropy, Batches(floats(), wrong, 4),
        "sequence 17: target must be from 0 to 3, a class each, not -1$", Batches(floats(), target, 4),
    )  # fmt: skip


@pytest.mark.parametrize("batch_first", LAYOUTS)
def test_probabilities(batch_first):
    target = np.full((N, 4), 0.5, np.float32)
    wrong = target.copy()
    wrong[WRONG, 2] = 1.5
    model = Sequential(LSTM(3, 4, seed=0), Last(), batch_first=batch_first)
    message = "target must be from 0 to 1, not 0.5 to 1.5$"
    good = Batches(floats(), target, 4)
    assert_named(model, logistic_loss, Batches(floats(), wrong, 4), "sequence 17: " + message, good)
    steps = [np.full((T, 4), 0.5, np.float32) for T in lengths()]
    wrong = with_wrong([one.copy() for one in steps], 1.5)
    good = Batches(floats(), steps, 4)
    assert_named(
        tagger(batch_first), logistic_loss, Batches(floats(), wrong, 4), "sequence 17, step 4: " + message, good
    )


@pytest.mark.parametrize("batch_first", LAYOUTS)
def test_ids(batch_first):
    model = Sequential(Embedding(4, 3, seed=0), LSTM(3, 4, seed=1), Dense(4, 4, seed=1), batch_first=batch_first)
    wrong = with_wrong(classes(), 4)
    message = "sequence 17, step 4: ids must be from 0 to 3, not 0 to 4$"
    assert_named(model, softmax_cross_entropy, Batches(wrong, classes(), 4), message, Batches(classes(), classes(), 4))
    with pytest.raises(ValueError, match=r"^inputs: " + message):
        model.predict(wrong, 4)
    equal = np.zeros((9, 7), int)
    equal[STEP, 5] = 4
    with pytest.raises(ValueError, match=r"^inputs: sequence 5, step 4: ids"):
        model.predict(equal.T if batch_first else equal, 2)
    with pytest.raises(EntryError) as caught:
        model(equal.T if batch_first else equal)
    assert caught.value.index == ((5, STEP) if batch_first else (STEP, 5))


@pytest.mark.parametrize("batch_first", LAYOUTS)
def test_labels(batch_first):
    labels = [np.array([1, 2, 3])] * N
    good = Transcripts(floats(), labels, 4)
    for wrong, message in (
        ([1, 7, 2], r"labels must be from 0 to K - 1 = 3 and not blank = 0, but labels\[1\] is 7"),
        ([1, 0, 2], r"labels must be from 0 to K - 1 = 3 and not blank = 0, but labels\[1\] is 0"),
        ([1] * 30, "labels cannot fit: 30 labels with 29 repeats need 59 steps"),
    ):
        source = Transcripts(floats(), [*labels[:WRONG], np.array(wrong), *labels[WRONG + 1 :]], 4)
        assert_named(tagger(batch_first), ctc_loss, source, "sequence 17: " + message, good)


def test_labels_of_probability_zero():
    class Given:
        """Logits that go in come out."""

        def __call__(self, x, lengths=None):
            return x, None

    x = floats()
    x[WRONG][:, 1] = -np.inf
    with pytest.raises(ValueError, match=r"^batches: sequence 17: logits give labels probability zero"):
        evaluate(Given(), ctc_loss, Transcripts(x, [np.array([1])] * N, 4))


def test_pairs():
    sources, targets = classes(), [one[:3] for one in classes()]
    encoder = Sequential(Embedding(4, 3, seed=0), LSTM(3, 4, seed=1))
    model = Seq2Seq(encoder, Decoder(6, 2, 4, encoded_size=4, attention_size=3, seed=2))
    good = Pairs(sources, targets, 4, begin=4, end=5)
    assert_named(
        model, softmax_cross_entropy, Pairs(with_wrong(classes(), 4), targets, 4, begin=4, end=5),
        "sequence 17, step 4: ids must be from 0 to 3", good,
    )  # fmt: skip
    wrong = [one.copy() for one in targets]
    wrong[WRONG][1] = 6
    assert_named(
        model, softmax_cross_entropy, Pairs(sources, wrong, 4, begin=4, end=5),
        "sequence 17, step 2: target_in must be from 0 to 5", good,
    )  # fmt: skip


@pytest.mark.parametrize("batch_first", LAYOUTS)
def test_chunks(batch_first):
    """The error is in a step of the one sequence of which chunks are made."""
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(103, 3)).astype(np.float32), rng.integers(0, 4, 103)
    wrong = target.copy()
    wrong[71] = 4
    assert_named(
        tagger(batch_first), softmax_cross_entropy, Chunks(x, wrong, 4, 7),
        "step 71: target must be from 0 to 3, a class each, not 4$", Chunks(x, target, 4, 7),
    )  # fmt: skip
    x[71] = np.nan
    with pytest.warns(RuntimeWarning, match=re.escape("x has values that are not finite (train: step 71)")):
        fit(tagger(batch_first), softmax_cross_entropy, Chunks(x, target, 4, 7), progress=False)


@pytest.mark.parametrize("batch_first", LAYOUTS)
@pytest.mark.parametrize("loss", [mse, huber])
def test_what_is_not_finite(loss, batch_first):
    targets = [np.zeros((T, 4), np.float32) for T in lengths()]
    for name, x, target in (
        ("x", with_wrong(floats(), np.nan), targets),
        ("x", with_wrong(floats(), -np.inf), targets),
        ("target", floats(), with_wrong([one.copy() for one in targets], np.nan)),
    ):
        place = "{} has values that are not finite ({}: sequence 17, step 4)"
        with pytest.warns(RuntimeWarning, match=re.escape(place.format(name, "train"))), np.errstate(all="ignore"):
            fit(tagger(batch_first), loss, Batches(x, target, 4), progress=False)
        good = Batches(floats(), targets, 4)
        message = "validation of epoch 1 was nan, so that it cannot be the best; " + place.format(name, "validation")
        with pytest.warns(RuntimeWarning, match=re.escape(message)), np.errstate(all="ignore"):
            fit(tagger(batch_first), loss, good, Batches(x, target, 4), epochs=1, progress=False)
    target = np.zeros((N, 4), np.float32)
    target[WRONG, 1] = np.nan
    model = Sequential(LSTM(3, 4, seed=0), Last(), batch_first=batch_first)
    with pytest.warns(RuntimeWarning, match=re.escape("target has values that are not finite (train: sequence 17)")):
        fit(model, loss, Batches(floats(), target, 4), progress=False)


def test_sources_of_ones_own():
    class Own:
        def __init__(self, rows):
            self.rows = rows

        def __len__(self):
            return 1

        def epoch(self, rng=None):
            target = np.zeros((5, 3), int)
            target[4, 2] = 9
            yield Batch({"x": np.ones((5, 3, 3), np.float32)}, {"target": target}, 15, *self.rows)

    with pytest.raises(ValueError, match=r"^train: row 2 of a batch, step 4: target must be from 0 to 3"):
        fit(tagger(False), softmax_cross_entropy, Own([]), progress=False)
    with pytest.raises(ValueError, match=r"^train: sequence 30, step 4: target must be from 0 to 3"):
        fit(tagger(False), softmax_cross_entropy, Own([np.array([10, 20, 30])]), progress=False)


def test_errors_can_be_pickled():
    error = EntryError("labels{at} cannot fit", "labels", (3,))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.name, again.index) == ("labels[3] cannot fit", "labels", (3,))
    assert again.told(()) == "labels cannot fit"


# ---- batches in which nothing counts ----


def test_classes_without_weight_count_nothing():
    """Whether a batch has only such depends on the shuffle."""
    target = np.array([0, 0, 0, 0, 0, 1, 0, 0])
    x = np.random.default_rng(0).normal(size=(8, 5, 3)).astype(np.float32)

    def loss(y, target):
        return softmax_cross_entropy(y, target, class_weights=np.array([0, 1, 1, 1], np.float32))

    for batch_size in (1, 3, 8):
        model = Sequential(LSTM(3, 4, seed=0), Last())
        source = Batches(x, target, batch_size)
        history = fit(model, loss, source, source, epochs=3, average=0.9, progress=False)
        assert history.stopped == "epochs"
        assert history.epochs[-1].validation < history.epochs[0].validation
    alone = evaluate(model, loss, Batches(x[5:6], target[5:6], 1))
    assert evaluate(model, loss, Batches(x, target, 1)) == pytest.approx(alone, rel=1e-6)
    nothing = Batches(x[:4], target[:4], 2)
    with pytest.raises(ValueError, match="train must have something to take the mean of"):
        fit(model, loss, nothing, progress=False)


@pytest.mark.parametrize("size", [15, 0])
def test_a_mask_of_nothing_counts_nothing(size):
    """But the state goes through it."""

    class Own:
        carries_state = True

        def __len__(self):
            return 3

        def epoch(self, rng=None):
            for k in range(3):
                x = np.random.default_rng(k).normal(size=(5, 3, 3)).astype(np.float32)
                targets = {"target": np.zeros((5, 3), int), "mask": np.full((5, 3), k != 1)}
                yield Batch({"x": x}, targets, size if k == 1 else 15)

    model = tagger(False)
    batches = list(Own().epoch())
    y, _ = model(np.concatenate([batch.inputs["x"] for batch in batches]))
    mask = np.concatenate([batch.targets["mask"] for batch in batches])
    expected = softmax_cross_entropy(y, np.zeros((15, 3), int), mask)[0]
    assert evaluate(model, softmax_cross_entropy, Own()) == pytest.approx(expected, rel=1e-6)
    still = SGD(model.flat, 0.0)
    (epoch,) = fit(model, softmax_cross_entropy, Own(), Own(), optimiser=still, epochs=1, progress=False).epochs
    assert (epoch.loss, epoch.validation) == pytest.approx((expected, expected), rel=1e-6)


@pytest.mark.parametrize("batch_first", LAYOUTS)
def test_targets_of_one_number_for_each_step(batch_first):
    """An array of (T, B) has steps as one of (T, B, features) has."""
    model = Sequential(LSTM(1, 4, seed=0), Dense(4, 1, seed=0), batch_first=batch_first)
    x = [np.zeros((9, 1), np.float32) for _ in range(6)]
    targets = [np.zeros(9, np.float32) for _ in x]
    targets[4][7] = np.nan

    def loss(y, target):
        value, dy = mse(y[..., 0].copy(), target)
        return value, dy[..., np.newaxis]

    with pytest.warns(RuntimeWarning, match=r"target has values that are not finite \(train: sequence 4, step 7\)"):
        fit(model, loss, Batches(x, targets, 2), epochs=1, progress=False)


def test_targets_of_a_sequence_have_no_steps():
    model = Sequential(LSTM(1, 4, seed=0), Last(), Dense(4, 6, seed=0))
    x, targets = [np.zeros((9, 1), np.float32) for _ in range(5)], np.zeros((5, 2, 3), np.float32)
    targets[3, 1] = np.nan

    def loss(y, target):
        value, dy = mse(y.reshape(-1, 2, 3), target)
        return value, dy.reshape(y.shape)

    with pytest.warns(RuntimeWarning, match=r"target has values that are not finite \(train: sequence 3\)"):
        fit(model, loss, Batches(x, targets, 2, per_step=False), epochs=1, progress=False)
