"""Whole networks as ONNX graphs: their inputs, their layers, their outputs."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto

from fastlstm import nn
from fastlstm.layers.network_layer import NetworkLayer, Signal
from fastlstm.onnx._graph import BATCH, TARGET_TIME, TIME, Graph, Value
from fastlstm.onnx._layer_nodes import activate, write
from fastlstm.onnx._lengths import add_lengths
from fastlstm.onnx._seq2seq_nodes import seq2seq


def write_network(graph: Graph, network: NetworkLayer, lengths: bool, end: str | None) -> None:
    """Write a layer or network, with the lengths of its rows as an input, and with a function at its end."""
    batch_first: bool = getattr(network, "batch_first", False)
    shape, is_sequence = network._step_shape, network.takes_sequences
    x = _input(graph, shape, is_sequence, batch_first)
    if lengths:
        add_lengths(graph)
    y = write(graph, network, x)
    if lengths and not graph.lengths_are_read:
        raise ValueError(f"lengths must be False: no layer takes them in {network!r}")
    _output(graph, y, _leading(y.is_sequence, batch_first), end)


def write_seq2seq(graph: Graph, network: nn.Seq2Seq, lengths: bool, end: str | None) -> None:
    """Write an encoder and a decoder, whose states nobody gives or takes, with the target's symbols as an input."""
    graph.state = False
    if network.encoder is None:
        shape: Any = (network.decoder.encoded_size,)
        x = _input(graph, shape, network.decoder.attention is not None, False)
    else:
        x = _input(graph, network.encoder._step_shape, network.encoder.takes_sequences, False)
    if lengths:
        add_lengths(graph)
    axes = TARGET_TIME, BATCH
    target_in = graph.input("target_in", axes, "The symbols before those to be predicted", TensorProto.INT64)
    y = seq2seq(graph, network, x, target_in)
    if lengths and not graph.lengths_are_read:
        raise ValueError(f"lengths must be False: no part takes them in {network!r}")
    _output(graph, y, axes, end)


def _leading(is_sequence: bool, batch_first: bool) -> tuple[str, ...]:
    """Return the axes of an input or output before that of its features."""
    if not is_sequence:
        return (BATCH,)
    return (BATCH, TIME) if batch_first else (TIME, BATCH)


def _input(graph: Graph, shape: tuple[int, ...] | None, is_sequence: bool, batch_first: bool) -> Value:
    """Add the input, of which a step has this shape, () for ids, None for any; return it with the time first."""
    axes: tuple[int | str, ...] = _leading(is_sequence, batch_first)
    if shape == ():
        name = graph.input("ids", axes, f"{_said(axes)}: rows of the embedding", TensorProto.INT64)
    else:
        axes += shape or ("features",)
        name = graph.input("x", axes, f"{_said(axes)}: the network's input")
    if is_sequence and batch_first:
        name = graph.node("Transpose", [name], "time_first", perm=[1, 0, 2][: len(axes)])
    return Value(name, Signal(shape[0] if shape else None, is_sequence))


def _output(graph: Graph, y: Value, leading: tuple[str, ...], end: str | None) -> None:
    """Name the output, and put it before the states."""
    name = y.name if end is None else activate(graph, end, y.name)
    if leading[1:] == (TIME,):
        name = graph.node("Transpose", [name], "batch_first", perm=[1, 0, 2])
    graph.rename(name, "y")
    axes = (*leading, y.signal.features or "outputs")
    graph.output("y", axes, f"{_said(axes)}: the network's output")
    graph.outputs.insert(0, graph.outputs.pop())


def _said(axes: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, axes))})"
