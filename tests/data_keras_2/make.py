"""Write the files of this folder with Keras 2, where TensorFlow 2.15 is: ``python make.py 2_15``.

Those of Keras 2.13 are made with the package keras 2.13.1 before TensorFlow's own on the path: ``python make.py 2_13``.
"""

import sys

import numpy as np
import tensorflow as tf

keras, layers = tf.keras, tf.keras.layers
LSTM, GRU, Dense = layers.LSTM, layers.GRU, layers.Dense
HARD = {"recurrent_activation": "hard_sigmoid", "return_sequences": True}


def models():
    """Return models with each layer: chains, one of them with a model in it, and one with a mask."""
    inner = [LSTM(4, return_sequences=True), Dense(3), Dense(4, activation="sigmoid")]
    nested = [
        layers.Bidirectional(LSTM(3, **HARD)),
        keras.Sequential(inner, name="inner"),
        layers.RNN([layers.LSTMCell(3), layers.LSTMCell(4)], return_sequences=True),
        layers.TimeDistributed(Dense(3, activation="tanh")),
    ]
    grus = [
        GRU(4, reset_after=False, **HARD),
        GRU(4, return_sequences=True),
        layers.LayerNormalization(),
        layers.SimpleRNN(4, return_sequences=True, activation="sigmoid", use_bias=False),
        layers.Dropout(0.5),
        layers.Bidirectional(GRU(3), merge_mode="ave"),
        Dense(3, activation="softmax"),
    ]
    ids = keras.Input((None,), dtype="int32")
    y = LSTM(3, return_sequences=True)(layers.Embedding(7, 2, mask_zero=True)(ids))
    chains = {"nested": nested, "grus": grus}
    found = {name: keras.Sequential([keras.Input((None, 3)), *own]) for name, own in chains.items()}
    return found | {"ids": keras.Model(ids, Dense(2)(LSTM(2)(y)))}


def main(version):
    """Write the models in all formats, and what they predict."""
    rng, values = np.random.default_rng(0), {}
    for name, model in models().items():
        x = rng.integers(1, 7, (4, 5)) if name == "ids" else rng.normal(size=(4, 5, 3)).astype("float32")
        model.set_weights([rng.normal(size=array.shape) for array in model.get_weights()])
        values |= {f"{name}_x": x, f"{name}_y": model.predict(x, verbose=0)}
        model.save(f"{version}_{name}.keras")
        if version == "2_15":
            model.save(f"{version}_{name}.h5", include_optimizer=False)
        if version == "2_15" and name == "nested":
            model.save_weights(f"{version}_{name}_weights.h5")
            model.save_weights(f"{version}_{name}.weights.h5")
            with open(f"{version}_{name}.json", "w") as file:
                file.write(model.to_json())
    np.savez(f"{version}.npz", **values)


main(*sys.argv[1:])
