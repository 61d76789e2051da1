"""Layers and networks as nodes of an ONNX graph; `_recurrent_nodes.py` has those with a state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastlstm import nn
from fastlstm._arrays.arrays import on_host
from fastlstm.layers.gru import GRU
from fastlstm.layers.lstm import LSTM
from fastlstm.layers.rnn import RNN
from fastlstm.onnx._graph import Graph, Value, check_option, label_of
from fastlstm.onnx._lengths import divisors, is_last, is_within, with_steps
from fastlstm.onnx._recurrent_nodes import recurrent

Writer = Callable[[Graph, Any, Value, str], Value]

_ACTIVATIONS = {"tanh": "Tanh", "logistic": "Sigmoid", "relu": "Relu", "softmax": "Softmax"}


def write(graph: Graph, layer: Any, x: Value, where: str = "") -> Value:
    """Write a layer or network, whose input is `x`; return its output. `where` begins all of its names.

    Raises
    ------
    TypeError
        If it is not a layer that ONNX has.
    ValueError
        If it has an option that ONNX cannot say.
    """
    kind = type(layer)
    if kind not in _WRITERS:
        known = ", ".join(each.__name__ for each in _WRITERS)
        named = f"layer {where.rstrip('.')}" if where else "network"
        own = ": a class of your own may compute anything" if isinstance(layer, (nn.Layer, *_WRITERS)) else ""
        raise TypeError(f"{named} must be one of {known} to be written, not {kind.__name__}{own}")
    return _WRITERS[kind](graph, layer, x, where)


def activate(graph: Graph, function: str, x: str, where: str = "") -> str:
    """Write a function of each value, or the softmax of the last axis; return what it gives."""
    options: dict[str, Any] = {"axis": -1} if function == "softmax" else {}
    return graph.node(_ACTIVATIONS[function], [x], where + function, **options)


# ---- networks ----


def _sequential(graph: Graph, network: nn.Sequential, x: Value, where: str) -> Value:
    for k, layer in enumerate(network.layers):
        x = write(graph, layer, x, f"{where}{k}.")
    return x


def _residual(graph: Graph, network: nn.Residual, x: Value, where: str) -> Value:
    y = _sequential(graph, network, x, where)
    name = graph.node("Add", [x.name, y.name], f"{where}residual")
    return Value(name, network.output_for(x.signal))


def _branches(graph: Graph, network: nn.Branches, x: Value, where: str) -> Value:
    every = [write(graph, branch, x, f"{where}{k}.").name for k, branch in enumerate(network.branches)]
    joined = every[0]
    if network.join == "concat":
        joined = graph.node("Concat", every, f"{where}joined", axis=-1)
    else:
        for k, name in enumerate(every[1:], 1):
            joined = graph.node("Add", [joined, name], f"{where}sum_{k}")
    return Value(joined, network.output_for(x.signal))


# ---- layers of a step ----


def _dense(graph: Graph, dense: nn.Dense, x: Value, where: str) -> Value:
    # Transposed, as a product with rows of any number of axes wants it.
    V = graph.constant(f"{where}V", on_host(dense.params["V"]).T)
    product = graph.node("MatMul", [x.name, V], f"{where}product")
    name = graph.node("Add", [product, graph.constant(f"{where}c", on_host(dense.params["c"]))], f"{where}dense")
    if dense.activation != "identity":
        name = activate(graph, dense.activation, name, where)
    return Value(name, dense.output_for(x.signal))


def _activation(graph: Graph, layer: nn.Activation, x: Value, where: str) -> Value:
    return Value(activate(graph, layer.function, x.name, where), x.signal)


def _embedding(graph: Graph, embedding: nn.Embedding, x: Value, where: str) -> Value:
    E = graph.constant(f"{where}E", on_host(embedding.params["E"]))
    return Value(graph.node("Gather", [E, x.name], f"{where}embedding", axis=0), embedding.output_for(x.signal))


def _layer_norm(graph: Graph, layer: nn.LayerNorm, x: Value, where: str) -> Value:
    g, b = (graph.constant(where + name, on_host(layer.params[name])) for name in "gb")
    if graph.dtype == np.float32:
        check_option(label_of(layer, where), "epsilon", layer.epsilon)
    # The operator computes its statistics in float32.
    if graph.opset >= 17 and graph.dtype == np.float32:
        name = f"{where}layer_norm"
        name = graph.node("LayerNormalization", [x.name, g, b], name, axis=-1, epsilon=layer.epsilon)
        return Value(name, layer.output_for(x.signal))
    epsilon = graph.constant(f"{where}epsilon", np.array(layer.epsilon))
    mean = _reduced(graph, "ReduceMean", x.name, f"{where}mean", -1, keep=True)
    centred = graph.node("Sub", [x.name, mean], f"{where}centred")
    squares = graph.node("Mul", [centred, centred], f"{where}squares")
    variance = _reduced(graph, "ReduceMean", squares, f"{where}variance", -1, keep=True)
    deviation = graph.node("Sqrt", [graph.node("Add", [variance, epsilon], f"{where}bounded")], f"{where}deviation")
    normal = graph.node("Div", [centred, deviation], f"{where}normal")
    scaled = graph.node("Mul", [normal, g], f"{where}scaled")
    return Value(graph.node("Add", [scaled, b], f"{where}layer_norm"), layer.output_for(x.signal))


def _dropout(graph: Graph, layer: nn.Dropout, x: Value, where: str) -> Value:
    return Value(graph.dropout(x.name, layer.rate, f"{where}dropout"), x.signal)


def _identity(graph: Graph, layer: nn.Identity, x: Value, where: str) -> Value:
    return Value(graph.node("Identity", [x.name], f"{where}identity"), x.signal)


# ---- layers from all steps to one vector ----


def _last(graph: Graph, layer: nn.Last, x: Value, where: str) -> Value:
    at_end = _at_end(graph, x.name, where)
    y = layer.output_for(x.signal)
    if x.signal.directions == 1:
        return Value(at_end, y)
    assert x.signal.features is not None
    P = x.signal.features
    forward = _columns(graph, at_end, 0, P // 2, f"{where}of_forward")
    reverse = _columns(graph, _at_start(graph, x.name, where), P // 2, P, f"{where}of_reverse")
    return Value(graph.node("Concat", [forward, reverse], f"{where}last", axis=-1), y)


def _at_end(graph: Graph, x: str, where: str) -> str:
    """Return the last step of each row, zeros where it has none."""
    if graph.lengths is None:
        return _step(graph, x, -1, f"{where}at_end")
    kept = graph.node("Where", [is_last(graph, x), x, graph.zero()], f"{where}only_last")
    return _reduced(graph, "ReduceSum", kept, f"{where}at_end", 0)


def _at_start(graph: Graph, x: str, where: str) -> str:
    """Return the first step of each row, zeros where it has none."""
    first = _step(graph, x, 0, f"{where}at_start")
    if graph.lengths is None:
        return first
    return graph.node("Where", [with_steps(graph), first, graph.zero()], f"{where}at_start_if_any")


def _step(graph: Graph, x: str, number: int, name: str) -> str:
    return graph.node("Gather", [x, graph.integer(number)], name, axis=0)


def _columns(graph: Graph, x: str, begin: int, end: int, name: str) -> str:
    return graph.node("Slice", [x, graph.integers(begin), graph.integers(end), graph.integers(-1)], name)


def _mean(graph: Graph, layer: nn.Mean, x: Value, where: str) -> Value:
    y = layer.output_for(x.signal)
    if graph.lengths is None:
        return Value(_reduced(graph, "ReduceMean", x.name, f"{where}mean", 0), y)
    kept = graph.node("Where", [is_within(graph, x.name), x.name, graph.zero()], f"{where}within")
    total = _reduced(graph, "ReduceSum", kept, f"{where}total", 0)
    return Value(graph.node("Div", [total, divisors(graph)], f"{where}mean"), y)


def _reduced(graph: Graph, operator: str, x: str, name: str, axis: int, *, keep: bool = False) -> str:
    """Return the sum or the mean over an axis, which stays with length 1 if it is to be kept."""
    if operator == "ReduceMean" and graph.opset < 18:
        return graph.node(operator, [x], name, axes=[axis], keepdims=int(keep))
    return graph.node(operator, [x, graph.integers(axis)], name, keepdims=int(keep))


_WRITERS: dict[type, Writer] = {
    LSTM: recurrent,
    GRU: recurrent,
    RNN: recurrent,
    nn.Dense: _dense,
    nn.Activation: _activation,
    nn.Embedding: _embedding,
    nn.LayerNorm: _layer_norm,
    nn.Dropout: _dropout,
    nn.Identity: _identity,
    nn.Last: _last,
    nn.Mean: _mean,
    nn.Sequential: _sequential,
    nn.Residual: _residual,
    nn.Branches: _branches,
}
