"""Models of ONNX with one node, which ONNX Runtime and OpenVINO both read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.bench.peers.work import Work

__all__ = ["lstm_model", "node_model"]

Array = NDArray[Any]


def lstm_model(onnx: Any, work: Work, outputs: list[str], carried: bool, peephole: bool = False) -> Any:
    """Return a model of one LSTM, from X, and from the states H and C if they are `carried`, to the named outputs."""
    T, B, I, H = work.shape

    def gates(array: Array) -> Array:
        """Return blocks in the order i, f, z, o in the operator's order i, o, f, c."""
        i, f, z, o = np.split(array, 4)
        return np.concatenate([i, o, f, z])[np.newaxis]

    b = gates(work.b)
    constants = {"W": gates(work.W), "R": gates(work.R), "B": np.concatenate([b, np.zeros_like(b)], axis=1)}
    if peephole:
        constants["P"] = work.p[[0, 2, 1]].reshape(1, 3 * H)
    values = {"X": [T, B, I]} | ({"H": [1, B, H], "C": [1, B, H]} if carried else {})
    inputs = ["X", "W", "R", "B", "", *(["H", "C"] if carried else ["", ""]), "P" if peephole else ""]
    return node_model(onnx, "LSTM", constants, values, inputs, outputs, hidden_size=H)


def node_model(
    onnx: Any, operator: str, constants: dict[str, Array], values: dict[str, list[int]], inputs: list[str],
    outputs: list[str], **attributes: int,
) -> Any:  # fmt: skip
    """Return a model of one node whose weights are constants, with the shapes of the values that a run is given."""
    while not inputs[-1]:
        inputs.pop()
    make, float32 = onnx.helper, onnx.TensorProto.FLOAT
    graph = make.make_graph(
        [make.make_node(operator, inputs, outputs, **attributes)],
        operator.lower(),
        [make.make_tensor_value_info(name, float32, shape) for name, shape in values.items()],
        [make.make_tensor_value_info(name, float32, None) for name in outputs if name],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()],
    )
    # Every recent ONNX Runtime reads these versions; the operators have not changed since.
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 14)], ir_version=8)
