"""The nodes of written models are read back as the layers that were written, to the bit."""

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx

import fastlstm
import fastlstm.onnx

I, H = 3, 5


def again(layer, **options):
    """The layer that is read back from a layer's model."""
    (node,) = fastlstm.onnx.nodes(fastlstm.onnx.to_onnx(layer, **options))
    return node.layer()


OPTIONS = {
    "plain": {"peephole": False},
    "peepholes": {},
    "CIFG": {"variant": "CIFG"},
    "NIG": {"variant": "NIG"},
    "NFG": {"variant": "NFG", "peephole": False},
    "NOG": {"variant": "NOG", "activations": ("hard_logistic", "tanh", "tanh")},
    "NFG, clip": {"variant": "NFG", "clip": 50.5},
    "clip": {"clip": 0.1},
    "activations": {"activations": ("hard_logistic", "relu", "identity")},
    "three hard ones": {
        "activations": (("hard_logistic", 0.1, 0.5), ("hard_logistic", 0.3, 0.4), ("hard_logistic", 0.5, -0.2))
    },
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("option", OPTIONS)
def test_lstms(option, bidirectional, dtype):
    lstm = fastlstm.LSTM(I, H, bidirectional=bidirectional, dtype=dtype, seed=0, **OPTIONS[option])
    found = again(lstm)
    assert repr(found) == repr(lstm)
    assert found.flat.tobytes() == lstm.flat.tobytes()


@pytest.mark.parametrize("activations", [None, (("hard_logistic", 0.1, 0.5), "relu")], ids=str)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("reset_after", [True, False])
def test_grus(reset_after, bidirectional, activations):
    gru = fastlstm.GRU(I, H, reset_after=reset_after, bidirectional=bidirectional, activations=activations, seed=0)
    found = again(gru)
    assert (repr(found), found.flat.tobytes()) == (repr(gru), gru.flat.tobytes())


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu", "logistic", "identity", ("hard_logistic", 0.1, 0.4)])
def test_rnns(nonlinearity):
    rnn = fastlstm.RNN(I, H, nonlinearity=nonlinearity, seed=0)
    found = again(rnn, state=False)
    assert (repr(found), found.flat.tobytes()) == (repr(rnn), rnn.flat.tobytes())


@pytest.mark.parametrize("value", [-0.0, np.inf, -np.inf, np.nan, 1e-45])
@pytest.mark.parametrize("kind", [fastlstm.LSTM, fastlstm.GRU, fastlstm.RNN])
def test_any_bits(kind, value):
    layer = kind(I, H)
    layer.flat[:] = value
    assert again(layer).flat.tobytes() == layer.flat.tobytes()


def test_a_gate_that_may_close_is_no_gate_that_lacks():
    """A gate with the bias of one that lacks, but with a weight, or bounded by clip, stays what it is."""
    layer = fastlstm.LSTM(I, H, variant="NFG", seed=0)
    with_all = fastlstm.LSTM(I, H, seed=0)
    for name in ("W_l0", "R_l0", "b_l0"):
        with_all.params[name][H : 2 * H] = 100 if name == "b_l0" else 0
    with_all.params["p_l0"][1] = 0
    assert again(with_all).variant == again(layer).variant == "NFG"
    model = fastlstm.onnx.to_onnx(with_all)
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("clip", 3.0))
    assert fastlstm.onnx.nodes(model)[0].layer().variant == "vanilla"
    for name in ("W_l0", "R_l0", "p_l0"):
        before = with_all.params[name].copy()
        with_all.params[name][1 if name == "p_l0" else H] = 1e-30
        assert again(with_all).variant == "vanilla"
        with_all.params[name][:] = before
    with_all.params["b_l0"][H] = 99
    assert again(with_all).variant == "vanilla"
