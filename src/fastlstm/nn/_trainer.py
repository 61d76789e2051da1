"""The loop under `fit` and `evaluate`: epochs, measures, the best parameters, checkpoints."""

from __future__ import annotations

import math
import os
import re
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastlstm._arrays import checks as check
from fastlstm._arrays import files
from fastlstm._arrays.arrays import Array
from fastlstm._arrays.files import FileError
from fastlstm.layers.parameters import Gradients, Parametric
from fastlstm.nn import _training_checks as checks
from fastlstm.nn._data_errors import in_data, not_finite
from fastlstm.nn._elementwise import NothingCountsError
from fastlstm.nn.adam import Adam
from fastlstm.nn.batches import Batch, BatchSource, epoch_for
from fastlstm.nn.clipping import clip_norm
from fastlstm.nn.history import Epoch, History
from fastlstm.nn.layer import Layer

Loss = Callable[..., tuple[float, Array]]

CHECKPOINT = "checkpoint"


class Progress(NamedTuple):
    """The results of the epochs so far, replaced as a whole: no interrupt can separate the history from the parameters.

    Attributes
    ----------
    history : History
        The measures of each epoch.
    best : array or None
        The parameters of the best epoch.
    """

    history: History
    best: Array | None


class Trainer:
    """Train a network, and keep what `fit` returns or writes."""

    def __init__(
        self, model: Any, loss: Loss, train: BatchSource, validation: BatchSource | None, optimiser: Any,
        clip: float | None, average: float | None, score: Callable[[Any], float] | None, patience: int | None,
        seed: int, checkpoint: str | os.PathLike[str] | None,
    ) -> None:  # fmt: skip
        if not isinstance(getattr(model, "flat", None), np.ndarray):
            given = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
            raise TypeError(f"model must be a network, such as an nn.Sequential, not {given}")
        if isinstance(model, Layer):
            raise TypeError(f"model must be a network, such as an nn.Sequential of the {type(model).__name__}")
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
        checks.trained(model, self.optimiser)
        self.clip = math.inf if clip is None else check.above_zero("clip", clip)
        self.decay = None if average is None else check.within("average", average, 1)
        if patience is not None and check.positive_int("patience", patience) and validation is None and score is None:
            raise ValueError("patience needs validation or score, to tell which epoch is best")
        self.patience = patience
        self.rng = check.seed("seed", seed)
        self.progress = Progress(History(), None)
        self.stopped = "interrupted"  # This holds until the training ends otherwise.
        self.mean = None if self.decay is None else model.flat.copy()
        self.steps = 0  # Steps that the optimiser made before this training do not count.
        self.grads: Gradients | None = None
        self.culprit = ""  # The array that was not finite in the batch at which training stopped.

    def run(self, epochs: int, bar: Any, checkpoint: str | os.PathLike[str] | None) -> None:
        """Train until the epochs are done, patience ends, a value is not finite, or Ctrl-C."""
        try:
            while (done := len(self.progress.history.epochs)) < epochs:
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
        """Give the network its best parameters, and return the history; an interrupted call can be repeated."""
        history, best = self.progress
        last = best if best is not None else self.mean
        if last is not None:
            self.model.flat[:] = last
        history.stopped = self.stopped
        return history

    def warn(self, stacklevel: int) -> None:
        """Warn that the training diverged, and say why."""
        hint, epoch = self.culprit or "a lower rate or clip may help", len(self.progress.history.epochs) + 1
        warnings.warn(
            f"a loss or gradient of epoch {epoch} was not finite: training stopped; {hint}",
            RuntimeWarning,
            stacklevel=stacklevel + 1,
        )

    def _has_waited(self) -> bool:
        """Return whether the last `patience` epochs brought no improvement."""
        history = self.progress.history
        if self.patience is None or not history.epochs:
            return False
        best = history.best
        return len(history.epochs) - (0 if best is None else best + 1) >= self.patience

    def _back(self, tape: Any, dy: Any) -> Any:
        """Return the gradients of a batch, without dJ/dx where the model can leave that out: no optimiser needs it."""
        if isinstance(self.model, Parametric) and self.model._has_our_backward():
            return self.model._back(tape, dy, (), self.grads, accumulate=False, to_x=False)
        return self.model.backward(tape, dy, out=self.grads)

    def _epoch(self, bar: Any) -> bool:
        """Learn from all batches once, and measure; return False if a value was not finite."""
        began = time.perf_counter()
        state, total, size = None, 0.0, 0
        trained = checks.trained(self.model, self.optimiser)
        for batch in epoch_for(self.model, self.train, self.rng):
            result, state = self._forward(batch, state)
            if result is not None:
                value, dy, tape = result
                self.grads = self._back(tape, dy)
                flat = self.grads.flat
                norm = clip_norm([flat[start:end] for start, end in trained] if trained else flat, self.clip)
                if not (math.isfinite(value) and math.isfinite(norm)):
                    self.culprit = not_finite("train", self.train, batch, self.model)
                    return False
                self.optimiser.step(self.grads.flat)
                self.steps += 1
                if self.mean is not None and self.decay is not None:
                    self.mean += max(1 - self.decay, 1 / self.steps) * (self.model.flat - self.mean)
                total, size = total + value * batch.size, size + batch.size
            bar.set_postfix_str(f"loss {total / max(size, 1):.4g}{self._measures()}", refresh=False)
            bar.update()
        if not size:
            raise ValueError("train must have something to take the mean of")
        self._measure(total / size, began)
        return True

    def _forward(self, batch: Batch, state: Any) -> tuple[tuple[float, Any, Any] | None, Any]:
        """Return the loss, dJ/dy and the tape of a batch, or None where nothing in it counts; and the last state."""
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
        """Add an epoch to the history, and keep its parameters if it is the best."""
        model, current = self.model, None
        epochs = self.progress.history.epochs
        if self.mean is not None:
            current, model.flat[:] = model.flat.copy(), self.mean
        try:
            validation, culprit = None, ""
            if self.validation is not None:
                validation, culprit = mean_loss("validation", model, self.loss, self.validation)
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
            best = model.flat.copy() if history.best == len(epochs) else self.progress.best
            self.progress = Progress(history, best)
        finally:
            if current is not None:
                model.flat[:] = current

    def _measures(self) -> str:
        """Return the measures of the last and of the best epoch as text for the progress bar."""
        history = self.progress.history
        if not history.epochs:
            return ""
        last, best = history.epochs[-1], history.best
        name = "validation" if last.score is None else "score"
        if getattr(last, name) is None or best is None:
            return ""
        return f", {name} {getattr(last, name):.4g}, best {getattr(history.epochs[best], name):.4g}"

    # ---- checkpoints ----

    def _try_to_write(self, path: str | os.PathLike[str]) -> None:
        """Write the checkpoint; warn and go on if it cannot be written."""
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
        """Write a checkpoint: everything needed to resume the training."""
        history, best = self.progress
        arrays = {f"optimiser.{name}": array for name, array in self.optimiser.state().items()}
        arrays["model"] = self.model.flat
        arrays |= {name: array for name, array in (("mean", self.mean), ("best", best)) if array is not None}
        content = {
            **self._description(),
            "t": self.optimiser.t,
            "steps": self.steps,
            "rng": self.rng.bit_generator.state,
            "epochs": history.epochs,
        }
        files.write(path, CHECKPOINT, arrays, content)

    def read(self, path: str | os.PathLike[str]) -> None:
        """Resume from a checkpoint; nothing changes unless all of it fits this training."""
        arrays, content = files.read(path, CHECKPOINT)
        for name, own in self._description().items():
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
        self.progress = Progress(History(epochs), into.get("best"))
        self.optimiser.t, self.steps, self.rng = t, steps, rng

    def _description(self) -> dict[str, Any]:
        """Return what a checkpoint must have in common with this training; addresses of functions are left out."""
        network, optimiser = (re.sub(" at 0x[0-9a-fA-F]+", "", repr(part)) for part in (self.model, self.optimiser))
        frozen = self.model._frozen() if isinstance(self.model, Parametric) else []
        same = {"network": network, "optimiser": optimiser, "average": self.decay}
        return same | {"frozen part": frozen or None}  # Checkpoints of 0.1.0 have no such entry.


def mean_loss(name: str, model: Any, loss: Loss, source: BatchSource) -> tuple[float, str]:
    """Return the mean loss over checked data, which the caller calls `name`, and what in them was not finite."""
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
    """Return the value and the gradient of a loss; raise unless they are a number and an array shaped as y."""
    value, dy = check.pair("what loss gives", loss(y, **targets), "a pair, its value and dJ/dy")
    if isinstance(y, np.ndarray) and np.shape(dy) != y.shape:
        raise ValueError(f"loss must give dJ/dy shaped as y, {y.shape}, not {np.shape(dy)}")
    return _number("loss", value), dy


def _number(name: str, value: Any) -> float:
    """Return a result of the user's function `name` as a float."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must give a number, not {type(value).__name__}") from None
