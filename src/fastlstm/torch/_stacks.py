"""The kernels on tensors: what a module computes, forward and back through time, from arguments that are right."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastlstm._cells import Cell, gru_cell, lstm_cell, rnn_cell
from fastlstm._engine.raw import RawStack
from fastlstm._system.runtime import MAX_THREADS

# The kinds of numbers that the kernels have on the host, and how many bytes each takes.
BYTES = {torch.float32: 4, torch.float64: 8}


class Options(NamedTuple):
    """The options of a module that say what it computes; `mode` is the one that PyTorch has for it."""

    mode: str
    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    bidirectional: bool
    proj_size: int = 0
    variant: str = "vanilla"
    peephole: bool = False
    layer_norm: bool = False

    @property
    def has_c(self) -> bool:
        """Return whether the state is h and c, or h alone."""
        return self.mode == "LSTM"

    @property
    def directions(self) -> int:
        """D: 2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """P: values that each direction gives."""
        return self.proj_size or self.hidden_size

    @property
    def state_shapes(self) -> tuple[tuple[int, int], ...]:
        """Return the first and the last axis of each part of the state, between which there is the batch."""
        cells, sizes = self.num_layers * self.directions, (self.output_size, self.hidden_size)
        return tuple([(cells, size) for size in sizes[: 2 if self.has_c else 1]])

    def beyond_pytorch(self) -> str | None:
        """Return the first option that PyTorch's modules lack, as it is written; None without one."""
        if self.variant not in ("vanilla", "NP"):
            return f"variant={self.variant!r}"
        return "peephole=True" if self.peephole else "layer_norm=True" if self.layer_norm else None


class Description:
    """What a module computes, and what follows from it; `describe` makes it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.input_size, self.num_layers, self.has_c = options.input_size, options.num_layers, options.has_c
        self.directions, self.output_size = options.directions, options.output_size
        self.outputs = self.directions * self.output_size
        self.cells = self.num_layers * self.directions
        self.state_shapes = options.state_shapes
        self.cell = self._find_cell()
        self.weight_shapes = self._find_shapes()
        self.per_layer = len(self.weight_shapes) // self.cells
        self._stacks: dict[torch.dtype, RawStack] = {}

    def _find_cell(self) -> Cell:
        mode = self.options.mode
        if mode == "LSTM":
            return lstm_cell(self.options.variant, layer_norm=self.options.layer_norm)
        return gru_cell() if mode == "GRU" else rnn_cell(mode.removeprefix("RNN_").lower())

    def _find_shapes(self) -> list[tuple[int, ...]]:
        """Return the shapes of all weights, in the order of PyTorch's flat weights."""
        own, P, shapes = self.options, self.output_size, []
        H, units = own.hidden_size, self.cell.gates * own.hidden_size
        for layer in range(own.num_layers):
            shapes += self.directions * [
                (units, self.outputs if layer else own.input_size),
                (units, P),
                *[(units,)] * (2 * own.bias),
                *[(P, H)] * (own.proj_size > 0),
                *[(self.cell.gates - 1, H)] * own.peephole,
                *[(self.cell.kernel.norm_rows, H)] * own.layer_norm,
            ]
        return shapes

    def stack(self, dtype: torch.dtype) -> RawStack:
        """Return the kernels for it."""
        found = self._stacks.get(dtype)
        if found is None:
            own = self.options
            found = self._stacks[dtype] = RawStack(
                self.cell.kernel, own.num_layers, self.directions, own.input_size, own.hidden_size, own.proj_size,
                own.bias, own.peephole, own.layer_norm, own.mode == "GRU", BYTES[dtype],
            )  # fmt: skip
        return found


@functools.lru_cache(256)
def describe(*options: Any) -> Description:
    """Return what `Options` of these describe, always the same object."""
    return Description(Options(*options))


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _threads() -> int:
    """Return how many threads PyTorch uses: the kernels do not run beside its own, but in turns with them."""
    return min(torch.get_num_threads(), MAX_THREADS)


def _sizes(x: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
    """Return T, B and the number of rows."""
    if batch_sizes is None:
        T, B, _ = x.shape
        return T, B, T * B
    return len(batch_sizes), int(batch_sizes[0]), len(x)


def _state(
    own: Description, x: Tensor, B: int, h: Tensor | None = None, c: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return new tensors for a state; like another one, that is done sooner."""
    h = x.new_empty((own.cells, B, own.output_size)) if h is None else torch.empty_like(h)
    if own.has_c:
        c = x.new_empty((own.cells, B, own.options.hidden_size)) if c is None else torch.empty_like(c)
    return h, c


def run_forward(
    own: Description, x: Tensor, h0: Tensor | None, c0: Tensor | None, weights: Sequence[Tensor],
    masks: Tensor | None, batch_sizes: Tensor | None, keep: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:  # fmt: skip
    """Return y, the last state, whose c is None but for an LSTM, and with `keep` the tape.

    x is (T, B, I), or (rows, I) with batch sizes; without an initial state it is zeros. All tensors are contiguous.
    """
    stack = own.stack(x.dtype)
    T, B, rows = _sizes(x, batch_sizes)
    y = x.new_empty((*x.shape[:-1], own.outputs))
    h, c = _state(own, x, B, h0, c0)
    tape = x.new_empty(stack.tape_size(rows, B)) if keep else None
    if not rows:  # A batch of none has empty results, and these no address.
        return y, h, c, tape
    stack.forward(
        T, B, rows, _address(batch_sizes), x.data_ptr(), _address(h0), _address(c0), [w.data_ptr() for w in weights],
        _address(masks), y.data_ptr(), h.data_ptr(), _address(c), _address(tape), _threads(),
    )  # fmt: skip
    return y, h, c, tape


def run_backward(
    own: Description, dy: Tensor | None, dh: Tensor | None, dc: Tensor | None, x: Tensor, weights: Sequence[Tensor],
    masks: Tensor | None, batch_sizes: Tensor | None, tape: Tensor, to_x: bool, to_weights: Sequence[bool],
) -> tuple[Tensor | None, Tensor, Tensor | None, list[Tensor | None]]:  # fmt: skip
    """Return the gradients of x, unless it needs none, of h0, of c0 and of the weights, None where none is needed."""
    T, B, rows = _sizes(x, batch_sizes)
    n = own.per_layer
    dx = torch.empty_like(x) if to_x else None
    dh0, dc0 = _state(own, x, B)
    gradients: list[Tensor | None] = []
    for k in range(0, len(weights), n):
        needed = any(to_weights[k : k + n])
        gradients += [torch.empty_like(w) if needed else None for w in weights[k : k + n]]
    if not rows:
        return dx, dh0, dc0, [torch.zeros_like(w) if to else None for w, to in zip(weights, to_weights, strict=True)]
    own.stack(x.dtype).backward(
        T, B, rows, _address(batch_sizes), x.data_ptr(), [w.data_ptr() for w in weights], _address(masks),
        tape.data_ptr(), _address(dy), _address(dh), _address(dc), _address(dx), dh0.data_ptr(), _address(dc0),
        [_address(g) for g in gradients], _threads(),
    )  # fmt: skip
    return dx, dh0, dc0, [g if needed else None for g, needed in zip(gradients, to_weights, strict=True)]
