"""Pairs of sequences in batches: the input of an encoder, and the target of its decoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm.nn.batches import Batch, check_items, check_symbols, pad, similar_rows

__all__ = ["Pairs"]


class Pairs:
    """Pairs of sequences for a `Seq2Seq`, in batches of similar lengths: of the sources, then of the targets.

    The order and the size of the batches are as for `Batches`. The inputs of a batch are ``x``, ``lengths`` where they
    differ, and ``target_in``, the targets after `begin`; its targets are ``target``, the targets followed by `end`, and
    ``mask`` where their lengths differ.

    Parameters
    ----------
    sources : list of (S_n, ...) arrays, or array
        N sequences of floats, or of ids for an `Embedding`: a list, an (N, S, I) array of floats, or an (N, S) array of
        ids. An (N, I) array of floats has one vector for each target.
    targets : list of (T_n,) arrays, or lists, of int
        The symbols to be written, without those that begin and end a sequence.
    batch_size : int
        The largest number of pairs in a batch.
    begin, end : int
        The symbols that begin and end a sequence; they may be the same.

    Raises
    ------
    TypeError
        If something is not an array, dtypes differ, or symbols are not integers.
    ValueError
        If the numbers of sources and targets differ, shapes do not fit, or `end` is within a target.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import Pairs
    >>> pairs = Pairs([np.ones((4, 2)), np.ones((3, 2))], [np.array([7]), np.array([5, 6])], 2, begin=0, end=1)
    >>> batch = next(pairs.epoch())
    >>> batch.inputs["x"].shape, batch.inputs["lengths"]
    ((4, 2, 2), array([3, 4]))
    >>> batch.inputs["target_in"].T.tolist(), batch.targets["target"].T.tolist()
    ([[0, 5, 6], [0, 7, 0]], [[5, 6, 1], [7, 1, 0]])
    >>> batch.targets["mask"].T.tolist(), batch.size
    ([[True, True, True], [True, True, False]], 5)
    """

    def __init__(
        self,
        sources: Sequence[Array] | Array,
        targets: Sequence[NDArray[np.integer]],
        batch_size: int,
        *,
        begin: int,
        end: int,
    ) -> None:
        self.batch_size = check.positive_int("batch_size", batch_size)
        self.begin, self.end = check.symbol("begin", begin), check.symbol("end", end)
        check_items("sources", sources)
        targets = check_symbols("targets", targets, "T")
        if len(targets) != len(sources):
            raise ValueError(f"targets must be as many as the sources, {len(sources)}, not {len(targets)}")
        for k, target in enumerate(targets):
            if np.any(target == self.end):
                raise ValueError(f"targets[{k}] must not contain end = {self.end}, which is put behind it")
        if isinstance(sources, np.ndarray) and not (sources.ndim == 2 and sources.dtype.kind == "f"):
            sources = list(sources)
        self.sources, self.targets = sources, targets
        self.lengths = np.array([len(target) for target in targets], np.int64)
        """The lengths of the targets, without `begin` and `end`."""

    def __len__(self) -> int:
        return -(-len(self.targets) // self.batch_size)

    def epoch(self, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        """Yield the batches of an epoch: in random order, or without `rng` from short to long."""
        keys = self.lengths
        if not isinstance(self.sources, np.ndarray):
            keys = keys + (keys.max(initial=0) + 1) * np.array([len(source) for source in self.sources], np.int64)
        for rows in similar_rows(keys, self.batch_size, rng):
            yield self._batch(rows)

    def _batch(self, rows: NDArray[np.intp]) -> Batch:
        """Return the batch of these pairs."""
        inputs: dict[str, Any] = {}
        if isinstance(self.sources, np.ndarray):
            inputs["x"] = self.sources[rows]
        else:
            inputs["x"], lengths = pad([self.sources[k] for k in rows])
            if np.any(lengths < len(inputs["x"])):
                inputs["lengths"] = lengths
        sequences = [np.concatenate(([self.begin], self.targets[k].astype(np.int64), [self.end])) for k in rows]
        inputs["target_in"], ends = pad([symbols[:-1] for symbols in sequences])
        targets: dict[str, Any] = {"target": pad([symbols[1:] for symbols in sequences])[0]}
        T = len(targets["target"])
        if np.any(ends < T):
            targets["mask"] = np.arange(T)[:, np.newaxis] < ends
        return Batch(inputs, targets, int(ends.sum()), rows)
