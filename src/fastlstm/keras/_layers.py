"""Layers of Keras as ours: which arrays each has, and what it becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastlstm import nn
from fastlstm._arrays.arrays import Array
from fastlstm._arrays.files import FileError
from fastlstm.keras import _recurrent as recurrent
from fastlstm.keras._options import Layer, Refused, activation_name
from fastlstm.keras._weights import Part
from fastlstm.layers.network_layer import NetworkLayer
from fastlstm.layers.parameters import unfilled

# Layers that hand on what they are given, but in training.
_IN_TRAINING = ("SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization")
_MOST = 1 << 62


class Found(NamedTuple):
    """What a layer of Keras becomes.

    Attributes
    ----------
    layers : list
        Layers of ours, one above the other; none for a layer that does nothing here.
    ends : bool
        Whether the last outputs alone are given, which takes a `Last`.
    above : list
        Layers above that.
    """

    layers: list[NetworkLayer]
    ends: bool = False
    above: Sequence[NetworkLayer] = ()


class _Kind(NamedTuple):
    parts: Callable[[Layer], Sequence[Part]]
    # From the arrays of the parts, their dtype, and how many axes the input has, if that is known.
    build: Callable[[Layer, Sequence[Mapping[str, Array]], Any, int | None], Found]


def parts_of(layer: Layer) -> Sequence[Part]:
    """Return which arrays a layer has; raise Refused if it is not one that fastlstm has."""
    if layer.kind not in _KINDS:
        raise layer.refused("there is nothing like it here")
    return _KINDS[layer.kind].parts(layer)


def build(layer: Layer, arrays: Sequence[Mapping[str, Array]], dtype: Any, axes: int | None = None) -> Found:
    """Return what a layer becomes, with its arrays."""
    for own in arrays:
        for role, array in own.items():
            if array.dtype.kind != "f":
                raise layer.wrong(f"{role} must be an array of floats, not of {array.dtype}")
    # Nothing is drawn for parameters that are set. Their number is bounded: it is that of arrays that are there.
    with unfilled(_MOST):
        try:
            made = _KINDS[layer.kind].build(layer, arrays, dtype, axes)
        except (Refused, FileError):
            raise
        except (ValueError, TypeError) as error:  # Of a layer here that does not take the value of an option.
            raise layer.refused(str(error)) from None
    if not layer.flag("trainable", True):
        for one in (*made.layers, *made.above):
            one.trainable = False
    return made


def dtype_of(arrays: Sequence[Mapping[str, Array]]) -> Any:
    """Return float64 where an array has it, else float32, which has all of float16 and bfloat16."""
    return np.float64 if any(array.dtype == np.float64 for own in arrays for array in own.values()) else np.float32


# ---- recurrent layers ----


def _recurrent_parts(layer: Layer) -> Sequence[Part]:
    return recurrent.plan(layer).parts


def _recurrent(layer: Layer, arrays: Sequence[Mapping[str, Array]], dtype: Any, axes: int | None) -> Found:
    plan, ends = recurrent.plan(layer), not recurrent.returns_sequences(layer)
    if plan.merge is None:
        made = [recurrent.made(layer, [cell], [own], dtype) for cell, own in zip(plan.cells, arrays, strict=True)]
        return Found([*made], ends)
    both = recurrent.made(layer, plan.cells, arrays, dtype)
    above = [] if plan.merge == "concat" else [_merged(both.hidden_size, plan.merge, dtype)]
    return Found([both], ends, above)


def _merged(units: int, merge: str, dtype: Any) -> nn.Dense:
    """Return a layer that adds the outputs of two directions, or takes their mean; it is not trained."""
    dense = nn.Dense(2 * units, units, dtype=dtype)
    dense.params["V"][:] = np.tile(np.eye(units), 2) / (2 if merge == "ave" else 1)
    dense.params["c"][:] = 0
    dense.trainable = False
    return dense


# ---- others ----


def _nothing(layer: Layer) -> Sequence[Part]:
    return ()


def _dense_parts(layer: Layer) -> Sequence[Part]:
    layer.check("units", "activation", "use_bias")
    if activation_name(layer, "activation") != "softmax" and not isinstance(layer.activation("activation"), str):
        raise layer.refused("activation='hard_sigmoid' is not here")
    return [Part(("kernel", *["bias"] * layer.flag("use_bias", True)))]


def _dense(layer: Layer, arrays: Sequence[Mapping[str, Array]], dtype: Any, axes: int | None) -> Found:
    kernel, units = arrays[0]["kernel"], layer.integer("units")
    _check_shape(layer, "kernel", kernel, (kernel.shape[0] if kernel.ndim else 0, units))
    softmax = activation_name(layer, "activation") == "softmax"
    activation: Any = "identity" if softmax else layer.activation("activation")
    dense = nn.Dense(len(kernel), units, activation=activation, dtype=dtype)
    dense.params["V"][:] = kernel.T
    _set(layer, dense.params["c"], arrays[0], "bias", 0)
    return Found([dense, nn.Activation("softmax")] if softmax else [dense])


def _activation_parts(layer: Layer) -> Sequence[Part]:
    layer.check("activation")
    if activation_name(layer, "activation") != "softmax" and not isinstance(layer.activation("activation"), str):
        raise layer.refused("activation='hard_sigmoid' is not here")
    return ()


def _activation(layer: Layer, arrays: Sequence[Mapping[str, Array]], dtype: Any, axes: int | None) -> Found:
    softmax = activation_name(layer, "activation") == "softmax"
    function: Any = "softmax" if softmax else layer.activation("activation")
    return Found([] if function == "identity" else [nn.Activation(function)])


def _relu_parts(layer: Layer) -> Sequence[Part]:
    layer.check()
    return ()


def _softmax_parts(layer: Layer) -> Sequence[Part]:
    layer.check("axis")
    return ()


def _softmax(layer: Layer, arrays: Sequence[Mapping[str, Array]], dtype: Any, axes: int | None) -> Found:
    _check_axis(layer, axes)
    return Found([nn.Activation("softmax")])


def _embedding_parts(layer: Layer) -> Sequence[Part]:
    layer.check("input_dim", "output_dim", "mask_zero")
    if layer.flag("mask_zero"):
        layer.notes.masks[f"mask_zero of {layer.label}"] = None
    return [Part(("embeddings",))]


def _embedding(layer: Layer, arrays: Sequence[Mapping[str, Array]], dtype: Any, axes: int | None) -> Found:
    shape = layer.integer("input_dim"), layer.integer("output_dim")
    _check_shape(layer, "embeddings", arrays[0]["embeddings"], shape)
    embedding = nn.Embedding(*shape, dtype=dtype)
    embedding.params["E"][:] = arrays[0]["embeddings"]
    return Found([embedding])


def _norm_parts(layer: Layer) -> Sequence[Part]:
    layer.check("axis", "epsilon", "center", "scale")
    roles = ["gamma"] * layer.flag("scale", True) + ["beta"] * layer.flag("center", True)
    if not roles:
        raise layer.refused("center=False with scale=False is not here: its size is not known")
    return [Part(tuple(roles))]


def _norm(layer: Layer, arrays: Sequence[Mapping[str, Array]], dtype: Any, axes: int | None) -> Found:
    _check_axis(layer, axes)
    (given,) = arrays
    n = next(iter(given.values())).size
    norm = nn.LayerNorm(n, layer.number("epsilon"), dtype=dtype)
    _set(layer, norm.params["g"], given, "gamma", 1)
    _set(layer, norm.params["b"], given, "beta", 0)
    return Found([norm])


def _dropout_parts(layer: Layer) -> Sequence[Part]:
    layer.check("rate", "noise_shape")
    if layer.config.get("noise_shape"):
        layer.notes.training[f"noise_shape of {layer.label}"] = None
    return ()


def _dropout(layer: Layer, arrays: Sequence[Mapping[str, Array]], dtype: Any, axes: int | None) -> Found:
    return Found([] if layer.config.get("noise_shape") else [nn.Dropout(layer.number("rate"))])


def _left_out_parts(layer: Layer) -> Sequence[Part]:
    layer.notes.training[layer.label] = None
    return ()


def _masking_parts(layer: Layer) -> Sequence[Part]:
    layer.notes.masks[layer.label] = None
    return ()


def _left_out(layer: Layer, arrays: Sequence[Mapping[str, Array]], dtype: Any, axes: int | None) -> Found:
    return Found([])


def _mean_parts(layer: Layer) -> Sequence[Part]:
    layer.check("data_format")
    if layer.config.get("data_format") not in (None, "channels_last"):
        raise layer.refused(f"data_format={layer.config['data_format']!r:.40} is not here")
    return ()


def _mean(layer: Layer, arrays: Sequence[Mapping[str, Array]], dtype: Any, axes: int | None) -> Found:
    return Found([nn.Mean()])


# What may be within TimeDistributed: what computes each step by itself.
_PER_STEP = ("Dense", "Activation", "ReLU", "Softmax", "LayerNormalization")


def _distributed_parts(layer: Layer) -> Sequence[Part]:
    layer.check("layer")
    inner = layer.within(layer.config.get("layer"), "layer")
    if inner.kind not in _PER_STEP:
        raise layer.refused(f"its layer is a {inner.kind!r:.60}, which is not here")
    return [part._replace(group="layer") for part in parts_of(inner)]


def _distributed(layer: Layer, arrays: Sequence[Mapping[str, Array]], dtype: Any, axes: int | None) -> Found:
    return build(layer.within(layer.config.get("layer"), "layer"), arrays, dtype, 2 if axes is None else axes - 1)


def _check_axis(layer: Layer, axes: int | None) -> None:
    """Raise Refused unless a layer computes along the last axis: -1, or as Keras 2 has it after a first call."""
    axis = layer.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if axis != -1 and not (type(axis) is int and axis == (3 if axes is None else axes) - 1):
        raise layer.refused(f"axis={axis!r:.40} is not here: the last axis is, -1")


def _check_shape(layer: Layer, role: str, array: Array, expected: tuple[int, ...]) -> None:
    if array.shape != expected or not all(expected):
        raise layer.wrong(f"{role} must have shape {expected}, not {array.shape}")


def _set(layer: Layer, ours: Array, arrays: Mapping[str, Array], role: str, default: float) -> None:
    """Set a vector, to a default where Keras's layer has none."""
    if role in arrays:
        _check_shape(layer, role, arrays[role], ours.shape)
    ours[:] = arrays.get(role, default)


_KINDS = {
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional"), _Kind(_recurrent_parts, _recurrent)),
    "Dense": _Kind(_dense_parts, _dense),
    "TimeDistributed": _Kind(_distributed_parts, _distributed),
    "Embedding": _Kind(_embedding_parts, _embedding),
    "LayerNormalization": _Kind(_norm_parts, _norm),
    "Activation": _Kind(_activation_parts, _activation),
    "ReLU": _Kind(_relu_parts, lambda *_: Found([nn.Activation("relu")])),
    "Softmax": _Kind(_softmax_parts, _softmax),
    "GlobalAveragePooling1D": _Kind(_mean_parts, _mean),
    "Dropout": _Kind(_dropout_parts, _dropout),
    **dict.fromkeys(_IN_TRAINING, _Kind(_left_out_parts, _left_out)),
    "Masking": _Kind(_masking_parts, _left_out),
    "InputLayer": _Kind(_nothing, _left_out),
}
