"""The contestants of ONNX Runtime: in float32, and with int8 weights by its dynamic quantisation."""

from __future__ import annotations

import importlib
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.bench.peers.onnx import lstm_model
from fastlstm.bench.peers.work import CHECKED_STEPS, Contestant, Peers, Work
from fastlstm.layers.frozen import Format

__all__ = ["onnx_inference", "onnx_session", "onnx_step"]

Array = NDArray[Any]


def onnx_session(peers: Peers, model: Any, threads: int) -> Any:
    """Return a session for a model; it packs constant weights once."""
    options = peers.onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return peers.onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _quantised(onnx: Any, model: Any) -> Any:
    """Return the model with int8 weights; the node rounds what goes into its products too."""
    quantization: Any = importlib.import_module("onnxruntime.quantization")
    logging.disable(logging.WARNING)  # It recommends preparations, which do nothing for a single node.
    try:
        with tempfile.TemporaryDirectory() as folder:
            before, after = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
            onnx.save(model, before)
            quantization.quantize_dynamic(before, after, weight_type=quantization.QuantType.QInt8)
            quantised = onnx.load(after)
    finally:
        logging.disable(logging.NOTSET)
    operators = [node.op_type for node in quantised.graph.node]
    if operators != ["DynamicQuantizeLSTM"]:  # Else it would be float32 under the name of int8.
        raise RuntimeError(f"ONNX Runtime has not quantised the LSTM: {operators}")
    return quantised


def _session(
    peers: Peers, work: Work, threads: int, outputs: list[str], carried: bool, peephole: bool, weights: Format
) -> Any:
    model = lstm_model(peers.onnx, work, outputs, carried, peephole)
    return onnx_session(peers, _quantised(peers.onnx, model) if weights == "int8" else model, threads)


def onnx_inference(
    peers: Peers, name: str, work: Work, threads: int, peephole: bool = False, weights: Format = "full"
) -> Contestant:
    """Return the contestant that runs a session whose only output is Y."""
    session = _session(peers, work, threads, ["Y"], False, peephole, weights)
    wanted, given = ["Y"], {"X": work.x}

    def repeat(n: int) -> None:
        run = session.run
        for _ in range(n):
            run(wanted, given)

    return Contestant(name, repeat, lambda: [session.run(wanted, given)[0][:, 0]])


def onnx_step(peers: Peers, name: str, work: Work, threads: int, weights: Format = "full") -> Contestant:
    """Return the contestant that runs one step between two bound states, allocating as little as fastlstm does."""
    session = _session(peers, work, threads, ["", "Y_h", "Y_c"], True, False, weights)
    value = peers.onnxruntime.OrtValue.ortvalue_from_numpy
    B, H = work.shape.B, work.shape.H
    x = value(work.x)
    states = [[value(np.zeros((1, B, H), np.float32)) for _ in "hc"] for _ in range(2)]
    bindings = []
    for before, after in (states, states[::-1]):
        binding = session.io_binding()
        for key, array in zip(("X", "H", "C"), (x, *before), strict=True):
            binding.bind_ortvalue_input(key, array)
        for key, array in zip(("Y_h", "Y_c"), after, strict=True):
            binding.bind_ortvalue_output(key, array)
        bindings.append(binding)

    def repeat(n: int) -> None:
        run, there, back = session.run_with_iobinding, *bindings
        for _ in range(n // 2):
            run(there)
            run(back)
        if n % 2:
            run(there)

    def results() -> list[Array]:
        for array in states[0]:
            array.update_inplace(np.zeros((1, B, H), np.float32))
        repeat(CHECKED_STEPS)
        return [states[CHECKED_STEPS % 2][0].numpy()[0]]

    return Contestant(name, repeat, results)
