"""The activations of the specification, and clipping, in its LSTM, GRU and RNN: against finite differences."""

import numpy as np
import pytest
from cases import GRU_ARGUMENTS, GRU_FORMS, LSTM_ARGUMENTS, RNN_ARGUMENTS, gru_case, lstm_case, rnn_case
from differences import check_every_entry

from fastlstm import reference
from fastlstm.reference.activations import ACTIVATIONS, activation, sigma

# Steps are so short that none of these cases crosses a kink.
STEP, TOLERANCE = 1e-5, 1e-8
CLIP = 0.37

EVERY = [
    *ACTIVATIONS,
    ("hard_logistic", 0.4, 0.3),
    ("leaky_relu", 0.3),
    ("thresholded_relu", 0.2),
    ("scaled_tanh", 1.2, 0.7),
    ("scaled_tanh", -0.8, 0.5),
    ("elu", 0.6),
    ("affine", 0.3, 0.1),
    ("affine", -0.3, 0.1),
    ("affine", 0.0, 0.1),
]
every_one = pytest.mark.parametrize("g", EVERY, ids=str)
clipped_or_not = pytest.mark.parametrize("clip", [None, CLIP])


def softplus(a):
    return np.log(1 + np.exp(a))


# By hand, at -2, -0.5, 0, 0.5 and 2.
VALUES = {
    "tanh": np.tanh([-2, -0.5, 0, 0.5, 2]),
    "relu": [0, 0, 0, 0.5, 2],
    "logistic": sigma(np.array([-2, -0.5, 0, 0.5, 2])),
    "identity": [-2, -0.5, 0, 0.5, 2],
    "softsign": [-2 / 3, -1 / 3, 0, 1 / 3, 2 / 3],
    "softplus": [softplus(-2), softplus(-0.5), np.log(2), softplus(0.5), softplus(2)],
    "hard_logistic": [0.1, 0.4, 0.5, 0.6, 0.9],
    ("hard_logistic", 1.0, 0.25): [0, 0, 0.25, 0.75, 1],
    "leaky_relu": [-0.02, -0.005, 0, 0.5, 2],
    ("leaky_relu", -2.0): [4, 1, 0, 0.5, 2],
    "thresholded_relu": [0, 0, 0, 0, 2],
    ("thresholded_relu", 0.5): [0, 0, 0, 0.5, 2],
    "scaled_tanh": np.tanh([-2, -0.5, 0, 0.5, 2]),
    ("scaled_tanh", 3.0, 2.0): 3 * np.tanh([-4, -1, 0, 1, 4]),
    "elu": [np.exp(-2) - 1, np.exp(-0.5) - 1, 0, 0.5, 2],
    ("elu", 2.0): [2 * np.exp(-2) - 2, 2 * np.exp(-0.5) - 2, 0, 0.5, 2],
    "affine": [-2, -0.5, 0, 0.5, 2],
    ("affine", 2.0, 1.0): [-3, 0, 1, 2, 5],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("g", VALUES, ids=str)
def test_values(g, dtype):
    found = activation(g).value(np.array([-2, -0.5, 0, 0.5, 2], dtype))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, VALUES[g], rtol=4 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)


def test_every_activation_has_values():
    assert {g if isinstance(g, str) else g[0] for g in VALUES} == ACTIVATIONS.keys()


@pytest.mark.parametrize("g", ["elu", "softplus", "logistic", "tanh", "softsign", "relu"])
def test_far_from_zero(g):
    """Nothing overflows: warnings are errors."""
    value, slope = activation(g)
    h = value(np.array([-1e5, 1e5]))
    assert np.isfinite(h).all()
    assert np.isfinite(slope(h)).all()


@clipped_or_not
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every_one
def test_slopes(g, dtype, clip):
    """The derivative as a function of the value, where there is no kink within a step."""
    value, slope = activation(g, clip)
    a = np.linspace(-3, 3, 5999, dtype=dtype)
    kinks = [0, 0.2, 1, -2.5, 2.5, -0.75, 1.75, *((-clip, clip) if clip else ())]
    away = np.abs(a[:, np.newaxis] - np.array(kinks)).min(1) > 2e-3
    wide, step = a.astype(np.float64), 1e-6
    numeric = (value(wide + step) - value(wide - step)) / (2 * step)
    found = slope(value(a))
    assert found.dtype == dtype
    assert numeric[away].any() != (g == ("affine", 0.0, 0.1) or (clip == CLIP and g == "thresholded_relu"))
    np.testing.assert_allclose(found[away], numeric[away], rtol=0, atol=1e-8 if dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("clip", [0.3, 100.0])
@every_one
def test_clipping_is_of_what_goes_in(g, clip):
    a = np.linspace(-3, 3, 601)
    np.testing.assert_array_equal(activation(g, clip).value(a), activation(g).value(np.clip(a, -clip, clip)))


def lstm_run(case, activations, clip):
    options = {"activations": activations, "clip": clip}
    y, tape = reference.lstm_forward(*(case[name] for name in LSTM_ARGUMENTS), **options)
    above = (case[name] for name in ("W", "R", "p", "dy", "dh", "dc"))
    gradients = reference.lstm_backward(tape, *above, **options)._asdict()
    J = np.sum(case["dy"] * y) + np.sum(case["dh"] * tape.y[-1]) + np.sum(case["dc"] * tape.c[-1])
    return J, {f"d{name}": gradients[name] for name in LSTM_ARGUMENTS}


def gru_run(case, activations, clip):
    options = {"activations": activations, "clip": clip}
    y, tape = reference.gru_forward(*(case[name] for name in GRU_ARGUMENTS), case["bn"] is not None, **options)
    gradients = reference.gru_backward(tape, *(case[name] for name in ("W", "R", "dy", "dh")), **options)._asdict()
    J = np.sum(case["dy"] * y) + np.sum(case["dh"] * tape.h[-1])
    return J, {f"d{name}": gradients[name] for name in GRU_ARGUMENTS}


def rnn_run(case, nonlinearity, clip):
    y, tape = reference.rnn_forward(*(case[name] for name in RNN_ARGUMENTS), nonlinearity, clip=clip)
    above = (case[name] for name in ("W", "R", "dy", "dh"))
    gradients = reference.rnn_backward(tape, *above, nonlinearity, clip=clip)._asdict()
    J = np.sum(case["dy"] * y) + np.sum(case["dh"] * tape.h[-1])
    return J, {f"d{name}": gradients[name] for name in RNN_ARGUMENTS}


def check(run, case, arguments, *options):
    case = dict(case)
    arguments = [name for name in arguments if case[name] is not None]
    _, found = run(case, *options)
    check_every_entry(lambda changed: run(changed, *options)[0], case, found, arguments, STEP, TOLERANCE)


# With these there would be gates and gradients of zero: they have the tests above.
FLAT = ("thresholded_relu", ("thresholded_relu", 0.2), ("affine", 0.0, 0.1))
USABLE = [*(g for g in EVERY if g not in FLAT), ("thresholded_relu", -0.3)]
in_a_layer = pytest.mark.parametrize("g", USABLE, ids=str)


@clipped_or_not
@in_a_layer
def test_lstm(g, clip):
    for place in range(3):
        activations = ["logistic", "tanh", "tanh"]
        activations[place] = g
        check(lstm_run, lstm_case(2, 2, 2, 3, seed=3), LSTM_ARGUMENTS, tuple(activations), clip)


@clipped_or_not
@pytest.mark.parametrize("reset_after", GRU_FORMS)
@in_a_layer
def test_gru(g, reset_after, clip):
    for activations in (("logistic", g), (g, "tanh")):
        check(gru_run, gru_case(2, 2, 2, 3, reset_after, seed=3), GRU_ARGUMENTS, activations, clip)


@clipped_or_not
@in_a_layer
def test_rnn(g, clip):
    check(rnn_run, rnn_case(4, 2, 3, 4, "tanh", seed=3), RNN_ARGUMENTS, g, clip)


def test_an_lstm_clips_with_the_peepholes_and_not_on_the_way_out():
    """The bound is of the whole sum, and c, which is 5, goes into h as it is."""
    case = {"x": np.zeros((1, 1, 1)), "W": np.zeros((4, 1)), "R": np.zeros((4, 1)), "b": np.full(4, 9.0)}
    case |= {"p": np.full((3, 1), 9.0), "h0": np.zeros((1, 1)), "c0": np.full((1, 1), 9.0)}
    y, tape = reference.lstm_forward(*case.values(), activations=("affine", "affine", "affine"), clip=0.5)
    assert tape.c[-1] == 0.5 * 0.5 + 9 * 0.5
    assert y[0] == 0.5 * tape.c[-1]
