"""The contestants of OpenVINO: in float32, and in bfloat16 where the processor multiplies it.

The model is the one that ONNX Runtime runs: read from ONNX it is as fast as one made of OpenVINO's own operators.
"""

from __future__ import annotations

import importlib
from typing import Any

from numpy.typing import NDArray

from fastlstm.bench.peers.onnx import lstm_model
from fastlstm.bench.peers.work import CHECKED_STEPS, Contestant, Peers, Work
from fastlstm.layers.frozen import Format

__all__ = ["openvino_has_bfloat16", "openvino_inference", "openvino_step"]

Array = NDArray[Any]

DEVICE = "CPU"
PRECISIONS = {"full": "f32", "bfloat16": "bf16"}


def openvino_has_bfloat16(openvino: Any) -> bool:
    """Return whether OpenVINO computes in bfloat16 on this processor; elsewhere its hint changes nothing."""
    return "BF16" in openvino.Core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")


def _request(openvino: Any, model: Any, work: Work, threads: int, weights: Format) -> Any:
    """Return the request of a compiled model whose input is bound to x."""
    hints = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": PRECISIONS[weights],
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = openvino.Core().compile_model(model, DEVICE, hints).create_infer_request()
    request.set_input_tensor(openvino.Tensor(work.x))
    return request


def _contestant(name: str, request: Any, calls: int) -> Contestant:
    """Return the contestant that runs a request whose only output is Y, and shows the output after some calls."""

    def repeat(n: int) -> None:
        infer = request.infer
        for _ in range(n):
            infer(share_outputs=True)

    def results() -> list[Array]:
        request.reset_state()
        repeat(calls)
        y: Array = request.get_output_tensor().data[:, 0].copy()
        return [y]

    return Contestant(name, repeat, results)


def openvino_inference(peers: Peers, name: str, work: Work, threads: int, weights: Format = "full") -> Contestant:
    """Return the contestant that runs a model whose only output is Y."""
    model = peers.openvino.Core().read_model(lstm_model(peers.onnx, work, ["Y"], False).SerializeToString())
    return _contestant(name, _request(peers.openvino, model, work, threads, weights), 1)


def openvino_step(peers: Peers, name: str, work: Work, threads: int, weights: Format = "full") -> Contestant:
    """Return the contestant that runs one step and keeps the state in the model, which is faster than to bind it."""
    passes: Any = importlib.import_module("openvino.passes")
    proto = lstm_model(peers.onnx, work, ["Y", "Y_h", "Y_c"], True)
    model = peers.openvino.Core().read_model(proto.SerializeToString())
    manager = passes.Manager()
    manager.register_pass(passes.MakeStateful({"H": "Y_h", "C": "Y_c"}))
    manager.run_passes(model)
    last = _contestant(name, _request(peers.openvino, model, work, threads, weights), CHECKED_STEPS)
    return Contestant(name, last.repeat, lambda: [y[0] for y in last.results()])
