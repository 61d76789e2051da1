"""What was written is loaded again: the same parameters to the bit, and the same outputs."""

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx_export import feeds_of, outputs_of
from onnx_networks import NETWORKS, H, I, batch_first, randomised

import fastlstm
import fastlstm.onnx
from fastlstm import nn

# A network within a network is loaded as its layers, and what gives what it takes is left out.
OTHERWISE = ("nested", "one branch", "branches alone", "residual alone", "identity")


def assert_again(network, **options):
    """A network is loaded from its model to the bit; return it."""
    model = fastlstm.onnx.to_onnx(network, **options)
    again = fastlstm.onnx.load(model)
    assert again.flat.tobytes() == network.flat.tobytes()
    # Where a network within a network has become its layers, its states have other names.
    feeds = {name: array for name, array in feeds_of(model).items() if name in ("x", "ids", "lengths")}
    found, expected = outputs_of(again, feeds), outputs_of(network, feeds)
    np.testing.assert_array_equal(found["y"], expected["y"])
    return again


@pytest.mark.parametrize("opset", [14, 17, 22])
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name, state, lengths, opset):
    network = randomised(NETWORKS[name]())
    again = assert_again(network, state=state, lengths=lengths, opset=opset)
    if name not in OTHERWISE:
        assert repr(again) == repr(network)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "branches alone"])
def test_networks_with_the_batch_first(name):
    network = batch_first(randomised(NETWORKS[name]()))
    again = assert_again(network, lengths=True)
    assert again.batch_first


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(
    "make",
    [
        fastlstm.LSTM,
        lambda *a, **o: fastlstm.LSTM(*a, variant="NFG", clip=50.5, **o),
        lambda *a, **o: fastlstm.LSTM(*a, variant="CIFG", peephole=False, **o),
        lambda *a, **o: fastlstm.GRU(*a, activations=(("hard_logistic", 0.1, 0.4), "relu"), **o),
        lambda *a, **o: fastlstm.RNN(*a, nonlinearity="identity", **o),
        lambda *a, **o: fastlstm.RNN(*a, dropout=0.3 * (a[2] > 1), **o),
    ],
    ids=["lstm", "NFG", "CIFG", "gru", "rnn", "rnn, dropout"],
)
def test_layers(make, layers, bidirectional, state, batch_first):
    layer = make(I, H, layers, bidirectional=bidirectional, batch_first=batch_first, seed=0)
    assert repr(assert_again(layer, state=state, lengths=True)) == repr(layer)
    assert repr(assert_again(layer, state=state)) == repr(layer)


def test_float64():
    network = nn.Sequential(fastlstm.LSTM(I, H, dtype=np.float64, seed=0), nn.LayerNorm(H, dtype=np.float64))
    assert repr(assert_again(network)) == repr(network)


def test_an_end_becomes_a_layer():
    network = nn.Sequential(fastlstm.LSTM(I, H, seed=0), nn.Dense(H, 4, seed=1))
    again = fastlstm.onnx.load(fastlstm.onnx.to_onnx(network, end="softmax"))
    assert isinstance(again.layers[-1], nn.Activation)
    x = np.random.default_rng(0).normal(size=(6, 2, I)).astype(np.float32)
    np.testing.assert_allclose(again(x)[0], nn.softmax(network(x)[0]), atol=1e-6)


def test_a_file(tmp_path):
    network = nn.Sequential(nn.Embedding(10, I, seed=0), fastlstm.GRU(I, H, seed=1), nn.Last(), nn.Dense(H, 2, seed=2))
    fastlstm.onnx.save(network, tmp_path / "network.onnx")
    again = fastlstm.onnx.load(tmp_path / "network.onnx")
    assert (repr(again), again.flat.tobytes()) == (repr(network), network.flat.tobytes())


def test_what_was_loaded_is_written_as_it_was():
    network = randomised(NETWORKS["branches"]())
    model = fastlstm.onnx.to_onnx(network, lengths=True)
    assert fastlstm.onnx.to_onnx(fastlstm.onnx.load(model), lengths=True) == model
