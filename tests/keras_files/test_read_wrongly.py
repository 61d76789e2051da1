"""Options and files that were once read wrongly."""

import keras_networks as networks
import numpy as np
import pytest

import fastlstm.keras as fk
from fastlstm import FileError

h5py = pytest.importorskip("h5py")
keras = networks.imported()
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


def test_a_bound_of_zero_is_one(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.ReLU(max_value=0.0)])
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=r"max_value=0\.0"):
        fk.load(tmp_path / "model.keras")


def test_the_axis_of_a_layer_in_each_step(tmp_path):
    softmax = keras.layers.Softmax(axis=1)
    model = keras.Sequential([keras.Input((2, 2, 2)), keras.layers.TimeDistributed(softmax)])
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=r"axis=1"):
        fk.load(tmp_path / "model.keras")


def test_long_names_do_not_multiply(tmp_path):
    with h5py.File(tmp_path / "long.weights.h5", "w", libver="earliest") as file:
        group = file.create_group("layers/" + "n" * 500_000)
        for k in range(50):
            group[f"{k}"] = np.zeros(1, np.float32)
    with pytest.raises(FileError, match=r"has 500007 letters"):
        fk.weights(tmp_path / "long.weights.h5")
