"""What a forward pass keeps for the backward pass: a class for each cell, of which the cell's row tells the arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, ClassVar, Literal, Self

import numpy as np

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, cells_of, empty, kind_of, take
from fastlstm._cells import BLOCKS, Cell, LSTMCell, RNNCell, lstm_cell
from fastlstm._cells.cell import Sized
from fastlstm._engine.batches import Batch
from fastlstm._engine.call import Call, Weights
from fastlstm._engine.checkpoints import Checkpoints

NO_ARRAYS = (None,) * 5


class CellTape:
    """The tape of one layer in one direction; the row of its cell says which arrays it has."""

    __slots__ = ()
    _CELL: ClassVar[type[Cell]]
    # What gives the arrays in the order in which the compiled passes take them, None where the cell has none.
    _ARRAYS: ClassVar[attrgetter[Any]]
    _NONE: ClassVar[None] = None
    x: Array
    call: Call | None
    checkpoints: Checkpoints | None

    @classmethod
    def of_call(
        cls, call: Call, weights: Weights, sized: Sized, x: Array, given: CellTape | None = None,
        recompute: int | None = None,
    ) -> Self:  # fmt: skip
        """Return a tape to fill: `given`, if it has the right arrays, or a new one."""
        before = None if given is None else given._checkpoints()
        if given is not None and (before is None) != (recompute is None):
            with_or_without = "with" if before is None else "without"
            raise ValueError(f"tape must be of a call {with_or_without} recompute, as this one is")
        arrays: dict[str, Any] = {}
        steps, K = call.shape(), weights.R.shape[1]
        if recompute is not None:
            for name, size, kind, _, _, initial, needs in sized.tape:
                if not needs:
                    lead = call.shape_with_initial(1)[1:-1] if initial else steps[1:]
                    arrays[name] = empty((0, *lead, K if size is None else size), kind)
            checkpoints = Checkpoints.of_call(call, weights, sized, recompute, before)
            return cls(x, **arrays, call=replace(call, recompute=recompute), checkpoints=checkpoints)
        for name, size, kind, label, axes, initial, needs in sized.tape:
            if needs and not _is_needed(needs, call, weights):
                continue
            size = K if size is None else size
            shape = call.shape_with_initial(size) if initial else (*steps, size)
            if given is None:
                arrays[name] = empty(shape, kind)
            else:
                arrays[name] = check.output(label, getattr(given, name), shape, kind, axes)
        return cls(x, **arrays, call=call)

    def __init__(self, x: Array, **parts: Any) -> None:  # Each subclass is a dataclass and has its own.
        raise NotImplementedError

    def checked(self, call: Call, weights: Weights, sized: Sized) -> Self:
        """Return a tape of these arrays as they are now, once they fit each other, the call and its weights."""
        if call.options is not None:
            call = call.checked(sized.P, sized.H)
        steps, K = call.shape(), weights.R.shape[1]
        x = check.matching("tape.x", self.x, (*steps, weights.W.shape[1]), call.kind, "(T, B, I)")
        arrays: dict[str, Any] = {}
        if self.checkpoints is not None:
            checkpoints = self._checkpoints()
            assert checkpoints is not None
            arrays = {name: getattr(self, name) for name, *_, needs in sized.tape if not needs}
            return type(self)(x, **arrays, call=call, checkpoints=checkpoints.checked(call, weights, sized))
        for name, size, kind, label, axes, initial, needs in sized.tape:
            array = getattr(self, name)
            if needs and not _is_needed(needs, call, weights):
                if array is not None:
                    raise ValueError(f"{label} must be None, since the forward pass kept none")
                continue
            size = K if size is None else size
            shape = call.shape_with_initial(size) if initial else (*steps, size)
            arrays[name] = check.matching(label, array, shape, kind, axes)
        return type(self)(x, **arrays, call=call)

    def _checkpoints(self) -> Checkpoints | None:
        checkpoints = self.checkpoints
        if checkpoints is not None and not isinstance(checkpoints, Checkpoints):
            raise TypeError(f"tape.checkpoints must be Checkpoints or None, not {type(checkpoints).__name__}")
        return checkpoints

    def arrays(self) -> tuple[Array | None, ...]:
        """Return the arrays of every step in the order in which the compiled passes take them."""
        if self.checkpoints is not None:
            return NO_ARRAYS
        arrays: tuple[Array | None, ...] = self._ARRAYS(self)
        return arrays

    def named(self) -> dict[str, Array]:
        """Return the arrays that a forward pass fills, by name."""
        if self.checkpoints is not None:
            return self.checkpoints.named()
        arrays = {f"tape.{part.name}": getattr(self, part.name) for part in self._CELL.tape}
        return {name: array for name, array in arrays.items() if array is not None}

    def read(self) -> dict[str, Array]:
        """Return all that a backward pass reads beside x, by name."""
        return self.named() if self.checkpoints is None else {**self.named(), "b": self.checkpoints.b}


def _is_needed(needs: str, call: Call, weights: Weights) -> bool:
    return call.keeps_c_prev if needs == "c_prev" else weights.proj is not None


def _arrays_of(cell: type[Cell]) -> attrgetter[Any]:
    """Return what gives a tape's arrays in the order in which the compiled passes take them."""
    names = {part.kernel: part.name for part in cell.tape}
    return attrgetter(*[names.get(kernel, "_NONE") for kernel in ("gates", "c", "c_prev", "y_prev", "m")])


@dataclass(slots=True)
class LSTMTape(CellTape):
    """What the forward pass keeps for the backward pass. A tape may be used many times.

    It refers to x without copying it: x, like the weights, must not change before `lstm_backward`. With lengths, arrays
    have the rows of all steps one after the other, longest sequence first, instead of T and B; `cells` and `gate` give
    them as (T, B, H).

    Attributes
    ----------
    x : (T, B, I) array
        The input.
    gates : (T, B, 4H) array
        The activated gates, blocks i, f, z, o, without those that the variant lacks.
    c : (T + 1, B, H) array
        The cells, the initial ones first (last in the reverse direction).
    y_prev : (T, B, H) array
        y^{t-1} as each step saw it.
    c_prev : (T, B, H) array or None
        c^{t-1} as each step saw it, where resets or zoneout make that more than c of the step before.
    m : (T, B, H) array or None
        What a projection projects.
    checkpoints : Checkpoints or None
        With `recompute`, what is kept instead of all the others, which have no steps then.
    """

    _CELL: ClassVar[type[Cell]] = LSTMCell
    _ARRAYS: ClassVar[attrgetter[Any]] = _arrays_of(LSTMCell)
    x: Array
    gates: Array
    c: Array
    y_prev: Array
    c_prev: Array | None = None
    m: Array | None = None
    call: Call | None = None
    checkpoints: Checkpoints | None = None

    def cells(self) -> Array:
        """Return c^t for every t: (T, B, H)."""
        if self.checkpoints is not None:
            raise ValueError("tape has no cells: it is of a forward pass with recompute, which keeps few of them")
        call = self._known_call()
        ndim = 3 if call is None else len(call.shape_with_initial(0))
        c = check.sized("tape.c", self.c, ndim, "(T + 1, B, H)", anywhere=True)
        if call is None:
            return c[1:]
        shape = call.shape_with_initial(c.shape[-1])
        c = check.matching("tape.c", c, shape, cells_of(call.kind), "(T + 1, B, H)")
        batch, offsets = call.batch, call.batch.offsets
        if offsets is None:
            return c[:-1] if call.reverse else c[1:]
        if not call.reverse:
            return call.padded(c[batch.B :])
        sizes = np.diff(offsets)
        step = np.repeat(np.arange(batch.T), sizes)
        row = np.arange(batch.count) - offsets[step]
        return call.padded(take(c, np.where(step > 0, batch.B + offsets[step - 1] + row, row), 0))

    def gate(self, name: Literal["i", "f", "z", "o"]) -> Array:
        """Return a gate's activations for every t: (T, B, H)."""
        call = self._known_call()
        blocks = BLOCKS["vanilla"] if call is None else call.cell.blocks
        if name not in blocks:
            raise ValueError(f"name must be one of {', '.join(blocks)}, not {name!r}")
        if self.checkpoints is not None:
            raise ValueError("tape has no gates: it is of a forward pass with recompute, which does not keep them")
        ndim = 3 if call is None else len(call.shape()) + 1
        gates = check.sized("tape.gates", self.gates, ndim, "(T, B, 4H)", anywhere=True)
        H = gates.shape[-1] // len(blocks)
        block = gates[..., blocks.index(name) * H :][..., :H]
        return block if call is None else call.padded(block)

    def _known_call(self) -> Call | None:
        return None if self.call is None else known_call(self.call, lstm_cell())


@dataclass(slots=True)
class RNNTape(CellTape):
    """What the forward pass keeps for the backward pass. A tape may be used many times.

    It refers to x without copying it: x, like the weights, must not change before `rnn_backward`. With lengths, arrays
    have the rows of all steps one after the other, longest sequence first, instead of T and B.

    Attributes
    ----------
    x : (T, B, I) array
        The input.
    h : (T, B, H) array
        h^t of every step, before zoneout.
    h_prev : (T, B, H) array
        h^{t-1} as each step saw it.
    checkpoints : Checkpoints or None
        With `recompute`, what is kept instead of `h` and `h_prev`, which have no steps then.
    """

    _CELL: ClassVar[type[Cell]] = RNNCell
    _ARRAYS: ClassVar[attrgetter[Any]] = _arrays_of(RNNCell)
    x: Array
    h: Array
    h_prev: Array
    call: Call | None = None
    checkpoints: Checkpoints | None = None


def call_of(tape: CellTape, cell: Cell) -> Call:
    """Return the call that a tape is of, once its parts fit each other; where there is none, a plain one of `cell`."""
    call = tape.call
    if call is None:
        x = check.sized("tape.x", tape.x, 3, "(T, B, I)", anywhere=True)
        T, B, _ = x.shape
        return Call(cell, Batch(T, B, T * B), kind_of(x))
    return known_call(call, cell)


def known_call(call: object, cell: Cell) -> Call:
    """Return a call, once its parts are known to fit each other, and its cell to have the tape that `cell` has."""
    if not isinstance(call, Call) or not isinstance(call.cell, Cell) or call.cell.tape is not cell.tape:
        given = type(getattr(call, "cell", call)).__name__
        raise TypeError(f"tape.call must be that of a forward pass with {cell.name}Cell, not {given}")
    call.check_rows()
    return call


def recompute_steps(recompute: int | None, tape: object, kind: type) -> int | None:
    """Return the argument `recompute`, checked, once `tape` is known to be a bool or a tape of this kind."""
    if not isinstance(tape, (bool, kind)):
        raise TypeError(f"tape must be a bool or {kind.__name__}, not {type(tape).__name__}")
    if recompute is None:
        return None
    if tape is False:
        raise ValueError("recompute needs a tape: it is about what that keeps")
    return check.positive_int("recompute", recompute)
