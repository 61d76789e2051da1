"""The LSTM, GRU and RNN nodes of a model, wherever they are, with their weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import onnx

from fastlstm._arrays.arrays import Array
from fastlstm._arrays.files import FileError
from fastlstm.onnx._attributes import KINDS, Attributes, attributes_of, label
from fastlstm.onnx._constants import Constant, Scope, Zeros
from fastlstm.onnx._functions import body_of_call, function_key, functions_of, scope_of_call
from fastlstm.onnx._layers import Layer, layer_of, options_of
from fastlstm.onnx._models import MOST_DEPTH, MOST_NODES, Model, Source, open_model

__all__ = ["Node", "nodes"]

INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
_OUTPUTS = ("Y", "Y_h", "Y_c")


@dataclass(frozen=True, eq=False, repr=False)
class Node:
    """An LSTM, GRU or RNN node of an ONNX model, as `nodes` returns it.

    Attributes
    ----------
    kind : "LSTM", "GRU" or "RNN"
        The operator.
    name : str
        The name of the node, or of its first output where it has none.
    path : tuple of str
        The nodes and branches around it: ``("If_0", "then_branch")``; empty in the model's own graph.
    input_size : int or None
        I; None where W is computed.
    hidden_size : int
        H.
    attributes : Attributes
        The options: direction, activations, clip, ...
    weights : dict of str to array
        Those of W (D, nH, I), R (D, nH, H), B (D, 2nH) and P (D, 3H) that the node has and that are constant, as ONNX
        lays them out, in float32 (of float16 and bfloat16 too) or float64. Not to be written to.
    computed : tuple of str
        Those of W, R, B and P that are computed from the model's inputs, and so are no weights.
    inputs, outputs : dict of str to str
        The names of the values that the node takes and gives: ``{"X": "input", ...}``, ``{"Y": "output", ...}``.
    states : dict of str to array or None
        For ``initial_h`` and ``initial_c``, where the node has them and they are not zeros: the array, if they are
        constant, else None.
    lengths : array or None
        sequence_lens, if it is constant.
    """

    kind: str
    name: str
    path: tuple[str, ...]
    input_size: int | None
    hidden_size: int
    attributes: Attributes
    weights: dict[str, Array] = field(default_factory=dict)
    computed: tuple[str, ...] = ()
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    states: dict[str, Array | None] = field(default_factory=dict)
    lengths: Array | None = None

    @property
    def label(self) -> str:
        """How messages name the node."""
        return f"node {self.name!r} ({self.kind})"

    def __repr__(self) -> str:
        own = self.attributes
        sizes = f"{'?' if self.input_size is None else self.input_size} -> {self.hidden_size}"
        parts = [f"{self.kind} {self.name!r}", sizes]
        if own.direction != "forward":
            parts.append(own.direction)
        if "P" in (*self.weights, *self.computed):
            parts.append("peepholes")
        parts += [name for name in ("input_forget", "linear_before_reset") if getattr(own, name)]
        usual = attributes_of(onnx.NodeProto(op_type=self.kind)).activations[0]
        if any(some != usual for some in own.activations):
            parts.append(" and ".join(", ".join(map(str, some)) for some in dict.fromkeys(own.activations)))
        if own.clip is not None:
            parts.append(f"clip={own.clip:g}")
        if own.layout:
            parts.append("layout=1")
        if self.computed:
            parts.append(f"{', '.join(self.computed)} not constant")
        if self.path:
            parts.append(f"in {' '.join(self.path)}")
        return f"<{'; '.join([parts[0], ', '.join(parts[1:])])}>"

    def layer(self) -> Layer:
        """Return a layer with the weights and options of the node.

        What a call of the node is given beside X is given to calls of the layer: an initial state, and lengths. With
        ``layout=1`` the layer has ``batch_first=True``. Its y has the directions side by side, (T, B, D H), where Y is
        (T, D, B, H); the final states are laid out as Y_h and Y_c are with ``layout=0``.

        Returns
        -------
        LSTM, GRU or RNN

        Raises
        ------
        ValueError
            If no layer computes what the node does; the message names what is in the way.

        Examples
        --------
        >>> import fastlstm, fastlstm.onnx
        >>> model = fastlstm.onnx.to_onnx(fastlstm.GRU(3, 8, seed=0))
        >>> [node] = fastlstm.onnx.nodes(model)
        >>> node.layer()
        GRU(3, 8, reset_after=True, dtype=float32)
        """
        self._check()
        return layer_of([self], self.label, batch_first=bool(self.attributes.layout))

    def _check(self) -> None:
        """Raise ValueError if no layer computes what the node does."""
        if self.computed:
            raise ValueError(f"{self.label}: {', '.join(self.computed)} must be constant, not computed by other nodes")
        options_of(self.attributes, self.label)
        for role, array in self.states.items():
            if array is not None:
                raise ValueError(f"{self.label}: {role} is constant and not zeros, and no layer has such a state")
        if self.lengths is not None:
            raise ValueError(f"{self.label}: sequence_lens is constant, and no layer has lengths of its own")


def nodes(model: Source) -> list[Node]:
    """Return every LSTM, GRU and RNN node of an ONNX model, with sizes, options and weights.

    Nodes in the branches of If, in the bodies of Loop and Scan and in the model's own functions are among them, these
    once for every call. Weights are found through the operations that exporters put between them and a node:
    Identity, Unsqueeze, Transpose, Concat, Slice, Cast and the like. Operators of other domains, as DynamicQuantizeLSTM
    of ONNX Runtime, are not listed, and neither are LSTMs that an exporter has written as other operators.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        The model. External data is read from files in the folder of the path.

    Returns
    -------
    list of Node
        In the order of the file.

    Raises
    ------
    FileError
        A ValueError: if the file is damaged, or no ONNX model, or names a file outside its folder.
    ValueError
        If an attribute or the shape of a weight is wrong; the message names the node.
    OSError
        If a file cannot be read, or is not a regular file.
    TypeError
        If `model` is none of these.

    Examples
    --------
    >>> import fastlstm, fastlstm.onnx
    >>> model = fastlstm.onnx.to_onnx(fastlstm.LSTM(3, 8, bidirectional=True, seed=0))
    >>> [node] = fastlstm.onnx.nodes(model)
    >>> node.input_size, node.hidden_size, node.attributes.direction, sorted(node.weights)
    (3, 8, 'bidirectional', ['B', 'P', 'R', 'W'])
    """
    opened = open_model(model)
    return list(_Walk(opened).graph(opened.proto.graph, Scope(opened, opened.opsets), (), 0))


def node_of(node: onnx.NodeProto, scope: Scope, path: tuple[str, ...] = ()) -> Node:
    """Return an LSTM, GRU or RNN node with what is known of its inputs."""
    attributes, where = attributes_of(node), f"{scope.model.name}: {label(node)}"
    inputs = {role: name for role, name in zip(INPUTS, node.input, strict=False) if name}
    most = len(INPUTS) if node.op_type == "LSTM" else len(INPUTS) - 2  # The last two are of a cell.
    if len(node.input) > most or not {"X", "W", "R"} <= inputs.keys():
        raise FileError(f"{where} must have the inputs X, W and R, and at most {most}: {list(node.input)}")
    known = {role: scope[name] for role, name in inputs.items()}
    weights = {role: known[role].array for role in "WRBP" if isinstance(known.get(role), Constant)}
    hidden_size = _hidden_size(attributes, weights, where)
    input_size = weights["W"].shape[2] if "W" in weights and weights["W"].ndim == 3 else None
    _check_weights(attributes, weights, input_size, hidden_size, where)
    states: dict[str, Array | None] = {}
    for role in ("initial_h", "initial_c"):
        value = known.get(role)
        if role in inputs and not isinstance(value, Zeros) and not (isinstance(value, Constant) and value.is_zero):
            states[role] = value.array if isinstance(value, Constant) else None
    lengths = known.get("sequence_lens")
    name = node.name or next((output for output in node.output if output), "")
    return Node(
        node.op_type, name, path, input_size, hidden_size, attributes, weights,
        tuple(role for role in "WRBP" if role in inputs and role not in weights), inputs,
        {role: name for role, name in zip(_OUTPUTS, node.output, strict=False) if name}, states,
        lengths.array if isinstance(lengths, Constant) else None,
    )  # fmt: skip


def _hidden_size(attributes: Attributes, weights: dict[str, Array], where: str) -> int:
    if attributes.hidden_size is not None:
        return attributes.hidden_size
    if "R" not in weights or weights["R"].ndim != 3:
        raise ValueError(f"{where} has no attribute hidden_size, and no constant R that would say it")
    return int(weights["R"].shape[2])


def _check_weights(
    attributes: Attributes, weights: dict[str, Array], input_size: int | None, hidden_size: int, where: str
) -> None:
    """Raise FileError unless the weights have the shapes that belong together, and one dtype."""
    D, H, n = attributes.directions, hidden_size, attributes.gates
    shapes = {"W": (D, n * H, input_size), "R": (D, n * H, H), "B": (D, 2 * n * H), "P": (D, 3 * H)}
    for role, array in weights.items():
        if array.shape != shapes[role]:
            raise FileError(f"{where}: {role} must have shape {shapes[role]}, not {array.shape}")
        if array.dtype.kind != "f" or array.dtype != weights.get("R", array).dtype:
            raise FileError(f"{where}: {role} must be floats as R is, not {array.dtype}")
    if input_size == 0:
        raise FileError(f"{where}: W must have at least one input")


class _Walk:
    """A walk over all graphs of a model, with a bound on its steps: functions may call functions many times."""

    def __init__(self, model: Model) -> None:
        self._model, self._steps = model, 0
        self._functions = functions_of(model)

    def graph(self, graph: onnx.GraphProto, scope: Scope, path: tuple[str, ...], depth: int) -> Iterator[Node]:
        """Yield the nodes of a graph, and of the graphs within it."""
        scope.add_initializers(graph)
        self._step(len(graph.initializer))
        yield from self._nodes(graph.node, scope, path, depth)

    def _step(self, count: int) -> None:
        self._steps += count
        if self._steps > MOST_NODES:
            raise FileError(f"{self._model.name} has more than {MOST_NODES} nodes and constants, in functions too")

    def _nodes(self, found: Any, scope: Scope, path: tuple[str, ...], depth: int) -> Iterator[Node]:
        if depth > MOST_DEPTH:
            raise FileError(f"{self._model.name}: its graphs are more than {MOST_DEPTH} deep, at {' '.join(path[-2:])}")
        for node in found:
            self._step(1)
            name = node.name or next(iter(node.output), "")
            function = self._functions.get(function_key(node))
            if function is not None:
                yield from self._call(node, function, scope, (*path, name), depth)
                continue
            if node.op_type in KINDS and node.domain in ("", "ai.onnx"):
                yield node_of(node, scope, path)
            elif not scope.compute(node):
                for one in node.attribute:
                    for graph in (*[one.g][: one.HasField("g")], *one.graphs):
                        inner = Scope(self._model, scope.opsets, scope)
                        yield from self.graph(graph, inner, (*path, name, one.name), depth + 1)

    def _call(
        self, node: onnx.NodeProto, function: onnx.FunctionProto, scope: Scope, path: tuple[str, ...], depth: int
    ) -> Iterator[Node]:
        """Yield the nodes of a function that a node calls, and add the outputs that are constants."""
        inner = scope_of_call(self._model, node, function, scope)
        yield from self._nodes(body_of_call(node, function), inner, path, depth + 1)
        for name, output in zip(node.output, function.output, strict=False):
            scope[name] = inner[output]
