"""Layers and networks in files: safetensors, which PyTorch reads too, with the architecture in the metadata."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastlstm import nn
from fastlstm._arrays import files
from fastlstm._arrays.arrays import Array, on_host
from fastlstm._arrays.checks import counted
from fastlstm._arrays.files import FileError
from fastlstm.layers.gru import GRU
from fastlstm.layers.lstm import LSTM
from fastlstm.layers.parameters import ONLY_AT_FIRST, Parametric, unfilled
from fastlstm.layers.rnn import RNN

__all__ = ["FileError", "architecture", "build", "load", "load_extra", "save"]

KIND = "network"
PUBLIC = [LSTM, GRU, RNN, *(getattr(nn, name) for name in nn.__all__ if name != "Layer")]
KINDS = {kind.__name__: kind for kind in PUBLIC if isinstance(kind, type) and issubclass(kind, Parametric)}

# The largest int that an argument of a user's layer may be, where the file has fewer parameters.
MOST_OF_OWN = 1 << 16


def save(network: Any, path: str | os.PathLike[str], extra: Any = None) -> None:
    """Write a layer or a network to a file.

    The file has the safetensors format: the parameters under their names, and the architecture in the metadata, as
    JSON. Either the whole file is written, or the old file stays, whatever happens meanwhile: an error, a full disk,
    Ctrl-C, the end of the process. A killed process may leave a file with a name such as
    ``.fastlstm-0123456789abcdef.partial`` beside it, which the next `save` in that folder removes. If the path is a
    link, the file that it names is replaced; the file's mode stays, and its owner where the system allows it.

    Parameters
    ----------
    network : LSTM, GRU, RNN, Dense, Sequential, ...
        Any layer or network of fastlstm, on the host or on a GPU; `load` returns it on the host. Layers of your own,
        classes made from `nn.Layer`, are known in the file by the names of their classes.
    path : str or path
        The file, whose name usually ends in ``.safetensors``.
    extra : optional
        Anything that JSON can hold and that belongs to the network: a vocabulary, the scaling of its inputs. It comes
        back as JSON holds it: tuples and arrays as lists, keys as text.

    Raises
    ------
    TypeError
        If the network is not one of fastlstm's, `path` is not a path, or JSON cannot hold `extra`. If a layer of your
        own is called as one of fastlstm's or as another class in the network, or has an argument that is not a number,
        text, a flag, None, or a list of these.
    AttributeError
        If a layer of your own has no attribute for one of its arguments.
    ValueError
        If an argument of a layer of your own is an int above 65536 and above the number of parameters. If two keys in
        `extra` are the same as text, or it has more than about 100 MB as JSON.
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
    if network._frozen():
        content["frozen"] = network._frozen()
    dtype = network.dtype  # The parameters on a GPU may have another.
    params = {name: on_host(array).astype(dtype, copy=False) for name, array in network.params.items()}
    files.write(path, KIND, params, content)


def load(path: str | os.PathLike[str], *, layers: Sequence[type[nn.Layer]] = ()) -> Any:
    """Return the layer or network that `save` wrote.

    Nothing in a file is executed or imported: a file can only choose among fastlstm's own layers, those in `layers`,
    and their sizes, and the network cannot have more parameters than the file. The file is read once; if it changes
    meanwhile, it is refused as damaged.

    Parameters
    ----------
    path : str or path
        The file of a network. To resume from a checkpoint, use ``nn.fit(..., checkpoint=path, resume=True)``.
    layers : list of classes, optional
        The classes of the layers of your own that the network may have.

    Returns
    -------
    LSTM, GRU, RNN, Dense, Sequential, ...
        A new layer or network, bitwise the same.

    Raises
    ------
    FileError
        A ValueError: if the file is damaged, of another version or another program, or a checkpoint, or has a layer
        that is neither fastlstm's nor in `layers`. Then nothing is loaded.
    ValueError
        If a class in `layers` is called as one of fastlstm's or as another one in it.
    OSError
        If the file cannot be read, or is not a regular file.
    TypeError
        If `path` is not a path, or `layers` is not a list of classes made from `nn.Layer`.
    """
    kinds = _kinds(layers)
    arrays, content = files.read(path, KIND)
    network = _restored(path, content.get("architecture"), arrays, kinds)
    _freeze(path, network, content.get("frozen", []))
    return network


def load_extra(path: str | os.PathLike[str]) -> Any:
    """Return the `extra` that `save` was given; raise as `load` does."""
    return files.read(path, KIND)[1].get("extra")


def architecture(network: Any) -> dict[str, Any]:
    """Return the architecture of a layer or network, for JSON: its type, and the arguments that it was made with."""
    return _described(network, {}, getattr(getattr(network, "flat", None), "size", 0))


def build(described: Mapping[str, Any], *, layers: Sequence[type[nn.Layer]] = ()) -> Any:
    """Make a layer or network from its architecture, with new parameters; `layers` is as for `load`.

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
    return _Builder(_kinds(layers), math.inf, math.inf).made(described)


def _restored(path: object, described: Any, arrays: dict[str, Array], kinds: Mapping[str, Any]) -> Any:
    """Return the described network with these parameters, which are removed from `arrays`; `path` is for messages."""
    size = sum(array.size for array in arrays.values())
    try:
        with unfilled(size):
            network = _Builder(kinds, size, len(arrays)).made(described)
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


def _freeze(path: object, network: Parametric, names: Any) -> None:
    """Freeze the layers of these names; `path` is for messages."""
    try:
        for name in names:
            part: Any = network
            for own in str.split(name, ".") if name != "" else ():
                part = part._parts()[own]
            part.trainable = False
    except files.DAMAGED as error:
        raise FileError(
            f"{path} does not describe a network of fastlstm's: no layer to be frozen is {error}"
        ) from error


def _described(network: Any, own: dict[str, type], size: int) -> dict[str, Any]:
    """Return an architecture; `own` has the user's classes so far, `size` is the number of parameters of the whole."""
    kind, name = type(network), type(network).__name__
    if KINDS.get(name) is not kind:
        if not isinstance(network, nn.Layer):
            raise TypeError(f"network must be one of fastlstm's own layers or networks, or an nn.Layer, not {name}")
        if name in KINDS:
            raise TypeError(
                f"a class of your own cannot be called {name} in a file, as one of fastlstm's is: rename it"
            )
        if own.setdefault(name, kind) is not kind:
            raise TypeError(f"two classes in the network are called {name}, by which a file knows them: rename one")
    limit = max(size, MOST_OF_OWN) if name in own else math.inf

    def to_json(argument: str, value: Any) -> Any:
        """Return an argument of a layer as JSON can hold it."""
        if isinstance(value, Parametric) and name not in own:  # The parameters of a user's layer are its own alone.
            return _described(value, own, size)
        if isinstance(value, (tuple, list)):
            return [to_json(argument, item) for item in value]
        if isinstance(value, np.generic):
            value = value.item()
        if value is not None and not isinstance(value, (bool, int, float, str, np.dtype)):
            raise TypeError(
                f"{argument} of {name} must be a number, text, a flag, None, or a list of these to be saved, "
                f"not {type(value).__name__}"
            )
        if isinstance(value, int) and abs(value) > limit:
            raise ValueError(
                f"{argument} of {name} must be at most {limit} to be saved, not {value}: a file's ints are sizes, "
                "which are limited; a float is not"
            )
        return str(value) if isinstance(value, np.dtype) else value

    return {"type": name} | {argument: to_json(argument, value) for argument, value in network.arguments().items()}


def _kinds(layers: object) -> Mapping[str, Any]:
    """Return the classes that a file may choose among, by name: fastlstm's, and the user's in `layers`."""
    if not isinstance(layers, (list, tuple)):
        given = f"the class {layers.__name__}" if isinstance(layers, type) else type(layers).__name__
        raise TypeError(f"layers must be a list of classes, not {given}")
    kinds: dict[str, Any] = dict(KINDS)
    for k, kind in enumerate(layers):
        if not (isinstance(kind, type) and issubclass(kind, nn.Layer)):
            given = f"the class {kind.__name__}" if isinstance(kind, type) else type(kind).__name__
            raise TypeError(f"layers[{k}] must be a class made from nn.Layer, not {given}")
        name = kind.__name__
        if kinds.setdefault(name, kind) is not kind:
            other = "one of fastlstm's" if name in KINDS else "another in layers"
            raise ValueError(f"layers[{k}] must not be called {name}, as {other} is: a file knows layers by that name")
    return kinds


class _Builder:
    """The layers of a file that has `size` parameters under `names` names, and no more."""

    def __init__(self, kinds: Mapping[str, Any], size: float, names: float) -> None:
        self.kinds, self.size, self.names = kinds, size, names

    def made(self, value: Any, limit: float = 1) -> Any:
        """Return the described argument or layer; an int above `limit` and the number of parameters raises."""
        if isinstance(value, list):
            return tuple(self.made(item, limit) for item in value)
        if isinstance(value, int) and abs(value) > max(self.size, limit):
            # Raise before a loop over such a size.
            raise ValueError(f"no size can be {value} in a file of {counted(int(self.size), 'parameter')}")
        if not isinstance(value, dict):
            return value
        kind = self._kind(value["type"])
        known, ours = inspect.signature(kind).parameters, KINDS.get(kind.__name__) is kind
        positional: tuple[Any, ...] = ()
        named = {}
        for name, item in value.items():
            if name == "type":
                continue
            if name in ONLY_AT_FIRST or name not in known:
                raise ValueError(f"{kind.__name__} has no {name}")
            if ours and name in ("clip", "cell_clip"):  # A clipping threshold is not a size; 0.1.0 wrote 0 and true.
                made: Any = None if item == 0 else 1.0 if item is True else item
            else:
                made = self.made(item, 1 if ours else MOST_OF_OWN)
            if ours and name == "num_layers" and isinstance(made, int) and made > self.names:
                have = counted(int(self.names), "array")
                raise ValueError(f"there cannot be {made} layers in a file of {have}")  # Raise before a loop over them.
            if known[name].kind is inspect.Parameter.VAR_POSITIONAL:
                positional = made
            else:
                named[name] = made
        return kind(*positional, **named)

    def _kind(self, name: Any) -> Any:
        """Return the class of this name."""
        if name not in self.kinds and isinstance(name, str) and name.isidentifier() and len(name) < 100:
            raise ValueError(
                f"{name} is not one of its layers; if it is your own, load(path, layers=[{name}]) takes it"
            )
        return self.kinds[name]
