"""Values that are no arrays: taken if they have one meaning, else refused with the line that converts them."""

import numpy as np
import pytest

from fastlstm import GRU, LSTM, RNN, nn
from fastlstm.nn import Batches, Chunks, Dense, Dropout, Embedding, Last, Pairs, Sequential, Transcripts, fit, mse


class Frame:
    """A data frame or series, as far as others look at it: pandas's and polars's have this method, and iterate so."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def to_numpy(self):
        return self.values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        return iter(self.values)


class Tensor:
    """A value of which NumPy can make an array, such as a tensor of PyTorch."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


T, B, I = 4, 2, 3
x = np.random.default_rng(0).normal(size=(T, B, I))
network = Sequential(LSTM(I, 2, seed=0), Dense(2, 1, seed=1))


def line_of(caught):
    """The line that a message gives."""
    return str(caught.value).split(": ", 1)[1].removesuffix(" makes one").removesuffix(" makes arrays")


TAKERS = {
    "lstm": (lambda x: LSTM(I, 2, seed=0)(x)[0], np.float32),
    "lstm of float64": (lambda x: LSTM(I, 2, dtype=np.float64, seed=0).forward(x)[0], np.float64),
    "gru": (lambda x: GRU(I, 2, seed=0)(x)[0], np.float32),
    "rnn": (lambda x: RNN(I, 2, seed=0)(x)[0], np.float32),
    "network": (lambda x: network(x)[0], np.float32),
    "batch first": (lambda x: Sequential(LSTM(I, 2, seed=0), batch_first=True)(x)[0], np.float32),
    "dense": (lambda h: Dense(I, 2, seed=0)(h), np.float32),
    "dropout": (lambda x: Dropout(0.5)(x), None),
    "last": (lambda y: Last()(y), None),
    "mse": (lambda target: mse(np.zeros((T, B, I), np.float32), target)[0], np.float32),
    "mse of float64": (lambda prediction: mse(prediction, np.zeros((T, B, I)))[0], None),
}


@pytest.mark.parametrize("name", TAKERS)
@pytest.mark.parametrize("made", [Frame, Tensor, lambda x: x.tolist(), lambda x: tuple(x), lambda x: iter(x)])
def test_the_line_that_converts(name, made):
    """The hint is given for values that are no arrays, and works."""
    call, dtype = TAKERS[name]
    expected = call(x if dtype is None else x.astype(dtype))
    argument = call.__code__.co_varnames[0]
    with pytest.raises(TypeError, match=f"{argument} must be a NumPy array, not ") as caught:
        call(made(x))
    converted = eval(line_of(caught), {"np": np, argument: made(x)})
    np.testing.assert_array_equal(call(converted), expected)


@pytest.mark.parametrize("made", [Frame, Tensor, lambda ids: ids.tolist(), lambda ids: iter(ids), lambda ids: range(3)])
def test_ids(made):
    ids, embedding = np.arange(3), Embedding(5, 2, seed=0)
    with pytest.raises(TypeError, match="ids must be a NumPy array") as caught:
        embedding(made(ids))
    np.testing.assert_array_equal(embedding(eval(line_of(caught), {"np": np, "ids": made(ids)})), embedding(ids))
    logits = np.zeros((3, 4))
    with pytest.raises(TypeError, match="target must be a NumPy array") as caught:
        nn.softmax_cross_entropy(logits, made(ids))
    nn.softmax_cross_entropy(logits, eval(line_of(caught), {"np": np, "target": made(ids)}))


def test_masks():
    with pytest.raises(TypeError, match="mask must be a NumPy array of bool") as caught:
        mse(np.zeros(2), np.zeros(2), [True, False])
    assert line_of(caught) == "np.asarray(mask, np.bool)"


@pytest.mark.parametrize("made", [Frame, Tensor, lambda one: one.tolist(), lambda one: tuple(one)])
def test_lists_of_what_is_no_array(made):
    sequences = [x[:n, 0] for n in (4, 2, 3)]
    inputs = [made(one) for one in sequences]
    for name, call in (
        ("inputs", lambda inputs: Batches(inputs, None, 2)),
        ("inputs", lambda inputs: network.predict(inputs)),
        ("sources", lambda sources: Pairs(sources, [np.array([1])] * 3, 2, begin=0, end=5)),
        ("sequences", nn.pad),
    ):
        with pytest.raises(TypeError, match=rf"{name}\[0\] must be an array with an axis for the steps") as caught:
            call(inputs)
        found = eval(line_of(caught), {"np": np, name: inputs})
        for one, expected in zip(found, sequences, strict=True):
            np.testing.assert_array_equal(one, expected)


def test_frames_and_generators_for_sequences():
    table = Frame(x[:, 0])
    with pytest.raises(
        TypeError, match=r"inputs must be a list of arrays, or an array, not Frame: inputs.to_numpy\(\)"
    ) as caught:
        Batches(table, None, 2)
    assert line_of(caught) == "inputs.to_numpy() makes one, [inputs.to_numpy()] one of a single sequence"
    with pytest.raises(TypeError, match=r"not list_iterator: list\(inputs\) makes one"):
        network.predict(iter([x[:, 0].astype(np.float32)]))
    for name, call in (
        ("sequence", lambda: Chunks(table, x[:, 0], 1, 2)),
        ("targets", lambda: Chunks(x[:, 0], table, 1, 2)),
    ):
        with pytest.raises(TypeError, match=rf"{name} must be an array .* not Frame: {name}.to_numpy\(\) makes one"):
            call()
    with pytest.raises(TypeError, match=r"train must be Batches, .* not Frame"):
        fit(network, mse, table, progress=False)


def test_lists_of_ints_are_classes():
    sequences = [x[:n, 0].astype(np.float32) for n in (4, 2, 3)]
    each = next(Batches(sequences, [2, 0, np.int32(1)], 3).epoch())
    assert each.targets["target"].tolist() == [0, 1, 2]
    assert each.targets["target"].dtype.kind == "i"
    steps = next(Batches(sequences, [[1, 2, 3, 4], (5, 6), [7, 8, 9]], 3).epoch())
    assert steps.targets["target"].T.tolist() == [[5, 6, 0, 0], [7, 8, 9, 0], [1, 2, 3, 4]]
    for wrong, message in (
        (
            [0.5, 1.0, 2.0],
            r"targets\[0\] must be .*, not float; one for each sequence is an array: np.array\(targets\)",
        ),
        ([True, False, True], r"targets\[0\] must be .*, not bool"),
        (
            [[1, 2, 3, 0.5], [1, 2], [1, 2, 3]],
            r"targets\[0\] must be .*, not list: \[np.asarray\(one\) for one in targets\]",
        ),
    ):
        with pytest.raises(TypeError, match=message):
            Batches(sequences, wrong, 3)


def test_lists_of_ints_are_symbols():
    sequences = [x[:n, 0].astype(np.float32) for n in (4, 2, 3)]
    given = [[1, 2], [], [2]]
    arrays = [np.array(one, np.int64) for one in given]
    for made in (
        lambda symbols: Transcripts(sequences, symbols, 3),
        lambda symbols: Pairs(sequences, symbols, 3, begin=0, end=5),
    ):
        (batch,), (expected,) = made(given).epoch(), made(arrays).epoch()
        for part, other in ((batch.inputs, expected.inputs), (batch.targets, expected.targets)):
            assert part.keys() == other.keys()
            for name in part:
                np.testing.assert_array_equal(part[name], other[name])
        with pytest.raises(TypeError, match=r"\[0\] must have an integer dtype, not float64"):
            made([np.ones(2), np.ones(2), np.ones(1)])
        with pytest.raises(TypeError, match=r"\[0\] must be an array .*, not list"):
            made([[1.0, 2.0], [], [2.0]])
