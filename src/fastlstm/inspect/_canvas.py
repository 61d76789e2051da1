"""A matplotlib panel with methods that draw the parts of an LSTM block."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlstm.inspect import _style
from fastlstm.inspect._style import INK

Point = tuple[float, float]


class Canvas:
    """A panel to draw on, with methods for the parts of a block; lengths are in units of its own width and height."""

    def __init__(self, axis: Any, width: float, height: float) -> None:
        self.axis = axis
        self.patches, self.effects = _style.matplotlib("patches"), _style.matplotlib("patheffects")
        axis.set(xlim=(0, width), ylim=(0, height), aspect="equal")
        axis.axis("off")

    def frame(self, x: float, y: float, width: float, height: float) -> None:
        """Draw the outline of the block."""
        self.axis.add_patch(self.patches.FancyBboxPatch(
            (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.5", facecolor="#f7f8fa", edgecolor="#c9cdd3",
            linewidth=1.2, zorder=0,
        ))  # fmt: skip

    def wire(self, *points: Point, colour: str = INK, arrow: bool = True, **style: Any) -> None:
        """Draw a line through points, with a gap where it crosses earlier lines."""
        line = {"linewidth": 1.6, "zorder": 2} | style
        gap = [self.effects.Stroke(linewidth=line["linewidth"] + 3.5, foreground="#f7f8fa"), self.effects.Normal()]
        xs, ys = zip(*points, strict=True)
        self.axis.plot(xs, ys, color=colour, solid_capstyle="butt", path_effects=gap, **line)
        if arrow:
            self.head(points[-2], points[-1], colour)

    def head(self, start: Point, end: Point, colour: str) -> None:
        """Draw the head of an arrow."""
        to, back = np.array(end), np.array(end) - np.array(start)
        back = back / np.hypot(*back)
        side = np.array([-back[1], back[0]])
        corners = [to, to - 0.3 * back + 0.13 * side, to - 0.3 * back - 0.13 * side]
        self.axis.add_patch(self.patches.Polygon(corners, closed=True, color=colour, linewidth=0, zorder=3))

    def curve(self, start: Point, end: Point, bend: float, colour: str, **style: Any) -> None:
        """Draw a bent arrow."""
        self.axis.add_patch(self.patches.FancyArrowPatch(
            start, end, connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>,head_length=5,head_width=2.4", color=colour,
            shrinkA=0, shrinkB=0, linewidth=1.6, zorder=2, **style,
        ))  # fmt: skip

    def circle(self, x: float, y: float, text: str, colour: str = INK, radius: float = 0.3, **style: Any) -> None:
        """Draw a node: an operation, or a gate."""
        given = {"facecolor": "white", "edgecolor": colour, "linewidth": 1.6} | style
        self.axis.add_patch(self.patches.Circle((x, y), radius, zorder=4, **given))
        if text:
            self.text(x, y, text, colour, size=9.5, ha="center", va="center")

    def operation(self, x: float, y: float, sign: str) -> None:
        """Draw the sign of a product or a sum, from lines rather than text, so that it sits exactly in the middle."""
        self.circle(x, y, "")
        arm = 0.165
        ends = ((1, 0), (0, 1)) if sign == "+" else ((0.75, 0.75), (0.75, -0.75))
        for a, b in ends:
            self.axis.plot([x - arm * a, x + arm * a], [y - arm * b, y + arm * b], color=INK, linewidth=1.6, zorder=5)

    def box(self, x: float, y: float, name: str, symbol: str, colour: str, there: bool) -> None:
        """Draw a gate with its activation, around a point."""
        width, height = 1.9, 1.15
        self.axis.add_patch(self.patches.FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.18", zorder=4,
            facecolor=colour if there else "white", edgecolor=colour, linestyle="-" if there else ":", linewidth=1.4,
        ))  # fmt: skip
        ink = "white" if there else colour
        self.text(x, y + 0.26, name, ink, size=8.5, ha="center", va="center")
        self.text(x, y - 0.22, symbol, ink, size=12, ha="center", va="center")

    def dot(self, x: float, y: float, colour: str = INK) -> None:
        """Draw a dot where a wire branches."""
        self.axis.add_patch(self.patches.Circle((x, y), 0.1, color=colour, zorder=4))

    def text(self, x: float, y: float, text: str, colour: str = INK, size: float = 11, **style: Any) -> None:
        """Write words or values."""
        self.axis.text(x, y, text, color=colour, fontsize=size, **({"zorder": 6} | style))
