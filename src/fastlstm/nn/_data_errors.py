"""Errors and warnings that name the sequence and the step in the data, not the entry of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlstm._arrays.checks import EntryError, first_entry
from fastlstm.nn.batches import Batch, BatchSource, Chunks, has_batch_first


def in_data(error: EntryError, name: str, source: BatchSource, batch: Batch, model: Any, y: Any) -> ValueError:
    """Return the error for an entry of a batch, in terms of the data.

    Parameters
    ----------
    error : EntryError
        The error of a network or of a loss.
    name : str
        The caller's name for the data.
    source, batch
        The data, and the batch from them.
    model
        The network, whose layout the batch has.
    y : array or None
        The network's output, if the error is the loss's.
    """
    if error.name == "labels":  # (B, L)
        b, *rest = error.index
        return ValueError(f"{_row(name, batch, b)}: {error.told(tuple(rest))}")
    per_step = len(error.index) > 1 and getattr(y, "ndim", 3) == 3
    return ValueError(f"{_place(name, source, batch, error.index, per_step, has_batch_first(model))}: {error.told(())}")


def not_finite(name: str, source: BatchSource, batch: Batch, model: Any) -> str:
    """Return a text that says which array of a batch has infinities or NaN, and where; "" if none has."""
    for argument, array in (batch.inputs | batch.targets).items():
        if isinstance(array, np.ndarray) and array.dtype.kind == "f" and not np.isfinite(array).all():
            index = first_entry(~np.isfinite(array))
            per_step = argument in batch.inputs or isinstance(source, Chunks) or getattr(source, "per_step", False)
            place = _place(name, source, batch, index, per_step and len(index) > 1, has_batch_first(model))
            return f"{argument} has values that are not finite ({place})"
    return ""


def _place(
    name: str, source: BatchSource, batch: Batch, index: tuple[int, ...], per_step: bool, batch_first: bool
) -> str:
    """Return which sequence an entry of a batch's array belongs to, and which step if there is one entry per step."""
    if not per_step:
        return _row(name, batch, index[0])
    t, b = index[1::-1] if batch_first else index[:2]
    if isinstance(source, Chunks) and b < len(batch.rows):
        return f"{name}: step {batch.rows[b] + t}"
    return f"{_row(name, batch, b)}, step {t}"


def _row(name: str, batch: Batch, b: int) -> str:
    """Return which sequence row b of a batch is."""
    return f"{name}: sequence {batch.rows[b]}" if b < len(batch.rows) else f"{name}: row {b} of a batch"
