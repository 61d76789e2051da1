"""Layers from PyTorch's state dicts and files, by the names of modules, and files for PyTorch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastlstm._arrays import files
from fastlstm._arrays.files import FileError
from fastlstm.torch._sources import Source, source_of
from fastlstm.torch._state_dicts import (
    MOST_OF_NAME,
    PLAIN,
    RECURRENT,
    Description,
    Layer,
    Plain,
    describe,
    fill,
    make,
    make_plain,
    state_dict,
    with_dot,
)

Given: TypeAlias = str | os.PathLike[str] | Mapping[str, Any]

# How many modules a message names.
_MOST_SHOWN = 20


def load(
    source: Given, prefix: str | None = None, *, kind: str | None = None, key: str | None = None, **options: Any
) -> Any:
    """Return a layer on NumPy arrays from a file or a state dict of a PyTorch model.

    Sizes, layers, directions and the kind follow from the arrays of the module; other arrays of a file are not read.
    Only files of `torch.save` need PyTorch.

    Parameters
    ----------
    source : path, or dict of str to tensor or array
        A file of safetensors; ``model.safetensors.index.json`` of several in its folder; a file of `torch.save`, which
        is loaded by ``torch.load(weights_only=True)`` alone. Or a state dict, of tensors on any device.
    prefix : str, optional
        The name of the module in its model, as ``encoder.lstm``, with or without a dot at its end; "" if the model is
        the module. `modules` has the names. May be left out where there is one LSTM, GRU or RNN alone.
    kind : "LSTM", "GRU", "RNN", "Linear", "Embedding" or "LayerNorm", optional
        The class of the module in PyTorch. Must be given for the last three, whose arrays do not tell one from another;
        they are `nn.Dense`, `nn.Embedding` and `nn.LayerNorm`. Of the others it is what is expected.
    key : str, optional
        Where the state dict is in the dict, as "state_dict" in checkpoints with more than weights. It is not guessed,
        since a checkpoint may have several: of the best step, or of running means of the weights.
    **options
        Arguments of the layer that no array tells: `batch_first`, `dropout`, ``nonlinearity="relu"`` of an RNN; with
        peepholes or layer normalisation of `fastlstm.torch.LSTM`, its `variant`; `epsilon` of layer normalisation.

    Returns
    -------
    LSTM, GRU, RNN, nn.Dense, nn.Embedding or nn.LayerNorm
        In float64 if the arrays are, else in float32: float16 and bfloat16 become float32. The results are those of the
        module in evaluation. Modules `LSTMCell`, `GRUCell` and `RNNCell` are layers too.

    Raises
    ------
    ValueError
        If the module is not there, with the names of those that are; if its arrays fit no LSTM, GRU or RNN, are
        computed by others, as by pruning, or are of two precisions. `FileError`, one of these, if a file is damaged, or
        PyTorch refuses it, as it does a pickled module.
    TypeError
        If an argument is of the wrong type, or no argument of the layer; if an array has other numbers.
    ModuleNotFoundError
        If a file of `torch.save` needs PyTorch, which is not there.
    OSError
        If a file cannot be read.

    Examples
    --------
    >>> import numpy as np, fastlstm.torch
    >>> rng = np.random.default_rng(0)
    >>> shapes = {"weight_ih_l0": (32, 3), "weight_hh_l0": (32, 8), "bias_ih_l0": (32,), "bias_hh_l0": (32,)}
    >>> arrays = {f"encoder.lstm.{name}": rng.normal(size=shape) for name, shape in shapes.items()}
    >>> fastlstm.torch.load(arrays, "encoder.lstm", batch_first=True)
    LSTM(3, 8, peephole=False, batch_first=True, dtype=float64)
    """
    if kind is not None and not (isinstance(kind, str) and kind in {**RECURRENT, **PLAIN}):
        raise ValueError(f"kind must be one of {', '.join((*RECURRENT, *PLAIN))}, not {kind!r}")
    found = _Modules(source_of(source, key))
    begin = found.only_one(kind) if prefix is None else with_dot(prefix)
    if kind in PLAIN:
        return found.plain(begin, kind, options)
    return found.recurrent(begin, kind, options)


def modules(source: Given, *, key: str | None = None) -> dict[str, str]:
    """Return the LSTMs, GRUs and RNNs of a PyTorch model that a file or a state dict has.

    Parameters
    ----------
    source, key
        As for `load`.

    Returns
    -------
    dict of str to str
        For the name of each module, which `load` takes as `prefix`, how it would be made in PyTorch; or why it cannot
        be loaded. An RNN's nonlinearity and an LSTM's variant are in no array.

    Raises
    ------
    ValueError, TypeError, ModuleNotFoundError, OSError
        As `load` does.

    Examples
    --------
    >>> import fastlstm.torch
    >>> arrays = fastlstm.torch.state_dict(fastlstm.LSTM(3, 8, 2, peephole=False, seed=0), "encoder.lstm")
    >>> arrays |= fastlstm.torch.state_dict(fastlstm.GRU(8, 4, bidirectional=True, seed=0), "gru")
    >>> fastlstm.torch.modules(arrays)
    {'encoder.lstm': 'LSTM(3, 8, num_layers=2)', 'gru': 'GRU(8, 4, bidirectional=True)'}
    """
    found = _Modules(source_of(source, key))
    return {begin.removesuffix("."): found.text(begin) for begin in found.recurrent_ones()}


def save(layers: Layer | Plain | Mapping[str, Layer | Plain], path: str | os.PathLike[str]) -> None:
    """Write layers to a file of safetensors under the names that their parameters have in PyTorch.

    PyTorch is not needed. There, ``model.load_state_dict(safetensors.torch.load_file(path))`` reads it. The file has no
    architecture: what `fastlstm.load` is to make again, `fastlstm.save` writes.

    Parameters
    ----------
    layers : layer, or dict of str to layer
        A layer as for `state_dict`, or several by the names of their modules in a model.
    path : str or path
        The file, which is written whole or not at all.

    Raises
    ------
    TypeError, ValueError
        As `state_dict` does; if two layers have the same name, or there is none.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> import fastlstm.torch
    >>> from fastlstm import nn
    >>> layers = {"lstm": fastlstm.LSTM(3, 8, peephole=False, seed=0), "linear": nn.Dense(8, 2, seed=0)}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.safetensors")
    ...     fastlstm.torch.save(layers, path)
    ...     fastlstm.torch.load(path, "lstm"), fastlstm.torch.load(path, "linear", kind="Linear")
    (LSTM(3, 8, peephole=False, dtype=float32), Dense(8, 2, dtype=float32))
    """
    arrays: dict[str, NDArray[Any]] = {}
    for prefix, layer in layers.items() if isinstance(layers, Mapping) else [("", layers)]:
        own = state_dict(layer, prefix)
        if own.keys() & arrays.keys():
            raise ValueError(f"two layers have the parameter {min(own.keys() & arrays.keys())}: give them other names")
        arrays |= own
    if not arrays:
        raise ValueError("layers must have at least one layer")
    files.write_plain(path, arrays, ("format", "pt"))  # by which other programs know the names to be PyTorch's


class _Modules:
    """The arrays of a source by the modules that they are of, whose names end in a dot, but for the whole model's."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._own: dict[str, list[str]] = {}
        self._computed: dict[str, set[str]] = {}
        for name in source.names():
            head, dot, last = name.rpartition(".")
            self._own.setdefault(head + dot, []).append(last)
            outer, found, computed = head.rpartition("parametrizations.")
            if found and (not outer or outer.endswith(".")):
                self._computed.setdefault(outer, set()).add(computed)

    def recurrent_ones(self) -> list[str]:
        """Return the modules that have weights of an LSTM, a GRU or an RNN, or that compute them."""
        both = {**self._own, **self._computed}
        return [begin for begin in both if self._is_recurrent(begin)]

    def _is_recurrent(self, begin: str) -> bool:
        names = (*self._own.get(begin, ()), *self._computed.get(begin, ()))
        return any(name.startswith(("weight_ih", "weight_hh")) for name in names)

    def only_one(self, kind: str | None) -> str:
        """Return the only LSTM, GRU or RNN that there is."""
        if kind in PLAIN:
            raise ValueError(f"prefix must be given with kind={kind!r}")
        found = self.recurrent_ones()
        if len(found) != 1:
            what = self._listed(found) if found else f"no LSTM, GRU or RNN{self._source.hint}"
            raise ValueError(f"{self._source.label} has {what}{': prefix must name one' if found else ''}")
        return found[0]

    def recurrent(self, begin: str, kind: str | None, options: Mapping[str, Any]) -> Layer:
        """Return an LSTM, a GRU or an RNN."""
        if not self._is_recurrent(begin):
            own = self._own.get(begin, ())
            hint = f": kind must say what it is, one of {', '.join(PLAIN)}" * ("weight" in own)
            others = self.recurrent_ones()
            found = f"; there is {self._listed(others)}" if others else self._source.hint
            raise ValueError(f"{self._source.label} has no LSTM, GRU or RNN {_shown(begin)}{hint}{found}")
        try:
            sizes = self._described(begin)
            arrays, dtype = self._arrays(begin)
            layer = make(sizes, kind, dtype, options)
        except FileError:
            raise
        except ValueError as error:
            raise ValueError(f"{self._source.label}, module {_shown(begin)}: {error}") from error
        fill(layer, arrays, sizes.places)
        return layer

    def plain(self, begin: str, kind: str, options: Mapping[str, Any]) -> Plain:
        """Return a layer without a state."""
        if not self._own.get(begin):
            raise ValueError(f"{self._source.label} has no module {_shown(begin)}{self._source.hint}")
        try:
            arrays, dtype = self._arrays(begin)
            return make_plain(kind, arrays, dtype, options)
        except FileError:
            raise
        except ValueError as error:
            raise ValueError(f"{self._source.label}, module {_shown(begin)}: {error}") from error

    def text(self, begin: str) -> str:
        """Return how a module would be made in PyTorch, or why it cannot be loaded."""
        try:
            return str(self._described(begin))
        except ValueError as error:
            return f"cannot be loaded: {error}"

    def _described(self, begin: str) -> Description:
        computed = self._computed.get(begin)
        if computed:
            raise ValueError(
                f"parametrizations compute {', '.join(sorted(computed))}: "
                "torch.nn.utils.parametrize.remove_parametrizations has to be called first"
            )
        names = self._own[begin]
        shapes = self._source.shapes(begin + name for name in names)
        return describe({name: shapes[begin + name] for name in names})

    def _arrays(self, begin: str) -> tuple[dict[str, NDArray[Any]], np.dtype[Any]]:
        """Return the arrays of a module, by their names within it, and their dtype."""
        names = self._own[begin]
        found = self._source.read(begin + name for name in names)
        dtypes = {array.dtype for array in found.values()}
        if len(dtypes) > 1:
            raise ValueError(f"its arrays must have one dtype, not {' and '.join(sorted(map(str, dtypes)))}")
        return {name: found[begin + name] for name in names}, dtypes.pop()

    def _listed(self, begins: list[str]) -> str:
        names = [f"{_shown(begin)}, {self.text(begin)}" for begin in begins[:_MOST_SHOWN]]
        more = len(begins) - len(names)
        return "; ".join(names) + (f"; and {more} more" if more else "")


def _shown(begin: str) -> str:
    """Return the name of a module for a message; that of the whole model is empty."""
    return repr(begin.removesuffix(".")[:MOST_OF_NAME])
