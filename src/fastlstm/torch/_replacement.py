"""The modules of a model exchanged in place: PyTorch's for ours, and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import torch
from torch.nn.utils import parametrize

from fastlstm.torch._modules import GRU, LSTM, RNN
from fastlstm.torch._recurrent import Recurrent
from fastlstm.torch._stacks import beyond_pytorch

ModelT = TypeVar("ModelT", bound=torch.nn.Module)

Filter: TypeAlias = Callable[[torch.nn.Module, str], bool]
Classes: TypeAlias = dict[type[torch.nn.Module], type[torch.nn.Module]]

_OURS: Classes = {torch.nn.LSTM: LSTM, torch.nn.GRU: GRU, torch.nn.RNN: RNN}
_NAMES = {theirs.__name__ for theirs in _OURS}
_PYTORCHS = {ours: theirs for theirs, ours in _OURS.items()}


def replace(model: ModelT, *, filter: Filter | None = None) -> ModelT:
    """Let fastlstm compute every `torch.nn.LSTM`, `torch.nn.GRU` and `torch.nn.RNN` of a model, in place.

    Each module stays the object that it is, with its parameters, hooks, names and place in the model; only its class
    changes. So an optimiser that was made before goes on, and files of the state go on fitting.

    Parameters
    ----------
    model : torch.nn.Module
        A model, or such a module itself.
    filter : callable, optional
        ``filter(module, name)`` says which modules are to be replaced. Default: all.

    Returns
    -------
    torch.nn.Module
        The model itself.

    Warns
    -----
    UserWarning
        Names what could not be replaced, and why: modules of a class derived from PyTorch's, which may compute
        something else, modules whose `forward` has been replaced, and modules that torch.jit has compiled. Or says
        that the model has no such module.

    Examples
    --------
    >>> import torch, fastlstm.torch
    >>> model = torch.nn.Sequential(torch.nn.LSTM(3, 8))
    >>> fastlstm.torch.replace(model)
    Sequential(
      (0): LSTM(3, 8)
    )
    >>> type(model[0])
    <class 'fastlstm.torch.LSTM'>
    """
    replaced = _exchange(model, _OURS, filter, "replaced")
    known: tuple[type, ...] = (torch.jit.ScriptModule, *_OURS, *_PYTORCHS)
    if not any(isinstance(module, known) for module in model.modules()):
        warnings.warn("nothing to replace: no module of the model is an LSTM, a GRU or an RNN", stacklevel=2)
    return replaced


def restore(model: ModelT, *, filter: Filter | None = None) -> ModelT:
    """Let PyTorch compute every `LSTM`, `GRU` and `RNN` of fastlstm's in a model again, in place.

    Parameters
    ----------
    model, filter
        As for `replace`.

    Returns
    -------
    torch.nn.Module
        The model itself.

    Warns
    -----
    UserWarning
        Names what could not be restored, and why: modules with an option that PyTorch's lack.

    Examples
    --------
    >>> import torch, fastlstm.torch
    >>> type(fastlstm.torch.restore(fastlstm.torch.LSTM(3, 8)))
    <class 'torch.nn.modules.rnn.LSTM'>
    """
    return _exchange(model, _PYTORCHS, filter, "restored")


def _exchange(model: ModelT, classes: Classes, filter: Filter | None, done: str) -> ModelT:
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")
    if filter is not None and not callable(filter):
        raise TypeError(f"filter must be a function of a module and its name, not {type(filter).__name__}")
    left = []
    modules: list[tuple[str, torch.nn.Module]] = list(model.named_modules())
    for name, module in modules:
        compiled = classes is _OURS and isinstance(module, torch.jit.ScriptModule) and module.original_name in _NAMES
        if not (compiled or isinstance(module, tuple(classes))) or (filter is not None and not filter(module, name)):
            continue
        reason = "torch.jit has compiled it" if compiled else _change(module, classes)
        if reason:
            left.append(f"{name or 'the model itself'}: {reason}")
    if left:
        warnings.warn(f"not {done}: {'; '.join(left)}", UserWarning, stacklevel=3)
    return model


def plain_class(module: torch.nn.Module) -> type[torch.nn.Module]:
    """Return the class of a module; of a parametrized one, that from which PyTorch has derived its class."""
    own = type(module)
    plain: type[torch.nn.Module] = own.__bases__[0] if parametrize.is_parametrized(module) else own
    return plain


def _change(module: torch.nn.Module, classes: Classes) -> str | None:
    """Change the class of a module; return why that cannot be done, or None."""
    own, plain = type(module), plain_class(module)
    if plain not in classes:
        return (
            f"{own.__name__} is a class derived from {' or '.join(t.__name__ for t in classes if issubclass(own, t))}"
        )
    if "forward" in vars(module):
        return "its forward has been replaced by another function"
    lacking = beyond_pytorch(module._options()) if isinstance(module, Recurrent) else None
    if lacking:
        return f"PyTorch has no {lacking}"
    changed: type[Any] = classes[plain]
    if plain is not own:  # PyTorch makes a class for each such module, with a property for each parametrization.
        kept = {name: value for name, value in vars(own).items() if name not in ("__dict__", "__weakref__")}
        changed = type(own.__name__, (changed,), kept)
    module.__class__ = changed
    return None
