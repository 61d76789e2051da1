"""One layer in one direction: from checked arrays to the compiled passes. Its callers are lstm.py and rnn.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fastlstm import _backward, _forward, _loops
from fastlstm._batches import Batch, Lengths, Options
from fastlstm._cells import LSTMCell, RNNCell
from fastlstm._checks import Array

Cell = LSTMCell | RNNCell


class Weights(NamedTuple):
    """The parameters of one layer in one direction; R holds those of full gate recurrence too."""

    W: Array
    R: Array
    b: Array | None
    p: Array | None = None
    proj: Array | None = None


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


# ---- passes ----


def forward_pass(call: Call, weights: Weights, taped: bool) -> _forward.ForwardPass:
    """A pass to be started."""
    return _forward.ForwardPass(
        call.cell.kernel, call.batch, call.reverse, weights, call.options, taped, weights.W.itemsize
    )


def backward_pass(call: Call, weights: Weights, with_dx: bool, with_deltas: bool) -> _backward.BackwardPass:
    """A pass to be started."""
    W, R, _, p, proj = weights
    return _backward.BackwardPass(
        call.cell.kernel, call.batch, call.reverse, (W, R, p, proj), call.options, with_dx, with_deltas, W.itemsize
    )


def workspace_size(call: Call, weights: Weights) -> int:
    """Values with which both passes need allocate none."""
    passes = (
        forward_pass(call, weights, False),
        forward_pass(call, weights, True),
        backward_pass(call, weights, True, False),
    )
    return max(one.workspace() for one in passes)
