"""Files in the layout of early versions of Keras 2, which nobody can run any more: h5py writes them here."""

import json

import numpy as np
import pytest

import fastlstm.keras

h5py = pytest.importorskip("h5py")
I, H, T, B = 3, 4, 5, 2
RNG = np.random.default_rng(0)


def arrays(blocks, inputs=I, units=H):
    shapes = {
        "kernel": (inputs, blocks * units),
        "recurrent_kernel": (units, blocks * units),
        "bias": (blocks * units,),
    }
    return {role: RNG.normal(size=shape).astype("f4") for role, shape in shapes.items()}


def dense(inputs, outputs):
    return {"kernel": RNG.normal(size=(inputs, outputs)).astype("f4"), "bias": RNG.normal(size=outputs).astype("f4")}


def written(path, layers, config=None, version="2.1.6"):
    """Write a whole model, or weights alone, with texts of fixed length, as older versions of h5py did."""
    with h5py.File(path, "w") as file:
        root = file
        if config is not None:
            file.attrs["model_config"] = np.bytes_(json.dumps(config).encode())
            file.attrs["keras_version"], file.attrs["backend"] = np.bytes_(version), np.bytes_("theano")
            root = file.create_group("model_weights")
        root.attrs["layer_names"] = np.array([name.encode() for name in layers])
        root.attrs["keras_version"], root.attrs["backend"] = np.bytes_(version), np.bytes_("theano")
        for name, own in layers.items():
            group = root.create_group(name)
            group.attrs["weight_names"] = np.array([key.encode() for key in own])
            for key, array in own.items():
                group[key] = array
    return path


def under(prefix, own):
    return {f"{prefix}/{role}:0": array for role, array in own.items()}


def lstm(name, **options):
    usual = {"units": H, "activation": "tanh", "recurrent_activation": "hard_sigmoid", "use_bias": True,
             "return_sequences": True, "go_backwards": False, "stateful": False, "implementation": 1}  # fmt: skip
    return {"class_name": "LSTM", "config": {"name": name, "trainable": True} | usual | options}


def test_a_model(tmp_path):
    """A Sequential's configuration is a list, a GRU resets before the product, and cells have no names."""
    forward, backward, gru, out = arrays(4), arrays(4), arrays(3, 2 * H), dense(H, 2)
    layers = {
        "dropout_1": {},
        "bidirectional_1": under("bidirectional_1/forward_lstm_1", forward)
        | under("bidirectional_1/backward_lstm_1", backward),
        "gru_1": under("gru_1", gru),
        "time_distributed_1": under("time_distributed_1", out),
    }
    gru_config = lstm("gru_1", activation="relu")["config"]
    inner = {"class_name": "Dense", "config": {"name": "dense_1", "units": 2, "activation": "linear"}}
    config = {
        "class_name": "Sequential",
        "config": [
            {"class_name": "Dropout", "config": {"name": "dropout_1", "rate": 0.5, "batch_input_shape": [None, T, I],
                                                 "noise_shape": None, "seed": None, "dtype": "float32"}},
            {"class_name": "Bidirectional",
             "config": {"name": "bidirectional_1", "trainable": True, "merge_mode": "concat", "layer": lstm("lstm_1")}},
            {"class_name": "GRU", "config": gru_config},
            {"class_name": "TimeDistributed", "config": {"name": "time_distributed_1", "layer": inner}},
        ],
    }  # fmt: skip
    network = fastlstm.keras.load(written(tmp_path / "model.h5", layers, config))
    both, cell = (
        fastlstm.LSTM(I, H, peephole=False, bidirectional=True, activations=("hard_logistic", "tanh", "tanh")),
        (fastlstm.GRU(2 * H, H, reset_after=False, activations=("hard_logistic", "relu"))),
    )
    for suffix, own in (("", forward), ("_reverse", backward)):
        for name, role in (("W", "kernel"), ("R", "recurrent_kernel"), ("b", "bias")):
            both.params[f"{name}_l0{suffix}"][:] = own[role].T
    for name, role in (("W", "kernel"), ("R", "recurrent_kernel"), ("b", "bias")):
        z, r, n = np.split(gru[role].T, 3)
        cell.params[f"{name}_l0"][:] = np.concatenate([r, z, n])
    x = RNG.normal(size=(B, T, I)).astype("f4")
    y, _ = cell(both(x.swapaxes(0, 1).copy())[0])
    expected = y @ out["kernel"] + out["bias"]
    np.testing.assert_allclose(network(x)[0], expected.swapaxes(0, 1), atol=1e-5)


def test_a_functional_model(tmp_path):
    """A model within it has been called once before, as its second node shows."""
    table, own, out = {"embeddings": RNG.normal(size=(9, I)).astype("f4")}, arrays(4), dense(H, 2)
    inner = {
        "name": "model_1",
        "layers": [
            {"class_name": "InputLayer", "name": "input_2", "inbound_nodes": [],
             "config": {"name": "input_2", "batch_input_shape": [None, None, I], "dtype": "float32", "sparse": False}},
            lstm("lstm_1") | {"name": "lstm_1", "inbound_nodes": [[["input_2", 0, 0, {}]]]},
            {"class_name": "Dense", "name": "dense_1", "inbound_nodes": [[["lstm_1", 0, 0, {}]]],
             "config": {"name": "dense_1", "units": 2, "activation": "softmax"}},
        ],
        "input_layers": [["input_2", 0, 0]], "output_layers": [["dense_1", 0, 0]],
    }  # fmt: skip
    words = {"name": "embedding_1", "input_dim": 9, "output_dim": I, "mask_zero": False, "input_length": None}
    config = {
        "class_name": "Model",
        "config": {
            "name": "model_2",
            "layers": [
                {"class_name": "InputLayer", "name": "input_1", "inbound_nodes": [],
                 "config": {"name": "input_1", "batch_input_shape": [None, None], "dtype": "int32", "sparse": False}},
                {"class_name": "Embedding", "name": "embedding_1", "config": words,
                 "inbound_nodes": [[["input_1", 0, 0, {}]]]},
                {"class_name": "Model", "name": "model_1", "config": inner,
                 "inbound_nodes": [[["embedding_1", 0, 0, {}]]]},
            ],
            "input_layers": [["input_1", 0, 0]], "output_layers": [["model_1", 1, 0]],
        },
    }  # fmt: skip
    layers = {
        "input_1": {},
        "embedding_1": under("embedding_1", table),
        "model_1": under("lstm_1", own) | under("dense_1", out),
    }
    path = written(tmp_path / "model.h5", layers, config)
    network = fastlstm.keras.load(path)
    assert [type(layer).__name__ for layer in network.layers] == ["Embedding", "LSTM", "Dense", "Activation"]
    np.testing.assert_array_equal(network.params["2.V"], out["kernel"].T)
    assert fastlstm.keras.weights(path).keys() == {"embedding_1", "model_1/lstm_1", "model_1/dense_1"}


def test_weights_alone(tmp_path):
    """Of what classes layers are shows in the names of their arrays, of which kind of cell in their shapes."""
    layers = {
        "words": under("words", {"embeddings": np.ones((9, I), "f4")}),
        "one": under("one", arrays(4)),
        "two": under("two", arrays(3)),
        "three": under("three", arrays(1)),
        "both": under("both/forward_x", arrays(4)) | under("both/backward_x", arrays(4)),
        "after": under("after", arrays(3) | {"bias": np.ones((2, 3 * H), "f4")}),
        "out": under("out", dense(H, 2)),
        "conv": under("conv", {"kernel": np.ones((2, I, H), "f4"), "bias": np.ones(H, "f4")}),
        "norm": under("norm", {"gamma": np.ones(H, "f4"), "beta": np.ones(H, "f4")}),
        "none": {},
    }
    path = written(tmp_path / "weights.h5", layers)
    with pytest.warns(UserWarning, match="layers are left out|options of layers are taken"):
        found = fastlstm.keras.layers(path)
    assert {name: repr(layer) for name, layer in found.items()} == {
        "words": "Embedding(9, 3, dtype=float32)",
        "one": "LSTM(3, 4, peephole=False, dtype=float32)",
        "two": "GRU(3, 4, reset_after=False, dtype=float32)",
        "three": "RNN(3, 4, nonlinearity='tanh', dtype=float32)",
        "both": "LSTM(3, 4, peephole=False, bidirectional=True, dtype=float32)",
        "after": "GRU(3, 4, reset_after=True, dtype=float32)",
        "out": "Dense(4, 2, dtype=float32)",
    }
    assert fastlstm.keras.weights(path).keys() == layers.keys() - {"none"}


def test_an_array_that_is_missing(tmp_path):
    layers = {"d": {"d/kernel:0": np.ones((I, 2), "f4")}}
    config = {
        "class_name": "Sequential",
        "config": [{"class_name": "Dense", "config": {"name": "d", "units": 2, "activation": "linear"}}],
    }
    path = written(tmp_path / "model.h5", layers, config)
    with pytest.raises(fastlstm.FileError, match=r"model.h5: layer 'd' \(Dense\): the file has no bias of it"):
        fastlstm.keras.load(path)
    layers["d"] |= {"d/bias:0": np.ones(2, "f4"), "d/bias_1:0": np.ones(2, "f4")}
    with pytest.raises(fastlstm.FileError, match=r"its arrays must be kernel, bias, and the file has 'd/bias_1:0'"):
        fastlstm.keras.load(written(tmp_path / "more.h5", layers, config))
