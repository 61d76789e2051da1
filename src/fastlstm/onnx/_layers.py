"""A layer of one node, or of several nodes one above the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from fastlstm._arrays.arrays import Array
from fastlstm.layers.gru import GRU
from fastlstm.layers.lstm import LSTM
from fastlstm.layers.parameters import unfilled
from fastlstm.layers.rnn import RNN
from fastlstm.onnx import _blocks
from fastlstm.onnx._attributes import Attributes, Ours
from fastlstm.onnx._open_gates import lacking_gate, without_gate

Layer: TypeAlias = LSTM | GRU | RNN

# What our layers have as sigma, and as g, h and the RNN's activation.
_SIGMA = ("logistic", "hard_logistic")
_USUAL = {"LSTM": ("logistic", "tanh", "tanh"), "GRU": ("logistic", "tanh")}


def options_of(attributes: Attributes, where: str) -> dict[str, Any]:
    """Return the arguments of a layer that computes what a node's attributes say, but for its sizes.

    Raises ValueError, which begins with `where`, if no layer does.
    """
    kind, first = attributes.kind, attributes.activations[0]
    if attributes.direction == "reverse":
        function = {"LSTM": "lstm_forward", "GRU": "gru_forward", "RNN": "rnn_forward"}[kind]
        raise ValueError(f"{where}: no layer runs in reverse alone; fastlstm.{function} has reverse=True")
    if len(set(attributes.activations)) > 1:
        told = " and ".join(", ".join(map(str, some)) for some in attributes.activations)
        raise ValueError(f"{where}: no layer has other activations in one direction than in the other: {told}")
    if attributes.clip is not None and kind != "LSTM":
        raise ValueError(f"{where}: no {kind} layer has a clip, here {attributes.clip:g}")
    ours: list[Ours] = []
    for k, activation in enumerate(first):
        found = activation.ours
        is_sigma = k == 0 and kind != "RNN"
        if found is None or (is_sigma and (found if isinstance(found, str) else found[0]) not in _SIGMA):
            place = f"as the activation {'fgh'[k]} of an {kind}" if kind != "GRU" else f"as {'fg'[k]} of a GRU"
            raise ValueError(f"{where}: no layer has {activation} {place}")
        ours.append(found)
    options: dict[str, Any] = {"bidirectional": attributes.directions == 2}
    if kind == "RNN":
        return options | {"nonlinearity": ours[0]}
    if tuple(ours) != _USUAL[kind]:
        options["activations"] = tuple(ours)
    if kind == "GRU":
        return options | {"reset_after": attributes.linear_before_reset}
    return options | {"clip": attributes.clip, "variant": "CIFG" if attributes.input_forget else "vanilla"}


def layer_of(nodes: Sequence[Any], where: str, *, batch_first: bool, dropout: float = 0.0) -> Layer:
    """Return a layer of nodes with the same options, sizes and roles of weights, each above the one before it."""
    first = nodes[0]
    attributes: Attributes = first.attributes
    options = options_of(attributes, where) | {"batch_first": batch_first, "dropout": dropout}
    every: dict[str, dict[str, Array]] = {}
    for k, node in enumerate(nodes):
        weights = node.weights
        for d, suffix in enumerate(("", "_reverse")[: attributes.directions]):
            own = {role: array[d] for role, array in weights.items()}
            every[f"_l{k}{suffix}"] = _blocks.from_onnx(attributes, own["W"], own["R"], own.get("B"), own.get("P"))
    if attributes.kind == "LSTM":
        options["peephole"] = "P" in first.weights
        sigma = attributes.activations[0][0].ours
        coupled = attributes.input_forget
        variant = None if coupled else lacking_gate([*every.values()], sigma, attributes.clip)
        if variant is not None:
            options["variant"] = variant
            every = {suffix: without_gate(ours, variant) for suffix, ours in every.items()}
    arrays = {name + suffix: array for suffix, ours in every.items() for name, array in ours.items()}
    kind = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}[attributes.kind]
    dtype = first.weights["R"].dtype
    with unfilled(sum(array.size for array in arrays.values())):
        layer: Any = kind(first.input_size, first.hidden_size, len(nodes), dtype=dtype, **options)
    for name, view in layer.params.items():
        view[...] = arrays[name]
    return layer  # type: ignore[no-any-return]
