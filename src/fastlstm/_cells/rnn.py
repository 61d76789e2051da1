"""The simple (Elman) RNN as a cell: its state, its tape, its parameters and the names of its deltas and gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

from fastlstm._arrays.arrays import Array
from fastlstm._cells.cell import Activation, Cell, Parameter, Part, Sized, TapePart, checked_activation
from fastlstm._cells.kernel import KernelCell

Nonlinearity = Literal["tanh", "relu", "logistic", "identity", "hard_logistic"] | tuple[str, float, float]


class RNNDeltas(NamedTuple):
    """The deltas of every time step, each (T, B, H): of what goes into g, and of h."""

    a: Array
    h: Array


class RNNGradients(NamedTuple):
    """Gradients of a loss J with respect to the arguments of `rnn_forward`, shaped as those.

    Attributes
    ----------
    x, W, R, b : array
        dJ/dx and so on.
    state : array
        dJ/dh0.
    deltas : RNNDeltas or None
        Where they were asked for.
    """

    x: Array
    W: Array
    R: Array
    b: Array
    state: Array
    deltas: RNNDeltas | None = None


@dataclass(frozen=True)
class RNNCell(Cell):
    """The simple RNN's equation."""

    name: ClassVar[str] = "RNN"
    state: ClassVar[tuple[Part, ...]] = (Part("h", "P"),)
    tape: ClassVar[tuple[TapePart, ...]] = (
        TapePart("h", "gates", "nH"),
        TapePart("h_prev", "y_prev", "K", needs="y_prev"),
        TapePart("h0", "h0", "P", rows="initial", needs="h0"),
    )
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("W", ("nH", "I")),
        Parameter("R", ("nH", "P")),
        Parameter("b", ("nH",)),
    )
    deltas: ClassVar[tuple[Part, ...]] = (Part("a", "nH"), Part("h", "P"))

    nonlinearity: Activation = "tanh"
    fast: bool = False
    blocks: str = field(default="", init=False, repr=False, compare=False)
    gates: int = field(default=1, init=False, repr=False, compare=False)
    rows: str = field(default="H", init=False, repr=False, compare=False)
    kernel: KernelCell = field(init=False, repr=False, compare=False)
    sized: Callable[..., Sized] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        kernel = KernelCell("rnn", None, False, "logistic", self.nonlinearity, "tanh", 0.0, 0.0, fast=self.fast)
        object.__setattr__(self, "kernel", kernel)
        self._keep_sizes()

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.nonlinearity, self.fast)

    def named_deltas(self, arrays: list[Array]) -> RNNDeltas:
        """Return the deltas of every step by name, from arrays in the order of `deltas`."""
        return RNNDeltas(*arrays)


def rnn_cell(nonlinearity: Activation = "tanh") -> RNNCell:
    """Return the cell with this activation function, once checked."""
    return _cell(checked_activation("nonlinearity", nonlinearity))


@functools.lru_cache
def _cell(nonlinearity: Activation) -> RNNCell:
    return RNNCell(nonlinearity)
