"""Sequences in batches: of similar length, or as parallel streams cut into chunks."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array

__all__ = ["Batch", "BatchSource", "Batches", "Chunks", "pad"]

POOL = 32  # batches whose sequences are sorted by length together: enough to waste little, few enough to stay random


class Batch(NamedTuple):
    """What goes through a network at once.

    Attributes
    ----------
    inputs : dict
        The arguments of the network's `forward`: ``x``, (T, B, ...) or for a network with `batch_first` (B, T, ...),
        and ``lengths`` where they differ.
    targets : dict
        The arguments of the loss after the prediction: ``target``, and ``mask`` where lengths differ, in the same
        layout.
    size : int
        How many elements the loss is a mean over: so much the batch counts in the mean of an epoch.
    rows : (B,) array of int
        Which sequences of the data these are, so that errors can name them; of `Chunks`, the steps they begin with.
    """

    inputs: dict[str, Any]
    targets: dict[str, Any]
    size: int
    rows: NDArray[np.intp] | range = range(0)


class BatchSource(Protocol):
    """What `fit` learns from: anything that has these two.

    Where each batch goes on where the one before it ended, an attribute `carries_state` is True: then `fit` hands the
    state on from batch to batch.

    Batches are (T, B, ...). To learn from a source of one's own, a network with `batch_first` asks it for (B, T, ...):
    its `epoch` takes another argument then, ``batch_first``, True or False.
    """

    def __len__(self) -> int:
        """How many batches an epoch has."""

    def epoch(self, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        """Give the batches of an epoch: in random order, or without `rng` always the same."""


def epoch_for(model: Any, source: BatchSource, rng: np.random.Generator | None = None) -> Iterator[Batch]:
    """The batches of an epoch in the layout of a model; in random order with `rng`."""
    given: Any = {"batch_first": has_batch_first(model)} if gives_both_layouts(source) else {}
    return source.epoch(**given) if rng is None else source.epoch(rng, **given)


def has_batch_first(model: Any) -> bool:
    """Whether the sequences of a model are (B, T, ...)."""
    return bool(getattr(model, "batch_first", False))


def gives_both_layouts(source: BatchSource) -> bool:
    """Whether a source can be asked for batches that are (B, T, ...)."""
    return "batch_first" in inspect.signature(source.epoch).parameters


def pad(sequences: Sequence[Array], *, batch_first: bool = False) -> tuple[Array, NDArray[np.int64]]:
    """Put sequences of different lengths side by side, zeros past each end.

    Parameters
    ----------
    sequences : list of (T_n, ...) arrays
        At least one, all of one dtype and of one shape but for the length.
    batch_first : bool
        Give (B, T, ...).

    Returns
    -------
    padded : (T, B, ...) array
        T is the largest length, B how many there are.
    lengths : (B,) array of int

    Raises
    ------
    TypeError
        If something is not an array, or dtypes differ.
    ValueError
        If there are none, or shapes differ in more than the length.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import pad
    >>> padded, lengths = pad([np.array([1, 2, 3]), np.array([4])])
    >>> padded.tolist(), lengths.tolist()
    ([[1, 4], [2, 0], [3, 0]], [3, 1])
    """
    batch_first = check.flag("batch_first", batch_first)
    check_items("sequences", sequences)
    if not len(sequences):
        raise ValueError("sequences must be at least one")
    first = sequences[0]
    lengths = np.array([len(one) for one in sequences], np.int64)
    T, B = lengths.max(), len(sequences)
    padded = np.zeros(((B, T) if batch_first else (T, B)) + first.shape[1:], first.dtype)
    rows = padded if batch_first else padded.swapaxes(0, 1)
    for row, one in zip(rows, sequences, strict=True):
        row[: len(one)] = one
    return padded, lengths


def similar_rows(
    lengths: NDArray[np.int64], batch_size: int, rng: np.random.Generator | None
) -> list[NDArray[np.intp]]:
    """Which sequences go into each batch: of similar length, at random or without `rng` from short to long."""
    count = -(-len(lengths) // batch_size)
    if not count:
        return []
    if rng is None:
        return np.array_split(np.argsort(lengths, kind="stable"), count)
    check.generator("rng", rng)
    order, pool = rng.permutation(len(lengths)), POOL * batch_size
    for k in range(0, len(order), pool):
        some = order[k : k + pool]
        order[k : k + pool] = some[np.argsort(lengths[some], kind="stable")]
    batches = np.array_split(order, count)
    return [batches[k] for k in rng.permutation(count)]


class Batches:
    """Sequences, each with what is to be learnt of it, in batches of similar length.

    In random order the sequences are shuffled, sorted by length among some batches' worth of them, cut into batches,
    and the batches shuffled: little padding, and other batches in each epoch. Batches are as equal in size as can be.

    Parameters
    ----------
    inputs : list of (T_n, ...) arrays, or (N, T, ...) array
        N sequences of floats, or of ids for an `Embedding`.
    targets : list of (T_n, ...) arrays, or (N, ...) array, or None
        For every step of each sequence, or one for each sequence. Classes may be lists of ints.
    batch_size : int
        At most so many sequences in a batch.
    per_step : bool, optional
        Whether there are targets for every step. Default: True of a list, False of an array. An array that could be
        either, since its second axis is as long as all sequences are, needs an answer.

    Raises
    ------
    TypeError
        If something is not an array, or dtypes differ.
    ValueError
        If the numbers of inputs and targets differ, or shapes or lengths do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import Batches
    >>> x = [np.ones((T, 3), np.float32) for T in (5, 9, 4, 8)]
    >>> batches = Batches(x, np.array([0, 1, 0, 1]), batch_size=2)
    >>> for batch in batches.epoch():
    ...     print(batch.inputs["x"].shape, batch.inputs["lengths"], batch.targets["target"])
    (5, 2, 3) [4 5] [0 0]
    (9, 2, 3) [8 9] [1 1]
    """

    def __init__(
        self,
        inputs: Sequence[Array] | Array,
        targets: Sequence[Array] | Array | None,
        batch_size: int,
        *,
        per_step: bool | None = None,
    ) -> None:
        self.batch_size = check.positive_int("batch_size", batch_size)
        check_items("inputs", inputs)
        targets = np.array(targets) if _are_ints(targets) and len(inputs) else int_lists(targets)
        self.inputs, self.targets = inputs, targets
        self.lengths = np.array([len(one) for one in inputs], np.int64)
        self.per_step = self._per_step(targets, None if per_step is None else check.flag("per_step", per_step))
        if targets is not None:
            if len(targets) != len(inputs):
                raise ValueError(f"targets must be as many as the inputs, {len(inputs)}, not {len(targets)}")
            if self.per_step:
                check_items("targets", targets)
                for k, (one, length) in enumerate(zip(targets, self.lengths, strict=True)):
                    if len(one) != length:
                        steps = check.counted(length, "step")
                        raise ValueError(f"targets[{k}] must have a row for each of {steps}, not {len(one)}")

    def __len__(self) -> int:
        return -(-len(self.inputs) // self.batch_size)

    def epoch(self, rng: np.random.Generator | None = None, *, batch_first: bool = False) -> Iterator[Batch]:
        """Give the batches of an epoch: in random order, or without `rng` from short to long.

        Parameters
        ----------
        rng : numpy.random.Generator, optional
            Where the order comes from.
        batch_first : bool
            Give arrays that are (B, T, ...), for a network with `batch_first`; else (T, B, ...).
        """
        for rows in similar_rows(self.lengths, self.batch_size, rng):
            yield self._batch(rows, batch_first)

    def _per_step(self, targets: Sequence[Array] | Array | None, given: bool | None) -> bool:
        """Whether there are targets for every step."""
        check.unmasked("targets", targets)
        if not isinstance(targets, np.ndarray):
            if given is False:
                raise ValueError("targets must be an array, one for each sequence, where per_step is False")
            return True
        either = targets.ndim > 1 and targets.shape[1] > 1 and bool(np.all(self.lengths == targets.shape[1]))
        if given is None and either:
            raise ValueError(
                f"targets of shape {targets.shape} could be for each of {targets.shape[1]} steps or for each sequence: "
                "say per_step=True or per_step=False"
            )
        return bool(given)

    def _batch(self, rows: NDArray[np.intp], batch_first: bool) -> Batch:
        x, lengths = pad([self.inputs[k] for k in rows], batch_first=batch_first)
        T, B = int(lengths.max()), len(rows)
        whole = bool(np.all(lengths == T))
        inputs = {"x": x} if whole else {"x": x, "lengths": lengths}
        if self.targets is None:
            return Batch(inputs, {}, B, rows)
        if not self.per_step:
            return Batch(inputs, {"target": np.asarray(self.targets)[rows]}, B, rows)
        targets: dict[str, Any] = {"target": pad([self.targets[k] for k in rows], batch_first=batch_first)[0]}
        if not whole:
            within = np.arange(T) < lengths[:, np.newaxis]
            targets["mask"] = within if batch_first else np.ascontiguousarray(within.T)
        return Batch(inputs, targets, int(lengths.sum()), rows)


class Chunks:
    """One long sequence as parallel streams, cut into chunks: truncated back-propagation with `fit`.

    The sequence is divided into `batch_size` stretches of the same length, a row each. A batch is the next `steps`
    steps of all rows, and goes on where the one before it ended: `fit` hands the state on, while gradients stay in the
    chunk. With `rng` the first chunk of an epoch is shorter, as far as that leaves their number as it is: so chunks
    have other borders.

    Parameters
    ----------
    sequence : (T, ...) array
        Floats, or ids for an `Embedding`.
    targets : (T, ...) array
        What is to be learnt at each step: to continue a text, the text one step later.
    batch_size : int
        B, the number of rows.
    steps : int
        Of a chunk; the last may have fewer.

    Raises
    ------
    TypeError
        If something is not an array.
    ValueError
        If the lengths differ, or there are fewer than two steps for each row.

    References
    ----------
    Williams, Peng: "An efficient gradient-based algorithm for on-line training of recurrent network trajectories",
    1990.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import Chunks
    >>> text = np.frombuffer(b"to be or not to be", np.uint8)
    >>> chunks = Chunks(text[:-1], text[1:], batch_size=2, steps=4)
    >>> for batch in chunks.epoch():
    ...     print([bytes(row) for row in batch.inputs["x"].T], [bytes(row) for row in batch.targets["target"].T])
    [b'to b', b' not'] [b'o be', b'not ']
    [b'e or', b' to '] [b' or ', b'to b']
    """

    carries_state = True

    def __init__(self, sequence: Array, targets: Array, batch_size: int, steps: int) -> None:
        self.batch_size, self.steps = check.positive_int("batch_size", batch_size), check.positive_int("steps", steps)
        for name, array in (("sequence", sequence), ("targets", targets)):
            if not isinstance(array, np.ndarray) or array.ndim == 0:
                hint = check.conversion(name, array)
                raise TypeError(f"{name} must be an array with an axis for the steps, not {type(array).__name__}{hint}")
            check.unmasked(name, array)
        if len(targets) != len(sequence):
            raise ValueError(f"targets must be as many as the steps, {len(sequence)}, not {len(targets)}")
        self.stretch = len(sequence) // batch_size
        if self.stretch < 2:
            rows = check.counted(self.batch_size, "row")
            raise ValueError(f"sequence must have two steps for each of {rows}, not {len(sequence)} in all")
        self.sequence, self.targets = sequence, targets

    def __len__(self) -> int:
        return -(-self.stretch // self.steps)

    def epoch(self, rng: np.random.Generator | None = None, *, batch_first: bool = False) -> Iterator[Batch]:
        """Give the chunks, in order, with other borders where there is `rng`; in the layout as for `Batches`."""
        batch_first = check.flag("batch_first", batch_first)
        x, target = (
            array[: self.batch_size * self.stretch].reshape(self.batch_size, self.stretch, *array.shape[1:])
            for array in (self.sequence, self.targets)
        )
        # A first chunk of this many steps, so that the number of chunks stays.
        first = self.steps
        if rng is not None:
            first = int(check.generator("rng", rng).integers((self.stretch - 1) % self.steps, self.steps)) + 1
        start = 0
        for end in range(first, self.stretch + self.steps, self.steps):
            end = min(end, self.stretch)
            rows = (array[:, start:end] for array in (x, target))
            part = (np.ascontiguousarray(array if batch_first else array.swapaxes(0, 1)) for array in rows)
            begins = np.arange(self.batch_size) * self.stretch + start
            yield Batch({"x": next(part)}, {"target": next(part)}, (end - start) * self.batch_size, begins)
            start = end


def int_lists(items: Any) -> Any:
    """`items`, but lists of ints in a list as arrays: they can only be symbols, or classes."""
    if not isinstance(items, (list, tuple)):
        return items
    return [np.array(one, None if one else np.int64) if _are_ints(one) else one for one in items]


def _are_ints(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(
        isinstance(one, (int, np.integer)) and not isinstance(one, bool) for one in value
    )


def check_symbols(name: str, items: Any, axis: str) -> Any:
    """`items` as arrays of integers, a sequence each; `axis` is what their length is called."""
    items = int_lists(items)
    check_items(name, items)
    for k, one in enumerate(items):
        if one.dtype.kind not in "iu":
            raise TypeError(f"{name}[{k}] must have an integer dtype, not {one.dtype}")
        if one.ndim != 1:
            raise ValueError(f"{name}[{k}] must have shape ({axis},), not {one.shape}")
    return items


def check_items(name: str, items: object) -> None:
    """Raise unless `items` are arrays of one dtype, of one shape but for the first axis."""
    if not isinstance(items, (list, tuple, np.ndarray)):
        line = f"list({name})" if isinstance(items, Iterator) else check.converted(name, items)
        hint = f": {line} makes one" if line else ""
        if hasattr(items, "to_numpy"):
            hint += f", [{line}] one of a single sequence"
        raise TypeError(f"{name} must be a list of arrays, or an array, not {type(items).__name__}{hint}")
    check.unmasked(name, items)
    for k, one in enumerate(items):
        if not isinstance(one, np.ndarray) or one.ndim == 0:
            line = check.converted("one", one)
            hint = f": [{line} for one in {name}] makes arrays" if line and np.ndim(one) else ""
            if name == "targets" and not hint:
                hint = "; one for each sequence is an array: np.array(targets)"
            raise TypeError(f"{name}[{k}] must be an array with an axis for the steps, not {type(one).__name__}{hint}")
        check.unmasked(f"{name}[{k}]", one)
        if one.dtype != items[0].dtype:
            raise TypeError(f"{name}[{k}] must have the dtype of the first, {items[0].dtype}, not {one.dtype}")
        if one.shape[1:] != items[0].shape[1:]:
            expected = "(T, " + ", ".join(map(str, items[0].shape[1:])) + ")" if one.ndim > 1 else "(T,)"
            raise ValueError(f"{name}[{k}] must have the first one's shape but for T, {expected}, not {one.shape}")
