"""What the lengths of the rows say of each step, as nodes of an ONNX graph, which all layers of a network share."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto

from fastlstm.onnx._graph import BATCH, Graph


def add_lengths(graph: Graph) -> None:
    """Make the number of steps of each row an input of the graph."""
    graph.lengths = graph.input("lengths", (BATCH,), "The number of steps of each row", TensorProto.INT32)


def with_steps(graph: Graph) -> str:
    """Return (batch, 1): whether a row has any step."""
    some = _once(graph, "Cast", [_lengths(graph)], "rows_with_steps", to=TensorProto.BOOL)
    return _once(graph, "Unsqueeze", [some, graph.integers(1)], "with_steps")


def is_last(graph: Graph, x: str) -> str:
    """Return (time, batch, 1): whether a step of the sequences x is the last of its row."""
    last = _once(graph, "Sub", [_counts(graph), graph.integers(1)], "last_steps")
    equal = _once(graph, "Equal", [_numbers(graph, x), last], "steps_are_last")
    return _once(graph, "Unsqueeze", [equal, graph.integers(2)], "is_last")


def is_within(graph: Graph, x: str) -> str:
    """Return (time, batch, 1): whether a step of the sequences x is before the end of its row."""
    less = _once(graph, "Less", [_numbers(graph, x), _counts(graph)], "steps_are_within")
    return _once(graph, "Unsqueeze", [less, graph.integers(2)], "is_within")


def divisors(graph: Graph) -> str:
    """Return (batch, 1), floats: the number of steps of each row, 1 where it has none."""
    positive = _once(graph, "Max", [_counts(graph), graph.integers(1)], "positive_lengths")
    floats = _once(graph, "Cast", [positive], "float_lengths", to=graph.floats)
    return _once(graph, "Unsqueeze", [floats, graph.integers(1)], "divisors")


def _lengths(graph: Graph) -> str:
    assert graph.lengths is not None
    graph.lengths_are_read = True
    return graph.lengths


def _counts(graph: Graph) -> str:
    return _once(graph, "Cast", [_lengths(graph)], "lengths_int64", to=TensorProto.INT64)


def _numbers(graph: Graph, x: str) -> str:
    """Return (time, 1): the number of each step, from 0 on."""
    if graph.has("step_numbers"):
        return "step_numbers"
    count = graph.node("Gather", [graph.node("Shape", [x], "shape"), graph.integer(0)], "step_count", axis=0)
    numbers = graph.node("Range", [graph.integer(0), count, graph.integer(1)], "step_range")
    return graph.node("Unsqueeze", [numbers, graph.integers(1)], "step_numbers")


def _once(graph: Graph, operator: str, inputs: list[str], name: str, **options: Any) -> str:
    return name if graph.has(name) else graph.node(operator, inputs, name, **options)
