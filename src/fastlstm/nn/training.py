"""Training a network on batches, and measuring it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastlstm._arrays import checks as check
from fastlstm.nn import _training_checks as checks
from fastlstm.nn._progress import progress_bar
from fastlstm.nn._trainer import Loss, Trainer, mean_loss
from fastlstm.nn.batches import BatchSource
from fastlstm.nn.history import History

__all__ = ["evaluate", "fit"]


def evaluate(model: Any, loss: Loss, batches: BatchSource) -> float:
    """Return the mean loss over data, with nothing dropped.

    Parameters
    ----------
    model, loss
        The same as for `fit`.
    batches : Batches or other BatchSource

    Returns
    -------
    float
        The mean over all elements: each batch counts by its size, whatever weights its classes have in the loss.

    Raises
    ------
    TypeError
        If `model`, `loss` or `batches` is not what it must be.
    ValueError
        If there is nothing to take the mean of, or if `batches` carry a state, as `Chunks` do, and a layer of the model
        is bidirectional.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> from fastlstm import nn
    >>> model = nn.Sequential(fastlstm.LSTM(1, 4, seed=0), nn.Last(), nn.Dense(4, 1, seed=1))
    >>> x = np.zeros((6, 5, 1), np.float32)
    >>> loss = nn.evaluate(model, nn.mse, nn.Batches(x, np.ones((6, 1), np.float32), batch_size=4))
    >>> 0.5 < loss < 2
    True
    """
    checks.loss(loss)
    checks.source("batches", model, batches)
    return mean_loss("batches", model, loss, batches)[0]


def fit(
    model: Any,
    loss: Loss,
    train: BatchSource,
    validation: BatchSource | None = None,
    *,
    optimiser: Any = None,
    epochs: int = 10,
    clip: float | None = None,
    average: float | None = None,
    score: Callable[[Any], float] | None = None,
    patience: int | None = None,
    seed: int = 0,
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
) -> History:
    """Train a network.

    For each batch: ``y, state, tape = model.forward(**batch.inputs, rng=rng)``,
    ``value, dy = loss(y, **batch.targets)``, ``grads = model.backward(tape, dy)``, without ``grads.x`` where the
    network can leave it out, and a step of the optimiser. After each epoch the network is measured on the validation
    data and by `score`; at the end it has the parameters of the best epoch, or the last ones where nothing was
    measured. Ctrl-C ends the training as if it were done, and an error during training leaves the same parameters.
    Whatever can be known to be wrong raises before the first batch. The same arguments give bitwise the same network.

    Parameters
    ----------
    model : Sequential, Seq2Seq or the like
        The network, which is changed in place, but for layers whose `trainable` is False.
    loss : callable
        ``loss(y, **batch.targets) -> (value, dy)``: `mse`, `softmax_cross_entropy`, ...; with options, a
        `functools.partial`.
    train, validation : Batches, Chunks or other BatchSource
        The data, in the model's layout, (T, B, ...) or with its `batch_first` (B, T, ...). Training takes them in
        random order, and carries the state from batch to batch if the source says so.
    optimiser : optional
        An optimiser of ``model.flat``. Default: ``Adam(model.flat)``.
    epochs : int
        The largest number of epochs.
    clip : float, optional
        The norm above which gradients are shortened.
    average : float, optional
        Measure and return a running mean of the parameters instead of the last ones (Polyak and Juditsky, 1992). The
        number is the share of the mean that each step leaves, such as 0.99; the first steps form a plain mean.
    score : callable, optional
        ``score(model) -> float``, called after each epoch; the epoch with the highest score is the best.
    patience : int, optional
        Stop after this number of epochs without a better one.
    seed : int
        The seed for the order of the batches and for dropout.
    progress : bool
        Show a progress bar, where the package tqdm is installed: ``pip install 'fastlstm[train]'``.
    checkpoint : str or path, optional
        A file to be written after each epoch, with everything needed to resume. If that fails, as on a full disk, the
        file stays as it was, and the training goes on.
    resume : bool
        Resume from that file if it exists: bitwise as if there had been no break, where the other arguments and the
        number of threads are the same. Network, optimiser and average are compared.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        If the optimiser is for other parameters, or an argument is out of its range; if `train` or `validation`
        carry a state, as `Chunks` do, and a layer of the model is bidirectional, or have no batches in its layout; if
        all of the model is frozen.
    FileError
        A ValueError: if the checkpoint is damaged, or of another network or optimiser.
    TypeError
        If an argument is not what it must be; if a part of the model is frozen, and the optimiser is not fastlstm's.
    OSError
        If there can be no file at `checkpoint`.

    Warns
    -----
    RuntimeWarning
        If a loss or a gradient is not finite; the training stops, and the best parameters so far stay. If a checkpoint
        could not be written.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> from fastlstm import nn
    >>> x = np.random.default_rng(0).normal(size=(64, 20, 1)).astype(np.float32)  # sequences, steps, inputs
    >>> target = x.mean(axis=1)
    >>> model = nn.Sequential(fastlstm.LSTM(1, 16, seed=0), nn.Last(), nn.Dense(16, 1, seed=1))
    >>> batches = nn.Batches(x, target, batch_size=16)
    >>> history = nn.fit(model, nn.mse, batches, epochs=30, clip=1.0, progress=False)
    >>> history.epochs[-1].loss < history.epochs[0].loss / 5
    True
    """
    if checkpoint is not None:
        checkpoint = check.path("checkpoint", checkpoint)
    training = Trainer(model, loss, train, validation, optimiser, clip, average, score, patience, seed, checkpoint)
    check.positive_int("epochs", epochs)
    progress, resume = check.flag("progress", progress), check.flag("resume", resume)
    if resume and checkpoint is None:
        raise ValueError("resume needs checkpoint, the file to go on from")
    if resume and checkpoint is not None and Path(checkpoint).exists():
        training.read(checkpoint)
    try:
        done = len(training.progress.history.epochs)
        with progress_bar(progress, len(train), done, epochs) as bar:
            training.run(epochs, bar, checkpoint)
        history = training.finish()
        if history.stopped == "diverged":
            training.warn(2)
        return history
    except KeyboardInterrupt:  # This is a second one, or one before or after the loop over the epochs.
        return training.finish()
    except BaseException:
        training.finish()
        raise
