"""Sequences in batches with labels for each sequence as a whole, not for its steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fastlstm._arrays.arrays import Array
from fastlstm.nn.batches import Batch, Batches, check_symbols, pad

__all__ = ["Transcripts"]


class Transcripts:
    """Sequences, each with its labels, in batches of similar length, for `fit` with `ctc_loss`.

    The order and the size of the batches are as for `Batches`. The inputs of a batch are ``x``, and ``lengths`` where
    they differ; its targets are the arguments of `ctc_loss` after the logits: ``lengths``, ``labels`` and
    ``label_lengths``, and ``batch_first`` for a network that has it.

    Parameters
    ----------
    inputs : list of (T_n, ...) arrays, or (N, T, ...) array
        N sequences of floats, or of ids for an `Embedding`.
    labels : list of (L_n,) arrays, or lists, of int
        The labels of each sequence, in order: fewer labels than steps.
    batch_size : int
        The largest number of sequences in a batch.

    Raises
    ------
    TypeError
        If something is not an array, dtypes differ, or labels are not integers.
    ValueError
        If the numbers of inputs and labels differ, or shapes do not fit.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> from fastlstm import nn
    >>> rng = np.random.default_rng(0)
    >>> spoken = [rng.integers(1, 3, n) for n in rng.integers(1, 4, 100)]  # labels 1 and 2; 0 is the blank
    >>> heard = [np.eye(3, dtype=np.float32)[np.insert(np.repeat(one, 3), 0, [0, 0])] for one in spoken]
    >>> batches = nn.Transcripts(heard, spoken, batch_size=10)
    >>> model = nn.Sequential(fastlstm.LSTM(3, 16, bidirectional=True, seed=0), nn.Dense(32, 3, seed=1))
    >>> adam = nn.Adam(model.flat, 0.01)
    >>> history = nn.fit(model, nn.ctc_loss, batches, optimiser=adam, epochs=20, clip=1.0, progress=False)
    >>> history.epochs[-1].loss < history.epochs[0].loss / 5
    True
    """

    def __init__(self, inputs: Sequence[Array] | Array, labels: Sequence[NDArray[np.integer]], batch_size: int) -> None:
        self.batches = Batches(inputs, None, batch_size)
        labels = check_symbols("labels", labels, "L")
        if len(labels) != len(inputs):
            raise ValueError(f"labels must be as many as the inputs, {len(inputs)}, not {len(labels)}")
        self.labels = labels

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, rng: np.random.Generator | None = None, *, batch_first: bool = False) -> Iterator[Batch]:
        """Yield the batches of an epoch, as `Batches.epoch` does."""
        for batch in self.batches.epoch(rng, batch_first=batch_first):
            labels, label_lengths = pad([self.labels[row] for row in batch.rows], batch_first=True)
            lengths = batch.inputs.get("lengths")  # A batch whose lengths are all the same has none.
            targets = {"lengths": lengths, "labels": labels, "label_lengths": label_lengths}
            yield batch._replace(targets=targets | ({"batch_first": True} if batch_first else {}))
