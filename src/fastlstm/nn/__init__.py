"""What it takes to train: an output layer, losses, an optimiser, gradient clipping.

Layers keep their parameters in one buffer, ``layer.flat``, and give their gradients in another, ``grads.flat``:
optimisers and clipping are then one call on one array.
"""

from fastlstm.nn.batches import Batch, Batches, BatchSource, Chunks, pad
from fastlstm.nn.clipping import clip_norm, clip_value
from fastlstm.nn.dense import Dense, DenseTape
from fastlstm.nn.history import Epoch, History
from fastlstm.nn.losses import mae, mse
from fastlstm.nn.optimisers import Adam
from fastlstm.nn.pooling import Last, Mean
from fastlstm.nn.sequential import Sequential, SequentialTape
from fastlstm.nn.training import evaluate, fit

__all__ = [
    "Adam",
    "Batch",
    "BatchSource",
    "Batches",
    "Chunks",
    "Dense",
    "DenseTape",
    "Epoch",
    "History",
    "Last",
    "Mean",
    "Sequential",
    "SequentialTape",
    "clip_norm",
    "clip_value",
    "evaluate",
    "fit",
    "mae",
    "mse",
    "pad",
]
