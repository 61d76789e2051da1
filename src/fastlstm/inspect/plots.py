"""Pictures of flows, gradients, Jacobians and clipping; `block.py` draws the LSTM block itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm.functions.gru import GRUDeltas
from fastlstm.functions.lstm import LSTMDeltas
from fastlstm.functions.rnn import RNNDeltas
from fastlstm.inspect import _style
from fastlstm.inspect._runs import index
from fastlstm.inspect._style import COLOURS, GREY, GRU_COLOURS, GRU_NAMES, INK, NAMES
from fastlstm.inspect.backward import GradientNorms
from fastlstm.inspect.clipping import Descent
from fastlstm.inspect.forward import GRUFlows, LSTMFlows, RNNFlows
from fastlstm.inspect.jacobians import CellJacobians, HiddenJacobians

__all__ = [
    "plot_clipping",
    "plot_deltas",
    "plot_descents",
    "plot_flows",
    "plot_gradient_norms",
    "plot_jacobian_norms",
]


def plot_flows(flows: LSTMFlows | GRUFlows | RNNFlows, *, row: int = 0) -> Any:
    """Draw gates, cell and output over time, each as a heat map of units and steps.

    Parameters
    ----------
    flows : LSTMFlows, GRUFlows or RNNFlows
        The result of `flows`.
    row : int
        The row of the batch.

    Returns
    -------
    matplotlib.figure.Figure
        ``.savefig("flows.png")`` writes it.

    Raises
    ------
    ImportError
        If matplotlib is not installed: it comes with ``fastlstm[plot]``.
    TypeError, ValueError
        If `flows` is something else, or there is no such row.
    """
    _is("flows", flows, LSTMFlows, GRUFlows, RNNFlows)
    row = index("row", row, flows[0].shape[1])
    colors = _style.matplotlib("colors")
    named, colour_of, gates = (GRU_NAMES, GRU_COLOURS, "rz") if isinstance(flows, GRUFlows) else (NAMES, COLOURS, "ifo")
    # The gates are on the left; what they act on is on the right.
    names: tuple[tuple[str, ...], ...] = (("h",),)
    if isinstance(flows, LSTMFlows):
        names = ("i", "z"), ("f", "c"), ("o", "y")
    elif isinstance(flows, GRUFlows):
        names = ("r", "n"), ("z", "h")
    figure = _style.figure(5.5 * len(names[0]), 0.7 + 2.2 * len(names))
    grid = figure.subplots(len(names), len(names[0]), squeeze=False, sharex=True)
    for axis, name in zip(grid.flat, (name for pair in names for name in pair), strict=True):
        values = getattr(flows, name)[:, row]
        if name in gates:
            colours, norm = _style.ramp(colour_of[name]), colors.Normalize(0, 1)
        else:
            largest = np.abs(values).max(initial=0) or 1
            # The cell is unbounded, and 1 is where tanh begins to saturate.
            norm = colors.AsinhNorm(1, -largest, largest) if name == "c" else colors.Normalize(-largest, largest)
            colours = _style.diverging()
        image = _style.heat_map(axis, values, colours, norm)
        figure.colorbar(image, ax=axis, pad=0.015, aspect=14).ax.tick_params(labelsize=8)
        _style.title(axis, rf"{named[name]} $\mathbf{{{name}}}^t$", colour_of[name])
        axis.set_ylabel("unit", fontsize=9)
    for axis in grid[-1]:
        axis.set_xlabel("time step t", fontsize=9)
    return figure


def plot_deltas(deltas: LSTMDeltas | GRUDeltas | RNNDeltas, *, row: int = 0) -> Any:
    """Draw the deltas of every variable over time, and their norms: they flow from right to left.

    The colour scale is logarithmic on both sides of 0.

    Parameters
    ----------
    deltas : LSTMDeltas, GRUDeltas or RNNDeltas
        The result of `deltas`.
    row : int
        The row of the batch.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed: it comes with ``fastlstm[plot]``.
    TypeError, ValueError
        If `deltas` are something else, or there is no such row.
    """
    _is("deltas", deltas, LSTMDeltas, GRUDeltas, RNNDeltas)
    colour_of = GRU_COLOURS if isinstance(deltas, GRUDeltas) else COLOURS
    order = {LSTMDeltas: "yocfiz", GRUDeltas: "hznr", RNNDeltas: "ha"}[type(deltas)]
    given = {name: array for name in order if (array := getattr(deltas, name)) is not None}
    row = index("row", row, next(iter(given.values())).shape[1])
    drawn = {name: array[:, row].astype(np.float64) for name, array in given.items()}
    largest = max(np.abs(array).max(initial=0) for array in drawn.values()) or 1.0
    norm = _style.matplotlib("colors").SymLogNorm(largest * 1e-4, vmin=-largest, vmax=largest)

    columns = 2 if len(drawn) in (2, 4) else 3
    rows = -(-len(drawn) // columns)
    figure = _style.figure(4 * columns, 2 * rows + 3)
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[*[2] * rows, 2.6])
    axes = [figure.add_subplot(grid[k // columns, k % columns]) for k in range(len(drawn))]
    for axis, (name, array) in zip(axes, drawn.items(), strict=True):
        image = _style.heat_map(axis, array, _style.diverging(), norm)
        _style.title(axis, _delta_label(name), colour_of[name])
        axis.set_ylabel("unit", fontsize=9)
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=30)
    bar.ax.tick_params(labelsize=8)
    bar.set_label(r"$dJ\,/\,d\star^t$", fontsize=9)

    axis = figure.add_subplot(grid[rows, :])
    for name, array in drawn.items():
        norms = _drawable(np.linalg.norm(array, axis=1))
        axis.plot(norms, color=colour_of[name], label=_delta_label(name), linewidth=1.8)
    _style.log_lines(axis)
    axis.margins(x=0.01)
    _style.title(axis, "their norms")
    axis.set(xlabel="time step t", ylabel=r"$\|\delta\star^t\|$")
    axis.legend(frameon=False, fontsize=10, ncols=len(drawn), loc="lower right", bbox_to_anchor=(1, 0.98))
    return figure


def plot_gradient_norms(norms: Mapping[str, GradientNorms]) -> Any:
    """Draw the norms of the gradient over time, one network beside the other.

    Lines are medians over the rows of the batch; bands reach from the smallest to the largest norm.

    Parameters
    ----------
    norms : mapping of str to GradientNorms
        The results of `gradient_norms`, each for a panel with this heading.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed: it comes with ``fastlstm[plot]``.
    TypeError, ValueError
        If `norms` is something else, or empty.
    """
    _each_is("norms", norms, GradientNorms)
    figure, axes = _panels(norms)
    for axis, norm in zip(axes, norms.values(), strict=True):
        hidden = "h" if norm.c is None else "y"
        lines = ((norm.y, hidden), (norm.c, "c"))
        for values, name in ((values, name) for values, name in lines if values is not None):
            steps, colour = np.arange(len(values)), COLOURS[name]
            drawn = _drawable(values)
            axis.fill_between(steps, drawn.min(axis=1), drawn.max(axis=1), color=colour, alpha=0.15, linewidth=0)
            axis.plot(steps, np.median(drawn, axis=1), color=colour, label=rf"$\|dJ/d{name}^t\|$", linewidth=2)
        axis.set_xlabel("time step t", fontsize=10)
        axis.legend(frameon=False, fontsize=11, loc="lower right")
    axes[0].set_ylabel("norm of the gradient", fontsize=10)
    return figure


def plot_jacobian_norms(jacobians: Mapping[str, CellJacobians | HiddenJacobians]) -> Any:
    """Draw the norms of Jacobians over the step k that they reach back to, one network beside the other.

    The panel of an LSTM also shows the product of the forget gates, that of a simple RNN the upper bound of the norms,
    which may be far above them.

    Parameters
    ----------
    jacobians : mapping of str to CellJacobians or HiddenJacobians
        The results of `cell_jacobians` and `hidden_jacobians`, each for a panel with this heading.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed: it comes with ``fastlstm[plot]``.
    TypeError, ValueError
        If `jacobians` are something else, or empty.
    """
    _each_is("jacobians", jacobians, CellJacobians, HiddenJacobians)
    figure, axes = _panels(jacobians)
    for axis, values in zip(axes, jacobians.values(), strict=True):
        if isinstance(values, CellJacobians):
            name, colour, other = "c", COLOURS["f"], values.carousel_norms
            label = r"forget gates alone: $\|\prod_{k<s\leq t}\,\mathrm{diag}(f^s)\|$"
        else:
            name, colour, other = "h", GREY, values.bounds
            label = r"bound: $\|R\|^{t-k}\,\prod_{k<s\leq t}\,\|\mathrm{diag}(g'(a^s))\|$"
        axis.plot(_drawable(other), color=colour, linestyle="--", linewidth=1.6, label=label)
        axis.plot(_drawable(values.norms), color=COLOURS[name], label=rf"$\|d{name}^t/d{name}^k\|$", linewidth=2)
        axis.set_xlabel("time step k", fontsize=10)
        axis.legend(frameon=False, fontsize=9.5, loc="lower right")
    axes[0].set_ylabel("spectral norm", fontsize=10)
    return figure


def plot_clipping(norms: Array, threshold: float, losses: Array) -> Any:
    """Draw the effect of clipping in a training run: the gradient's norm before and after at each step, and the loss.

    Parameters
    ----------
    norms : (n,) array
        The norms before clipping, which `fastlstm.nn.clip_norm` returned.
    threshold : float
        The threshold that it was given.
    losses : (n,) array
        The loss at each step.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed: it comes with ``fastlstm[plot]``.
    TypeError, ValueError
        If `norms` and `losses` are not float arrays of one length, or `threshold` is not a number above 0.
    """
    norms = check.sized("norms", norms, 1, "(n,)")
    losses = check.matching("losses", losses, norms.shape, check.is_array("losses", losses).dtype, "(n,)")
    threshold = check.above_zero("threshold", threshold)
    steps, shortened = np.arange(len(norms)), norms > threshold
    figure = _style.figure(9, 5.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    above.plot(steps, _drawable(norms), color=COLOURS["f"], linewidth=1, label="before clipping")
    above.plot(steps, _drawable(np.minimum(norms, threshold)), color=COLOURS["i"], linewidth=1.4, label="after")
    above.axhline(threshold, color=INK, linewidth=0.9, linestyle=":", label=f"threshold {threshold:g}")
    share = 100 * shortened.mean() if len(norms) else 0
    _style.title(above, f"Norm of the gradient: clipped at {shortened.sum()} of {len(norms)} steps ({share:.0f} %)")
    above.set_ylabel(r"$\|g\|$", fontsize=10)
    below.plot(steps, _drawable(losses), color=COLOURS["c"], linewidth=1)
    _style.title(below, "Loss")
    below.set(xlabel="training step", ylabel="J")
    for axis in (above, below):
        _style.log_lines(axis)
        axis.margins(x=0.01)
    above.legend(frameon=False, fontsize=9, ncols=3, loc="upper right")
    return figure


def plot_descents(
    first: Array, second: Array, surface: Array, descents: Mapping[str, Descent], labels: tuple[str, str]
) -> Any:
    """Draw paths of gradient descent on a loss surface, seen from above, and the norm of the gradient at each step.

    Steps that leave the surface are drawn up to its frame.

    Parameters
    ----------
    first, second : (n,) and (m,) arrays
        The two weights, as for `loss_surface`.
    surface : (m, n) array
        The result of `loss_surface`.
    descents : mapping of str to Descent
        The results of `descend` on the same two weights, each for a panel with this heading.
    labels : (str, str)
        The names of the weights, for the axes.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed: it comes with ``fastlstm[plot]``.
    TypeError, ValueError
        If an array has another shape, or `descents` are something else or empty.

    References
    ----------
    Pascanu, Mikolov, Bengio: "On the difficulty of training recurrent neural networks", 2013, figure 6.
    """
    first, second = check.sized("first", first, 1, "(n,)"), check.sized("second", second, 1, "(m,)")
    shape = (len(second), len(first))
    surface = check.matching("surface", surface, shape, check.is_array("surface", surface).dtype, "(m, n)")
    _each_is("descents", descents, Descent)
    colors = _style.matplotlib("colors")
    figure = _style.figure(1 + 4.6 * len(descents), 7)
    grid = figure.subplots(2, len(descents), squeeze=False, height_ratios=[3, 1.4], sharey="row")
    norm = colors.PowerNorm(0.5, surface.min(), surface.max())  # Colours are finer where the loss is small.
    for (axis, below), (name, path) in zip(grid.T, descents.items(), strict=True):
        image = axis.pcolormesh(first, second, surface, norm=norm, cmap="YlGnBu_r", shading="nearest", rasterized=True)
        axis.plot(*path.weights.T, "-", color="white", linewidth=2.6, alpha=0.8)
        axis.plot(*path.weights.T, "-o", color=COLOURS["f"], linewidth=1.1, markersize=3)
        axis.plot(*path.weights[0], "o", color="white", markeredgecolor=INK, markersize=8)
        axis.set(xlim=first[[0, -1]], ylim=second[[0, -1]], xlabel=labels[0])
        _style.title(axis, name)
        below.plot(_drawable(path.norms), "-o", color=COLOURS["f"], markersize=3, linewidth=1, label="before clipping")
        below.plot(_drawable(path.clipped), "-o", color=COLOURS["i"], markersize=3, linewidth=1, label="step taken")
        _style.log_lines(below)
        below.set_xlabel("step of the descent")
    grid[0, 0].set_ylabel(labels[1])
    grid[1, 0].set_ylabel(r"$\|g\|$")
    grid[1, -1].legend(frameon=False, fontsize=9)
    bar = figure.colorbar(image, ax=grid[0], pad=0.01, aspect=30)
    bar.set_label("loss J")
    return figure


# ---- parts of several plots ----


def _delta_label(name: str) -> str:
    """Return the symbol of a delta."""
    over = rf"\bar{{{name}}}" if name in "ifzorn" else name
    return rf"$\delta {over}^{{\,t}}$"


def _drawable(values: Array) -> Array:
    """Return the values with NaN instead of zeros, which a logarithmic axis cannot show."""
    return np.where(values > 0, values, np.nan)


def _panels(named: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    """Return a figure with a panel for each name, side by side, and one logarithmic scale."""
    figure = _style.figure(1 + 4.8 * len(named), 4.2)
    axes = figure.subplots(1, len(named), sharey=True, squeeze=False)[0]
    for axis, name in zip(axes, named, strict=True):
        _style.log_lines(axis)
        _style.title(axis, name)
        axis.margins(x=0.01)
    return figure, list(axes)


def _is(name: str, value: object, *kinds: type) -> None:
    """Raise TypeError unless the value is of one of these types."""
    if not isinstance(value, kinds):
        *others, last = [kind.__name__ for kind in kinds]
        expected = f"{', '.join(others)} or {last}" if others else last
        raise TypeError(f"{name} must be {expected}, not {type(value).__name__}")


def _each_is(name: str, values: object, *kinds: type) -> None:
    """Raise unless the values are a mapping with at least one item, and each item is of one of these types."""
    if not isinstance(values, Mapping):
        raise TypeError(f"{name} must be a mapping of headings, not {type(values).__name__}")
    if not values:
        raise ValueError(f"{name} must have at least one item")
    for key, value in values.items():
        _is(f"{name}[{key!r}]", value, *kinds)
