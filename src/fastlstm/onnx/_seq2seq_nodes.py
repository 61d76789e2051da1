"""An encoder and a decoder as nodes of an ONNX graph, which gives the logits of the symbols after known ones."""

from __future__ import annotations

import numpy as np

from fastlstm import nn
from fastlstm._arrays.arrays import on_host
from fastlstm.layers.network_layer import Signal
from fastlstm.onnx._graph import Graph, Value
from fastlstm.onnx._layer_nodes import write
from fastlstm.onnx._lengths import is_within
from fastlstm.onnx._recurrent_nodes import stack


def seq2seq(graph: Graph, network: nn.Seq2Seq, x: Value, symbols: str) -> Value:
    """Write a network, whose input is `x`; `symbols` are those before the ones to be predicted."""
    encoded = x if network.encoder is None else write(graph, network.encoder, x, "encoder.")
    decoder, where = network.decoder, "decoder."
    summary = write(graph, nn.Last(), encoded, f"{where}summary.") if encoded.is_sequence else encoded
    states = _states(graph, decoder, summary, f"{where}initial.")
    below = write(graph, decoder.embedding, Value(symbols, Signal(None, True)), f"{where}embedding.")
    h = stack(graph, decoder.lstm, below.name, f"{where}lstm.", None, states, [])
    top = Value(h, Signal(decoder.hidden_size, True))
    if decoder.attention is not None and decoder.combine is not None:
        context = _context(graph, decoder.attention, h, encoded.name, f"{where}attention.")
        joined = graph.node("Concat", [h, context], f"{where}joined", axis=-1)
        top = write(graph, decoder.combine, Value(joined, top.signal), f"{where}combine.")
    return write(graph, decoder.output, top, f"{where}output.")


def _states(graph: Graph, decoder: nn.Decoder, summary: Value, where: str) -> list[list[str]]:
    """Return the names of h and of c before the first symbol, each of all layers."""
    L, H = decoder.num_layers, decoder.hidden_size
    flat = write(graph, decoder.initial, summary, where).name
    parts = graph.node("Reshape", [flat, graph.integers(0, 2 * L, H)], f"{where}parts")
    turned = graph.node("Transpose", [parts], f"{where}states", perm=[1, 0, 2])
    each = [f"{where}{part}_l{k}" for part in "hc" for k in range(L)]
    graph.node("Split", [turned, graph.integers(*[1] * 2 * L)], f"{where}each", each, axis=0)
    return [each[:L], each[L:]]


def _context(graph: Graph, attention: nn.Attention, query: str, memory: str, where: str) -> str:
    """Return (time, batch, E): the mean over the steps of a memory, weighted by how much a query attends to each."""
    W, U = (graph.constant(where + name, on_host(attention.params[name]).T) for name in "WU")
    v = graph.constant(f"{where}v", on_host(attention.params["v"])[:, np.newaxis])
    within = None
    if graph.lengths is not None:
        within = is_within(graph, memory)
        memory = graph.node("Where", [within, memory, graph.zero()], f"{where}steps_within")
    steps = graph.node("Transpose", [memory], f"{where}steps", perm=[1, 0, 2])
    keys = graph.node("MatMul", [steps, U], f"{where}keys")
    queries = graph.node("MatMul", [query, W], f"{where}query")
    apart = graph.node("Unsqueeze", [queries, graph.integers(2)], f"{where}queries")
    met = graph.node("Tanh", [graph.node("Add", [apart, keys], f"{where}sums")], f"{where}met")
    scores = graph.node(
        "Squeeze", [graph.node("MatMul", [met, v], f"{where}products"), graph.integers(3)], f"{where}scores"
    )
    rows = graph.node("Transpose", [scores], f"{where}scores_of_rows", perm=[1, 0, 2])
    weights = _weights(graph, rows, within, where)
    context = graph.node("MatMul", [weights, steps], f"{where}context_of_rows")
    return graph.node("Transpose", [context], f"{where}context", perm=[1, 0, 2])


def _weights(graph: Graph, scores: str, within: str | None, where: str) -> str:
    """Return the softmax of (batch, time, steps), 0 past each end; of a row without steps anything, its steps are 0."""
    if within is not None:
        mask = graph.node("Transpose", [within], f"{where}within", perm=[1, 2, 0])
        lowest = graph.constant(f"{where}lowest", np.array(np.finfo(graph.dtype).min))
        scores = graph.node("Where", [mask, scores, lowest], f"{where}scores_within")
    return graph.node("Softmax", [scores], f"{where}weights", axis=-1)
