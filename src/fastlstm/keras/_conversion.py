"""Single layers from what Keras holds in memory, and arrays for it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import fastlstm
from fastlstm import nn
from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, on_host
from fastlstm.keras._files import given, major_of
from fastlstm.keras._layers import build, dtype_of, parts_of
from fastlstm.keras._models import axes_of
from fastlstm.keras._options import HARD_SIGMOIDS, Layer, Notes, Refused, checked_entry, is_own
from fastlstm.keras._recurrent import arrays_of
from fastlstm.keras._weights import in_order
from fastlstm.layers.network_layer import NetworkLayer

# What Keras has for activations here.
_KNOWN = ("tanh", "relu", "logistic", "identity", *HARD_SIGMOIDS.values())


def from_keras(
    config: Mapping[str, Any] | str, weights: Sequence[ArrayLike], *, keras_version: str = "3"
) -> NetworkLayer:
    """Return the layer that computes what a layer of Keras does: the way back is `to_keras`.

    Parameters
    ----------
    config : dict or str
        The layer's class and configuration: ``keras.saving.serialize_keras_object(layer)``, in Keras 2
        ``keras.layers.serialize(layer)``; or JSON of it.
    weights : list of arrays
        ``layer.get_weights()``.
    keras_version : str
        Of the Keras that they are from, which decides what `hard_sigmoid` is.

    Returns
    -------
    layer
        As from `layers`.

    Raises
    ------
    ValueError
        If fastlstm has nothing like the layer, or the weights are not its own.
    TypeError
        If an argument is not what it must be.

    Warns
    -----
    UserWarning
        As `load` does.

    Examples
    --------
    >>> import numpy as np, fastlstm.keras
    >>> config = {"class_name": "Dense", "config": {"name": "tags", "units": 2, "activation": "tanh"}}
    >>> fastlstm.keras.from_keras(config, [np.ones((3, 2), np.float32), np.zeros(2, np.float32)])
    Dense(3, 2, activation='tanh', dtype=float32)
    """
    described = given(config)
    if described is None:
        raise TypeError("config must be the configuration of a layer, not None")
    notes = Notes()
    kind, own = checked_entry(_wrong, described, "the layer")
    layer = Layer(str(own.get("name")), kind, own, major_of(keras_version, "keras_version"), notes)
    try:
        if is_own(described):
            raise layer.refused("it is of a class of its author's")
        arrays = in_order(parts_of(layer), [np.asarray(array) for array in weights], layer)
        made = build(layer, arrays, dtype_of(arrays), axes_of(described))
    except Refused as error:
        raise ValueError(str(error)) from None
    ours = [*made.layers, *made.above]
    if not ours:
        raise ValueError(f"{layer.label}: it computes nothing that is computed here")
    for message in notes.messages():
        warnings.warn(message, UserWarning, stacklevel=2)
    return ours[0] if len(ours) == 1 else nn.Sequential(*ours)


def to_keras(layer: Any, *, use_bias: bool = True) -> list[Array]:
    """Return the arrays that Keras's `set_weights` takes, for the layer of Keras that computes what this one does.

    A whole network gives those of all its layers in turn, as a model of Keras takes them: what `load` has read goes
    back by ``model.set_weights(fastlstm.keras.to_keras(network))`` after a training here.

    Parameters
    ----------
    layer : LSTM, GRU, RNN, Dense, Embedding, LayerNorm, Sequential, ...
        Layers without arrays give none. Layers above each other in one, as with ``num_layers=2``, give those of
        ``keras.layers.RNN([cell, cell])``; bidirectional ones are `Bidirectional` in Keras, and have one layer.
    use_bias : bool
        False for a layer that has ``use_bias=False`` in Keras, whose biases here are zeros; for `LayerNorm`,
        ``center=False``.

    Returns
    -------
    list of arrays
        Copies, on the host.

    Raises
    ------
    ValueError
        If no layer of Keras computes what this one does, as with peepholes; the message names why.
    TypeError
        If it is not a layer or network of fastlstm's, or of a kind that Keras lacks.

    Examples
    --------
    >>> import fastlstm, fastlstm.keras
    >>> lstm = fastlstm.LSTM(3, 8, peephole=False, seed=0)
    >>> [array.shape for array in fastlstm.keras.to_keras(lstm)]
    [(3, 32), (8, 32), (32,)]
    """
    use_bias = check.flag("use_bias", use_bias)
    kind = type(layer)
    if kind is nn.Sequential:
        return [array for one in _without_merges(layer.layers) for array in to_keras(one, use_bias=use_bias)]
    if kind in (fastlstm.LSTM, fastlstm.GRU, fastlstm.RNN):
        _check(layer)
        return arrays_of(layer, use_bias)
    params = {name: np.array(on_host(array)) for name, array in getattr(layer, "params", {}).items()}
    if kind is nn.Dense:
        found = [params["V"].T.copy(), params["c"]]
    elif kind is nn.LayerNorm:
        found = [params["g"], params["b"]]
    elif kind is nn.Embedding:
        return [params["E"]]
    elif kind in (nn.Activation, nn.Dropout, nn.Last, nn.Mean):
        return []
    else:
        raise TypeError(f"layer must be one that Keras has, not {kind.__name__}")
    if not use_bias and found.pop().any():
        raise ValueError("use_bias must be True: the layer's biases are not zeros")
    return found


def _check(layer: Any) -> None:
    """Raise ValueError if no layer of Keras computes what a recurrent one here does."""
    usual = {"peephole": False, "variant": "vanilla", "clip": None, "cell_clip": None, "layer_norm": False}
    for name, value in (usual | {"proj_size": 0}).items():
        own = getattr(layer, name, value)
        if own != value and not (name == "variant" and own == "NP"):
            raise ValueError(f"layer must have {name}={value!r} for Keras, not {own!r}")
    if layer.bidirectional and layer.num_layers > 1:
        raise ValueError(f"layer must have num_layers=1 for Keras if it is bidirectional, not {layer.num_layers}")
    activations: tuple[Any, ...] = getattr(layer, "activations", None) or ()
    if isinstance(layer, fastlstm.RNN):
        activations = (layer.nonlinearity,)
    known = [value if value != "hard_logistic" else HARD_SIGMOIDS[2] for value in activations]
    # Keras has one for both g and h of an LSTM.
    if any(value not in _KNOWN for value in known) or len(set(activations[1:])) > 1:
        raise ValueError(f"layer must have activations that Keras has, not {activations!r}")


def _without_merges(layers: Sequence[Any]) -> list[Any]:
    """Return the layers of a network that are layers in Keras: what adds the outputs of two directions is none."""
    kept: list[Any] = []
    for layer in layers:
        below = next((one for one in reversed(kept) if not isinstance(one, nn.Last)), None)
        if not (isinstance(layer, nn.Dense) and getattr(below, "bidirectional", False) and _merges(layer)):
            kept.append(layer)
    return kept


def _merges(dense: nn.Dense) -> bool:
    """Return whether a layer adds the halves of its input, or takes their mean, and is not trained."""
    units, V = dense.output_size, dense.params["V"]
    if dense.trainable or dense.input_size != 2 * units or dense.params["c"].any():
        return False
    return any(np.array_equal(V, np.tile(np.eye(units, dtype=V.dtype), 2) * scale) for scale in (1, 0.5))


def _wrong(why: str) -> ValueError:
    return ValueError(f"config must be that of a layer of Keras: {why}")
