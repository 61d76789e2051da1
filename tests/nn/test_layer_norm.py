"""Layer normalisation: PyTorch's, finite differences, rows without variance, threads, misuse."""

import numpy as np
import pytest
from cases import DTYPES
from differences import central_difference

import fastlstm
from fastlstm import LSTM, nn

F = np.float64


def made(features, epsilon=1e-5, dtype=F, seed=0):
    norm, rng = nn.LayerNorm(features, epsilon, dtype=dtype), np.random.default_rng(seed)
    norm.params["g"][:], norm.params["b"][:] = rng.normal(size=(2, features))
    return norm


@pytest.mark.parametrize("shape", [(7,), (1, 3), (5, 1), (3, 2, 7), (2, 3, 16), (4, 17), (0, 3), (2, 2, 2, 33)])
def test_gradients(shape):
    rng, norm = np.random.default_rng(1), made(shape[-1], 1e-2)
    x, dy = 3 + rng.normal(size=shape), rng.normal(size=shape)
    y, tape = norm.forward(x)
    np.testing.assert_array_equal(norm(x), y)
    centred = x - x.mean(axis=-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-2)
    np.testing.assert_allclose(y, norm.params["g"] * expected + norm.params["b"], atol=1e-13)
    grads = norm.backward(tape, dy)

    def loss():
        return float((norm(x) * dy).sum())

    np.testing.assert_allclose(grads.x, central_difference(loss, x), atol=1e-7)
    np.testing.assert_allclose(grads.flat, central_difference(loss, norm.flat), atol=1e-7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(50, 3, 1), (4, 2), (6, 5, 15), (3, 4, 16), (500, 64), (20, 4, 129), (2, 3000)])
def test_pytorch(shape, dtype):
    torch = pytest.importorskip("torch")
    rng, norm = np.random.default_rng(0), made(shape[-1], dtype=dtype)
    x, dy = (2 + 5 * rng.normal(size=shape)).astype(dtype), rng.normal(size=shape).astype(dtype)
    y, tape = norm.forward(x)
    grads = norm.backward(tape, dy)
    leaves = [torch.tensor(a.astype(F), requires_grad=True) for a in (x, norm.params["g"], norm.params["b"])]
    theirs = torch.nn.functional.layer_norm(leaves[0], shape[-1:], leaves[1], leaves[2], 1e-5)
    theirs.backward(torch.tensor(dy.astype(F)))
    tolerance = 1e-10 if dtype == F else 2e-5
    for found, expected in [
        (y, theirs.detach()),
        *zip((grads.x, *grads.params.values()), (leaf.grad for leaf in leaves), strict=True),
    ]:
        expected = expected.numpy()
        scale = max(1, np.abs(expected).max(initial=0))
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)
        assert found.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0, 0.1, -7, 1e6, 1e30])
def test_rows_without_variance(value, dtype):
    """Exactly: the mean of equal values is that value, whatever their sum rounds to."""
    norm = made(1000, dtype=dtype)
    x, dy = np.full((3, 1000), value, dtype), np.random.default_rng(0).normal(size=(3, 1000)).astype(dtype)
    x[1] = np.random.default_rng(1).normal(size=1000)
    y, tape = norm.forward(x)
    for row in (0, 2):
        np.testing.assert_array_equal(y[row], norm.params["b"])
    grads = norm.backward(tape, dy)
    inner = norm.params["g"] * dy
    expected = (inner - inner.mean(axis=-1, keepdims=True)) / np.sqrt(1e-5)
    np.testing.assert_allclose(grads.x[::2], expected[::2], rtol=0, atol=1e-3 if dtype == np.float32 else 1e-10)
    np.testing.assert_allclose(grads.params["g"], dy[1] * (x[1] - x[1].mean()) / x[1].std(), atol=1e-3)


def test_a_large_mean_takes_little_from_a_small_variance():
    x = np.random.default_rng(0).integers(0, 2, (5, 400)).astype(np.float32)
    norm = nn.LayerNorm(400)
    np.testing.assert_allclose(norm(x + 2**20), norm(x), atol=2e-6)


def test_sums_over_many_rows():
    rng, norm = np.random.default_rng(0), nn.LayerNorm(8)
    x, dy = rng.normal(size=(200_000, 8)).astype("f"), 1 + rng.random((200_000, 8)).astype("f")
    grads = norm.backward(norm.forward(x)[1], dy)
    np.testing.assert_allclose(grads.params["b"], dy.sum(axis=0, dtype=F), rtol=2e-7)


@pytest.mark.parametrize("shape", [(40, 33), (500, 64), (3, 20_000), (1, 100_000)])
def test_any_number_of_threads_gives_the_same_bits(shape, default_threads):
    rng, norm = np.random.default_rng(0), made(shape[-1], dtype=np.float32)
    x, dy, found = rng.normal(size=shape).astype("f"), rng.normal(size=shape).astype("f"), []
    for threads in (1, 2, 3, 16):
        fastlstm.set_num_threads(threads)
        y, tape = norm.forward(x)
        grads = norm.backward(tape, dy)
        found.append((y.tobytes(), grads.x.tobytes(), grads.flat.tobytes()))
    assert len(set(found)) == 1


def test_any_strides_and_read_only_input():
    norm = made(3)
    x = np.arange(24, dtype=F).reshape(3, 8).T ** 2
    x.setflags(write=False)
    y, tape = norm.forward(x)
    np.testing.assert_array_equal(y, norm(x.copy(order="C")))
    np.testing.assert_array_equal(norm.backward(tape, x).x, norm.backward(tape, x.copy(order="C")).x)


def test_not_a_number_stays_in_its_row():
    norm, x = made(20), np.random.default_rng(0).normal(size=(3, 20))
    expected = norm(x)
    x[1, 4] = np.nan
    y = norm(x)
    np.testing.assert_array_equal(y[::2], expected[::2])
    assert np.isnan(y[1]).all()


def test_frozen():
    norm, x = made(5), np.random.default_rng(0).normal(size=(3, 5))
    y, tape = norm.forward(x)
    expected = norm.backward(tape, y).x
    norm.trainable = False
    grads = norm.backward(tape, y)
    np.testing.assert_array_equal(grads.x, expected)
    assert not grads.flat.any()


def test_in_a_network_it_keeps_two_directions_apart():
    lstm = LSTM(3, 2, bidirectional=True, dtype=F, seed=0)
    net = nn.Sequential(lstm, made(4), nn.Last())
    x, lengths = np.random.default_rng(0).normal(size=(5, 2, 3)), [5, 2]
    y = net.layers[1](lstm(x, lengths=lengths)[0])
    np.testing.assert_array_equal(net(x, lengths=lengths)[0], nn.Last()(y, lengths, directions=2))
    with pytest.raises(ValueError, match=r"layers\[1\] must have input_size 4"):
        nn.Sequential(LSTM(3, 4), nn.LayerNorm(5))
    assert repr(net.layers[1]) == "LayerNorm(4, dtype=float64)"
    assert repr(nn.LayerNorm(4, 0.5)) == "LayerNorm(4, epsilon=0.5, dtype=float32)"
    assert [a.tolist() for a in nn.LayerNorm(2).params.values()] == [[1, 1], [0, 0]]


x = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.LayerNorm(0), ValueError, "features must be at least 1"),
        (lambda: nn.LayerNorm(3, 0), ValueError, "epsilon must be above 0"),
        (lambda: nn.LayerNorm(3, np.inf), ValueError, "epsilon must be finite"),
        (lambda: nn.LayerNorm(3, "a"), TypeError, "epsilon must be a number"),
        (lambda: nn.LayerNorm(3, dtype=int), TypeError, "dtype must be float32 or float64"),
        (lambda: nn.LayerNorm(4)(x), ValueError, r"x must have shape \(..., input_size\) = \(2, 4\), not \(2, 3\)"),
        (lambda: nn.LayerNorm(3)(x.astype(F)), TypeError, "x must have dtype float32, not float64"),
        (
            lambda: nn.LayerNorm(3).backward(3, x),
            TypeError,
            "tape must be a LayerTape from the forward pass of a Layer",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
