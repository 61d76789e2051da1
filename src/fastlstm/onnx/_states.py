"""Last states in a graph: of which layers and directions they are, wherever their axis goes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from fastlstm.onnx._chains import ANY, Chain
from fastlstm.onnx._values import Atom, Axis, InTheWayError, Rows, Signal, same_layout


def several(count: int) -> Axis:
    """Return an axis of this length."""
    return (Atom(count),) if count > 1 else ()


def states_of(chain: Chain, batch: Axis, *, first: bool, cell: bool) -> Signal:
    """Return Y_h or Y_c of a node: the last states of all directions, with the batch first or not."""
    both, units = several(chain.directions), chain.features[-1:]
    rows = Rows(tuple((chain, d) for d in range(chain.directions)), both)
    return Signal(chain, (batch, both, units) if first else (both, batch, units), rows, cell)


def is_of_rows(x: Signal, k: int) -> bool:
    """Return whether an axis is one of several last states."""
    return x.rows is not None and bool(x.axes[k]) and all(atom in x.rows.atoms for atom in x.axes[k])


def chosen(x: Signal, k: int, places: Sequence[int], *, keep: bool) -> Signal:
    """Return some of several last states; an axis for a single one goes unless it is to be kept."""
    assert x.rows is not None
    own, axis = x.rows, x.axes[k]
    before = math.prod(atom.size or 0 for atom in own.atoms[: own.atoms.index(axis[0])])
    count = math.prod(atom.size or 0 for atom in axis)
    after = len(own.of) // (before * count)
    if own.atoms[own.atoms.index(axis[0]) :][: len(axis)] != axis:
        raise InTheWayError("it takes some of last states that are in another order")
    if not all(-count <= place < count for place in places):
        raise InTheWayError(f"it takes a place among {count} last states that there is not")
    of = tuple(
        own.of[(i * count + place % count) * after + j] for i in range(before) for place in places for j in range(after)
    )
    made, start = several(len(places)), own.atoms.index(axis[0])
    atoms = (*own.atoms[:start], *made, *own.atoms[start + len(axis) :])
    axes = (*x.axes[:k], *([made] if made or keep else []), *x.axes[k + 1 :])
    found, owners = replace(x, axes=axes, rows=Rows(of, atoms)), {row[0] for row in of}
    return _in_units_of(found, owners.pop()) if len(owners) == 1 else found


def _in_units_of(x: Signal, chain: Chain) -> Signal:
    """Return last states with the atom for the units that the outputs of a chain have."""
    before, after = x.chain.features[-1], chain.features[-1]
    if before.size != after.size:
        raise InTheWayError("it joins last states of different sizes")
    axes = tuple(tuple(after if atom is before else atom for atom in axis) for axis in x.axes)
    return replace(x, chain=chain, axes=axes)


def stacked(values: Sequence[Signal], k: int) -> Signal | None:
    """Return last states as one, along an axis of their own or before their units; None if they are not so laid out."""
    first = values[0]
    rows = [value.rows for value in values if value.rows is not None]
    of = tuple(row for own in rows for row in own.of)
    by = {value.lengths for value in values} - {ANY}
    if len(by) > 1:
        raise InTheWayError("it joins last states by different lengths")
    made = replace(first, lengths=next(iter(by), ANY))
    if all(k < len(value.axes) and value.axes[k] == own.atoms for value, own in zip(values, rows, strict=True)):
        alike = [_in_units_of(value, first.chain) for value in values]
        if not same_layout(alike, k):
            return None
        counts = {len(own.of) for own in rows}
        # Of layers with two directions each an axis of two atoms, which a reshape may take apart.
        axis = (*several(len(rows)), *several(counts.pop())) if len(counts) == 1 else several(len(of))
        return replace(made, axes=(*first.axes[:k], axis, *first.axes[k + 1 :]), rows=Rows(of, axis))
    single = all(len(own.of) == 1 for own in rows) and len({row[0] for row in of}) == 1
    if single and k == len(first.axes) - 1 and same_layout(values, len(first.axes)):
        axis = several(len(of))
        return replace(made, axes=(*first.axes[:k], axis + first.axes[k]), rows=Rows(of, axis))
    return None
