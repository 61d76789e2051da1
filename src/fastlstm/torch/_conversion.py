"""Copies between the two worlds: a PyTorch module as a layer on NumPy arrays, and the other way round."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

import fastlstm
from fastlstm.torch._modules import GRU, LSTM, RNN
from fastlstm.torch._replacement import plain_class
from fastlstm.torch._stacks import BYTES
from fastlstm.torch._state_dicts import Layer, check_expressible, fill, state_dict

_KINDS = (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN, LSTM, GRU, RNN)
# Hooks that compute a weight before each call, from parameters that may have changed since the last one.
_COMPUTING = (BasePruningMethod, SpectralNorm, WeightNorm)


def to_numpy(module: torch.nn.Module) -> Layer:
    """Return a copy of a module as a layer on NumPy arrays: for streams, `Frozen`, files and C.

    Parameters
    ----------
    module : torch.nn.LSTM, GRU or RNN, or fastlstm.torch's
        In float32 or float64, on any device.

    Returns
    -------
    fastlstm.LSTM, GRU or RNN
        In the precision of the module, with the same results. Its one bias is the sum of the module's two.

    Raises
    ------
    TypeError
        If it is another module, one of a derived class too, or has other numbers.
    ValueError
        If it has dropout of 1, which no layer has.

    Examples
    --------
    >>> import numpy as np, torch, fastlstm.torch
    >>> module = torch.nn.LSTM(3, 8)
    >>> layer = fastlstm.torch.to_numpy(module)
    >>> x = np.ones((5, 2, 3), np.float32)
    >>> np.allclose(layer(x)[0], module(torch.from_numpy(x))[0].detach(), atol=1e-6)
    True
    """
    if not isinstance(module, _KINDS) or plain_class(module) not in _KINDS:
        found = type(module).__name__
        raise TypeError(f"module must itself be an LSTM, a GRU or an RNN of torch.nn or fastlstm.torch, not {found}")
    training, module.training = module.training, False  # for hooks that compute weights, and in training more
    try:
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, _COMPUTING):
                hook(module, ())
    finally:
        module.training = training
    weights = {name: getattr(module, name).detach().cpu() for names in module._all_weights for name in names}
    dtypes = {weight.dtype for weight in weights.values()}
    if len(dtypes) > 1 or not dtypes <= set(BYTES):
        found = ", ".join(sorted(map(str, dtypes)))
        raise TypeError(f"module must be in float32 or float64 throughout, not {found}: module.float() makes it")
    options: dict[str, Any] = {name: getattr(module, name) for name in ("num_layers", "bidirectional", "batch_first")}
    options |= {"dropout": module.dropout if module.num_layers > 1 else 0.0}
    options |= {"dtype": str(dtypes.pop()).removeprefix("torch.")}
    layer: Layer
    if module.mode == "LSTM":
        for name, usual in (("peephole", False), ("variant", "vanilla"), ("layer_norm", False)):
            options[name] = getattr(module, name, usual)
        layer = fastlstm.LSTM(module.input_size, module.hidden_size, proj_size=module.proj_size, **options)
    elif module.mode == "GRU":
        layer = fastlstm.GRU(module.input_size, module.hidden_size, **options)
    else:
        nonlinearity: Any = module.nonlinearity
        layer = fastlstm.RNN(module.input_size, module.hidden_size, nonlinearity=nonlinearity, **options)
    fill(layer, {name: weight.numpy() for name, weight in weights.items()})
    return layer


def from_numpy(layer: Layer) -> LSTM | GRU | RNN:
    """Return a copy of a layer on NumPy arrays as a module of PyTorch.

    Parameters
    ----------
    layer : fastlstm.LSTM, GRU or RNN

    Returns
    -------
    LSTM, GRU or RNN
        In the precision of the layer, on the CPU, trainable if the layer is. The layer's bias is its bias_ih, and
        bias_hh is 0, but for what a GRU has inside r.

    Raises
    ------
    TypeError
        If it is another layer.
    ValueError
        If it has an option that no module has; the message names it.

    Examples
    --------
    >>> import numpy as np, torch, fastlstm.torch
    >>> layer = fastlstm.LSTM(3, 8, seed=0)
    >>> module = fastlstm.torch.from_numpy(layer)
    >>> module
    LSTM(3, 8, peephole=True)
    >>> x = np.ones((5, 2, 3), np.float32)
    >>> np.allclose(layer(x)[0], module(torch.from_numpy(x))[0].detach(), atol=1e-6)
    True
    """
    if type(layer) not in (fastlstm.LSTM, fastlstm.GRU, fastlstm.RNN):
        raise TypeError(f"layer must be a fastlstm.LSTM, GRU or RNN, not {type(layer).__name__}")
    check_expressible(layer, "recurrent_dropout", "drop_connect", "batch_invariant")
    options: dict[str, Any] = {
        name: getattr(layer, name) for name in ("num_layers", "bidirectional", "batch_first", "dropout")
    }
    options["dtype"] = getattr(torch, str(layer.dtype))
    module: LSTM | GRU | RNN
    if isinstance(layer, fastlstm.LSTM):
        options |= {name: getattr(layer, name) for name in ("peephole", "variant", "layer_norm", "proj_size")}
    elif isinstance(layer, fastlstm.RNN):
        options["nonlinearity"] = layer.nonlinearity
    kind = {fastlstm.LSTM: LSTM, fastlstm.GRU: GRU, fastlstm.RNN: RNN}[type(layer)]
    with torch.random.fork_rng(devices=[]):  # for first values that do not stay
        module = kind(layer.input_size, layer.hidden_size, **options)
    module.requires_grad_(layer.trainable)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in state_dict(layer).items()})
    return module
