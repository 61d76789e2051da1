"""What can be known of a model without running it: the arrays that its constants give, computed when asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from fastlstm._arrays import files
from fastlstm._arrays.arrays import Array
from fastlstm._arrays.files import FileError
from fastlstm.onnx._attributes import label
from fastlstm.onnx._models import Model

# The operations of a constant upon a constant upon ...: no exporter writes so many.
_DEEPEST = 64

# The errors that a node without meaning leads to.
DAMAGED = (*files.DAMAGED, IndexError, MemoryError, ArithmeticError)

_CASTS: dict[int, Any] = {
    TensorProto.FLOAT: np.float32, TensorProto.DOUBLE: np.float64, TensorProto.FLOAT16: np.float16,
    TensorProto.INT32: np.int32, TensorProto.INT64: np.int64, TensorProto.BOOL: np.bool,
}  # fmt: skip


class Zeros:
    """Zeros in a shape that is known only in a call, as torch.onnx writes initial states."""


class Constant:
    """An array that is computed from constants alone, when it is asked for."""

    def __init__(self, make: Callable[[], Array], depth: int = 0) -> None:
        self._make, self._array, self.depth = make, None, depth

    _array: Array | None

    @property
    def array(self) -> Array:
        """The array, not to be written to."""
        if self._array is None:
            self._array = self._make()
            self._array.flags.writeable = False
        return self._array

    @property
    def is_zero(self) -> bool:
        """Whether there are zeros alone."""
        return not self.array.any()


class Scope:
    """The values that are known where a node stands, by their names: those of its graph and of the graphs around it.

    Attributes
    ----------
    model : Model
        The model.
    opsets : mapping of str to int
        The version of each domain's operators.
    """

    def __init__(self, model: Model, opsets: dict[str, int], outer: Scope | None = None) -> None:
        self.model, self.opsets, self._outer = model, opsets, outer
        self._values: dict[str, Any] = {}

    def __setitem__(self, name: str, value: Any) -> None:
        self._values[name] = value

    def __getitem__(self, name: str) -> Any:
        """Return what is known of a value, None if nothing is."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope._values:
                return scope._values[name]
            scope = scope._outer
        return None

    def add_initializers(self, graph: onnx.GraphProto) -> None:
        """Add the constants that a graph has beside its nodes."""
        for tensor in graph.initializer:
            self[tensor.name] = self._tensor(tensor)
        for sparse in graph.sparse_initializer:
            self[sparse.values.name] = None

    def compute(self, node: onnx.NodeProto) -> bool:
        """Add the outputs of a node if they are constants, and return whether they are."""
        try:
            found = self._computed(node)
        except FileError:
            raise
        except DAMAGED as error:
            raise FileError(f"{self.model.name}: {label(node)} is damaged: {error}") from error
        if found is None:
            return False
        for name, value in zip(node.output, found, strict=False):
            self[name] = value
        return True

    def _tensor(self, tensor: TensorProto) -> Constant:
        return Constant(lambda: self.model.array(tensor))

    def _computed(self, node: onnx.NodeProto) -> Sequence[Any] | None:
        """Return what is known of the outputs of a node; None if nothing is."""
        if node.domain not in ("", "ai.onnx"):
            return None
        kind, opset = node.op_type, self.opsets.get("", 1)
        if kind == "Constant":
            return self._given(node)
        inputs = [self[name] if name else None for name in node.input]
        if not inputs:
            return None
        if isinstance(inputs[0], Zeros):
            if kind in _KEEP_ZEROS or (kind == "Concat" and all(isinstance(value, Zeros) for value in inputs)):
                return [inputs[0]] * len(node.output)
            return None
        if kind == "ConstantOfShape" and not isinstance(inputs[0], Constant):
            return None if _filler(self.model, attribute(node, "value")).any() else [Zeros()]
        if kind == "Expand" and isinstance(inputs[0], Constant) and not isinstance(inputs[-1], Constant):
            return [Zeros()] if inputs[0].is_zero else None
        if kind not in _FOLDED or (kind == "Cast" and attribute(node, "to") not in [*_CASTS]):
            return None
        if not all(isinstance(value, Constant) or not name for name, value in zip(node.input, inputs, strict=True)):
            return None
        depth = 1 + max((value.depth for value in inputs if value is not None), default=0)
        if depth > _DEEPEST:
            return None
        fold, model = _FOLDED[kind], self.model

        def make(k: int) -> Array:
            try:
                arrays = [None if value is None else value.array for value in inputs]
                made = fold(_Call(node, opset, model), *arrays)
                return np.asarray(made[k] if isinstance(made, list) else made).view()
            except FileError:
                raise
            except DAMAGED as error:
                raise FileError(f"{model.name}: {label(node)} cannot be computed: {error}") from error

        return [Constant(lambda k=k: make(k), depth) for k in range(len(node.output))]  # type: ignore[misc]

    def _given(self, node: onnx.NodeProto) -> list[Any] | None:
        """Return the value of a Constant node; None if it is of a kind that no weight has."""
        for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
            value = attribute(node, name)
            if isinstance(value, TensorProto):
                return [self._tensor(value)]
            if value is not None:
                array = np.array(value, np.float32 if "float" in name else np.int64)
                return [Constant(lambda array=array: array)]  # type: ignore[misc]
        return None


def attribute(node: onnx.NodeProto, name: str, usual: Any = None) -> Any:
    """Return the value of a node's attribute."""
    for one in node.attribute:
        if one.name == name:
            try:
                return onnx.helper.get_attribute_value(one)
            except ValueError as error:  # It refers to one that is not there, or has no type.
                raise FileError(f"{label(node)}: attribute {name} has no value: {error}") from error
    return usual


class _Call:
    """A node to be computed: its attributes, the version of its operator, and the model that counts memory."""

    def __init__(self, node: onnx.NodeProto, opset: int, model: Model) -> None:
        self.node, self.opset, self.model = node, opset, model

    def get(self, name: str, usual: Any = None) -> Any:
        """Return an attribute."""
        return attribute(self.node, name, usual)

    def spend(self, shape: Sequence[int], dtype: Any) -> None:
        """Count the memory of an array to be made."""
        self.model.spend(math.prod(map(int, shape)) * np.dtype(dtype).itemsize)


def _ints(array: Array | None) -> list[int] | None:
    """Return the values of an array of axes or a shape, of which there are few."""
    if array is None:
        return None
    if array.ndim > 1 or array.size > 64 or array.dtype.kind not in "iu":
        raise ValueError(f"axes, shapes and places must be some ints, not {array.shape} of {array.dtype}")
    return [int(value) for value in array.reshape(-1)]


def _identity(call: _Call, x: Array) -> Array:
    return x


def _unsqueeze(call: _Call, x: Array, axes: Array | None = None) -> Array:
    return np.expand_dims(x, tuple(_ints(axes) or call.get("axes")))


def _squeeze(call: _Call, x: Array, axes: Array | None = None) -> Array:
    given = _ints(axes) or call.get("axes")
    return np.squeeze(x, None if given is None else tuple(given))


def _reshape(call: _Call, x: Array, shape: Array | None = None) -> Array:
    wanted = _ints(shape) or call.get("shape") or []
    if not call.get("allowzero", 0):
        wanted = [x.shape[k] if n == 0 else n for k, n in enumerate(wanted)]
    call.spend(x.shape, x.dtype)
    return x.reshape(wanted)


def _transpose(call: _Call, x: Array) -> Array:
    return x.transpose(call.get("perm"))


def _cast(call: _Call, x: Array) -> Array:
    dtype = _CASTS[call.get("to")]
    call.spend(x.shape, np.float64)
    with np.errstate(all="ignore"):
        rounded = x.astype(dtype)
    return rounded.astype(np.float32) if dtype == np.float16 else rounded


def _concat(call: _Call, *arrays: Array) -> Array:
    call.spend([sum(array.size for array in arrays)], arrays[0].dtype)
    return np.concatenate(arrays, call.get("axis", 1))


def _slice(call: _Call, x: Array, *places: Array | None) -> Array:
    if call.opset < 10:
        starts, ends, axes, steps = call.get("starts"), call.get("ends"), call.get("axes"), None
    else:
        starts, ends, axes, steps = ([_ints(one) for one in places] + [None, None])[:4]
    index = [slice(None)] * x.ndim
    for k, (start, end) in enumerate(zip(starts or (), ends or (), strict=True)):
        axis, step = axes[k] if axes else k, steps[k] if steps else 1
        # Going back, an end before the first is far below zero, which NumPy takes for one from the end.
        index[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return x[tuple(index)]


def _split(call: _Call, x: Array, sizes: Array | None = None) -> list[Array]:
    axis, count = call.get("axis", 0), len(call.node.output)
    given = _ints(sizes) or call.get("split")
    if given is None:
        part = -(-x.shape[axis] // count)
        given = [*[part] * (count - 1), x.shape[axis] - part * (count - 1)]
    if len(given) != count or sum(given) != x.shape[axis] or min(given) < 0:
        raise ValueError(f"{count} parts of {given} must have {x.shape[axis]} in all")
    return np.split(x, np.cumsum(given)[:-1].tolist(), axis)


def _gather(call: _Call, x: Array, index: Array) -> Array:
    axis = call.get("axis", 0)
    call.spend([x.size // max(x.shape[axis], 1) * index.size], x.dtype)
    return np.take(x, index, axis)


def _expand(call: _Call, x: Array, shape: Array) -> Array:
    wanted = np.broadcast_shapes(x.shape, tuple(_ints(shape) or ()))
    call.spend(wanted, x.dtype)
    return np.broadcast_to(x, wanted)


def _constant_of_shape(call: _Call, shape: Array) -> Array:
    filler, wanted = _filler(call.model, call.get("value")), _ints(shape) or []
    call.spend(wanted, filler.dtype)
    return np.full(wanted, filler.reshape(-1)[0], filler.dtype)


def _filler(model: Model, value: Any) -> Array:
    """Return the value that ConstantOfShape repeats."""
    return model.array(value) if isinstance(value, TensorProto) else np.zeros(1, np.float32)


def _shape(call: _Call, x: Array) -> Array:
    return np.array(x.shape, np.int64)[call.get("start", 0) : call.get("end", x.ndim)]


def _elementwise(function: Any) -> Callable[..., Array]:
    def fold(call: _Call, a: Array, b: Array) -> Array:
        call.spend(np.broadcast_shapes(a.shape, b.shape), a.dtype)
        with np.errstate(all="ignore"):
            return function(a, b)  # type: ignore[no-any-return]

    return fold


# The operations of which zeros are zeros again.
_KEEP_ZEROS = (
    "Cast", "Expand", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
)  # fmt: skip
_FOLDED: dict[str, Callable[..., Any]] = {
    "Identity": _identity, "Unsqueeze": _unsqueeze, "Squeeze": _squeeze, "Reshape": _reshape, "Transpose": _transpose,
    "Cast": _cast, "Concat": _concat, "Slice": _slice, "Split": _split, "Gather": _gather, "Expand": _expand,
    "ConstantOfShape": _constant_of_shape, "Shape": _shape,
    "Add": _elementwise(np.add), "Sub": _elementwise(np.subtract), "Mul": _elementwise(np.multiply),
}  # fmt: skip
