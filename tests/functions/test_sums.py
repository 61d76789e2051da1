"""Gradients that are sums over up to a million rows: as near to exact sums as those over a few."""

import numpy as np
import pytest
from c_interface import Layer, Plan, network
from cases import GRU_FORMS
from helpers import assert_close, assert_same, gru_arrays, lstm_arrays, rnn_arrays

import fastlstm
from fastlstm.reference.layer_norm_lstm import normalised, normalised_backward

I, H, P = 5, 9, 4
NEAR = 6e-7  # of the largest value: where PyTorch's sums over as many rows are
SIZES = {
    "many steps": (40_000, 20, False),
    "one sequence": (300_000, 1, False),
    "many sequences": (20, 40_000, False),
    "four steps": (4, 200_000, False),
    "lengths": (3_000, 300, True),
    "one of some length": (200_000, 1, True),
}


def normal(rng, *shape, scale=1.0):
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def exact(delta, seen):
    """delta^T seen over all rows, in double precision."""
    rows = [a.reshape(-1, a.shape[-1]) for a in (delta, seen)]
    return sum(a.astype(float).T @ b for a, b in zip(*(np.array_split(a, 100) for a in rows), strict=True))


def before(array):
    """Return the inputs of each step, beginning with zeros."""
    return np.concatenate([np.zeros_like(array[:1]), array[:-1]])


def lengths_of(rng, T, B, there):
    return {"lengths": rng.integers(T // 2, T + 1, B)} if there else {}


def lstm(T, B, ragged, outputs):
    """The arguments of both passes; sums of such deltas do not cancel."""
    rng = np.random.default_rng(0)
    weights = [
        normal(rng, 4 * H, I, scale=0.2), normal(rng, 4 * H, outputs, scale=0.1), np.full(4 * H, 0.5, np.float32),
        normal(rng, 3, H, scale=0.1),
    ]  # fmt: skip
    proj = (rng.random((P, H)) / H).astype(np.float32) if outputs < H else None
    dy = np.ones((T, B, outputs), np.float32)
    return abs(normal(rng, T, B, I)), weights, dy, {"proj": proj}, lengths_of(rng, T, B, ragged)


@pytest.mark.parametrize("outputs", [H, P], ids=["plain", "projection"])
@pytest.mark.parametrize("size", SIZES)
def test_lstm(size, outputs):
    T, B, ragged = SIZES[size]
    x, (W, R, b, p), dy, proj, lengths = lstm(T, B, ragged, outputs)
    y, _, tape = fastlstm.lstm_forward(x, W, R, b, p, tape=True, **proj, **lengths)
    grads = fastlstm.lstm_backward(tape, W, R, p, dy, deltas=True, **proj)
    d, c = grads.deltas, tape.cells()
    delta = np.concatenate([d.i, d.f, d.z, d.o], axis=-1)
    expected = {"dW": exact(delta, x), "dR": exact(delta, before(y)), "db": delta.sum((0, 1), dtype=float)}
    peepholes = ((d.i, before(c)), (d.f, before(c)), (d.o, c))
    expected["dp"] = np.stack([np.einsum("tbh,tbh->h", *pair, dtype=float, casting="unsafe") for pair in peepholes])
    if outputs < H:
        expected["dproj"] = exact(d.y, np.tanh(c.astype(float)) * tape.gate("o"))
    found = lstm_arrays(grads)
    assert_close({name: found[name] for name in expected}, expected, NEAR)


@pytest.mark.parametrize(("T", "B"), [(60_000, 1), (4, 20_000)])
def test_layer_norm_lstm(T, B):
    x, (W, R, b, _), dy, _, _ = lstm(T, B, False, H)
    norm = 1 + abs(normal(np.random.default_rng(1), 10, H, scale=0.1))
    y, _, tape = fastlstm.lstm_forward(x, W, R, b, norm=norm, tape=True)
    grads = fastlstm.lstm_backward(tape, W, R, None, dy, norm=norm, deltas=True)
    d = grads.deltas
    delta = np.concatenate([d.i, d.f, d.z, d.o], axis=-1).astype(float)
    Ry, Wx, hu = (part.astype(float) for part in np.split(tape.gates[..., 4 * H :], [4 * H, 8 * H], axis=-1))
    du = d.y * tape.gate("o") * (1 - hu**2)
    gains = [(delta * normalised(v)).sum((0, 1)).reshape(4, H) for v in (Ry, Wx)]
    of_c = [array.sum((0, 1))[np.newaxis] for array in (du * normalised(tape.cells().astype(float)), du)]
    delta_W, delta_R = (normalised_backward(g.ravel() * delta, v) for g, v in ((norm[4:8], Wx), (norm[:4], Ry)))
    expected = {"dW": exact(delta_W, x), "dR": exact(delta_R, before(y)), "db": delta.sum((0, 1))}
    found = {"dW": grads.W, "dR": grads.R, "db": grads.b, "dnorm": grads.norm}
    assert_close(found, expected | {"dnorm": np.concatenate([*gains, *of_c])}, NEAR)


@pytest.mark.parametrize("reset_after", GRU_FORMS)
@pytest.mark.parametrize("size", SIZES)
def test_gru(size, reset_after):
    T, B, ragged = SIZES[size]
    rng = np.random.default_rng(0)
    x, W, R = abs(normal(rng, T, B, I)), normal(rng, 3 * H, I, scale=0.2), normal(rng, 3 * H, H, scale=0.1)
    b, bn = normal(rng, 3 * H), normal(rng, H) if reset_after else None
    lengths = lengths_of(rng, T, B, ragged)
    y, _, tape = fastlstm.gru_forward(x, W, R, b, bn, reset_after=reset_after, tape=True, **lengths)
    grads = fastlstm.gru_backward(tape, W, R, bn, np.ones_like(y), deltas=True)
    d, h_prev, r = grads.deltas, before(y), tape.gate("r")
    delta = np.concatenate([d.r, d.z, d.n], axis=-1)
    at_R_n, seen = (d.n * r, h_prev) if reset_after else (d.n, r * h_prev)
    expected = {"dW": exact(delta, x), "db": delta.sum((0, 1), dtype=float)}
    expected["dR"] = np.concatenate([exact(d.r, h_prev), exact(d.z, h_prev), exact(at_R_n, seen)])
    if reset_after:
        expected["dbn"] = at_R_n.sum((0, 1), dtype=float)
    found = gru_arrays(grads)
    assert_close({name: found[name] for name in expected}, expected, NEAR)


@pytest.mark.parametrize("size", SIZES)
def test_rnn(size):
    T, B, ragged = SIZES[size]
    rng = np.random.default_rng(0)
    x, W, R, b = abs(normal(rng, T, B, I)), normal(rng, H, I, scale=0.2), normal(rng, H, H, scale=0.1), normal(rng, H)
    y, _, tape = fastlstm.rnn_forward(x, W, R, b, tape=True, **lengths_of(rng, T, B, ragged))
    grads = fastlstm.rnn_backward(tape, W, R, np.ones_like(y), deltas=True)
    delta = grads.deltas.a
    expected = {"dW": exact(delta, x), "dR": exact(delta, before(y)), "db": delta.sum((0, 1), dtype=float)}
    found = rnn_arrays(grads)
    assert_close({name: found[name] for name in expected}, expected, NEAR)


@pytest.mark.parametrize("sizes", [(2_000, 20), (5, 9_000)], ids=str)
def test_what_they_do_not_depend_on(sizes, isa):
    """Bit for bit: accumulating into zeros, recompute, deltas, and a second call; added to others, the sum of both."""
    x, (W, R, b, p), dy, proj, _ = lstm(*sizes, False, P)
    weights = W, R, p
    *_, tape = fastlstm.lstm_forward(x, W, R, b, p, tape=True, **proj)
    *_, short = fastlstm.lstm_forward(x, W, R, b, p, tape=True, recompute=100, **proj)
    expected = fastlstm.lstm_backward(tape, *weights, dy, **proj)
    for kept, how in ((tape, {}), (short, {}), (tape, {"deltas": True})):
        assert_same(lstm_arrays(fastlstm.lstm_backward(kept, *weights, dy, **proj, **how)), lstm_arrays(expected))
    zeros = expected._replace(**{name: np.zeros_like(getattr(expected, name)) for name in ("W", "R", "b", "p", "proj")})
    zeros = zeros._replace(x=np.empty_like(x), state=tuple(np.empty_like(a) for a in expected.state))
    once = fastlstm.lstm_backward(tape, *weights, dy, **proj, out=zeros, accumulate=True)
    assert_same(lstm_arrays(once), lstm_arrays(expected))
    twice = fastlstm.lstm_backward(tape, *weights, dy, **proj, out=once, accumulate=True)
    doubled = {name: 2 * array for name, array in lstm_arrays(expected).items()}
    found = lstm_arrays(twice)
    for name in ("dW", "dR"):
        assert_same({name: found[name]}, {name: doubled[name]})
    assert_close({n: found[n] for n in ("db", "dp", "dproj")}, {n: doubled[n] for n in ("db", "dp", "dproj")}, NEAR)


@pytest.mark.parametrize("sizes", [(40_000, 10), (4, 200_000)], ids=str)
def test_c_interface(sizes):
    T, B = sizes
    layer, x = fastlstm.LSTM(I, H, seed=0), abs(normal(np.random.default_rng(0), T, B, I))
    plan = Plan(network(I, [Layer(kind=0, units=H, peephole=1)]), layer.flat)
    y, _, tape = plan.forward(x, tape=True)
    _, _, gradients = plan.backward(x, y, tape, np.ones_like(y))
    wide = fastlstm.LSTM(I, H, dtype=np.float64, seed=0)
    wide.flat[:] = layer.flat
    *_, kept = wide.forward(x.astype(float))
    expected = wide.backward(kept, np.ones((T, B, H)))
    own = layer.backward(layer.forward(x)[2], np.ones_like(y))
    for name, array in expected.params.items():
        start = (layer.params[name].ctypes.data - layer.flat.ctypes.data) // 4
        found = gradients[start : start + array.size].reshape(array.shape)
        # The results of a step are rounded in their own way: only running sums would be farther away.
        assert_close({name: found, "own": own.params[name]}, {name: array, "own": array}, NEAR)
