"""Layers and networks in files: safetensors, which PyTorch reads too, with the architecture in the metadata."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from fastlstm import nn
from fastlstm._arrays import files
from fastlstm._arrays.arrays import Array, on_host
from fastlstm._arrays.checks import counted
from fastlstm._arrays.files import FileError
from fastlstm.layers.lstm import LSTM
from fastlstm.layers.parameters import ONLY_AT_FIRST, Parametric, unfilled
from fastlstm.layers.rnn import RNN

__all__ = ["FileError", "architecture", "build", "load", "load_extra", "save"]

KIND = "network"
PUBLIC = [LSTM, RNN, *(getattr(nn, name) for name in nn.__all__)]
KINDS = {kind.__name__: kind for kind in PUBLIC if isinstance(kind, type) and issubclass(kind, Parametric)}


def save(network: Any, path: str | os.PathLike[str], extra: Any = None) -> None:
    """Write a layer or a network to a file.

    The file has the safetensors format: the parameters under their names, and the architecture in the metadata, as
    JSON. Either the whole file is written, or the old file stays, whatever happens meanwhile: an error, a full disk,
    Ctrl-C, the end of the process. A killed process may leave a file with a name such as
    ``.fastlstm-0123456789abcdef.partial`` beside it, which the next `save` in that folder removes. If the path is a
    link, the file that it names is replaced; the file's mode stays, and its owner where the system allows it.

    Parameters
    ----------
    network : LSTM, RNN, Dense, Sequential, ...
        Any layer or network of fastlstm, on the host or on a GPU; `load` returns it on the host.
    path : str or path
        The file, whose name usually ends in ``.safetensors``.
    extra : optional
        Anything that JSON can hold and that belongs to the network: a vocabulary, the scaling of its inputs. It comes
        back as JSON holds it: tuples and arrays as lists, keys as text.

    Raises
    ------
    TypeError
        If the network is not one of fastlstm's, `path` is not a path, or JSON cannot hold `extra`.
    ValueError
        If two keys in `extra` are the same as text, or it has more than about 100 MB as JSON.
    OSError
        If the file cannot be written, or the path is not a regular file but a folder, a device or a FIFO.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np, fastlstm
    >>> lstm = fastlstm.LSTM(3, 8, num_layers=2, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "lstm.safetensors")
    ...     fastlstm.save(lstm, path, extra={"unit": "degrees C"})
    ...     again, extra = fastlstm.load(path), fastlstm.load_extra(path)
    >>> bool(np.all(again.flat == lstm.flat)), extra
    (True, {'unit': 'degrees C'})
    """
    content = {"architecture": architecture(network), "extra": extra}
    dtype = network.dtype  # The parameters on a GPU may have another.
    params = {name: on_host(array).astype(dtype, copy=False) for name, array in network.params.items()}
    files.write(path, KIND, params, content)


def load(path: str | os.PathLike[str]) -> Any:
    """Return the layer or network that `save` wrote.

    Nothing in a file is executed: a file can only choose among fastlstm's own layers and their sizes, and the network
    cannot have more parameters than the file. The file is read once; if it changes meanwhile, it is refused as damaged.

    Parameters
    ----------
    path : str or path
        The file of a network. To resume from a checkpoint, use ``nn.fit(..., checkpoint=path, resume=True)``.

    Returns
    -------
    LSTM, RNN, Dense, Sequential, ...
        A new layer or network, bitwise the same.

    Raises
    ------
    FileError
        A ValueError: if the file is damaged, of another version or another program, or a checkpoint. Then nothing is
        loaded.
    OSError
        If the file cannot be read, or is not a regular file.
    TypeError
        If `path` is not a path.
    """
    arrays, content = files.read(path, KIND)
    return _restored(path, content.get("architecture"), arrays)


def load_extra(path: str | os.PathLike[str]) -> Any:
    """Return the `extra` that `save` was given; raise as `load` does."""
    return files.read(path, KIND)[1].get("extra")


def architecture(network: Any) -> dict[str, Any]:
    """Return the architecture of a layer or network, for JSON: its type, and the arguments that it was made with."""
    kind = type(network).__name__
    if not isinstance(network, Parametric) or KINDS.get(kind) is not type(network):
        raise TypeError(f"network must be one of fastlstm's own layers or networks, not {type(network).__name__}")
    return {"type": kind} | {name: _to_json(value) for name, value in network.arguments().items()}


def build(described: Mapping[str, Any]) -> Any:
    """Make a layer or network from its architecture, with new parameters.

    Raises
    ------
    TypeError, ValueError, KeyError
        If it is not the architecture of a layer or network.

    Examples
    --------
    >>> import fastlstm
    >>> from fastlstm.saving import architecture, build
    >>> lstm = fastlstm.LSTM(3, 8, num_layers=2)
    >>> build(architecture(lstm) | {"peephole": False})
    LSTM(3, 8, peephole=False, num_layers=2, dtype=float32)
    """
    return _from_json(described, math.inf, math.inf)


def _restored(path: object, described: Any, arrays: dict[str, Array]) -> Any:
    """Return the described network with these parameters, which are removed from `arrays`; `path` is for messages."""
    size = sum(array.size for array in arrays.values())
    try:
        with unfilled(size):
            network = _from_json(described, size, len(arrays))
    except files.DAMAGED as error:
        raise FileError(f"{path} does not describe a network of fastlstm's: {error}") from error
    if not isinstance(network, Parametric):
        raise FileError(f"{path} does not describe a network of fastlstm's")
    for name in sorted(network.params.keys() | arrays.keys()):
        expected, array = network.params.get(name), arrays.get(name)
        if expected is None or array is None:
            raise FileError(f"{path}: parameter {name} is {'missing' if array is None else 'not one of the network'}")
        if array.shape != expected.shape or array.dtype != expected.dtype:
            raise FileError(
                f"{path}: parameter {name} must be {expected.shape} of {expected.dtype}, "
                f"not {array.shape} of {array.dtype}"
            )
    for name, view in network.params.items():
        view[...] = arrays.pop(name)  # Each array is freed as soon as it is copied.
    return network


def _to_json(value: Any) -> Any:
    """Return an argument of a layer as JSON can hold it."""
    if isinstance(value, Parametric):
        return architecture(value)
    if isinstance(value, (tuple, list)):
        return [_to_json(item) for item in value]
    return str(value) if isinstance(value, np.dtype) else value


def _from_json(value: Any, size: float, names: float) -> Any:
    """Return the described argument or layer; a file has `size` parameters under `names` names, and no more."""
    if isinstance(value, list):
        return tuple(_from_json(item, size, names) for item in value)
    if isinstance(value, int) and abs(value) > max(size, 1):
        # Raise before a loop over such a size.
        raise ValueError(f"no size can be {value} in a file of {counted(int(size), 'parameter')}")
    if not isinstance(value, dict):
        return value
    kind = KINDS[cast(str, value["type"])]
    known = inspect.signature(kind).parameters
    positional: tuple[Any, ...] = ()
    named = {}
    for name, item in value.items():
        if name == "type":
            continue
        if name in ONLY_AT_FIRST or name not in known:
            raise ValueError(f"{kind.__name__} has no {name}")
        made = (
            item if name in ("clip", "cell_clip") else _from_json(item, size, names)
        )  # A clipping threshold is not a size.
        if name in ("clip", "cell_clip"):
            made = None if made == 0 else 1.0 if made is True else made  # Version 0.1.0 wrote these.
        if name == "num_layers" and isinstance(made, int) and made > names:
            have = counted(int(names), "array")
            raise ValueError(f"there cannot be {made} layers in a file of {have}")  # Raise before a loop over them.
        if known[name].kind is inspect.Parameter.VAR_POSITIONAL:
            positional = made
        else:
            named[name] = made
    return kind(*positional, **named)
