"""What the attributes of an LSTM, GRU or RNN node say, checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, NoReturn, TypeAlias, get_args

import numpy as np
import onnx

Kind = Literal["LSTM", "GRU", "RNN"]
Direction = Literal["forward", "reverse", "bidirectional"]

KINDS: tuple[Kind, ...] = get_args(Kind)

# An activation as an argument of our layers.
Ours: TypeAlias = str | tuple[str, float, float]

GATES: dict[Kind, int] = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""The blocks of H rows that W, R and each half of B have."""

# The activations that a node has if it names none.
USUAL: dict[Kind, tuple[str, ...]] = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}

# How many of alpha and beta an activation takes, by its name as the standard writes it.
_TAKES = {
    "Relu": 0, "Tanh": 0, "Sigmoid": 0, "Softsign": 0, "Softplus": 0, "LeakyRelu": 1, "ThresholdedRelu": 1, "Elu": 1,
    "Affine": 2, "ScaledTanh": 2, "HardSigmoid": 2,
}  # fmt: skip
_BY_LOWER = {name.lower(): name for name in _TAKES}

# The defaults of those that have one. Of the others the standard's and ONNX Runtime's differ, or there is none.
_DEFAULTS = {"LeakyRelu": (0.01,), "Elu": (1.0,), "HardSigmoid": (0.2, 0.5)}

_OURS = {"Sigmoid": "logistic", "Tanh": "tanh", "Relu": "relu"}

_OF_ALL = ("activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout")
_KNOWN: dict[Kind, tuple[str, ...]] = {
    "LSTM": (*_OF_ALL, "input_forget"), "GRU": (*_OF_ALL, "linear_before_reset"), "RNN": _OF_ALL,
}  # fmt: skip


class Activation(NamedTuple):
    """An activation of a node: its name as the standard writes it, with the alpha and beta that it takes, or None."""

    name: str
    alpha: float | None = None
    beta: float | None = None

    @property
    def ours(self) -> Ours | None:
        """What our layers call it; None if they lack it."""
        if self.name == "HardSigmoid":
            assert self.alpha is not None
            assert self.beta is not None
            usual = (self.alpha, self.beta) == _DEFAULTS["HardSigmoid"]
            return "hard_logistic" if usual else ("hard_logistic", self.alpha, self.beta)
        if (self.name, self.alpha, self.beta) == ("Affine", 1.0, 0.0):
            return "identity"
        return _OURS.get(self.name)

    def __str__(self) -> str:
        given = [
            f"{name}={value:g}" for name, value in (("alpha", self.alpha), ("beta", self.beta)) if value is not None
        ]
        return f"{self.name}({', '.join(given)})" if given else self.name


@dataclass(frozen=True)
class Attributes:
    """The attributes of an LSTM, GRU or RNN node.

    Attributes
    ----------
    kind : "LSTM", "GRU" or "RNN"
        The operator.
    hidden_size : int or None
        H; None where the node leaves it to the shapes of its weights.
    direction : "forward", "reverse" or "bidirectional"
        The order of the steps.
    activations : tuple of tuple of Activation
        For each direction: f, g and h of an LSTM, f and g of a GRU, f of an RNN.
    clip : float or None
        The bound of what goes into the activations.
    input_forget : bool
        Whether an LSTM's forget gate is 1 - i.
    linear_before_reset : bool
        Whether a GRU's reset gate acts after the recurrent product.
    layout : int
        0 if time comes before batch, else 1.
    """

    kind: Kind
    hidden_size: int | None
    direction: Direction
    activations: tuple[tuple[Activation, ...], ...]
    clip: float | None = None
    input_forget: bool = False
    linear_before_reset: bool = False
    layout: int = 0

    @property
    def directions(self) -> int:
        """2 if the node is bidirectional, else 1."""
        return 2 if self.direction == "bidirectional" else 1

    @property
    def gates(self) -> int:
        """The number of blocks of H rows in W."""
        return GATES[self.kind]


def label(node: onnx.NodeProto) -> str:
    """Return how messages name a node: with its name, or with what it gives where it has none."""
    output = next((name for name in node.output if name), "")
    which = f"node {node.name!r}" if node.name else f"the node that gives {output!r}"
    domain = "" if node.domain in ("", "ai.onnx") else f"{node.domain}."
    return f"{which} ({domain}{node.op_type})"


def attributes_of(node: onnx.NodeProto) -> Attributes:
    """Return the attributes of an LSTM, GRU or RNN node; raise ValueError if one is wrong, or not known."""
    found: dict[str, Any] = {}
    for one in node.attribute:
        if one.name in found:
            raise ValueError(f"{label(node)}: attribute {one.name} is given twice")
        found[one.name] = onnx.helper.get_attribute_value(one)
    return attributes_from(node.op_type, found, label(node))


def attributes_from(kind: str, values: Mapping[str, Any], where: str) -> Attributes:
    """Return the attributes with these values, a missing one or None for its default; messages begin with `where`."""
    for known in KINDS:
        if kind == known:
            return _Reader(known, values, where).read()
    raise ValueError(f"{where}: must be an LSTM, a GRU or an RNN of ONNX")


class _Reader:
    """The values of a node's attributes, on their way to being `Attributes`."""

    def __init__(self, kind: Kind, values: Mapping[str, Any], where: str) -> None:
        self.kind, self.where = kind, where
        self.values = {name: value for name, value in values.items() if value is not None}

    def read(self) -> Attributes:
        """Return the attributes."""
        # The first versions of the operators had output_sequence, which says whether there is Y.
        for name in self.values.keys() - {*_KNOWN[self.kind], "output_sequence"}:
            raise ValueError(f"{self.where}: attribute {name} is not one of an {self.kind}'s")
        direction: Any = _text(self.values.get("direction", "forward"))
        if direction not in get_args(Direction):
            self._wrong("direction", f"one of {', '.join(get_args(Direction))}", direction)
        return Attributes(
            self.kind,
            self._hidden_size(),
            direction,
            self._activations(2 if direction == "bidirectional" else 1),
            self._clip(),
            bool(self._flag("input_forget")),
            bool(self._flag("linear_before_reset")),
            self._flag("layout"),
        )

    def _wrong(self, name: str, expected: str, given: object) -> NoReturn:
        raise ValueError(f"{self.where}: attribute {name} must be {expected}, not {given!r}")

    def _integer(self, name: str, usual: int) -> int:
        value = self.values.get(name, usual)
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            self._wrong(name, "an int", value)
        return int(value)

    def _flag(self, name: str) -> int:
        value = self._integer(name, 0)
        if value not in (0, 1):
            self._wrong(name, "0 or 1", value)
        return value

    def _hidden_size(self) -> int | None:
        if "hidden_size" not in self.values:
            return None
        size = self._integer("hidden_size", 0)
        if size < 1:
            self._wrong("hidden_size", "at least 1", size)
        return size

    def _clip(self) -> float | None:
        if "clip" not in self.values:
            return None
        clip = self._number("clip", self.values["clip"])
        if not clip > 0:
            self._wrong("clip", "above 0", clip)
        # Such a bound is how some programs write that there is none.
        return None if clip >= np.finfo(np.float32).max else _shortest(clip)

    def _number(self, name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or math.isnan(value):
            self._wrong(name, "a number", value)
        return float(value)

    def _list(self, name: str) -> list[Any]:
        value = self.values.get(name, ())
        if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
            self._wrong(name, "a list", value)
        return list(value)

    def _activations(self, directions: int) -> tuple[tuple[Activation, ...], ...]:
        usual = USUAL[self.kind]
        names = self._list("activations") or [*usual] * directions
        # The schema's own default for an RNN has two, of which one direction takes the first.
        if self.kind == "RNN" and directions == 1 and len(names) == 2:
            del names[1]
        if len(names) != len(usual) * directions:
            self._wrong("activations", f"{len(usual)} names for each direction", [_text(name) for name in names])
        remaining = {
            name: iter([self._number(name, value) for value in self._list(name)])
            for name in ("activation_alpha", "activation_beta")
        }
        made = [self._activation(name, remaining) for name in names]
        return tuple(tuple(made[k : k + len(usual)]) for k in range(0, len(made), len(usual)))

    def _activation(self, given: Any, remaining: Mapping[str, Iterator[float]]) -> Activation:
        """Return an activation, with the next alpha and the next beta if it takes them."""
        name = _BY_LOWER.get(_text(given).lower())
        if name is None:
            self._wrong("activations", f"of {', '.join(_TAKES)}", _text(given))
        values, usual = [], _DEFAULTS.get(name, (None, None))
        for (attribute, values_left), default in zip([*remaining.items()][: _TAKES[name]], usual, strict=False):
            value = next(values_left, default)
            if value is None:
                raise ValueError(
                    f"{self.where}: attribute {attribute} must have a value for {name}, which has no default"
                )
            values.append(_shortest(value))
        return Activation(name, *values)


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _shortest(value: float) -> float:
    """Return the shortest number that is the same in float32, which a file has: 0.2, not 0.20000000298."""
    return float(str(np.float32(value)))
