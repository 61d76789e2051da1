"""One layer in one direction: from checked arrays to the compiled passes. Its callers are lstm.py and rnn.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastlstm import _backward, _forward, _loops
from fastlstm import _checks as check
from fastlstm._batches import Batch, Lengths, Options
from fastlstm._cells import LSTMCell, RNNCell
from fastlstm._checks import Array

Cell = LSTMCell | RNNCell


class PackedWeights(NamedTuple):
    """W and R as the steps read them: packed for the instruction set in use, `format` "full", "bfloat16" or "int8"."""

    format: str
    input: int
    outputs: int
    W: Array
    R: Array
    scale: Array | None


class Weights(NamedTuple):
    """The parameters of one layer in one direction; R holds those of full gate recurrence too.

    With `packed`, which inference alone can use, W and R are empty.
    """

    W: Array
    R: Array
    b: Array | None
    p: Array | None = None
    proj: Array | None = None
    packed: PackedWeights | None = None


@dataclass(frozen=True)
class Call:
    """How a forward pass was made, for the backward pass."""

    cell: Cell
    batch: Batch
    lengths: Lengths | None = None
    reverse: bool = False
    options: Options | None = None

    def rows(self, array: Array | None, num_threads: int) -> Array | None:
        """A (T, B, ...) array as the kernels want it."""
        return array if self.lengths is None or array is None else self.lengths.pack(array, num_threads)

    def state(self, array: Array | None) -> Array | None:
        """A (B, ...) array as the kernels want it."""
        return array if self.lengths is None or array is None else self.lengths.sort(array)

    def sequence(self, rows: Array) -> Array:
        """The kernels' rows as (T, B, ...)."""
        return rows if self.lengths is None else self.lengths.pad(rows)

    def last(self, state: Array) -> Array:
        """The kernels' (B, ...) in the caller's order."""
        return state if self.lengths is None else self.lengths.unsort(state)

    def shape(self, *last: int) -> tuple[int, ...]:
        """Of an array with a row for each step and batch row."""
        batch = self.batch
        return (batch.T, batch.B, *last) if batch.offsets is None else (batch.count, *last)

    def cell_shape(self, H: int) -> tuple[int, ...]:
        """Of the cells, with the initial ones."""
        batch = self.batch
        return (batch.T + 1, batch.B, H) if batch.offsets is None else (batch.B + batch.count, H)

    @property
    def keeps_c_prev(self) -> bool:
        """Whether c^{t-1} as a step saw it may differ from c of the step before."""
        options = self.options
        return options is not None and (options.reset is not None or options.zone_c is not None)


# ---- full gate recurrence ----


def with_gate_recurrence(R: Array, G: Array) -> Array:
    """[R G'] where G' is G with columns as the kernels keep the gates of the step before."""
    H = len(R) // 4
    block = _loops.unit_block(R.itemsize)
    count = -(-H // block)
    parts = np.zeros((4, H, 3, count * block), R.dtype)
    parts[[0, 1, 3], :, :, :H] = G.reshape(3, H, 3, H)
    by_unit = parts.reshape(4, H, 3, count, block).transpose(0, 1, 3, 2, 4)
    return np.concatenate([R, by_unit.reshape(4 * H, -1)], axis=1)


def gate_recurrence_of(wide: Array, P: int) -> tuple[Array, Array]:
    """R and G from [R G']."""
    H = len(wide) // 4
    block = _loops.unit_block(wide.itemsize)
    count = -(-H // block)
    parts = wide[:, P:].reshape(4, H, count, 3, block).transpose(0, 1, 3, 2, 4).reshape(4, H, 3, count * block)
    return np.ascontiguousarray(wide[:, :P]), parts[[0, 1, 3], :, :, :H].reshape(3 * H, 3 * H)


# ---- recompute ----


@dataclass(slots=True)
class Checkpoints:
    """What a tape keeps instead of every step: from it the backward pass runs the steps again, segment by segment.

    Attributes
    ----------
    k : int
        Steps of a segment, as far as whole blocks of rows make them up.
    y, c, y_before : (segments, B, ...) arrays
        y^{t-1} and c^{t-1} as the first step of each segment saw them; for zoneout of y, y^{t-1} itself. Else None.
    h0, c0 : (B, ...) arrays
        The initial state.
    b : array
        The biases, not copied.
    """

    k: int
    y: Array
    c: Array | None
    y_before: Array | None
    h0: Array
    c0: Array | None
    b: Array

    @staticmethod
    def _shapes(call: Call, weights: Weights, k: int) -> dict[str, tuple[int, ...] | None]:
        B, K = call.batch.B, weights.R.shape[1]
        H = len(weights.W) // call.cell.gates
        P = H if weights.proj is None else len(weights.proj)
        count, cells = _loops.segment_count(call.batch, k), call.cell.kernel.lstm
        zoned = call.options is not None and call.options.zone_y is not None
        return {
            "y": (count, B, K), "c": (count, B, H) if cells else None, "y_before": (count, B, P) if zoned else None,
            "h0": (B, P), "c0": (B, H) if cells else None,
        }  # fmt: skip

    @classmethod
    def of_call(cls, call: Call, weights: Weights, k: int, given: Checkpoints | None) -> Checkpoints:
        """Checkpoints to fill: `given`, if it has the right arrays, or new ones."""
        assert weights.b is not None
        arrays: dict[str, Any] = dict.fromkeys(("y", "c", "y_before", "h0", "c0"))
        for name, shape in cls._shapes(call, weights, k).items():
            if shape is not None:
                dtype, label = weights.W.dtype, f"tape.checkpoints.{name}"
                arrays[name] = (
                    check.empty(shape, dtype)
                    if given is None
                    else check.output(label, getattr(given, name), shape, dtype, str(shape))
                )
        return cls(k, b=weights.b, **arrays)

    def checked(self, call: Call, weights: Weights) -> Checkpoints:
        """The same, once it is known that it belongs to a call and its weights."""
        arrays: dict[str, Any] = {"b": (len(weights.W),)} | self._shapes(call, weights, self.k)
        for name, shape in arrays.items():
            if shape is not None:
                arrays[name] = check.matching(
                    f"tape.checkpoints.{name}", getattr(self, name), shape, weights.W.dtype, str(shape)
                )
        return Checkpoints(self.k, **arrays)

    def arrays(self) -> dict[str, Array]:
        """Those that a forward pass fills, by name."""
        named = {name: getattr(self, name) for name in ("y", "c", "y_before", "h0", "c0")}
        return {f"tape.checkpoints.{name}": array for name, array in named.items() if array is not None}

    def begin(self, h0: Array, c0: Array | None) -> tuple[Array, Array | None, Array | None]:
        """What a forward pass from this state is to fill."""
        self.h0[:] = h0
        if self.c0 is not None:
            self.c0[:] = c0
        return self.y, self.c, self.y_before

    def again(self) -> tuple[Any, ...]:
        """What a backward pass starts from."""
        return self.h0, self.c0, (self.y, self.c, self.y_before)


def recompute_steps(recompute: int | None) -> int | None:
    """The argument, checked."""
    return None if recompute is None else check.positive_int("recompute", recompute)


# ---- passes ----


def forward_pass(call: Call, weights: Weights, with_tape: bool, recompute: int | None = None) -> _forward.ForwardPass:
    """A pass to be started; with `recompute` it keeps checkpoints, or `with_tape` is what runs from them again."""
    k = 0 if recompute is None else min(recompute, max(call.batch.T, 1))
    return _forward.ForwardPass(
        call.cell.kernel, call.batch, call.reverse, weights, call.options, with_tape, k, weights.W.itemsize
    )


def backward_pass(
    call: Call, weights: Weights, with_dx: bool, with_deltas: bool, checkpoints: Checkpoints | None = None
) -> _backward.BackwardPass:
    """A pass to be started."""
    again = None
    if checkpoints is not None:
        again = forward_pass(call, weights._replace(b=checkpoints.b), True, checkpoints.k)
    return _backward.BackwardPass(
        call.cell.kernel, call.batch, call.reverse, weights, call.options, with_dx, with_deltas, weights.W.itemsize,
        again,
    )  # fmt: skip


def workspace_size(call: Call, weights: Weights, recompute: int | None = None) -> int:
    """Values with which both passes need allocate none."""
    checkpoints = None if recompute is None else Checkpoints.of_call(call, weights, recompute, None)
    passes = (
        forward_pass(call, weights, False),
        forward_pass(call, weights, recompute is None, recompute),
        backward_pass(call, weights, True, False, checkpoints),
    )
    return max(one.workspace() for one in passes)
