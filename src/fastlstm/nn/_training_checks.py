"""Checks before a training, of whatever would raise only after its first epoch, or give a wrong result."""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastlstm._arrays import checks as check
from fastlstm.layers.network_layer import NetworkLayer
from fastlstm.layers.parameters import Parametric
from fastlstm.nn._data_errors import in_data
from fastlstm.nn._elementwise import NothingCountsError
from fastlstm.nn._layer_checks import check_sequences
from fastlstm.nn._optimiser import Optimiser
from fastlstm.nn.batches import Batches, BatchSource, Chunks, epoch_for, gives_both_layouts, has_batch_first
from fastlstm.nn.pairs import Pairs
from fastlstm.nn.transcripts import Transcripts


def loss(value: Any) -> None:
    """Raise unless the value is a function."""
    if not callable(value):
        raise TypeError(f"loss must be a function of outputs and targets, such as nn.mse, not {type(value).__name__}")


def source(name: str, model: Any, batches: BatchSource) -> None:
    """Raise unless a network can learn from the data of `batches`, or be measured on them."""
    kind = type(batches).__name__
    if not (hasattr(batches, "epoch") and hasattr(batches, "__len__")):
        raise TypeError(f"{name} must be Batches, Chunks, Pairs, Transcripts or another BatchSource, not {kind}")
    if type(batches) is Batches:
        check_sequences(f"{name}: inputs", model, batches.inputs)
        if batches.targets is None:
            raise ValueError(f"{name} must have targets to learn from: they are None in these Batches")
    if isinstance(batches, Pairs) and isinstance(model, NetworkLayer):
        raise TypeError(f"{name} gives pairs of sequences, which a Seq2Seq takes, not a {type(model).__name__}")
    if has_batch_first(model) and not gives_both_layouts(batches):
        raise ValueError(
            f"{name} gives batches that are (T, B, ...), but model has batch_first=True: "
            f"{kind}.epoch must take batch_first, and give (B, T, ...) where it is True"
        )
    if getattr(batches, "carries_state", False):
        layer = _bidirectional("model", model)
        if layer:
            raise ValueError(
                f"{name} carries the state from batch to batch, but {layer} is bidirectional: its backward direction "
                "begins at the end of each batch, with nothing from the batch after it"
            )
        if not _takes_state(getattr(model, "forward", model)):
            raise TypeError(
                f"{name} carries the state from batch to batch, which a {type(model).__name__} does not take"
            )


def _takes_state(function: Any) -> bool:
    """Return whether a function takes an argument `state`; True where it does not tell."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return True
    return "state" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _bidirectional(name: str, network: Any) -> str:
    """Return the name of the first bidirectional layer of a network, which is itself called `name`; "" for none."""
    if getattr(network, "bidirectional", False):
        return name
    for of in ("layers", "branches"):
        for k, part in enumerate(getattr(network, of, ())):
            found = _bidirectional(f"{name}.{of}[{k}]", part)
            if found:
                return found
    return ""


def validation(model: Any, loss: Any, batches: BatchSource) -> None:
    """Raise unless the network and the loss take the first batch."""
    if type(batches) not in (Batches, Chunks, Pairs, Transcripts):
        return  # Asking a user's source for a batch may change what it gives next.
    first = next((batch for batch in epoch_for(model, batches) if batch.size), None)
    if first is None:
        raise ValueError("validation must have something to take the mean of")
    written_by = getattr(getattr(loss, "func", loss), "__module__", None)
    y = None
    try:
        y, _ = model(**first.inputs)
        if str(written_by).startswith("fastlstm."):  # A user's loss may count its calls.
            loss(y, **first.targets)
    except NothingCountsError:
        pass  # Something may count in other batches.
    except check.EntryError as error:
        raise in_data(error, "validation", batches, first, model, y) from None
    except (TypeError, ValueError) as error:
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"validation: {error}") from error


def score(value: Callable[[Any], float], model: Any) -> None:
    """Raise unless the value is a function that takes the network alone."""
    if not callable(value):
        raise TypeError(f"score must be a function of the network, not {type(value).__name__}")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # Some functions in C have no signature.
        return
    try:
        signature.bind(model)
    except TypeError as error:
        raise TypeError(f"score must be a function of the network alone: {error}") from None


def optimiser(value: Any, checkpoint: bool) -> None:
    """Raise unless the value is an optimiser, whose state can be saved if there are to be checkpoints."""
    if isinstance(value, type) or not hasattr(value, "step"):
        given = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise TypeError(f"optimiser must be one for model.flat, such as nn.Adam(model.flat), not {given}")
    for name in ("flat", "t", "learning_rate", *(("state",) if checkpoint else ())):
        if not hasattr(value, name):
            raise TypeError(f"optimiser must have {name}, as nn.Adam has: {type(value).__name__} has none")


def trained(model: Any, given: Any) -> list[tuple[int, int]] | None:
    """Return the sections of the parameters that are trained, None for all, and tell the optimiser of what is frozen.

    Raise if there is nothing to train, or the optimiser cannot leave the rest as it is.
    """
    if not isinstance(model, Parametric) or model._is_whole() or not model._frozen():
        return None
    if not model._trained():
        raise ValueError("model must have layers to train: trainable is False for all that have parameters")
    if not isinstance(given, Optimiser):
        raise TypeError(
            f"optimiser must be one of fastlstm's, since a part of the model is frozen, which a {type(given).__name__} "
            "would change"
        )
    given._network = model
    return model._trained()


def checkpoint(path: str | os.PathLike[str]) -> None:
    """Raise unless a checkpoint can be written to this path."""
    file = Path(os.path.realpath(check.path("checkpoint", path)))
    if file.exists() and not file.is_file():
        raise ValueError(f"checkpoint must be a file, which {path} is not")
    try:
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise type(error)(error.errno, f"checkpoint cannot be written: {error.strerror}", str(path)) from error
