"""The hints of messages: how to convert, how to write in place, and numbers of things in words."""

import re

import numpy as np
import pytest

from fastlstm import GRU, LSTM, RNN, nn
from fastlstm._arrays.checks import counted

x = np.ones((3, 2, 4))
HINT = "x.astype(np.float32) converts it, a layer or network with dtype=np.float64 takes it as it is"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LSTM(4, 3)(x), f"x must have dtype float32, not float64: {HINT}"),
        (lambda: LSTM(4, 3).forward(x), f"x must have dtype float32, not float64: {HINT}"),
        (lambda: RNN(4, 3).step(x[0]), f"x_t must have dtype float32, not float64: {HINT.replace('x.', 'x_t.')}"),
        (lambda: nn.Sequential(LSTM(4, 3))(x), f"x must have dtype float32, not float64: {HINT}"),
        (lambda: nn.Dense(4, 3)(x), f"h must have dtype float32, not float64: {HINT.replace('x.', 'h.')}"),
        (
            lambda: LSTM(4, 3)(x.astype(int)),
            "x must have dtype float32, not int64: x.astype(np.float32) converts it",
        ),
        (
            lambda: nn.mse(x, x.astype("f")),
            "target must have dtype float64, not float32: target.astype(np.float64)",
        ),
        (lambda: nn.logistic_loss(x[0], x), "target must have shape (2, 4), that of logits, not (3, 2, 4)"),
        (lambda: nn.Adam(np.ones(3, int)), "flat must have dtype float32 or float64, not int64"),
        (lambda: LSTM(4, 3, dtype="bfloat16"), "dtype must be float32 or float64, not bfloat16: arrays on a GPU may"),
        (lambda: nn.Dense(4, 3, dtype="float16"), "dtype must be float32 or float64, not float16: arrays on a GPU may"),
        (lambda: GRU(4, 3, dtype="fp32"), "dtype must be float32 or float64, not fp32"),
        (lambda: RNN(4, 3, dtype="fp32"), "dtype must be float32 or float64, not fp32"),
        (lambda: RNN(4, 3, dtype=np.int8), "dtype must be float32 or float64, not int8"),
    ],
)
def test_how_to_convert(call, message):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(message)}"):
        call()


def test_no_hint_for_what_is_written_to():
    with pytest.raises(TypeError, match=r"int64$"):
        nn.clip_norm(np.ones(3, int), 1)
    with pytest.raises(TypeError, match=r"^out y must have dtype float32, not float64$"):
        LSTM(4, 3).step(x[0].astype("f"), out=(np.ones((2, 3)), (np.ones((1, 2, 3)), np.ones((1, 2, 3)))))


def parameters():
    network = nn.Sequential(LSTM(4, 3, seed=0), nn.Dense(3, 2, seed=1))
    network_params, layer_params = network.params, network.layers[0].params
    gradients = network.backward(network.forward(x.astype("f"))[2], np.ones((3, 2, 2), np.float32))
    return {"network": network_params, "layer": layer_params, "gradients": gradients.params}


@pytest.mark.parametrize("which", ["network", "layer", "gradients"])
def test_params_are_written_to_in_place(which):
    params = parameters()[which]
    before = {name: array.copy() for name, array in params.items()}
    name = next(iter(params))
    new = np.zeros_like(params[name])
    for change in (
        lambda: params.__setitem__(name, new), lambda: params.update({name: new}), lambda: params.pop(name),
        lambda: params.setdefault("new", new), lambda: params.__delitem__(name), params.clear, params.popitem,
        lambda: params.__ior__({name: new}),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=rf'write in place, params\["{re.escape(name)}"\]\[:\] = \.\.\.$'):
            change()
    assert list(params) == list(before)
    for key, array in before.items():
        np.testing.assert_array_equal(params[key], array)
    params[name] += 1
    params[name][:] *= 2
    np.testing.assert_array_equal(params[name], (before[name] + 1) * 2)
    assert type(params | {name: new}) is dict


def test_numbers_of_things():
    assert [counted(n, "thread") for n in (0, 1, 2)] == ["0 threads", "1 thread", "2 threads"]
    with pytest.raises(ValueError, match=r"^state must be \(h, c\), not 1 item$"):
        LSTM(4, 3)(x.astype("f"), (np.ones((1, 2, 3)),))
    with pytest.raises(ValueError, match=r"cannot fit: 1 label with 0 repeats needs 1 step, lengths"):
        nn.ctc_loss(np.zeros((1, 1, 3)), [0], [[1]], [1])
    with pytest.raises(ValueError, match=r"^tape must be of 1 layer and direction, not of 2$"):
        LSTM(4, 3).forward(x.astype("f"), tape=LSTM(4, 3, 2).forward(x.astype("f"))[2])
