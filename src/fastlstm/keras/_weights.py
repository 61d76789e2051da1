"""The arrays of a layer, by the roles that they have in it, wherever the formats of Keras keep them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fastlstm._arrays.arrays import Array
from fastlstm.keras._hdf5 import Tree
from fastlstm.keras._models import Place, numbered
from fastlstm.keras._options import Layer


class Part(NamedTuple):
    """Arrays that belong together: those of a cell, or of a layer without cells.

    Attributes
    ----------
    roles : tuple of str
        What the arrays are, in Keras's order: ``("kernel", "recurrent_kernel", "bias")``.
    group : str
        The group within the layer's, in the newer format: ``"forward_layer/cell"``.
    number : int
        In a group with the cells of a stack, of which several may be of the same class: which one it is of its class.
    inside : tuple of str
        In the older format, whose paths have names: one of these is in those of this part's arrays, where the layer
        has several parts.
    """

    roles: tuple[str, ...]
    group: str = ""
    number: int | None = None
    inside: tuple[str, ...] = ()


def in_order(parts: Sequence[Part], weights: Sequence[Array], layer: Layer) -> list[dict[str, Array]]:
    """Return the arrays of each part from a list as Keras's `get_weights` returns it."""
    count = sum(len(part.roles) for part in parts)
    if len(weights) != count:
        raise layer.wrong(f"weights must be {count} arrays, not {len(weights)}")
    given = iter(weights)
    return [{role: next(given) for role in part.roles} for part in parts]


def found(parts: Sequence[Part], place: Place, tree: Tree, layer: Layer, *, older: bool) -> list[dict[str, Array]]:
    """Return the arrays of each part of a layer from a file."""
    if not parts:
        return []
    if place.group is None:
        raise layer.wrong("the file has no arrays of it: was the model called before it was saved?")
    if not older:
        return [_by_number(part, place.group, tree, layer) for part in parts]
    paths = named(place, tree)
    return [_by_name(part, paths, tree, layer) for part in parts]


def _by_number(part: Part, group: str, tree: Tree, layer: Layer) -> dict[str, Array]:
    """Return the arrays of a part in the newer format: vars/0, vars/1, ..."""
    inside = f"{group}/{part.group}" if part.group else group
    if part.number is not None:
        above, _, kind = inside.rpartition("/")
        same = numbered(tree, above, (kind,)).get(kind, [])
        if part.number >= len(same):
            raise layer.wrong(f"the file has no arrays of {kind} number {part.number + 1}")
        inside = same[part.number]
    own = list(tree.below(f"{inside}/vars"))
    expected = [f"{inside}/vars/{k}" for k in range(len(part.roles))]
    if not own:
        raise layer.wrong("the file has no arrays of it: was the model called before it was saved?")
    if sorted(own) != sorted(expected):
        raise layer.wrong(f"its arrays must be {', '.join(part.roles)}, and the file has {len(own)}")
    return {role: tree.read(path) for role, path in zip(part.roles, expected, strict=True)}


def named(place: Place, tree: Tree) -> dict[str, tuple[str, ...]]:
    """Return the paths of a layer's arrays in the older format, and for each the names that it goes through."""
    paths = tree.paths(str(place.group))
    if not place.names:
        return dict(paths[""])
    own = dict(paths.get(place.names[-1], ()))
    within = {path: parts for path, parts in own.items() if set(place.names) <= set(parts)}
    return within or own


def role_of(name: str) -> str:
    """Return what an array is, by its name: kernel:0 is a kernel."""
    return name.split(":")[0]


def _by_name(part: Part, paths: dict[str, tuple[str, ...]], tree: Tree, layer: Layer) -> dict[str, Array]:
    """Return the arrays of a part in the older format: .../forward_lstm/lstm_cell/kernel:0."""
    if part.inside:
        paths = {path: names for path, names in paths.items() if any(name in part.inside for name in names)}
    roles: dict[str, str] = {}
    for path, names in paths.items():
        role = role_of(names[-1])
        if role not in part.roles or role in roles:
            raise layer.wrong(f"its arrays must be {', '.join(part.roles)}, and the file has {'/'.join(names)!r:.100}")
        roles[role] = path
    if len(roles) < len(part.roles):
        missing = ", ".join(role for role in part.roles if role not in roles)
        raise layer.wrong(f"the file has no {missing} of it: was the model called before it was saved?")
    return {role: tree.read(roles[role]) for role in part.roles}
