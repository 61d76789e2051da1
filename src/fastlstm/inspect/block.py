"""Drawings of one LSTM block with the values of one step: as an electronic circuit, and as in Space Odyssey."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastlstm._arrays.arrays import Array
from fastlstm._cells.kernel import activate
from fastlstm.inspect import _runs, _style
from fastlstm.inspect._canvas import Canvas
from fastlstm.inspect._style import COLOURS, GREY, INK
from fastlstm.inspect.forward import flows
from fastlstm.layers.lstm import LSTM

__all__ = ["BlockValues", "block_values", "draw_block"]


class BlockValues(NamedTuple):
    """The values that one unit's block computes at one step.

    Attributes
    ----------
    i, f, z, o : float
        The gates and the block input, activated.
    c_prev, c : float
        c^{t-1} and c^t.
    kept, new : float
        The two terms of the cell: f^t c^{t-1} and i^t z^t.
    h, y : float
        h(c^t), and the output y^t = o^t h(c^t).
    """

    i: float
    f: float
    z: float
    o: float
    c_prev: float
    c: float
    kept: float
    new: float
    h: float
    y: float


def block_values(
    network: LSTM,
    x: Array,
    t: int,
    unit: int = 0,
    state: Any = None,
    *,
    row: int = 0,
    layer: int = 0,
    direction: int = 0,
) -> BlockValues:
    """Return what one unit's block computes at one step: the values that `draw_block` writes.

    Parameters
    ----------
    network : LSTM
        An LSTM of any variant but FGR, without projection, layer normalisation and zoneout.
    x, state, layer, direction
        The same as for `flows`.
    t, unit, row : int
        The step, hidden unit and row of the batch; numbers below 0 count from the end.

    Returns
    -------
    BlockValues

    Raises
    ------
    TypeError
        If `network` is no `LSTM`, or an argument is not an array of the right dtype.
    ValueError
        If a shape is wrong, there is no such step, unit, row, layer or direction, or the network has what the drawing
        lacks: the gate recurrence of FGR, a projection, layer normalisation, zoneout.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> from fastlstm.inspect import block_values
    >>> lstm = fastlstm.LSTM(3, 8, dtype=np.float64, seed=0)
    >>> result = block_values(lstm, np.ones((20, 4, 3)), t=5)
    >>> bool(np.isclose(result.c, result.f * result.c_prev + result.i * result.z))
    True
    """
    _runs.is_network(network, LSTM)
    _runs.no_zoneout(network, "the drawing of a block")
    if network.variant == "FGR":
        raise ValueError("network must not be of variant FGR: the drawing of a block has no gate recurrence")
    if network.proj_size:
        raise ValueError(
            f"network must have no projection for the drawing of a block, not proj_size={network.proj_size}"
        )
    if network.layer_norm:
        raise ValueError("network must have no layer normalisation for the drawing of a block, not layer_norm=True")
    values = flows(network, x, state, layer=layer, direction=direction)
    T, B, H = values.c.shape
    at = _runs.index("t", t, T), _runs.index("row", row, B), _runs.index("unit", unit, H)
    i, f, z, o, c, y, c_prev = (float(getattr(values, name)[at]) for name in ("i", "f", "z", "o", "c", "y", "c_prev"))
    # h(c) is not on the tape, and where o is 0 the quotient y / o would not give it.
    h = np.array([c])
    activate(network._cell.activations[2], h, h)
    return BlockValues(i, f, z, o, c_prev, c, f * c_prev, i * z, float(h[0]), y)


_SYMBOLS = {"logistic": r"$\sigma$", "hard_logistic": r"hard $\sigma$", "identity": "id"}


def draw_block(
    network: LSTM,
    x: Array,
    t: int,
    unit: int = 0,
    state: Any = None,
    *,
    row: int = 0,
    layer: int = 0,
    direction: int = 0,
) -> Any:
    """Draw one unit's LSTM block at one step, with all its values, in two styles.

    The left drawing is an electronic circuit: time goes from left to right, and the cell is a highway that the gates
    join. The right one follows "LSTM: A Search Space Odyssey": the cell is in the middle, its loop through the forget
    gate beside it. Dashed lines are peepholes. Gates that a variant lacks are empty boxes with the value they stand
    for.

    Parameters
    ----------
    network, x, t, unit, state, row, layer, direction
        The same as for `block_values`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed: it comes with ``fastlstm[plot]``.
    TypeError, ValueError
        The same as by `block_values`.

    References
    ----------
    Greff, Srivastava, Koutnik, Steunebrink, Schmidhuber: "LSTM: A Search Space Odyssey", 2017, figure 1.
    """
    values = block_values(network, x, t, unit, state, row=row, layer=layer, direction=direction)
    figure = _style.figure(15.5, 7.4)
    left, right = figure.subplots(1, 2, width_ratios=[18.4, 12])
    block = _Block(network, values)
    _circuit(Canvas(left, 18.4, 12.4), block)
    _odyssey(Canvas(right, 12, 12.4), block)
    T = x.shape[1 if network.batch_first else 0]
    which = f"unit {_runs.index('unit', unit, network.hidden_size)} at time step t = {_runs.index('t', t, T)}"
    figure.suptitle(f"One LSTM block: {which}", fontsize=14, color=INK)
    note = "dashed: peepholes, to the output gate from $c^t$, to the others from $c^{t-1}$        "
    delay = "dotted arrow: with a delay of one step"
    figure.supxlabel((note if block.peepholes else "") + delay, fontsize=9.5, color=GREY)
    _style.title(left, "as an electronic circuit")
    _style.title(right, "as in “LSTM: A Search Space Odyssey”")
    return figure


class _Block:
    """What a drawing shows: the values, and which gates and peepholes the network has."""

    def __init__(self, network: LSTM, values: BlockValues) -> None:
        self.values = values
        self.blocks = network._cell.blocks
        self.peepholes = [name for name in "ifo" if network.peephole and name in self.blocks]
        names = [g if isinstance(g, str) else g[0] for g in network._cell.activations]
        gates, g, h = (_SYMBOLS.get(name, name) for name in names)
        self.activations = {"i": gates, "f": gates, "o": gates, "z": g, "h": h}
        for name in set("ifo") - set(self.blocks):
            self.activations[name] = "$1 - i^t$" if network.variant == "CIFG" else "1"

    def text(self, symbol: str, name: str) -> str:
        """Return an equation such as f^t = 0.93."""
        return f"{symbol} = " + f"{getattr(self.values, name):z.2f}".replace("-", "\N{MINUS SIGN}")


PEEPHOLE: dict[str, Any] = {"colour": COLOURS["c"], "linestyle": (0, (3, 1.6)), "linewidth": 1.3}


def _circuit(canvas: Canvas, block: _Block) -> None:
    """Draw the block as a circuit: time goes from left to right, and the cell is the line at the top."""
    text, there = block.text, block.blocks
    road, gates, join, x_bus, y_bus = 9.7, 4.2, 7.1, 1.35, 2.15
    canvas.frame(2.1, 0.75, 14.3, 10.6)
    columns = {"f": 4.4, "i": 6.8, "z": 9.1, "o": 11.5}
    middle, squash = (columns["i"] + columns["z"]) / 2, 13.9

    # The highway of the cell.
    canvas.wire((0.2, road), (columns["f"] - 0.3, road), colour=COLOURS["c"], linewidth=3)
    canvas.wire((columns["f"] + 0.3, road), (middle - 0.3, road), colour=COLOURS["c"], linewidth=3)
    canvas.wire((middle + 0.3, road), (18.2, road), colour=COLOURS["c"], linewidth=3)
    canvas.operation(columns["f"], road, "x")
    canvas.operation(middle, road, "+")
    canvas.text(0.15, road + 0.3, text("$c^{t-1}$", "c_prev"), COLOURS["c"])
    canvas.text((columns["f"] + middle) / 2, road + 0.3, text(r"$f^t c^{t-1}$", "kept"), COLOURS["c"], ha="center")
    canvas.text((middle + squash) / 2, road + 0.3, text("$c^t$", "c"), COLOURS["c"], ha="center")

    # The inputs, to each gate that the variant has.
    last = [name for name in columns if name in there][-1]
    for bus, shift, symbol, colour in ((y_bus, 0.25, "$y^{t-1}$", GREY), (x_bus, -0.25, "$x^t$", INK)):
        canvas.wire((0.2, bus), (columns[last] + shift, bus), (columns[last] + shift, gates - 0.58), colour=colour)
        canvas.text(0.15, bus + 0.2, symbol, colour)
    for name in there:
        if name != last:
            for bus, shift, colour in ((y_bus, 0.25, GREY), (x_bus, -0.25, INK)):
                canvas.wire((columns[name] + shift, bus), (columns[name] + shift, gates - 0.58), colour=colour)
                canvas.dot(columns[name] + shift, bus, colour)

    # From the gates to the highway and to the output.
    canvas.wire((columns["f"], gates + 0.58), (columns["f"], road - 0.3), colour=COLOURS["f"])
    canvas.wire((columns["i"], gates + 0.58), (columns["i"], join), (middle - 0.3, join), colour=COLOURS["i"])
    canvas.wire((columns["z"], gates + 0.58), (columns["z"], join), (middle + 0.3, join), colour=COLOURS["z"])
    canvas.wire((middle, join + 0.3), (middle, road - 0.3))
    canvas.operation(middle, join, "x")
    canvas.text(middle + 0.2, (join + road) / 2, text("$i^t z^t$", "new"), va="center")
    out = 6.0
    canvas.wire((columns["o"], gates + 0.58), (columns["o"], out), (squash - 0.3, out), colour=COLOURS["o"])
    canvas.wire((squash, road), (squash, 8.55), colour=COLOURS["c"])
    canvas.dot(squash, road, COLOURS["c"])
    canvas.wire((squash, 7.65), (squash, out + 0.3))
    canvas.circle(squash, 8.1, block.activations["h"], radius=0.45)
    canvas.text(squash + 0.2, 7.1, text("$h(c^t)$", "h"), va="center")
    canvas.wire((squash + 0.3, out), (18.2, out))
    canvas.operation(squash, out, "x")
    canvas.text(16.55, out + 0.25, text("$y^t$", "y"))

    _circuit_peepholes(canvas, block, columns, road, gates, squash)
    for name, column in columns.items():
        canvas.box(column, gates, _style.NAMES[name], block.activations[name], COLOURS[name], name in there)
        canvas.text(column + 0.15, gates + 0.9, text(f"${name}^t$", name), COLOURS[name], va="center")


def _circuit_peepholes(
    canvas: Canvas, block: _Block, columns: dict[str, float], road: float, gates: float, squash: float
) -> None:
    """Draw the peepholes of the circuit."""
    start, turn = 2.7, 5.9
    if "f" in block.peepholes:
        canvas.wire((start, road), (start, gates), (columns["f"] - 0.95, gates), **PEEPHOLE)
    if "i" in block.peepholes:
        entry = columns["i"] - 0.6
        canvas.wire((start, road), (start, turn), (entry, turn), (entry, gates + 0.58), **PEEPHOLE)
    if {"i", "f"} & set(block.peepholes):
        canvas.dot(start, road, COLOURS["c"])
    if "o" in block.peepholes:
        leave = squash - 0.7
        canvas.wire((leave, road), (leave, gates), (columns["o"] + 0.95, gates), **PEEPHOLE)
        canvas.dot(leave, road, COLOURS["c"])


def _odyssey(canvas: Canvas, block: _Block) -> None:
    """Draw the block as in Space Odyssey: the cell is between the block input below and the output above."""
    text, there = block.text, block.blocks
    middle, gate, loop = 6.0, 0.62, 8.3
    z, join, cell, squash, product = 1.85, 3.6, 5.9, 8.1, 9.7
    places = {"i": (2.7, join), "o": (2.7, product), "f": (10.1, cell), "z": (middle, z)}
    canvas.frame(0.9, 0.75, 10.5, 10.6)

    # Upwards: block input, cell, output.
    canvas.wire((middle, z + gate), (middle, join - 0.3), colour=COLOURS["z"])
    canvas.wire((middle, join + 0.3), (middle, cell - 0.85))
    canvas.wire((middle, cell + 0.85), (middle, squash - 0.45), colour=COLOURS["c"], linewidth=3)
    canvas.wire((middle, squash + 0.45), (middle, product - 0.3))
    canvas.wire((middle, product + 0.3), (middle, 12.2))
    canvas.operation(middle, join, "x")
    canvas.operation(middle, product, "x")
    canvas.circle(middle, squash, block.activations["h"], radius=0.45)
    canvas.text(middle + 0.25, 11.85, text("$y^t$", "y"), va="center")
    canvas.text(middle + 0.25, (squash + product) / 2 + 0.1, text("$h(c^t)$", "h"), va="center")
    canvas.text(middle + 0.25, 4.15, text("$i^t z^t$", "new"), va="center")

    # The cell, and its loop through the forget gate.
    canvas.circle(middle, cell, "", COLOURS["c"], radius=0.85, linewidth=2.4)
    canvas.text(middle, cell + 0.22, "cell", COLOURS["c"], size=10, ha="center", va="center")
    canvas.text(middle, cell - 0.22, text("$c^t$", "c"), COLOURS["c"], size=9.5, ha="center", va="center")
    lag = {"colour": COLOURS["c"], "linestyle": ":"}
    canvas.curve((middle + 0.62, cell + 0.6), (loop, cell + 0.3), -0.45, **lag)
    canvas.curve((loop, cell - 0.3), (middle + 0.62, cell - 0.6), -0.45, COLOURS["c"])
    canvas.operation(loop, cell, "x")
    canvas.text(loop + 0.1, cell + 1.08, text("$c^{t-1}$", "c_prev"), COLOURS["c"], ha="center", va="center")
    canvas.text(loop - 0.4, cell - 1.2, text("$f^t c^{t-1}$", "kept"), COLOURS["c"], ha="center", va="center")

    # The wires of the gates.
    for name, end in (("i", (middle - 0.3, join)), ("o", (middle - 0.3, product)), ("f", (loop + 0.3, cell))):
        x, y = places[name]
        canvas.wire((x + (gate if x < end[0] else -gate), y), end, colour=COLOURS[name])
    for name in block.peepholes:
        start, end, bend = {
            "i": ((middle - 0.7, cell - 0.5), (places["i"][0] + 0.42, places["i"][1] + 0.48), 0.0),
            "o": ((middle - 0.7, cell + 0.5), (places["o"][0] + 0.3, places["o"][1] - 0.56), 0.0),
            "f": ((middle + 0.35, cell + 0.8), (places["f"][0] - 0.1, cell + gate), -0.5),
        }[name]
        canvas.curve(start, end, bend, PEEPHOLE["colour"], linestyle=PEEPHOLE["linestyle"])
    for name, (x, y) in places.items():
        inside = name in there
        style = {} if inside else {"linestyle": ":"}
        canvas.circle(x, y, "", COLOURS[name], gate, facecolor=COLOURS[name] if inside else "white", **style)
        symbol = block.activations[name]
        canvas.text(x, y, symbol, "white" if inside else COLOURS[name], 12, ha="center", va="center")
        if inside:
            _inputs(canvas, x, y, gate, {"z": (0, -1), "f": (1, 0)}.get(name, (-1, 0)))
    labels = {"i": (2.7, -1.08), "o": (2.7, 1.12), "f": (10.1, -1.08)}
    for name, (x, above) in labels.items():
        y = places[name][1] + above
        canvas.text(x, y + 0.2, f"{_style.NAMES[name]}", COLOURS[name], 9, ha="center", va="center")
        canvas.text(x, y - 0.2, text(f"${name}^t$", name), COLOURS[name], 11, ha="center", va="center")
    canvas.text(middle + 0.85, z + 0.2, _style.NAMES["z"], COLOURS["z"], 9, va="center")
    canvas.text(middle + 0.85, z - 0.2, text("$z^t$", "z"), COLOURS["z"], 11, va="center")


def _inputs(canvas: Canvas, x: float, y: float, radius: float, side: tuple[int, int]) -> None:
    """Draw x^t and y^{t-1} entering a gate from outside the block."""
    away, across = np.array(side), np.array([side[1], side[0]])
    for symbol, shift, colour in (("$x^t$", 0.3, INK), ("$y^{t-1}$", -0.3, GREY)):
        start = np.array([x, y]) + away * (radius + 1.0) + across * shift
        end = np.array([x, y]) + away * np.sqrt(radius**2 - 0.3**2) + across * shift
        canvas.wire(tuple(start), tuple(end), colour=colour, linewidth=1.4)
        at = start + 0.1 * away
        ha, va = {-1: "right", 0: "center", 1: "left"}[side[0]], "top" if side[1] else "center"
        canvas.text(at[0], at[1], symbol, colour, 10.5, ha=ha, va=va)
