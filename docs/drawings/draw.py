"""The drawings of the page "How it works inside": `python docs/drawings/draw.py` writes them beside itself."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from fastlstm.inspect._style import COLOURS, GREY, INK

HERE = Path(__file__).parent
GATES = "ifzo"
PALE = "#f3f4f6"


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Give an empty drawing, a unit for each third of an inch."""
    figure = Figure(figsize=(width / 3, height / 3))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def box(axes: Axes, x: float, y: float, width: float, height: float, colour: str = PALE, text: str = "") -> None:
    """Draw a box, with a text in it."""
    axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor="white", linewidth=1))
    dark = colour not in (PALE, "white")
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=9, color="white" if dark else INK)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = GREY) -> None:
    """Draw an arrow."""
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=10, color=colour, shrinkA=0, shrinkB=0))


def note(axes: Axes, x: float, y: float, text: str, size: float = 9, **options: str) -> None:
    """Write something."""
    axes.text(x, y, text, **({"ha": "left", "va": "center", "fontsize": size, "color": INK} | options))


def panels() -> Figure:
    """Draw how weights are packed, and what a step makes of a panel."""
    figure, axes = canvas(30, 13)
    note(axes, 0.5, 12.3, "R, (4H, H)", 11)
    for k, gate in enumerate(GATES):
        box(axes, 0.5, 9.2 - 2.6 * k, 5, 2.5, PALE)
        box(axes, 0.5, 10.1 - 2.6 * k, 5, 0.8, COLOURS[gate], f"{gate}: units 0 to VL - 1")
    note(axes, 0.5, 0.5, "rows of one vector's units", 8, color=GREY)
    arrow(axes, (5.8, 6.5), (7.3, 6.5))
    note(axes, 6.55, 7.1, "pack", 8, ha="center", color=GREY)

    note(axes, 8, 12.3, "a panel", 11)
    for k in range(6):
        for place, gate in enumerate(GATES):
            box(axes, 8.9 + 1.4 * place, 10.3 - 1.3 * k, 1.3, 1, COLOURS[gate], gate)
        note(axes, 8.6, 10.8 - 1.3 * k, f"k = {k}" if k < 5 else "...", 8, ha="right", color=GREY)
    note(
        axes,
        8,
        2.6,
        "for each k the VL weights of all\nfour gates, one after the other:\nread once, from front to back",
        8,
        color=GREY,
    )
    arrow(axes, (14.8, 6.5), (16.7, 6.5))
    note(axes, 15.75, 7.1, "times x, y", 8, ha="center", color=GREY)

    note(axes, 17, 12.3, "sums in registers", 11)
    for row in range(6):
        for place, gate in enumerate(GATES):
            box(axes, 17 + 1.4 * place, 10.3 - 1.3 * row, 1.3, 1, COLOURS[gate])
        note(axes, 22.8, 10.8 - 1.3 * row, f"row {row}", 8, color=GREY)
    said = "6 batch rows x 4 gates (3 x 4 where\nthere are 16 registers); for each k\n"
    note(axes, 17, 2.6, said + "4 loads, a value of each row,\na multiply-add for each sum", 8, color=GREY)
    arrow(axes, (24.6, 6.5), (26, 6.5))

    for k, text in enumerate(("gates", "cell", "output")):
        box(axes, 26.2, 8.6 - 1.7 * k, 3.4, 1.4, COLOURS["c"], text)
    note(axes, 26.2, 2.9, "the equations, while\nthe sums are near", 8, color=GREY)
    return figure


def blocks() -> Figure:
    """Draw a pass forward, and back in blocks of steps."""
    figure, axes = canvas(30, 11)
    note(axes, 0.5, 10.3, "forward", 11)
    for t in range(12):
        box(axes, 5 + 2 * t, 8.6, 1.6, 1.4, COLOURS["i"], f"t = {t + 1}" if t < 11 else "T")
        if t < 11:
            arrow(axes, (6.6 + 2 * t, 9.3), (7 + 2 * t, 9.3))
        axes.plot([5.8 + 2 * t] * 2, [8.5, 7.7], color=GREY, linewidth=0.8)
    box(axes, 5, 6.7, 23.6, 1, PALE, "tape: gates, cells, outputs before")
    note(axes, 0.5, 5.4, "back", 11)
    for block in range(3):
        left = 5 + 8 * block
        for t in range(4):
            axes.plot([left + 0.8 + 2 * t] * 2, [6.6, 5.6], color=GREY, linewidth=0.8)
            box(axes, left + 2 * t, 4.2, 1.6, 1.4, COLOURS["f"])
            if block or t:
                arrow(axes, (left + 2 * t, 4.9), (left - 0.4 + 2 * t, 4.9))
        number = ("third", "second", "first")[block]
        box(axes, left, 2.7, 7.6, 1.1, PALE, f"{number} block's deltas, in the cache")
        arrow(axes, (left + 3.8, 2.6), (left + 3.8, 1.8))
        box(axes, left, 0.7, 7.6, 1.1, COLOURS["o"], "dW, dR, db, dp +=,  dx =")
    note(axes, 0.5, 1.25, "products", 11)
    return figure


def threads() -> Figure:
    """Draw the two ways to divide the work."""
    figure, axes = canvas(30, 9.4)
    colours = [COLOURS[name] for name in "iz"]
    note(axes, 0.5, 8.7, "by rows of the batch: no thread waits for another", 11)
    note(axes, 16, 8.7, "by hidden units: they meet after each step", 11)
    for t in range(4):
        left = 2 + 3.2 * t
        for part, colour in enumerate(colours):
            box(axes, left, 5 - 2.6 * part, 2.4, 2.4, colour, f"thread {part}" if not t else "")
            if t < 3:
                arrow(axes, (left + 2.4, 6.2 - 2.6 * part), (left + 3.2, 6.2 - 2.6 * part), colour)
        left = 17.5 + 3.2 * t
        for part, colour in enumerate(colours):
            box(axes, left + 1.2 * part, 2.4, 1.15, 5, colour, f"{part}" if not t else "")
        if t < 3:
            axes.plot([left + 2.75] * 2, [2.2, 7.6], color=INK, linewidth=1.4)
            arrow(axes, (left + 2.4, 4.9), (left + 3.2, 4.9))
        for start in (2, 17.5):
            note(axes, start + 1.2 + 3.2 * t, 1.7, f"t = {t + 1}", 8, ha="center", color=GREY)
    note(axes, 1.6, 4.9, "rows", 8, ha="center", va="center", color=GREY, rotation="vertical")
    note(axes, 17.1, 4.9, "rows", 8, ha="center", va="center", color=GREY, rotation="vertical")
    note(axes, 2, 0.7, "each thread reads all weights", 8, color=GREY)
    note(axes, 17.5, 0.7, "each thread reads its own units' weights, and all of y of the step before", 8, color=GREY)
    return figure


def main() -> None:
    """Write all of them."""
    with matplotlib.rc_context({"svg.hashsalt": "fastlstm"}):
        for draw in (panels, blocks, threads):
            draw().savefig(HERE / f"{draw.__name__}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
