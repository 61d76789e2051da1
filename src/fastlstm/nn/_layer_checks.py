"""Checks of the layers that a network is made of, and of the sequences that it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastlstm._arrays.arrays import Array
from fastlstm.layers.network_layer import NetworkLayer


def check_layer(name: str, value: object) -> None:
    """Raise TypeError unless the value is a layer that a network can be made of."""
    if not isinstance(value, NetworkLayer):
        given = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise TypeError(f"{name} must be an LSTM, GRU, RNN, Dense or another nn.Layer, or Sequential, not {given}")
    if "flat" not in vars(value):
        raise TypeError(f"{name} has no parameters' buffer: the __init__ of {type(value).__name__} must call super()'s")


def check_part(name: str, layer: Any) -> None:
    """Raise unless the value is a layer with no layout of its own."""
    check_layer(name, layer)
    if getattr(layer, "batch_first", False):
        raise ValueError(f"{name} must not have batch_first: give it to the network, batch_first=True")


def check_sequences(name: str, network: Any, sequences: Sequence[Array] | Array) -> None:
    """Raise unless these arrays, of one shape but for the first axis, are sequences of what the network takes."""
    shape = network._step_shape if isinstance(network, NetworkLayer) else None
    if shape is None or not len(sequences):
        return
    first = np.asarray(sequences[0])
    if first.shape[1:] != shape or first.ndim == 0:
        axes = ", ".join(("T", *map(str, shape))) + ("" if shape else ",")
        raise ValueError(
            f"{name} must be N sequences of shape ({axes}) each, steps first; the first has shape {first.shape}"
        )
    if shape and first.dtype != network.dtype:
        raise TypeError(f"{name} must have dtype {network.dtype}, the network's, not {first.dtype}")
