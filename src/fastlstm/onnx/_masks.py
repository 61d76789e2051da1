"""What graphs compute of the lengths of rows, to pick or to sum the steps that count: the forms that to_onnx writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fastlstm.onnx import _chains
from fastlstm.onnx._constants import Constant, Zeros
from fastlstm.onnx._signals import check_plain
from fastlstm.onnx._values import Axes, Cut, Dims, InTheWayError, Signal, Symbol, broadcast, role_axis, without


def _number(value: Any) -> int | None:
    """Return a constant that is one int, or None."""
    if isinstance(value, Constant) and value.array.size == 1 and value.array.dtype.kind in "iu":
        return int(value.array.reshape(-1)[0])
    return None


def _lengths(x: Any) -> tuple[str, Axes]:
    """Return the name and the axes of an input that has a number for each row."""
    if not isinstance(x, Signal) or not x.is_input or len(x.axes) != 1 or len(x.axes[0]) != 1:
        raise InTheWayError
    x.axes[0][0].claim("batch")
    return x.chain.name, x.axes


def _symbol(x: Any, what: str) -> Symbol:
    if not isinstance(x, Symbol) or x.what != what:
        raise InTheWayError
    return x


def with_steps(x: Any) -> Symbol:
    """Return whether each row has any step, from the lengths."""
    return Symbol("with steps", *_lengths(x))


def _range(call: Any, start: Any, limit: Any, step: Any) -> Symbol:
    if _number(start) != 0 or _number(step) != 1 or not isinstance(limit, Dims) or not limit.scalar:
        raise InTheWayError
    [axis] = limit.entries
    if not isinstance(axis, tuple) or len(axis) != 1:
        raise InTheWayError
    return Symbol("steps", None, (axis,))


def subtracted(a: Any, b: Any) -> Symbol:
    """Return the number of the last step of each row, from the lengths."""
    if _number(b) != 1:
        raise InTheWayError
    return Symbol("last step", *_lengths(a))


def _max(call: Any, a: Any, b: Any) -> Symbol:
    if _number(b) != 1:
        raise InTheWayError
    return Symbol("divisors", *_lengths(a))


def equal(a: Any, b: Any) -> Symbol:
    """Return whether each step is the last of its row."""
    steps, last = _symbol(a, "steps"), _symbol(b, "last step")
    return Symbol("is last", last.lengths, broadcast(steps.axes, last.axes))


def _less(call: Any, a: Any, b: Any) -> Symbol:
    steps, (name, axes) = _symbol(a, "steps"), _lengths(b)
    return Symbol("is within", name, broadcast(steps.axes, axes))


def _where(call: Any, mask: Any, x: Any, other: Any) -> Signal:
    if not isinstance(mask, Symbol) or not isinstance(x, Signal):
        raise InTheWayError
    axes = broadcast(mask.axes, x.axes)
    if len(axes) != len(x.axes) or any(bool(a) != bool(b) for a, b in zip(axes, x.axes, strict=True)):
        raise InTheWayError("its condition does not go along the steps and rows")
    zeros = isinstance(other, Zeros) or (isinstance(other, Constant) and other.is_zero)
    if mask.what == "with steps" and x.rows is not None:
        # A call leaves a row without steps the state that it is given.
        if not (zeros or isinstance(other, Cut) or (isinstance(other, Signal) and other.is_input)):
            raise InTheWayError("what it puts in the place of states is not the initial one")
        return x
    if not zeros:
        raise InTheWayError("what it puts in their place is not zeros")
    if mask.what == "with steps" and x.step == "start":
        return x
    check_plain(x)
    if mask.what == "is last":
        return replace(x, masked="last", lengths=mask.lengths)
    if mask.what == "is within":
        return replace(x, masked="within", lengths=mask.lengths)
    raise InTheWayError


def summed(x: Signal, k: int, *, keep: bool) -> Signal:
    """Return the sum over the steps of what a mask has made zeros: the last step, or what a mean is made of."""
    if x.masked not in ("last", "within") or k != role_axis(x.axes, "time"):
        raise InTheWayError
    axes = without(x.axes, k, keep=keep)
    if x.masked == "within":
        return replace(x, axes=axes, masked="total")
    if x.chain.directions == 2:
        return replace(x, axes=axes, masked=None, step="end")
    pooling = _chains.Pooling("Last", x.lengths)
    return Signal(x.chain.add(pooling, x.chain.features), axes)


def divided(x: Any, divisors: Any) -> Signal:
    """Return the sum of the steps that count by their number: what a Mean gives."""
    own = _symbol(divisors, "divisors")
    if not isinstance(x, Signal) or x.masked != "total" or own.lengths != x.lengths:
        raise InTheWayError
    broadcast(own.axes, x.axes)
    chain = x.chain.add(_chains.Pooling("Mean", x.lengths), x.chain.features, 1)
    return Signal(chain, x.axes)


MEANINGS: dict[str, Callable[..., Any]] = {
    "Range": _range, "Max": _max, "Less": _less, "Where": _where,
}  # fmt: skip
