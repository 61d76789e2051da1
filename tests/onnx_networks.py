"""Networks of all layers, for their ways to ONNX models and back."""

import numpy as np

import fastlstm
from fastlstm import nn, saving

I, H = 3, 5


def lstm(inputs=I, **options):
    return fastlstm.LSTM(inputs, H, seed=1, **options)


def randomised(network):
    """A network whose parameters are all random, gains and biases too."""
    network.flat[:] = np.random.default_rng(3).normal(size=network.flat.size) / 2
    return network


NETWORKS = {
    "dense above": lambda: nn.Sequential(lstm(), nn.Dense(H, 2, seed=2)),
    "tanh": lambda: nn.Sequential(lstm(), nn.Dense(H, 2, activation="tanh", seed=2)),
    "logistic": lambda: nn.Sequential(lstm(), nn.Dense(H, 2, activation="logistic", seed=2)),
    "relu": lambda: nn.Sequential(lstm(), nn.Dense(H, 2, activation="relu", seed=2)),
    "dense below": lambda: nn.Sequential(nn.Dense(4, I, activation="relu", seed=2), lstm()),
    "embedding": lambda: nn.Sequential(nn.Embedding(10, I, seed=2), lstm(), nn.Dense(H, 10, seed=3)),
    "last": lambda: nn.Sequential(lstm(), nn.Last(), nn.Dense(H, 2, seed=2)),
    "last of two": lambda: nn.Sequential(lstm(bidirectional=True), nn.Last(), nn.Dense(2 * H, 2, seed=2)),
    "last of two alone": lambda: nn.Sequential(lstm(bidirectional=True), nn.Last()),
    "last above a norm": lambda: nn.Sequential(lstm(bidirectional=True), nn.LayerNorm(2 * H), nn.Last()),
    "last above a dense": lambda: nn.Sequential(lstm(bidirectional=True), nn.Dense(2 * H, 4, seed=2), nn.Last()),
    "mean": lambda: nn.Sequential(lstm(), nn.Mean(), nn.Dense(H, 2, seed=2)),
    "mean above a dense": lambda: nn.Sequential(lstm(), nn.Dense(H, 2, seed=2), nn.Mean()),
    "norm": lambda: nn.Sequential(nn.LayerNorm(16), lstm(16), nn.LayerNorm(H, epsilon=0.1)),
    "dropout": lambda: nn.Sequential(nn.Dropout(0.2), lstm(), nn.Dropout(0.5), nn.Dense(H, 2, seed=2)),
    "dropout last": lambda: nn.Sequential(lstm(), nn.Dropout(0.5)),
    "two recurrent": lambda: nn.Sequential(lstm(), fastlstm.GRU(H, 4, 2, seed=2), fastlstm.RNN(4, 2, seed=3)),
    "nested": lambda: nn.Sequential(lstm(), nn.Sequential(nn.Dense(H, I, seed=2), lstm()), nn.Dense(H, 2, seed=3)),
    "residual": lambda: nn.Sequential(lstm(), nn.Residual(nn.LayerNorm(H), lstm(H)), nn.Dense(H, 2, seed=3)),
    "residual of two": lambda: nn.Sequential(
        lstm(bidirectional=True), nn.Residual(nn.Dense(2 * H, 2 * H, seed=2)), nn.Last()
    ),
    "residual alone": lambda: nn.Residual(lstm(H), nn.Dense(H, H, seed=2)),
    "branches": lambda: nn.Sequential(
        nn.Branches(lstm(), fastlstm.GRU(I, 4, seed=2), nn.Identity()), nn.Branches(nn.Last(), nn.Mean())
    ),
    "branches, sum": lambda: nn.Sequential(
        nn.Branches(lstm(), fastlstm.GRU(I, H, seed=2), nn.Dense(I, H, seed=4), join="sum"), nn.Dense(H, 2, seed=3)
    ),
    "branches of two": lambda: nn.Sequential(
        nn.Branches(lstm(bidirectional=True), lstm(bidirectional=True, variant="CIFG"), join="sum"), nn.Last()
    ),
    "branches alone": lambda: nn.Branches(lstm(), nn.Sequential(nn.Dropout(0.1), lstm())),
    "pooling alone": lambda: nn.Sequential(nn.Branches(nn.Last(), nn.Mean())),
    "one branch": lambda: nn.Sequential(nn.Branches(lstm(), join="sum")),
    "activations": lambda: nn.Sequential(
        nn.Activation("relu"), lstm(bidirectional=True), nn.Activation("tanh"), nn.Last(), nn.Activation("softmax")
    ),
    "identity": lambda: nn.Sequential(nn.Identity(), lstm(), nn.Identity()),
}  # fmt: skip


def batch_first(network):
    """The same layers in a network whose batch comes first."""
    made = saving.architecture(network) | {"batch_first": True}
    again = saving.build(made)
    again.flat[:] = network.flat
    return again
