"""What cannot be written as an ONNX model is refused by name; nothing is written then."""

import re

import numpy as np
import pytest

pytest.importorskip("onnx")

import fastlstm
import fastlstm.onnx
from fastlstm import nn
from fastlstm.onnx import _graph

I, H = 3, 5


def refused(error, message):
    return pytest.raises(error, match=f"^{re.escape(message)}")


CANNOT = {
    "proj_size": ({"proj_size": 2}, "has proj_size=2, which ONNX cannot say: the projection"),
    "layer_norm": ({"layer_norm": True}, "has layer_norm=True, which ONNX cannot say: ONNX's LSTM does not"),
    "cell_clip": ({"cell_clip": 0.5}, "has cell_clip=0.5, which ONNX cannot say: ONNX's clip"),
    "zoneout": ({"zoneout": (0.1, 0.0)}, "has zoneout=(0.1, 0.0), which ONNX cannot say: in inference too"),
    "FGR": ({"variant": "FGR"}, "has variant FGR, which ONNX cannot say: its gates see"),
    "NFG": (
        {"variant": "NFG", "clip": 3.0},
        "has variant NFG, which ONNX cannot say with activations=None and clip=3.0: no bias makes a gate 1",
    ),
    "NOG": (
        {"variant": "NOG", "clip": 2.5, "activations": ("hard_logistic", "tanh", "tanh")},
        "has variant NOG, which ONNX cannot say with activations=('hard_logistic', 'tanh', 'tanh') and clip=2.5",
    ),
}  # fmt: skip


@pytest.mark.parametrize("option", CANNOT)
def test_options_of_the_lstm(option):
    options, message = CANNOT[option]
    layer = fastlstm.LSTM(I, H, **options)
    with refused(ValueError, f"LSTM {message}"):
        fastlstm.onnx.to_onnx(layer)
    with refused(ValueError, f"layer 1.0, LSTM, {message}"):
        fastlstm.onnx.to_onnx(nn.Sequential(nn.Dropout(0.5), nn.Sequential(layer)))


@pytest.mark.parametrize("kind", [fastlstm.GRU, fastlstm.RNN])
def test_zoneout_of_others(kind):
    with refused(ValueError, f"{kind.__name__} has zoneout=0.1, which ONNX cannot say"):
        fastlstm.onnx.to_onnx(kind(I, H, zoneout=0.1))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (fastlstm.LSTM(I, H, clip=1e-60), "LSTM has clip=1e-60, which ONNX cannot say: it has clip in float32, 0.0"),
        (fastlstm.LSTM(I, H, clip=1e60), "LSTM has clip=1e+60, which ONNX cannot say: it has clip in float32, inf"),
        (
            fastlstm.RNN(I, H, nonlinearity=("hard_logistic", 1e60, 0.5)),
            "RNN has alpha=1e+60, which ONNX cannot say: it has alpha in float32, inf",
        ),
        (
            fastlstm.GRU(I, H, activations=(("hard_logistic", 0.2, -1e60), "tanh")),
            "GRU has beta=-1e+60, which ONNX cannot say: it has beta in float32, -inf",
        ),
        (nn.LayerNorm(I, 1e-60), "LayerNorm has epsilon=1e-60, which ONNX cannot say: it has epsilon in float32, 0.0"),
    ],
    ids=str,
)
@pytest.mark.parametrize("opset", [14, 17])
def test_numbers_that_float32_has_not(layer, message, opset):
    with refused(ValueError, message):
        fastlstm.onnx.to_onnx(layer, opset=opset)


def test_parameters_that_float32_has_not():
    layer = fastlstm.LSTM(I, H, dtype=np.float64)
    layer.params["R_l0"][3, 2] = 1e39
    with refused(ValueError, "network has parameters, in R_l0, that are too large for float32"):
        fastlstm.onnx.to_onnx(layer, dtype=np.float32)
    layer.params["R_l0"][3, 2] = np.inf
    fastlstm.onnx.to_onnx(layer, dtype=np.float32)


class Own(nn.Layer):
    def compute(self, x):
        return 2 * x, None

    def gradients(self, kept, dy):
        return 2 * dy, {}


class OwnLSTM(fastlstm.LSTM):
    pass


class OwnSequential(nn.Sequential):
    pass


@pytest.mark.parametrize("make", [Own, lambda: OwnLSTM(I, H), lambda: OwnSequential(fastlstm.LSTM(I, H))])
def test_classes_of_your_own(make):
    layer = make()
    name = type(layer).__name__
    end = f"to be written, not {name}: a class of your own may compute anything"
    with pytest.raises(TypeError, match=f"^network must be one of LSTM, GRU, RNN, Dense, .* {end}$"):
        fastlstm.onnx.to_onnx(layer)
    with pytest.raises(TypeError, match=f"^layer 1 must be one of LSTM, GRU, RNN, Dense, .* {end}$"):
        fastlstm.onnx.to_onnx(nn.Sequential(nn.Dropout(0.5), layer))


def test_what_is_no_layer():
    frozen = fastlstm.Frozen(fastlstm.LSTM(I, H))
    message = "network must be a layer or a network of layers, not "
    with refused(TypeError, f"{message}Frozen: give the network that it was made of"):
        fastlstm.onnx.to_onnx(frozen)
    for other in (nn.Attention(3, 3, 3), "lstm", None, fastlstm.LSTM):
        with refused(TypeError, f"{message}{type(other).__name__}"):
            fastlstm.onnx.to_onnx(other)


def test_arguments():
    layer = fastlstm.LSTM(I, H)
    with refused(ValueError, "end must be one of softmax, logistic, or None, not 'relu'"):
        fastlstm.onnx.to_onnx(layer, end="relu")
    with refused(TypeError, "lengths must be"):
        fastlstm.onnx.to_onnx(layer, lengths=[1, 2])
    with refused(TypeError, "state must be"):
        fastlstm.onnx.to_onnx(layer, state=None)
    with refused(TypeError, "opset must be an int"):
        fastlstm.onnx.to_onnx(layer, opset=17.0)
    with refused(TypeError, "dtype must be float32 or float64"):
        fastlstm.onnx.to_onnx(layer, dtype=np.float16)


@pytest.mark.parametrize("network", [nn.Dense(I, 2), nn.Sequential(nn.Embedding(4, 2), nn.Dense(2, 2))], ids=str)
def test_lengths_that_nothing_takes(network):
    with refused(ValueError, "lengths must be False: no layer takes them in "):
        fastlstm.onnx.to_onnx(network, lengths=True)


def test_more_than_a_model_holds(monkeypatch, tmp_path):
    """In the end 2 GiB, which no test has the memory for."""
    assert _graph.MOST_BYTES < 2**31
    network = nn.Sequential(fastlstm.LSTM(I, H), nn.Dense(H, 100))
    size = len(fastlstm.onnx.to_onnx(network).SerializeToString())
    monkeypatch.setattr(_graph, "MOST_BYTES", size // 2)
    path = tmp_path / "large.onnx"
    with refused(ValueError, f"network has too many parameters: an ONNX model has at most {size // 2} bytes of them"):
        fastlstm.onnx.save(network, path)
    assert not list(tmp_path.iterdir())


def test_a_file_stays_where_the_network_is_refused(tmp_path):
    path = tmp_path / "network.onnx"
    fastlstm.onnx.save(fastlstm.LSTM(I, H), path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="layer_norm"):
        fastlstm.onnx.save(fastlstm.LSTM(I, H, layer_norm=True), path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["network.onnx"]


def test_paths(tmp_path):
    with refused(TypeError, "path must be"):
        fastlstm.onnx.save(fastlstm.RNN(I, H), 3)
    with pytest.raises(FileNotFoundError):
        fastlstm.onnx.save(fastlstm.RNN(I, H), tmp_path / "no" / "network.onnx")
    with pytest.raises(IsADirectoryError):
        fastlstm.onnx.save(fastlstm.RNN(I, H), tmp_path)
