"""What is checked before a training: what would else be an error after its first epoch, or a wrong result."""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastlstm._arrays import checks as check
from fastlstm.layers.network_layer import NetworkLayer
from fastlstm.nn._data_errors import in_data
from fastlstm.nn._elementwise import NothingCountsError
from fastlstm.nn.batches import Batches, BatchSource, Chunks, epoch_for, gives_both_layouts, has_batch_first
from fastlstm.nn.pairs import Pairs
from fastlstm.nn.sequential import check_sequences
from fastlstm.nn.transcripts import Transcripts


def loss(found: Any) -> None:
    """Raise unless this is a function."""
    if not callable(found):
        raise TypeError(f"loss must be a function of outputs and targets, such as nn.mse, not {type(found).__name__}")


def source(name: str, model: Any, found: BatchSource) -> None:
    """Raise unless a network can learn from this, or be measured on it."""
    if not (hasattr(found, "epoch") and hasattr(found, "__len__")):
        raise TypeError(
            f"{name} must be Batches, Chunks, Pairs, Transcripts or another BatchSource, not {type(found).__name__}"
        )
    if type(found) is Batches:
        check_sequences(f"{name}: inputs", model, found.inputs)
        if found.targets is None:
            raise ValueError(f"{name} must have targets to learn from: they are None in these Batches")
    if isinstance(found, Pairs) and isinstance(model, NetworkLayer):
        raise TypeError(f"{name} gives pairs of sequences, which a Seq2Seq takes, not a {type(model).__name__}")
    if has_batch_first(model) and not gives_both_layouts(found):
        raise ValueError(
            f"{name} gives batches that are (T, B, ...), but model has batch_first=True: "
            f"{type(found).__name__}.epoch must take batch_first, and give (B, T, ...) where it is True"
        )
    if getattr(found, "carries_state", False):
        both = _bidirectional("model", model)
        if both:
            raise ValueError(
                f"{name} carries the state from batch to batch, but {both} is bidirectional: its backward direction "
                "begins at the end of each batch, with nothing from the batch after it"
            )
        if not _takes_state(getattr(model, "forward", model)):
            raise TypeError(
                f"{name} carries the state from batch to batch, which a {type(model).__name__} does not take"
            )


def _takes_state(function: Any) -> bool:
    """Whether a function has an argument `state`, or takes any; True where it does not tell."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return True
    return "state" in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def _bidirectional(name: str, network: Any) -> str:
    """What the first layer with two directions is called; "" for none."""
    if getattr(network, "bidirectional", False):
        return name
    layers = enumerate(getattr(network, "layers", ()))
    return next(filter(None, (_bidirectional(f"{name}.layers[{k}]", layer) for k, layer in layers)), "")


def validation(model: Any, loss: Any, found: BatchSource) -> None:
    """Raise unless network and loss take the first batch."""
    if type(found) not in (Batches, Chunks, Pairs, Transcripts):
        return  # to ask another source for a batch may change what it gives next
    first = next((batch for batch in epoch_for(model, found) if batch.size), None)
    if first is None:
        raise ValueError("validation must have something to take the mean of")
    written_by = getattr(getattr(loss, "func", loss), "__module__", None)
    y = None
    try:
        y, _ = model(**first.inputs)
        if str(written_by).startswith("fastlstm."):  # another may count its calls
            loss(y, **first.targets)
    except NothingCountsError:
        pass  # others may
    except check.EntryError as error:
        raise in_data(error, "validation", found, first, model, y) from None
    except (TypeError, ValueError) as error:
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"validation: {error}") from error


def score(found: Callable[[Any], float], model: Any) -> None:
    """Raise unless this is a function that takes the network alone."""
    if not callable(found):
        raise TypeError(f"score must be a function of the network, not {type(found).__name__}")
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # it does not tell
        return
    try:
        signature.bind(model)
    except TypeError as error:
        raise TypeError(f"score must be a function of the network alone: {error}") from None


def optimiser(found: Any, checkpoint: bool) -> None:
    """Raise unless this is an optimiser, and its state can be kept where there are to be checkpoints."""
    if isinstance(found, type) or not hasattr(found, "step"):
        given = f"the class {found.__name__}" if isinstance(found, type) else type(found).__name__
        raise TypeError(f"optimiser must be one for model.flat, such as nn.Adam(model.flat), not {given}")
    for name in ("flat", "t", "learning_rate", *(("state",) if checkpoint else ())):
        if not hasattr(found, name):
            raise TypeError(f"optimiser must have {name}, as nn.Adam has: {type(found).__name__} has none")


def checkpoint(path: str | os.PathLike[str]) -> None:
    """Raise unless there can be such a file."""
    found = Path(os.path.realpath(check.path("checkpoint", path)))
    if found.exists() and not found.is_file():
        raise ValueError(f"checkpoint must be a file, which {path} is not")
    try:
        with tempfile.TemporaryFile(dir=found.parent):
            pass
    except OSError as error:
        raise type(error)(error.errno, f"checkpoint cannot be written: {error.strerror}", str(path)) from error
