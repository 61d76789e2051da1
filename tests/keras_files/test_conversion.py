"""Layers and arrays in memory, there and back; what Keras has no layer for is refused by name."""

import re

import numpy as np
import pytest

import fastlstm
import fastlstm.keras
from fastlstm import nn

I, H, T, B = 3, 4, 6, 2
HARD = ("hard_logistic", 1 / 6, 0.5)


def drawn(layer):
    layer.flat[:] = np.random.default_rng(0).normal(size=layer.flat.size)
    return layer


def config_of(layer, **more):
    """Return the configuration of the layer of Keras that computes what ours does."""
    names = {"logistic": "sigmoid", "identity": "linear", HARD: "hard_sigmoid"}
    if isinstance(layer, nn.Dense):
        activation = names.get(layer.activation, layer.activation)
        return {"class_name": "Dense", "config": {"name": "d", "units": layer.output_size, "activation": activation}}
    kind = {fastlstm.LSTM: "LSTM", fastlstm.GRU: "GRU", fastlstm.RNN: "SimpleRNN"}[type(layer)]
    own = (layer.nonlinearity,) if kind == "SimpleRNN" else layer.activations or ("logistic", "tanh")
    config = {"name": "l", "units": layer.hidden_size, "activation": names.get(own[-1], own[-1])} | more
    if kind != "SimpleRNN":
        config["recurrent_activation"] = names.get(own[0], own[0])
    if kind == "GRU":
        config["reset_after"] = layer.reset_after
    if not layer.bidirectional:
        return {"class_name": kind, "config": config}
    return {"class_name": "Bidirectional", "config": {"name": "b", "layer": {"class_name": kind, "config": config}}}


LAYERS = {
    "LSTM": lambda **own: fastlstm.LSTM(I, H, peephole=False, **own),
    "LSTM, relu": lambda **own: fastlstm.LSTM(I, H, peephole=False, activations=(HARD, "relu", "relu"), **own),
    "LSTM, NP": lambda **own: fastlstm.LSTM(I, H, variant="NP", **own),
    "GRU": lambda **own: fastlstm.GRU(I, H, **own),
    "GRU, before": lambda **own: fastlstm.GRU(I, H, reset_after=False, activations=(HARD, "identity"), **own),
    "RNN": lambda **own: fastlstm.RNN(I, H, nonlinearity=HARD, **own),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_recurrent_layers(name, bidirectional, dtype):
    """The same outputs; of a GRU's two biases that add up, Keras has them in the first row."""
    ours = drawn(LAYERS[name](bidirectional=bidirectional, dtype=dtype))
    arrays = fastlstm.keras.to_keras(ours)
    again = fastlstm.keras.from_keras(config_of(ours), arrays)
    assert repr(again) == repr(ours).replace('variant="NP", ', "").replace("variant='NP', ", "")
    x = np.random.default_rng(1).normal(size=(T, B, I)).astype(dtype)
    np.testing.assert_array_equal(again(x)[0], ours(x)[0])
    for one, other in zip(fastlstm.keras.to_keras(again), arrays, strict=True):
        np.testing.assert_array_equal(one, other)


def test_arrays_are_copies():
    ours = drawn(nn.Sequential(fastlstm.LSTM(I, H, peephole=False), nn.LayerNorm(H), nn.Dense(H, 2)))
    before = ours.flat.copy()
    for array in fastlstm.keras.to_keras(ours):
        array[:] = 7
    np.testing.assert_array_equal(ours.flat, before)


def test_without_biases():
    for ours in (fastlstm.LSTM(I, H, peephole=False), fastlstm.GRU(I, H), nn.Dense(I, H), nn.LayerNorm(I)):
        for name, array in ours.params.items():
            array[:] = 1 if name[0] not in "bc" else 0
        arrays = fastlstm.keras.to_keras(ours, use_bias=False)
        assert len(arrays) == len(fastlstm.keras.to_keras(ours)) - 1
        for name in [name for name in ours.params if name[0] in "bc"]:
            ours.params[name][-1] = 1
            with pytest.raises(ValueError, match=r"^use_bias must be True"):
                fastlstm.keras.to_keras(ours, use_bias=False)
            ours.params[name][:] = 0


def test_layers_above_each_other_are_cells():
    ours = drawn(fastlstm.GRU(I, H, num_layers=2))
    cells = [{"class_name": "GRUCell", "config": config_of(ours)["config"]}] * 2
    config = {
        "class_name": "RNN",
        "config": {"name": "r", "cell": {"class_name": "StackedRNNCells", "config": {"cells": cells}}},
    }
    arrays = fastlstm.keras.to_keras(ours)
    assert [array.shape for array in arrays] == [(I, 3 * H), (H, 3 * H), (2, 3 * H), *[(H, 3 * H)] * 2, (2, 3 * H)]
    again, x = fastlstm.keras.from_keras(config, arrays), np.ones((T, B, I), np.float32)
    np.testing.assert_allclose(again(x)[0], ours(x)[0], atol=1e-6)


def test_a_network_in_a_network():
    inner = nn.Sequential(fastlstm.RNN(I, H), nn.Last())
    network = nn.Sequential(nn.Embedding(9, I), inner, nn.Dropout(0.5), nn.Dense(H, 2), nn.Activation("softmax"))
    shapes = [array.shape for array in fastlstm.keras.to_keras(network)]
    assert shapes == [(9, I), (I, H), (H, H), (H,), (H, 2), (2,)]


def test_a_sum_that_is_trained_is_a_layer():
    """What adds two directions is left out where it still adds them."""
    network = nn.Sequential(fastlstm.GRU(I, H, bidirectional=True), nn.Dense(2 * H, H))
    assert len(fastlstm.keras.to_keras(network)) == 8
    dense = network.layers[1]
    dense.params["V"][:], dense.params["c"][:] = np.tile(np.eye(H), 2), 0
    assert len(fastlstm.keras.to_keras(network)) == 8
    dense.trainable = False
    assert len(fastlstm.keras.to_keras(network)) == 6
    dense.params["V"][0, 0] = 0.9
    assert len(fastlstm.keras.to_keras(network)) == 8


REFUSED = {
    "peephole": (lambda: fastlstm.LSTM(I, H), "layer must have peephole=False for Keras, not True"),
    "variant": (lambda: fastlstm.LSTM(I, H, peephole=False, variant="CIFG"), "variant='vanilla' for Keras, not 'CIFG'"),
    "clip": (lambda: fastlstm.LSTM(I, H, peephole=False, clip=1.0), "layer must have clip=None for Keras, not 1.0"),
    "cell_clip": (lambda: fastlstm.LSTM(I, H, peephole=False, cell_clip=1.0), "layer must have cell_clip=None"),
    "layer_norm": (lambda: fastlstm.LSTM(I, H, peephole=False, layer_norm=True), "layer must have layer_norm=False"),
    "proj_size": (lambda: fastlstm.LSTM(I, H, peephole=False, proj_size=2), "layer must have proj_size=0 for Keras"),
    "two activations": (
        lambda: fastlstm.LSTM(I, H, peephole=False, activations=("logistic", "tanh", "relu")),
        "layer must have activations that Keras has, not ('logistic', 'tanh', 'relu')",
    ),
    "another hard logistic": (
        lambda: fastlstm.RNN(I, H, nonlinearity=("hard_logistic", 0.3, 0.5)), "activations that Keras has, not (('hard",
    ),
    "layers both ways": (
        lambda: fastlstm.GRU(I, H, num_layers=2, bidirectional=True), "must have num_layers=1 for Keras if it is bidir",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_keras_lacks(name):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        fastlstm.keras.to_keras(make())
    with pytest.raises(ValueError, match=re.escape(message)):
        fastlstm.keras.to_keras(nn.Sequential(make()))


def test_kinds_that_keras_lacks():
    for thing in (nn.Residual(nn.Dense(I, I)), nn.Branches(nn.Dense(I, I)), nn.Identity(), 3, None):
        with pytest.raises(TypeError, match=f"^layer must be one that Keras has, not {type(thing).__name__}$"):
            fastlstm.keras.to_keras(thing)


DENSE = {"class_name": "Dense", "config": {"name": "d", "units": 2, "activation": "linear"}}
ARRAYS = [np.ones((I, 2), np.float32), np.zeros(2, np.float32)]


@pytest.mark.parametrize(
    ("config", "arrays", "error", "message"),
    [
        (DENSE, ARRAYS[:1], ValueError, "layer 'd' (Dense): weights must be 2 arrays, not 1"),
        (DENSE, [*ARRAYS, ARRAYS[1]], ValueError, "layer 'd' (Dense): weights must be 2 arrays, not 3"),
        (DENSE, ARRAYS[::-1], ValueError, "layer 'd' (Dense): kernel must have shape (2, 2), not (2,)"),
        (DENSE, [np.ones((I, 3)), np.zeros(2)], ValueError, "kernel must have shape (3, 2), not (3, 3)"),
        (DENSE, [np.ones((I, 2)), np.zeros(3)], ValueError, "bias must have shape (2,), not (3,)"),
        (DENSE, [np.ones((0, 2)), np.zeros(2)], ValueError, "kernel must have shape (0, 2), not (0, 2)"),
        (DENSE, [np.ones((I, 2), int), np.zeros(2)], ValueError, "kernel must be an array of floats, not of int64"),
        (DENSE, [np.ones((I, 2), complex), np.zeros(2)], ValueError, "kernel must be an array of floats"),
        (DENSE["config"], ARRAYS, ValueError, "config must be that of a layer of Keras: the layer is not described by"),
        ("[]", ARRAYS, ValueError, "config has no configuration that makes sense: it is not an object of JSON"),
        (None, ARRAYS, TypeError, "config must be the configuration of a layer, not None"),
        (3, ARRAYS, TypeError, "config must be what model.to_json()"),
        (DENSE | {"class_name": "Masking"}, [], ValueError, "it computes nothing that is computed here"),
        (DENSE | {"class_name": "Conv2D"}, [], ValueError, "layer 'd' (Conv2D): there is nothing like it here"),
        (DENSE | {"module": "own"}, ARRAYS, ValueError, "it is of a class of its author's"),
    ],
    ids=str,
)  # fmt: skip
def test_what_from_keras_refuses(config, arrays, error, message):
    with pytest.raises(error, match=re.escape(message)):
        fastlstm.keras.from_keras(config, arrays)


def test_from_json():
    layer = fastlstm.keras.from_keras(
        '{"class_name": "Embedding", "config": {"input_dim": 3, "output_dim": 2}}', [np.ones((3, 2))]
    )
    assert repr(layer) == "Embedding(3, 2, dtype=float64)"


@pytest.mark.parametrize(("version", "expected"), [("3", HARD), ("3.15.1", HARD), ("2.15.0", "hard_logistic")])
def test_versions(version, expected):
    config = config_of(drawn(fastlstm.GRU(I, H, activations=(HARD, "tanh"))))
    arrays = fastlstm.keras.to_keras(fastlstm.GRU(I, H))
    layer = fastlstm.keras.from_keras(config, arrays, keras_version=version)
    assert layer.activations == (expected, "tanh")


def test_warnings():
    config = config_of(fastlstm.GRU(I, H), dropout=0.5, stateful=True)
    with pytest.warns(UserWarning) as caught:  # noqa: PT030 (both messages are compared)
        fastlstm.keras.from_keras(config, fastlstm.keras.to_keras(fastlstm.GRU(I, H)))
    assert [str(warning.message) for warning in caught] == [
        "what acts in training alone is left out: dropout=0.5 of layer 'l' (GRU)",
        "a call begins with zeros or the state that it is given, where Keras goes on from its last: layer 'l' (GRU)",
    ]
    assert all(warning.filename == __file__ for warning in caught)
