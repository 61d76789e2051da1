"""DynamicQuantizeLSTM, the LSTM with int8 weights that ONNX Runtime's dynamic quantisation writes, beside it."""

import logging

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
quantization = pytest.importorskip("onnxruntime.quantization", exc_type=ImportError)

from onnx import helper  # noqa: E402

from fastlstm.onnx import Session, _quantised  # noqa: E402

# Sums differ in their last bits, and a value between two integers can then be rounded to the other one.
TOLERANCE = 2e-3


@pytest.fixture
def quantised(made, tmp_path):
    """A function that makes a model of one LSTM with int8 weights."""

    def make(*args, per_channel=False, weights="QInt8", **options):
        model, _, feeds = made("LSTM", *args, **options)
        before, after = tmp_path / "float32.onnx", tmp_path / "int8.onnx"
        onnx.save(model, before)
        logging.disable(logging.WARNING)
        try:
            quantization.quantize_dynamic(
                before, after, per_channel=per_channel, weight_type=getattr(quantization.QuantType, weights)
            )
        finally:
            logging.disable(logging.NOTSET)
        result = onnx.load(after)
        assert [node.op_type for node in result.graph.node] == ["DynamicQuantizeLSTM"]
        return result, model, feeds

    return make


def outputs(model, feeds):
    session = Session(model)
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def worst(found, expected):
    return max(np.abs(found[name] - expected[name]).max() for name in expected)


OPTIONS = [
    {}, {"direction": "reverse"}, {"direction": "bidirectional"}, {"peepholes": True}, {"bias": False},
    {"given": ("initial_h", "initial_c")}, {"direction": "bidirectional", "given": ("initial_h", "initial_c")},
    {"clip": 0.5}, {"activations": ["HardSigmoid", "Relu", "Tanh"]}, {"input_forget": 1},
    {"per_channel": True}, {"weights": "QUInt8"}, {"B": 5},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_agreement(options, quantised, runtime):
    model, original, feeds = quantised(9, **{"B": 1, "I": 12, "H": 16} | options)
    found, expected = outputs(model, feeds), runtime(model, feeds)
    assert worst(found, expected) <= TOLERANCE
    # It is the rounded network: the one that it was made from is not as near.
    assert worst(found, runtime(original, feeds)) > 2 * worst(found, expected)


def test_weights_are_converted_once(quantised, monkeypatch):
    calls = []
    monkeypatch.setattr(_quantised, "_cell", lambda *args, own=_quantised._cell: calls.append(1) or own(*args))
    model, _, feeds = quantised(B=1)
    session = Session(model)
    for _ in range(3):
        session.run(None, feeds)
    assert len(calls) == 1


def test_nothing_but_zeros(quantised, runtime):
    """A product of zeros has no scale."""
    model, _, feeds = quantised(B=1)
    feeds = {"X": np.zeros_like(feeds["X"])}
    assert worst(outputs(model, feeds), runtime(model, feeds)) <= TOLERANCE


def test_what_is_refused(quantised):
    model, _, feeds = quantised(given=("sequence_lens",))
    with pytest.raises(
        ValueError, match=r"'cell_quant' \(com.microsoft.DynamicQuantizeLSTM\) has sequence_lens, which"
    ):
        outputs(model, feeds)
    model, _, feeds = quantised()
    model.graph.node[0].input[8] = ""
    with pytest.raises(ValueError, match="needs the input W_scale"):
        outputs(model, feeds)
    model, _, feeds = quantised()
    model.graph.node[0].input[8] = model.graph.node[0].input[1]
    with pytest.raises(ValueError, match=r"input W_scale must have shape \(1,\) or \(1, 20\), not \(1, 4, 20\)"):
        outputs(model, feeds)
    model, _, _ = quantised()
    model.graph.node[0].attribute.append(helper.make_attribute("layout", 1))
    with pytest.raises(ValueError, match="attribute layout must be 0"):
        Session(model)
