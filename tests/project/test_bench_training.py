"""bench/training.py: the twin in PyTorch is the same network, trained the same way."""

import importlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import fastlstm
from fastlstm import nn

for package in ("matplotlib", "platformdirs", "threadpoolctl", "torch", "tqdm"):
    pytest.importorskip(package)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def training():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "examples")
        patch.syspath_prepend(ROOT / "bench")
        yield importlib.import_module("training")


def lstm(*sizes, **options):
    return fastlstm.LSTM(*sizes, peephole=False, seed=0, **options)


def classes(network, rng, *, per_step):
    x = [rng.normal(size=(T, 3)).astype(np.float32) for T in rng.integers(2, 9, 20)]
    targets = [rng.integers(4, size=len(one)) for one in x] if per_step else rng.integers(4, size=20)
    weights = np.array([1, 2, 0, 0.5], np.float32)
    return network, nn.Batches(x, targets, 6), partial(nn.softmax_cross_entropy, class_weights=weights)


def tagger(rng):
    layers = nn.Dropout(0.5), lstm(3, 5, 2, bidirectional=True), nn.Dense(10, 4, activation="tanh", seed=1)
    return classes(nn.Sequential(*layers), rng, per_step=True)


def last(rng):
    return classes(
        nn.Sequential(lstm(3, 5, bidirectional=True), nn.Last(), nn.Dense(10, 4, seed=1)), rng, per_step=False
    )


def mean(rng):
    return classes(nn.Sequential(lstm(3, 5, 2, dropout=0.5), nn.Mean(), nn.Dense(5, 4, seed=1)), rng, per_step=False)


def text(rng):
    ids = rng.integers(4, size=301)
    network = nn.Sequential(nn.Embedding(4, 3, seed=0), lstm(3, 5, 2), nn.Dense(5, 4, seed=1))
    return network, nn.Chunks(ids[:-1], ids[1:], 4, 10), nn.softmax_cross_entropy


class Spoken:
    def __init__(self, rng):
        self.x = [rng.normal(size=(T, 3)).astype(np.float32) for T in rng.integers(9, 15, 10)]
        self.labels, self.lengths = rng.integers(1, 4, size=(10, 4)), rng.integers(0, 5, 10)

    def __len__(self):
        return 3

    def epoch(self, rng=None):
        for batch in nn.Batches(self.x, None, 4).epoch(rng):
            labels = {"labels": self.labels[batch.rows], "label_lengths": self.lengths[batch.rows]}
            yield batch._replace(targets={"lengths": batch.inputs.get("lengths"), **labels})


def speech(rng):
    network = nn.Sequential(lstm(3, 5, bidirectional=True), nn.Dense(10, 4, seed=1))
    return network, Spoken(rng), partial(nn.ctc_loss, per_label=False)


@pytest.mark.parametrize("make", [tagger, last, mean, text, speech])
def test_the_same_curve(training, default_threads, make):
    def task():
        network, batches, loss = make(np.random.default_rng(0))
        return training.Task(training.comparable(network), batches, loss, 1e-2, 0.5)

    found = training.compare(task, epochs=4, threads=1)
    assert found["losses_apart"] < 1e-5
    losses = found["losses"]["fastlstm"]
    assert losses[-1] < losses[0]
    assert found["seconds_per_epoch"]["PyTorch"] > 0
    assert "Dropout" not in found["network"]
    results = {"a task": [found, found]}
    assert training.table(results).count("| a task | 1 |") == 2
    assert [axes.get_ylabel() for axes in training.picture(results).axes] == ["training loss, a mark for each epoch"]


def test_a_layer_without_a_twin(training):
    with pytest.raises(TypeError, match="no twin of"):
        training.Twin(nn.Sequential(fastlstm.RNN(3, 4)))
