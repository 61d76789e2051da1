"""The kernels for tensors, by where these are."""

from __future__ import annotations

from types import ModuleType

from torch import Tensor

from fastlstm.torch import _gpu, _host


def kernels_for(x: Tensor) -> ModuleType:
    """Return the module with `run_forward` and `run_backward` for tensors that are where x is."""
    return _host if x.is_cpu else _gpu
