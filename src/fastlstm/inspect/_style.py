"""The style of all pictures: how matplotlib is loaded, and the colours of the variables."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastlstm._arrays.arrays import Array

COLOURS: Mapping[str, str] = {
    "i": "#2878b5",
    "f": "#c8402f",
    "z": "#d98e04",
    "o": "#2f8f5b",
    "c": "#6f4aa5",
    "y": "#3a3f47",
    "h": "#3a3f47",
    "a": "#b0487e",
}
# The z of a GRU is another variable than that of an LSTM.
GRU_COLOURS: Mapping[str, str] = {**COLOURS, "r": "#2878b5", "z": "#c8402f", "n": "#d98e04"}
GREY, INK = "#8a9099", "#23272e"
NAMES: Mapping[str, str] = {
    "i": "input gate",
    "f": "forget gate",
    "z": "block input",
    "o": "output gate",
    "c": "cell",
    "y": "output",
    "h": "hidden units",
}
GRU_NAMES: Mapping[str, str] = {**NAMES, "r": "reset gate", "z": "update gate", "n": "candidate"}


def matplotlib(module: str) -> Any:
    """Return a module of matplotlib, which is optional."""
    try:
        return importlib.import_module(f"matplotlib.{module}")
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'fastlstm[plot]'") from error


def figure(width: float, height: float) -> Any:
    """Return an empty figure, with its size in inches.

    It is not one of pyplot: it is drawn with Agg on every machine and leaves no global state.
    """
    return matplotlib("figure").Figure(figsize=(width, height), dpi=110, layout="constrained")


def ramp(colour: str) -> Any:
    """Return colours from white to a variable's own, for values from 0 to 1."""
    return matplotlib("colors").LinearSegmentedColormap.from_list(f"fastlstm {colour}", ["#ffffff", colour])


def diverging() -> Any:
    """Return colours for values on both sides of 0: blue, white, orange."""
    colours = ["#12355b", "#3f7fb5", "#a9cbe3", "#ffffff", "#f6c79b", "#d9782d", "#7a3307"]
    return matplotlib("colors").LinearSegmentedColormap.from_list("fastlstm signed", colours)


def heat_map(axis: Any, values: Array, colours: Any, norm: Any) -> Any:
    """Draw values as a heat map of units over steps."""
    image = axis.imshow(
        values.T.astype(np.float64), aspect="auto", origin="lower", interpolation="nearest", cmap=colours, norm=norm
    )
    for scale in (axis.xaxis, axis.yaxis):
        scale.get_major_locator().set_params(integer=True)
    axis.tick_params(labelsize=8, colors=INK)
    axis.spines[:].set_color("#c9cdd3")
    return image


def log_lines(axis: Any) -> None:
    """Give an axis a logarithmic scale with light rules."""
    axis.set_yscale("log")
    axis.grid(axis="y", color="#e6e8eb", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.tick_params(labelsize=9, colors=INK)


def title(axis: Any, text: str, colour: str = INK) -> None:
    """Write the heading of a panel."""
    axis.set_title(text, fontsize=10, color=colour, loc="left")
