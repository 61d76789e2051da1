"""What nodes do to the axes of layers' outputs, and which parts of them they take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto

from fastlstm.onnx import _chains, _masks
from fastlstm.onnx._calls import Call, integers, laid_out, signal_of
from fastlstm.onnx._constants import Constant
from fastlstm.onnx._signals import at_step, half
from fastlstm.onnx._states import chosen, is_of_rows
from fastlstm.onnx._values import (
    Atom,
    Axis,
    Cut,
    Dims,
    InTheWayError,
    Signal,
    atoms,
    length,
    reshaped,
    role_axis,
    without,
)  # fmt: skip

_FLOATS: tuple[int, ...] = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
# An end of a slice that no axis has: "to the end".
_LARGE = (1 << 31) - 1

# ---- axes ----


def _transpose(call: Call, x: Any) -> Signal:
    own = signal_of(x)
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
    x = laid_out(x)
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
    x = laid_out(x)
    given = integers(axes) if axes is not None else call.get("axes")
    if not isinstance(given, list):
        raise InTheWayError("it names no axes")
    rank = len(x.axes) + len(given)
    places = {call.axis(axis, rank) for axis in given}
    remaining = iter(x.axes)
    if len(places) != len(given):
        raise InTheWayError("it names an axis twice")
    return replace(x, axes=tuple(() if k in places else next(remaining) for k in range(rank)))


def _reshape(call: Call, x: Any, shape: Any = None) -> Signal | Dims:
    if isinstance(x, Dims):
        sizes = integers(shape)
        if len(x.entries) != 1 or sizes not in ([-1], [1], []):
            raise InTheWayError("it lays out a shape")
        return replace(x, scalar=not sizes)
    own = signal_of(x)
    wanted: list[int | Axis]
    if isinstance(shape, Dims) and not shape.scalar:
        wanted = list(shape.entries)
    else:
        wanted = list(integers(shape) if shape is not None else call.get("shape") or [])
    return own.laid_out(reshaped(own.axes, wanted, bool(call.get("allowzero", 0))))


def _flatten(call: Call, x: Any) -> Signal:
    own, k = signal_of(x), call.integer("axis", 1)
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
    axes = laid_out(x).axes
    entries: list[int | Axis] = [axis or 1 for axis in axes]
    return Dims(tuple(entries[call.integer("start", 0) : call.integer("end", len(axes))]))


def _gather(call: Call, x: Any, index: Any) -> Any:
    if isinstance(x, Constant) and isinstance(index, Signal) and index.is_input:
        return _embedding(call, x, index)
    places = integers(index)
    scalar = isinstance(index, Constant) and index.array.ndim == 0
    if isinstance(x, Dims) and not x.scalar:
        return Dims(tuple(x.entries[k] for k in places), scalar)
    x = signal_of(x)
    if len(places) != 1:
        raise InTheWayError("it takes several places")
    return _taken(x, call.axis(call.integer("axis", 0), len(x.axes)), places[0], keep=not scalar)


def _taken(x: Signal, k: int, place: int, *, keep: bool) -> Signal | Cut:
    """Return one place along an axis, which stays with length 1 if it is to be kept."""
    if not x.axes[k]:
        return x.laid_out(without(x.axes, k, keep=keep))
    if x.is_input and role_axis(x.axes, "time") != k:
        return _cut(x, k, place, place + 1)
    if is_of_rows(x, k):
        return chosen(x, k, [place], keep=keep)
    return at_step(x, k, place, keep)


def _cut(x: Signal, k: int, start: int, end: int) -> Cut:
    if k or not 0 <= start < end:
        raise InTheWayError
    return Cut(x.chain.name, start, end)


def _embedding(call: Call, table: Constant, ids: Signal) -> Signal:
    if call.integer("axis", 0) != 0 or table.array.ndim != 2 or table.array.dtype.kind != "f":
        raise InTheWayError("it is not a table with a row for each id")
    features = (Atom(table.array.shape[1]),)
    return Signal(ids.chain.add(_chains.Embedding(table.array), features, 1), (*ids.axes, features))


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
    x = signal_of(x)
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
    if is_of_rows(x, k):
        return chosen(x, k, range(start, end), keep=True)
    if x.axes[k] != x.chain.features and end - start == 1:
        return _taken(x, k, -1 if start == size - 1 else start, keep=True)
    return half(x, k, start, end, size)


def _split(call: Call, x: Any, sizes: Any = None) -> Any:
    x, count = signal_of(x), len(call.node.output)
    given = integers(sizes) if sizes is not None else call.get("split")
    k = call.axis(call.integer("axis", 0), len(x.axes))
    if given is None and len(x.axes[k]) == 1 and x.axes[k][0].size is not None:
        given = [-(-x.axes[k][0].size // count)] * count
    if k or not x.is_input or not isinstance(given, list) or len(given) != count:
        raise InTheWayError
    ends = np.cumsum(given).tolist()
    return [Cut(x.chain.name, end - size, end) for end, size in zip(ends, given, strict=True)]


MEANINGS: dict[str, Callable[..., Any]] = {
    "Transpose": _transpose, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Reshape": _reshape, "Flatten": _flatten,
    "Identity": _identity, "Cast": _cast, "Shape": _shape, "Gather": _gather, "Slice": _slice, "Split": _split,
}  # fmt: skip
