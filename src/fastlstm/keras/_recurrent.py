"""Recurrent layers of Keras as ours, and back: their options, and their arrays, whose blocks have another order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import fastlstm
from fastlstm._arrays.arrays import Array
from fastlstm._cells.cell import Activation
from fastlstm.keras._models import snake_case
from fastlstm.keras._options import Layer
from fastlstm.keras._weights import Part

Recurrent = fastlstm.LSTM | fastlstm.GRU | fastlstm.RNN

# How many blocks the arrays of each cell have.
BLOCKS = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
_CELLS = {f"{kind}Cell": kind for kind in BLOCKS}
# The cells above each other in one layer.
MOST_CELLS = 256
# The options of a layer that its cell lacks, and of the layer `RNN` around a cell.
_OF_SEQUENCES = ("return_sequences", "go_backwards")


class Cell(NamedTuple):
    """What a cell of Keras computes.

    Attributes
    ----------
    kind : "LSTM", "GRU" or "SimpleRNN"
        Which cell.
    units : int
        H.
    use_bias : bool
        Whether it has biases.
    activations : tuple
        Those of the gates and of the candidate; of a SimpleRNN the one that it has.
    reset_after : bool
        Of a GRU.
    """

    kind: str
    units: int
    use_bias: bool
    activations: tuple[Activation, ...]
    reset_after: bool = False

    @property
    def roles(self) -> tuple[str, ...]:
        """Return what its arrays are."""
        return ("kernel", "recurrent_kernel", *["bias"] * self.use_bias)


def cell_of(layer: Layer, *known: str) -> Cell:
    """Return what a recurrent layer, or a cell, computes; `known` are further options that have been looked at."""
    kind = _CELLS.get(layer.kind, layer.kind)
    gates = () if kind == "SimpleRNN" else (layer.activation("recurrent_activation", gates=True),)
    activation = layer.activation("activation")
    # The first versions of Keras have GRUs without the option, which reset before the product.
    after = layer.flag("reset_after") if kind == "GRU" else False
    layer.check("units", "activation", "recurrent_activation", "use_bias", "reset_after", *known)
    return Cell(kind, layer.integer("units"), layer.flag("use_bias", True), (*gates, activation), after)


def is_cell(kind: str) -> bool:
    """Return whether a class is one of the cells that are known."""
    return kind in _CELLS


def check_order(layer: Layer) -> None:
    """Raise Refused for a layer that runs backwards."""
    if layer.flag("go_backwards"):
        raise layer.refused(
            "go_backwards=True is not here, but in Bidirectional: lstm_forward(..., reverse=True) and its kind run "
            "backwards"
        )
    if layer.config.get("time_major"):
        raise layer.refused("time_major=True is not here")


# ---- one layer for each class of Keras's ----


class Plan(NamedTuple):
    """What a recurrent layer of Keras consists of: cells, one above the other, or of two directions."""

    cells: tuple[Cell, ...]
    parts: tuple[Part, ...]
    # None for cells above each other.
    merge: str | None = None


def plan(layer: Layer) -> Plan:
    """Return what a recurrent layer consists of."""
    if layer.kind == "Bidirectional":
        return _bidirectional(layer)
    check_order(layer)
    if layer.kind != "RNN":
        cell = cell_of(layer, *_OF_SEQUENCES)
        return Plan((cell,), (Part(cell.roles, "cell"),))
    return _of_cells(layer)


def _of_cells(layer: Layer) -> Plan:
    """Return the plan of an RNN with one cell, or with cells above each other."""
    layer.check("cell", *_OF_SEQUENCES)
    inner = layer.within(layer.config.get("cell"), "cell")
    if is_cell(inner.kind):
        cell = cell_of(inner)
        return Plan((cell,), (Part(cell.roles, "cell"),))
    if inner.kind != "StackedRNNCells":
        raise layer.refused(f"cell is a {inner.kind!r:.60}, which is not here")
    inner.check("cells")
    described = inner.config.get("cells")
    if not isinstance(described, list) or not 1 <= len(described) <= MOST_CELLS:
        raise layer.wrong(f"its stack must have 1 to {MOST_CELLS} cells")
    cells, parts, before = [], [], Counter[str]()
    for entry in described:
        own = layer.within(entry, "a cell")
        if not is_cell(own.kind):
            raise layer.refused(f"a cell is a {own.kind!r:.60}, which is not here")
        cells.append(cell_of(own))
        snake = snake_case(own.kind)
        inside = (str(own.config.get("name")),) if len(described) > 1 else ()
        parts.append(Part(cells[-1].roles, f"cell/cells/{snake}", before[snake], inside))
        before[snake] += 1
    return Plan(tuple(cells), tuple(parts))


def _bidirectional(layer: Layer) -> Plan:
    """Return the plan of two directions, which must be alike."""
    layer.check("merge_mode", "layer", "backward_layer")
    merge = layer.config.get("merge_mode", "concat")
    if merge not in ("concat", "sum", "ave"):
        raise layer.refused(f"merge_mode={merge!r:.40} is not here: concat, sum and ave are")
    forward = layer.within(layer.config.get("layer"), "layer")
    name = str(forward.config.get("name"))
    names = [f"forward_{name}", name] if name.startswith("forward_") else [f"forward_{name}"]
    others = [f"backward_{name.removeprefix('forward_')}"]
    backward = forward
    if layer.config.get("backward_layer") is not None:
        backward = layer.within(layer.config["backward_layer"], "backward_layer")
        other = str(backward.config.get("name"))
        others = [f"backward_{other}", other]
        if not backward.flag("go_backwards"):
            raise layer.refused("backward_layer must have go_backwards=True")
    for own in (forward, backward):
        if own.kind not in BLOCKS:
            raise layer.refused(f"its layer is a {own.kind!r:.60}, which is not here")
    check_order(forward)
    cells = [cell_of(forward, *_OF_SEQUENCES)]
    cells.append(cells[0] if backward is forward else cell_of(backward, *_OF_SEQUENCES))
    for what in ("kind", "units", "activations", "reset_after"):
        if getattr(cells[0], what) != getattr(cells[1], what):
            raise layer.refused(f"its two directions must have the same {what}")
    if forward.flag("return_sequences") != backward.flag("return_sequences"):
        raise layer.wrong("its two directions must both return sequences, or both not")
    if forward.flag("trainable", True) != backward.flag("trainable", True):
        raise layer.refused("one of its two directions is frozen: both must be, or none")
    parts = (
        Part(cells[0].roles, "forward_layer/cell", None, tuple(names)),
        Part(cells[1].roles, "backward_layer/cell", None, tuple(others)),
    )
    return Plan(tuple(cells), parts, merge)


def returns_sequences(layer: Layer) -> bool:
    """Return whether a recurrent layer returns the outputs of all steps."""
    if layer.kind == "Bidirectional":
        return layer.within(layer.config.get("layer"), "layer").flag("return_sequences")
    return layer.flag("return_sequences")


# ---- arrays ----


def made(layer: Layer, cells: Sequence[Cell], arrays: Sequence[Mapping[str, Array]], dtype: Any) -> Recurrent:
    """Return a layer with the arrays of one direction or two."""
    first = cells[0]
    for cell, own in zip(cells, arrays, strict=True):
        _check_shapes(layer, cell, own, len(arrays[0]["kernel"]) if arrays[0]["kernel"].ndim else 0)
    gates, g = first.activations[0], first.activations[-1]
    options: dict[str, Any] = {"bidirectional": len(cells) == 2, "dtype": dtype}
    sizes = len(arrays[0]["kernel"]), first.units
    ours: Recurrent
    if first.kind == "LSTM":
        usual = (gates, g) == ("logistic", "tanh")
        ours = fastlstm.LSTM(*sizes, peephole=False, activations=None if usual else (gates, g, g), **options)
    elif first.kind == "GRU":
        usual = (gates, g) == ("logistic", "tanh")
        activations = None if usual else (gates, g)
        ours = fastlstm.GRU(*sizes, reset_after=first.reset_after, activations=activations, **options)
    else:
        ours = fastlstm.RNN(*sizes, **options | {"nonlinearity": g})
    for suffix, own in zip(("_l0", "_l0_reverse"), arrays, strict=False):
        order = block_order(first.kind, first.units)
        ours.params["W" + suffix][:] = own["kernel"].T[order]
        ours.params["R" + suffix][:] = own["recurrent_kernel"].T[order]
        _set_biases(ours, suffix, first, own.get("bias"), order)
    return ours


def block_order(kind: str, units: int) -> Any:
    """Return where the rows of our blocks are among Keras's, and the other way round: of a GRU z, r, h and r, z, n."""
    H = units
    return np.r_[H : 2 * H, :H, 2 * H : 3 * H] if kind == "GRU" else np.arange(BLOCKS[kind] * H)


def _set_biases(ours: Recurrent, suffix: str, cell: Cell, bias: Array | None, order: Any) -> None:
    """Set the biases: of a GRU that resets after the product, two rows, which add up but for the candidate's."""
    own, inner = ours.params["b" + suffix], ours.params.get("bn" + suffix)
    if bias is None:
        own[:] = 0
        if inner is not None:
            inner[:] = 0
        return
    if inner is None:
        own[:] = bias[order]
        return
    last = slice(2 * cell.units, None)
    inner[:] = bias[1, last]
    total = bias[0] + bias[1]
    total[last] = bias[0, last]
    own[:] = total[order]


def _check_shapes(layer: Layer, cell: Cell, arrays: Mapping[str, Array], inputs: int) -> None:
    columns = BLOCKS[cell.kind] * cell.units
    expected: dict[str, tuple[int, ...]] = {"kernel": (inputs, columns), "recurrent_kernel": (cell.units, columns)}
    expected["bias"] = (2, columns) if cell.kind == "GRU" and cell.reset_after else (columns,)
    for role, array in arrays.items():
        if array.shape != expected[role] or not inputs:
            raise layer.wrong(f"{role} must have shape {expected[role]}, not {array.shape}")


def arrays_of(ours: Recurrent, use_bias: bool) -> list[Array]:
    """Return the arrays of a layer as Keras has them: of each direction, or of each layer of a stack, in turn."""
    kind = {fastlstm.LSTM: "LSTM", fastlstm.GRU: "GRU", fastlstm.RNN: "SimpleRNN"}[type(ours)]
    order, found = block_order(kind, ours.hidden_size), []
    for suffix in ours._names():
        b, inner = ours.params["b" + suffix], ours.params.get("bn" + suffix)
        found += [ours.params["W" + suffix][order].T.copy(), ours.params["R" + suffix][order].T.copy()]
        if not use_bias:
            if b.any() or (inner is not None and inner.any()):
                raise ValueError("use_bias must be True: the layer's biases are not zeros")
        elif inner is None:
            found.append(b[order].copy())
        else:
            both = np.zeros((2, len(b)), b.dtype)
            both[0], both[1, -len(inner) :] = b[order], inner
            found.append(both)
    return found
