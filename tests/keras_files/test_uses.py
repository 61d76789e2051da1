"""Masks, streams, models of any shape, precisions: what a user of Keras does with what was read."""

import subprocess
import sys

import keras_networks as networks
import numpy as np
import pytest
from keras_networks import LENGTHS, B, I, T, drawn, inputs, predicted, saved

import fastlstm
import fastlstm.keras

keras = networks.imported()
L = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
PAST = np.arange(T) >= LENGTHS[:, np.newaxis]


def masked_inputs(ids=False):
    x = inputs(ids)
    x[PAST] = 0
    return x


def loaded(model, folder, kind="keras"):
    path, config = saved(keras, model, folder, kind)
    with pytest.warns(UserWarning, match="there are no masks here, a call is given lengths instead; left out: "):
        return fastlstm.keras.load(path, config=config)


# ---- masks ----

SEQUENCES = {
    "LSTM": lambda: [L.LSTM(4, return_sequences=True)],
    "GRU": lambda: [L.GRU(4, return_sequences=True)],
    "both ways": lambda: [L.Bidirectional(L.LSTM(4, return_sequences=True))],
    "above each other": lambda: [
        L.Bidirectional(L.GRU(4, return_sequences=True)), L.LSTM(3, return_sequences=True), L.Dense(2, "tanh"),
    ],
}  # fmt: skip
LAST = {
    "LSTM": lambda: [L.LSTM(4)],
    "GRU": lambda: [L.GRU(4, reset_after=False)],
    "SimpleRNN": lambda: [L.SimpleRNN(4)],
    "both ways": lambda: [L.Bidirectional(L.LSTM(4))],
    "both ways, added": lambda: [L.Bidirectional(L.GRU(4), merge_mode="sum")],
    "above each other": lambda: [
        L.Bidirectional(L.LSTM(4, return_sequences=True)),
        L.Bidirectional(L.LSTM(3)),
        L.Dense(2),
    ],
    "mean": lambda: [L.Bidirectional(L.LSTM(4, return_sequences=True)), L.GlobalAveragePooling1D(), L.Dense(3)],
}


def model_with_mask(layers, ids):
    first = [L.Embedding(9, 5, mask_zero=True)] if ids else [L.Masking()]
    given = keras.Input((T,), dtype="int32") if ids else keras.Input((T, I))
    return drawn(keras.Sequential([given, *first, *layers()]))


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("name", SEQUENCES)
def test_masks_are_lengths(name, ids, functional, tmp_path):
    model, x = model_with_mask(SEQUENCES[name], ids), masked_inputs(ids)
    if functional:
        given = keras.Input(x.shape[1:], dtype=x.dtype)
        y = given
        for layer in model.layers:
            y = layer(y)
        model = keras.Model(given, y)
    expected = predicted(model, x)
    for kind in ("keras", "h5"):
        found, _ = loaded(model, tmp_path, kind)(x, lengths=LENGTHS)
        np.testing.assert_allclose(found[~PAST], expected[~PAST], atol=1e-5)


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("name", LAST)
def test_last_outputs_of_masked_sequences(name, ids, tmp_path):
    model, x = model_with_mask(LAST[name], ids), masked_inputs(ids)
    network = loaded(model, tmp_path)
    np.testing.assert_allclose(network(x, lengths=LENGTHS)[0], predicted(model, x), atol=1e-5)
    assert not np.allclose(network(x)[0], predicted(model, x), atol=1e-3)


def test_masks_are_named(tmp_path):
    model = drawn(keras.Sequential([keras.Input((T, I)), L.Masking(-1.0, name="gaps"), L.LSTM(3)]))
    path, _ = saved(keras, model, tmp_path, "keras")
    with pytest.warns(UserWarning, match=rf"{path.name}: .*left out: layer 'gaps' \(Masking\)$") as caught:
        fastlstm.keras.load(path)
    assert [warning.filename for warning in caught] == [__file__]


def test_a_mask_of_a_caller(tmp_path):
    """A Functional model can be given one as a second input: that is no chain, and said."""
    given, mask = keras.Input((T, I)), keras.Input((T,), dtype="bool")
    model = drawn(keras.Model([given, mask], L.LSTM(3, name="l")(given, mask=mask)))
    path, _ = saved(keras, model, tmp_path, "keras")
    with pytest.raises(ValueError, match="must have one input and one output"):
        fastlstm.keras.load(path)
    assert list(fastlstm.keras.layers(path)) == ["l"]


# ---- streams ----


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN", "a stack"])
def test_step_by_step(kind, tmp_path):
    """What Keras says of a whole sequence comes here value by value."""
    layer = L.RNN([L.LSTMCell(4), L.LSTMCell(4)], return_sequences=True)
    if kind != "a stack":
        layer = getattr(L, kind)(4, return_sequences=True)
    model = drawn(keras.Sequential([keras.Input((T, I)), L.LayerNormalization(), layer, L.Dense(2, "softmax")]))
    path, _ = saved(keras, model, tmp_path, "keras")
    steps = []
    for own in fastlstm.keras.load(path).layers:
        recurrent = isinstance(own, (fastlstm.LSTM, fastlstm.GRU, fastlstm.RNN))
        steps.append(fastlstm.Stream(own, B).step if recurrent else own)
    x, found = inputs(), []
    for t in range(T):
        y = np.ascontiguousarray(x[:, t])
        for step in steps:
            y = step(y)
        found.append(y.copy())
    np.testing.assert_allclose(np.stack(found, axis=1), predicted(model, x), atol=1e-5)


# ---- models of any shape ----


def test_a_model_with_branches(tmp_path):
    left, right = keras.Input((T, I), name="left"), keras.Input((T,), dtype="int32", name="right")
    words = L.Embedding(9, 4, name="words")(right)
    inner = keras.Sequential(
        [keras.Input((T, 4)), L.GRU(5, name="reader"), L.Dense(3, "tanh", name="thought")], name="in"
    )
    joined = L.Concatenate(name="join")([L.LSTM(4, name="ear")(left), inner(words)])
    model = drawn(keras.Model([left, right], L.Dense(2, "softmax", name="say")(joined)))
    x, ids = inputs(), inputs(ids=True)
    expected = np.asarray(model([x, ids]).detach())
    for kind in ("keras", "h5", "weights.h5"):
        path, config = saved(keras, model, tmp_path, kind)
        with pytest.warns(UserWarning, match=r"layers are left out: layer 'join' \(Concatenate\): there is nothing"):
            found = fastlstm.keras.layers(path, config=config)
        assert found.keys() == {"words", "in/reader", "in/thought", "ear", "say"}
        _, (heard, _) = found["ear"](x.swapaxes(0, 1).copy())
        _, read = found["in/reader"](found["words"](ids.T))
        both = np.concatenate([heard[0], found["in/thought"](read[0])], axis=-1)
        network = fastlstm.nn.Sequential(found["say"])
        np.testing.assert_allclose(network(both)[0], expected, atol=1e-5)


def test_arrays_of_every_layer(tmp_path):
    model = keras.Sequential(
        [keras.Input((T, I)), L.Conv1D(4, 2, name="conv"), L.BatchNormalization(name="norm"), L.LSTM(3, name="lstm")]
    )
    drawn(model)
    for kind in ("keras", "h5", "weights.h5"):
        path, config = saved(keras, model, tmp_path, kind)
        for given in (config,) if config is None else (config, None):
            found = fastlstm.keras.weights(path, config=given)
            assert found.keys() == {"conv", "norm", "lstm"}
            for name, arrays in found.items():
                theirs = model.get_layer(name).get_weights()
                assert sorted(array.shape for array in arrays.values()) == sorted(array.shape for array in theirs)
            kernel = found["conv"]["kernel" if kind == "h5" else "0"]
            np.testing.assert_array_equal(kernel, model.get_layer("conv").get_weights()[0])


def test_weights_alone_have_names(tmp_path):
    """Keras 3 writes the names of layers beside their arrays; options are Keras's own, which is said."""
    inner = keras.Sequential([L.GRU(4, return_sequences=True, name="deep"), L.Dense(3)], name="inner")
    layers = [
        L.Embedding(9, 5, name="words"), inner, L.Bidirectional(L.LSTM(4, return_sequences=True), name="both"),
        L.RNN([L.GRUCell(3), L.GRUCell(2)], return_sequences=True, name="cells"), L.LayerNormalization(name="norm"),
        L.TimeDistributed(L.Dense(3), name="each"), L.SimpleRNN(2, use_bias=False, name="simple"),
        L.Dense(2, name="say"),
    ]  # fmt: skip
    model = drawn(keras.Sequential([keras.Input((T,), dtype="int32"), *layers]))
    path, config = saved(keras, model, tmp_path, "weights.h5")
    with pytest.warns(UserWarning, match="without config, options of layers are taken to be those that Keras has"):
        found = fastlstm.keras.layers(path)
    expected = fastlstm.keras.layers(path, config=config)
    assert found.keys() == expected.keys()
    for name, layer in found.items():
        assert repr(layer) == repr(expected[name])
        np.testing.assert_array_equal(layer.flat, expected[name].flat)


# ---- precisions ----


@pytest.mark.parametrize("policy", ["float16", "bfloat16", "mixed_float16", "mixed_bfloat16"])
def test_16_bits(policy, tmp_path):
    """Weights are what they are; what is computed is exact to float32, and Keras's own result is rounded."""
    # Keras draws no orthogonal matrices of 16 bits.
    lstm = L.LSTM(4, return_sequences=True, dtype=policy, recurrent_initializer="glorot_uniform")
    layers = [lstm, L.Dense(2, dtype=policy)]
    model = drawn(keras.Sequential([keras.Input((T, I), dtype="float32"), *layers]))
    for kind in ("keras", "weights.h5"):
        path, config = saved(keras, model, tmp_path, kind)
        network = fastlstm.keras.load(path, config=config)
        assert network.dtype == np.float32
        for theirs, ours in zip(model.weights, fastlstm.keras.to_keras(network), strict=True):
            np.testing.assert_array_equal(np.asarray(theirs.value.detach().float()), ours)


def test_what_is_needed():
    """Reading a file imports neither Keras nor h5py nor PyTorch."""
    code = (
        "import sys, fastlstm.keras; fastlstm.keras.load(sys.argv[1]); "
        "print([name for name in ('keras', 'h5py', 'torch', 'tensorflow') if name in sys.modules])"
    )
    path = networks.__file__.replace("keras_networks.py", "data_keras_2/2_15_grus.h5")
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
