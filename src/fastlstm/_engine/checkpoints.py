"""Checkpoints: the states that a tape keeps with `recompute`, from which the backward pass runs the steps again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, Kind, cells_of, zeros
from fastlstm._cells import State
from fastlstm._cells.cell import Sized
from fastlstm._engine import loops
from fastlstm._engine.call import Call, Weights

FILLED = ("y", "c", "y_before", "h0", "c0", "g0")


@dataclass(slots=True)
class Checkpoints:
    """What a tape keeps instead of every step: from it the backward pass runs the steps again, segment by segment.

    Attributes
    ----------
    k : int
        Steps of a segment, as far as whole blocks of rows make them up.
    y, c, y_before : (segments, B, ...) arrays
        y^{t-1} and c^{t-1} as the first step of each segment saw them; for zoneout of y, y^{t-1} itself. Else None.
    h0, c0, g0 : (B, ...) arrays
        The initial state; c0 and g0, the extra columns beside h0, are None for cells without them.
    b : array
        The biases, not copied.
    """

    k: int
    y: Array
    c: Array | None
    y_before: Array | None
    h0: Array
    c0: Array | None
    g0: Array | None
    b: Array

    @classmethod
    def of_call(cls, call: Call, weights: Weights, sized: Sized, k: int, given: Checkpoints | None) -> Checkpoints:
        """Return checkpoints to fill: `given`, if it has the right arrays, or new ones."""
        assert weights.b is not None
        arrays: dict[str, Any] = dict.fromkeys(FILLED)
        for name, shape in _shapes(call, weights, sized, k).items():
            kind = _kind(call, name)
            if given is None:
                arrays[name] = zeros(shape, kind)  # Rows that have ended, and the first y_before, are not written.
            else:
                arrays[name] = check.output(f"tape.checkpoints.{name}", getattr(given, name), shape, kind, str(shape))
        return cls(k, b=weights.b, **arrays)

    def checked(self, call: Call, weights: Weights, sized: Sized) -> Checkpoints:
        """Return checkpoints of these arrays as they are now, once they are known to fit a call and its weights."""
        k = check.positive_int("tape.checkpoints.k", self.k)
        if call.recompute not in (None, k):  # None in tapes that the first version pickled
            raise ValueError(f"tape.checkpoints.k must be that of the forward pass, {call.recompute}, not {k!r}")
        arrays: dict[str, Any] = dict.fromkeys(FILLED)
        for name, shape in ({"b": (len(weights.W),)} | _shapes(call, weights, sized, k)).items():
            given, kind = getattr(self, name), _kind(call, name)
            arrays[name] = check.matching(f"tape.checkpoints.{name}", given, shape, kind, str(shape))
        return Checkpoints(k, **arrays)

    def named(self) -> dict[str, Array]:
        """Return the arrays that a forward pass fills, by name."""
        arrays = {name: getattr(self, name) for name in FILLED}
        return {f"tape.checkpoints.{name}": array for name, array in arrays.items() if array is not None}

    def begin(self, first: State) -> tuple[Array, Array | None, Array | None]:
        """Keep the initial state, and return what a forward pass from it is to fill."""
        own = [array for array in (self.h0, self.c0, self.g0) if array is not None]
        for array, given in zip(own, first, strict=True):
            array[:] = given
        return self.y, self.c, self.y_before

    def start(self) -> tuple[Any, ...]:
        """Return what a backward pass starts from: the initial state, and that of each segment."""
        return (self.h0, self.c0, self.g0), (self.y, self.c, self.y_before)


def _shapes(call: Call, weights: Weights, sized: Sized, k: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays that a call with checkpoints every k steps fills."""
    cell, B, count = call.cell, call.batch.B, loops.segment_count(call.batch, k)
    H, P, K = sized.H, sized.P, weights.R.shape[1]
    shapes: dict[str, tuple[int, ...]] = {"y": (count, B, K)}
    if cell.kernel.keeps_c:
        shapes["c"] = count, B, H
    if call.options is not None and call.options.zone_y is not None:
        shapes["y_before"] = count, B, P
    lengths = {"h": P, "c": H, "g": K - P}
    return shapes | {f"{part.name}0": (B, lengths[part.name]) for part in cell.state}


def _kind(call: Call, name: str) -> Kind:
    return cells_of(call.kind) if name in ("c", "c0") else call.kind
