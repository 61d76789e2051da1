"""Recurrent layers as ONNX models: the grid of their options, beside ONNX Runtime."""

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
from onnx.reference import ReferenceEvaluator
from onnx_export import assert_same, axes_of, check, feeds_of, needs_reference, outputs_of, session

import fastlstm
import fastlstm.onnx

I, H = 3, 5
LENGTHS = [None, (7, 3, 1, 5), (2, 0, 7, 0)]
LSTMS = {
    "plain": {"peephole": False},
    "peepholes": {},
    "NP": {"variant": "NP"},
    "CIFG": {"variant": "CIFG"},
    "CIFG without peepholes": {"variant": "CIFG", "peephole": False},
    "NIG": {"variant": "NIG"},
    "NFG": {"variant": "NFG"},
    "NOG": {"variant": "NOG"},
    "NFG without peepholes": {"variant": "NFG", "peephole": False},
    "NFG, clip": {"variant": "NFG", "clip": 40.0},
    "NIAF": {"variant": "NIAF"},
    "NOAF": {"variant": "NOAF"},
    "clip": {"clip": 0.5},
    "clip 1": {"clip": 1},
    "clip, CIFG": {"clip": 0.3, "variant": "CIFG"},
    "hard gates": {"activations": ("hard_logistic", "tanh", "tanh")},
    "hard everything": {"activations": ("hard_logistic", "hard_logistic", "hard_logistic")},
    "hard h": {"activations": ("logistic", "tanh", "hard_logistic")},
    "relu": {"activations": ("logistic", "relu", "relu")},
    "logistic": {"activations": ("logistic", "logistic", "logistic")},
    "identity": {"activations": ("hard_logistic", "identity", "identity")},
    "hard gates of Keras": {"activations": (("hard_logistic", 1 / 6, 0.5), "tanh", "tanh")},
    "three hard ones": {
        "activations": (("hard_logistic", 1 / 6, 0.5), ("hard_logistic", 0.3, 0.4), ("hard_logistic", 0.5, -0.2))
    },
    "hard g, identity": {"activations": ("logistic", ("hard_logistic", 2.0, -0.5), "identity")},
    "slow gates, NFG": {"activations": (("hard_logistic", 1e-3, -3.0), "tanh", "tanh"), "variant": "NFG"},
    "hard gates, NOG, clip": {"activations": ("hard_logistic", "tanh", "tanh"), "variant": "NOG", "clip": 2.6},
    "hard gates, NOG": {"activations": ("hard_logistic", "tanh", "tanh"), "variant": "NOG"},
    "training": {"recurrent_dropout": 0.3, "drop_connect": 0.2, "batch_invariant": True},
}


@pytest.mark.parametrize("lengths", LENGTHS, ids=["all", "some", "none"])
@pytest.mark.parametrize("state", [True, False], ids=["state", "zeros"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["1", "2"])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("option", LSTMS)
def test_lstms(option, layers, bidirectional, state, lengths):
    lstm = fastlstm.LSTM(I, H, layers, bidirectional=bidirectional, seed=layers, init_scale=0.7, **LSTMS[option])
    check(lstm, lengths=lengths, state=state)


OTHERS = {
    "gru": lambda **own: fastlstm.GRU(I, H, **own),
    "gru, reset before": lambda **own: fastlstm.GRU(I, H, reset_after=False, **own),
    "gru, hard": lambda **own: fastlstm.GRU(I, H, activations=(("hard_logistic", 1 / 6, 0.5), "tanh"), **own),
    "gru, hard and relu": lambda **own: fastlstm.GRU(
        I, H, activations=("hard_logistic", "relu"), reset_after=False, **own
    ),
    "gru, identity": lambda **own: fastlstm.GRU(I, H, activations=("logistic", "identity"), **own),
    "gru, two hard": lambda **own: fastlstm.GRU(
        I, H, activations=(("hard_logistic", 0.3, 0.4), ("hard_logistic", 0.5, -0.2)), **own
    ),
    "rnn": lambda **own: fastlstm.RNN(I, H, **own),
    "rnn, hard": lambda **own: fastlstm.RNN(I, H, nonlinearity="hard_logistic", **own),
    "rnn, hard of Keras": lambda **own: fastlstm.RNN(I, H, nonlinearity=("hard_logistic", 1 / 6, 0.5), **own),
    "rnn, relu": lambda **own: fastlstm.RNN(I, H, nonlinearity="relu", **own),
    "rnn, logistic": lambda **own: fastlstm.RNN(I, H, nonlinearity="logistic", **own),
    "rnn, identity": lambda **own: fastlstm.RNN(I, H, nonlinearity="identity", **own),
}


@pytest.mark.parametrize("lengths", LENGTHS, ids=["all", "some", "none"])
@pytest.mark.parametrize("state", [True, False], ids=["state", "zeros"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["1", "2"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", OTHERS)
def test_grus_and_rnns(kind, layers, bidirectional, state, lengths):
    layer = OTHERS[kind](num_layers=layers, bidirectional=bidirectional, seed=1, init_scale=0.5)
    check(layer, lengths=lengths, state=state)


LAYERS = {
    "lstm": lambda **own: fastlstm.LSTM(I, H, 2, bidirectional=True, seed=0, **own),
    "gru": lambda **own: fastlstm.GRU(I, H, seed=0, **own),
    "rnn": lambda **own: fastlstm.RNN(I, H, seed=0, **own),
}


@pytest.mark.parametrize(("steps", "rows"), [(1, 1), (1, 4), (7, 1), (30, 2)])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_sizes_of_calls(kind, batch_first, steps, rows):
    model = check(LAYERS[kind](batch_first=batch_first), lengths=None, T=steps, B=rows)
    leading = ["batch", "time"] if batch_first else ["time", "batch"]
    assert axes_of(model.graph.input[0]) == [*leading, I]
    assert axes_of(model.graph.output[0])[:2] == leading


def test_no_rows():
    """ONNX Runtime's LSTM and GRU end the process where there are none, its RNN does not."""
    check(LAYERS["rnn"](), lengths=None, B=0)


@pytest.mark.parametrize("opset", fastlstm.onnx._export.OPSETS)
@pytest.mark.parametrize("kind", LAYERS)
def test_opsets(kind, opset):
    if opset > onnx.defs.onnx_opset_version():
        pytest.skip(f"onnx {onnx.__version__} has no opset {opset}")
    model = check(LAYERS[kind](), opset=opset)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", opset)]


@pytest.mark.parametrize("bad", [13, 29, 0, -1])
def test_other_opsets(bad):
    with pytest.raises(ValueError, match=f"^opset must be from 14 to 28, not {bad}$"):
        fastlstm.onnx.to_onnx(LAYERS["rnn"](), opset=bad)


def test_an_opset_that_onnx_does_not_know(monkeypatch):
    monkeypatch.setattr(onnx.defs, "onnx_opset_version", lambda: 22)
    with pytest.raises(ValueError, match=r"^opset must be at most 22 with onnx [\d.]+, not 23$"):
        fastlstm.onnx.to_onnx(LAYERS["rnn"](), opset=23)


@needs_reference
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("peephole", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_reference_of_onnx(bidirectional, layers, peephole, dtype):
    """It has float64, which ONNX Runtime has not, and knows neither lengths nor options of the LSTM."""
    lstm = fastlstm.LSTM(I, H, layers, bidirectional=bidirectional, peephole=peephole, dtype=dtype, seed=0)
    model = fastlstm.onnx.to_onnx(lstm)
    feeds = feeds_of(model)
    names = [value.name for value in model.graph.output]
    found = dict(zip(names, ReferenceEvaluator(model).run(names, feeds), strict=True))
    assert found["y"].dtype == dtype
    assert_same(found, outputs_of(lstm, feeds), 1e-6 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("made", [np.float32, np.float64])
def test_another_dtype(made):
    """The weights are rounded, and the rest is as of a network of that dtype."""
    layer = fastlstm.LSTM(I, H, 2, dtype=made, clip=0.5, seed=0)
    other = np.float64 if made == np.float32 else np.float32
    converted = fastlstm.LSTM(I, H, 2, dtype=other, clip=0.5)
    converted.flat[:] = layer.flat
    found, expected = fastlstm.onnx.to_onnx(layer, dtype=other), fastlstm.onnx.to_onnx(converted)
    assert found.graph.input[0].type.tensor_type.elem_type == (1 if other == np.float32 else 11)
    for model in (found, expected):
        model.doc_string = model.graph.doc_string = ""
    assert found == expected


def one_step(lstm, x, c):
    """What ONNX Runtime gives for one step, or as many as x has, by name."""
    feeds = {"x": x, "h0": np.zeros_like(c), "c0": c}
    names = ["y", "h", "c"]
    return dict(zip(names, session(fastlstm.onnx.to_onnx(lstm)).run(names, feeds), strict=True))


@pytest.mark.parametrize("sigma", ["logistic", "hard_logistic"])
def test_gates_that_a_variant_lacks_are_exactly_1(sigma):
    """Of large values too, and over many steps, nothing is lost."""
    x = (1e6 * np.random.default_rng(0).normal(size=(300, 2, H))).astype(np.float32)
    c = x[:1].copy()
    forgetless = fastlstm.LSTM(H, H, variant="NFG", activations=(sigma, "identity", "tanh"), seed=0)
    for name in ("W_l0", "R_l0", "b_l0"):
        forgetless.params[name][H : 2 * H] = 0  # z
    np.testing.assert_array_equal(one_step(forgetless, x, c)["c"], c)
    inputless = fastlstm.LSTM(H, H, variant="NIG", activations=(sigma, "identity", "tanh"), seed=0)
    for name in ("W_l0", "R_l0", "b_l0"):
        inputless.params[name][H : 2 * H] = 0
    inputless.params["W_l0"][H : 2 * H] = np.eye(H)
    np.testing.assert_array_equal(one_step(inputless, x[:1], np.zeros_like(c))["c"], x[:1])
    outputless = fastlstm.LSTM(H, H, variant="NOG", activations=(sigma, "tanh", "identity"), seed=0)
    found = one_step(outputless, x, c)
    np.testing.assert_array_equal(found["h"], found["c"])


def test_two_calls_go_on_from_each_other():
    """The last state of the first part of a sequence is the initial one of the second."""
    lstm = fastlstm.LSTM(I, H, 2, seed=0)
    run = session(fastlstm.onnx.to_onnx(lstm))
    feeds = feeds_of(fastlstm.onnx.to_onnx(lstm))
    whole = run.run(None, feeds)
    first = run.run(None, feeds | {"x": feeds["x"][:3]})
    second = run.run(None, {"x": feeds["x"][3:], "h0": first[1], "c0": first[2]})
    np.testing.assert_array_equal(np.concatenate([first[0], second[0]]), whole[0])
    np.testing.assert_array_equal(second[1], whole[1])
    np.testing.assert_array_equal(second[2], whole[2])
