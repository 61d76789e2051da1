"""What flows through a graph, as far as it is known without running it: a layer's output, its axes, shapes, masks.

An axis of a tensor is a tuple of atoms, whose product its length is: two directions side by side are one axis of two
atoms, and () is an axis of length 1. Transpositions and reshapes move atoms, and so it is known at every place which
axis is the time, which the batch, and which the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from fastlstm.onnx._chains import ANY, Chain

Role = Literal["time", "batch"]


class InTheWayError(ValueError):
    """The error of a node that no layer stands for; the message says why, if more than that is to be said."""


@dataclass(eq=False, slots=True)
class Atom:
    """An axis, or a part of one: its length, if the file says it, and what it is, once that is known."""

    size: int | None
    role: Role | None = None

    def claim(self, role: Role) -> None:
        """Let the axis be the time or the batch; raise InTheWayError if it is the other one."""
        if self.role not in (None, role):
            raise InTheWayError(f"it has the {self.role} where the {role} must be")
        self.role = role


Axis: TypeAlias = tuple[Atom, ...]
Axes: TypeAlias = tuple[Axis, ...]


@dataclass(frozen=True, eq=False)
class Rows:
    """Which last states there are: of which layers, and which direction, in the order of the atoms for them."""

    of: tuple[tuple[Chain, int], ...]
    atoms: Axis


@dataclass(frozen=True, eq=False)
class Signal:
    """An input of the model, or what layers give.

    Attributes
    ----------
    chain : Chain
        The layers from the input up.
    axes : tuple of axes
        Its layout.
    rows : Rows, optional
        Which last states they are. None for outputs of all steps, and of what stands above a `Last`.
    cell : bool
        Whether last states are those of c, not h.
    step : "end" or "start", optional
        Whether it is the last step alone, or the first, of an output of two directions.
    masked : "last", "within" or "total", optional
        Whether all steps but the last of each row are zeros, or those after it; or it is the sum of the latter.
    lengths : str, None or ANY
        The name of the input with the lengths by which last states, a last step or masked steps have been taken; None
        for the whole length, `ANY` where they are those of each row whatever its length.
    """

    chain: Chain
    axes: Axes
    rows: Rows | None = None
    cell: bool = False
    step: Literal["end", "start"] | None = None
    masked: Literal["last", "within", "total"] | None = None
    lengths: Any = ANY

    @property
    def is_input(self) -> bool:
        """Whether it is an input of the model."""
        return self.chain.below is None and self.masked is None

    def laid_out(self, axes: Axes) -> Signal:
        """Return the same in another layout."""
        return replace(self, axes=axes)


@dataclass(frozen=True, eq=False)
class Dims:
    """A shape, or a length if it is `scalar`: ints, and axes whose lengths a call decides."""

    entries: tuple[int | Axis, ...]
    scalar: bool = False

    def times(self, other: Dims) -> Dims:
        """Return the product of two lengths."""
        if len(self.entries) != 1 or len(other.entries) != 1:
            raise InTheWayError("it multiplies shapes")
        a, b = (length(entry) if isinstance(entry, tuple) else entry for entry in (*self.entries, *other.entries))
        first, second = self.entries[0], other.entries[0]
        entry: int | Axis
        if a is not None and b is not None:
            entry = a * b
        elif isinstance(first, tuple) and isinstance(second, tuple):
            entry = first + second
        elif 1 in (a, b):
            entry = second if a == 1 else first
        else:
            raise InTheWayError("it computes a length")
        return Dims((entry,), self.scalar and other.scalar)


@dataclass(frozen=True, eq=False)
class Symbol:
    """What is computed of the lengths of the rows, or of the numbers of the steps.

    `what` is "steps" (their numbers), "last step", "divisors", "is last", "is within" or "with steps"; `lengths` is the
    name of the input with the lengths.
    """

    what: str
    lengths: str | None
    axes: Axes


@dataclass(frozen=True, eq=False)
class Cut:
    """A part, along its first axis, of an input of the model, as the initial states of a stack are cut into layers'."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Opaque:
    """What a node gives that no layer stands for: the reason, and the node's place in the order."""

    reason: str
    place: int


def same_layout(values: Sequence[Signal], but: int) -> bool:
    """Return whether values have the same axes, but for one of them."""
    first = values[0].axes
    return all(
        len(value.axes) == len(first)
        and all(a == b for k, (a, b) in enumerate(zip(value.axes, first, strict=True)) if k != but)
        for value in values
    )


def atoms(axes: Sequence[Axis]) -> list[Atom]:
    """Return the atoms of all axes in order."""
    return [atom for axis in axes for atom in axis]


def length(axis: Sequence[Atom]) -> int | None:
    """Return the length of an axis; None if a call decides it."""
    found = 1
    for atom in axis:
        if atom.size is None:
            return None
        found *= atom.size
    return found


def reshaped(axes: Axes, wanted: Sequence[int | Axis], keeps_zeros: bool) -> Axes:
    """Return the axes after a reshape, by which no axis is split; raise InTheWayError if one is.

    The shape has ints, of which -1 is what remains and 0, unless `keeps_zeros`, is the length before, and axes.
    """
    entries = [axes[k] if entry == 0 and not keeps_zeros and k < len(axes) else entry for k, entry in enumerate(wanted)]
    remaining = atoms(axes)
    first = entries[0] if entries and remaining else -1
    if len(entries) == 3 and len(axes) == 4 and isinstance(first, int) and first > 1 and remaining[0].size is None:
        # Where torch.onnx joins the directions, it may fix the time that the inputs leave open: the model is right for
        # this time alone.
        remaining[0].size = first
    hole = entries.index(-1) if -1 in entries else len(entries)
    before = [_taken(entry, remaining, 0) for entry in entries[:hole]]
    after = [_taken(entry, remaining, -1) for entry in reversed(entries[hole + 1 :])]
    if hole < len(entries):
        return (*before, tuple(remaining), *reversed(after))
    if remaining:
        raise InTheWayError("it splits an axis, or drops one")
    return tuple(before)


def _taken(entry: int | Axis, remaining: list[Atom], end: int) -> Axis:
    """Remove the atoms of an entry of a shape from one end of those that remain, and return them."""
    if isinstance(entry, tuple):
        wanted = len(entry)
        found = remaining[:wanted] if end == 0 else remaining[len(remaining) - wanted :]
        if tuple(found) != entry:
            raise InTheWayError("it mixes axes")
        del remaining[slice(0, wanted) if end == 0 else slice(len(remaining) - wanted, None)]
        return entry
    taken: list[Atom] = []
    product = 1
    while product != entry or (entry == 1 and not taken and remaining and remaining[end].size == 1):
        if not remaining or (size := remaining[end].size) is None or product * size > max(entry, 1):
            raise InTheWayError("it splits an axis, or joins some whose lengths are not known")
        taken.insert(0 if end else len(taken), remaining.pop(end))
        product *= size
    return tuple(taken)


def broadcast(a: Axes, b: Axes) -> Axes:
    """Return the axes of an operation on each pair of values; raise InTheWayError if they do not belong together."""
    rank = max(len(a), len(b))
    padded = [((),) * (rank - len(axes)) + axes for axes in (a, b)]
    return tuple(_joined(first, second) for first, second in zip(*padded, strict=True))


def _joined(a: Axis, b: Axis) -> Axis:
    if not a or not b or a == b:
        return a or b
    if len(a) == len(b) == 1 and a[0].role is not None and a[0].role == b[0].role:
        return a
    raise InTheWayError("it goes along two different axes at once")


def role_axis(axes: Axes, role: Role) -> int | None:
    """Return the number of the axis that is the time or the batch, and nothing else."""
    for k, axis in enumerate(axes):
        if len(axis) == 1 and axis[0].role == role:
            return k
    return None


def without(axes: Axes, k: int, *, keep: bool) -> Axes:
    """Return the axes without one, or with length 1 in its place."""
    return (*axes[:k], *(((),) if keep else ()), *axes[k + 1 :])
