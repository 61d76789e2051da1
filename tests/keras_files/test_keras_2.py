"""Files that Keras 2.15 and 2.13 wrote: `data_keras_2/make.py` made them, and says what is in them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import fastlstm.keras

FOLDER = Path(__file__).parents[1] / "data_keras_2"
WHOLE = sorted(path.name for path in FOLDER.glob("*.*") if re.search(r"\d_[a-z]+\.(keras|h5)$", path.name))
WEIGHTS = ["2_15_nested.weights.h5", "2_15_nested_weights.h5"]
MASKS = "there are no masks here, a call is given lengths instead; left out: mask_zero of layer 'embedding'"
LAYERS = {
    "bidirectional": "LSTM(3, 3, peephole=False, activations=('hard_logistic', 'tanh', 'tanh'), bidirectional=True, "
    "dtype=float32)",
    "inner/lstm": "LSTM(6, 4, peephole=False, dtype=float32)",
    "inner/dense": "Dense(4, 3, dtype=float32)",
    "inner/dense_1": "Dense(3, 4, activation='logistic', dtype=float32)",
    "rnn": "Sequential(LSTM(4, 3, peephole=False, dtype=float32), LSTM(3, 4, peephole=False, dtype=float32))",
    "time_distributed": "Dense(4, 3, activation='tanh', dtype=float32)",
}


def values_of(name):
    version, model = re.match(r"(\d_\d+)_([a-z]+)", name).groups()
    values = np.load(FOLDER / f"{version}.npz")
    return values[f"{model}_x"], values[f"{model}_y"]


def config():
    return (FOLDER / "2_15_nested.json").read_text("utf-8")


def loaded(name, **options):
    if "_ids" not in name:
        return fastlstm.keras.load(FOLDER / name, **options)
    with pytest.warns(UserWarning, match=MASKS):
        return fastlstm.keras.load(FOLDER / name, **options)


def test_files_are_found():
    assert len(WHOLE) == 7


@pytest.mark.parametrize("name", WHOLE)
def test_models(name):
    x, expected = values_of(name)
    assert expected.std(axis=0).max() > 1e-3
    np.testing.assert_allclose(loaded(name).predict(x), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_with_a_config(name, as_json):
    x, expected = values_of(name)
    given = config() if as_json else json.loads(config())
    np.testing.assert_allclose(loaded(name, config=given).predict(x), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["2_13_nested.keras", "2_15_nested.keras", "2_15_nested.h5"])
def test_layers(name):
    assert {name: repr(layer) for name, layer in fastlstm.keras.layers(FOLDER / name).items()} == LAYERS


def test_layers_of_weights_alone():
    """Names and sizes are there, and of options what Keras has by itself."""
    with pytest.warns(UserWarning, match=r"without config, options of layers are taken .*: layer 'bidirectional'"):
        found = fastlstm.keras.layers(FOLDER / "2_15_nested.weights.h5")
    # Files of this version have no names of layers: groups are called by the classes.
    expected = {
        path.replace("inner", "sequential"): re.sub(r" activations?=(\(.*?\)|'.*?'),", "", text)
        for path, text in LAYERS.items()
    }
    assert {name: repr(layer) for name, layer in found.items()} == expected
    with_config = fastlstm.keras.layers(FOLDER / "2_15_nested.weights.h5", config=config())
    for name, layer in with_config.items():
        np.testing.assert_array_equal(found[name.replace("inner", "sequential")].flat, layer.flat)


def test_layers_of_older_weights_alone():
    """What is in a model within the model is not told apart there."""
    with pytest.warns(UserWarning, match="layers are left out|options of layers") as caught:
        found = fastlstm.keras.layers(FOLDER / "2_15_nested_weights.h5")
    assert found.keys() == {"bidirectional", "time_distributed"}
    said = " ".join(str(warning.message) for warning in caught)
    assert "layers are left out: layer 'inner' (layer with bias, kernel" in said
    with_config = fastlstm.keras.layers(FOLDER / "2_15_nested_weights.h5", config=config())
    for name, layer in found.items():
        np.testing.assert_array_equal(layer.flat, with_config[name].flat)


def test_weights_by_name():
    newer, older = (fastlstm.keras.weights(FOLDER / f"2_15_nested.{kind}") for kind in ("keras", "h5"))
    assert newer.keys() == older.keys() == LAYERS.keys()
    assert newer["bidirectional"].keys() == {
        f"{side}_layer/cell/{k}" for side in ("forward", "backward") for k in range(3)
    }
    assert older["bidirectional"].keys() == {
        f"{side}_lstm_1/lstm_cell/{role}"
        for side in ("forward", "backward")
        for role in ("kernel", "recurrent_kernel", "bias")
    }
    for layer, name in (("inner/lstm", "lstm_cell/recurrent_kernel"), ("inner/dense", "kernel")):
        number = "cell/1" if layer == "inner/lstm" else "0"
        np.testing.assert_array_equal(older[layer][name], newer[layer][number])


def test_hard_sigmoid_of_weights_alone():
    """The file does not say which Keras wrote it, and they mean different functions by the name."""
    without = json.loads(config())
    del without["keras_version"]
    with pytest.raises(ValueError, match=r"layer 'bidirectional' .*recurrent_activation='hard_sigmoid' is 0.2 a"):
        fastlstm.keras.load(FOLDER / "2_15_nested.weights.h5", config=without)
    third = fastlstm.keras.load(FOLDER / "2_15_nested.weights.h5", config=without | {"keras_version": "3.0.1"})
    assert third.layers[0].activations == (("hard_logistic", 1 / 6, 0.5), "tanh", "tanh")


def test_weights_alone_need_a_config():
    with pytest.raises(ValueError, match=r"2_15_nested.weights.h5 has weights alone: config must be"):
        fastlstm.keras.load(FOLDER / "2_15_nested.weights.h5")


def test_a_whole_model_needs_none():
    with pytest.raises(ValueError, match=r"2_15_nested.keras has a configuration of its own: config must be left out"):
        fastlstm.keras.load(FOLDER / "2_15_nested.keras", config=config())
