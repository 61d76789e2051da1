"""What Keras 3 writes in any of its formats is read, and computes what Keras does; and the way back."""

import keras_networks as networks
import numpy as np
import pytest
from keras_networks import inputs, predicted, saved, sequential

import fastlstm.keras

keras = networks.imported()
L = keras.layers
KINDS = networks.recurrent(L) | networks.others(L, keras)
FORMATS = ("keras", "h5", "weights.h5")
# Keras on PyTorch, of itself.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


def version(kind, model, config):
    """Say in a configuration for weights alone that it is of Keras 3, where that matters."""
    return None if config is None else f'{config[:-1]}, "keras_version": "{keras.__version__}"}}'


def assert_alike(network, model, x, dtype="float32"):
    expected = predicted(model, x)
    assert expected.std() > 1e-3 or expected.shape[-1] == 1
    found, _ = network(x)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=networks.TOLERANCES[dtype] * max(1, abs(expected).max()))


@pytest.mark.parametrize("name", KINDS)
def test_every_format(name, tmp_path):
    model, x = sequential(keras, KINDS[name]), inputs()
    for kind in FORMATS:
        path, config = saved(keras, model, tmp_path, kind)
        assert_alike(fastlstm.keras.load(path, config=version(kind, model, config)), model, x)


@pytest.mark.parametrize("name", KINDS)
def test_float64(name, tmp_path, monkeypatch):
    """Where Keras computes in it: by itself it makes float32 of factors, on every backend but JAX."""
    backend = keras.src.backend
    usual = backend.result_type
    for module in (backend, backend.common.dtypes):
        monkeypatch.setattr(
            module, "result_type", lambda *of: "float64" if "float64" in map(kind_of, of) else usual(*of)
        )
    model, x = sequential(keras, KINDS[name], "float64"), inputs(dtype="float64")
    path, _ = saved(keras, model, tmp_path, "keras")
    network = fastlstm.keras.load(path)
    assert network.dtype == np.float64
    assert_alike(network, model, x, "float64")


@pytest.mark.parametrize("name", KINDS)
def test_functional(name, tmp_path):
    model, x = networks.functional(keras, sequential(keras, KINDS[name])), inputs()
    for kind in FORMATS:
        path, config = saved(keras, model, tmp_path, kind)
        assert_alike(fastlstm.keras.load(path, config=version(kind, model, config)), model, x)


def kind_of(dtype):
    return keras.backend.standardize_dtype(dtype) if dtype is not None else None


WITHOUT = [name for name in KINDS if "without" in name or "use_bias" in name]


@pytest.mark.parametrize("name", [name for name in KINDS if name not in WITHOUT])
def test_a_model_takes_a_network_back(name, tmp_path):
    model, x = sequential(keras, KINDS[name]), inputs()
    path, _ = saved(keras, model, tmp_path, "keras")
    network, expected = fastlstm.keras.load(path), predicted(model, x)
    networks.drawn(model, seed=5)
    assert not np.allclose(predicted(model, x), expected, atol=1e-3)
    model.set_weights(fastlstm.keras.to_keras(network))
    np.testing.assert_allclose(predicted(model, x), expected, rtol=1e-5, atol=1e-6)


def arrays_for(theirs, ours):
    """Return the arrays that a layer of Keras takes: without those that it lacks."""
    inner = getattr(theirs, "layer", theirs)
    if isinstance(inner, L.LayerNormalization):
        arrays = fastlstm.keras.to_keras(ours, use_bias=inner.center)
        return arrays if inner.scale else arrays[1:]
    if isinstance(theirs, L.Bidirectional):
        sides = theirs.forward_layer.use_bias, theirs.backward_layer.use_bias
        arrays = fastlstm.keras.to_keras(ours, use_bias=any(sides))
        return arrays if sides[0] == sides[1] else arrays[:-1]
    return fastlstm.keras.to_keras(ours, use_bias=getattr(getattr(inner, "cell", inner), "use_bias", True))


def layer_named(model, path):
    for name in path.split("/"):
        model = model.get_layer(name)
    return model


@pytest.mark.parametrize("name", KINDS)
def test_layers_there_and_back(name, tmp_path):
    """Layers by name, each of which gives a layer of Keras its arrays; `from_keras` makes the same ones."""
    model, x = sequential(keras, KINDS[name]), inputs()
    # The older format does not say that axis 1 is the last.
    for kind in ("keras",) if name == "LayerNormalization of last outputs" else FORMATS:
        path, config = saved(keras, model, tmp_path, kind)
        found = fastlstm.keras.layers(path, config=version(kind, model, config))
        expected = predicted(model, x)
        networks.drawn(model, seed=5)
        for path, ours in found.items():
            theirs = layer_named(model, path)
            theirs.set_weights(arrays_for(theirs, ours))
            again = fastlstm.keras.from_keras(keras.saving.serialize_keras_object(theirs), theirs.get_weights())
            assert repr(again) == repr(ours)
            np.testing.assert_array_equal(again.flat, ours.flat)
        np.testing.assert_allclose(predicted(model, x), expected, rtol=1e-5, atol=1e-6)
