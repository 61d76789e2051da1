"""Models that others use, whole, in a Session and in ONNX Runtime. They are fetched: `-m slow` runs this."""

import sys
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("platformdirs")

import fastlstm  # noqa: E402
from fastlstm.onnx import Session, _directions, nodes  # noqa: E402

pytestmark = pytest.mark.slow

# The nodes that each file has.
FILES = {
    "silero_vad.onnx": ["LSTM"] * 4,
    "silero_vad_16k_op15.onnx": ["LSTM"] * 2,
    "silero_vad_half.onnx": ["LSTM"] * 2,
    "silero_vad_openvino_16k.onnx": ["LSTM"],
    "silero_vad_16k_sequence.onnx": ["LSTM"],
    "common.onnx": ["LSTM"],
    "enc.onnx": ["GRU"],
    "erb_dec.onnx": ["GRU"] * 2,
    "df_dec.onnx": ["GRU"] * 2,
}
TOLERANCE = 1e-4
INT8 = "common_old.onnx"


@pytest.fixture(scope="module")
def cases():
    """The inputs of each file, by its name."""
    before = list(sys.path)
    sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
    try:
        import onnx_real
    finally:
        sys.path[:] = before
    found = {}
    try:
        for case in onnx_real.cases():
            found.setdefault(case.name, []).append(case)
    except onnx_real._data.DataUnavailable as error:
        pytest.skip(str(error))
    return found


def test_every_file_is_there(cases):
    assert cases.keys() == {*FILES, INT8}


@pytest.mark.parametrize("name", FILES)
def test_whole_models(name, cases, runtime, monkeypatch):
    ran = []
    for kind, call in list(_directions._CALLS.items()):

        def run(*args, call=call, kind=kind, **options):
            ran.append(kind)
            return call(*args, **options)

        monkeypatch.setitem(_directions._CALLS, kind, run)
    for case in cases[name]:
        session = Session(case.content)
        for _ in range(2):  # Weights are converted in the first run.
            found = dict(zip([one.name for one in session.get_outputs()], session.run(None, case.feeds), strict=True))
            expected = runtime(case.content, case.feeds)
            assert found.keys() == expected.keys()
            for output, wanted in expected.items():
                assert found[output].shape == wanted.shape
                assert found[output].dtype == wanted.dtype
                assert np.abs(found[output] - wanted).max() <= TOLERANCE * np.abs(wanted).max(), output
    assert set(ran) == set(FILES[name])


@pytest.mark.parametrize("name", FILES)
def test_their_nodes(name, cases, runtime):
    """The nodes are found with their weights, in graphs within graphs too, and each is a layer."""
    found = nodes(cases[name][0].content)
    assert [node.kind for node in found] == FILES[name]
    for node in found:
        layer = node.layer()
        x = np.random.default_rng(0).normal(size=(9, 2, node.input_size)).astype(np.float32)
        [expected] = runtime(fastlstm.onnx.to_onnx(layer, state=False), {"x": x}).values()
        np.testing.assert_allclose(layer(x)[0], expected, rtol=0, atol=1e-5)


@pytest.mark.skipif(
    tuple(map(int, onnx.__version__.split(".")[:2])) < (1, 23),
    reason="the ConvInteger of earlier versions of onnx.reference takes minutes, and gives other numbers",
)
def test_a_model_in_int8(cases, runtime):
    """Its convolutions round what they are given to 8 bits, each time in a new scale.

    A Sigmoid that differs in its last bit makes another integer of a value in the middle between two, and that another
    scale of the next layer. So the symbols that are read are the same, but not the numbers; those of the LSTM, from the
    X that ONNX Runtime gives it, are.
    """
    [case] = cases[INT8]
    model = onnx.ModelProto.FromString(case.content)
    [node] = [node for node in model.graph.node if node.op_type == "DynamicQuantizeLSTM"]
    model.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name) for name in (node.input[0], node.output[0])
    )
    found, (expected, X, Y) = Session(case.content).run(None, case.feeds)[0], runtime(model, case.feeds).values()
    np.testing.assert_array_equal(found.argmax(-1), expected.argmax(-1))
    assert np.abs(found - expected).max() <= 0.02 * np.abs(expected).max()
    weights = [one for one in model.graph.initializer if one.name in node.input]
    alone, info = onnx.NodeProto(), onnx.helper.make_tensor_value_info
    alone.CopyFrom(node)
    alone.input[0], alone.input[5:7] = "X", ["", ""]  # Its states are zeros.
    del alone.output[1:]
    graph = onnx.helper.make_graph([alone], "alone", [info("X", 1, X.shape)], [info(node.output[0], 1, None)], weights)
    alone = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=7)
    assert np.abs(Session(alone).run(None, {"X": X})[0] - Y).max() <= 2e-3
