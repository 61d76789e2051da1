"""An ONNX graph while it is written: inputs, nodes, constants, and the names of what flows between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fastlstm._arrays.arrays import Array
from fastlstm.layers.network_layer import Signal

MOST_BYTES = 2**31 - 2**20
"""The most bytes of constants in a model: its file, which has names and nodes too, ends at 2 GiB."""

TIME, BATCH, TARGET_TIME = "time", "batch", "target_time"
"""The names of the axes whose lengths a call decides."""

Axes = Sequence[int | str]


def check_option(label: str, name: str, value: float) -> None:
    """Raise ValueError if an option, which ONNX has in float32, becomes infinite there, or 0 where it was not."""
    with np.errstate(over="ignore", under="ignore"):
        found = float(np.float32(value))
    if np.isinf(found) or (found == 0 and value != 0):
        raise ValueError(f"{label} has {name}={value!r}, which ONNX cannot say: it has {name} in float32, {found}")


def label_of(layer: Any, where: str) -> str:
    """Return how messages name a layer, whose names in the graph begin with `where`."""
    kind = type(layer).__name__
    return f"layer {where.removesuffix('.')}, {kind}," if where else kind


class Value(NamedTuple):
    """What flows from one layer to the next: its name in the graph, and what is known of it."""

    name: str
    signal: Signal

    @property
    def is_sequence(self) -> bool:
        """Whether it is (time, batch, features), not (batch, features)."""
        return bool(self.signal.is_sequence)


class Graph:
    """A graph that grows by nodes, each of which has the name of what it gives.

    Attributes
    ----------
    opset : int
        The version of the operators.
    dtype : dtype
        The kind of all floats.
    state : bool
        Whether initial states are inputs, and last states outputs.
    lengths : str or None
        The name of the input with the number of steps of each row, if there is one.
    lengths_are_read : bool
        Whether any node reads it so far.
    """

    def __init__(self, opset: int, dtype: np.dtype[Any], *, state: bool) -> None:
        self.opset, self.dtype, self.state = opset, dtype, state
        self.floats = TensorProto.FLOAT if dtype == np.float32 else TensorProto.DOUBLE
        self.lengths: str | None = None
        self.lengths_are_read = False
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._bytes = 0
        self._names: set[str] = set()

    def _taken(self, name: str) -> str:
        assert name not in self._names, name
        self._names.add(name)
        return name

    def has(self, name: str) -> bool:
        """Return whether something has this name already."""
        return name in self._names

    def input(self, name: str, axes: Axes, about: str, kind: int | None = None) -> str:
        """Add an input of the graph, floats unless `kind` says otherwise; return its name."""
        self.inputs.append(helper.make_tensor_value_info(self._taken(name), kind or self.floats, axes, about))
        return name

    def output(self, name: str, axes: Axes, about: str) -> None:
        """Add an output of the graph, the value of this name."""
        self.outputs.append(helper.make_tensor_value_info(name, self.floats, axes, about))

    def node(self, operator: str, inputs: Sequence[str], name: str, outputs: Sequence[str] = (), **options: Any) -> str:
        """Add a node; return the name of what it gives, that of the node unless it gives several `outputs`."""
        for given in outputs or [name]:
            if given:
                self._taken(given)
        self._nodes.append(helper.make_node(operator, inputs, outputs or [name], name, **options))
        return (*outputs, name)[0]

    def constant(self, name: str, array: Any, dtype: Any = None) -> str:
        """Add an array of floats, or of another dtype; return its name.

        Raises
        ------
        ValueError
            If the constants would have more bytes than a model can, or a number is too large for its kind.
        """
        kind = np.dtype(dtype or self.dtype)
        self._bytes += array.size * kind.itemsize
        if self._bytes > MOST_BYTES:
            raise ValueError(f"network has too many parameters: an ONNX model has at most {MOST_BYTES} bytes of them")
        with np.errstate(over="ignore"):
            own: Array = np.array(array, kind, order="C")
        if kind == np.float32 and array.dtype == np.float64 and (np.isinf(own) & np.isfinite(array)).any():
            raise ValueError(f"network has parameters, in {name}, that are too large for float32")
        self._constants[self._taken(name)] = numpy_helper.from_array(own, name)
        return name

    def integers(self, *values: int) -> str:
        """Return the name of an array of these numbers, one for all nodes that read it."""
        return self._shared("_".join(["integers", *map(str, values)]), np.array(values), np.int64)

    def integer(self, value: int) -> str:
        """Return the name of a number, one for all nodes that read it."""
        return self._shared(f"integer_{value}", np.array(value), np.int64)

    def zero(self) -> str:
        """Return the name of 0 as a float, one for all nodes that read it."""
        return self._shared("zero", np.zeros(()), self.dtype)

    def _shared(self, name: str, array: Array, dtype: Any) -> str:
        return name if name in self._constants else self.constant(name, array, dtype)

    def dropout(self, x: str, rate: float, name: str) -> str:
        """Add a node that gives what it takes: its rate is for those who read the network."""
        return self.node("Dropout", [x, self.constant(f"{name}_rate", np.array(rate), np.float64)], name)

    def rename(self, old: str, new: str) -> None:
        """Give a value that a node gives another name."""
        self._taken(new)
        for node in self._nodes:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]

    def made(self, name: str, about: str) -> onnx.GraphProto:
        """Return the graph."""
        constants = list(self._constants.values())
        return helper.make_graph(self._nodes, name, self.inputs, self.outputs, constants, about)
