"""A network of layers, one above the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm.layers.lstm import LSTM
from fastlstm.layers.parameters import Gradients, Parametric
from fastlstm.layers.rnn import RNN
from fastlstm.nn._composite import Composite
from fastlstm.nn._data_errors import in_data
from fastlstm.nn.batches import Batches
from fastlstm.nn.dense import Dense
from fastlstm.nn.dropout import Dropout
from fastlstm.nn.embedding import Embedding
from fastlstm.nn.pooling import Last, Mean

__all__ = ["Sequential", "SequentialTape"]


@dataclass(slots=True)
class SequentialTape:
    """What a network's `forward` keeps for `backward`. A tape may be used many times.

    It refers to the arrays that went in and came out: they must not be changed before the backward pass.

    Attributes
    ----------
    layers : list
        The tape of each layer.
    shape : tuple of int, optional
        That of the output, in the network's layout.
    """

    layers: list[Any]
    shape: tuple[int, ...] | None = None


class Sequential(Composite):
    """Layers one above the other, recurrent and others, with all their parameters in one buffer.

    Sequences are (time, batch, features), or ids (time, batch) where the first layer is an `Embedding`; with
    `batch_first`, (batch, time, features) and (batch, time). `lengths` and the generator for dropout go to the layers
    that want them. The layers keep their names and methods, and see their parameters in the network's buffer: make
    optimisers for ``network.flat``, once the network is there.

    Parameters
    ----------
    *layers : LSTM, RNN, Dense, Embedding, Dropout, Last, Mean, Sequential
        From the input up, all of one dtype. A layer can be in one network only, once, and has no `batch_first` of its
        own: the network's holds for all of it.
    batch_first : bool
        Whether arrays of sequences, what goes in, what comes out and their gradients, are (B, T, ...) instead of
        (T, B, ...). States are (layers, B, H) in both.

    Attributes
    ----------
    layers : tuple
        The layers.
    params : mapping of str to array
        The layers' parameters, named by the layer's number: ``"0.W_l0"``.
    flat : (n,) array
        All parameters in one buffer, of which `params` are views. In a network they move to the network's.

    Raises
    ------
    TypeError
        If something is not a layer, or layers differ in dtype.
    ValueError
        If there is no layer, a layer is in a network already, or sizes do not fit.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> from fastlstm import nn
    >>> network = nn.Sequential(fastlstm.LSTM(3, 8, bidirectional=True, seed=0), nn.Last(), nn.Dense(16, 2, seed=1))
    >>> x = np.random.default_rng(0).normal(size=(20, 4, 3)).astype(np.float32)
    >>> y, state, tape = network.forward(x, lengths=[20, 7, 13, 1])
    >>> y.shape
    (4, 2)
    >>> grads = network.backward(tape, np.ones_like(y))
    >>> grads.flat.shape == network.flat.shape, grads.x.shape
    (True, (20, 4, 3))
    >>> batch_first = nn.Sequential(fastlstm.LSTM(3, 8, seed=0), nn.Dense(8, 2, seed=1), batch_first=True)
    >>> batch_first(x.swapaxes(0, 1))[0].shape
    (4, 20, 2)
    """

    _label = "layers[{}]"
    batch_first = False  # of networks that were pickled before there was such an argument

    def __init__(self, *layers: Parametric, batch_first: bool = False) -> None:
        if not layers:
            raise ValueError("layers must be at least one")
        self.layers = layers
        self.batch_first = check.flag("batch_first", batch_first)
        self._allocate()

    def _parts(self) -> Mapping[str, Parametric]:
        for k, layer in enumerate(self.layers):
            if not isinstance(layer, (LSTM, RNN, Dense, Embedding, Dropout, Last, Mean, Sequential)):
                raise TypeError(
                    f"layers[{k}] must be an LSTM, RNN, Dense, Embedding, Dropout, Last, Mean or Sequential, "
                    f"not {type(layer).__name__}"
                )
            if getattr(layer, "batch_first", False):
                raise ValueError(f"layers[{k}] must not have batch_first: give it to the network, batch_first=True")
        chained(self.layers)
        return {str(k): layer for k, layer in enumerate(self.layers)}

    @property
    def directions(self) -> int:
        """2 if what comes out are the outputs of a bidirectional layer, else 1."""
        return self._directions_above(1)

    def _directions_above(self, below: int) -> int:
        """The directions of what comes out, where those of what goes in are so many."""
        for layer in self.layers:
            below = _directions(layer, below)
        return below

    @property
    def recurrent(self) -> list[Any]:
        """The layers that have a state: `state` has an item for each of them, in this order."""
        return [layer for layer in self.layers if isinstance(layer, (LSTM, RNN, Sequential))]

    def __call__(self, x: Array, state: Any = None, lengths: ArrayLike | None = None) -> tuple[Array, tuple[Any, ...]]:
        """Run the network over sequences, keeping nothing for the backward pass and dropping nothing.

        Parameters
        ----------
        x : (T, B, ...) array
            What the first layer takes; (B, T, ...) with `batch_first`.
        state : tuple, optional
            The initial state of each recurrent layer, or None for zeros.
        lengths : (B,) array of int, optional
            How many steps each row has. Default: all T.

        Returns
        -------
        y : array
            What the last layer gives: (T, B, features), or (B, T, features) with `batch_first`, or (B, features) above
            a `Last` or `Mean`.
        state : tuple
            The state of each recurrent layer after the last step.
        """
        return self._in_layout(x, state, lengths, None, None)

    def forward(
        self,
        x: Array,
        state: Any = None,
        lengths: ArrayLike | None = None,
        *,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, tuple[Any, ...], SequentialTape]:
        """Run the network as by a call, but with dropout, and keep what `backward` needs.

        Parameters
        ----------
        x, state, lengths
            As for a call.
        rng : numpy.random.Generator, optional
            Where the masks of dropout come from.

        Returns
        -------
        y, state
            As from a call.
        tape : SequentialTape
            For `backward`.
        """
        tape = SequentialTape([])
        y, last = self._in_layout(x, state, lengths, rng, tape.layers)
        tape.shape = getattr(y, "shape", None)  # a packed sequence has none
        return y, last, tape

    def _in_layout(
        self, x: Any, state: Any, lengths: ArrayLike | None, rng: np.random.Generator | None, tapes: list[Any] | None
    ) -> tuple[Array, tuple[Any, ...]]:
        """As `_run`, with sequences in the network's layout."""
        if not self.batch_first:
            return self._run(x, state, lengths, rng, tapes, 1)
        try:
            y, last = self._run(self._entering(x), state, lengths, rng, tapes, 1)
        except check.EntryError as error:
            error.index = (*error.index[1::-1], *error.index[2:])
            raise
        return self._leaving(y), last

    def _entering(self, x: Any) -> Any:
        """X, (B, T, ...) where it is of sequences, as the layers take it: (T, B, ...)."""
        if not isinstance(x, np.ndarray):
            return x
        first = _first(self)
        size = getattr(first, "input_size", None)
        if size is not None and (x.shape[2] != size if x.ndim == 3 else isinstance(first, (LSTM, RNN))):
            raise ValueError(f"x must have shape (B, T, {size}), not {x.shape}")
        return _swapped(x)

    def _leaving(self, array: Any) -> Any:
        """What the layers give, (T, B, ...) where it is of sequences, in the network's layout."""
        if not (self.batch_first and isinstance(array, np.ndarray)):
            return array
        return np.ascontiguousarray(_swapped(array))

    def _run(
        self, x: Array, state: Any, lengths: ArrayLike | None, rng: np.random.Generator | None,
        tapes: list[Any] | None, directions: int,
    ) -> tuple[Array, tuple[Any, ...]]:  # fmt: skip
        """Y and the state, where x has so many directions; the tapes are added to `tapes`, None for a call."""
        count = len(self.recurrent)
        states = iter((None,) * count if state is None else check.items("state", state, _per_recurrent(count), count))
        given: dict[str, Any] = {"lengths": lengths, "rng": rng, "directions": directions}
        y: Any = x
        last: list[Any] = []
        for layer in self.layers:
            if isinstance(layer, Sequential):  # which is told of the directions too
                own = None if tapes is None else SequentialTape([])
                y, inner = layer._run(
                    y, next(states), lengths, rng, None if own is None else own.layers, given["directions"]
                )
                if tapes is not None:
                    tapes.append(own)
                last.append(inner)
            elif isinstance(layer, (LSTM, RNN)):
                if tapes is None:
                    y, after = layer(y, next(states), lengths)
                else:
                    y, after, tape = layer.forward(y, next(states), lengths, rng=rng)
                    tapes.append(tape)
                last.append(after)
            else:
                run: Any = layer
                if tapes is None:
                    y = run(y, **{name: given[name] for name in layer.needs if name != "rng"})
                else:
                    y, tape = run.forward(y, **{name: given[name] for name in layer.needs})
                    tapes.append(tape)
            given["directions"] = _directions(layer, given["directions"])
        return y, tuple(last)

    def backward(
        self,
        tape: SequentialTape,
        dy: Array | None,
        dstate: Any = None,
        *,
        out: Gradients | None = None,
        accumulate: bool = False,
    ) -> Gradients:
        """Back-propagate through all layers, and through time.

        Parameters
        ----------
        tape : SequentialTape
            From this one's `forward`, since which neither parameters nor inputs have changed; left as it was.
        dy : array or None
            dJ/dy, shaped as y. None stands for zero, where the last layer is recurrent.
        dstate : tuple, optional
            Gradients arriving at the final state of each recurrent layer, or None.
        out : Gradients, optional
            An earlier result to write to again.
        accumulate : bool
            Add the parameters' gradients to those in `out`, instead of overwriting them.

        Returns
        -------
        Gradients
            ``.params`` (the keys of `params`), ``.flat``, ``.x`` (None where the first layer is an `Embedding`),
            ``.state`` (a tuple with an item for each recurrent layer), ``.parts`` (the layers' own: ``parts["0"]``).
        """
        if not isinstance(tape, SequentialTape):
            raise TypeError(f"tape must be a SequentialTape from forward, not {type(tape).__name__}")
        if len(tape.layers) != len(self.layers):
            raise ValueError(
                f"tape must be from a network of {check.counted(len(self.layers), 'layer')}, not {len(tape.layers)}"
            )
        count = len(self.recurrent)
        arriving = (
            [None] * count if dstate is None else list(check.items("dstate", dstate, _per_recurrent(count), count))
        )
        if self.batch_first and isinstance(dy, np.ndarray):
            if tape.shape is not None and dy.shape != tape.shape:
                raise ValueError(f"dy must have the shape of y, {tape.shape}, not {dy.shape}")
            dy = _swapped(dy)
        grads = self._gradients(out, accumulate)
        states: list[Any] = []
        for k in reversed(range(len(self.layers))):
            layer: Any = self.layers[k]
            own, kept = grads.parts[str(k)], tape.layers[k]
            if isinstance(layer, (LSTM, RNN, Sequential)):
                layer.backward(kept, dy, arriving.pop(), out=own, accumulate=accumulate)
                states.append(own.state)
            else:
                layer.backward(kept, dy, out=own, accumulate=accumulate)
            dy = own.x
        grads.x, grads.state = self._leaving(dy), tuple(reversed(states))
        return grads

    def predict(self, inputs: Array | Sequence[Array], batch_size: int = 256) -> Any:
        """Run the network over many sequences, in batches of similar length.

        Parameters
        ----------
        inputs : list of (T_n, ...) arrays, or (T, N, ...) array
            N sequences, of different lengths or of one. An array is as in a call: (N, T, ...) with `batch_first`.
        batch_size : int
            At most so many at once.

        Returns
        -------
        list of (T_n, features) arrays, or array
            In the order of the inputs: for every step of a list's sequences a list; of an array's, an array as from a
            call. Where there is a `Last` or `Mean`, an (N, features) array.

        Raises
        ------
        TypeError, ValueError
            If `inputs` are not such sequences, or not those that the network takes.
        """
        whole = isinstance(inputs, np.ndarray)
        if isinstance(inputs, np.ndarray) and not self.batch_first:
            if inputs.ndim < 2:
                raise ValueError(f"inputs must have shape (T, N, ...), or be a list of sequences, not {inputs.shape}")
            inputs = inputs.swapaxes(0, 1)
        batches = Batches(inputs, None, batch_size)
        check_sequences("inputs", self, inputs)
        features, is_sequence = chained(self.layers)
        if isinstance(inputs, np.ndarray) and not len(inputs) and features is not None:
            steps = () if is_sequence is False else inputs.shape[1:2]
            return np.empty((0, *steps, features) if self.batch_first else (*steps, 0, features), self.dtype)
        found: list[Any] = [None] * len(inputs)
        for batch in batches.epoch(batch_first=self.batch_first):
            try:
                y, _ = self(**batch.inputs)
            except check.EntryError as error:
                raise in_data(error, "inputs", batches, batch, self, None) from None
            rows = y if self.batch_first or y.ndim < 3 else y.swapaxes(0, 1)
            for k, row in enumerate(batch.rows):
                found[row] = rows[k, : len(inputs[row])].copy() if y.ndim == 3 else rows[k]
        if not found or (found[0].ndim == 2 and not whole):
            return found
        return np.stack(found, axis=1 if found[0].ndim == 2 and not self.batch_first else 0)

    def __repr__(self) -> str:
        options = ["batch_first=True"] if self.batch_first else []
        return f"Sequential({', '.join([*map(repr, self.layers), *options])})"


def chained(
    layers: Sequence[Parametric], features: int | None = None, is_sequence: bool | None = None
) -> tuple[int | None, bool | None]:
    """How many features come out, and whether for each step, where so many go in; None stands for any."""
    for k, layer in enumerate(layers):
        if isinstance(layer, Sequential):
            features, is_sequence = chained(layer.layers, features, is_sequence)
        if isinstance(layer, (LSTM, RNN, Last, Mean)):
            if is_sequence is False:
                raise ValueError(f"layers[{k}] must have sequences below it, not a Last or Mean: {layer!r}")
            is_sequence = not isinstance(layer, (Last, Mean))
        if isinstance(layer, Embedding):
            if features is not None:
                raise ValueError(f"layers[{k}] must be the first that is not Dropout, since it takes ids: {layer!r}")
            features = layer.output_size
        elif isinstance(layer, (LSTM, RNN, Dense)):
            if features not in (None, layer.input_size):
                raise ValueError(
                    f"layers[{k}] must have input_size {features}, which is what comes from below: {layer!r}"
                )
            features = layer.output_size * (1 if isinstance(layer, Dense) else layer.directions)
    return features, is_sequence


def check_sequences(name: str, network: Any, sequences: Sequence[Array] | Array) -> None:
    """Raise unless these arrays, of one shape but for the first axis, are sequences of what the network takes."""
    first = _first(network)
    if not len(sequences) or not isinstance(first, (LSTM, RNN, Dense, Embedding)):
        return
    found = np.asarray(sequences[0])
    size = () if isinstance(first, Embedding) else (first.input_size,)
    if found.shape[1:] != size or found.ndim == 0:
        axes = ", ".join(("T", *map(str, size))) + ("" if size else ",")
        raise ValueError(
            f"{name} must be N sequences of shape ({axes}) each, steps first; the first has shape {found.shape}"
        )
    if size and found.dtype != network.dtype:
        raise TypeError(f"{name} must have dtype {network.dtype}, the network's, not {found.dtype}")


def _first(network: Any) -> Any:
    """The first layer that is neither dropout nor a network of layers; None for none."""
    layers = [network]
    while layers and isinstance(layers[0], (Sequential, Dropout)):
        layers = [*getattr(layers[0], "layers", ()), *layers[1:]]
    return layers[0] if layers else None


def _swapped(array: Array) -> Array:
    """Sequences in the other layout: floats of three axes, ids of two. Anything else has no steps."""
    return array.swapaxes(0, 1) if array.ndim == (3 if array.dtype.kind == "f" else 2) else array


def _directions(layer: Parametric, below: int) -> int:
    """How many directions the outputs of a layer have: those of a recurrent one, which others but dropout mix."""
    if isinstance(layer, Sequential):
        return layer._directions_above(below)
    if isinstance(layer, (LSTM, RNN)):
        return layer.directions
    return below if isinstance(layer, Dropout) else 1


def _per_recurrent(count: int) -> str:
    return f"a tuple with an item for each of the {check.counted(count, 'recurrent layer')}"
