"""Where branches of a graph meet: outputs side by side or added."""

from __future__ import annotations

from typing import Literal

from fastlstm.onnx import _chains
from fastlstm.onnx._chains import Chain, Item
from fastlstm.onnx._signals import as_features
from fastlstm.onnx._states import stacked
from fastlstm.onnx._values import Atom, InTheWayError, Signal, length, same_layout

# Branches within branches, and layers in all of them: nobody's network has more.
_DEEPEST = 16
_MOST_LAYERS = 4096


def concat(values: list[Signal], k: int) -> Signal:
    """Return values side by side along an axis."""
    if all(value.rows is not None and value.cell == values[0].cell for value in values):
        found = stacked(values, k)
        if found is not None:
            return found
    values = [as_features(value) for value in values]
    if k != len(values[0].axes) - 1:
        raise InTheWayError("it is not along the features")
    return joined(values, "concat")


def joined(values: list[Signal], join: Literal["concat", "sum"]) -> Signal:
    """Return what layers give for one input, side by side or added."""
    values = [as_features(value) for value in values]
    last = len(values[0].axes) - 1
    if not same_layout(values, last) or len({value.chain.name for value in values}) > 1:
        raise InTheWayError("it joins what is laid out in different ways, or comes from different inputs")
    stem, branches = _branches([value.chain for value in values])
    sizes = [length(value.chain.features) for value in values]
    directions, item = 1, _chains.Joined(join, branches)
    total: int | None = sizes[0]
    if join == "sum":
        if len({*sizes} - {None}) > 1:
            raise InTheWayError("it adds different numbers of features")
        item = _sum(branches)
        directions = max(value.chain.directions for value in values)
    else:
        total = None if None in sizes else sum(size or 0 for size in sizes)
    _check_size(item)
    features = (Atom(total),) if directions == 1 or total is None else (Atom(2), Atom(total // 2))
    return Signal(stem.add(item, features, directions), (*values[0].axes[:last], features))


def _branches(chains: list[Chain]) -> tuple[Chain, list[list[Item]]]:
    """Return the chain that all have in common, and what each has above it."""
    links = [chain.links() for chain in chains]
    shared = 0
    while all(shared < len(own) and own[shared] is links[0][shared] for own in links):
        shared += 1
    return links[0][shared - 1], [[link.item for link in own[shared:] if link.item is not None] for own in links]


def _sum(branches: list[list[Item]]) -> _chains.Joined:
    """Return the sum of two branches: a residual connection if one of them is empty."""
    a, b = branches
    if not a and not b:
        raise InTheWayError("it adds a value to itself")
    if not a or not b:
        return _chains.Joined("residual", [a or b])
    if len(a) == 1 and isinstance(a[0], _chains.Joined) and a[0].join == "sum":
        return _chains.Joined("sum", [*a[0].branches, b])
    return _chains.Joined("sum", branches)


def _check_size(item: _chains.Joined) -> None:
    if item.depth() > _DEEPEST:
        raise InTheWayError(f"there are more than {_DEEPEST} branches within branches")
    for count, _ in enumerate(_chains.every([item])):
        if count > _MOST_LAYERS:
            raise InTheWayError(f"there are more than {_MOST_LAYERS} layers in branches")
