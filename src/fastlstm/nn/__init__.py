"""Everything for training: layers, networks, data in batches, losses, optimisers, and the training loop.

A layer has its parameters in one buffer, ``layer.flat``, and returns its gradients in another, ``grads.flat``, so that
an optimiser or clipping is one call on one array.

Layers
    `Dense`, `Embedding`, `Dropout`, `LayerNorm`, `Activation`, `Last`, `Mean`, `Attention`, and `fastlstm.LSTM`,
    `GRU` and `RNN`; `Layer`, the base class of your own. Networks of layers: `Sequential`, `Residual`, `Branches`,
    `Decoder` and `Seq2Seq`.
Data, sequences first, and the losses that go with them
    `Batches`: a target for each sequence or each step, with `mse`, `mae`, `huber`, `logistic_loss`,
    `softmax_cross_entropy`. `Chunks`: one long sequence, the same losses. `Pairs`: for a `Seq2Seq`, with
    `softmax_cross_entropy`. `Transcripts`: labels anywhere in a sequence, with `ctc_loss`. `pad` joins sequences for a
    loop of your own.
Optimisers
    `SGD`, `Adam`, `AdamW`; `CosineDecay`, `ExponentialDecay`, `StepDecay`; `clip_norm`, `clip_value`.
Training and using
    `fit`, `evaluate`, `History`; `softmax`, `ctc_best_path`, `ctc_beam_search`.
"""

from fastlstm.layers.network_layer import Signal
from fastlstm.nn._beams import Hypothesis
from fastlstm.nn.activation import Activation
from fastlstm.nn.adam import Adam, AdamW
from fastlstm.nn.attention import Attention, AttentionMemory, AttentionTape
from fastlstm.nn.batches import Batch, Batches, BatchSource, Chunks, pad
from fastlstm.nn.branches import Branches, BranchesTape, Identity
from fastlstm.nn.classification_losses import logistic_loss, softmax, softmax_cross_entropy
from fastlstm.nn.clipping import clip_norm, clip_value
from fastlstm.nn.ctc import ctc_beam_search, ctc_best_path, ctc_loss
from fastlstm.nn.decoder import Decoder
from fastlstm.nn.decoder_tape import DecoderTape
from fastlstm.nn.dense import Dense, DenseTape
from fastlstm.nn.dropout import Dropout, DropoutTape
from fastlstm.nn.embedding import Embedding, EmbeddingTape
from fastlstm.nn.history import Epoch, History
from fastlstm.nn.layer import Layer, LayerTape
from fastlstm.nn.layer_norm import LayerNorm
from fastlstm.nn.pairs import Pairs
from fastlstm.nn.pooling import Last, Mean
from fastlstm.nn.regression_losses import huber, mae, mse
from fastlstm.nn.residual import Residual
from fastlstm.nn.schedules import CosineDecay, ExponentialDecay, StepDecay
from fastlstm.nn.seq2seq import Seq2Seq, Seq2SeqTape
from fastlstm.nn.sequential import Sequential, SequentialTape
from fastlstm.nn.sgd import SGD
from fastlstm.nn.training import evaluate, fit
from fastlstm.nn.transcripts import Transcripts

__all__ = [
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "Attention",
    "AttentionMemory",
    "AttentionTape",
    "Batch",
    "BatchSource",
    "Batches",
    "Branches",
    "BranchesTape",
    "Chunks",
    "CosineDecay",
    "Decoder",
    "DecoderTape",
    "Dense",
    "DenseTape",
    "Dropout",
    "DropoutTape",
    "Embedding",
    "EmbeddingTape",
    "Epoch",
    "ExponentialDecay",
    "History",
    "Hypothesis",
    "Identity",
    "Last",
    "Layer",
    "LayerNorm",
    "LayerTape",
    "Mean",
    "Pairs",
    "Residual",
    "Seq2Seq",
    "Seq2SeqTape",
    "Sequential",
    "SequentialTape",
    "Signal",
    "StepDecay",
    "Transcripts",
    "clip_norm",
    "clip_value",
    "ctc_beam_search",
    "ctc_best_path",
    "ctc_loss",
    "evaluate",
    "fit",
    "huber",
    "logistic_loss",
    "mae",
    "mse",
    "pad",
    "softmax",
    "softmax_cross_entropy",
]
