"""Count the calls that are left to PyTorch's own implementation, and refuse them on request."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from typing import Literal

Policy = Literal["allow", "warn", "error"]

fallbacks: Counter[str] = Counter()
"""How many calls were left to PyTorch's own implementation, by reason. ``fallbacks.clear()`` starts again."""

_policy: Policy = "allow"


class FallbackError(RuntimeError):
    """A call that the kernels do not compute, where `set_fallback` allows none."""

    __module__ = "fastlstm.torch"


class FallbackWarning(UserWarning):
    """A call that the kernels do not compute, where `set_fallback` asks for warnings."""

    __module__ = "fastlstm.torch"


def set_fallback(policy: Policy) -> None:
    """Set what becomes of a call that the kernels do not compute, but PyTorch's own implementation does.

    Such calls are those with other numbers than float32 and float64, as of bfloat16 modules and under autocast, those
    within ``torch.func`` transforms, forward-mode differentiation and tracing, and those with tensor subclasses.
    `fallbacks` counts them.

    Parameters
    ----------
    policy : str
        "allow", the default: PyTorch computes it. "warn": it does, with a `FallbackWarning`. "error": a
        `FallbackError`, as a test or a benchmark may want it.

    Raises
    ------
    ValueError
        If it is none of these.

    Examples
    --------
    >>> import torch, fastlstm.torch
    >>> lstm, x = fastlstm.torch.LSTM(3, 8), torch.zeros(5, 2, 3)
    >>> fastlstm.torch.set_fallback("error")
    >>> y, state = lstm(x)
    >>> lstm.bfloat16()(x.bfloat16())
    Traceback (most recent call last):
    fastlstm.torch.FallbackError: a call of LSTM is left to PyTorch, which set_fallback("error") forbids: torch.bfloat16
    >>> fastlstm.torch.set_fallback("allow")
    """
    global _policy
    if policy not in ("allow", "warn", "error"):
        raise ValueError(f"policy must be allow, warn or error, not {policy!r}")
    _policy = policy


def note(name: str, reason: str) -> None:
    """Count a call of the module `name` that is left to PyTorch; warn or raise where that is asked for."""
    fallbacks[reason] += 1
    if _policy == "allow":
        return
    if _policy == "error":
        raise FallbackError(f'a call of {name} is left to PyTorch, which set_fallback("error") forbids: {reason}')
    warnings.warn(f"a call of {name} is left to PyTorch: {reason}", FallbackWarning, stacklevel=_level_of_caller())


def _level_of_caller() -> int:
    """Return how far above `note` a call of a module begins, outside PyTorch: hooks and containers lie between."""
    frame, level = sys._getframe(2), 2
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in ("fastlstm", "torch"):
        frame, level = frame.f_back, level + 1
    return level
