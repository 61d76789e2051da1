"""Residual connections and parallel branches: gradients, states, lengths, frozen parts, training, files, misuse."""

import copy
import pickle

import numpy as np
import pytest
from differences import central_difference

import fastlstm
from fastlstm import LSTM, RNN, nn

F = np.float64
LENGTHS = [5, 3, 1, 0]


def dense(*sizes, seed=0, **named):
    return nn.Dense(*sizes, dtype=F, seed=seed, **named)


def lstm(*sizes, seed=0, **named):
    return LSTM(*sizes, dtype=F, seed=seed, **named)


NETWORKS = {
    "residual": lambda: nn.Sequential(nn.Residual(dense(3, 4, activation="tanh"), dense(4, 3, seed=1))),
    "residual LSTM": lambda: nn.Sequential(nn.Residual(lstm(3, 3, num_layers=2)), nn.Last(), dense(3, 2)),
    "two directions": lambda: nn.Sequential(
        lstm(3, 2, bidirectional=True),
        nn.Residual(nn.LayerNorm(4, dtype=F), lstm(4, 2, bidirectional=True, seed=1)),
        nn.Last(),
    ),
    "nested": lambda: nn.Residual(nn.Residual(dense(3, 3)), RNN(3, 3, dtype=F, seed=1)),
    "concat": lambda: nn.Branches(lstm(3, 2), nn.Identity(), nn.Sequential(dense(3, 2), RNN(2, 4, dtype=F, seed=1))),
    "sum": lambda: nn.Branches(lstm(3, 3), nn.Identity(), nn.LayerNorm(3, dtype=F), join="sum"),
    "pooled": lambda: nn.Sequential(
        lstm(3, 2, bidirectional=True), nn.Branches(nn.Last(), nn.Mean()), nn.Residual(dense(8, 8)), dense(8, 2)
    ),
    "one": lambda: nn.Branches(dense(3, 2)),
    "all": lambda: nn.Sequential(
        nn.Branches(nn.Residual(RNN(3, 3, dtype=F, seed=2)), nn.Branches(lstm(3, 2), dense(3, 2), join="sum")),
        dense(5, 2),
    ),
}


def arrays(state):
    """All arrays of a state or of its gradient."""
    return [state] if isinstance(state, np.ndarray) else [array for part in state for array in arrays(part)]


def like(state, rng):
    return rng.normal(size=state.shape) if isinstance(state, np.ndarray) else tuple(like(part, rng) for part in state)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("kind", NETWORKS)
def test_gradients(kind, lengths):
    net, rng = NETWORKS[kind](), np.random.default_rng(1)
    x = rng.normal(size=(5, 4, 3))
    state = like(net(x)[1], rng)
    y, last, tape = net.forward(x, state, lengths)
    np.testing.assert_array_equal(net(x, state, lengths)[0], y)
    dy, dlast = rng.normal(size=y.shape), like(last, rng)

    def loss():
        y, last = net(x, state, lengths)
        return float((y * dy).sum() + sum((a * b).sum() for a, b in zip(arrays(last), arrays(dlast), strict=True)))

    grads = net.backward(tape, dy, dlast)
    within = np.ones((5, 4), bool) if lengths is None else np.arange(5)[:, None] < lengths
    np.testing.assert_allclose(grads.x[within], central_difference(loss, x)[within], atol=1e-7)
    np.testing.assert_allclose(grads.flat, central_difference(loss, net.flat), atol=1e-7)
    for found, given in zip(arrays(grads.state), arrays(state), strict=True):
        np.testing.assert_allclose(found, central_difference(loss, given), atol=1e-7)
    once = grads.flat.copy(), grads.x.copy()
    assert net.backward(tape, dy, dlast, out=grads, accumulate=True) is grads
    np.testing.assert_allclose(grads.flat, 2 * once[0], rtol=1e-12)
    grads.flat[:] = np.nan
    net.backward(tape, dy, dlast, out=grads)
    np.testing.assert_array_equal(grads.flat, once[0])
    np.testing.assert_array_equal(grads.x, once[1])


def test_values():
    x = np.random.default_rng(0).normal(size=(5, 4, 3))
    one, two = lstm(3, 3), dense(3, 3, seed=1)
    expected = one(x)[0], two(x)
    np.testing.assert_array_equal(nn.Residual(copy.copy(one))(x)[0], x + expected[0])
    np.testing.assert_array_equal(nn.Residual(one, two)(x)[0], x + two(expected[0]))
    one, two = lstm(3, 3), dense(3, 3, seed=1)
    np.testing.assert_array_equal(nn.Branches(one, two)(x)[0], np.concatenate(expected, axis=2))
    one, two = lstm(3, 3), dense(3, 3, seed=1)
    np.testing.assert_array_equal(nn.Branches(one, two, join="sum")(x)[0], expected[0] + expected[1])
    x32 = x.astype(np.float32)
    y = nn.Residual(nn.Dropout(0.5)).forward(x32, rng=np.random.default_rng(0))[0]
    np.testing.assert_array_equal(y, x32 + nn.Dropout(0.5).forward(x32, rng=np.random.default_rng(0))[0])
    assert y.dtype == np.float32


def test_where_a_row_has_ended_a_residual_is_x():
    x = np.random.default_rng(0).normal(size=(5, 4, 3))
    y = nn.Residual(lstm(3, 3))(x, lengths=LENGTHS)[0]
    past = np.arange(5)[:, None] >= LENGTHS
    np.testing.assert_array_equal(y[past], x[past])


def test_last_above_a_residual_of_two_directions():
    net = nn.Sequential(lstm(3, 2, bidirectional=True), nn.Residual(dense(4, 4)), nn.Last())
    x, lengths = np.random.default_rng(0).normal(size=(5, 2, 3)), [5, 2]
    y = nn.Residual(copy.copy(net.layers[1].layers[0]))(net.layers[0](x, lengths=lengths)[0])[0]
    np.testing.assert_array_equal(net(x, lengths=lengths)[0], nn.Last()(y, lengths, directions=2))
    pooled = NETWORKS["pooled"]()
    y, _ = pooled.layers[0](x, lengths=lengths)
    expected = np.concatenate((nn.Last()(y, lengths, directions=2), nn.Mean()(y, lengths)), axis=1)
    context = {"state": None, "lengths": lengths, "directions": 2}
    np.testing.assert_array_equal(pooled.layers[1]._run(y, context, None)[0], expected)


def test_branches_of_ids():
    net = nn.Sequential(
        nn.Branches(nn.Embedding(6, 3, dtype=F, seed=0), nn.Embedding(6, 2, dtype=F, seed=1)),
        dense(5, 2),
        batch_first=True,
    )
    ids = np.random.default_rng(0).integers(0, 6, (4, 5))
    y, _, tape = net.forward(ids)
    grads = net.backward(tape, np.ones_like(y))
    assert grads.x is None
    numeric = central_difference(lambda: float(net(ids)[0].sum()), net.flat)
    np.testing.assert_allclose(grads.flat, numeric, atol=1e-8)


@pytest.mark.parametrize("batch_first", [False, True])
def test_layouts_and_predict(batch_first):
    net = nn.Sequential(NETWORKS["all"](), batch_first=batch_first)
    whole, x = NETWORKS["all"](), [np.random.default_rng(T).normal(size=(T, 3)) for T in (4, 6, 2)]
    for one, y in zip(x, net.predict(x, batch_size=2), strict=True):
        np.testing.assert_allclose(y, whole(one[:, np.newaxis])[0][:, 0], atol=1e-13)
    residual = nn.Residual(lstm(3, 3), batch_first=batch_first)
    for one, y in zip(x, residual.predict(x), strict=True):
        np.testing.assert_allclose(y, one + lstm(3, 3)(one[:, np.newaxis])[0][:, 0], atol=1e-13)


@pytest.mark.parametrize("kind", NETWORKS)
def test_states_go_on_from_chunk_to_chunk(kind):
    net, x = NETWORKS[kind](), np.random.default_rng(0).normal(size=(6, 4, 3))
    if kind in ("two directions", "pooled"):
        with pytest.raises(ValueError, match=r"layers\[0\] is bidirectional"):
            nn.fit(net, nn.mse, nn.Chunks(x[:, 0], x[:, 0, :2], 1, 2), epochs=1, progress=False)
        return
    whole, last = net(x)
    first, state = net(x[:2])
    rest, again = net(x[2:], state)
    if whole.ndim == 3:
        np.testing.assert_allclose(np.concatenate((first, rest)), whole, atol=1e-13)
    for one, other in zip(arrays(again), arrays(last), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-13)


def test_a_bidirectional_branch_cannot_carry_a_state():
    net = nn.Sequential(nn.Branches(dense(3, 2), lstm(3, 2, bidirectional=True)), dense(6, 2))
    x = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(ValueError, match=r"model.layers\[0\].branches\[1\] is bidirectional"):
        nn.fit(net, nn.mse, nn.Chunks(x, x[:, :2], 2, 3), epochs=1, progress=False)


@pytest.mark.parametrize("frozen", ["0", "1", "0.0", "0.1.0", "0.1.1", "0.0 0.1.0", "0.1", "0 1"])
def test_frozen_parts(frozen):
    net, x = NETWORKS["all"](), np.random.default_rng(0).normal(size=(5, 4, 3))
    y, _, tape = net.forward(x)
    expected = net.backward(tape, y)
    for name in frozen.split():
        part = net
        for own in name.split("."):
            part = part._parts()[own]
        part.trainable = False
    grads = net.backward(tape, y)
    trained = np.zeros(net.flat.size, bool)
    for start, end in net._trained():
        trained[start:end] = True
    np.testing.assert_array_equal(grads.flat, np.where(trained, expected.flat, 0))
    grads.flat[:] = np.nan
    np.testing.assert_array_equal(net.backward(tape, y, out=grads).flat, np.where(trained, expected.flat, 0))
    if frozen in ("1", "0 1"):
        np.testing.assert_array_equal(grads.x, expected.x)
    else:
        assert grads.x is None
    below = nn.Sequential(dense(3, 3, seed=9), net)
    z, _, tape = below.forward(x)
    found = below.backward(tape, z).flat[:12].copy()
    net.trainable = True
    np.testing.assert_array_equal(found, below.backward(tape, z).flat[:12])


def test_training_files_and_copies(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 6, 3))
    net = nn.Sequential(NETWORKS["all"](), nn.Residual(nn.LayerNorm(2, dtype=F), lstm(2, 2)), nn.Last())
    twin = copy.deepcopy(net)
    data = nn.Batches(x, x.mean(axis=1)[:, :2], 8)
    given = {"clip": 1.0, "progress": False}
    history = nn.fit(net, nn.mse, data, epochs=6, optimiser=nn.Adam(net, 0.01), **given)
    assert history.epochs[-1].loss < history.epochs[0].loss / 2
    given |= {"optimiser": nn.Adam(twin, 0.01), "checkpoint": tmp_path / "there"}
    nn.fit(twin, nn.mse, data, epochs=3, **given)
    nn.fit(twin, nn.mse, data, epochs=6, resume=True, **given)
    assert twin.flat.tobytes() == net.flat.tobytes()
    fastlstm.save(net, tmp_path / "net")
    for again in (fastlstm.load(tmp_path / "net"), copy.copy(net), pickle.loads(pickle.dumps(net))):
        assert repr(again) == repr(net)
        np.testing.assert_array_equal(again.predict(list(x)), net.predict(list(x)))


x32 = np.ones((5, 2, 3), np.float32)


class Halved(nn.Layer):
    """A layer that says nothing of its sizes."""

    def output_for(self, below):
        return nn.Signal()

    def compute(self, x):
        return x[..., ::2].copy(), None


Halved.gradients = Halved.compute


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Residual(), ValueError, "layers must be at least one"),
        (lambda: nn.Residual(3), TypeError, r"layers\[0\] must be an LSTM"),
        (lambda: nn.Residual(dense(3, 4)), ValueError, "Residual must give as many values as it takes, 3, not 4"),
        (
            lambda: nn.Sequential(dense(3, 4), nn.Residual(nn.Dropout(0.1), nn.LayerNorm(3))),
            ValueError,
            r"layers\[1\] must have input_size 4",
        ),
        (
            lambda: nn.Sequential(dense(3, 4), nn.Residual(lstm(4, 4, bidirectional=True))),
            ValueError,
            "Residual must give as many values as it takes, 4, not 8",
        ),
        (lambda: nn.Residual(lstm(3, 3), nn.Last()), ValueError, "must give sequences where it takes them"),
        (lambda: nn.Residual(nn.Embedding(4, 3)), ValueError, "must not begin with a layer of ids"),
        (
            lambda: nn.Residual(Halved())(x32),
            ValueError,
            r"must give an array of the shape of x, \(5, 2, 3\), not \(5, 2, 2",
        ),
        (lambda: nn.Residual(lstm(3, 3))([1.0]), TypeError, "x must be a NumPy array in a Residual, not list"),
        (
            lambda: nn.Residual(LSTM(3, 3, seed=0))(fastlstm.PackedSequence(x32[:, 0], [1] * 5)),
            TypeError,
            "x must be a NumPy array in a Residual, not PackedSequence",
        ),
        (lambda: nn.Branches(), ValueError, "branches must be at least one"),
        (lambda: nn.Branches(dense(3, 3), 3), TypeError, r"branches\[1\] must be an LSTM"),
        (lambda: nn.Branches(dense(3, 3), join="mean"), ValueError, "join must be one of concat, sum, not 'mean'"),
        (lambda: nn.Branches(lstm(3, 3, batch_first=True)), ValueError, r"branches\[0\] must not have batch_first"),
        (lambda: nn.Branches(dense(3, 3), nn.Dense(3, 3)), TypeError, "all layers must have the same dtype"),
        (lambda: nn.Branches(dense(3, 3), dense(4, 3)), ValueError, r"branches\[1\] must have input_size 3"),
        (lambda: nn.Branches(dense(3, 3), nn.Embedding(4, 3)), ValueError, r"branches\[1\] must be the first"),
        (lambda: nn.Branches(nn.Embedding(4, 3), dense(3, 3)), ValueError, r"branches\[1\] must take what the others"),
        (lambda: nn.Branches(dense(3, 3), dense(3, 2), join="sum"), ValueError, r"as many values each .* not \[2, 3\]"),
        (lambda: nn.Branches(lstm(3, 3), nn.Last()), ValueError, "branches must all give sequences, or all vectors"),
        (lambda: nn.Branches(nn.Identity(), nn.Mean()), ValueError, "branches must all give sequences, or all vectors"),
        (
            lambda: nn.Sequential(lstm(3, 4), nn.Branches(dense(3, 3), nn.Identity())),
            ValueError,
            r"layers\[1\].branches\[0\] must have input_size 4",
        ),
        (
            lambda: nn.Branches(nn.Identity(), Halved(), join="sum")(x32),
            ValueError,
            r"branches\[1\] must have the shape of the first, \(5, 2, 3\), not \(5, 2, 2\)",
        ),
        (lambda: nn.Branches(nn.Identity())(x32, state=3), TypeError, "state must be a tuple with an item for each of"),
        (
            lambda: nn.Branches(nn.Identity()).backward(3, x32),
            TypeError,
            "tape must be a BranchesTape from forward, not int",
        ),
        (
            lambda: nn.Branches(nn.Identity()).backward(nn.Branches(nn.Identity(), Halved()).forward(x32)[2], x32),
            ValueError,
            "tape must be of 1 branches, not 2",
        ),
        (
            lambda: nn.Branches(nn.Identity(), nn.Identity()).backward(
                nn.Branches(nn.Identity(), nn.Identity()).forward(x32)[2], x32
            ),
            ValueError,
            r"dy must have shape \(..., 6\), not \(5, 2, 3\)",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_frozen_branch_is_not_run_where_nothing_below_needs_it(monkeypatch):
    ran = []
    original = LSTM.backward
    monkeypatch.setattr(LSTM, "backward", lambda self, *args, **named: ran.append(1) or original(self, *args, **named))
    branches = nn.Branches(lstm(3, 2), dense(3, 2))
    branches.branches[0].trainable = False
    x = np.random.default_rng(0).normal(size=(5, 4, 3))
    for below, expected in (((), []), ((nn.Dropout(0.0),), []), ((dense(3, 3),), [1])):
        net = nn.Sequential(*below, copy.copy(branches))
        y, _, tape = net.forward(x, rng=np.random.default_rng(0))
        ran.clear()
        net.backward(tape, y)
        assert ran == expected
