"""Models of Keras, each made of what a user may put into one, for the tests of what is read of them."""

import os

import numpy as np
import pytest

I, T, B = 3, 7, 4
# Rows of the batch end here where a model has masks.
LENGTHS = np.array([7, 4, 1, 6])
TOLERANCES = {"float32": 1e-5, "float64": 1e-12}


def imported():
    """Return Keras on PyTorch, in one thread."""
    torch = pytest.importorskip("torch")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    torch.set_num_threads(1)
    return keras


def drawn(model, seed=0, scale=1.0):
    """Set all weights of a model, biases too, and return it."""
    rng = np.random.default_rng(seed)
    model.set_weights([scale * rng.normal(size=array.shape) for array in model.weights])
    return model


def inputs(ids=False, dtype="float32", seed=1):
    rng = np.random.default_rng(seed)
    return rng.integers(1, 9, (B, T)) if ids else rng.normal(size=(B, T, I)).astype(dtype)


def recurrent(L):
    """Each recurrent layer, with all options that are read, by what it shows."""
    last, all_steps = {"return_sequences": False}, {"return_sequences": True}
    cells = {"LSTM": L.LSTM, "GRU": L.GRU, "SimpleRNN": L.SimpleRNN}
    found = {}
    for name, kind in cells.items():
        for activation in ("tanh", "relu", "sigmoid", "linear", "hard_sigmoid"):
            found[f"{name} {activation}"] = lambda kind=kind, a=activation: [kind(4, activation=a, **all_steps)]
        found[f"{name} last"] = lambda kind=kind: [kind(4, **last)]
        found[f"{name} without biases"] = lambda kind=kind: [kind(4, use_bias=False, **all_steps)]
        found[f"{name} unrolled"] = lambda kind=kind: [kind(4, unroll=True, **all_steps)]
        for mode in ("concat", "sum", "ave"):
            for returned in (last, all_steps):
                found[f"{name} both {mode} {'all' if returned is all_steps else 'last'}"] = (
                    lambda kind=kind, mode=mode, returned=returned: [
                        L.Bidirectional(kind(4, **returned), merge_mode=mode)
                    ]
                )
        found[f"{name} above {name}"] = lambda kind=kind: [kind(4, **all_steps), kind(3, **all_steps), kind(5)]
        found[f"{name}s both ways, above each other"] = lambda kind=kind: [
            L.Bidirectional(kind(4, **all_steps)),
            L.Bidirectional(kind(3, **last)),
        ]
    for name, kind in (("LSTM", L.LSTM), ("GRU", L.GRU)):
        found[f"{name} hard gates"] = lambda kind=kind: [kind(4, recurrent_activation="hard_sigmoid", **all_steps)]
        found[f"{name} hard gates, both ways"] = lambda kind=kind: [
            L.Bidirectional(kind(4, recurrent_activation="hard_sigmoid", **all_steps))
        ]
    for options in ({}, {"use_bias": False}, {"recurrent_activation": "hard_sigmoid"}):
        found[f"GRU before {options}"] = lambda options=options: [L.GRU(4, reset_after=False, **options)]
    found["LSTM without unit_forget_bias"] = lambda: [L.LSTM(4, unit_forget_bias=False)]
    found["an own backward layer"] = lambda: [
        L.Bidirectional(L.LSTM(4, **all_steps), backward_layer=L.LSTM(4, go_backwards=True, name="other", **all_steps))
    ]
    found["one side without biases"] = lambda: [
        L.Bidirectional(
            L.GRU(4, **all_steps), backward_layer=L.GRU(4, go_backwards=True, use_bias=False, name="other", **all_steps)
        )
    ]
    found["cells"] = lambda: [
        L.RNN(L.LSTMCell(4), **all_steps), L.RNN(L.GRUCell(3), **all_steps), L.RNN(L.SimpleRNNCell(5))
    ]  # fmt: skip
    found["a stack of cells"] = lambda: [L.RNN([L.LSTMCell(4), L.LSTMCell(3), L.LSTMCell(5)], **all_steps)]
    found["a stack of different cells"] = lambda: [
        L.RNN([L.GRUCell(4), L.LSTMCell(3), L.GRUCell(2), L.SimpleRNNCell(2)])
    ]
    return found


def others(L, keras):
    """Other layers, above or below a recurrent one."""

    def lstm():
        return L.LSTM(4, return_sequences=True)

    def nested():
        deepest = keras.Sequential([L.LSTM(3, return_sequences=True), L.Dense(4)], name="deepest")
        return keras.Sequential([L.Dense(5), L.LSTM(4, return_sequences=True), deepest, L.Dense(2)], name="inner")

    activations = ("linear", "tanh", "relu", "sigmoid", "softmax")
    found = {f"Dense {name}": lambda name=name: [lstm(), L.Dense(3, activation=name)] for name in activations}
    found |= {f"Activation {name}": lambda name=name: [lstm(), L.Activation(name)] for name in activations}
    found |= {f"{name} at each step": lambda name=name: [lstm(), L.TimeDistributed(L.Dense(3, activation=name))]
              for name in activations}  # fmt: skip
    return found | {
        "Dense without bias": lambda: [lstm(), L.Dense(3, use_bias=False)],
        "ReLU": lambda: [lstm(), L.ReLU()],
        "Softmax": lambda: [lstm(), L.Softmax()],
        "LayerNormalization": lambda: [lstm(), L.LayerNormalization(), L.LSTM(3)],
        "LayerNormalization, axis counted": lambda: [lstm(), L.LayerNormalization(axis=2)],
        "LayerNormalization of last outputs": lambda: [L.GRU(4), L.LayerNormalization(axis=1)],
        "LayerNormalization without beta": lambda: [lstm(), L.LayerNormalization(center=False, epsilon=0.1)],
        "LayerNormalization without gamma": lambda: [lstm(), L.LayerNormalization(scale=False)],
        "LayerNormalization at each step": lambda: [lstm(), L.TimeDistributed(L.LayerNormalization())],
        "mean": lambda: [lstm(), L.GlobalAveragePooling1D(), L.Dense(2)],
        "Dropout": lambda: [L.Dropout(0.5), lstm(), L.Dropout(0.25), L.Dense(2)],
        "no recurrent layer": lambda: [L.Dense(4, activation="relu"), L.Dense(2, activation="softmax")],
        "names": lambda: [L.LSTM(4, name="one", return_sequences=True), L.LSTM(4, name="lstm_1"), L.Dense(2, name="x")],
        "many of a class": lambda: [L.Dense(2 + k) for k in range(12)],
        "a model in it": lambda: [lstm(), nested(), L.Dense(3)],
        "two models in it": lambda: [nested(), keras.Sequential([lstm(), L.Dense(2)], name="other"), L.Dense(3)],
    }


def sequential(keras, layers, dtype="float32"):
    """Return a Sequential of layers, of a precision, with weights drawn."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        # Long sums with relu and linear become large with large weights.
        return drawn(keras.Sequential([keras.Input((T, I), dtype=dtype), *layers()]), scale=0.5)
    finally:
        keras.config.set_dtype_policy(before)


def functional(keras, model):
    """Return the same layers as a Functional model."""
    given = keras.Input((T, I))
    y = given
    for layer in model.layers:
        y = layer(y)
    return keras.Model(given, y)


def saved(keras, model, folder, kind):
    """Write a model in one of the formats, and return the path, and the configuration that `load` needs."""
    path = folder / f"model.{kind}"
    if kind == "weights.h5":
        model.save_weights(path)
        return path, model.to_json()
    model.save(path)
    return path, None


def predicted(model, x):
    """Return what a model predicts; its `predict` would make float32 of x."""
    return np.asarray(model(x, training=False).detach())
