"""The LSTM as a cell: its variants, its state, its tape, its parameters and the names of its deltas and gradients."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, ClassVar, NamedTuple

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm._cells.cell import Activation, Cell, Parameter, Part, Sized, TapePart
from fastlstm._cells.kernel import KernelCell

BLOCKS = {
    "vanilla": "ifzo",
    "NIG": "fzo",
    "NFG": "izo",
    "NOG": "ifz",
    "NIAF": "ifzo",
    "NOAF": "ifzo",
    "NP": "ifzo",
    "CIFG": "izo",
    "FGR": "ifzo",
}
"""The variants of "LSTM: A Search Space Odyssey", and which gate blocks each has."""


class LSTMDeltas(NamedTuple):
    r"""The deltas of every time step, each (T, B, H) (y: as y).

    i, f, z and o are with respect to the values before activation: :math:`\delta\bar{i}^t` to
    :math:`\delta\bar{o}^t`. Those of gates that the variant lacks are None.
    """

    i: Array | None
    f: Array | None
    z: Array | None
    o: Array | None
    c: Array
    y: Array


class LSTMGradients(NamedTuple):
    """Gradients of a loss J with respect to the arguments of `lstm_forward`, shaped as those.

    Attributes
    ----------
    x, W, R, b : array
        dJ/dx and so on.
    p, G, proj, norm : array or None
        None where the forward pass had none.
    state : (h0, c0), for FGR (h0, c0, g0)
        dJ/d(initial state).
    deltas : LSTMDeltas or None
        Where they were asked for.
    """

    x: Array
    W: Array
    R: Array
    b: Array
    p: Array | None
    state: tuple[Array, ...]
    G: Array | None = None
    proj: Array | None = None
    deltas: LSTMDeltas | None = None
    norm: Array | None = None


@dataclass(frozen=True)
class LSTMCell(Cell):
    """An LSTM's equations."""

    name: ClassVar[str] = "LSTM"
    state: ClassVar[tuple[Part, ...]] = (Part("h", "P"), Part("c", "H", wide=True))
    tape: ClassVar[tuple[TapePart, ...]] = (
        TapePart("gates", "gates", "kept", "gates H"),
        TapePart("c", "c", "H", wide=True, rows="all"),
        TapePart("y_prev", "y_prev", "K", needs="y_prev"),
        TapePart("c_prev", "c_prev", "H", wide=True, needs="c_prev"),
        TapePart("m", "m", "H", needs="proj"),
        TapePart("h0", "h0", "P", rows="initial", needs="h0"),
    )
    has_c: ClassVar[bool] = True
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("W", ("nH", "I")),
        Parameter("R", ("nH", "P")),
        Parameter("b", ("nH",)),
        Parameter("p", ("n - 1", "H"), optional=True),
        Parameter("norm", ("2n + 2", "H"), optional=True),
        Parameter("proj", ("P", "H"), optional=True),
    )
    deltas: ClassVar[tuple[Part, ...]] = (Part("gates", "nH"), Part("y", "P"), Part("c", "H", wide=True))

    # The cell's name in _c/cells.def.
    kernel_name: ClassVar[str] = "lstm"

    variant: str = "vanilla"
    activations: tuple[Activation, ...] = ("logistic", "tanh", "tanh")
    clip: float = 0.0
    cell_clip: float = 0.0
    layer_norm: bool = False
    fast: bool = False
    blocks: str = field(init=False, repr=False, compare=False)
    gates: int = field(init=False, repr=False, compare=False)
    rows: str = field(init=False, repr=False, compare=False)
    kernel: KernelCell = field(init=False, repr=False, compare=False)
    sized: Callable[..., Sized] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", BLOCKS[self.variant])
        object.__setattr__(self, "gates", len(self.blocks))
        object.__setattr__(self, "rows", f"{self.gates}H")
        name, kept, norm_rows = self.kernel_name, self.gates, 0
        if self.layer_norm:
            name, kept, norm_rows = "lstm_norm", 3 * self.gates + 1, 2 * self.gates + 2
        gate, g, h = self.activations
        kernel = KernelCell(
            name, self.blocks, self.variant == "CIFG", gate, g, h, self.clip, self.cell_clip, kept,
            norm_rows=norm_rows, fast=self.fast,
        )  # fmt: skip
        object.__setattr__(self, "kernel", kernel)
        self._keep_sizes()

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.variant, self.activations, self.clip, self.cell_clip, self.layer_norm, self.fast)

    @property
    def peepholes(self) -> str:
        """Return the letters of the rows of p."""
        return self.blocks.replace("z", "")

    def check_optional(self, given: dict[str, Any]) -> None:
        """Raise unless the parameters that only some variants have are given where this one has them."""
        if self.variant == "NP" and given["p"] is not None:
            raise ValueError("p must be None with variant NP, which has no peepholes")
        if self.layer_norm and given["norm"] is None:
            rows = self.kernel.norm_rows
            raise ValueError(f"norm must be given: a ({rows}, H) array, since the forward pass had layer normalisation")
        if not self.layer_norm and given["norm"] is not None:
            raise ValueError("norm must be None: the forward pass had no layer normalisation")
        if given["G"] is not None:
            raise ValueError(f"G must be None with variant {self.variant}: only FGR has it")

    def hint_for_state(self, count: int) -> str:
        """Return why a state of `count` parts is not one of this cell's, for a message."""
        return f": variant {self.variant} has no gates in its state" if count == 3 else ""

    def named_deltas(self, arrays: list[Array]) -> LSTMDeltas:
        """Return the deltas of every step by name, from arrays in the order of `deltas`."""
        every, dy, dc = arrays
        H = dc.shape[-1]
        of = {name: every[..., k * H : (k + 1) * H] for k, name in enumerate(self.blocks)}
        return LSTMDeltas(of.get("i"), of.get("f"), of.get("z"), of.get("o"), dc, dy)


def checked_clip(name: str, value: object) -> float | None:
    """Return `value` as a number of Python's if values can be clipped to it; None, for no clipping, stays None."""
    if value is None:
        return None
    number = check.number_or_nan(name, value)
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be None or a positive number, not {value!r}")
    return operator.index(value) if isinstance(value, Integral) else number
