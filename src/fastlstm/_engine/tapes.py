"""What a forward pass keeps for the backward pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, Kind, cells_of, empty, kind_of, take
from fastlstm._cells import BLOCKS, LSTMCell, lstm_cell
from fastlstm._engine import call as _core
from fastlstm._engine import forward as _forward
from fastlstm._engine.batches import Batch
from fastlstm._engine.call import Call, Cell, Checkpoints, States, Weights


@dataclass(slots=True)
class LSTMTape:
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

    x: Array
    gates: Array
    c: Array
    y_prev: Array
    c_prev: Array | None = None
    m: Array | None = None
    call: Call | None = None
    checkpoints: Checkpoints | None = None

    @classmethod
    def of_call(
        cls, call: Call, weights: Weights, x: Array, given: LSTMTape | None = None, recompute: int | None = None
    ) -> LSTMTape:
        """A tape to fill: `given`, if it has the right arrays, or a new one."""
        n, K, kind = call.cell.gates, weights.R.shape[1], kind_of(x)
        H = len(weights.W) // n
        arrays: dict[str, Any]
        kinds = dict.fromkeys(("gates", "y_prev", "m"), kind) | dict.fromkeys(("c", "c_prev"), cells_of(kind))
        shapes = {"gates": call.shape(n * H), "c": call.cell_shape(H), "y_prev": call.shape(K)}
        checkpoints = _checkpoints(call, weights, given, recompute)
        if checkpoints is not None:
            arrays = {name: empty((0, *shape[1:]), kinds[name]) for name, shape in shapes.items()}
            return cls(x, **arrays, call=replace(call, recompute=recompute), checkpoints=checkpoints)
        if call.keeps_c_prev:
            shapes["c_prev"] = call.shape(H)
        if weights.proj is not None:
            shapes["m"] = call.shape(H)
        if given is None:
            arrays = {name: empty(shape, kinds[name]) for name, shape in shapes.items()}
            return cls(x, **arrays, call=call)
        arrays = {k: check.output(f"tape.{k}", getattr(given, k), v, kinds[k], str(v)) for k, v in shapes.items()}
        return cls(x, **arrays, call=call)

    def arrays(self) -> tuple[Array | None, ...]:
        """As the passes take them."""
        if self.checkpoints is not None:
            return (None,) * 5
        return self.gates, self.c, self.c_prev, self.y_prev, self.m

    def again(self) -> tuple[Any, ...] | None:
        """With `recompute`, what the passes start from instead."""
        return None if self.checkpoints is None else self.checkpoints.again()

    def named(self) -> dict[str, Array]:
        """The arrays that a forward pass fills, by name."""
        if self.checkpoints is not None:
            return self.checkpoints.arrays()
        named = zip(("gates", "c", "c_prev", "y_prev", "m"), self.arrays(), strict=True)
        return {f"tape.{name}": array for name, array in named if array is not None}

    def read(self) -> dict[str, Array]:
        """All that a backward pass reads beside x, by name."""
        return self.named() if self.checkpoints is None else {**self.named(), "b": self.checkpoints.b}

    def checked(self, call: Call, weights: Weights) -> LSTMTape:
        """A tape of these arrays as they are now, once they are known to fit each other, its call and its weights."""
        n, K, P, kind = call.cell.gates, weights.R.shape[1], _outputs(call, weights), call.kind
        H, cells = len(weights.W) // n, cells_of(kind)
        call = call.checked(P, H)
        rows = call.shape()
        x = check.matching("tape.x", self.x, (*rows, weights.W.shape[1]), kind, "(T, B, I)")
        checkpoints = _checked_checkpoints(self, call, weights)
        if checkpoints is not None:
            return LSTMTape(x, self.gates, self.c, self.y_prev, call=call, checkpoints=checkpoints)
        return LSTMTape(
            x,
            check.matching("tape.gates", self.gates, (*rows, n * H), kind, "(T, B, gates H)"),
            check.matching("tape.c", self.c, call.cell_shape(H), cells, "(T + 1, B, H)"),
            check.matching("tape.y_prev", self.y_prev, (*rows, K), kind, "(T, B, H)"),
            _where_kept(call.keeps_c_prev, "tape.c_prev", self.c_prev, (*rows, H), cells),
            _where_kept(weights.proj is not None, "tape.m", self.m, (*rows, H), kind),
            call,
        )

    def cells(self) -> Array:
        """c^t for every t: (T, B, H)."""
        if self.checkpoints is not None:
            raise ValueError("tape has no cells: it is of a forward pass with recompute, which keeps few of them")
        call = self._known_call()
        c = check.sized(
            "tape.c", self.c, 3 if call is None else len(call.cell_shape(0)), "(T + 1, B, H)", anywhere=True
        )
        if call is None:
            return c[1:]
        c = check.matching("tape.c", c, call.cell_shape(c.shape[-1]), cells_of(call.kind), "(T + 1, B, H)")
        batch, offsets = call.batch, call.batch.offsets
        if offsets is None:
            return c[:-1] if call.reverse else c[1:]
        if not call.reverse:
            return call.sequence(c[batch.B :])
        sizes = np.diff(offsets)
        step = np.repeat(np.arange(batch.T), sizes)
        row = np.arange(batch.count) - offsets[step]
        return call.sequence(take(c, np.where(step > 0, batch.B + offsets[step - 1] + row, row), 0))

    def gate(self, name: Literal["i", "f", "z", "o"]) -> Array:
        """A gate's activations for every t: (T, B, H)."""
        call = self._known_call()
        blocks = BLOCKS["vanilla"] if call is None else _blocks(call)
        if name not in blocks:
            raise ValueError(f"name must be one of {', '.join(blocks)}, not {name!r}")
        if self.checkpoints is not None:
            raise ValueError("tape has no gates: it is of a forward pass with recompute, which does not keep them")
        ndim = 3 if call is None else len(call.shape()) + 1
        gates = check.sized("tape.gates", self.gates, ndim, "(T, B, 4H)", anywhere=True)
        H = gates.shape[-1] // len(blocks)
        block = gates[..., blocks.index(name) * H :][..., :H]
        return block if call is None else call.sequence(block)

    def _known_call(self) -> Call | None:
        call = self.call
        return None if call is None else known_call(call, lstm_cell())


def _where_kept(kept: bool, name: str, value: object, shape: tuple[int, ...], kind: Kind) -> Array | None:
    """An array that is there only where a call keeps it."""
    if not kept and value is None:
        return None
    if not kept:
        raise ValueError(f"{name} must be None, since the forward pass kept none")
    return check.matching(name, value, shape, kind, "(T, B, H)")


def _outputs(call: Call, weights: Weights) -> int:
    """P: values in a row of y."""
    return len(weights.W) // call.cell.gates if weights.proj is None else len(weights.proj)


def _checkpoints(
    call: Call, weights: Weights, given: LSTMTape | RNNTape | None, recompute: int | None
) -> Checkpoints | None:
    before = None if given is None else _given_checkpoints(given)
    if given is not None and (before is None) != (recompute is None):
        raise ValueError(f"tape must be of a call {'with' if before is None else 'without'} recompute, as this one is")
    return None if recompute is None else Checkpoints.of_call(call, weights, recompute, before)


def _given_checkpoints(tape: LSTMTape | RNNTape) -> Checkpoints | None:
    checkpoints = tape.checkpoints
    if checkpoints is not None and not isinstance(checkpoints, Checkpoints):
        raise TypeError(f"tape.checkpoints must be Checkpoints or None, not {type(checkpoints).__name__}")
    return checkpoints


def _checked_checkpoints(tape: LSTMTape | RNNTape, call: Call, weights: Weights) -> Checkpoints | None:
    checkpoints = _given_checkpoints(tape)
    return None if checkpoints is None else checkpoints.checked(call, weights)


def _blocks(call: Call) -> str:
    assert isinstance(call.cell, LSTMCell)
    return call.cell.blocks


@dataclass(slots=True)
class RNNTape:
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

    x: Array
    h: Array
    h_prev: Array
    call: Call | None = None
    checkpoints: Checkpoints | None = None

    @classmethod
    def of_call(
        cls, call: Call, weights: Weights, x: Array, given: RNNTape | None = None, recompute: int | None = None
    ) -> RNNTape:
        """A tape to fill: `given`, if it has the right arrays, or a new one."""
        shape, kind = call.shape(weights.R.shape[1]), kind_of(x)
        checkpoints = _checkpoints(call, weights, given, recompute)
        if checkpoints is not None:
            none = empty((0, *shape[1:]), kind)
            return cls(x, none, none, replace(call, recompute=recompute), checkpoints)
        if given is None:
            return cls(x, empty(shape, kind), empty(shape, kind), call)
        h, h_prev = (check.output(f"tape.{k}", getattr(given, k), shape, kind, "(T, B, H)") for k in ("h", "h_prev"))
        return cls(x, h, h_prev, call)

    def arrays(self) -> tuple[Array | None, ...]:
        """As the passes take them."""
        if self.checkpoints is not None:
            return (None,) * 5
        return self.h, None, None, self.h_prev, None

    def again(self) -> tuple[Any, ...] | None:
        """With `recompute`, what the passes start from instead."""
        return None if self.checkpoints is None else self.checkpoints.again()

    def named(self) -> dict[str, Array]:
        """The arrays that a forward pass fills, by name."""
        if self.checkpoints is not None:
            return self.checkpoints.arrays()
        return {"tape.h": self.h, "tape.h_prev": self.h_prev}

    def read(self) -> dict[str, Array]:
        """All that a backward pass reads beside x, by name."""
        return self.named() if self.checkpoints is None else {**self.named(), "b": self.checkpoints.b}

    def checked(self, call: Call, weights: Weights) -> RNNTape:
        """A tape of these arrays as they are now, once they are known to fit each other, its call and its weights."""
        H, kind = weights.R.shape[1], call.kind
        call = call.checked(H, H)
        x = check.matching("tape.x", self.x, call.shape(weights.W.shape[1]), kind, "(T, B, I)")
        checkpoints = _checked_checkpoints(self, call, weights)
        if checkpoints is not None:
            return RNNTape(x, self.h, self.h_prev, call, checkpoints)
        h = check.matching("tape.h", self.h, call.shape(H), kind, "(T, B, H)")
        return RNNTape(x, h, check.matching("tape.h_prev", self.h_prev, call.shape(H), kind, "(T, B, H)"), call)


def call_of(tape: LSTMTape | RNNTape, cell: Cell) -> Call:
    """The call that a tape is of, once its parts fit each other; where there is none, a plain one of this cell."""
    call = tape.call
    if call is None:
        x = check.sized("tape.x", tape.x, 3, "(T, B, I)", anywhere=True)
        T, B, _ = x.shape
        return Call(cell, Batch(T, B, T * B), kind_of(x))
    return known_call(call, cell)


def known_call(call: object, cell: Cell) -> Call:
    """A call, once its parts are known to fit each other, and its cell to be of this kind."""
    if not isinstance(call, Call) or type(call.cell) is not type(cell):
        found = type(getattr(call, "cell", call)).__name__
        raise TypeError(f"tape.call must be that of a forward pass with {type(cell).__name__}, not {found}")
    call.check_rows()
    return call


# ---- passes that fill a tape ----


def recompute_steps(recompute: int | None, tape: object, kind: type) -> int | None:
    """The argument `recompute`, checked, and that `tape` is a bool or a tape of this kind."""
    if not isinstance(tape, (bool, kind)):
        raise TypeError(f"tape must be a bool or {kind.__name__}, not {type(tape).__name__}")
    if recompute is not None and tape is False:
        raise ValueError("recompute needs a tape: it is about what that keeps")
    return _core.recompute_steps(recompute)


def start_forward(
    one: _forward.ForwardPass, kept: LSTMTape | RNNTape | None, x: Array, first: States,
    y: Array, y_offset: int, last: States, space: Array,
) -> None:  # fmt: skip
    """All but the tape is as for ForwardPass.start."""
    arrays = marks = None
    if kept is not None and kept.checkpoints is not None:
        marks = kept.checkpoints.begin(first)
    elif kept is not None:
        arrays = kept.arrays()
    one.start(x, first, y, y_offset, last, arrays, marks, space)
