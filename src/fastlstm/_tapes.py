"""What a forward pass keeps for the backward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fastlstm import _checks as check
from fastlstm._cells import BLOCKS, LSTMCell
from fastlstm._checks import Array, empty
from fastlstm._core import Call, Weights


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
    """

    x: Array
    gates: Array
    c: Array
    y_prev: Array
    c_prev: Array | None = None
    m: Array | None = None
    call: Call | None = None

    @classmethod
    def of_call(cls, call: Call, weights: Weights, x: Array, given: LSTMTape | None = None) -> LSTMTape:
        """A tape to fill: `given`, if it has the right arrays, or a new one."""
        n, K, dtype = call.cell.gates, weights.R.shape[1], x.dtype
        H = len(weights.W) // n
        shapes = {"gates": call.shape(n * H), "c": call.cell_shape(H), "y_prev": call.shape(K)}
        if call.keeps_c_prev:
            shapes["c_prev"] = call.shape(H)
        if weights.proj is not None:
            shapes["m"] = call.shape(H)
        if given is None:
            return cls(x, **{name: empty(shape, dtype) for name, shape in shapes.items()}, call=call)
        arrays = {k: check.output(f"tape.{k}", getattr(given, k), v, dtype, str(v)) for k, v in shapes.items()}
        return cls(x, **arrays, call=call)

    def arrays(self) -> tuple[Array | None, ...]:
        """As the passes take them."""
        return self.gates, self.c, self.c_prev, self.y_prev, self.m

    def cells(self) -> Array:
        """c^t for every t: (T, B, H)."""
        call = self.call
        if call is None or call.batch.offsets is None:
            return self.c[:-1] if call is not None and call.reverse else self.c[1:]
        batch, offsets = call.batch, call.batch.offsets
        if not call.reverse:
            return call.sequence(self.c[batch.B :])
        sizes = np.diff(offsets)
        step = np.repeat(np.arange(batch.T), sizes)
        row = np.arange(batch.count) - offsets[step]
        return call.sequence(self.c[np.where(step > 0, batch.B + offsets[step - 1] + row, row)])

    def gate(self, name: Literal["i", "f", "z", "o"]) -> Array:
        """A gate's activations for every t: (T, B, H)."""
        blocks = BLOCKS["vanilla"] if self.call is None else _blocks(self.call)
        if name not in blocks:
            raise ValueError(f"name must be one of {', '.join(blocks)}, not {name!r}")
        H = self.c.shape[-1]
        block = self.gates[..., blocks.index(name) * H :][..., :H]
        return block if self.call is None else self.call.sequence(block)


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
    """

    x: Array
    h: Array
    h_prev: Array
    call: Call | None = None

    @classmethod
    def of_call(cls, call: Call, weights: Weights, x: Array, given: RNNTape | None = None) -> RNNTape:
        """A tape to fill: `given`, if it has the right arrays, or a new one."""
        shape, dtype = call.shape(weights.R.shape[1]), x.dtype
        if given is None:
            return cls(x, empty(shape, dtype), empty(shape, dtype), call)
        h, h_prev = (check.output(f"tape.{k}", getattr(given, k), shape, dtype, "(T, B, H)") for k in ("h", "h_prev"))
        return cls(x, h, h_prev, call)

    def arrays(self) -> tuple[Array | None, ...]:
        """As the passes take them."""
        return self.h, None, None, self.h_prev, None
