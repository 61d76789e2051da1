"""What Keras 3 has and fastlstm lacks is refused by the names of the layer and of the option, or left out and said."""

import json
import re

import keras_networks as networks
import numpy as np
import pytest
from keras_networks import B, I, T, drawn, inputs, predicted

import fastlstm.keras

keras = networks.imported()
L = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


def both(**backward):
    """A Bidirectional with another backward layer."""
    other = {"units": 4, "return_sequences": True, "go_backwards": True, "name": "other"} | backward
    return L.Bidirectional(L.LSTM(4, return_sequences=True), backward_layer=L.LSTM(**other))


class Own(L.LSTM):
    """A layer of a user's."""


def own_silu(x):
    return keras.ops.silu(x)


def mean_of_two():
    given = keras.Input((T, I))
    return keras.Model(given, L.Average()([L.Dense(3)(given), L.Dense(3)(given)]))


def two_outputs():
    given = keras.Input((T, I))
    y = L.LSTM(3)(given)
    return keras.Model(given, [y, L.Dense(2)(y)])


def shared():
    given, dense = keras.Input((T, I)), L.Dense(I, name="shared")
    return keras.Model(given, dense(dense(given)))


def a_state():
    given = keras.Input((T, I))
    _, h, _ = L.LSTM(3, return_state=True, name="encoder")(given)
    return keras.Model(given, L.Dense(2)(h))


def a_first_state():
    given = keras.Input((T, I))
    return keras.Model(given, L.LSTM(3, name="l")(given, initial_state=[L.LSTM(3)(given)] * 2))


def in_training():
    given = keras.Input((T, I))
    return keras.Model(given, L.Dropout(0.5, name="d")(given, training=True))


def an_operation():
    given = keras.Input((T, I))
    return keras.Model(given, L.Dense(2, name="d")(given) + 1.0)


LAYERS = {
    "Conv1D": (lambda: L.Conv1D(3, 2), "(Conv1D): there is nothing like it here"),
    "GlobalMaxPooling1D": (lambda: L.GlobalMaxPooling1D(), "(GlobalMaxPooling1D): there is nothing like it here"),
    "BatchNormalization": (lambda: L.BatchNormalization(), "(BatchNormalization): there is nothing like it here"),
    "Flatten": (lambda: L.Flatten(), "(Flatten): there is nothing like it here"),
    "go_backwards": (lambda: L.LSTM(3, go_backwards=True), "(LSTM): go_backwards=True is not here"),
    "go_backwards of cells": (lambda: L.RNN(L.GRUCell(3), go_backwards=True), "(RNN): go_backwards=True is not here"),
    "activation": (lambda: L.LSTM(3, activation="gelu"), "(LSTM): activation='gelu' is not here"),
    "activation of Dense": (lambda: L.Dense(3, activation="silu"), "(Dense): activation='silu' is not here"),
    "hard Dense": (lambda: L.Dense(3, activation="hard_sigmoid"), "(Dense): activation='hard_sigmoid' is not here"),
    "hard layer": (lambda: L.Activation("hard_sigmoid"), "(Activation): activation='hard_sigmoid' is not here"),
    "softmax in a layer": (lambda: L.GRU(3, activation="softmax"), "(GRU): activation='softmax' is not here"),
    "own activation": (lambda: L.Dense(3, activation=own_silu), "(Dense): activation='own_silu' is not here"),
    "a layer as activation": (lambda: L.Activation(L.ReLU()), "(Activation): activation must be one that has a name"),
    "gates": (lambda: L.LSTM(3, recurrent_activation="tanh"), "(LSTM): recurrent_activation='tanh' is not here"),
    "mul": (lambda: L.Bidirectional(L.LSTM(3), merge_mode="mul"), "(Bidirectional): merge_mode='mul' is not here"),
    "directions": (lambda: both(activation="relu"), "(Bidirectional): its two directions must have the same act"),
    "units": (lambda: both(units=5), "(Bidirectional): its two directions must have the same units"),
    "frozen direction": (lambda: both(trainable=False), "(Bidirectional): one of its two directions is frozen"),
    "another layer within": (
        lambda: L.TimeDistributed(L.Conv1D(2, 1)), "(TimeDistributed): its layer is a 'Conv1D', which is not here",
    ),
    "another axis": (lambda: L.LayerNormalization(axis=1), "(LayerNormalization): axis=1 is not here"),
    "several axes": (lambda: L.LayerNormalization(axis=[1, 2]), "(LayerNormalization): axis=[1, 2] is not here"),
    "rms_scaling": (lambda: L.LayerNormalization(rms_scaling=True), "(LayerNormalization): rms_scaling=True is not"),
    "no gain and no shift": (
        lambda: L.LayerNormalization(center=False, scale=False), "(LayerNormalization): center=False with scale=False",
    ),
    "softmax over steps": (lambda: L.Softmax(axis=1), "(Softmax): axis=1 is not here"),
    "leaky": (lambda: L.ReLU(negative_slope=0.1), "(ReLU): negative_slope=0.1 is not known here"),
    "bounded": (lambda: L.ReLU(max_value=6), "(ReLU): max_value=6"),
    "channels first": (
        lambda: L.GlobalAveragePooling1D(data_format="channels_first"), "(GlobalAveragePooling1D): data_format=",
    ),
    "kept axes": (lambda: L.GlobalAveragePooling1D(keepdims=True), "(GlobalAveragePooling1D): keepdims=True is"),
    "everything dropped": (lambda: L.Dropout(1.0), "(Dropout): rate must be"),
    "own layer": (lambda: Own(3), "(Own): it is of a class of its author's, and nothing in a file is run"),
    "ConvLSTM1D": (
        lambda: L.TimeDistributed(L.LSTM(2)), "(TimeDistributed): its layer is a 'LSTM', which is not here",
    ),
}  # fmt: skip
NEED_AN_AXIS = ("ConvLSTM1D", "another layer within")


@pytest.mark.filterwarnings("ignore:You passed `rms_scaling")
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, tmp_path):
    make, message = LAYERS[name]
    path, layer = tmp_path / "model.keras", make()
    shape = (T, I, 2) if name in NEED_AN_AXIS else (T, I)
    keras.Sequential([keras.Input(shape), layer]).save(path)
    expected = re.escape(f"{path}: layer {layer.name!r} {message}")
    with pytest.raises(ValueError, match=f"^{expected}"):
        fastlstm.keras.load(path)
    with pytest.warns(UserWarning, match=re.escape(f"{path}: layers are left out: layer {layer.name!r} {message}")):
        assert fastlstm.keras.layers(path) == {}


MODELS = {
    "branches": (mean_of_two, "with 2 values: layers() gives its layers by name"),
    "two outputs": (two_outputs, "must have one input and one output"),
    "called twice": (shared, "calls 'shared' 2 times"),
    "a state": (a_state, "uses a state that 'encoder' returns"),
    "a first state": (a_first_state, "calls 'l' with"),
    "in training": (in_training, "calls 'd' with training=True"),
    "an operation": (an_operation, "'add' is not one that comes before"),
}


@pytest.mark.filterwarnings("ignore:layers are left out")
@pytest.mark.parametrize("name", MODELS)
def test_models(name, tmp_path):
    make, message = MODELS[name]
    path = tmp_path / "model.keras"
    make().save(path)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        fastlstm.keras.load(path)
    assert str(caught.value).startswith(f"{path}: the model")


def test_models_of_a_class_of_their_own(tmp_path):
    class Whole(keras.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = L.Dense(2)

        def call(self, x):
            return self.dense(x)

    model = Whole()
    model(np.zeros((1, I), np.float32))
    model.save(tmp_path / "model.keras")
    for read in (fastlstm.keras.load, fastlstm.keras.layers):
        with pytest.raises(ValueError, match="must be a Sequential or a Functional one, not 'Whole'"):
            read(tmp_path / "model.keras")


@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a `quantize` method")
def test_quantised_weights(tmp_path):
    model = keras.Sequential([keras.Input((I,)), L.Dense(4, name="d")])
    model.quantize("int8")
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=r"layer 'd' \(Dense\): dtype=.*weights must be floats, not quantised"):
        fastlstm.keras.load(tmp_path / "model.keras")


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
def test_models_that_were_never_called(tmp_path):
    keras.Sequential([L.LSTM(3, name="l")]).save(tmp_path / "model.keras")
    with pytest.raises(fastlstm.FileError, match=r"layer 'l' .*was the model called before it was saved\?"):
        fastlstm.keras.load(tmp_path / "model.keras")


def test_without_a_hard_sigmoid_the_version_does_not_matter(tmp_path):
    model = drawn(keras.Sequential([keras.Input((T, I)), L.LSTM(3)]))
    model.save_weights(tmp_path / "model.weights.h5")
    network = fastlstm.keras.load(tmp_path / "model.weights.h5", config=model.to_json())
    np.testing.assert_allclose(network(inputs())[0], predicted(model, inputs()), atol=1e-6)


def test_arguments():
    for config in (3, [], "[]"):
        with pytest.raises((TypeError, ValueError), match="config"):
            fastlstm.keras.load(__file__.replace("test_refusals.py", "../data_keras_2/2_15_nested.h5"), config=config)


# ---- what is left out ----

TRAINING = {
    "dropout": (lambda: L.LSTM(4, dropout=0.5), "dropout=0.5 of layer {} (LSTM)"),
    "recurrent_dropout": (lambda: L.GRU(4, recurrent_dropout=0.5), "recurrent_dropout=0.5 of layer {} (GRU)"),
    "both ways": (lambda: L.Bidirectional(L.LSTM(4, dropout=0.25)), "dropout=0.25 of layer {} (LSTM)"),
    "a cell": (lambda: L.RNN(L.LSTMCell(4, dropout=0.5)), "dropout=0.5 of layer {} (LSTMCell)"),
    "regularizers": (
        lambda: L.Dense(4, kernel_regularizer="l2", activity_regularizer="l1"),
        "activity_regularizer of layer {0} (Dense); kernel_regularizer of layer {0} (Dense)",
    ),
    "constraints": (lambda: L.Dense(4, bias_constraint="non_neg"), "bias_constraint of layer {} (Dense)"),
    "features": (lambda: L.SpatialDropout1D(0.5), "layer {} (SpatialDropout1D)"),
    "noise": (lambda: L.GaussianNoise(0.5), "layer {} (GaussianNoise)"),
    "noise_shape": (lambda: L.Dropout(0.5, noise_shape=(None, 1, I)), "noise_shape of layer {} (Dropout)"),
}


@pytest.mark.parametrize("name", TRAINING)
def test_what_acts_in_training_alone(name, tmp_path):
    make, message = TRAINING[name]
    layer = make()
    model = drawn(keras.Sequential([keras.Input((T, I)), layer, L.Dense(2)]))
    model.save(tmp_path / "model.keras")
    said = re.escape("what acts in training alone is left out: " + message.format(repr(layer.name)))
    with pytest.warns(UserWarning, match=f"{said}$"):
        network = fastlstm.keras.load(tmp_path / "model.keras")
    np.testing.assert_allclose(network(inputs())[0], predicted(model, inputs()), atol=1e-5)


def test_states_that_are_kept(tmp_path):
    """Keras goes on from the last call; here the state is handed on."""
    model = drawn(keras.Sequential([keras.Input((T, I), batch_size=B), L.LSTM(4, stateful=True, name="l"), L.Dense(2)]))
    first, second = (inputs(seed=seed) for seed in (1, 2))
    expected = [predicted(model, x) for x in (first, second)]
    model.save(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match=r"goes on from its last: layer 'l' \(LSTM\)$"):
        network = fastlstm.keras.load(tmp_path / "model.keras")
    y, state = network(first)
    np.testing.assert_allclose(y, expected[0], atol=1e-5)
    np.testing.assert_allclose(network(second, state)[0], expected[1], atol=1e-5)
    assert not np.allclose(network(second)[0], expected[1], atol=1e-3)


def test_frozen_layers(tmp_path):
    """What Keras does not train is not trained here, also in a model within the model, in both formats."""
    inner = keras.Sequential([L.LSTM(4, return_sequences=True), L.Dense(4), L.Dense(3)], name="inner")
    model = drawn(keras.Sequential([keras.Input((T, I)), L.Dense(I, name="low"), inner, L.GRU(3), L.Dense(2)]))
    model.get_layer("low").trainable = False
    inner.layers[1].trainable = False  # Its arrays come after those of the others in the older format.
    for kind in ("keras", "h5"):
        path, _ = networks.saved(keras, model, tmp_path, kind)
        network = fastlstm.keras.load(path)
        assert [layer.trainable for layer in network.layers] == [False, True, False, True, True, True, True]
        np.testing.assert_allclose(network(inputs())[0], predicted(model, inputs()), atol=1e-5)


def test_a_config_of_a_file_is_not_changed():
    config = json.loads(keras.Sequential([keras.Input((T, I)), L.LSTM(3)]).to_json())
    before = json.dumps(config)
    with pytest.raises(fastlstm.FileError):
        fastlstm.keras.load(__file__, config=config)
    assert json.dumps(config) == before
