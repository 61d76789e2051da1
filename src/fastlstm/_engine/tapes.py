"""What a forward pass keeps for the backward pass: a class for each cell, of which the cell's row tells the arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, ClassVar, Literal, Self, TypeVar

import numpy as np

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, cells_of, empty, kind_of, take
from fastlstm._cells import BLOCKS, Cell, GRUCell, LSTMCell, RNNCell, gru_cell, lstm_cell
from fastlstm._cells.cell import Sized
from fastlstm._engine.backward import recompute_y_prev
from fastlstm._engine.batches import Batch
from fastlstm._engine.call import Call, Weights, device_of
from fastlstm._engine.checkpoints import Checkpoints

# The arrays in the order in which the compiled passes take them.
KERNEL_NAMES = "gates", "c", "c_prev", "y_prev", "m", "h0"
NO_ARRAYS = (None,) * 6


T = TypeVar("T", bound="CellTape")


class CellTape:
    """The tape of one layer in one direction; the row of its cell says which arrays it has.

    y^{t-1} is on it where an option makes that more than the y of the step before. Else it has `h0`, and y^{t-1} is
    computed by the backward pass, or when it is asked for.
    """

    __slots__ = ()
    _CELL: ClassVar[type[Cell]]
    # The slot of y^{t-1}, None where it is not on the tape: to read `y_prev` or `h_prev` computes it.
    _y_prev: Array | None
    # What gives the arrays in the order in which the compiled passes take them, None where the cell has none.
    _ARRAYS: ClassVar[attrgetter[Any]]
    # What gives them in the order of the cell's row.
    _NAMED: ClassVar[attrgetter[Any]]
    _NONE: ClassVar[None] = None
    x: Array
    call: Call | None
    checkpoints: Checkpoints | None
    h0: Array | None

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
        K, lead = weights.R.shape[1], call.tape_rows()
        if recompute is not None:
            few: dict[str, Any] = {}
            for name, size, kind, _, _, rows, needs in sized.tape:
                if needs in IN_EVERY_TAPE:
                    few[name] = empty((0, *lead[rows][1:], K if size is None else size), kind)
            checkpoints = Checkpoints.of_call(call, weights, sized, recompute, before)
            return cls(x, **few, call=replace(call, recompute=recompute), checkpoints=checkpoints)
        arrays: list[Array | None] = []
        absent = _absent(call, weights, given)
        for name, size, kind, label, axes, rows, needs in sized.tape:
            if needs in absent:
                arrays.append(None)
                continue
            shape = (*lead[rows], K if size is None else size)
            own = None
            if given is not None:
                own = given._y_prev if needs == "y_prev" else getattr(given, name)
            if given is None or (needs == "y_prev" and given._computes_y_prev):
                arrays.append(empty(shape, kind))
            else:
                arrays.append(check.output(label, own, shape, kind, axes))
        return cls._of_arrays(x, arrays, call)

    @classmethod
    def _of_arrays(cls, x: Array, arrays: list[Array | None], call: Call) -> Self:
        """Return a tape of arrays in the order of the cell's row, which is that of the fields but for h0, the last."""
        h0 = arrays.pop()
        return cls(x, *arrays, call, None, h0)

    def __init__(self, x: Array, *parts: Any, **named: Any) -> None:  # Each subclass is a dataclass and has its own.
        raise NotImplementedError

    def __setstate__(self, state: tuple[None, dict[str, Any]]) -> None:
        # Tapes that the first version pickled have no h0.
        for name, value in ({"h0": None} | state[1]).items():
            setattr(self, name, value)

    def checked(self, call: Call, weights: Weights, sized: Sized) -> Self:
        """Return a tape of these arrays as they are now, once they fit each other, the call and its weights."""
        if call.options is not None:
            call = call.checked(sized.P, sized.H)
        K, y_prev, lead = weights.R.shape[1], self._y_prev, call.tape_rows()
        x = check.matching("tape.x", self.x, call.shape(weights.W.shape[1]), call.kind, "(T, B, I)")
        if self.checkpoints is not None:
            checkpoints = self._checkpoints()
            assert checkpoints is not None
            few = {name: getattr(self, name) for name, *_, needs in sized.tape if needs in IN_EVERY_TAPE}
            return type(self)(x, **few, call=call, checkpoints=checkpoints.checked(call, weights, sized))
        arrays: list[Array | None] = []
        absent = _absent(call, weights, self)
        for name, size, kind, label, axes, rows, needs in sized.tape:
            array = y_prev if needs == "y_prev" else getattr(self, name)
            if needs in absent:
                if array is not None and needs != "h0":
                    raise ValueError(f"{label} must be None, since the forward pass kept none")
                arrays.append(None)
                continue
            shape = (*lead[rows], K if size is None else size)
            arrays.append(check.matching(label, array, shape, kind, axes))
        return self._of_arrays(x, arrays, call)

    @property
    def keeps_y_prev(self) -> bool:
        """Return whether y^{t-1} is on the tape."""
        return self._y_prev is not None

    @property
    def _computes_y_prev(self) -> bool:
        return self._y_prev is None and self.h0 is not None

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
        names = [f"tape.{part.name}" for part in self._CELL.tape]
        arrays = zip(names, self._NAMED(self), strict=True)
        return {name: array for name, array in arrays if array is not None}

    def read(self) -> dict[str, Array]:
        """Return all that a backward pass reads beside x, by name."""
        return self.named() if self.checkpoints is None else {**self.named(), "b": self.checkpoints.b}


# What an array needs that has no steps, but is there, in a tape with checkpoints.
IN_EVERY_TAPE = "", "y_prev"


def _absent(call: Call, weights: Weights, tape: CellTape | None) -> tuple[str | None, ...]:
    """Return which needs of arrays a call does not have; a tape that has y^{t-1} goes on having it."""
    projects = weights.proj is not None
    keeps_y_prev = projects or call.keeps_y_prev or (tape is not None and not tape._computes_y_prev)
    return (
        "h0" if keeps_y_prev else "y_prev",
        None if projects else "proj",
        None if call.keeps_c_prev else "c_prev",
    )


def _with_y_prev(name: str) -> Callable[[type[T]], type[T]]:
    """Return what makes the field `name` of a tape compute y^{t-1} where it is read and is not on the tape."""

    def decorate(tape: type[T]) -> type[T]:
        slot = getattr(tape, name)

        def get(self: T) -> Array | None:
            y_prev: Array | None = slot.__get__(self)
            if y_prev is None:
                y_prev = _recomputed_y_prev(self)
                slot.__set__(self, y_prev)
            return y_prev

        parts = tape._CELL.tape
        tape._y_prev = slot
        setattr(tape, name, property(get, slot.__set__))
        attributes = {part.kernel: "_y_prev" if part.name == name else part.name for part in parts}
        tape._NAMED = attrgetter(*attributes.values())
        tape._ARRAYS = attrgetter(*[attributes.get(kernel, "_NONE") for kernel in KERNEL_NAMES])
        return tape

    return decorate


def _recomputed_y_prev(tape: CellTape) -> Array | None:
    h0, call = tape.h0, tape.call
    if h0 is None or call is None:
        return None
    call = known_call(call, tape._CELL)
    gates, c, *_ = tape.arrays()
    y_prev = empty(call.shape(h0.shape[-1]), call.kind)
    recompute_y_prev(
        call.cell.kernel, call.batch, call.reverse, gates, c, h0, y_prev, call.kind.itemsize, device_of(call.kind)
    )
    return y_prev


@_with_y_prev("y_prev")
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
        The activated gates, blocks i, f, z, o, without those that the variant lacks. With layer normalisation
        (T, B, 13H): the gates, then R y^{t-1} and W x^t, 4H each, before they are normalised, then
        h(g_c n(c^t) + b_c); (T, B, 10H) with 3 blocks.
    c : (T + 1, B, H) array
        The cells, the initial ones first (last in the reverse direction).
    y_prev : (T, B, H) array
        y^{t-1} as each step saw it. Where no option makes it more than the y of the step before, it is not kept, but
        computed when it is first read.
    c_prev : (T, B, H) array or None
        c^{t-1} as each step saw it, where resets or zoneout make that more than c of the step before.
    m : (T, B, H) array or None
        What a projection projects.
    h0 : (B, H) array or None
        What the first step saw, where `y_prev` is not kept.
    checkpoints : Checkpoints or None
        With `recompute`, what is kept instead of all the others, which have no steps then.
    """

    _CELL: ClassVar[type[Cell]] = LSTMCell
    x: Array
    gates: Array
    c: Array
    y_prev: Array
    c_prev: Array | None = None
    m: Array | None = None
    call: Call | None = None
    checkpoints: Checkpoints | None = None
    h0: Array | None = None

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
        return _block_of(self, call, name, BLOCKS["vanilla"] if call is None else call.cell.blocks)

    def _known_call(self) -> Call | None:
        return None if self.call is None else known_call(self.call, lstm_cell())


def _block_of(tape: LSTMTape | GRUTape, call: Call | None, name: str, blocks: str) -> Array:
    """Return one of these blocks of the gates for every t: (T, B, H)."""
    if name not in blocks:
        raise ValueError(f"name must be one of {', '.join(blocks)}, not {name!r}")
    if tape.checkpoints is not None:
        raise ValueError("tape has no gates: it is of a forward pass with recompute, which does not keep them")
    ndim = 3 if call is None else len(call.shape()) + 1
    gates = check.sized("tape.gates", tape.gates, ndim, f"(T, B, {len(blocks)}H)", anywhere=True)
    H = gates.shape[-1] // (len(blocks) if call is None else call.cell.kernel.kept)
    block = gates[..., blocks.index(name) * H :][..., :H]
    return block if call is None else call.padded(block)


@_with_y_prev("h_prev")
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
        h^{t-1} as each step saw it. Where no option makes it more than h of the step before, it is not kept, but
        computed when it is first read.
    h0 : (B, H) array or None
        What the first step saw, where `h_prev` is not kept.
    checkpoints : Checkpoints or None
        With `recompute`, what is kept instead of `h` and `h_prev`, which have no steps then.
    """

    _CELL: ClassVar[type[Cell]] = RNNCell
    x: Array
    h: Array
    h_prev: Array
    call: Call | None = None
    checkpoints: Checkpoints | None = None
    h0: Array | None = None


@_with_y_prev("h_prev")
@dataclass(slots=True)
class GRUTape(CellTape):
    """What the forward pass keeps for the backward pass. A tape may be used many times.

    It refers to x without copying it: x, like the weights, must not change before `gru_backward`. With lengths, arrays
    have the rows of all steps one after the other, longest sequence first, instead of T and B.

    Attributes
    ----------
    x : (T, B, I) array
        The input.
    gates : (T, B, 4H) array
        The activated gates, blocks r, z, n, and q = R_n h^{t-1} + bn; without q, (T, B, 3H), in the form that resets
        before the product.
    h : (T + 1, B, H) array
        h^t before zoneout, the initial ones first (last in the reverse direction).
    h_prev : (T, B, H) array
        h^{t-1} as the products of each step saw it. Where no option makes it more than h of the step before, it is not
        kept, but computed when it is first read.
    h_carried : (T, B, H) array or None
        h^{t-1} as z passes it on, where resets or zoneout make that more than h of the step before.
    h0 : (B, H) array or None
        What the first step saw, where `h_prev` is not kept.
    checkpoints : Checkpoints or None
        With `recompute`, what is kept instead of all the others, which have no steps then.
    """

    _CELL: ClassVar[type[Cell]] = GRUCell
    x: Array
    gates: Array
    h: Array
    h_prev: Array
    h_carried: Array | None = None
    call: Call | None = None
    checkpoints: Checkpoints | None = None
    h0: Array | None = None

    def gate(self, name: Literal["r", "z", "n", "q"]) -> Array:
        """Return r, z, n or, in the form that resets after the product, q for every t: (T, B, H)."""
        call = None if self.call is None else known_call(self.call, gru_cell())
        cell: Any = gru_cell() if call is None else call.cell
        return _block_of(self, call, name, "rznq" if cell.reset_after else "rzn")


def call_of(tape: CellTape, cell: Cell) -> Call:
    """Return the call that a tape is of, once its parts fit each other; where there is none, a plain one of `cell`."""
    call = tape.call
    if call is None:
        x = check.sized("tape.x", tape.x, 3, "(T, B, I)", anywhere=True)
        T, B, _ = x.shape
        return Call(cell, Batch(T, B, T * B), kind_of(x))
    return known_call(call, cell)


def known_call(call: object, cell: Cell | type[Cell]) -> Call:
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
