"""LSTMs, GRUs and simple RNNs for PyTorch: its modules, computed by fastlstm's kernels."""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("fastlstm.torch needs PyTorch: pip install 'fastlstm[torch]'", name="torch") from error

from fastlstm.torch._conversion import from_numpy, to_numpy
from fastlstm.torch._fallbacks import FallbackError, FallbackWarning, fallbacks, set_fallback
from fastlstm.torch._modules import GRU, LSTM, RNN
from fastlstm.torch._replacement import replace, restore

__all__ = [
    "GRU", "LSTM", "RNN", "FallbackError", "FallbackWarning", "fallbacks", "from_numpy", "replace", "restore",
    "set_fallback", "to_numpy",
]  # fmt: skip
