"""What distinguishes one cell from another: the variants of the LSTM, activation functions, bounds."""

from __future__ import annotations

import functools
import math
import operator
from dataclasses import dataclass, field
from numbers import Integral

from fastlstm._arrays import checks as check
from fastlstm._engine.loops import Cell

ACTIVATIONS = ("tanh", "relu", "logistic", "identity", "hard_logistic")
GATE_ACTIVATIONS = ("logistic", "hard_logistic")

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
_NAMES = {name.lower(): name for name in BLOCKS}


@dataclass(frozen=True)
class LSTMCell:
    """An LSTM's equations; `kernel` is what the compiled code knows of them."""

    variant: str = "vanilla"
    activations: tuple[str, str, str] = ("logistic", "tanh", "tanh")
    clip: float = 0.0
    cell_clip: float = 0.0
    kernel: Cell = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        kernel = Cell(self.blocks, self.variant == "CIFG", *self.activations, self.clip, self.cell_clip)
        object.__setattr__(self, "kernel", kernel)

    def __reduce__(self) -> tuple[object, ...]:
        return lstm_cell, (self.variant, self.activations, self.clip, self.cell_clip)

    @property
    def blocks(self) -> str:
        """The letters of the blocks of W, R and b, in their order."""
        return BLOCKS[self.variant]

    @property
    def gates(self) -> int:
        """How many blocks there are."""
        return len(self.blocks)

    @property
    def peepholes(self) -> str:
        """The letters of the rows of p."""
        return self.blocks.replace("z", "")

    @property
    def full_recurrence(self) -> bool:
        """Whether each gate sees the gates of the step before."""
        return self.variant == "FGR"


def bound(name: str, value: object) -> float | None:
    """`value` as a number of Python's if it is a bound of values around 0; None stays None, for no bound."""
    if value is None:
        return None
    found = check.number_or_nan(name, value)
    if not 0 < found < math.inf:
        raise ValueError(f"{name} must be None or a positive number, not {value!r}")
    return operator.index(value) if isinstance(value, Integral) else found


def lstm_cell(
    variant: str = "vanilla",
    activations: tuple[str, str, str] | None = None,
    clip: float | None = None,
    cell_clip: float | None = None,
) -> LSTMCell:
    """The cell that these arguments describe, once they are checked; bounds are from `bound`, or 0 for none."""
    if not isinstance(variant, str) or variant.lower() not in _NAMES:
        raise ValueError(f"variant must be one of {', '.join(BLOCKS)}, not {variant!r}")
    variant = _NAMES[variant.lower()]
    if activations is None:
        usual = ("logistic", "identity" if variant == "NIAF" else "tanh", "identity" if variant == "NOAF" else "tanh")
    else:
        if not isinstance(activations, tuple) or len(activations) != 3:
            raise ValueError(f"activations must be a tuple of three names: of the gates, g and h, not {activations!r}")
        for name, allowed in zip(activations, (GATE_ACTIVATIONS, ACTIVATIONS, ACTIVATIONS), strict=True):
            if name not in allowed:
                raise ValueError(f"activations must be of {', '.join(allowed)}, not {name!r}")
        usual = activations
    return _cell(variant, usual, float(clip or 0), float(cell_clip or 0))


@functools.lru_cache
def _cell(variant: str, activations: tuple[str, str, str], clip: float, cell_clip: float) -> LSTMCell:
    return LSTMCell(variant, activations, clip, cell_clip)


@dataclass(frozen=True)
class RNNCell:
    """The simple RNN's equation."""

    nonlinearity: str = "tanh"
    kernel: Cell = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", Cell(None, False, "logistic", self.nonlinearity, "tanh", 0.0, 0.0))

    def __reduce__(self) -> tuple[object, ...]:
        return rnn_cell, (self.nonlinearity,)

    gates = 1
    full_recurrence = False


@functools.cache
def rnn_cell(nonlinearity: str = "tanh") -> RNNCell:
    """The cell with this activation function."""
    if nonlinearity not in ACTIVATIONS[:4]:
        raise ValueError(f"nonlinearity must be one of {', '.join(ACTIVATIONS[:4])}, not {nonlinearity!r}")
    return RNNCell(nonlinearity)
