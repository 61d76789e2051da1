"""What layers give, brought to where the next layer takes it: as features of steps or rows."""

from __future__ import annotations

from dataclasses import replace

from fastlstm.onnx import _chains
from fastlstm.onnx._chains import Chain
from fastlstm.onnx._values import Atom, Axes, InTheWayError, Signal, without


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
        below = x.rows[0][0]
        if [*x.rows] != [(below, d) for d in range(below.directions)]:
            raise InTheWayError("it takes the last states of some of the layers or directions")
        features = x.axes[-1] if x.axes else ()
        own = features[1:] if below.directions == 2 else features
        if own != below.features[below.directions - 1 :] or len(features) != len(below.features):
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
    return Signal(
        chain, (*x.axes[:k], chain.features[1:], *x.axes[k + 1 :]), rows=((chain, direction),), lengths=x.lengths
    )


def is_product(x: Signal) -> bool:
    """Return whether it is a product of features and a matrix, to which nothing has been added yet."""
    item = x.chain.item
    plain = x.masked is None and x.step is None and x.rows is None
    return plain and isinstance(item, _chains.Dense) and item.c is None and item.activation == "identity"


def several(rows: int) -> tuple[Atom, ...]:
    """Return an axis for so many last states."""
    return (Atom(rows),) if rows > 1 else ()


def chosen(x: Signal, axes: Axes, places: list[int] | slice) -> Signal:
    """Return some of several last states, in a layout that has an axis for as many."""
    assert x.rows is not None
    rows = x.rows[places] if isinstance(places, slice) else tuple(x.rows[place] for place in places)
    found = replace(x, axes=axes, rows=rows)
    owners = {row[0] for row in rows}
    return in_units_of(found, owners.pop()) if len(owners) == 1 else found


def in_units_of(x: Signal, chain: Chain) -> Signal:
    """Return last states with the atom for the units that the outputs of a chain have."""
    before, after = x.chain.features[-1], chain.features[-1]
    if before.size != after.size:
        raise InTheWayError("it joins last states of different sizes")
    axes = tuple(tuple(after if atom is before else atom for atom in axis) for axis in x.axes)
    return replace(x, chain=chain, axes=axes)


def same_layout(values: list[Signal], but: int) -> bool:
    """Return whether values have the same axes, but for one of them."""
    first = values[0].axes
    return all(
        len(value.axes) == len(first)
        and all(a == b for k, (a, b) in enumerate(zip(value.axes, first, strict=True)) if k != but)
        for value in values
    )
