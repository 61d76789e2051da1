"""The functions that a model brings along: what a node that calls one stands for."""

from __future__ import annotations

import onnx

from fastlstm.onnx._constants import Scope
from fastlstm.onnx._models import Model


def function_key(thing: onnx.NodeProto | onnx.FunctionProto) -> tuple[str, str, str]:
    """Return what a model's functions are found by: the domain, the name and the overload."""
    name = thing.op_type if isinstance(thing, onnx.NodeProto) else thing.name
    return "" if thing.domain == "ai.onnx" else thing.domain, name, getattr(thing, "overload", "")


def functions_of(model: Model) -> dict[tuple[str, str, str], onnx.FunctionProto]:
    """Return the functions of a model."""
    return {function_key(function): function for function in model.proto.functions}


def scope_of_call(model: Model, node: onnx.NodeProto, function: onnx.FunctionProto, scope: Scope) -> Scope:
    """Return what a function knows when a node calls it: its inputs."""
    opsets = {"" if one.domain == "ai.onnx" else one.domain: one.version for one in function.opset_import}
    inner = Scope(model, model.opsets | opsets)
    for name, given in zip(function.input, node.input, strict=False):
        inner[name] = scope[given] if given else None
    return inner


def body_of_call(node: onnx.NodeProto, function: onnx.FunctionProto) -> list[onnx.NodeProto]:
    """Return the nodes of a function, in which references to its attributes are those that a node gives."""
    given = {one.name: one for one in (*function.attribute_proto, *node.attribute)}
    return [_with_attributes(one, given) for one in function.node]


def _with_attributes(node: onnx.NodeProto, given: dict[str, onnx.AttributeProto]) -> onnx.NodeProto:
    if not any(one.ref_attr_name for one in node.attribute):
        return node
    made = onnx.NodeProto()
    made.CopyFrom(node)
    del made.attribute[:]
    for one in node.attribute:
        found = given.get(one.ref_attr_name) if one.ref_attr_name else one
        if found is not None:
            made.attribute.add().CopyFrom(found)
            made.attribute[-1].name = one.name
    return made
