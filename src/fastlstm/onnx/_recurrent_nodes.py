"""LSTM, GRU and RNN layers as nodes of an ONNX graph: one for each layer of a stack."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlstm._arrays.arrays import Array, on_host
from fastlstm._cells.kernel import HARD_LOGISTIC
from fastlstm.layers.gru import GRU
from fastlstm.layers.lstm import LSTM
from fastlstm.layers.rnn import RNN
from fastlstm.onnx import _blocks
from fastlstm.onnx._attributes import USUAL, Activation, Attributes, Kind
from fastlstm.onnx._graph import BATCH, Graph, Value, check_option, label_of
from fastlstm.onnx._lengths import with_steps
from fastlstm.onnx._open_gates import LACKING, is_open, with_open_gate

# ONNX's activations by our names.
_THEIRS = {
    "logistic": Activation("Sigmoid"),
    "tanh": Activation("Tanh"),
    "relu": Activation("Relu"),
    "identity": Activation("Affine", 1.0, 0.0),
    "hard_logistic": Activation("HardSigmoid", *HARD_LOGISTIC),
}


def recurrent(graph: Graph, layer: LSTM | GRU | RNN, x: Value, where: str) -> Value:
    """Write the layers of a stack, with their states if the graph has any; `where` begins all names."""
    H, D, L = layer.hidden_size, layer.directions, layer.num_layers
    parts = ("h", "c")[: 2 if isinstance(layer, LSTM) else 1] if graph.state else ()
    graph.lengths_are_read |= graph.lengths is not None
    first = [_first_states(graph, where + part, L, D, H) for part in parts]
    whole = L == 1 and graph.lengths is None
    last = [[where + part if whole else f"{where}{part}_l{k}" for k in range(L)] for part in parts]
    y = stack(graph, layer, x.name, where, graph.lengths, first, last)
    for part, each in zip(parts, last, strict=True):
        _last_state(graph, where + part, each, D, H)
    return Value(y, layer.output_for(x.signal))


def stack(
    graph: Graph, layer: LSTM | GRU | RNN, x: str, where: str, lengths: str | None, first: list[list[str]],
    last: list[list[str]],
) -> str:  # fmt: skip
    """Write the layers of a stack, a node for each; return y.

    `first` and `last` have for each part of the state the names of those of each layer, (D, batch, H), or are empty.
    """
    refuse(layer, where)
    attributes = _attributes(layer)
    if attributes.clip is not None:
        check_option(label_of(layer, where), "clip", attributes.clip)
    for activation in attributes.activations[0]:
        for name, number in (("alpha", activation.alpha), ("beta", activation.beta)):
            if number is not None:
                check_option(label_of(layer, where), name, number)
    for k in range(layer.num_layers):
        name = f"{where}{attributes.kind.lower()}_l{k}"
        weights = {
            of: graph.constant(f"{where}{of}_l{k}", array) for of, array in _weights(layer, attributes, k).items()
        }
        states = [part[k] for part in first] or [""] * (2 if attributes.kind == "LSTM" else 1)
        inputs = [x, weights["W"], weights["R"], weights["B"], lengths or "", *states, weights.get("P", "")]
        while not inputs[-1]:
            inputs.pop()
        Y = graph.node(attributes.kind, inputs, name, [name, *[part[k] for part in last]], **_options(attributes))
        x = _side_by_side(graph, Y, layer.directions, layer.hidden_size, f"{where}y_l{k}")
        if layer.dropout and k + 1 < layer.num_layers:
            x = graph.dropout(x, layer.dropout, f"{where}dropout_l{k}")
    return x


def refuse(layer: Any, where: str) -> None:
    """Raise ValueError if ONNX's operator cannot compute what a layer does in inference."""
    label = label_of(layer, where)
    reasons = {
        "proj_size": "the projection of y is inside the recurrence, and ONNX's LSTM has none there",
        "layer_norm": "ONNX's LSTM does not normalise",
        "cell_clip": "ONNX's clip bounds what goes into the activations, not c",
    }
    for name, reason in reasons.items():
        if value := getattr(layer, name, None):
            raise ValueError(f"{label} has {name}={value!r}, which ONNX cannot say: {reason}")
    if any(layer.zoneout):
        zoneout = layer.arguments()["zoneout"]
        raise ValueError(
            f"{label} has zoneout={zoneout!r}, which ONNX cannot say: in inference too the state keeps a share of the "
            "one before"
        )
    variant = getattr(layer, "variant", "")
    if variant == "FGR":
        raise ValueError(f"{label} has variant FGR, which ONNX cannot say: its gates see the gates of the step before")
    if variant in LACKING and not is_open(layer._cell.activations[0], layer.clip):
        raise ValueError(
            f"{label} has variant {variant}, which ONNX cannot say with activations={layer.activations!r} and "
            f"clip={layer.clip}: no bias makes a gate 1"
        )


def theirs(activation: Any) -> Activation:
    """Return one of our activations, a name or a tuple of a name and its numbers, as ONNX's."""
    if isinstance(activation, tuple):
        name, alpha, beta = activation
        return _THEIRS[name]._replace(alpha=float(alpha), beta=float(beta))
    return _THEIRS[activation]


def _attributes(layer: LSTM | GRU | RNN) -> Attributes:
    kind: Kind
    coupled = after = False
    clip = None
    names: tuple[Any, ...]
    if isinstance(layer, LSTM):
        kind, names, clip, coupled = "LSTM", layer._cell.activations, layer.clip, layer.variant == "CIFG"
    elif isinstance(layer, GRU):
        kind, names, after = "GRU", layer._cell.activations, layer.reset_after
    else:
        kind, names = "RNN", (layer.nonlinearity,)
    direction: Any = "bidirectional" if layer.bidirectional else "forward"
    activations = (tuple(theirs(name) for name in names),) * layer.directions
    return Attributes(kind, layer.hidden_size, direction, activations, clip, coupled, after)


def _options(attributes: Attributes) -> dict[str, Any]:
    """Return the attributes of a node that are not the defaults."""
    options: dict[str, Any] = {"hidden_size": attributes.hidden_size}
    if attributes.directions == 2:
        options["direction"] = "bidirectional"
    every = [activation for own in attributes.activations for activation in own]
    if [activation.name for activation in every] != [*USUAL[attributes.kind]] * attributes.directions:
        options["activations"] = [activation.name for activation in every]
        # Only those that take a number have one in the list.
        for name, values in (
            ("activation_alpha", [activation.alpha for activation in every if activation.alpha is not None]),
            ("activation_beta", [activation.beta for activation in every if activation.beta is not None]),
        ):
            if values:
                options[name] = values
    if attributes.clip is not None:
        options["clip"] = float(attributes.clip)
    if attributes.input_forget:
        options["input_forget"] = 1
    if attributes.linear_before_reset:
        options["linear_before_reset"] = 1
    return options


def _weights(layer: Any, attributes: Attributes, k: int) -> dict[str, Array]:
    """Return W, R, B and, with peepholes, P of both directions of a layer, as ONNX lays them out."""
    directions = []
    for end in ("", "_reverse")[: layer.directions]:
        ours = {
            name: on_host(layer.params[name + suffix]).astype(layer.dtype, copy=False)
            for name in ("W", "R", "b", "bn", "p")
            if name + (suffix := f"_l{k}{end}") in layer.params
        }
        if getattr(layer, "variant", "") in LACKING:
            ours = with_open_gate(ours, layer.variant, layer._cell.activations[0])
        directions.append(_blocks.to_onnx(attributes, **ours))
    return {name: np.stack([own[name] for own in directions]) for name in directions[0]}


def _first_states(graph: Graph, name: str, L: int, D: int, H: int) -> list[str]:
    """Add the input with a part of the initial states of all layers; return the names of those of each layer."""
    whole = graph.input(name + "0", (L * D, BATCH, H), f"{name[-1]} before the first step")
    if L == 1:
        return [whole]
    each = [f"{name}0_l{k}" for k in range(L)]
    graph.node("Split", [whole, graph.integers(*[D] * L)], f"{name}0_each", each, axis=0)
    return each


def _last_state(graph: Graph, name: str, each: list[str], D: int, H: int) -> None:
    """Add the output with a part of the last states of all layers, of which the nodes have given those of `each`."""
    if graph.lengths is None:
        if len(each) > 1:
            graph.node("Concat", each, name, axis=0)
    else:
        # The state of a row without steps is still the initial one; ONNX leaves open what it is.
        last = graph.node("Concat", each, f"{name}_given", axis=0) if len(each) > 1 else each[0]
        graph.node("Where", [with_steps(graph), last, name + "0"], name)
    graph.output(name, (len(each) * D, BATCH, H), f"{name[-1]} after the last step")


def _side_by_side(graph: Graph, Y: str, D: int, H: int, name: str) -> str:
    """Return (time, batch, D H) from a node's (time, D, batch, H)."""
    if D == 1:
        return graph.node("Squeeze", [Y, graph.integers(1)], name)
    turned = graph.node("Transpose", [Y], f"{name}_turned", perm=[0, 2, 1, 3])
    return graph.node("Reshape", [turned, graph.integers(0, 0, D * H)], name)
