"""What layers give, brought to where the next layer takes it: as features of steps or rows."""

from __future__ import annotations

from fastlstm.onnx import _chains
from fastlstm.onnx._values import InTheWayError, Rows, Signal, without


def check_plain(x: Signal) -> None:
    """Raise InTheWayError unless it is an output of all steps, or of what has no steps any more."""
    if x.masked is not None:
        raise InTheWayError("it takes outputs some of which have been made zeros")
    if x.step is not None:
        raise InTheWayError(f"it takes the {'last' if x.step == 'end' else 'first'} step of both directions")
    if x.rows is not None:
        raise InTheWayError("it takes last states")


def as_features(x: Signal) -> Signal:
    """Return what has the features of a chain as its last axis; last states of h are what a `Last` gives.

    Raises InTheWayError if it is something else.
    """
    if x.rows is not None and not x.cell:
        below, rows = x.rows.of[0][0], x.rows
        if [*rows.of] != [(below, d) for d in range(below.directions)]:
            raise InTheWayError("it takes the last states of some of the layers or directions")
        features = rows.atoms + below.features[below.directions - 1 :]
        if not x.axes or x.axes[-1] != features:
            raise InTheWayError("it takes last states in another layout than (batch, features)")
        x = Signal(below.add(_chains.Pooling("Last", x.lengths), features, 1), x.axes)
    check_plain(x)
    if not x.axes or x.axes[-1] != x.chain.features:
        raise InTheWayError("it takes something else than the features on the last axis")
    return x


def at_step(x: Signal, k: int, place: int, keep: bool) -> Signal:
    """Return the outputs of the last step, or the first: what a `Last` gives, or is made of."""
    axis = x.axes[k]
    check_plain(x)
    if len(axis) != 1 or axis[0].role != "time":
        raise InTheWayError("it takes one of several features, rows or directions")
    size = axis[0].size
    axes = without(x.axes, k, keep=keep)
    if place == -1 or (size is not None and place == size - 1):
        if x.chain.directions == 2:
            return Signal(x.chain, axes, step="end", lengths=None)
        return Signal(x.chain.add(_chains.Pooling("Last", None), x.chain.features), axes)
    if place == 0 and x.chain.directions == 2:
        return Signal(x.chain, axes, step="start")
    raise InTheWayError("it takes a step that is not the last")


def half(x: Signal, k: int, start: int, end: int, size: int) -> Signal:
    """Return the features of one direction, at the step that it ends with: a last state."""
    chain = x.chain
    if x.step is None or x.axes[k] != chain.features or chain.directions != 2 or size % 2:
        raise InTheWayError("it takes a part of the features, steps or rows")
    direction = {(0, size // 2): 0, (size // 2, size): 1}.get((start, end))
    if direction is None or x.step != ("end", "start")[direction]:
        raise InTheWayError("it takes a part of the features that is not where its direction ends")
    axes = (*x.axes[:k], chain.features[1:], *x.axes[k + 1 :])
    return Signal(chain, axes, Rows(((chain, direction),), ()), lengths=x.lengths)


def is_product(x: Signal) -> bool:
    """Return whether it is a product of features and a matrix, to which nothing has been added yet."""
    item = x.chain.item
    plain = x.masked is None and x.step is None and x.rows is None
    return plain and isinstance(item, _chains.Dense) and item.c is None and item.activation == "identity"
