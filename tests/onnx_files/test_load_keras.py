"""Models of Keras in ONNX files, where they have recurrent nodes, and where they have none.

Only Keras on TensorFlow and JAX writes such nodes, by tf2onnx, which the tests do not have: its graphs are made here,
of Keras's weights, as it lays them out. Keras on PyTorch writes every step of its own loop.
"""

import os
import warnings

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")
os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import fastlstm  # noqa: E402
import fastlstm.onnx  # noqa: E402

# Of Keras itself, with PyTorch below it.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

T, I, H = 7, 4, 5


def by_keras(layer, x):
    return keras.ops.convert_to_numpy(layer(x))


def lstm_nodes(layer, x, name, *, sequences):
    """The nodes and tensors that tf2onnx writes for an LSTM, whose input has the batch first."""
    kernel, recurrent, bias = layer.get_weights()

    def blocks(array):
        i, f, c, o = np.split(array, 4, axis=-1)
        return np.concatenate([i, o, f, c], axis=-1)

    arrays = {
        "W": blocks(kernel).T[None], "R": blocks(recurrent).T[None],
        "B": np.concatenate([blocks(bias), np.zeros_like(bias)])[None],
    }  # fmt: skip
    tensors = [numpy_helper.from_array(array, name + role) for role, array in arrays.items()]
    activations = {"hard_sigmoid": "HardSigmoid", "sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}
    own = [activations[layer.recurrent_activation.__name__]] + [activations[layer.activation.__name__]] * 2
    hard = {"activation_alpha": [1 / 6], "activation_beta": [0.5]} if own[0] == "HardSigmoid" else {}
    nodes = [
        helper.make_node("Transpose", [x], [name + "X"], perm=[1, 0, 2]),
        helper.make_node(
            "LSTM", [name + "X", name + "W", name + "R", name + "B"], [name + "Y", name + "Y_h"], hidden_size=H,
            activations=own, name=name, **hard,
        ),
    ]  # fmt: skip
    if sequences:
        nodes.append(helper.make_node("Squeeze", [name + "Y", "one"], [name + "y"]))
        nodes.append(helper.make_node("Transpose", [name + "y"], [name], perm=[1, 0, 2]))
    else:
        nodes.append(helper.make_node("Squeeze", [name + "Y_h", "zero"], [name]))
    return nodes, tensors


@pytest.mark.parametrize("recurrent_activation", ["sigmoid", "hard_sigmoid"])
def test_lstms(recurrent_activation, runtime):
    keras.utils.set_random_seed(0)
    options = {"recurrent_activation": recurrent_activation}
    first, second = keras.layers.LSTM(H, return_sequences=True, **options), keras.layers.LSTM(H, **options)
    dense = keras.layers.Dense(3, activation="softmax")
    x = np.random.default_rng(0).normal(size=(2, T, I)).astype(np.float32)
    expected = by_keras(dense, second(first(x)))
    nodes, tensors = [], [numpy_helper.from_array(np.array([k]), name) for k, name in enumerate(("zero", "one"))]
    for layer, below, name, sequences in ((first, "x", "a", True), (second, "a", "b", False)):
        own = lstm_nodes(layer, below, name, sequences=sequences)
        nodes, tensors = nodes + own[0], tensors + own[1]
    V, c = dense.get_weights()
    tensors += [numpy_helper.from_array(V, "V"), numpy_helper.from_array(c, "c")]
    nodes += [
        helper.make_node("MatMul", ["b", "V"], ["d"]),
        helper.make_node("Add", ["d", "c"], ["e"]),
        helper.make_node("Softmax", ["e"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "keras", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", T, I])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])], tensors,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    np.testing.assert_allclose(runtime(model, {"x": x})["y"], expected, atol=1e-5)
    network = fastlstm.onnx.load(model)
    np.testing.assert_allclose(network(x)[0], expected, atol=1e-5)
    assert network.batch_first
    assert [type(layer).__name__ for layer in network.layers] == ["LSTM", "Last", "Dense", "Activation"]
    lstm = network.layers[0]
    assert (lstm.num_layers, lstm.peephole) == (2, False)


@pytest.mark.parametrize("layer", [keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN])
def test_loops_that_are_written_step_by_step(layer, tmp_path):
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of the exporters themselves.
        model = keras.Sequential([keras.layers.Input((T, I)), layer(H), keras.layers.Dense(3)])
        model(np.zeros((1, T, I), np.float32))
        model.export(path, format="onnx", verbose=False)
    assert fastlstm.onnx.nodes(path) == []
    with pytest.raises(ValueError, match=r"model\.onnx is no network .*: it has no LSTM, GRU or RNN node"):
        fastlstm.onnx.load(path)
