"""The hard logistic function with constants of its own, in each place where a cell may have it."""

import copy
import pickle

import numpy as np
import pytest
from cases import LSTM_ARGUMENTS, RNN_ARGUMENTS, joined, lstm_case, options_case, rnn_case
from differences import check_every_entry
from helpers import assert_close, lstm_forward, lstm_loss, rnn_forward, run_lstm, run_rnn

import fastlstm
from fastlstm import GRU, LSTM, RNN, Frozen, Stream

ALPHA, BETA = 1.5, 0.4
HARD = "hard_logistic", ALPHA, BETA
KERAS = "hard_logistic", 1 / 6, 0.5
PLACES = {
    "gates": (HARD, "tanh", "tanh"),
    "g": ("logistic", HARD, "tanh"),
    "h": ("logistic", "tanh", HARD),
    "all": (KERAS, HARD, ("hard_logistic", 0.7, -0.1)),
}
# A step of finite differences must not cross a kink.
SHORT = {"step": 1e-5, "tolerance": 2e-8}


def hard(a):
    return np.clip(ALPHA * a + BETA, 0, 1)


def by_hand(case, activations):
    """Return y of an LSTM with peepholes, whose activations are functions."""
    sigma, g, h = activations
    x, W, R, b, p, y, c = (case[name] for name in LSTM_ARGUMENTS)
    outputs = []
    for t in range(len(x)):
        i, f, z, o = np.split(x[t] @ W.T + y @ R.T + b, 4, axis=1)
        c = g(z) * sigma(i + p[0] * c) + c * sigma(f + p[1] * c)
        y = h(c) * sigma(o + p[2] * c)
        outputs.append(y)
    return np.array(outputs)


@pytest.mark.parametrize("place", ["gates", "g", "h"])
@pytest.mark.parametrize("sizes", [(5, 3, 4, 7), (12, 9, 5, 33), (6, 1, 3, 150)], ids=str)
def test_values_by_hand(sizes, place, isa):
    functions = {"logistic": lambda a: 1 / (1 + np.exp(-a)), "tanh": np.tanh, HARD: hard}
    case = lstm_case(*sizes)
    y, _, _ = lstm_forward(case, activations=PLACES[place])
    assert np.mean((y == 0) | (y == 1)) > 0.05 or place == "g"  # Some values are at the bounds.
    assert_close({"y": y}, {"y": by_hand(case, [functions[g] for g in PLACES[place]])}, 1e-13)
    single = {name: array.astype(np.float32) for name, array in case.items()}
    assert_close({"y": lstm_forward(single, activations=PLACES[place])[0]}, {"y": y}, 1e-5)


@pytest.mark.parametrize("names", [set(), {"clip"}, {"cell_clip", "proj", "lengths"}, {"zone_c", "reset"}], ids=joined)
@pytest.mark.parametrize("variant", ["vanilla", "CIFG", "NOG", "FGR"])
@pytest.mark.parametrize("place", PLACES)
def test_gradients(place, variant, names, isa):
    case, options = options_case(variant, names)
    options["activations"] = PLACES[place]
    found = run_lstm(case, **options)
    nonzero = [name for name in LSTM_ARGUMENTS if case[name] is not None and found[f"d{name}"].any()]
    assert {"x", "W", "R", "b"} <= set(nonzero)
    check_every_entry(lambda case: lstm_loss(case, options), case, found, nonzero, **SHORT)


@pytest.mark.parametrize("place", PLACES)
def test_layer_normalisation(place, isa):
    case, options = options_case("vanilla", {"norm"})
    options["activations"] = PLACES[place]
    found = run_lstm(case, **options)
    check_every_entry(lambda case: lstm_loss(case, options), case, found, ["x", "W", "R", "b", "p"], **SHORT)


@pytest.mark.parametrize("g", ["hard_logistic", HARD, KERAS], ids=str)
@pytest.mark.parametrize("sizes", [(4, 3, 2, 4), (5, 2, 4, 19)], ids=str)
def test_rnn(sizes, g, isa):
    case = rnn_case(*sizes, g)

    def loss(case):
        y, h, _ = rnn_forward(case, g)
        return np.sum(y * case["dy"]) + np.sum(h * case["dh"])

    check_every_entry(loss, case, run_rnn(case, g), RNN_ARGUMENTS, **SHORT)


def test_the_usual_constants_are_the_name(isa):
    for case, run, given in (
        (lstm_case(5, 3, 4, 7), run_lstm, lambda g: {"activations": (g, "tanh", g)}),
        (rnn_case(5, 3, 4, 7, "tanh"), run_rnn, lambda g: {"nonlinearity": g}),
    ):
        named, written = run(case, **given("hard_logistic")), run(case, **given(("hard_logistic", 0.2, 0.5)))
        for name, array in named.items():
            np.testing.assert_array_equal(written[name], array)


@pytest.mark.parametrize(
    ("constants", "error", "message"),
    [
        ((0, 0.5), ValueError, "alpha of hard_logistic in {} must be positive, not 0.0"),
        ((-0.2, 0.5), ValueError, "alpha of hard_logistic in {} must be positive, not -0.2"),
        ((np.nan, 0.5), ValueError, "alpha of hard_logistic in {} must be"),
        ((0.2, np.inf), ValueError, "beta of hard_logistic in {} must be"),
        (("0.2", 0.5), TypeError, "alpha of hard_logistic in {} must be a number, not str"),
        ((0.2,), ValueError, '{} must be one of .* or \\("hard_logistic", alpha, beta\\), not'),
        ((0.2, 0.5, 1), ValueError, "{} must be one of"),
    ],
)
def test_constants_that_are_none(constants, error, message):
    g = ("hard_logistic", *constants)
    for name, call in (
        ("activations", lambda: LSTM(3, 4, activations=(g, "tanh", "tanh"))),
        ("activations", lambda: GRU(3, 4, activations=("logistic", g))),
        ("nonlinearity", lambda: RNN(3, 4, nonlinearity=g)),
    ):
        with pytest.raises(error, match="^" + message.format(name)):
            call()
    with pytest.raises(ValueError, match=r"^nonlinearity must be one of"):
        RNN(3, 4, nonlinearity=("logistic", 0.2, 0.5))


LAYERS = {
    "LSTM": lambda **options: LSTM(3, 5, 2, activations=(HARD, "tanh", KERAS), seed=0, **options),
    "GRU": lambda **options: GRU(3, 5, 2, activations=(HARD, KERAS), seed=0, **options),
    "GRU before": lambda **options: GRU(3, 5, 2, activations=(HARD, "relu"), reset_after=False, seed=0, **options),
    "RNN": lambda **options: RNN(3, 5, 2, nonlinearity=HARD, seed=0, **options),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", LAYERS)
def test_every_way_of_running_a_layer(kind, dtype, tmp_path, isa):
    layer = LAYERS[kind](dtype=dtype)
    x = np.random.default_rng(0).normal(size=(6, 4, 3)).astype(dtype)
    y, _ = layer(x)
    others = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), eval(repr(layer), _names(layer))]
    fastlstm.save(layer, tmp_path / "layer.safetensors")
    others.append(fastlstm.load(tmp_path / "layer.safetensors"))
    for other in others:
        assert other.arguments() == layer.arguments()
    for other in others[:2] + others[3:]:
        np.testing.assert_array_equal(other(x)[0], y)
    stream, frozen = Stream(layer, 4), Frozen(layer)
    tolerance = {np.float32: 1e-6, np.float64: 1e-14}[dtype]
    assert_close({"y": np.array([stream.step(x_t).copy() for x_t in x])}, {"y": y}, tolerance)
    assert_close({"y": frozen(x)[0]}, {"y": y}, tolerance)
    assert_close({"y": layer.forward(x)[0]}, {"y": y}, tolerance)


def _names(layer):
    return {type(layer).__name__: type(layer), "float32": np.float32, "float64": np.float64}
