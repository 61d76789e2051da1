"""A network as the C interface describes it: its layers, and the memory that they need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fastlstm import nn
from fastlstm.layers.frozen import Frozen
from fastlstm.layers.gru import GRU
from fastlstm.layers.lstm import LSTM
from fastlstm.layers.network_layer import Signal
from fastlstm.layers.rnn import RNN

# The gate blocks that a variant lacks, which are in no parameter.
LACKING = ("NIG", "NFG", "NOG", "CIFG")

# ---- sizes, as _c/network/plan.c and forward.c lay memory out; a test holds them against the library ----

ALIGNMENT = 64
# The bytes of a vector of the widest instruction set, and the vectors of a panel of one gate.
VECTOR = 64
VECTORS = 4
# The bytes of a plan and of a layer in it, with room for what later versions of the library add.
PLAN = 256
LAYER = 1152
# The rows of values that a step of whole rows needs, FL_MOST_SPACE, and a row for y.
SPACE = 9


def _padded(size: int, unit: int) -> int:
    return -(-size // unit) * unit


@dataclass
class CLayer:
    """A layer of a description in C: the fields of fastlstm_layer that are not 0, and its sizes."""

    kind: str
    inputs: int
    units: int
    directions: int = 1
    fields: dict[str, str] = field(default_factory=dict)
    gates: int = 1
    # The rows of H values that each direction has beside W, R and b: those of p and norm, or bn.
    p_rows: int = 0
    norm_rows: int = 0
    # The constants alpha and beta of hard logistic functions that have their own, by the name of the field.
    constants: dict[str, tuple[float, float]] = field(default_factory=dict)

    def activate(self, which: str, function: Any) -> None:
        """Let a field be an activation function as layers have it: a name, or one with its constants."""
        name, *constants = (function,) if isinstance(function, str) else function
        self.fields[which] = f"FASTLSTM_{name.upper()}"
        if constants:
            self.constants[which] = float(constants[0]), float(constants[1])

    @property
    def outputs(self) -> int:
        """The values that it gives, of both directions."""
        return self.directions * self.units

    @property
    def seen(self) -> int:
        """The columns of R; a dense layer has none."""
        return 0 if self.kind == "DENSE" else self.units

    @property
    def states(self) -> int:
        """The values of a sequence's state: h, and of an LSTM c."""
        return self.directions * self.seen * (2 if self.kind in ("LSTM", "LSTM_NORM") else 1)

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        H, G = self.units, self.gates
        return self.directions * H * (G * (self.inputs + self.seen + 1) + self.p_rows + self.norm_rows)

    def plan_bytes(self, size: int) -> int:
        """Return the bytes of the layer in a plan with values of `size` bytes, for the widest instruction set."""
        H, G, width = self.units, self.gates, VECTOR // size
        panel = VECTORS * width
        if self.kind in ("LSTM", "GRU"):  # Panels have the gates side by side.
            W = R = G * _padded(H, width)
        elif self.kind == "GRU_BEFORE":  # R is two matrices: that of the gates, and that of what they act on.
            W, R = _padded(G * H, panel), _padded((G - 1) * H, panel) + _padded(H, panel)
        else:
            W = R = _padded(G * H, panel)
        values = (W * self.inputs, R * self.seen, G * H, self.p_rows * H, self.norm_rows * H)
        return LAYER + self.directions * sum(_padded(count * size, ALIGNMENT) for count in values)


class Part(NamedTuple):
    """Layers that one plan runs, and the number of the first of their parameters in the network's."""

    layers: Sequence[CLayer]
    start: int

    @property
    def inputs(self) -> int:
        """The values of each step that the first layer takes."""
        return self.layers[0].inputs

    @property
    def outputs(self) -> int:
        """The values of each step that the last layer gives."""
        return self.layers[-1].outputs

    @property
    def states(self) -> int:
        """The values of the state of a sequence."""
        return sum(layer.states for layer in self.layers)

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def bidirectional(self) -> bool:
        """Return whether a layer has two directions, so that there are no single steps."""
        return any(layer.directions == 2 for layer in self.layers)

    def plan_bytes(self, size: int) -> int:
        """Return bytes that are enough for the plan with any instruction set."""
        return PLAN + ALIGNMENT + sum(layer.plan_bytes(size) for layer in self.layers)

    def step_bytes(self, size: int) -> int:
        """Return bytes that are enough for the workspace of one step of one sequence."""
        between = [max([layer.outputs for layer in self.layers[k:-1:2]], default=0) for k in (0, 1)]
        units = max(layer.units for layer in self.layers)
        values = (*between, self.states, SPACE * units)
        return 2 * ALIGNMENT + sum(_padded(count * size, ALIGNMENT) for count in values)


@dataclass
class CNetwork:
    """A network as C runs it: perhaps a table, layers over all steps, and layers above the last outputs."""

    dtype: str
    vocabulary: int
    body: Part
    # Whether there is a Last; the directions of what is below it; and the layers above it, if any.
    last: bool
    directions: int
    head: Part | None
    # Whether the outputs go through a softmax.
    softmax: bool

    @property
    def outputs(self) -> int:
        """The values that the network gives."""
        return (self.head or self.body).outputs


def described(network: Any) -> CNetwork:
    """Return a network as C runs it.

    Raises
    ------
    TypeError
        If it is no network, or has a layer that C does not know.
    ValueError
        If a layer has an option that C does not know, or no layer is left.
    """
    if isinstance(network, Frozen):
        raise TypeError("network must not be Frozen, whose weights are packed for this machine: give the network")
    body: list[CLayer] = []
    head: list[CLayer] = []
    vocabulary, last, below, directions, softmax = 0, False, Signal(), 1, False
    for name, layer in _flat(network, ""):
        above = head if last else body
        if softmax:
            raise TypeError(f"{name} must not be above a softmax in C: {layer!r}")
        if type(layer) is nn.Embedding:
            vocabulary = layer.vocabulary_size
        elif type(layer) is nn.Last:
            last, directions = True, below.directions
        elif type(layer) is nn.Activation and layer.function == "softmax":
            softmax = True
        elif type(layer) is nn.Activation:
            _activate(name, layer, above)
        else:
            above.extend(_layers_of(name, layer))
        below = layer.output_for(below)
    if not body:
        raise ValueError(
            f"network must have a layer that C runs over all steps, an LSTM, GRU, RNN or Dense: {network!r}"
        )
    start = vocabulary * body[0].inputs
    part = Part(body, start)
    higher = Part(head, start + part.parameters) if head else None
    dtype = {"float32": "float", "float64": "double"}[str(network.dtype)]
    return CNetwork(dtype, vocabulary, part, last, directions, higher, softmax)


def _flat(layer: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the layers of a network, those of networks in it too, with their names; without those that do nothing."""
    if type(layer) is nn.Sequential:
        for k, part in enumerate(layer.layers):
            yield from _flat(part, f"{name}.layers[{k}]".removeprefix("."))
    elif type(layer) not in (nn.Dropout, nn.Identity):
        yield name or "network", layer


def _layers_of(name: str, layer: Any) -> list[CLayer]:
    """Return the layers of C that a layer is: one for each of `num_layers`."""
    if type(layer) is nn.Dense:
        dense = CLayer("DENSE", layer.input_size, layer.output_size)
        if layer.activation != "identity":
            dense.activate("g", layer.activation)
        return [dense]
    if type(layer) not in MADE:
        raise TypeError(
            f"{name} must be an LSTM, a GRU, an RNN, a Dense or a Sequential in C, or in one an Embedding, an "
            f"Activation, a Last or a Dropout, not {type(layer).__name__}"
        )
    for option in ("proj_size", "zoneout"):
        value = getattr(layer, option)
        if value not in (0, (0.0, 0.0)):
            raise ValueError(f"{option} of {name} must be 0 in C, not {value}")
    layers, inputs = [], layer.input_size
    for _ in range(layer.num_layers):
        one: CLayer = MADE[type(layer)](name, layer, inputs)
        layers.append(one)
        inputs = one.outputs
    return layers


def _activate(name: str, layer: nn.Activation, layers: list[CLayer]) -> None:
    """Give a function to the dense layer below it."""
    if not layers or layers[-1].kind != "DENSE" or layers[-1].fields:
        raise TypeError(
            f"{name} must be above a Dense whose activation is 'identity' in C, not above another layer: {layer!r}"
        )
    layers[-1].activate("g", layer.function)


def _lstm(name: str, layer: LSTM, inputs: int) -> CLayer:
    if layer.variant == "FGR":
        raise ValueError(f"variant of {name} must not be FGR: C has no full gate recurrence")
    gates = 3 if layer.variant in LACKING else 4
    fields = {"peephole": "1"} if layer.peephole else {}
    if layer.variant not in ("vanilla", "NP"):
        fields["variant"] = f"FASTLSTM_{layer.variant}"
    for which in ("clip", "cell_clip"):
        if getattr(layer, which) is not None:
            fields[which] = repr(float(getattr(layer, which)))
    norm_rows = 2 * gates + 2 if layer.layer_norm else 0
    kind = "LSTM_NORM" if layer.layer_norm else "LSTM"
    p_rows = (gates - 1) * layer.peephole
    made = CLayer(kind, inputs, layer.hidden_size, layer.directions, fields, gates, p_rows, norm_rows)
    for which, function in zip(("gate", "g", "h"), layer.activations or (), strict=False):
        made.activate(which, function)
    return made


def _gru(name: str, layer: GRU, inputs: int) -> CLayer:
    kind = "GRU" if layer.reset_after else "GRU_BEFORE"
    made = CLayer(kind, inputs, layer.hidden_size, layer.directions, {}, 3, int(layer.reset_after))
    for which, function in zip(("gate", "g"), layer.activations or (), strict=False):
        made.activate(which, function)
    return made


def _rnn(name: str, layer: RNN, inputs: int) -> CLayer:
    made = CLayer("RNN", inputs, layer.hidden_size, layer.directions)
    if layer.nonlinearity != "tanh":
        made.activate("g", layer.nonlinearity)
    return made


MADE: dict[type, Any] = {LSTM: _lstm, GRU: _gru, RNN: _rnn}
