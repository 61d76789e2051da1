"""The equations of the LSTM, also with layer normalisation, the GRU and the RNN in NumPy: the executable specification.

Slow and meant for reading. The names are those of "LSTM: A Search Space Odyssey" (Greff et al., 2017): `bars` are the
values before activation, which it writes with a bar; a name with a `d` before it is the gradient of the loss J with
respect to that name, and `deltas` are those with respect to `bars`. The compiled kernels are tested against this
module, and this module against finite differences.
"""

from fastlstm.reference.gru import GRUGradients, GRUTape, gru_backward, gru_forward
from fastlstm.reference.layer_norm_lstm import (
    LayerNormLSTMGradients,
    LayerNormLSTMTape,
    layer_norm_lstm_backward,
    layer_norm_lstm_forward,
)
from fastlstm.reference.lstm import BLOCKS as BLOCKS
from fastlstm.reference.lstm import LSTMGradients, LSTMTape, lstm_backward, lstm_forward
from fastlstm.reference.rnn import RNNGradients, RNNTape, rnn_backward, rnn_forward

__all__ = [
    "GRUGradients",
    "GRUTape",
    "LSTMGradients",
    "LSTMTape",
    "LayerNormLSTMGradients",
    "LayerNormLSTMTape",
    "RNNGradients",
    "RNNTape",
    "gru_backward",
    "gru_forward",
    "layer_norm_lstm_backward",
    "layer_norm_lstm_forward",
    "lstm_backward",
    "lstm_forward",
    "rnn_backward",
    "rnn_forward",
]
