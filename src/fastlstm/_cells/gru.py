"""The GRU as a cell: its state, its tape, its parameters and the names of its deltas and gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from fastlstm._arrays.arrays import Array
from fastlstm._cells.cell import (
    ACTIVATIONS,
    GATE_ACTIVATIONS,
    Activation,
    Cell,
    Parameter,
    Part,
    Sized,
    TapePart,
    checked_activations,
)  # fmt: skip
from fastlstm._cells.kernel import KernelCell


class GRUDeltas(NamedTuple):
    """The deltas of every time step, each (T, B, H): of what goes into the activations of r, z and n, and of h."""

    r: Array
    z: Array
    n: Array
    h: Array


class GRUGradients(NamedTuple):
    """Gradients of a loss J with respect to the arguments of `gru_forward`, shaped as those.

    Attributes
    ----------
    x, W, R, b : array
        dJ/dx and so on.
    bn : array or None
        None where the forward pass had none.
    state : array
        dJ/dh0.
    deltas : GRUDeltas or None
        Where they were asked for.
    """

    x: Array
    W: Array
    R: Array
    b: Array
    bn: Array | None
    state: Array
    deltas: GRUDeltas | None = None


@dataclass(frozen=True)
class GRUCell(Cell):
    """A GRU's equations."""

    name: ClassVar[str] = "GRU"
    state: ClassVar[tuple[Part, ...]] = (Part("h", "P"),)
    tape: ClassVar[tuple[TapePart, ...]] = (
        TapePart("gates", "gates", "kept", "gates H"),
        TapePart("h", "c", "H", wide=True, rows="all"),
        TapePart("h_prev", "y_prev", "K", needs="y_prev"),
        TapePart("h_carried", "c_prev", "H", wide=True, needs="c_prev"),
        TapePart("h0", "h0", "P", rows="initial", needs="h0"),
    )
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("W", ("nH", "I")),
        Parameter("R", ("nH", "P")),
        Parameter("b", ("nH",)),
        Parameter("bn", ("H",), optional=True),
    )
    deltas: ClassVar[tuple[Part, ...]] = (Part("gates", "nH"), Part("h", "P"))
    unit_parameter: ClassVar[str] = "bn"

    reset_after: bool = True
    activations: tuple[Activation, ...] = ("logistic", "tanh")
    blocks: str = field(default="rzn", init=False, repr=False, compare=False)
    gates: int = field(default=3, init=False, repr=False, compare=False)
    rows: str = field(default="3H", init=False, repr=False, compare=False)
    kernel: KernelCell = field(init=False, repr=False, compare=False)
    sized: Callable[..., Sized] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        name, kept, p_rows = ("gru", 4, 1) if self.reset_after else ("gru_before", 3, 0)
        gate, g = self.activations
        kernel = KernelCell(name, self.blocks, False, gate, g, "tanh", 0.0, 0.0, kept, p_rows)
        object.__setattr__(self, "kernel", kernel)
        self._keep_sizes()

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.reset_after, self.activations)

    def check_optional(self, given: dict[str, Any]) -> None:
        """Raise unless the parameters that only some variants have are given where this one has them."""
        if self.reset_after and given["bn"] is None:
            raise ValueError("bn must be given with reset_after: a (H,) array")
        if not self.reset_after and given["bn"] is not None:
            raise ValueError("bn must be None without reset_after: it is the bias that r multiplies")

    def named_deltas(self, arrays: list[Array]) -> GRUDeltas:
        """Return the deltas of every step by name, from arrays in the order of `deltas`."""
        every, dh = arrays
        H = dh.shape[-1]
        return GRUDeltas(every[..., :H], every[..., H : 2 * H], every[..., 2 * H :], dh)


def gru_cell(reset_after: bool = True, activations: tuple[Activation, ...] | None = None) -> GRUCell:
    """Return the cell of this form with these activations, once checked: of the gates r and z, and of n."""
    if activations is None:
        return _cell(reset_after, ("logistic", "tanh"))
    return _cell(
        reset_after, checked_activations(activations, "two names: of the gates and g", GATE_ACTIVATIONS, ACTIVATIONS)
    )


@functools.lru_cache
def _cell(reset_after: bool, activations: tuple[Activation, ...]) -> GRUCell:
    return GRUCell(reset_after, activations)
