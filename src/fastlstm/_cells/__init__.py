"""The table of cells: a file for each, and here the one that a layer's or a function's arguments describe."""

from __future__ import annotations

import functools

from fastlstm._cells.cell import ACTIVATIONS, GATE_ACTIVATIONS, Activation, Cell, Part, State, checked_activations
from fastlstm._cells.fgr import FGRCell
from fastlstm._cells.gru import GRUCell, gru_cell
from fastlstm._cells.lstm import BLOCKS, LSTMCell, checked_clip
from fastlstm._cells.rnn import RNNCell, rnn_cell

__all__ = [
    "BLOCKS", "Activation", "Cell", "GRUCell", "LSTMCell", "Part", "RNNCell", "State", "checked_clip", "gru_cell",
    "lstm_cell", "rnn_cell",
]  # fmt: skip

_VARIANTS = {name.lower(): name for name in BLOCKS}
_CELLS: dict[str, type[LSTMCell]] = dict.fromkeys(BLOCKS, LSTMCell) | {"FGR": FGRCell}


def lstm_cell(
    variant: str = "vanilla",
    activations: tuple[Activation, ...] | None = None,
    clip: float | None = None,
    cell_clip: float | None = None,
    layer_norm: bool = False,
) -> LSTMCell:
    """Return the cell that these arguments describe, once checked; `checked_clip` gives the last two, or 0 for none."""
    if not isinstance(variant, str) or variant.lower() not in _VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(BLOCKS)}, not {variant!r}")
    variant = _VARIANTS[variant.lower()]
    chosen: tuple[Activation, ...]
    if activations is None:
        chosen = ("logistic", "identity" if variant == "NIAF" else "tanh", "identity" if variant == "NOAF" else "tanh")
    else:
        chosen = checked_activations(
            activations, "three names: of the gates, g and h", GATE_ACTIVATIONS, ACTIVATIONS, ACTIVATIONS
        )
    if variant == "FGR" and layer_norm:
        raise ValueError("variant must not be FGR with layer normalisation: there are no equations for both")
    return _cell(variant, chosen, float(clip or 0), float(cell_clip or 0), layer_norm)


@functools.lru_cache
def _cell(
    variant: str, activations: tuple[Activation, ...], clip: float, cell_clip: float, layer_norm: bool
) -> LSTMCell:  # fmt: skip
    return _CELLS[variant](variant, activations, clip, cell_clip, layer_norm)
