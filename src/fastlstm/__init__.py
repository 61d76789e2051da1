"""Exact and fast LSTMs on NumPy arrays.

`LSTM`, `GRU` and `RNN` are layers with parameters; `lstm_forward`, `lstm_backward` and their kind for the GRU and the
RNN are the functions below them, arrays in and arrays out. `fastlstm.reference` has the same equations in plain NumPy,
and `fastlstm.nn` what it takes to train.
"""

__version__ = "0.1.0"

from typing import TYPE_CHECKING, Any

from fastlstm import _moved, gpu, nn, reference
from fastlstm._config import get_include, get_library, show_config
from fastlstm._engine.batches import PackedSequence
from fastlstm._engine.tapes import GRUTape, LSTMTape, RNNTape
from fastlstm._engine.threads import get_num_threads, set_num_threads
from fastlstm.c_header import export_c
from fastlstm.functions.gru import GRUDeltas, GRUGradients, gru_backward, gru_forward, gru_workspace
from fastlstm.functions.lstm import LSTMDeltas, LSTMGradients, lstm_backward, lstm_forward, lstm_workspace
from fastlstm.functions.rnn import RNNDeltas, RNNGradients, rnn_backward, rnn_forward, rnn_workspace
from fastlstm.layers.frozen import Frozen, RoundingError, rounding_error
from fastlstm.layers.gru import GRU
from fastlstm.layers.lstm import LSTM
from fastlstm.layers.masks import Masks
from fastlstm.layers.parameters import Gradients
from fastlstm.layers.rnn import RNN
from fastlstm.layers.stack import Tape
from fastlstm.layers.stream import Stream
from fastlstm.layers.tbptt import Chunk, truncated_bptt
from fastlstm.saving import FileError, load, load_extra, save

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Chunk",
    "FileError",
    "Frozen",
    "GRUDeltas",
    "GRUGradients",
    "GRUTape",
    "Gradients",
    "LSTMDeltas",
    "LSTMGradients",
    "LSTMTape",
    "Masks",
    "PackedSequence",
    "RNNDeltas",
    "RNNGradients",
    "RNNTape",
    "RoundingError",
    "Stream",
    "Tape",
    "export_c",
    "get_include",
    "get_library",
    "get_num_threads",
    "gpu",
    "gru_backward",
    "gru_forward",
    "gru_workspace",
    "load",
    "load_extra",
    "lstm_backward",
    "lstm_forward",
    "lstm_workspace",
    "nn",
    "reference",
    "rnn_backward",
    "rnn_forward",
    "rnn_workspace",
    "rounding_error",
    "save",
    "set_num_threads",
    "show_config",
    "truncated_bptt",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Return a module under the name that it had in 0.1.0."""
        if name in _moved.MODULES:
            return _moved.module_of(name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
