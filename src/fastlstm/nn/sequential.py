"""Networks of layers, one above the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm.layers.network_layer import NetworkLayer, Signal
from fastlstm.layers.parameters import Gradients, Parametric
from fastlstm.nn._composite import Composite, state_items
from fastlstm.nn._data_errors import in_data
from fastlstm.nn._layer_checks import check_part, check_sequences
from fastlstm.nn.batches import Batches

__all__ = ["Sequential", "SequentialTape"]


@dataclass(slots=True)
class SequentialTape:
    """The values that a network's `forward` stores for `backward`. A tape may be used many times.

    It refers to the network's inputs and outputs: they must not be changed before the backward pass.

    Attributes
    ----------
    layers : list
        The tape of each layer.
    shape : tuple of int, optional
        The shape of the output, in the network's layout.
    """

    layers: list[Any]
    shape: tuple[int, ...] | None = None


class Sequential(Composite, NetworkLayer):
    """Layers one above the other, recurrent and others, with all their parameters in one buffer.

    Sequences are (time, batch, features), or ids (time, batch) where the first layer is an `Embedding`; with
    `batch_first`, (batch, time, features) and (batch, time). `lengths` and the generator for dropout go to the layers
    that need them. The layers keep their names and methods, and their parameters become views of the network's buffer:
    make the optimiser for ``network.flat``, once the network exists.

    Parameters
    ----------
    *layers : LSTM, GRU, RNN, Dense, Embedding, Dropout, Last, Mean, Sequential
        The layers from the input up, all of the same dtype. A layer can be in one network only, once, and has no
        `batch_first` of its own: the network's holds for all layers.
    batch_first : bool
        Whether sequences, which are the inputs, the outputs and their gradients, are (B, T, ...), not (T, B, ...).
        States are (layers, B, H) in both cases.

    Attributes
    ----------
    layers : tuple
        The layers.
    params : mapping of str to array
        The layers' parameters, named by the layer's number: ``"0.W_l0"``.
    flat : (n,) array
        All parameters in one buffer, of which `params` are views. In a network they move into its buffer.

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

    needs = ("state", "lengths", "rng", "directions")
    _label = "layers[{}]"
    batch_first = False  # Networks that were pickled before the argument existed have none.

    def __init__(self, *layers: NetworkLayer, batch_first: bool = False) -> None:
        if not layers:
            raise ValueError("layers must be at least one")
        self.layers = layers
        self.batch_first = check.flag("batch_first", batch_first)
        for k, layer in enumerate(layers):
            check_part(f"layers[{k}]", layer)
        self._check_below(Signal(), "")
        self._allocate()

    def _parts(self) -> Mapping[str, Parametric]:
        return {str(k): layer for k, layer in enumerate(self.layers)}

    def _bind(self) -> None:
        """Store what is the same for every call: the layers with a state, and the directions below each layer."""
        self._with_state = [layer for layer in self.layers if "state" in layer.needs]
        self._directions_below = [[signal.directions for signal in self._signals(Signal(directions=D))] for D in (1, 2)]

    # ---- a layer of another network ----

    @property
    def takes_sequences(self) -> bool:  # type: ignore[override]
        """Whether x must be a sequence, since one of the layers takes nothing else."""
        """Whether x must be a sequence, since one of the layers takes nothing else."""
        return any(layer.takes_sequences for layer in self.layers)

    @property
    def _step_shape(self) -> tuple[int, ...] | None:
        return next((layer._step_shape for layer in self.layers if layer._step_shape is not None), None)

    def _signals(self, below: Signal) -> Iterator[Signal]:
        """Yield the input of each layer, where that of the first is `below`."""
        for layer in self.layers:
            yield below
            below = layer.output_for(below)

    def _check_below(self, below: Signal, name: str) -> None:
        """Raise ValueError unless each layer takes the values from below; messages name the layers of this network."""
        for k, (layer, signal) in enumerate(zip(self.layers, self._signals(below), strict=True)):
            layer._check_below(signal, f"layers[{k}]")

    def output_for(self, below: Signal) -> Signal:
        """Return the output of the last layer, where the input of the first is `below`."""
        return reduce(lambda signal, layer: layer.output_for(signal), self.layers, below)

    def _run(self, x: Any, context: Mapping[str, Any], tapes: list[Any] | None) -> tuple[Any, list[Any]]:
        """Run the layers, with a tape of their own for the network around them; see `NetworkLayer._run`."""
        tape = None if tapes is None else SequentialTape([])
        y, state = self._run_layers(x, {**context}, None if tape is None else tape.layers)
        if tapes is not None:
            tapes.append(tape)
        return y, [state]

    # ---- passes ----

    @property
    def directions(self) -> int:
        """2 if the outputs are those of a bidirectional layer, else 1."""
        return self.output_for(Signal()).directions

    @property
    def recurrent(self) -> list[Any]:
        """The layers that have a state: `state` has an item for each of them, in this order."""
        return list(self._with_state)

    def __call__(self, x: Array, state: Any = None, lengths: ArrayLike | None = None) -> tuple[Array, tuple[Any, ...]]:
        """Run the network over sequences, without a tape and without dropout.

        Parameters
        ----------
        x : (T, B, ...) array
            The input of the first layer; (B, T, ...) with `batch_first`.
        state : tuple, optional
            The initial state of each recurrent layer, or None for zeros.
        lengths : (B,) array of int, optional
            The number of steps of each row. Default: all T.

        Returns
        -------
        y : array
            The output of the last layer: (T, B, features), or (B, T, features) with `batch_first`, or (B, features)
            above a `Last` or `Mean`.
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
        """Run the network as a call does, but with dropout and with a tape for `backward`.

        Parameters
        ----------
        x, state, lengths
            The same as for a call.
        rng : numpy.random.Generator, optional
            The source of the dropout masks.

        Returns
        -------
        y, state
            The same as from a call.
        tape : SequentialTape
            The tape for `backward`.
        """
        tape = SequentialTape([])
        y, last = self._in_layout(x, state, lengths, rng, tape.layers)
        tape.shape = getattr(y, "shape", None)  # A packed sequence has none.
        return y, last, tape

    def _in_layout(
        self, x: Any, state: Any, lengths: ArrayLike | None, rng: np.random.Generator | None, tapes: list[Any] | None
    ) -> tuple[Array, tuple[Any, ...]]:
        """Return y and the state for an x in the network's layout; the layers' tapes are added to `tapes`, if any."""
        context = {"state": state, "lengths": lengths, "rng": rng, "directions": 1}
        if not self.batch_first:
            return self._run_layers(x, context, tapes)
        try:
            y, last = self._run_layers(self._entering(x), context, tapes)
        except check.EntryError as error:
            error.index = (*error.index[1::-1], *error.index[2:])
            raise
        return self._leaving(y), last

    def _run_layers(self, x: Any, context: dict[str, Any], tapes: list[Any] | None) -> tuple[Any, tuple[Any, ...]]:
        """Return y and the state for a time-first x; `context` has what layers may need, and is changed for each."""
        states = iter(state_items("state", context["state"], len(self._with_state)))
        y, last = x, []
        below = self._directions_below[context["directions"] - 1]
        for layer, directions in zip(self.layers, below, strict=True):
            if "state" in layer.needs:
                context["state"] = next(states)
            context["directions"] = directions
            y, state = layer._run(y, context, tapes)
            last += state
        return y, tuple(last)

    def _entering(self, x: Any) -> Any:
        """Return x in the layers' layout: (T, B, ...) where it is (B, T, ...), anything else as it is."""
        if not isinstance(x, np.ndarray):
            return x
        shape = self._step_shape
        if shape and (x.shape[2:] != shape if x.ndim == 3 else self.takes_sequences):
            raise ValueError(f"x must have shape (B, T, {shape[0]}), not {x.shape}")
        return _swapped(x)

    def _leaving(self, array: Any) -> Any:
        """Return an output of the layers in the network's layout."""
        if not (self.batch_first and isinstance(array, np.ndarray)):
            return array
        return np.ascontiguousarray(_swapped(array))

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
            The tape from `forward`; neither parameters nor inputs may have changed since. It is left as it was.
        dy : array or None
            dJ/dy, shaped as y. None stands for zeros, if the last layer is recurrent.
        dstate : tuple, optional
            The gradient with respect to the final state of each recurrent layer, or None.
        out : Gradients, optional
            An earlier result, whose arrays are written to again.
        accumulate : bool
            Add the parameters' gradients to those in `out`, instead of overwriting them.

        Returns
        -------
        Gradients
            ``.params`` (the keys of `params`), ``.flat``, ``.x`` (None where the first layer is an `Embedding`),
            ``.state`` (a tuple with an item for each recurrent layer), ``.parts`` (one for each layer: ``parts["0"]``).
            Where layers are frozen, the pass ends with the lowest layer that is trained, unless none is: ``.x`` and
            the state's items of what is below are None then.
        """
        return self._back(tape, dy, (dstate,), out, accumulate, self._reaches_x())

    def _lowest_trained(self) -> int:
        """Return the number of the lowest layer that has something to train, or the number of layers."""
        return next((k for k, layer in enumerate(self.layers) if layer._trained()), len(self.layers))

    def _reaches_x(self) -> bool:
        for layer in self.layers:
            if layer._trained():
                return layer._reaches_x()
            if layer._frozen():
                return not self._trained()
        return True

    def _back(
        self, tape: Any, dy: Any, dstates: tuple[Any, ...], out: Gradients | None, accumulate: bool, to_x: bool
    ) -> Gradients:
        if not isinstance(tape, SequentialTape):
            raise TypeError(f"tape must be a SequentialTape from forward, not {type(tape).__name__}")
        if len(tape.layers) != len(self.layers):
            raise ValueError(
                f"tape must be from a network of {check.counted(len(self.layers), 'layer')}, not {len(tape.layers)}"
            )
        arriving = list(state_items("dstate", dstates[0] if dstates else None, len(self._with_state)))
        if self.batch_first and isinstance(dy, np.ndarray):
            if tape.shape is not None and dy.shape != tape.shape:
                raise ValueError(f"dy must have the shape of y, {tape.shape}, not {dy.shape}")
            dy = _swapped(dy)
        grads = self._gradients(out, accumulate)
        states: list[Any] = []
        lowest = 0 if to_x else self._lowest_trained()
        for k in reversed(range(len(self.layers))):
            layer, own = self.layers[k], grads.parts[str(k)]
            given = (arriving.pop(),) if "state" in layer.needs else ()
            if k < lowest:
                own.x = own.state = None
                if not accumulate:
                    own._clear()
            else:
                layer._back(tape.layers[k], dy, given, own, accumulate, to_x or k > lowest)
            if given:
                states.append(own.state)
            dy = own.x
        grads.x, grads.state = self._leaving(dy), tuple(reversed(states))
        return grads

    def predict(self, inputs: Array | Sequence[Array], batch_size: int = 256) -> Any:
        """Run the network over many sequences, in batches of similar length.

        Parameters
        ----------
        inputs : list of (T_n, ...) arrays, or (T, N, ...) array
            N sequences of any lengths, or of the same length. An array is as in a call: (N, T, ...) with `batch_first`.
        batch_size : int
            The largest number of sequences in a batch.

        Returns
        -------
        list of (T_n, features) arrays, or array
            The outputs in the order of the inputs: for a list of sequences a list, for an array an array as from a
            call. With a `Last` or `Mean`, an (N, features) array.

        Raises
        ------
        TypeError, ValueError
            If `inputs` are not sequences, or not ones that the network takes.
        """
        whole = isinstance(inputs, np.ndarray)
        if isinstance(inputs, np.ndarray) and not self.batch_first:
            if inputs.ndim < 2:
                raise ValueError(f"inputs must have shape (T, N, ...), or be a list of sequences, not {inputs.shape}")
            inputs = inputs.swapaxes(0, 1)
        batches = Batches(inputs, None, batch_size)
        check_sequences("inputs", self, inputs)
        features, is_sequence, _ = self.output_for(Signal())
        if isinstance(inputs, np.ndarray) and not len(inputs) and features is not None:
            steps = () if is_sequence is False else inputs.shape[1:2]
            return np.empty((0, *steps, features) if self.batch_first else (*steps, 0, features), self.dtype)
        outputs: list[Any] = [None] * len(inputs)
        for batch in batches.epoch(batch_first=self.batch_first):
            try:
                y, _ = self(**batch.inputs)
            except check.EntryError as error:
                raise in_data(error, "inputs", batches, batch, self, None) from None
            rows = y if self.batch_first or y.ndim < 3 else y.swapaxes(0, 1)
            for k, row in enumerate(batch.rows):
                outputs[row] = rows[k, : len(inputs[row])].copy() if y.ndim == 3 else rows[k]
        if not outputs or (outputs[0].ndim == 2 and not whole):
            return outputs
        return np.stack(outputs, axis=1 if outputs[0].ndim == 2 and not self.batch_first else 0)

    def __repr__(self) -> str:
        options = ["batch_first=True"] if self.batch_first else []
        return f"{type(self).__name__}({', '.join([*map(repr, self.layers), *options])})"


def _swapped(array: Array) -> Array:
    """Return sequences, floats of three axes or ids of two, in the other layout; anything else as it is."""
    return array.swapaxes(0, 1) if array.ndim == (3 if array.dtype.kind == "f" else 2) else array
