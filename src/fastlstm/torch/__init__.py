"""LSTMs, GRUs and simple RNNs for PyTorch: its modules, computed by fastlstm's kernels, and its files.

PyTorch is imported with the first of the names that need it; `load`, `modules`, `save` and `state_dict` do not.
"""

import importlib
from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING, Any

from fastlstm.torch._fallbacks import FallbackError, FallbackWarning, fallbacks, set_fallback
from fastlstm.torch._files import load, modules, save
from fastlstm.torch._state_dicts import state_dict

if TYPE_CHECKING:
    from fastlstm.torch._conversion import from_numpy, to_numpy
    from fastlstm.torch._modules import GRU, LSTM, RNN
    from fastlstm.torch._replacement import replace, restore

__all__ = [
    "GRU", "LSTM", "RNN", "FallbackError", "FallbackWarning", "fallbacks", "from_numpy", "load", "modules", "replace",
    "restore", "save", "set_fallback", "state_dict", "to_numpy",
]  # fmt: skip

# The names that need PyTorch, by their modules.
_OF_PYTORCH = {
    "GRU": "_modules", "LSTM": "_modules", "RNN": "_modules", "from_numpy": "_conversion", "replace": "_replacement",
    "restore": "_replacement", "to_numpy": "_conversion",
}  # fmt: skip

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Return what needs PyTorch, imported when it is first asked for."""
        if name not in _OF_PYTORCH:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if _find_spec("torch") is None:
            raise ModuleNotFoundError(f"{__name__}.{name} needs PyTorch: pip install 'fastlstm[torch]'", name="torch")
        globals()[name] = found = getattr(importlib.import_module(f"{__name__}.{_OF_PYTORCH[name]}"), name)
        return found

    def __dir__() -> list[str]:
        """Return the names of the module, with those that need PyTorch where it is there."""
        return sorted({*globals(), *(_OF_PYTORCH if _find_spec("torch") else ())})
