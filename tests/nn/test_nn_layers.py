"""Layers of fastlstm.nn: gradients against finite differences, PyTorch as an oracle, copies, clear errors."""

import copy
import math
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import DTYPES
from differences import central_difference

import fastlstm
from fastlstm import LSTM
from fastlstm.nn import Dense, Dropout, Embedding, Sequential

SHAPES = [(3,), (5, 3), (4, 2, 3), (0, 3)]
ACTIVATIONS = ["identity", "tanh", "logistic", "relu"]
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)


# ---- Dense ----


def activated(activation, o):
    return {"tanh": np.tanh(o), "logistic": 1 / (1 + np.exp(-o)), "relu": np.maximum(o, 0)}.get(activation, o)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_dense_gradients(shape, activation):
    rng = np.random.default_rng(0)
    dense = Dense(3, 2, activation=activation, dtype=np.float64, seed=0)
    h, dy = rng.normal(size=shape), rng.normal(size=(*shape[:-1], 2))
    y, tape = dense.forward(h)
    np.testing.assert_array_equal(y, dense(h))
    o = h @ dense.params["V"].T + dense.params["c"]
    assert np.all(np.abs(o) > 1e-4)  # no kink within the finite differences
    np.testing.assert_allclose(y, activated(activation, o), atol=1e-14)
    grads = dense.backward(tape, dy)

    def loss():
        return float((dense(h) * dy).sum())

    np.testing.assert_allclose(grads.x, central_difference(loss, h), atol=1e-8)
    np.testing.assert_allclose(grads.flat, central_difference(loss, dense.flat), atol=1e-8)
    assert grads.state is None


@both_dtypes
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("outputs", [1, 3, 15, 17, 33])
def test_dense_activations_of_each_instruction_set(activation, outputs, dtype, isa):
    torch = pytest.importorskip("torch")
    dense, rng = Dense(5, outputs, activation=activation, dtype=dtype, seed=0), np.random.default_rng(0)
    h, dy = rng.normal(size=(3, 5)).astype(dtype), rng.normal(size=(3, outputs)).astype(dtype)
    y, tape = dense.forward(h)
    grads = dense.backward(tape, dy)
    leaves = [torch.tensor(array, requires_grad=True) for array in (h, *dense.params.values())]
    o = torch.nn.functional.linear(*leaves)
    theirs = {"tanh": torch.tanh, "logistic": torch.sigmoid, "relu": torch.relu}.get(activation, torch.clone)(o)
    theirs.backward(torch.tensor(dy))
    tolerance = {"rtol": 0, "atol": 20 * np.finfo(dtype).eps}
    np.testing.assert_allclose(y, theirs.detach().numpy(), **tolerance)
    for found, leaf in zip((grads.x, *grads.params.values()), leaves, strict=True):
        np.testing.assert_allclose(found, leaf.grad.numpy(), **tolerance)


def test_dense_gradients_are_views_and_accumulate():
    dense = Dense(3, 2, seed=0)
    h = np.ones((4, 3), np.float32)
    y, tape = dense.forward(h)
    grads = dense.backward(tape, np.ones_like(y))
    assert list(grads.params) == ["V", "c"]
    assert all(np.shares_memory(part, grads.flat) for part in grads.params.values())
    once = grads.flat.copy()
    assert dense.backward(tape, np.ones_like(y), out=grads, accumulate=True).flat is grads.flat
    np.testing.assert_array_equal(grads.flat, 2 * once)
    grads.flat[:] = np.nan
    np.testing.assert_array_equal(dense.backward(tape, np.ones_like(y), out=grads).flat, once)


def test_dense_reads_any_strides_and_read_only_input():
    dense = Dense(3, 2, seed=0)
    h = np.arange(24, dtype=np.float32).reshape(3, 8).T
    h.setflags(write=False)
    np.testing.assert_array_equal(dense(h), dense(h.copy(order="C")))


def test_dense_copies_keep_their_views():
    dense = Dense(3, 2, seed=0)
    twin = copy.deepcopy(dense)
    twin.flat[:] = 0
    assert not twin.params["V"].any()
    assert dense.params["V"].any()
    assert repr(twin) == "Dense(3, 2, dtype=float32)"
    assert repr(Dense(3, 2, activation="relu")) == "Dense(3, 2, activation='relu', dtype=float32)"


def test_dense_initial_weights():
    dense = Dense(100, 50, seed=1)
    assert np.abs(dense.flat).max() <= 0.1
    assert dense.flat.std() == pytest.approx(0.1 / math.sqrt(3), rel=0.05)
    np.testing.assert_array_equal(dense.flat, Dense(100, 50, seed=np.random.default_rng(1)).flat)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda d, tape: Dense(0, 2), ValueError, "input_size must be at least 1"),
        (lambda d, tape: Dense(3, 2.0), TypeError, "output_size must be an int"),
        (lambda d, tape: Dense(3, 2, dtype=np.float16), TypeError, "float32 or float64"),
        (
            lambda d, tape: Dense(3, 2, activation="gelu"),
            ValueError,
            "activation must be one of .*'gelu'",
        ),
        (lambda d, tape: d([1.0, 2.0, 3.0]), TypeError, "h must be a NumPy array"),
        (lambda d, tape: d(np.ones(3)), TypeError, "h must have dtype float32, not float64"),
        (
            lambda d, tape: d(np.ones((2, 4), np.float32)),
            ValueError,
            r"h must have shape \(..., input_size\) = \(2, 3\)",
        ),
        (lambda d, tape: d(np.ones((), np.float32)), ValueError, "h must have shape"),
        (lambda d, tape: d.backward(np.ones(3), np.ones(2)), TypeError, "tape must be a DenseTape"),
        (lambda d, tape: d.backward(tape, np.ones((5, 3), np.float32)), ValueError, "dy must have shape"),
        (lambda d, tape: d.backward(tape, np.ones((5, 2), np.float32), accumulate=True), ValueError, "needs out"),
        (lambda d, tape: d.backward(tape, np.ones((5, 2), np.float32), out=3), TypeError, "out must be Gradients"),
    ],
)
def test_dense_errors(call, error, message):
    dense = Dense(3, 2, seed=0)
    _, tape = dense.forward(np.ones((5, 3), np.float32))
    with pytest.raises(error, match=message):
        call(dense, tape)


def test_dense_refuses_to_write_over_its_weights():
    dense = Dense(3, 2, seed=0)
    y, tape = dense.forward(np.ones((5, 3), np.float32))
    grads = dense.backward(tape, y)
    grads.flat = dense.flat
    with pytest.raises(ValueError, match=r"out\.flat must not overlap"):
        dense.backward(tape, y, out=grads)


# ---- Embedding ----


@pytest.mark.parametrize("shape", [(), (4,), (3, 2), (2, 3, 2), (0, 2)])
def test_embedding_gradients(shape):
    embedding, rng = Embedding(5, 3, dtype=np.float64, seed=0), np.random.default_rng(1)
    ids, dx = rng.integers(0, 5, shape), rng.normal(size=(*shape, 3))
    x, tape = embedding.forward(ids)
    np.testing.assert_array_equal(x, embedding.params["E"][ids])
    np.testing.assert_array_equal(x, embedding(ids))
    grads = embedding.backward(tape, dx)
    numeric = central_difference(lambda: float((embedding(ids) * dx).sum()), embedding.flat)
    np.testing.assert_allclose(grads.flat, numeric, atol=1e-8)
    assert grads.x is None
    assert grads.state is None


@both_dtypes
@pytest.mark.parametrize("n", [1, 3, 7, 15, 16, 17, 33, 65])
def test_embedding_adds_rows_in_order(n, dtype, isa):
    """So that the sums are the same bit by bit, whatever the instruction set: those of NumPy's plain loop."""
    embedding, rng = Embedding(4, n, dtype=dtype, seed=0), np.random.default_rng(0)
    ids, dx = rng.integers(0, 4, (6, 5)), rng.normal(size=(6, 5, n)).astype(dtype)
    grads = embedding.backward(embedding.forward(ids)[1], dx)
    expected = np.zeros((4, n), dtype)
    np.add.at(expected, ids, dx)
    assert grads.params["E"].tobytes() == expected.tobytes()


def test_embedding_is_the_same_with_any_number_of_threads(default_threads):
    embedding, rng = Embedding(50, 100, seed=0), np.random.default_rng(0)
    ids, dx = rng.integers(0, 50, 50_000), rng.normal(size=(50_000, 100)).astype(np.float32)
    tape, found = embedding.forward(ids)[1], []
    for threads in (1, 2, 3, 16):
        fastlstm.set_num_threads(threads)
        found.append(embedding.backward(tape, dx).flat.tobytes())
    assert len(set(found)) == 1


@both_dtypes
def test_embedding_is_pytorchs(dtype):
    torch = pytest.importorskip("torch")
    embedding, rng = Embedding(7, 4, dtype=dtype, seed=0), np.random.default_rng(0)
    ids, dx = rng.integers(0, 7, (5, 3)), rng.normal(size=(5, 3, 4)).astype(dtype)
    x, tape = embedding.forward(ids)
    leaf = torch.tensor(embedding.params["E"], requires_grad=True)
    theirs = torch.nn.functional.embedding(torch.tensor(ids), leaf)
    theirs.backward(torch.tensor(dx))
    np.testing.assert_array_equal(x, theirs.detach().numpy())
    np.testing.assert_allclose(embedding.backward(tape, dx).params["E"], leaf.grad.numpy(), rtol=1e-6)


@pytest.mark.parametrize("integer", [np.int8, np.uint8, np.int16, np.uint32, np.int64, np.uint64])
def test_embedding_takes_any_integers_and_keeps_a_copy(integer):
    embedding = Embedding(5, 3, seed=0)
    ids = np.arange(8, dtype=integer).reshape(2, 4).T % 5
    x, tape = embedding.forward(ids)
    np.testing.assert_array_equal(x, embedding.params["E"][ids])
    expected = embedding.backward(tape, x).flat
    ids[:] = 4
    np.testing.assert_array_equal(embedding.backward(tape, x).flat, expected)


def test_embedding_gradients_accumulate_and_are_written_again():
    embedding = Embedding(5, 3, seed=0)
    x, tape = embedding.forward(np.array([1, 1, 4]))
    grads = embedding.backward(tape, np.ones_like(x))
    assert np.shares_memory(grads.params["E"], grads.flat)
    once = grads.flat.copy()
    assert embedding.backward(tape, np.ones_like(x), out=grads, accumulate=True) is grads
    np.testing.assert_array_equal(grads.flat, 2 * once)
    grads.flat[:] = np.nan
    np.testing.assert_array_equal(embedding.backward(tape, np.ones_like(x), out=grads).flat, once)


def test_embedding_copies_and_initial_rows():
    embedding = Embedding(100, 25, seed=1)
    assert np.abs(embedding.flat).max() <= 0.2
    assert embedding.flat.std() == pytest.approx(0.2 / math.sqrt(3), rel=0.05)
    twin = pickle.loads(pickle.dumps(embedding))
    np.testing.assert_array_equal(twin.flat, embedding.flat)
    twin.flat[:] = 0
    assert not twin(np.array([3])).any()
    assert repr(twin) == "Embedding(100, 25, dtype=float32)"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda e, tape: Embedding(0, 2), ValueError, "vocabulary_size must be at least 1"),
        (lambda e, tape: Embedding(3, 2.0), TypeError, "output_size must be an int"),
        (lambda e, tape: Embedding(3, 2, dtype=int), TypeError, "float32 or float64"),
        (lambda e, tape: e([1, 2]), TypeError, "ids must be a NumPy array"),
        (lambda e, tape: e(np.ones(3)), TypeError, "ids must have an integer dtype, not float64"),
        (lambda e, tape: e(np.ones(3, bool)), TypeError, "ids must have an integer dtype, not bool"),
        (lambda e, tape: e(np.array([0, 5])), ValueError, "ids must be from 0 to 4, not 0 to 5"),
        (lambda e, tape: e(np.array([-1, 2])), ValueError, "ids must be from 0 to 4, not -1 to 2"),
        (lambda e, tape: e(np.array([2**64 - 1], np.uint64)), ValueError, "ids must be from 0 to 4"),
        (lambda e, tape: e.backward(np.ones(3), np.ones(2)), TypeError, "tape must be an EmbeddingTape"),
        (lambda e, tape: e.backward(tape, np.ones((2, 3))), TypeError, "dx must have dtype float32"),
        (lambda e, tape: e.backward(tape, np.ones((3, 3), np.float32)), ValueError, "dx must have shape"),
        (lambda e, tape: e.backward(tape, np.ones((2, 3), np.float32), accumulate=True), ValueError, "needs out"),
        (
            lambda e, tape: e.backward(type(tape)(np.array([0, 5])), np.ones((2, 3), np.float32)),
            ValueError,
            "tape.ids must be from 0 to 4, not 0 to 5",
        ),
    ],
)
def test_embedding_errors(call, error, message):
    embedding = Embedding(5, 3, seed=0)
    _, tape = embedding.forward(np.array([1, 2]))
    with pytest.raises(error, match=message):
        call(embedding, tape)


# ---- Dropout ----


@both_dtypes
def test_dropout_draws_as_the_lstm_does(dtype):
    x = np.random.default_rng(0).normal(size=(50, 40)).astype(dtype)
    y, tape = Dropout(0.3).forward(x, rng=np.random.default_rng(1))
    kept = np.random.default_rng(1).random((50, 40), np.float32) >= 0.3
    np.testing.assert_allclose(y, np.where(kept, x / 0.7, 0), rtol=1e-6)
    assert y.dtype == tape.mask.dtype == dtype
    between = LSTM(40, 40, num_layers=2, dropout=0.3, dtype=dtype).draw_masks(50, 1, np.random.default_rng(1)).between
    np.testing.assert_array_equal(between[0].reshape(50, 40), tape.mask)


def test_dropout_gradients_and_identity():
    dropout, rng = Dropout(0.4), np.random.default_rng(0)
    x, dy = rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
    _, tape = dropout.forward(x, rng=np.random.default_rng(3))
    grads = dropout.backward(tape, dy)
    numeric = central_difference(lambda: float((dropout.forward(x, rng=np.random.default_rng(3))[0] * dy).sum()), x)
    np.testing.assert_allclose(grads.x, numeric, atol=1e-8)
    assert 0 < np.count_nonzero(grads.x) < 20
    assert grads.flat.size == dropout.flat.size == len(grads.params) == len(dropout.params) == 0
    assert grads.state is None
    assert dropout(x) is x
    nothing = Dropout(0).forward(x, rng=rng)[0]
    np.testing.assert_array_equal(nothing, x)
    assert not np.shares_memory(nothing, x)
    assert dropout.backward(tape, dy, out=grads, accumulate=True) is grads
    assert repr(copy.deepcopy(dropout)) == "Dropout(0.4)"
    assert dropout.needs == ("rng",)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda d, tape: Dropout(1), ValueError, "rate must be a number from 0 to less than 1"),
        (lambda d, tape: Dropout(-0.1), ValueError, "rate must be"),
        (lambda d, tape: Dropout("a"), TypeError, "rate must be a number, not str"),
        (lambda d, tape: d([1.0]), TypeError, "x must be a NumPy array"),
        (lambda d, tape: d.forward(np.ones(3, int), rng=np.random.default_rng(0)), TypeError, "x must have dtype"),
        (lambda d, tape: d.forward(np.ones(3), rng=None), TypeError, "rng must be a numpy.random.Generator, not NoneT"),
        (lambda d, tape: d.backward(3, np.ones(3)), TypeError, "tape must be a DropoutTape"),
        (lambda d, tape: d.backward(tape, np.ones(4)), ValueError, "dy must have shape"),
        (lambda d, tape: d.backward(tape, np.ones(3, np.float32)), TypeError, "dy must have dtype float64"),
    ],
)
def test_dropout_errors(call, error, message):
    dropout = Dropout(0.5)
    _, tape = dropout.forward(np.ones(3), rng=np.random.default_rng(0))
    with pytest.raises(error, match=message):
        call(dropout, tape)


# ---- in a network ----


def test_gradients_of_a_network_of_all():
    rng = np.random.default_rng(0)
    network = Sequential(
        Embedding(6, 3, dtype=np.float64, seed=rng),
        Dropout(0.3),
        LSTM(3, 4, dtype=np.float64, seed=rng),
        Dropout(0.3),
        Dense(4, 2, activation="tanh", dtype=np.float64, seed=rng),
    )
    ids, dy = rng.integers(0, 6, (5, 3)), rng.normal(size=(5, 3, 2))

    def run():
        y, _, tape = network.forward(ids, rng=np.random.default_rng(7))
        return y, tape

    grads = network.backward(run()[1], dy)
    numeric = central_difference(lambda: float((run()[0] * dy).sum()), network.flat)
    np.testing.assert_allclose(grads.flat, numeric, atol=1e-8)
    assert grads.x is None
    assert not np.array_equal(network(ids)[0], run()[0])


# ---- gradients of a large table ----


def used_rows(V, ids):
    expected = np.zeros((V, 3), np.float32)
    np.add.at(expected, ids, np.float32(1))
    return expected


def test_embedding_gradients_are_right_whatever_was_written_to_them_before():
    embedding, ids = Embedding(5, 3, seed=0), np.array([[1, 1], [4, 0]])
    x, tape = embedding.forward(ids)
    grads = embedding.backward(tape, np.ones_like(x))
    np.testing.assert_array_equal(grads.params["E"], used_rows(5, ids))
    grads.flat[:] = 7
    embedding.backward(tape, np.ones_like(x), out=grads)
    np.testing.assert_array_equal(grads.params["E"], used_rows(5, ids))
    embedding.backward(tape, np.ones_like(x), out=grads, accumulate=True)
    np.testing.assert_array_equal(grads.params["E"], 2 * used_rows(5, ids))
    grads.flat = np.full(15, 7, np.float32)
    embedding.backward(tape, np.ones_like(x), out=grads)
    np.testing.assert_array_equal(grads.flat.reshape(5, 3), used_rows(5, ids))


@pytest.mark.parametrize("nested", [False, True])
def test_a_networks_embedding_gradients_are_right_whatever_was_written_to_them_before(nested):
    inner = Sequential(Embedding(5, 3, seed=0), Dense(3, 2, seed=1))
    net, ids = Sequential(inner, Dense(2, 1, seed=2)) if nested else inner, np.array([[1, 1], [4, 0]])
    y, _, tape = net.forward(ids)
    first = net.backward(tape, np.ones_like(y)).flat
    grads = net.backward(tape, np.ones_like(y))
    for write in (lambda: grads.flat.fill(7), lambda: setattr(grads, "flat", np.full_like(first, 7))):
        write()
        assert net.backward(tape, np.ones_like(y), out=grads) is grads
        np.testing.assert_array_equal(grads.flat, first)
    again = copy.deepcopy(grads)
    again.flat[:] = 7
    np.testing.assert_array_equal(net.backward(tape, np.ones_like(y), out=again).flat, first)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux how much memory is in use")
@pytest.mark.parametrize("network", [False, True])
def test_new_embedding_gradients_take_memory_for_the_rows_used_alone(network):
    def in_use():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    embedding, ids = Embedding(200_000, 64, seed=0), np.arange(100).reshape(10, 10)
    net = Sequential(embedding, Dense(64, 1, seed=0)) if network else embedding
    y, *_, tape = net.forward(ids)
    before = in_use()
    grads = net.backward(tape, np.ones_like(y))
    assert in_use() - before < grads.flat.nbytes / 5
    assert np.count_nonzero(grads.flat[: 200_000 * 64]) == 100 * 64
