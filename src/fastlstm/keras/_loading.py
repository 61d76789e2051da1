"""Networks, layers and arrays from the files of Keras."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fastlstm import nn
from fastlstm._arrays.arrays import Array
from fastlstm._arrays.files import FileError
from fastlstm.keras._files import KerasFile, opened
from fastlstm.keras._guesses import guessed
from fastlstm.keras._layers import build, dtype_of, parts_of
from fastlstm.keras._models import Leaf, chain, leaves, model_of
from fastlstm.keras._options import Notes, Refused
from fastlstm.keras._weights import found, named, role_of
from fastlstm.layers.network_layer import NetworkLayer

Path = str | os.PathLike[str]
Config = Mapping[str, Any] | str


def load(path: Path, *, config: Config | None = None) -> nn.Sequential:
    """Return the network of a file that Keras wrote, as `fastlstm.load` returns one that `save` wrote.

    Nothing in a file is run, and Keras is not needed. The network takes what Keras's model takes, sequences first, and
    gives what its `predict` gives, to rounding. A model within the model becomes part of the chain.

    Parameters
    ----------
    path : str or path
        A model in the format ``.keras`` or the older ``.h5``, of Keras 2 or 3; or, with `config`, weights alone:
        ``.weights.h5``, or ``.h5`` of Keras 2. What a file is shows in its bytes, not in its name.
    config : dict or str, optional
        For a file with weights alone, the model's configuration: what ``model.to_json()`` gives, or
        ``keras.saving.serialize_keras_object(model)``. The file of ``model.to_json()`` may be read with `open`.

    Returns
    -------
    nn.Sequential
        With ``batch_first=True``, and of float64 where any array is, else float32. Layers whose `trainable` is False
        in Keras have it here too.

    Raises
    ------
    ValueError
        If the model is not a chain of layers that fastlstm has, or something of a layer cannot be had here: the message
        names the layer, and what is in the way. Or if `config` is missing, or not needed.
    FileError
        A ValueError: if the file is damaged, or not one of Keras's. Then nothing is loaded.
    OSError
        If the file cannot be read, or is not a regular file.
    TypeError
        If `path` is not a path, or `config` is not a configuration.

    Warns
    -----
    UserWarning
        Says what is left out: masks, for which a call is given `lengths`; what acts in training alone, such as dropout
        in an LSTM; the state that a stateful layer keeps.

    Examples
    --------
    A model that Keras wrote by ``model.save("tagger.keras")``::

        network = fastlstm.keras.load("tagger.keras")
        y, state = network(x, lengths=lengths)
    """
    notes = Notes()
    with opened(path, config) as file, _plainly():
        if file.config is None:
            raise ValueError(
                f"{file.name} has weights alone: config must be the model's configuration, model.to_json() in Keras; "
                "layers() gives what can be told without"
            )
        model = model_of(file, file.config, notes)
        ordered = list(chain(model, file.name, notes))
        arrays = [_arrays(leaf, file) for leaf in ordered]
        dtype = dtype_of([part for own in arrays for part in own])
        network = _network(ordered, arrays, dtype, file)
    _warn(file, notes)
    return network


def layers(path: Path, *, config: Config | None = None) -> dict[str, NetworkLayer]:
    """Return the layers of a file that Keras wrote, by their names: of a model of any shape.

    It is for models that are no chain, as those with two inputs, and for files without a configuration.

    Parameters
    ----------
    path, config
        As for `load`; `config` may be missing. Without it the file shows names, classes and sizes, and all else is
        taken to be what Keras has by itself, tanh and sigmoid in an LSTM, no activation in `Dense`: a warning says so.

    Returns
    -------
    dict of str to layer
        Every layer that fastlstm has and that computes something, by its name in Keras; in a model within the model,
        ``"inner/lstm"``. Recurrent layers give the outputs of all steps, and their state, whatever `return_sequences`
        is. What takes several layers here is an `nn.Sequential` of them: `Dense` with a softmax, cells above each
        other, a `Bidirectional` layer whose outputs are added. Layers have ``batch_first=False``, so that they can
        become part of a network.

    Raises
    ------
    ValueError, FileError, OSError, TypeError
        As `load` does, but for layers that fastlstm has not.

    Warns
    -----
    UserWarning
        As `load` does; and names the layers that are left out, and why.

    Examples
    --------
    Of a model whose encoder is called so in Keras::

        encoder = fastlstm.keras.layers("translator.keras")["encoder"]
        y, (h, c) = encoder(x)
    """
    notes, result = Notes(), dict[str, NetworkLayer]()
    with opened(path, config) as file, _plainly():
        described = guessed(file) if file.config is None else file.config
        for leaf in leaves(model_of(file, described, notes)):
            try:
                arrays = _arrays(leaf, file)
                made = build(leaf.layer, arrays, dtype_of(arrays), leaf.axes)
            except Refused as error:
                notes.unknown[str(error).removeprefix(f"{file.name}: ")] = None
                continue
            ours = [*made.layers, *made.above]
            if ours:
                result[leaf.layer.path] = ours[0] if len(ours) == 1 else nn.Sequential(*ours)
                if file.config is None and arrays:
                    notes.assumed[leaf.layer.label] = None
    _warn(file, notes)
    return result


def weights(path: Path, *, config: Config | None = None) -> dict[str, dict[str, Array]]:
    """Return the arrays of a file that Keras wrote, as they are, by layer: those that fastlstm has not, too.

    Parameters
    ----------
    path, config
        As for `load`; `config` may be missing, and then brings the names of layers, where the file has none.

    Returns
    -------
    dict of str to dict of str to array
        For each layer that has arrays, by its name in Keras, its arrays by the names that the file has: in the older
        format ``"lstm_cell/kernel"``, in the newer one numbers in the order of Keras's `get_weights`, ``"cell/0"``. Of
        any dtype that NumPy has; bfloat16 as float32. The state of an optimiser is not among them.

    Raises
    ------
    ValueError, FileError, OSError, TypeError
        As `load` does, but for what fastlstm has not.

    Examples
    --------
    The kernel of a convolution::

        kernel = fastlstm.keras.weights("speech.keras")["conv1d"]["0"]
    """
    result: dict[str, dict[str, Array]] = {}
    with opened(path, config) as file, _plainly():
        described = guessed(file) if file.config is None else file.config
        for leaf in leaves(model_of(file, described, Notes())):
            own = _raw(leaf, file)
            if own:
                result[leaf.layer.path] = own
    return result


def _arrays(leaf: Leaf, file: KerasFile) -> list[dict[str, Array]]:
    """Return the arrays of a layer; raise Refused if it is not one that fastlstm has."""
    if leaf.own:
        raise leaf.layer.refused("it is of a class of its author's, and nothing in a file is run")
    return found(parts_of(leaf.layer), leaf.place, file.tree, leaf.layer, older=file.root is not None)


def _raw(leaf: Leaf, file: KerasFile) -> dict[str, Array]:
    """Return all arrays of a layer, by names within its group."""
    if leaf.place.group is None:
        return {}
    if file.root is None:
        own = {path: path.removeprefix(f"{leaf.place.group}/").split("/") for path in file.tree.below(leaf.place.group)}
        return {"/".join(name for name in names if name != "vars"): file.tree.read(path) for path, names in own.items()}
    result = {}
    for path, parts in named(leaf.place, file.tree).items():
        own_name = next((k + 1 for k, name in reversed(list(enumerate(parts[:-1]))) if name == leaf.name), 0)
        result["/".join((*parts[own_name:-1], role_of(parts[-1])))] = file.tree.read(path)
    return result


def _network(ordered: list[Leaf], arrays: list[list[dict[str, Array]]], dtype: Any, file: KerasFile) -> nn.Sequential:
    """Return the network of layers in their order."""
    ours: list[NetworkLayer] = []
    axes: int | None = None
    for leaf, own in zip(ordered, arrays, strict=True):
        shape = leaf.layer.config.get("batch_shape") or leaf.layer.config.get("batch_input_shape")
        axes = leaf.axes or (len(shape) if isinstance(shape, list) else axes)
        made = build(leaf.layer, own, dtype, axes)
        last = [nn.Last()] if made.ends else []
        ours += [*made.layers, *last, *made.above]
        if made.ends or any(isinstance(layer, nn.Mean) for layer in made.layers):
            axes = 2
        elif any("state" in layer.needs or isinstance(layer, nn.Embedding) for layer in made.layers):
            axes = 3
    if not ours:
        raise FileError(f"{file.name}: the model has no layer that computes anything")
    try:
        return nn.Sequential(*ours, batch_first=True)
    except (ValueError, TypeError) as error:
        raise FileError(f"{file.name}: its layers do not fit together: {error}") from error


@contextmanager
def _plainly() -> Iterator[None]:
    """Raise ValueError for a layer that is not here: that it is a Refused is nothing to a caller."""
    try:
        yield
    except Refused as error:
        raise ValueError(str(error)) from None


def _warn(file: KerasFile, notes: Notes) -> None:
    for message in notes.messages():
        warnings.warn(f"{file.name}: {message}", UserWarning, stacklevel=3)
