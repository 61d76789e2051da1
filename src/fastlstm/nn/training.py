"""The loop: batches through a network, gradients, steps; validation, keeping the best, stopping, going on later."""

from __future__ import annotations

import math
import os
import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastlstm import _checks as check
from fastlstm import _files
from fastlstm._arrays import Array
from fastlstm._files import FileError
from fastlstm._parameters import Gradients
from fastlstm.nn.adam import Adam
from fastlstm.nn.batches import Batch, Batches, BatchSource
from fastlstm.nn.clipping import clip_norm
from fastlstm.nn.history import Epoch, History
from fastlstm.nn.sequential import check_sequences

__all__ = ["evaluate", "fit"]

Loss = Callable[..., tuple[float, Array]]

CHECKPOINT = "checkpoint"


def evaluate(model: Any, loss: Loss, batches: BatchSource) -> float:
    """Give the mean loss over data, with nothing dropped.

    Parameters
    ----------
    model, loss
        As for `fit`.
    batches : Batches or other BatchSource

    Returns
    -------
    float
        The mean over all elements: each batch counts by its size, whatever weights its classes have in the loss.

    Raises
    ------
    ValueError
        If there is nothing to take the mean of.

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
    carry, state = getattr(batches, "carries_state", False), None
    losses, sizes = [], []
    for batch in batches.epoch():
        y, state = model(**batch.inputs, **({"state": state} if carry else {}))
        losses.append(loss(y, **batch.targets)[0])
        sizes.append(batch.size)
    if not sum(sizes):
        raise ValueError("batches must have something to take the mean of")
    return float(np.average(losses, weights=sizes))


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
    ``value, dy = loss(y, **batch.targets)``, ``grads = model.backward(tape, dy)``, and a step of the optimiser. After
    each epoch the network is measured on the validation part and by `score`; at the end it has the parameters of the
    best epoch, where there is a measure, else the last ones. Ctrl-C ends the training as if it were done. The same
    arguments give bitwise the same network.

    Parameters
    ----------
    model : Sequential, Seq2Seq or the like
        Changed in place.
    loss : callable
        ``loss(y, **batch.targets) -> (value, dy)``: `mse`, `softmax_cross_entropy`, ...; with options, a
        `functools.partial`.
    train, validation : Batches, Chunks or other BatchSource
        In random order for training, which carries the state from batch to batch where the source says so.
    optimiser : optional
        For ``model.flat``. Default: ``Adam(model.flat)``.
    epochs : int
        At most so many.
    clip : float, optional
        The norm above which gradients are shortened.
    average : float, optional
        Measure and give a running mean of the parameters instead of the last ones (Polyak and Juditsky, 1992): the
        share of the mean that each step leaves, such as 0.99; a plain mean at first.
    score : callable, optional
        ``score(model) -> float``, higher is better, after each epoch; then it decides which is best.
    patience : int, optional
        Stop after so many epochs without a better one.
    seed : int
        Of the order of the batches, and of dropout.
    progress : bool
        Show a bar, with tqdm.
    checkpoint : str or path, optional
        A file to be written after each epoch, with all that it takes to go on.
    resume : bool
        Go on from that file if it is there: bitwise as if there had been no break, where the other arguments and the
        number of threads are the same. Network, optimiser and average are compared.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        If the optimiser is for other parameters, or an argument is out of its range.
    FileError
        A ValueError: if the checkpoint is damaged, or of another network or optimiser.
    ImportError
        If tqdm, or for a checkpoint safetensors, is missing: ``pip install 'fastlstm[train]'``.

    Warns
    -----
    RuntimeWarning
        If a loss or a gradient is not finite; the training stops, and what was best before stays.

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
    training = _Training(model, loss, train, validation, optimiser, clip, average, score, patience, seed)
    check.positive_int("epochs", epochs)
    progress, resume = check.flag("progress", progress), check.flag("resume", resume)
    if resume and checkpoint is None:
        raise ValueError("resume needs checkpoint, the file to go on from")
    if resume and checkpoint is not None and Path(checkpoint).exists():
        training.read(checkpoint)
    with _bar(progress, training, epochs) as bar:
        training.run(epochs, bar, checkpoint)
    return training.history


class _Training:
    """A training under way."""

    def __init__(
        self, model: Any, loss: Loss, train: BatchSource, validation: BatchSource | None, optimiser: Any,
        clip: float | None, average: float | None, score: Callable[[Any], float] | None, patience: int | None,
        seed: int,
    ) -> None:  # fmt: skip
        if not isinstance(getattr(model, "flat", None), np.ndarray):
            found = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
            raise TypeError(f"model must be a network, such as an nn.Sequential, not {found}")
        if not callable(loss):
            raise TypeError(
                f"loss must be a function of outputs and targets, such as nn.mse, not {type(loss).__name__}"
            )
        for name, source in (("train", train), ("validation", validation)):
            if source is not None and not (hasattr(source, "epoch") and hasattr(source, "__len__")):
                raise TypeError(
                    f"{name} must be Batches, Chunks, Pairs, Transcripts or another BatchSource, "
                    f"not {type(source).__name__}"
                )
            if type(source) is Batches:
                check_sequences(f"{name}: inputs", model, source.inputs)
                if source.targets is None:
                    raise ValueError(f"{name} must have targets to learn from: they are None in these Batches")
        if optimiser is not None and (isinstance(optimiser, type) or not hasattr(optimiser, "step")):
            found = f"the class {optimiser.__name__}" if isinstance(optimiser, type) else type(optimiser).__name__
            raise TypeError(f"optimiser must be one for model.flat, such as nn.Adam(model.flat), not {found}")
        self.model, self.loss, self.train, self.validation, self.score = model, loss, train, validation, score
        self.optimiser: Any = Adam(model.flat) if optimiser is None else optimiser
        if self.optimiser.flat is not model.flat:
            raise ValueError("optimiser must be for model.flat: make it once the layers are in the network")
        self.clip = math.inf if clip is None else check.above_zero("clip", clip)
        self.decay = None if average is None else check.within("average", average, 1)
        if patience is not None and check.positive_int("patience", patience) and validation is None and score is None:
            raise ValueError("patience needs validation or score, to tell which epoch is best")
        self.patience = patience
        self.rng = check.seed("seed", seed)
        self.history = History()
        self.mean = None if self.decay is None else model.flat.copy()
        self.steps = 0  # of this training: the optimiser may have made some before
        self.best: Array | None = None  # the parameters of that epoch
        self.grads: Gradients | None = None
        self.culprit = ""  # what was not finite in the batch at which training stopped

    def run(self, epochs: int, bar: Any, checkpoint: str | os.PathLike[str] | None) -> None:
        """Train until there is a reason to stop."""
        history = self.history
        history.stopped = "epochs"
        try:
            while len(history.epochs) < epochs:
                if self._has_waited():
                    history.stopped = "patience"
                    break
                bar.set_description(f"epoch {len(history.epochs) + 1}/{epochs}", refresh=False)
                if not self._epoch(bar):
                    history.stopped = "diverged"
                    break
                if checkpoint is not None:
                    self.write(checkpoint)
        except KeyboardInterrupt:
            history.stopped = "interrupted"
        last = self.best if self.best is not None else self.mean
        if last is not None:
            self.model.flat[:] = last
        if history.stopped == "diverged":
            hint = f"{self.culprit} has values that are not finite" if self.culprit else "a lower rate or clip may help"
            warnings.warn(
                f"a loss or gradient of epoch {len(history.epochs) + 1} was not finite: training stopped; {hint}",
                RuntimeWarning,
                stacklevel=3,
            )

    def _has_waited(self) -> bool:
        """Whether there has been no better epoch for as long as patience goes."""
        if self.patience is None or not self.history.epochs:
            return False
        best = self.history.best
        return len(self.history.epochs) - (0 if best is None else best + 1) >= self.patience

    def _epoch(self, bar: Any) -> bool:
        """All batches once, and the measures after them; False if something was not finite."""
        began = time.perf_counter()
        carry, state = getattr(self.train, "carries_state", False), None
        total, size = 0.0, 0
        for batch in self.train.epoch(self.rng):
            y, state, tape = self.model.forward(**batch.inputs, rng=self.rng, **({"state": state} if carry else {}))
            value, dy = self.loss(y, **batch.targets)
            value = float(value)
            self.grads = self.model.backward(tape, dy, out=self.grads)
            if not (math.isfinite(value) and math.isfinite(clip_norm(self.grads.flat, self.clip))):
                self.culprit = _not_finite(batch)
                return False
            self.optimiser.step(self.grads.flat)
            self.steps += 1
            if self.mean is not None and self.decay is not None:
                self.mean += max(1 - self.decay, 1 / self.steps) * (self.model.flat - self.mean)
            total, size = total + value * batch.size, size + batch.size
            bar.set_postfix_str(f"loss {total / max(size, 1):.4g}{self._found()}", refresh=False)
            bar.update()
        if not size:
            raise ValueError("train must have something to take the mean of")
        self._measure(total / size, began)
        return True

    def _measure(self, loss: float, began: float) -> None:
        """Add an epoch to the history; keep its parameters if it is the best."""
        model, current = self.model, None
        if self.mean is not None:
            current, model.flat[:] = model.flat.copy(), self.mean
        try:
            validation = None if self.validation is None else evaluate(model, self.loss, self.validation)
            score = None if self.score is None else float(self.score(model))
            for name, value in (("validation", validation), ("score", score)):
                if value is not None and not math.isfinite(value):
                    warnings.warn(
                        f"{name} of epoch {len(self.history.epochs) + 1} was {value}, so that it cannot be the best",
                        RuntimeWarning,
                        stacklevel=6,
                    )
            rate = self.optimiser.learning_rate
            rate = float(rate(self.optimiser.t - 1) if callable(rate) else rate)
            self.history.epochs.append(Epoch(loss, validation, score, rate, time.perf_counter() - began))
            if self.history.best == len(self.history.epochs) - 1:
                self.best = model.flat.copy()
        finally:
            if current is not None:
                model.flat[:] = current

    def _found(self) -> str:
        """What the last and the best epoch came to, for the bar."""
        if not self.history.epochs:
            return ""
        last, best = self.history.epochs[-1], self.history.best
        name = "validation" if last.score is None else "score"
        if getattr(last, name) is None or best is None:
            return ""
        return f", {name} {getattr(last, name):.4g}, best {getattr(self.history.epochs[best], name):.4g}"

    # ---- going on later ----

    def write(self, path: str | os.PathLike[str]) -> None:
        """Keep all that it takes to go on."""
        arrays = {f"optimiser.{name}": array for name, array in self.optimiser.state().items()}
        arrays["model"] = self.model.flat
        arrays |= {name: array for name, array in (("mean", self.mean), ("best", self.best)) if array is not None}
        content = {
            **self._described(),
            "t": self.optimiser.t,
            "steps": self.steps,
            "rng": self.rng.bit_generator.state,
            "epochs": self.history.epochs,
        }
        _files.write(path, CHECKPOINT, arrays, content)

    def read(self, path: str | os.PathLike[str]) -> None:
        """Go on from there; nothing changes unless all of it fits."""
        arrays, content = _files.read(path, CHECKPOINT)
        for name, own in self._described().items():
            if content.get(name) != own:
                raise FileError(f"{path} is of another {name}: {content.get(name)}, not {own}")
        into = {f"optimiser.{name}": array for name, array in self.optimiser.state().items()}
        into["model"] = self.model.flat
        if self.mean is not None:
            into["mean"] = self.mean
        if "best" in arrays:
            into["best"] = np.empty_like(self.model.flat)
        if into.keys() != arrays.keys():
            raise FileError(f"{path} must have {', '.join(sorted(into))}, not {', '.join(sorted(arrays))}")
        try:
            for name, array in into.items():
                check.matching(name, arrays[name], array.shape, array.dtype, "that of this training")
            epochs = [Epoch(*epoch) for epoch in content["epochs"]]
            t, steps = (check.positive_int(name, content[name]) for name in ("t", "steps"))
            rng = np.random.default_rng(0)
            rng.bit_generator.state = content["rng"]
        except _files.DAMAGED as error:
            raise FileError(f"{path} does not fit this training: {error}") from error
        for name, array in into.items():
            array[...] = arrays[name]
        self.best = into.get("best")
        self.optimiser.t, self.steps, self.rng, self.history.epochs = t, steps, rng, epochs

    def _described(self) -> dict[str, Any]:
        """What must be the same, or going on would be something else; where a function lies in memory may differ."""
        network, optimiser = (re.sub(" at 0x[0-9a-fA-F]+", "", repr(part)) for part in (self.model, self.optimiser))
        return {"network": network, "optimiser": optimiser, "average": self.decay}


def _not_finite(batch: Batch) -> str:
    """Which array of a batch has infinities or what is not a number; "" for none."""
    for name, array in (batch.inputs | batch.targets).items():
        if isinstance(array, np.ndarray) and array.dtype.kind == "f" and not np.isfinite(array).all():
            return name
    return ""


def _bar(progress: bool, training: _Training, epochs: int) -> Any:
    """A progress bar over all batches."""
    if progress:
        try:
            from tqdm import tqdm
        except ImportError as error:
            raise ImportError(
                "progress is shown with the package tqdm: pip install 'fastlstm[train]', or progress=False"
            ) from error
        batches = len(training.train)
        return tqdm(total=batches * epochs, initial=batches * len(training.history.epochs), unit="batch")
    return _NoBar()


class _NoBar:
    """What a bar does, without one."""

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def set_description(self, text: str, refresh: bool) -> None:
        pass

    def set_postfix_str(self, text: str, refresh: bool) -> None:
        pass

    def update(self) -> None:
        pass
