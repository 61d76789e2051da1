"""Exact and fast LSTMs on NumPy arrays.

`LSTM` and `RNN` are layers with parameters; `lstm_forward`, `lstm_backward`, `rnn_forward` and `rnn_backward` are the
functions below them, arrays in and arrays out. `fastlstm.reference` has the same equations in plain NumPy, and
`fastlstm.nn` what it takes to train.
"""

__version__ = "0.1.0"

from fastlstm import gpu, nn, reference
from fastlstm._batches import PackedSequence
from fastlstm._config import get_include, get_library, get_num_threads, set_num_threads, show_config
from fastlstm._layer import Tape
from fastlstm._masks import Masks
from fastlstm._parameters import Gradients
from fastlstm._tapes import LSTMTape, RNNTape
from fastlstm.frozen import Frozen, RoundingError, rounding_error
from fastlstm.lstm import LSTM
from fastlstm.lstm_functions import LSTMDeltas, LSTMGradients, lstm_backward, lstm_forward, lstm_workspace
from fastlstm.rnn import RNN
from fastlstm.rnn_functions import RNNDeltas, RNNGradients, rnn_backward, rnn_forward, rnn_workspace
from fastlstm.saving import FileError, load, load_extra, save
from fastlstm.stream import Stream
from fastlstm.tbptt import Chunk, truncated_bptt

__all__ = [
    "LSTM",
    "RNN",
    "Chunk",
    "FileError",
    "Frozen",
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
    "get_include",
    "get_library",
    "get_num_threads",
    "gpu",
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
