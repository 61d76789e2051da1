"""Sequences in batches: of similar length, or as parallel streams cut into chunks."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm._arrays.hints import conversion, converted

__all__ = ["Batch", "BatchSource", "Batches", "Chunks", "pad"]

# The sequences of this many batches are sorted by length together: enough to waste little, few enough to stay random.
POOL = 32


class Batch(NamedTuple):
    """The sequences that go through a network together.

    Attributes
    ----------
    inputs : dict
        The arguments of the network's `forward`: ``x``, (T, B, ...) or for a network with `batch_first` (B, T, ...),
        and ``lengths`` where they differ.
    targets : dict
        The arguments of the loss after the prediction: ``target``, and ``mask`` where lengths differ, in the same
        layout.
    size : int
        The number of elements that the loss is a mean over: the weight of the batch in the mean of an epoch.
    rows : (B,) array of int
        The indices of the sequences in the data, so that errors can name them; of `Chunks`, the first step of each row.
    """

    inputs: dict[str, Any]
    targets: dict[str, Any]
    size: int
    rows: NDArray[np.intp] | range = range(0)


class BatchSource(Protocol):
    """Data for `fit`: any object with these two methods.

    If each batch continues where the one before it ended, the source has an attribute `carries_state`, which is True:
    `fit` then passes the state on from batch to batch.

    Batches are (T, B, ...). A network with `batch_first` asks for (B, T, ...): a source of your own then needs an
    `epoch` with another argument, ``batch_first``, True or False.
    """

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""

    def epoch(self, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        """Yield the batches of an epoch: in random order, or without `rng` always in the same order."""


def epoch_for(model: Any, source: BatchSource, rng: np.random.Generator | None = None) -> Iterator[Batch]:
    """Return the batches of an epoch in the layout of a model; in random order with `rng`."""
    given: Any = {"batch_first": has_batch_first(model)} if gives_both_layouts(source) else {}
    return source.epoch(**given) if rng is None else source.epoch(rng, **given)


def has_batch_first(model: Any) -> bool:
    """Return whether the sequences of a model are (B, T, ...)."""
    return bool(getattr(model, "batch_first", False))


def gives_both_layouts(source: BatchSource) -> bool:
    """Return whether a source can be asked for batches that are (B, T, ...)."""
    return "batch_first" in inspect.signature(source.epoch).parameters


def pad(sequences: Sequence[Array], *, batch_first: bool = False) -> tuple[Array, NDArray[np.int64]]:
    """Join sequences of different lengths into one array, with zeros past each end.

    Parameters
    ----------
    sequences : list of (T_n, ...) arrays
        At least one sequence, all of the same dtype, and of the same shape except for the length.
    batch_first : bool
        Whether to return (B, T, ...) instead.

    Returns
    -------
    padded : (T, B, ...) array
        The sequences; T is the largest length, B the number of sequences.
    lengths : (B,) array of int

    Raises
    ------
    TypeError
        If something is not an array, or dtypes differ.
    ValueError
        If there are no sequences, or shapes differ in more than the length.

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
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    T, B = lengths.max(), len(sequences)
    padded = np.zeros(((B, T) if batch_first else (T, B)) + first.shape[1:], first.dtype)
    rows = padded if batch_first else padded.swapaxes(0, 1)
    for row, sequence in zip(rows, sequences, strict=True):
        row[: len(sequence)] = sequence
    return padded, lengths


def similar_rows(
    lengths: NDArray[np.int64], batch_size: int, rng: np.random.Generator | None
) -> list[NDArray[np.intp]]:
    """Return the sequences of each batch, of similar length: in random order, or without `rng` from short to long."""
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
    """Sequences and their targets, in batches of similar length.

    For a random order the sequences are shuffled, sorted by length within groups of some batches, cut into batches, and
    the batches shuffled: there is little padding, and each epoch has other batches. Batches are as equal in size as
    possible.

    Parameters
    ----------
    inputs : list of (T_n, ...) arrays, or (N, T, ...) array
        N sequences of floats, or of ids for an `Embedding`.
    targets : list of (T_n, ...) arrays, or (N, ...) array, or None
        A target for every step of each sequence, or one for each sequence. Classes may be lists of ints.
    batch_size : int
        The largest number of sequences in a batch.
    per_step : bool, optional
        Whether there are targets for every step. Default: True for a list, False for an array. It must be given for an
        array that could be either, because its second axis is as long as every sequence.

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
        self.lengths = np.array([len(sequence) for sequence in inputs], np.int64)
        self.per_step = self._per_step(targets, None if per_step is None else check.flag("per_step", per_step))
        if targets is not None:
            if len(targets) != len(inputs):
                raise ValueError(f"targets must be as many as the inputs, {len(inputs)}, not {len(targets)}")
            if self.per_step:
                check_items("targets", targets)
                for k, (target, length) in enumerate(zip(targets, self.lengths, strict=True)):
                    if len(target) != length:
                        steps = check.counted(length, "step")
                        raise ValueError(f"targets[{k}] must have a row for each of {steps}, not {len(target)}")

    def __len__(self) -> int:
        return -(-len(self.inputs) // self.batch_size)

    def epoch(self, rng: np.random.Generator | None = None, *, batch_first: bool = False) -> Iterator[Batch]:
        """Yield the batches of an epoch: in random order, or without `rng` from short to long.

        Parameters
        ----------
        rng : numpy.random.Generator, optional
            The source of the order.
        batch_first : bool
            Whether arrays are (B, T, ...), for a network with `batch_first`, instead of (T, B, ...).
        """
        for rows in similar_rows(self.lengths, self.batch_size, rng):
            yield self._batch(rows, batch_first)

    def _per_step(self, targets: Sequence[Array] | Array | None, given: bool | None) -> bool:
        """Return whether there are targets for every step."""
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
        """Return the batch of these sequences."""
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

    The sequence is divided into `batch_size` stretches of the same length, one for each row. A batch has the next
    `steps` steps of all rows, and continues where the one before it ended: `fit` passes the state on, while gradients
    stay within the chunk. With `rng` the first chunk of an epoch has a random length, chosen so that the number of
    chunks stays the same: the chunks of each epoch have other borders.

    Parameters
    ----------
    sequence : (T, ...) array
        Floats, or ids for an `Embedding`.
    targets : (T, ...) array
        The target of each step: to learn to continue a text, the text one step later.
    batch_size : int
        B, the number of rows.
    steps : int
        The number of steps of a chunk; the last chunk may have fewer.

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
                hint = conversion(name, array)
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
        """Yield the chunks in order, with random borders if `rng` is given; `batch_first` is as for `Batches`."""
        batch_first = check.flag("batch_first", batch_first)
        x, target = (
            array[: self.batch_size * self.stretch].reshape(self.batch_size, self.stretch, *array.shape[1:])
            for array in (self.sequence, self.targets)
        )
        # The number of chunks stays the same for each of these lengths of the first chunk.
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
    """Return `items` with each list of ints in it as an array: such lists can only be symbols, or classes."""
    if not isinstance(items, (list, tuple)):
        return items
    return [np.array(item, None if item else np.int64) if _are_ints(item) else item for item in items]


def _are_ints(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(
        isinstance(item, (int, np.integer)) and not isinstance(item, bool) for item in value
    )


def check_symbols(name: str, items: Any, axis: str) -> Any:
    """Return `items` as sequences of integers; `axis` is the name of their length."""
    items = int_lists(items)
    check_items(name, items)
    for k, sequence in enumerate(items):
        if sequence.dtype.kind not in "iu":
            raise TypeError(f"{name}[{k}] must have an integer dtype, not {sequence.dtype}")
        if sequence.ndim != 1:
            raise ValueError(f"{name}[{k}] must have shape ({axis},), not {sequence.shape}")
    return items


def check_items(name: str, items: object) -> None:
    """Raise unless `items` are arrays of the same dtype, and of the same shape except for the first axis."""
    if not isinstance(items, (list, tuple, np.ndarray)):
        line = f"list({name})" if isinstance(items, Iterator) else converted(name, items)
        hint = f": {line} makes one" if line else ""
        if hasattr(items, "to_numpy"):
            hint += f", [{line}] one of a single sequence"
        raise TypeError(f"{name} must be a list of arrays, or an array, not {type(items).__name__}{hint}")
    check.unmasked(name, items)
    for k, item in enumerate(items):
        if not isinstance(item, np.ndarray) or item.ndim == 0:
            line = converted("one", item)
            hint = f": [{line} for one in {name}] makes arrays" if line and np.ndim(item) else ""
            if name == "targets" and not hint:
                hint = "; one for each sequence is an array: np.array(targets)"
            raise TypeError(f"{name}[{k}] must be an array with an axis for the steps, not {type(item).__name__}{hint}")
        check.unmasked(f"{name}[{k}]", item)
        if item.dtype != items[0].dtype:
            raise TypeError(f"{name}[{k}] must have the dtype of the first, {items[0].dtype}, not {item.dtype}")
        if item.shape[1:] != items[0].shape[1:]:
            expected = "(T, " + ", ".join(map(str, items[0].shape[1:])) + ")" if item.ndim > 1 else "(T,)"
            raise ValueError(f"{name}[{k}] must have the first one's shape but for T, {expected}, not {item.shape}")
