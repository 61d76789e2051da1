"""Recurrent layers under PyTorch's names of parameters: what arrays by name describe, and arrays of a layer by name.

A parameter of ours, as ``W_l0_reverse``, is one of PyTorch's, ``weight_ih_l0_reverse``, or two: our one bias is the
sum of PyTorch's, but for what a GRU has inside r. Nothing here needs PyTorch.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import fastlstm
from fastlstm import nn
from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import on_host
from fastlstm._cells import gru_cell, lstm_cell
from fastlstm._cells.lstm import BLOCKS

Layer: TypeAlias = fastlstm.LSTM | fastlstm.GRU | fastlstm.RNN
Plain: TypeAlias = nn.Dense | nn.Embedding | nn.LayerNorm
Arrays: TypeAlias = Mapping[str, NDArray[Any]]

RECURRENT: dict[str, type[Layer]] = {"LSTM": fastlstm.LSTM, "GRU": fastlstm.GRU, "RNN": fastlstm.RNN}
# PyTorch's modules without a state, our layers for them, and the parameters of both: first the weight and its axes.
PLAIN: dict[str, tuple[type[Plain], int, dict[str, str]]] = {
    "Linear": (nn.Dense, 2, {"weight": "V", "bias": "c"}),
    "Embedding": (nn.Embedding, 2, {"weight": "E"}),
    "LayerNorm": (nn.LayerNorm, 1, {"weight": "g", "bias": "b"}),
}

# Our name of a parameter, and PyTorch's, in the order of its modules; weight_ch and weight_ln are fastlstm.torch's own.
NAMES = {
    "W": "weight_ih", "R": "weight_hh", "b": "bias_ih", "bn": "bias_hh", "proj": "weight_hr", "p": "weight_ch",
    "norm": "weight_ln",
}  # fmt: skip
_PARAMETER = re.compile(r"((?:weight|bias)_[a-z]{2})(?:_l(0|[1-9][0-9]{0,4})(_reverse)?)?")
# The endings of what weights are computed from, by pruning, weight normalisation and fastai's dropout of weights.
_COMPUTED = re.compile(r"(weight|bias)_(ih|hh)\w*_(orig|mask|g|v|raw)")
_OF_LSTMS = frozenset({"weight_hr", "weight_ch", "weight_ln"})
# The letters of a name that a message has.
MOST_OF_NAME = 100
# The arguments of layers that the arrays have already.
_KNOWN = (
    "input_size", "hidden_size", "num_layers", "bidirectional", "proj_size", "peephole", "layer_norm", "reset_after",
    "output_size", "vocabulary_size", "features", "dtype", "seed", "init_scale", "forget_bias",
)  # fmt: skip


@dataclass(frozen=True)
class Description:
    """The sizes that follow from the arrays of a module, which has `gates` blocks of rows in its weights."""

    gates: int
    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    kinds: frozenset[str]
    proj_size: int
    # The ends of its names, which a cell does not have, and those of our own.
    places: tuple[tuple[str, str], ...]

    @property
    def modules(self) -> list[str]:
        """What it may be, the usual one first."""
        of_lstm = self.kinds & _OF_LSTMS
        found = {4: ["LSTM"], 3: ["LSTM"] if of_lstm else ["GRU", "LSTM"], 1: [] if of_lstm else ["RNN"]}
        return found.get(self.gates, [])

    def __str__(self) -> str:
        """Return how it would be made in PyTorch, with the options of `fastlstm.torch.LSTM`."""
        named: dict[str, Any] = {"num_layers": self.num_layers} if self.num_layers > 1 else {}
        named |= {} if "bias_ih" in self.kinds else {"bias": False}
        named |= {"bidirectional": True} if self.bidirectional else {}
        named |= {"proj_size": self.proj_size} if self.proj_size else {}
        named |= {"peephole": True} if "weight_ch" in self.kinds else {}
        named |= {"layer_norm": True} if "weight_ln" in self.kinds else {}
        options = "".join(f", {name}={value}" for name, value in named.items())
        cell = "" if self.places[0][0] else "Cell"
        text = f"{self.modules[0]}{cell}({self.input_size}, {self.hidden_size}{options})"
        return text if self.gates != 3 or self.modules[0] == "GRU" else f"{text} of 3 gates"


def describe(shapes: Mapping[str, tuple[int, ...]]) -> Description:
    """Return what the arrays of one module describe, by their names within it; raise ValueError if they are others."""
    places: dict[tuple[int, bool], set[str]] = {}
    for name in shapes:
        found = _PARAMETER.fullmatch(name)
        if found is None or found[1] not in NAMES.values() or (found[2] is None) is not ("weight_hh" in shapes):
            computed = ": what computes the weights has to be applied first" if _COMPUTED.fullmatch(name) else ""
            raise ValueError(f"{shown(name)} is no parameter of an LSTM, a GRU or an RNN{computed}")
        places.setdefault((int(found[2] or 0), bool(found[3])), set()).add(found[1])
    layers, both = 1 + max(layer for layer, _ in places), any(reverse for _, reverse in places)
    kinds = frozenset[str]().union(*places.values(), {"weight_ih", "weight_hh"})
    kinds |= {"bias_ih", "bias_hh"} if kinds & {"bias_ih", "bias_hh"} else set()
    is_cell, order = "weight_hh" in shapes, [kind for kind in NAMES.values() if kind in kinds]
    ends = []
    for layer in range(layers):
        for reverse in (False, True)[: 1 + both]:
            end = f"_l{layer}{'_reverse' * reverse}"
            for kind in order:
                if kind not in places.get((layer, reverse), ()):  # before a loop over more layers than there are names
                    raise ValueError(f"{kind}{'' if is_cell else end} is missing")
            ends.append(("" if is_cell else end, end))
    first = ends[0][0]
    rows, columns = _matrix(shapes, "weight_hh" + first)
    H = _matrix(shapes, "weight_hr" + first)[1] if "weight_hr" in kinds else columns
    gates, left = divmod(rows, H) if H else (0, 0)
    if left or gates not in (1, 3, 4):
        raise ValueError(f"weight_hh{first} of shape {shapes['weight_hh' + first]} is of no LSTM, GRU or RNN")
    own = Description(
        gates, _matrix(shapes, "weight_ih" + first)[1], H, layers, both, kinds, columns if "weight_hr" in kinds else 0,
        tuple(ends),
    )  # fmt: skip
    if not own.modules:
        raise ValueError(f"an RNN, which weight_hh{first} is of, has no {', '.join(sorted(kinds & _OF_LSTMS))}")
    for (end, _), layer in zip(ends, (layer for layer in range(layers) for _ in range(1 + both)), strict=True):
        inputs = own.input_size if layer == 0 else (1 + both) * columns
        expected: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, inputs), "weight_hh": (rows, columns), "bias_ih": (rows,), "bias_hh": (rows,),
            "weight_hr": (columns, H), "weight_ch": (gates - 1, H), "weight_ln": (2 * gates + 2, H),
        }  # fmt: skip
        for kind in order:
            if shapes[kind + end] != expected[kind]:
                raise ValueError(f"{kind}{end} must have shape {expected[kind]}, not {shapes[kind + end]}")
    return own


def _matrix(shapes: Mapping[str, tuple[int, ...]], name: str) -> tuple[int, int]:
    """Return the shape of a weight, of which other sizes follow."""
    if len(shapes[name]) != 2 or 0 in shapes[name]:
        raise ValueError(f"{name} must be a matrix, not of shape {shapes[name]}")
    rows, columns = shapes[name]
    return rows, columns


def make(own: Description, kind: str | None, dtype: Any, options: Mapping[str, Any]) -> Layer:
    """Return a new layer of these sizes; of `kind`, or of what the sizes and the options leave."""
    found = own.modules
    if kind is None:
        kind = "LSTM" if "variant" in options and "LSTM" in found else found[0]
    if kind not in found:
        raise ValueError(f"it is {check.with_article(found[0])}, not {check.with_article(kind)}")
    made = RECURRENT[kind]
    check_options(made, options)
    arguments: dict[str, Any] = {
        "num_layers": own.num_layers, "bidirectional": own.bidirectional, "dtype": dtype, "seed": 0, **options,
    }  # fmt: skip
    if kind == "LSTM":
        _check_variant(own, options.get("variant"))
        arguments |= {"peephole": "weight_ch" in own.kinds, "layer_norm": "weight_ln" in own.kinds}
        arguments["proj_size"] = own.proj_size
    return made(own.input_size, own.hidden_size, **arguments)


def check_options(kind: type[Layer | Plain], options: Mapping[str, Any]) -> None:
    """Raise TypeError unless a layer has these arguments, and its arrays do not have them already."""
    for name in options:
        if name not in inspect.signature(kind).parameters:
            raise TypeError(f"{kind.__name__} has no {name}")
        if name in _KNOWN:
            raise TypeError(f"{name} cannot be given: the arrays say what it is")


def _check_variant(own: Description, variant: Any) -> None:
    """Raise ValueError unless a variant has as many gates as the arrays."""
    if variant is None:
        if own.gates == 4:
            return
        names = ", ".join(name for name, blocks in BLOCKS.items() if len(blocks) == own.gates)
        raise ValueError(f"it has 3 blocks of weights, not 4: for an LSTM, variant must say which, one of {names}")
    cell = lstm_cell(variant)
    if cell.variant == "FGR":
        raise ValueError("variant must not be FGR, which no module of PyTorch is")
    if cell.gates != own.gates:
        raise ValueError(f"variant {cell.variant} has {cell.gates} gates, but the arrays are of {own.gates}")
    if cell.variant == "NP" and "weight_ch" in own.kinds:
        raise ValueError("variant NP has no peepholes, but there is weight_ch")


def fill(layer: Layer, arrays: Arrays, places: tuple[tuple[str, str], ...] | None = None) -> None:
    """Write a module's arrays to a layer's parameters; `places` are the ends of the names of both."""
    for theirs, end in places or [(name[1:], name[1:]) for name in layer.params if name.startswith("W_")]:
        for name, its_name in NAMES.items():
            if name + end in layer.params and name not in ("b", "bn"):
                layer.params[name + end][:] = arrays[its_name + theirs]
        if "bias_ih" + theirs not in arrays:
            layer.params["b" + end][:] = 0
            if isinstance(layer, fastlstm.GRU):
                layer.params["bn" + end][:] = 0
            continue
        of_x, of_h = arrays["bias_ih" + theirs], arrays["bias_hh" + theirs]
        with np.errstate(over="ignore", invalid="ignore"):  # as where a module adds them, in each call
            layer.params["b" + end][:] = of_x + of_h
        if isinstance(layer, fastlstm.GRU):
            H = layer.hidden_size
            layer.params["b" + end][-H:], layer.params["bn" + end][:] = of_x[-H:], of_h[-H:]


def make_plain(kind: str, arrays: Arrays, dtype: Any, options: Mapping[str, Any]) -> Plain:
    """Return a layer without a state that has a module's arrays; raise ValueError if they are of another module."""
    made, ndim, names = PLAIN[kind]
    check_options(made, options)
    shapes = {name: array.shape for name, array in arrays.items()}
    weight = shapes.get("weight", ())
    if len(weight) != ndim or not shapes.keys() <= names.keys() or shapes.get("bias", weight[:1]) != weight[:1]:
        found = ", ".join(f"{shown(name)} {shape}" for name, shape in list(shapes.items())[:10])
        raise ValueError(f"{check.with_article(kind)} has not the parameters {found}")
    create: Any = made
    layer: Plain = create(*(weight[::-1] if kind == "Linear" else weight), dtype=dtype, **options)
    for name, ours in names.items():
        layer.params[ours][:] = arrays.get(name, 0)
    return layer


def check_expressible(layer: Layer, *more: str) -> None:
    """Raise ValueError if a layer has an option that no module has; `more` are options whose usual value is false."""
    given = layer.arguments()
    usual: dict[str, Any] = dict.fromkeys(more, False)
    if isinstance(layer, fastlstm.LSTM):
        usual |= {"zoneout": (0, 0), "clip": None, "cell_clip": None}
        # The variant's usual ones may also be given by their names.
        if lstm_cell(layer.variant, given["activations"]).activations != lstm_cell(layer.variant).activations:
            usual["activations"] = None
        if layer.variant == "FGR":
            usual["variant"] = "vanilla"
    elif isinstance(layer, fastlstm.GRU):
        usual |= {"zoneout": 0, "reset_after": True}
        if gru_cell(activations=given["activations"]).activations != gru_cell().activations:
            usual["activations"] = None
    else:
        usual["zoneout"] = 0
        if given["nonlinearity"] not in ("tanh", "relu"):
            usual["nonlinearity"] = "tanh"
    for name, value in usual.items():
        if given[name] != value:
            raise ValueError(f"layer must not have {name}={given[name]!r}, which no module of PyTorch has")


def shown(name: str) -> str:
    """Return a name for a message, as it is if it is short and can be read."""
    return name if name.isprintable() and len(name) <= MOST_OF_NAME else repr(name[:MOST_OF_NAME])


def with_dot(prefix: object) -> str:
    """Return the name of a module as it begins those of its parameters; that of the whole model is empty."""
    if not isinstance(prefix, str):
        raise TypeError(
            f"prefix must be the name of a module, as in the model's state_dict, not {type(prefix).__name__}"
        )
    return f"{prefix}." if prefix and not prefix.endswith(".") else prefix


def state_dict(layer: Layer | Plain, prefix: str = "") -> dict[str, NDArray[Any]]:
    """Return copies of a layer's parameters under the names that they have in PyTorch.

    PyTorch is not needed. There, ``{name: torch.from_numpy(array) for name, array in arrays.items()}`` is what
    `load_state_dict` of the module takes.

    Parameters
    ----------
    layer : fastlstm.LSTM, GRU or RNN, nn.Dense, nn.Embedding or nn.LayerNorm
        The last three are `nn.Linear`, `nn.Embedding` and `nn.LayerNorm` in PyTorch.
    prefix : str
        The name of the module in its model, as ``encoder.lstm``, with or without a dot at its end.

    Returns
    -------
    dict of str to array
        NumPy arrays in the layer's precision. ``bias_ih_l0`` is the layer's bias, and ``bias_hh_l0`` is 0, but for what
        a GRU has inside r. Of an LSTM with peepholes or layer normalisation there are ``weight_ch_l0`` and
        ``weight_ln_l0`` too, and a variant may have fewer rows: `fastlstm.torch.LSTM` takes them, PyTorch's does not.

    Raises
    ------
    TypeError
        If it is another layer, or a network.
    ValueError
        If the layer computes what no module does, as with `zoneout`, `clip` or ``reset_after=False``; the message names
        it. What is of training alone, as dropout, does not matter.

    Examples
    --------
    >>> import fastlstm.torch
    >>> arrays = fastlstm.torch.state_dict(fastlstm.GRU(3, 8, seed=0), "gru")
    >>> {name: array.shape for name, array in arrays.items()}
    {'gru.weight_ih_l0': (24, 3), 'gru.weight_hh_l0': (24, 8), 'gru.bias_ih_l0': (24,), 'gru.bias_hh_l0': (24,)}
    """
    begin = with_dot(prefix)
    params = {name: np.array(on_host(array), layer.dtype) for name, array in getattr(layer, "params", {}).items()}
    for kind, _, names in PLAIN.values():
        if type(layer) is kind:
            return {begin + name: params[ours] for name, ours in names.items()}
    if not isinstance(layer, (fastlstm.LSTM, fastlstm.GRU, fastlstm.RNN)) or type(layer) not in RECURRENT.values():
        raise TypeError(
            "layer must be a fastlstm.LSTM, GRU or RNN, or an nn.Dense, nn.Embedding or nn.LayerNorm, "
            f"not {type(layer).__name__}"
        )
    check_expressible(layer)
    found: dict[str, NDArray[Any]] = {}
    for end in (name[1:] for name in params if name.startswith("W_")):
        for name, its_name in NAMES.items():
            if name == "bn":
                bias = found[begin + its_name + end] = np.zeros_like(params["b" + end])
                if "bn" + end in params:
                    bias[-layer.hidden_size :] = params["bn" + end]
            elif name + end in params:
                found[begin + its_name + end] = params[name + end]
    return found
