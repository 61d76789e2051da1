"""The loop: batches through a network, gradients, steps; validation, keeping the best, stopping, going on later."""

from __future__ import annotations

import math
import os
import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastlstm._arrays import checks as check
from fastlstm._arrays import files
from fastlstm._arrays.arrays import Array
from fastlstm._arrays.files import FileError
from fastlstm.layers.parameters import Gradients
from fastlstm.nn import _training_checks as checks
from fastlstm.nn._data_errors import in_data, not_finite
from fastlstm.nn._elementwise import NothingCountsError
from fastlstm.nn._progress import progress_bar
from fastlstm.nn.adam import Adam
from fastlstm.nn.batches import Batch, BatchSource, epoch_for
from fastlstm.nn.clipping import clip_norm
from fastlstm.nn.history import Epoch, History

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
    TypeError
        If `model`, `loss` or `batches` is not what it must be.
    ValueError
        If there is nothing to take the mean of, or `batches` carry a state, as `Chunks` do, and a layer of the model is
        bidirectional.

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
    return _mean_loss("batches", model, loss, batches)[0]


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
    best epoch, where there is a measure, else the last ones. Ctrl-C ends the training as if it were done; an error in
    its course leaves the same parameters, and what can be known to be wrong is an error before the first batch. The
    same arguments give bitwise the same network.

    Parameters
    ----------
    model : Sequential, Seq2Seq or the like
        Changed in place.
    loss : callable
        ``loss(y, **batch.targets) -> (value, dy)``: `mse`, `softmax_cross_entropy`, ...; with options, a
        `functools.partial`.
    train, validation : Batches, Chunks or other BatchSource
        In random order for training, which carries the state from batch to batch where the source says so; in the
        model's layout, (T, B, ...) or with its `batch_first` (B, T, ...).
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
        Show a bar, where the package tqdm is installed: ``pip install 'fastlstm[train]'``.
    checkpoint : str or path, optional
        A file to be written after each epoch, with all that it takes to go on. Where that fails, as on a full disk, the
        file stays as it was, and the training goes on.
    resume : bool
        Go on from that file if it is there: bitwise as if there had been no break, where the other arguments and the
        number of threads are the same. Network, optimiser and average are compared.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        If the optimiser is for other parameters, or an argument is out of its range; if `train` or `validation`
        carry a state, as `Chunks` do, and a layer of the model is bidirectional, or have no batches in its layout.
    FileError
        A ValueError: if the checkpoint is damaged, or of another network or optimiser.
    TypeError
        If an argument is not what it must be.
    OSError
        If there can be no file at `checkpoint`.

    Warns
    -----
    RuntimeWarning
        If a loss or a gradient is not finite; the training stops, and what was best before stays. If a checkpoint could
        not be written.

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
    training = _Training(model, loss, train, validation, optimiser, clip, average, score, patience, seed, checkpoint)
    check.positive_int("epochs", epochs)
    progress, resume = check.flag("progress", progress), check.flag("resume", resume)
    if resume and checkpoint is None:
        raise ValueError("resume needs checkpoint, the file to go on from")
    if resume and checkpoint is not None and Path(checkpoint).exists():
        training.read(checkpoint)
    try:
        done = len(training.kept.history.epochs)
        with progress_bar(progress, len(train), done, epochs) as bar:
            training.run(epochs, bar, checkpoint)
        history = training.finish()
        if history.stopped == "diverged":
            training.warn(2)
        return history
    except KeyboardInterrupt:  # another one, after that which ended the training, or one outside of it
        return training.finish()
    except BaseException:
        training.finish()
        raise


class _Kept(NamedTuple):
    """What the epochs have come to, replaced as a whole: no interrupt can come between history and parameters."""

    history: History
    best: Array | None
    """The parameters of the best epoch."""


class _Training:
    """A training under way."""

    def __init__(
        self, model: Any, loss: Loss, train: BatchSource, validation: BatchSource | None, optimiser: Any,
        clip: float | None, average: float | None, score: Callable[[Any], float] | None, patience: int | None,
        seed: int, checkpoint: str | os.PathLike[str] | None,
    ) -> None:  # fmt: skip
        if not isinstance(getattr(model, "flat", None), np.ndarray):
            found = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
            raise TypeError(f"model must be a network, such as an nn.Sequential, not {found}")
        checks.loss(loss)
        checks.source("train", model, train)
        if validation is not None:
            checks.source("validation", model, validation)
            checks.validation(model, loss, validation)
        if score is not None:
            checks.score(score, model)
        if checkpoint is not None:
            checks.checkpoint(checkpoint)
        if optimiser is not None:
            checks.optimiser(optimiser, checkpoint is not None)
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
        self.kept = _Kept(History(), None)
        self.stopped = "interrupted"  # unless it ends otherwise
        self.mean = None if self.decay is None else model.flat.copy()
        self.steps = 0  # of this training: the optimiser may have made some before
        self.grads: Gradients | None = None
        self.culprit = ""  # what was not finite in the batch at which training stopped

    def run(self, epochs: int, bar: Any, checkpoint: str | os.PathLike[str] | None) -> None:
        """Train until there is a reason to stop."""
        try:
            while (done := len(self.kept.history.epochs)) < epochs:
                if self._has_waited():
                    self.stopped = "patience"
                    return
                bar.set_description(f"epoch {done + 1}/{epochs}", refresh=False)
                if not self._epoch(bar):
                    self.stopped = "diverged"
                    return
                if checkpoint is not None:
                    self._try_to_write(checkpoint)
            self.stopped = "epochs"
        except KeyboardInterrupt:
            pass

    def finish(self) -> History:
        """Give the network its best parameters, and the history; where this is interrupted it can be done again."""
        history, best = self.kept
        last = best if best is not None else self.mean
        if last is not None:
            self.model.flat[:] = last
        history.stopped = self.stopped
        return history

    def warn(self, stacklevel: int) -> None:
        """Say why the training diverged."""
        hint = self.culprit or "a lower rate or clip may help"
        warnings.warn(
            f"a loss or gradient of epoch {len(self.kept.history.epochs) + 1} was not finite: training stopped; {hint}",
            RuntimeWarning,
            stacklevel=stacklevel + 1,
        )

    def _has_waited(self) -> bool:
        """Whether there has been no better epoch for as long as patience goes."""
        history = self.kept.history
        if self.patience is None or not history.epochs:
            return False
        best = history.best
        return len(history.epochs) - (0 if best is None else best + 1) >= self.patience

    def _epoch(self, bar: Any) -> bool:
        """Learn from all batches once, and measure; False if something was not finite."""
        began = time.perf_counter()
        state, total, size = None, 0.0, 0
        for batch in epoch_for(self.model, self.train, self.rng):
            found, state = self._forward(batch, state)
            if found is not None:
                value, dy, tape = found
                self.grads = self.model.backward(tape, dy, out=self.grads)
                if not (math.isfinite(value) and math.isfinite(clip_norm(self.grads.flat, self.clip))):
                    self.culprit = not_finite("train", self.train, batch, self.model)
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

    def _forward(self, batch: Batch, state: Any) -> tuple[tuple[float, Any, Any] | None, Any]:
        """The loss, dJ/dy and the tape of a batch, None where nothing in it counts; and the state to go on from."""
        carry, y = getattr(self.train, "carries_state", False), None
        if not (batch.size or carry):
            return None, state
        try:
            y, state, tape = self.model.forward(**batch.inputs, rng=self.rng, **({"state": state} if carry else {}))
            if batch.size:
                return (*_checked_loss(self.loss, y, batch.targets), tape), state
        except NothingCountsError:
            pass
        except check.EntryError as error:
            raise in_data(error, "train", self.train, batch, self.model, y) from None
        return None, state

    def _measure(self, loss: float, began: float) -> None:
        """Add an epoch to the history; keep its parameters if it is the best."""
        model, current = self.model, None
        epochs = self.kept.history.epochs
        if self.mean is not None:
            current, model.flat[:] = model.flat.copy(), self.mean
        try:
            validation, culprit = None, ""
            if self.validation is not None:
                validation, culprit = _mean_loss("validation", model, self.loss, self.validation)
            score = None if self.score is None else _number("score", self.score(model))
            for name, value, hint in (("validation", validation, culprit), ("score", score, "")):
                if value is not None and not math.isfinite(value):
                    warnings.warn(
                        f"{name} of epoch {len(epochs) + 1} was {value}, so that it cannot be the best"
                        f"{hint and '; '}{hint}",
                        RuntimeWarning,
                        stacklevel=5,
                    )
            rate = self.optimiser.learning_rate
            rate = float(rate(self.optimiser.t - 1) if callable(rate) else rate)
            history = History([*epochs, Epoch(loss, validation, score, rate, time.perf_counter() - began)])
            self.kept = _Kept(history, model.flat.copy() if history.best == len(epochs) else self.kept.best)
        finally:
            if current is not None:
                model.flat[:] = current

    def _found(self) -> str:
        """What the last and the best epoch came to, for the bar."""
        history = self.kept.history
        if not history.epochs:
            return ""
        last, best = history.epochs[-1], history.best
        name = "validation" if last.score is None else "score"
        if getattr(last, name) is None or best is None:
            return ""
        return f", {name} {getattr(last, name):.4g}, best {getattr(history.epochs[best], name):.4g}"

    # ---- going on later ----

    def _try_to_write(self, path: str | os.PathLike[str]) -> None:
        """Write the checkpoint; where there is no room for it, say so and go on."""
        try:
            self.write(path)
        except (OSError, MemoryError) as error:
            warnings.warn(
                f"checkpoint {path} could not be written: {str(error) or type(error).__name__}; the training goes on, "
                "and the file stays as it was",
                RuntimeWarning,
                stacklevel=4,
            )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Keep all that it takes to go on."""
        history, best = self.kept
        arrays = {f"optimiser.{name}": array for name, array in self.optimiser.state().items()}
        arrays["model"] = self.model.flat
        arrays |= {name: array for name, array in (("mean", self.mean), ("best", best)) if array is not None}
        content = {
            **self._described(),
            "t": self.optimiser.t,
            "steps": self.steps,
            "rng": self.rng.bit_generator.state,
            "epochs": history.epochs,
        }
        files.write(path, CHECKPOINT, arrays, content)

    def read(self, path: str | os.PathLike[str]) -> None:
        """Go on from there; nothing changes unless all of it fits."""
        arrays, content = files.read(path, CHECKPOINT)
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
        except files.DAMAGED as error:
            raise FileError(f"{path} does not fit this training: {error}") from error
        for name, array in into.items():
            array[...] = arrays[name]
        self.kept = _Kept(History(epochs), into.get("best"))
        self.optimiser.t, self.steps, self.rng = t, steps, rng

    def _described(self) -> dict[str, Any]:
        """What must be the same, or going on would be something else; where a function lies in memory may differ."""
        network, optimiser = (re.sub(" at 0x[0-9a-fA-F]+", "", repr(part)) for part in (self.model, self.optimiser))
        return {"network": network, "optimiser": optimiser, "average": self.decay}


def _mean_loss(name: str, model: Any, loss: Loss, source: BatchSource) -> tuple[float, str]:
    """The mean loss over data that have been checked, which the caller calls `name`; what was not finite in them."""
    carry, state = getattr(source, "carries_state", False), None
    losses, sizes, culprit = [], [], ""
    for batch in epoch_for(model, source):
        if not (batch.size or carry):
            continue
        y = None
        try:
            y, state = model(**batch.inputs, **({"state": state} if carry else {}))
            if not batch.size:
                continue
            losses.append(_number("loss", loss(y, **batch.targets)[0]))
        except NothingCountsError:
            continue
        except check.EntryError as error:
            raise in_data(error, name, source, batch, model, y) from None
        sizes.append(batch.size)
        if not (culprit or math.isfinite(losses[-1])):
            culprit = not_finite(name, source, batch, model)
    if not sizes:
        raise ValueError(f"{name} must have something to take the mean of")
    return float(np.average(losses, weights=sizes)), culprit


def _checked_loss(loss: Loss, y: Any, targets: dict[str, Any]) -> tuple[float, Any]:
    """What a loss gives, if it is a number and a gradient of the outputs' shape."""
    value, dy = check.pair("what loss gives", loss(y, **targets), "a pair, its value and dJ/dy")
    if isinstance(y, np.ndarray) and np.shape(dy) != y.shape:
        raise ValueError(f"loss must give dJ/dy shaped as y, {y.shape}, not {np.shape(dy)}")
    return _number("loss", value), dy


def _number(name: str, value: Any) -> float:
    """What a function gave as a float."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must give a number, not {type(value).__name__}") from None
