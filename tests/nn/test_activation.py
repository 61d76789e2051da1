"""Activations as layers: finite differences, PyTorch, their place in networks, misuse."""

import numpy as np
import pytest
from cases import DTYPES
from differences import central_difference

from fastlstm import LSTM, nn

F = np.float64
FUNCTIONS = ["softmax", "tanh", "logistic", "relu"]


@pytest.mark.parametrize("shape", [(7,), (1, 3), (5, 1), (3, 2, 7), (0, 3), (2, 2, 2, 33)])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradients(function, shape):
    rng, layer = np.random.default_rng(1), nn.Activation(function)
    x, dy = rng.normal(size=shape), rng.normal(size=shape)
    y, tape = layer.forward(x)
    np.testing.assert_array_equal(layer(x), y)
    expected = central_difference(lambda: float((layer(x) * dy).sum()), x)
    np.testing.assert_allclose(layer.backward(tape, dy).x, expected, atol=1e-7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_pytorch(function, dtype):
    torch = pytest.importorskip("torch")
    rng, layer = np.random.default_rng(0), nn.Activation(function)
    x, dy = (5 * rng.normal(size=(20, 4, 33))).astype(dtype), rng.normal(size=(20, 4, 33)).astype(dtype)
    y, tape = layer.forward(x)
    leaf = torch.tensor(x.astype(F), requires_grad=True)
    theirs = {"softmax": lambda a: a.softmax(-1), "tanh": torch.tanh, "logistic": torch.sigmoid, "relu": torch.relu}
    expected = theirs[function](leaf)
    expected.backward(torch.tensor(dy.astype(F)))
    tolerance = 1e-14 if dtype == F else 1e-6
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=0, atol=tolerance)
    np.testing.assert_allclose(layer.backward(tape, dy).x, leaf.grad.numpy(), rtol=0, atol=tolerance)
    assert y.dtype == dtype


def test_extremes():
    assert nn.Activation("softmax")(np.array([1e30, -1e30], np.float32)).tolist() == [1, 0]
    layer, x = nn.Activation("softmax"), np.array([np.inf, 0.0])
    y, tape = layer.forward(x)
    assert np.isnan(y).any()
    assert np.isnan(layer.backward(tape, np.ones(2)).x).any()


def test_in_a_network():
    net = nn.Sequential(LSTM(3, 2, bidirectional=True, dtype=F, seed=0), nn.Activation("relu"), nn.Last())
    x, lengths = np.random.default_rng(0).normal(size=(5, 2, 3)), [5, 2]
    y = np.maximum(net.layers[0](x, lengths=lengths)[0], 0)
    np.testing.assert_array_equal(net(x, lengths=lengths)[0], nn.Last()(y, lengths, directions=2))
    assert repr(net.layers[1]) == "Activation('relu')"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.Activation("gelu"),
            ValueError,
            "one of softmax, tanh, logistic, relu, not 'gelu'",
        ),
        (lambda: nn.Activation(3), ValueError, "function must be one of .*, not 3"),
        (lambda: nn.Activation("relu")([1.0]), TypeError, "x must be a NumPy array"),
        (lambda: nn.Activation("softmax")(np.ones((2, 0))), ValueError, "at least one class"),
        (lambda: nn.Activation("relu").backward(3, np.ones(2)), TypeError, "from the forward pass of a Activation"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
