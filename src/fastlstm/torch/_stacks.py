"""Describe what a module computes: its options, and the sizes, the shapes and the kernels that follow from them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from fastlstm._cells import Cell, gru_cell, lstm_cell, rnn_cell
from fastlstm._engine.raw import RawStack

# The kinds of numbers that the kernels have on the host, and how many bytes each takes.
BYTES = {torch.float32: 4, torch.float64: 8}


class Kept(NamedTuple):
    """The tensors that a forward pass keeps for the backward pass, and the calls that describe them on a GPU."""

    tensors: Sequence[Any]
    calls: Any = None


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


# Functions, since compilers of older versions know no methods of named tuples.


def has_c(own: Options) -> bool:
    """Return whether the state is h and c, or h alone."""
    return own.mode == "LSTM"


def directions(own: Options) -> int:
    """Return D: 2 if bidirectional, else 1."""
    return 2 if own.bidirectional else 1


def output_size(own: Options) -> int:
    """Return P: values that each direction gives."""
    return own.proj_size or own.hidden_size


def state_shapes(own: Options) -> list[tuple[int, int]]:
    """Return the first and the last axis of each part of the state, between which there is the batch."""
    cells = own.num_layers * directions(own)
    return [(cells, output_size(own)), (cells, own.hidden_size)][: 2 if has_c(own) else 1]


def beyond_pytorch(own: Options) -> str | None:
    """Return the first option that PyTorch's modules lack, as it is written; None without one."""
    if own.variant not in ("vanilla", "NP"):
        return f"variant={own.variant!r}"
    return "peephole=True" if own.peephole else "layer_norm=True" if own.layer_norm else None


class Description:
    """The sizes, the shapes and the kernels that follow from a module's options; `describe` makes it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.input_size, self.num_layers, self.has_c = options.input_size, options.num_layers, has_c(options)
        self.directions, self.output_size = directions(options), output_size(options)
        self.outputs = self.directions * self.output_size
        self.cells = self.num_layers * self.directions
        self.state_shapes = state_shapes(options)
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
            if dtype not in BYTES:
                raise TypeError(f"the kernels compute in float32 and float64, not in {dtype}")
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
