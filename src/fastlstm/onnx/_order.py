"""Models that `onnx.reference` can run node by node: in order, without cycles, with names that mean one thing each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import onnx

from fastlstm._arrays.files import FileError
from fastlstm.onnx._attributes import label
from fastlstm.onnx._models import MOST_DEPTH, MOST_NODES, Model

_Key = tuple[str, str]


class _Size(NamedTuple):
    """How many nodes a graph or a function runs if each runs once, and how deep the calls in it go."""

    nodes: int
    depth: int


def in_order(model: Model) -> onnx.ModelProto:
    """Return a copy of a model whose functions come after those that they call, and "" is the domain of ONNX's own.

    Raises
    ------
    FileError
        If a node needs what no node before it gives, as in a cycle; if functions call each other in a circle, or one
        name stands for two things; if there are too many nodes, or too deep.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model.embedded())
    _set_opsets(proto, model.opsets)
    ordered = _Order(model, proto).functions()
    copies = [onnx.FunctionProto.FromString(function.SerializeToString()) for function in ordered]
    del proto.functions[:]
    proto.functions.extend(copies)
    return proto


def _set_opsets(proto: onnx.ModelProto | onnx.FunctionProto, opsets: dict[str, int]) -> None:
    del proto.opset_import[:]
    for domain, version in opsets.items():
        proto.opset_import.add(domain=domain, version=version)


class _Order:
    """A walk over all graphs of a model, and over each of its functions once."""

    def __init__(self, model: Model, proto: onnx.ModelProto) -> None:
        self._model, self._graph = model, proto.graph
        self._functions: dict[_Key, onnx.FunctionProto] = {}
        # None while a function is looked at.
        self._sizes: dict[_Key, _Size | None] = {}
        for function in proto.functions:
            key = function.domain, function.name
            if key in self._functions or function.domain in ("", "ai.onnx"):
                raise FileError(f"{model.name}: function {function.name!r} has the name of another, or of an operator")
            self._functions[key] = function

    def functions(self) -> list[onnx.FunctionProto]:
        """Return the functions, each after those that it calls."""
        self._checked(self._size_of_graph(self._graph, frozenset(), 0))
        for key in self._functions:
            self._size_of_call(key, 0)
        return [self._functions[key] for key in self._sizes]

    def _checked(self, size: _Size) -> _Size:
        if size.nodes > MOST_NODES:
            raise FileError(f"{self._model.name} runs more than {MOST_NODES} nodes, in functions too")
        if size.depth > MOST_DEPTH:
            raise FileError(f"{self._model.name}: its graphs and functions are more than {MOST_DEPTH} deep")
        return size

    def _size_of_call(self, key: _Key, depth: int) -> _Size:
        self._checked(_Size(0, depth))
        if key in self._sizes:
            size = self._sizes[key]
            if size is None:
                raise FileError(f"{self._model.name}: function {key[1]!r} calls itself")
            return size
        self._sizes[key], function = None, self._functions[key]
        opsets = {"" if one.domain == "ai.onnx" else one.domain: one.version for one in function.opset_import}
        _set_opsets(function, self._model.opsets | opsets)
        known = frozenset(function.input)
        size = self._size_of_nodes(function.node, known, function.output, f"function {function.name!r}", depth)
        del self._sizes[key]  # It comes after those that it calls.
        self._sizes[key] = size
        return size

    def _size_of_graph(self, graph: onnx.GraphProto, outer: frozenset[str], depth: int) -> _Size:
        if graph.sparse_initializer:
            raise FileError(
                f"{self._model.name}: sparse constants, as {graph.sparse_initializer[0].values.name!r}, are not read"
            )
        own = frozenset(one.name for one in (*graph.input, *graph.initializer))
        for name in own & outer:
            raise FileError(f"{self._model.name}: {name!r} is the name of two values, in a graph and around it")
        outputs = [one.name for one in graph.output]
        return self._size_of_nodes(graph.node, outer | own, outputs, f"graph {graph.name!r}", depth)

    def _size_of_nodes(
        self, found: Iterable[onnx.NodeProto], known: frozenset[str], outputs: Iterable[str], where: str, depth: int
    ) -> _Size:
        """Return the size of some nodes; raise FileError unless each has its inputs from those before it."""
        names, count, deepest = {"", *known}, 0, 0
        for node in found:
            if node.domain == "ai.onnx":
                node.domain = ""
            for name in node.input:
                if name not in names:
                    raise FileError(
                        f"{self._model.name}: {label(node)} needs {name!r}, which nothing before it gives: there is a "
                        "cycle, or the nodes are not in order"
                    )
            inner = [
                self._size_of_graph(graph, frozenset(names), depth + 1)
                for one in node.attribute
                for graph in (*[one.g][: one.HasField("g")], *one.graphs)
            ]
            if (node.domain, node.op_type) in self._functions:
                inner.append(self._size_of_call((node.domain, node.op_type), depth + 1))
            for size in inner:
                count, deepest = count + size.nodes, max(deepest, size.depth + 1)
            count += 1
            names |= set(node.output)
            self._checked(_Size(count, deepest))
        for name in outputs:
            if name not in names:
                raise FileError(f"{self._model.name}: {where} has the output {name!r}, which nothing in it gives")
        return _Size(count, deepest)
