"""What the tests of ONNX files share."""

import numpy as np
import pytest

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@pytest.fixture
def made():
    """A function that makes a model of one node, with weights of its own; graph inputs are X and those in `given`."""
    onnx = pytest.importorskip("onnx")

    def make(kind, T=7, B=3, I=4, H=5, *, given=(), peepholes=False, bias=True, opset=14, seed=0, **attributes):
        D, n = 2 if attributes.get("direction") == "bidirectional" else 1, GATES[kind]
        rng = np.random.default_rng(seed)
        shapes = {"W": (D, n * H, I), "R": (D, n * H, H)}
        shapes |= {"B": (D, 2 * n * H)} if bias else {}
        shapes |= {"P": (D, 3 * H)} if peepholes else {}
        arrays = {name: rng.normal(size=shape).astype(np.float32) / 2 for name, shape in shapes.items()}
        first = attributes.get("layout")
        fed = {"X": (B, T, I) if first else (T, B, I)}
        fed |= {name: (B, D, H) if first else (D, B, H) for name in ("initial_h", "initial_c") if name in given}
        feeds = {name: rng.normal(size=shape).astype(np.float32) for name, shape in fed.items()}
        if "sequence_lens" in given:
            feeds["sequence_lens"] = np.array([T, 1, T - 2], np.int32)
        roles = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"][: 8 if kind == "LSTM" else 6]
        node = onnx.helper.make_node(
            kind, [role if role in arrays or role in feeds else "" for role in roles],
            ["Y", "Y_h", "Y_c"][: 3 if kind == "LSTM" else 2], name="cell", hidden_size=H, **attributes,
        )  # fmt: skip
        graph = onnx.helper.make_graph(
            [node], "one",
            [onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
             for name, a in feeds.items()],
            [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in node.output],
            [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
        )  # fmt: skip
        opsets = [onnx.helper.make_opsetid("", opset)]
        return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), arrays, feeds

    return make


@pytest.fixture
def runtime():
    """A function that runs a model by ONNX Runtime, and returns its outputs by name."""
    onnxruntime = pytest.importorskip("onnxruntime")

    def run(model, feeds):
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 4, 1
        content = model if isinstance(model, (bytes, str)) else model.SerializeToString()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_outputs()]
        return dict(zip(names, session.run(names, feeds), strict=True))

    return run
