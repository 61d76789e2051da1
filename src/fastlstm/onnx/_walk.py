"""A graph, node by node: what each value is, as far as layers stand for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from fastlstm._arrays.files import FileError
from fastlstm.onnx import _chains
from fastlstm.onnx._attributes import KINDS, label
from fastlstm.onnx._calls import Call
from fastlstm.onnx._chains import Chain
from fastlstm.onnx._constants import DAMAGED, Constant, Scope, Zeros, attribute
from fastlstm.onnx._functions import body_of_call, function_key, functions_of, scope_of_call
from fastlstm.onnx._meanings import MEANINGS
from fastlstm.onnx._models import MOST_DEPTH, MOST_NODES, Model
from fastlstm.onnx._nodes import Node, node_of
from fastlstm.onnx._signals import as_features
from fastlstm.onnx._states import several, states_of
from fastlstm.onnx._values import Atom, Cut, InTheWayError, Opaque, Role, Signal

# The names of axes in the files of fastlstm's own.
_ROLES: dict[str, Role] = {"time": "time", "batch": "batch"}


class Walk:
    """What is known of every value of a model's graph, in `scope`, and how many recurrent nodes have been `found`."""

    def __init__(self, model: Model) -> None:
        self._model, self._steps, self.found = model, 0, 0
        self._functions = functions_of(model)
        self._own = model.proto.producer_name == "fastlstm"
        self.scope = Scope(model, model.opsets)
        graph = model.proto.graph
        self.scope.add_initializers(graph)
        for one in graph.input:
            if not isinstance(self.scope[one.name], Constant):
                self.scope[one.name] = self._input(one)
        self._nodes(graph.node, self.scope, 0)

    def _input(self, one: onnx.ValueInfoProto) -> Signal | Opaque | None:
        """Return an input of the graph as what it may be: the network's, a state, lengths; None for a number."""
        kind = one.type.tensor_type
        if kind.HasField("shape") and not kind.shape.dim:
            return None
        if not kind.HasField("shape"):
            return Opaque(f"input {one.name!r}: its axes are not said", 0)
        axes = [
            Atom(dim.dim_value if dim.dim_value > 0 else None, _ROLES.get(dim.dim_param) if self._own else None)
            for dim in kind.shape.dim
        ]
        return Signal(Chain(one.name, None, None, (axes[-1],)), tuple((atom,) for atom in axes))

    def _nodes(self, found: Sequence[onnx.NodeProto], scope: Scope, depth: int) -> None:
        if depth > MOST_DEPTH:
            raise FileError(f"{self._model.name}: its functions and branches are more than {MOST_DEPTH} deep")
        for node in found:
            self._steps += 1
            if self._steps > MOST_NODES:
                raise FileError(f"{self._model.name} has more than {MOST_NODES} nodes, in functions too")
            function = self._functions.get(function_key(node))
            if function is not None:
                inner = scope_of_call(self._model, node, function, scope)
                self._nodes(body_of_call(node, function), inner, depth + 1)
                given: Sequence[Any] = [inner[name] for name in function.output]
            elif scope.compute(node):
                continue
            elif (branch := _chosen_branch(node, scope)) is not None:
                inner = Scope(self._model, scope.opsets, scope)
                inner.add_initializers(branch)
                self._nodes(branch.node, inner, depth + 1)
                given = [inner[one.name] for one in branch.output]
            else:
                given = self._outputs(node, scope)
            for name, value in zip(node.output, given, strict=False):
                scope[name] = value

    def _outputs(self, node: onnx.NodeProto, scope: Scope) -> Sequence[Any]:
        """Return what is known of the outputs of a node that are not constants."""
        values = [scope[name] if name else None for name in node.input]
        standard = node.domain in ("", "ai.onnx")
        is_recurrent = standard and node.op_type in KINDS
        self.found += is_recurrent
        # What else a recurrent node takes is looked at there.
        blind = [value for value in (values[:1] if is_recurrent else values) if isinstance(value, Opaque)]
        if blind:
            first = min(blind, key=lambda value: value.place)
            return [first] * len(node.output)
        try:
            if is_recurrent:
                return self._recurrent(node, scope)
            if standard and node.op_type in MEANINGS and any(value is not None for value in values):
                made = MEANINGS[node.op_type](Call(node, scope.opsets.get("", 1)), *values)
                return made if isinstance(made, list) else [made]
            reason = ""
        except InTheWayError as error:
            reason = str(error)
        except DAMAGED as error:
            if isinstance(error, FileError):
                raise
            reason = str(error)
        told = f"{label(node)}: {reason}" if reason and not reason.startswith("node ") else reason or label(node)
        return [Opaque(told, self._steps)] * len(node.output)

    # ---- nodes with a state ----

    def _recurrent(self, node: onnx.NodeProto, scope: Scope) -> list[Signal]:
        """Return Y, Y_h and Y_c of an LSTM, GRU or RNN node."""
        found, x = node_of(node, scope), scope[node.input[0]]
        if not isinstance(x, Signal):
            raise InTheWayError("its X is not what layers give")
        x = as_features(x)
        attributes = found.attributes
        order: tuple[Role, Role] = ("batch", "time") if attributes.layout else ("time", "batch")
        if len(x.axes) != 3 or any(len(axis) != 1 for axis in x.axes[:2]):
            raise InTheWayError("its X has not the time, the batch and the features as its axes")
        for axis, role in zip(x.axes[:2], order, strict=True):
            axis[0].claim(role)
        outer = dict(zip(order, x.axes, strict=False))
        found = _without_whole_lengths(found, outer["time"][0].size)
        found._check()
        lengths = _lengths_of(found, scope, x)
        states = {role: _state_of(role, found, scope, x) for role in ("initial_h", "initial_c")}
        D, units = attributes.directions, (Atom(found.hidden_size),)
        features = (*several(D), *units)
        chain = x.chain.add(_chains.Recurrent(found, lengths, states), features, D)
        T, B, both, first = outer["time"], outer["batch"], features[: D - 1], bool(attributes.layout)
        Y = Signal(chain, (B, T, both, units) if first else (T, both, B, units))
        return [Y, *(states_of(chain, B, first=first, cell=cell) for cell in (False, True))]


def _chosen_branch(node: onnx.NodeProto, scope: Scope) -> onnx.GraphProto | None:
    """Return the branch of an If whose condition is known, as where an exporter asks whether an axis has length 1."""
    if node.op_type != "If" or node.domain not in ("", "ai.onnx") or not node.input:
        return None
    condition = scope[node.input[0]]
    if not isinstance(condition, Constant) or condition.array.size != 1:
        return None
    branch = attribute(node, "then_branch" if condition.array.reshape(-1)[0] else "else_branch")
    return branch if isinstance(branch, onnx.GraphProto) else None


def _without_whole_lengths(node: Node, T: int | None) -> Node:
    """Return a node without lengths that are constant, if they are all T."""
    if node.lengths is not None and T is not None and np.all(node.lengths == T):
        return replace(node, lengths=None, inputs={k: v for k, v in node.inputs.items() if k != "sequence_lens"})
    return node


def _lengths_of(node: Node, scope: Scope, x: Signal) -> str | None:
    """Return the name of the input with the lengths of a node; None if it has none."""
    if "sequence_lens" not in node.inputs:
        return None
    value = scope[node.inputs["sequence_lens"]]
    if not isinstance(value, Signal) or not value.is_input or value.chain.name == x.chain.name:
        raise InTheWayError("its sequence_lens is neither an input of the model nor left out")
    return value.chain.name


def _state_of(role: str, node: Node, scope: Scope, x: Signal) -> Any:
    """Return where an initial state comes from: an input, a part of one, or None for zeros."""
    value = scope[node.inputs[role]] if role in node.inputs else None
    if value is None or isinstance(value, (Constant, Zeros)):  # Constants that are not zeros have been refused.
        return None
    if isinstance(value, Signal) and value.is_input and value.chain.name != x.chain.name:
        return value.chain.name
    if isinstance(value, Cut) and value.name != x.chain.name:
        return value
    raise InTheWayError(f"its {role} is neither zeros nor an input of the model, or a part of one: it is computed")
