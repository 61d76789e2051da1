"""One layer of PyTorch or ONNX Runtime with the weights of a case, and the sizes at which results are compared."""

import numpy as np
import pytest

SIZES = [(1, 1, 1, 1), (1, 3, 4, 5), (6, 1, 5, 7), (7, 4, 3, 9), (5, 9, 17, 16), (80, 2, 3, 33), (12, 50, 9, 20)]
PEER_TOLERANCE = {np.float32: 4e-6, np.float64: 1e-12}

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
all_sizes = pytest.mark.parametrize("sizes", SIZES, ids=str)


def torch_layer(torch, kind, case, **options):
    """nn.LSTM, GRU or RNN with the weights of a case. Of its second bias there is bn alone, which a GRU has."""
    dtype = torch.from_numpy(case["x"]).dtype
    layer = kind(case["x"].shape[2], case["R"].shape[1], dtype=dtype, **options)
    with torch.no_grad():
        for name, value in (("weight_ih_l0", case["W"]), ("weight_hh_l0", case["R"]), ("bias_ih_l0", case["b"])):
            getattr(layer, name).copy_(torch.from_numpy(value))
        layer.bias_hh_l0.zero_()
        if case.get("bn") is not None:
            layer.bias_hh_l0[-len(case["bn"]) :] = torch.from_numpy(case["bn"])
    return layer


def leaf(torch, array):
    return torch.tensor(array, requires_grad=True)


def run_onnxruntime(onnx, operator, inputs, outputs, **attributes):
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is an optional peer")
    helper, element = onnx.helper, onnx.TensorProto
    given = {name: array for name, array in inputs.items() if array is not None}
    node = helper.make_node(operator, [name if name in given else "" for name in inputs], outputs, **attributes)
    graph = helper.make_graph(
        [node],
        "one_layer",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in given.items()
        ],
        [helper.make_tensor_value_info(name, element.FLOAT, None) for name in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(outputs, session.run(None, given), strict=True))
