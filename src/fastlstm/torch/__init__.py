"""LSTMs, GRUs and simple RNNs for PyTorch: its modules, computed by fastlstm's kernels."""

from importlib.util import find_spec as _find_spec

if _find_spec("torch") is None:
    raise ModuleNotFoundError("fastlstm.torch needs PyTorch: pip install 'fastlstm[torch]'", name="torch")

from fastlstm.torch._conversion import from_numpy, to_numpy
from fastlstm.torch._fallbacks import FallbackError, FallbackWarning, fallbacks, set_fallback
from fastlstm.torch._modules import GRU, LSTM, RNN
from fastlstm.torch._replacement import replace, restore

__all__ = [
    "GRU", "LSTM", "RNN", "FallbackError", "FallbackWarning", "fallbacks", "from_numpy", "replace", "restore",
    "set_fallback", "to_numpy",
]  # fmt: skip
