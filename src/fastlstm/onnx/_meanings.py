"""What nodes do to layers' outputs: each operator that a network of fastlstm has, and those that move axes.

A function takes a `Call` and what is known of the node's inputs, and returns the same of its outputs. It raises
InTheWayError, with a reason or none, where no layer does what the node does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from fastlstm._arrays.arrays import Array
from fastlstm.onnx import _chains, _masks, _norms
from fastlstm.onnx._constants import Constant, attribute
from fastlstm.onnx._joins import concat, joined
from fastlstm.onnx._signals import as_features, at_step, check_plain, chosen, half, is_product, several
from fastlstm.onnx._values import (
    Atom,
    Axis,
    Cut,
    Dims,
    InTheWayError,
    Signal,
    Symbol,
    atoms,
    length,
    reshaped,
    role_axis,
    without,
)

_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
# An end of a slice that no axis has: "to the end".
_LARGE = (1 << 31) - 1
_ACTIVATIONS = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "logistic"}


@dataclass(frozen=True)
class Call:
    """A node, and the version of its operator."""

    node: onnx.NodeProto
    opset: int

    def get(self, name: str, usual: Any = None) -> Any:
        """Return an attribute."""
        return attribute(self.node, name, usual)

    def integer(self, name: str, usual: int) -> int:
        """Return an attribute that is an int."""
        value = self.get(name, usual)
        if not isinstance(value, int):
            raise InTheWayError(f"its attribute {name} is no int")
        return value

    def axis(self, value: int, rank: int) -> int:
        """Return the number of an axis, counted from the first."""
        found = value + rank if value < 0 else value
        if not 0 <= found < rank:
            raise InTheWayError(f"it names axis {value} of {rank}")
        return found

    def axes(self, value: Any, rank: int, name: str = "axes") -> list[int] | None:
        """Return the axes that an input or, in earlier versions, an attribute names, None for all."""
        given = integers(value) if value is not None else self.get(name)
        if given is None:
            return None
        if not isinstance(given, list) or not all(isinstance(axis, int) for axis in given):
            raise InTheWayError(f"its {name} are no ints")
        return sorted(self.axis(axis, rank) for axis in given)


def integers(value: Any) -> list[int]:
    """Return the ints of a constant; raise InTheWayError if it is none."""
    if not isinstance(value, Constant) or value.array.dtype.kind not in "iu" or value.array.size > 64:
        raise InTheWayError("its axes or places are not constant")
    return [int(number) for number in value.array.reshape(-1)]


def _array(value: Any, what: str) -> Array:
    if not isinstance(value, Constant) or value.array.dtype.kind != "f":
        raise InTheWayError(f"{what} is not constant")
    return value.array


# ---- axes ----


def _signal(x: Any) -> Signal:
    """Return what layers give; raise InTheWayError if it is something else."""
    if not isinstance(x, Signal):
        raise InTheWayError
    return x


def _with_axes(x: Any) -> Signal | Symbol:
    """Return what has axes; raise InTheWayError if it is something else."""
    return x if isinstance(x, Symbol) else _signal(x)


def _transpose(call: Call, x: Any) -> Signal:
    own = _signal(x)
    rank = len(own.axes)
    perm = call.get("perm", list(range(rank))[::-1])
    if not isinstance(perm, list) or sorted(perm) != list(range(rank)):
        raise InTheWayError(f"its perm {perm} is not one of {rank} axes")
    return own.laid_out(tuple(own.axes[k] for k in perm))


def _squeeze(call: Call, x: Any, axes: Any = None) -> Any:
    if isinstance(x, Dims):
        if len(x.entries) != 1:
            raise InTheWayError
        return replace(x, scalar=True)
    if isinstance(x, Cut):
        return x
    x = _with_axes(x)
    given = call.axes(axes, len(x.axes))
    if given is None:
        if any(len(axis) == 1 and axis[0].size in (1, None) for axis in x.axes):
            raise InTheWayError("it names no axes")
        given = [k for k, axis in enumerate(x.axes) if not axis]
    if any(x.axes[k] for k in given):
        raise InTheWayError("it drops the time, the batch or the features")
    kept = tuple(axis for k, axis in enumerate(x.axes) if k not in given)
    return replace(x, axes=kept)


def _unsqueeze(call: Call, x: Any, axes: Any = None) -> Any:
    if isinstance(x, Dims):
        if not x.scalar:
            raise InTheWayError
        return replace(x, scalar=False)
    if isinstance(x, Cut):
        return x
    x = _with_axes(x)
    given = integers(axes) if axes is not None else call.get("axes")
    if not isinstance(given, list):
        raise InTheWayError("it names no axes")
    rank = len(x.axes) + len(given)
    places = {call.axis(axis, rank) for axis in given}
    remaining = iter(x.axes)
    if len(places) != len(given):
        raise InTheWayError("it names an axis twice")
    return replace(x, axes=tuple(() if k in places else next(remaining) for k in range(rank)))


def _reshape(call: Call, x: Any, shape: Any = None) -> Signal:
    own = _signal(x)
    wanted: list[int | Axis]
    if isinstance(shape, Dims) and not shape.scalar:
        wanted = list(shape.entries)
    else:
        wanted = list(integers(shape) if shape is not None else call.get("shape") or [])
    return own.laid_out(reshaped(own.axes, wanted, bool(call.get("allowzero", 0))))


def _flatten(call: Call, x: Any) -> Signal:
    own, k = _signal(x), call.integer("axis", 1)
    return own.laid_out((tuple(atoms(own.axes[:k])), tuple(atoms(own.axes[k:]))))


def _identity(call: Call, x: Any) -> Any:
    return x


def _cast(call: Call, x: Any) -> Any:
    to = call.get("to")
    if isinstance(x, Signal) and not x.is_input and to not in _FLOATS:
        raise InTheWayError("it rounds")
    if to == TensorProto.BOOL:
        return _masks.with_steps(x)
    return x


# ---- parts ----


def _shape(call: Call, x: Any) -> Dims:
    axes = _with_axes(x).axes
    entries: list[int | Axis] = [axis or 1 for axis in axes]
    return Dims(tuple(entries[call.integer("start", 0) : call.integer("end", len(axes))]))


def _gather(call: Call, x: Any, index: Any) -> Any:
    if isinstance(x, Constant) and isinstance(index, Signal) and index.is_input:
        return _embedding(call, x, index)
    places = integers(index)
    scalar = isinstance(index, Constant) and index.array.ndim == 0
    if isinstance(x, Dims) and not x.scalar:
        return Dims(tuple(x.entries[k] for k in places), scalar)
    x = _signal(x)
    if len(places) != 1:
        raise InTheWayError("it takes several places")
    return _taken(x, call.axis(call.integer("axis", 0), len(x.axes)), places[0], keep=not scalar)


def _taken(x: Signal, k: int, place: int, *, keep: bool) -> Signal | Cut:
    """Return one place along an axis, which stays with length 1 if it is to be kept."""
    if not x.axes[k]:
        return x.laid_out(without(x.axes, k, keep=keep))
    if x.is_input and role_axis(x.axes, "time") != k:
        return _cut(x, k, place, place + 1)
    if _is_of_rows(x, k):
        return chosen(x, without(x.axes, k, keep=keep), [place])
    return at_step(x, k, place, keep)


def _cut(x: Signal, k: int, start: int, end: int) -> Cut:
    if k or not 0 <= start < end:
        raise InTheWayError
    return Cut(x.chain.name, start, end)


def _is_of_rows(x: Signal, k: int) -> bool:
    """Return whether an axis is that of several last states."""
    axis = x.axes[k]
    return x.rows is not None and len(axis) == 1 and axis[0].role is None and axis[0] not in x.chain.features


def _slice(call: Call, x: Any, *places: Any) -> Any:
    if call.opset < 10:
        starts, ends, axes, steps = call.get("starts"), call.get("ends"), call.get("axes"), None
    else:
        given = [None if place is None else integers(place) for place in places]
        starts, ends, axes, steps = [*given, None, None][:4]
    if not starts or not ends or len(starts) != len(ends):
        raise InTheWayError("its places are not constant")
    if steps and set(steps) != {1}:
        raise InTheWayError("it takes steps in another order")
    for j, (start, end) in enumerate(zip(starts, ends, strict=True)):
        x = _sliced(call, x, axes[j] if axes else j, start, end)
    return x


def _sliced(call: Call, x: Any, axis: int, start: int, end: int) -> Any:
    if isinstance(x, Dims) and not x.scalar:
        return Dims(x.entries[start:end])
    x = _signal(x)
    k = call.axis(axis, len(x.axes))
    size = length(x.axes[k])
    if start == 0 and end >= (_LARGE if size is None else size):
        return x
    if x.is_input:
        return _cut(x, k, start, end)
    if size is None:
        if (start, end) != (0, 1) and not (start == -1 and end >= _LARGE):
            raise InTheWayError("it takes a part of the steps or rows")
        return _taken(x, k, start, keep=True)
    start, end = (min(max(place + size if place < 0 else place, 0), size) for place in (start, end))
    if _is_of_rows(x, k):
        return chosen(x, (*x.axes[:k], several(end - start), *x.axes[k + 1 :]), slice(start, end))
    if x.axes[k] != x.chain.features and end - start == 1:
        return _taken(x, k, -1 if start == size - 1 else start, keep=True)
    return half(x, k, start, end, size)


def _split(call: Call, x: Any, sizes: Any = None) -> Any:
    x, count = _signal(x), len(call.node.output)
    given = integers(sizes) if sizes is not None else call.get("split")
    k = call.axis(call.integer("axis", 0), len(x.axes))
    if given is None and len(x.axes[k]) == 1 and x.axes[k][0].size is not None:
        given = [-(-x.axes[k][0].size // count)] * count
    if k or not x.is_input or not isinstance(given, list) or len(given) != count:
        raise InTheWayError
    ends = np.cumsum(given).tolist()
    return [Cut(x.chain.name, end - size, end) for end, size in zip(ends, given, strict=True)]


# ---- layers ----


def _embedding(call: Call, table: Constant, ids: Signal) -> Signal:
    if call.integer("axis", 0) != 0 or table.array.ndim != 2 or table.array.dtype.kind != "f":
        raise InTheWayError("it is not a table with a row for each id")
    features = (Atom(table.array.shape[1]),)
    return Signal(ids.chain.add(_chains.Embedding(table.array), features, 1), (*ids.axes, features))


def _matmul(call: Call, x: Any, W: Any) -> Signal:
    return _dense(_signal(x), _array(W, "its second factor"))


def _dense(x: Signal, W: Array) -> Signal:
    x = as_features(x)
    if W.ndim != 2 or len(x.axes) < 2:
        raise InTheWayError("it is not the product of features with a matrix")
    features = (Atom(W.shape[1]),)
    return Signal(x.chain.add(_chains.Dense(W.T), features, 1), (*x.axes[:-1], features))


def _gemm(call: Call, x: Any, W: Any, c: Any = None) -> Signal:
    if call.integer("transA", 0):
        raise InTheWayError("it transposes its input")
    factors = _array(W, "its second factor") * np.float32(call.get("alpha", 1.0))
    y = _dense(_signal(x), factors.T if call.integer("transB", 0) else factors)
    return y if c is None else _with_bias(y, _array(c, "its third input") * np.float32(call.get("beta", 1.0)))


def _add(call: Call, a: Any, b: Any) -> Any:
    if isinstance(a, Signal) and isinstance(b, Signal):
        return joined([a, b], "sum")
    normal = _norms.added(a, b)
    if normal is not None:
        return normal
    x, c = (a, b) if isinstance(a, Signal) else (b, a)
    if not isinstance(x, Signal) or not is_product(x):
        raise InTheWayError
    return _with_bias(x, _array(c, "what it adds"))


def _with_bias(x: Signal, c: Array) -> Signal:
    item = x.chain.item
    assert isinstance(item, _chains.Dense)
    n = len(item.V)
    if c.ndim > len(x.axes) or c.shape[-1:] not in ((), (1,), (n,)) or c.size not in (1, n):
        raise InTheWayError("what it adds is not one number for each feature")
    assert x.chain.below is not None
    bias = np.broadcast_to(c.reshape(-1), (n,))
    return replace(x, chain=x.chain.below.add(replace(item, c=bias), x.chain.features, 1))


def _activation(call: Call, x: Any) -> Signal:
    own, function = as_features(_signal(x)), _ACTIVATIONS[call.node.op_type]
    item = own.chain.item
    if isinstance(item, _chains.Dense) and item.activation == "identity":
        assert own.chain.below is not None
        made = replace(item, activation=function)
        return replace(own, chain=own.chain.below.add(made, own.chain.features, 1))
    return _above(own, _chains.Simple("Activation", function))


def _softmax(call: Call, x: Any) -> Signal:
    x = as_features(_signal(x))
    if call.axis(call.integer("axis", -1 if call.opset >= 13 else 1), len(x.axes)) != len(x.axes) - 1:
        raise InTheWayError("it is not over the features")
    return _above(x, _chains.Simple("Activation", "softmax"))


def _dropout(call: Call, x: Any, ratio: Any = None, *_: Any) -> Any:
    x = _signal(x)
    rate = _array(ratio, "its ratio").reshape(-1)[0] if ratio is not None else call.get("ratio", 0.5)
    rate = float(str(np.float32(rate))) if not isinstance(rate, np.float64) else float(rate)
    if rate == 0:
        return x
    if not 0 < rate < 1:
        raise InTheWayError(f"its ratio is {rate}")
    return _above(as_features(x), _chains.Simple("Dropout", rate))


def _layer_norm(call: Call, x: Any, g: Any, b: Any = None) -> Signal:
    x = as_features(_signal(x))
    if call.axis(call.integer("axis", -1), len(x.axes)) != len(x.axes) - 1 or any(call.node.output[1:]):
        raise InTheWayError("it is not over the features alone")
    gain = _array(g, "its gain")
    shift = np.zeros_like(gain) if b is None else _array(b, "its bias")
    if gain.ndim != 1 or shift.shape != gain.shape:
        raise InTheWayError("its gain and bias are not one number for each feature")
    epsilon = float(str(np.float32(call.get("epsilon", 1e-5))))
    return _above(x, _chains.LayerNorm(gain, shift, epsilon))


def _sub(call: Call, a: Any, b: Any) -> Any:
    return _norms.subtracted(a, b) or _masks.subtracted(a, b)


def _mul(call: Call, a: Any, b: Any) -> Any:
    return _norms.multiplied(a, b)


def _pow(call: Call, a: Any, b: Any) -> Any:
    return _norms.raised(a, b)


def _sqrt(call: Call, x: Any) -> Any:
    return _norms.rooted(x)


def _div(call: Call, a: Any, b: Any) -> Any:
    return _norms.divided(a, b) or _masks.divided(a, b)


def _above(x: Signal, item: _chains.Item) -> Signal:
    return replace(x, chain=x.chain.add(item, x.chain.features))


def _mean(call: Call, x: Any, axes: Any = None) -> Any:
    of = x.of if isinstance(x, _norms.Statistic) else _signal(x)
    rank = len(of.axes)
    given = call.axes(axes, rank)
    statistic = _norms.reduced(x, given == [rank - 1] and call.integer("keepdims", 1) == 1)
    if statistic is not None:
        return statistic
    x = _signal(x)
    check_plain(x)
    k = role_axis(x.axes, "time")
    if given is None or given != [k]:
        raise InTheWayError("it is not over the time")
    assert k is not None
    pooling = _chains.Pooling("Mean", None)
    chain = x.chain.add(pooling, x.chain.features, 1)
    return Signal(chain, without(x.axes, k, keep=bool(call.integer("keepdims", 1))))


def _sum(call: Call, x: Any, axes: Any = None) -> Any:
    x = _signal(x)
    given = call.axes(axes, len(x.axes))
    if given is None or len(given) != 1:
        raise InTheWayError
    return _masks.summed(x, given[0], keep=bool(call.integer("keepdims", 1)))


def _concat(call: Call, *values: Any) -> Any:
    if all(isinstance(value, (Dims, Constant)) for value in values):
        entries: list[int | Axis] = []
        for value in values:
            entries += value.entries if isinstance(value, Dims) else integers(value)
        return Dims(tuple(entries))
    if not all(isinstance(value, Signal) for value in values):
        raise InTheWayError
    return concat(list(values), call.axis(call.integer("axis", 1), len(values[0].axes)))


MEANINGS: dict[str, Callable[..., Any]] = {
    "Transpose": _transpose, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Reshape": _reshape, "Flatten": _flatten,
    "Identity": _identity, "Cast": _cast, "Shape": _shape, "Gather": _gather, "Slice": _slice, "Split": _split,
    "MatMul": _matmul, "Gemm": _gemm, "Add": _add, "Relu": _activation, "Tanh": _activation, "Sigmoid": _activation,
    "Softmax": _softmax, "Dropout": _dropout, "LayerNormalization": _layer_norm, "ReduceMean": _mean,
    "ReduceSum": _sum, "Concat": _concat, "Sub": _sub, "Mul": _mul, "Pow": _pow, "Sqrt": _sqrt, "Div": _div,
    **_masks.MEANINGS,
}  # fmt: skip
