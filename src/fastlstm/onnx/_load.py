"""A layer or a network from an ONNX model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastlstm import nn
from fastlstm._arrays import checks as check
from fastlstm.layers.parameters import unfilled
from fastlstm.onnx import _chains
from fastlstm.onnx._chains import ANY, Item, Recurrent, every
from fastlstm.onnx._layers import Layer, layer_of
from fastlstm.onnx._models import Model, Source, open_model
from fastlstm.onnx._nodes import Node, nodes
from fastlstm.onnx._signals import as_features
from fastlstm.onnx._values import Cut, InTheWayError, Opaque, Signal, role_axis
from fastlstm.onnx._walk import Walk

__all__ = ["load"]


def load(model: Source, *, node: str | int | None = None) -> Any:
    """Return the layer or the network that an ONNX model computes.

    Networks are those of fastlstm's layers, as torch.onnx, Keras and `to_onnx` write them: LSTM, GRU and RNN nodes, one
    above the other, in one direction or two; what is done to each step (products with a matrix, Relu, Tanh, Sigmoid,
    Softmax, LayerNormalization, Dropout); a table of embeddings below; the last step or the mean of all; sums of a
    layer and its input; and whatever only moves axes. Nodes of the same kind and options one above the other become one
    layer with several `num_layers`. A network that is anything else is refused, and the message names the first node
    that is in the way: `nodes` has its LSTMs all the same, and `Session` runs the whole.

    Initial states and lengths that are inputs of the model are arguments of a call: ``network(x, state, lengths)``. A
    call returns y and all last states, whichever of them the model gives.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        The model. External data is read from files in the folder of the path. Nothing of it is run.
    node : str or int, optional
        The name of an LSTM, GRU or RNN node, or its place in ``nodes(model)``, of which alone to make a layer.

    Returns
    -------
    LSTM, GRU, RNN or nn.Sequential
        In float32, or float64 where the weights are. It has ``batch_first=True`` if the model's input has the batch
        before the time.

    Raises
    ------
    FileError
        A ValueError: if the file is damaged, or no ONNX model, or names a file outside its folder.
    ValueError
        If no network of fastlstm's layers computes what the model does. If there is no such node, or several.
    OSError
        If a file cannot be read, or is not a regular file.
    TypeError
        If `model` or `node` is none of these.

    Examples
    --------
    >>> import fastlstm, fastlstm.onnx
    >>> from fastlstm import nn
    >>> network = nn.Sequential(fastlstm.LSTM(3, 8, num_layers=2, seed=0), nn.Last(), nn.Dense(8, 2, seed=1))
    >>> model = fastlstm.onnx.to_onnx(network, end="softmax")
    >>> for layer in fastlstm.onnx.load(model).layers:
    ...     print(layer)
    LSTM(3, 8, peephole=True, num_layers=2, dtype=float32)
    Last()
    Dense(8, 2, dtype=float32)
    Activation('softmax')
    >>> fastlstm.onnx.load(model, node="0.lstm_l1")
    LSTM(8, 8, peephole=True, dtype=float32)
    """
    if node is not None:
        return _selected(nodes(model), node).layer()
    opened = open_model(model)
    return _Network(opened, Walk(opened)).made()


def _selected(found: list[Node], node: str | int) -> Node:
    """Return the node of this name or number."""
    if isinstance(node, str):
        chosen = [one for one in found if one.name == node]
        if len(chosen) > 1:
            places = [k for k, one in enumerate(found) if one.name == node]
            raise ValueError(f"node must be one of the numbers {places}, since several nodes are called {node!r}")
        if not chosen:
            names = ", ".join(repr(one.name) for one in found[:20]) or "none"
            raise ValueError(f"node must be the name of an LSTM, GRU or RNN node, {names}, not {node!r}")
        return chosen[0]
    number = check.integer("node", node)
    if not 0 <= number < len(found):
        raise ValueError(f"node must be below {len(found)}, the number of LSTM, GRU and RNN nodes, not {number}")
    return found[number]


class _Network:
    """The network of a model, all of whose values are known."""

    def __init__(self, model: Model, walk: Walk) -> None:
        self._model, self._walk = model, walk

    def made(self) -> Any:
        """Return the layer or the network."""
        if not (self._walk.found or self._model.proto.producer_name == "fastlstm"):
            self._refuse("it has no LSTM, GRU or RNN node, or none but in branches and loops")
        signal, states = self._outputs()
        items = signal.chain.items()
        inside = list(every(items))
        self._check_states(inside, states)
        self._check_lengths(inside)
        batch_first = self._is_batch_first(signal)
        arrays = [array for item in inside for array in _arrays(item)]
        dtypes = {array.dtype for array in arrays} or {np.dtype(np.float32)}
        if len(dtypes) > 1:
            self._refuse(f"its weights are {' and '.join(sorted(map(str, dtypes)))}")
        [dtype] = dtypes
        with unfilled(sum(array.size for array in arrays)):
            return _built(items, dtype, batch_first=batch_first)

    def _refuse(self, reason: str) -> Any:
        raise ValueError(f"{self._model.name} is no network of fastlstm's layers: {reason}")

    def _outputs(self) -> tuple[Signal, list[Signal]]:
        """Return what the last layer gives, and the last states that the model gives beside it."""
        main: list[Signal] = []
        states: list[Signal] = []
        for one in self._model.proto.graph.output:
            value = self._walk.scope[one.name]
            if isinstance(value, Opaque):
                self._refuse(f"{value.reason} is in the way" if ": " not in value.reason else value.reason)
            if not isinstance(value, Signal) or value.is_input:
                self._refuse(f"its output {one.name!r} is no layer's")
            if value.rows is not None and (main or value.cell or len(value.axes) != 2):
                states.append(value)
                continue
            try:
                main.append(as_features(value))
            except InTheWayError as error:
                self._refuse(f"output {one.name!r}: {error}")
            if main[1:] and main[0].chain is not main[-1].chain:
                self._refuse(f"it gives more than the output of one layer: {one.name!r} too")
        if main:
            return main[0], states
        if not states:
            self._refuse("it has no output")
        # A model that gives last states alone: the network is the layers that they are of.
        chain = max(
            (row[0] for state in states if state.rows for row in state.rows.of), key=lambda link: len(link.links())
        )
        return Signal(chain, ()), states

    def _check_states(self, items: Sequence[Item], states: list[Signal]) -> None:
        """Raise ValueError unless the states that the model takes and gives are those of the network, in order."""
        own = [item for item in items if isinstance(item, Recurrent)]
        if len({id(item) for item in own}) < len(own):
            self._refuse("the output of one of its recurrent layers goes to several branches at once")
        for state in states:
            for link, _ in state.rows.of if state.rows else ():
                if not any(link.item is item for item in items):
                    self._refuse("it gives the last state of a layer whose output it does not use")
        ends: dict[str, int] = {}
        uses: dict[str, list[str]] = {}
        for item in own:
            roles: dict[str, list[str]] = {}
            for role, source in item.states.items():
                if source is None:
                    continue
                name = source.name if isinstance(source, Cut) else source
                roles.setdefault(name, []).append(role)
                if isinstance(source, Cut) and source.start != ends.get(name, 0):
                    self._refuse(f"{item.node.label}: its {role} is not the next part of the input {name!r}")
                if not isinstance(source, Cut) and name in ends:
                    self._refuse(f"{item.node.label}: its {role} is the input {name!r}, which is that of another too")
                ends[name] = source.stop if isinstance(source, Cut) else -1
            for name, found in roles.items():
                if uses.setdefault(name, found) != found:
                    self._refuse(
                        f"{item.node.label}: the input {name!r} is its {found[0]}, and another's {uses[name][0]}"
                    )

    def _check_lengths(self, items: Sequence[Item]) -> None:
        """Raise ValueError unless all layers go by the same lengths, or none by any."""
        found = {item.lengths: item for item in items if isinstance(item, (Recurrent, _chains.Pooling))}
        names = found.keys() - {ANY}
        if len(names) > 1:
            told = ", ".join("the whole length" if name is None else f"the lengths {name!r}" for name in names)
            self._refuse(f"its layers go by different lengths: {told}")

    def _is_batch_first(self, signal: Signal) -> bool:
        """Return whether the batch comes before the time in the input, and in the output if it has both."""
        name = signal.chain.name
        given = self._walk.scope[name]
        first, T, B = given.axes, role_axis(given.axes, "time"), role_axis(given.axes, "batch")
        embedded = any(isinstance(item, _chains.Embedding) for item in signal.chain.items())
        if T is not None and B is not None and len(first) != (2 if embedded else 3):
            self._refuse(f"its input {name!r} has {len(first)} axes")
        batch_first = T is not None and B is not None and B < T
        if not embedded and first[-1] != given.chain.features:
            self._refuse(f"its input {name!r} has not the features as its last axis")
        if signal.axes:
            order = role_axis(signal.axes, "time"), role_axis(signal.axes, "batch")
            rank = 3 if order[0] is not None else 2
            if len(signal.axes) != rank or (T is not None and order[1] != (0 if rank == 2 or batch_first else 1)):
                self._refuse("its output has other axes, or in another order, than its input and the features")
        return batch_first


def _arrays(item: Item) -> list[Any]:
    """Return the parameters of a layer as they are in the model, or their sizes' like."""
    if isinstance(item, Recurrent):
        return list(item.node.weights.values())
    if isinstance(item, _chains.Dense):
        return [item.V, item.V[:, 0] if item.c is None else item.c]
    if isinstance(item, _chains.Embedding):
        return [item.E]
    return [item.g, item.b] if isinstance(item, _chains.LayerNorm) else []


def _built(items: Sequence[Item], dtype: Any, *, batch_first: bool) -> Any:
    """Return a layer of one item, or of several that are one stack; else a network."""
    groups = _stacked(items)
    if len(groups) == 1 and isinstance(groups[0], tuple):
        return _stack(*groups[0], batch_first=batch_first)
    return nn.Sequential(*_layers(items, dtype), batch_first=batch_first)


def _layers(items: Sequence[Item], dtype: Any) -> list[Any]:
    """Return the layers of items one above the other."""
    return [_stack(*group) if isinstance(group, tuple) else _simple(group, dtype) for group in _stacked(items)]


def _stacked(items: Sequence[Item]) -> list[Item | tuple[list[Node], float]]:
    """Return the items, recurrent ones that are one layer of several as a list of their nodes, with its dropout."""
    groups: list[Any] = []
    for item in items:
        if not isinstance(item, Recurrent):
            groups.append(item)
            continue
        rate = _rate(groups[-1]) if groups else None
        below = groups[-2 if rate is not None and len(groups) > 1 else -1] if groups else None
        if isinstance(below, tuple) and _alike(below[0][0], item.node):
            own, dropout = below
            if len(own) == 1 or dropout == (rate or 0.0):
                if rate is not None:
                    groups.pop()
                groups[-1] = ([*own, item.node], rate or 0.0)
                continue
        groups.append(([item.node], 0.0))
    return groups


def _rate(item: Any) -> float | None:
    return item.argument if isinstance(item, _chains.Simple) and item.kind == "Dropout" else None


def _alike(a: Node, b: Node) -> bool:
    return a.attributes == b.attributes and ("P" in a.weights) == ("P" in b.weights) and a.hidden_size == b.hidden_size


def _stack(nodes: list[Node], dropout: float, *, batch_first: bool = False) -> Layer:
    return layer_of(nodes, nodes[0].label, batch_first=batch_first, dropout=dropout)


def _simple(item: Item, dtype: Any) -> Any:
    """Return a layer that is not recurrent."""
    layer: Any
    if isinstance(item, _chains.Dense):
        activation: Any = item.activation
        layer = nn.Dense(item.V.shape[1], item.V.shape[0], activation=activation, dtype=dtype)
        layer.params["V"][:], layer.params["c"][:] = item.V, 0 if item.c is None else item.c
    elif isinstance(item, _chains.Embedding):
        layer = nn.Embedding(*item.E.shape, dtype=dtype)
        layer.params["E"][:] = item.E
    elif isinstance(item, _chains.LayerNorm):
        layer = nn.LayerNorm(item.g.size, item.epsilon, dtype=dtype)
        layer.params["g"][:], layer.params["b"][:] = item.g, item.b
    elif isinstance(item, _chains.Pooling):
        layer = nn.Last() if item.kind == "Last" else nn.Mean()
    elif isinstance(item, _chains.Joined):
        layer = _branched(item, dtype)
    else:
        assert isinstance(item, _chains.Simple)
        layer = nn.Dropout(item.argument) if item.kind == "Dropout" else nn.Activation(item.argument)
    return layer


def _branched(item: _chains.Joined, dtype: Any) -> Any:
    """Return a layer of several branches, or of one and its input."""
    if item.join == "residual":
        return nn.Residual(*_layers(item.branches[0], dtype))
    branches: list[Any] = []
    for own in item.branches:
        layers = _layers(own, dtype) or [nn.Identity()]
        branches.append(layers[0] if len(layers) == 1 else nn.Sequential(*layers))
    return nn.Branches(*branches, join=item.join)
