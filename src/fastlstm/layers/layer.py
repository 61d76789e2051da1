"""The arguments and the calls that all recurrent layers share: forward, backward and step by step."""

from __future__ import annotations

import warnings
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm._arrays.libraries import DeviceKind
from fastlstm._engine.batches import PackedSequence, Sequences
from fastlstm._engine.call import Call
from fastlstm._engine.tapes import CellTape
from fastlstm.layers.backward import Backpropagating
from fastlstm.layers.masks import Masks
from fastlstm.layers.network_layer import Signal
from fastlstm.layers.parameters import Gradients, are_restored
from fastlstm.layers.stack import Tape, run

# The state that a layer returns, (h, c) or h, and the one that a caller gives, whose parts may be None.
StateT = TypeVar("StateT")
GivenT = TypeVar("GivenT")


class Layer(Backpropagating, Generic[StateT, GivenT]):
    """Recurrent layers, one above the other, in one direction or two; `LSTM`, `GRU` and `RNN` add the cell."""

    needs = ("state", "lengths", "rng")
    takes_sequences = True

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bidirectional: bool,
        batch_first: bool,
        dropout: float,
        recurrent_dropout: float,
        drop_connect: float,
        zoneout: tuple[float, float],
        proj_size: int,
        dtype: DTypeLike,
        batch_invariant: bool,
    ) -> None:
        self.input_size = check.positive_int("input_size", input_size)
        self.hidden_size = check.positive_int("hidden_size", hidden_size)
        self.num_layers = check.num_layers(num_layers)
        self.bidirectional = check.flag("bidirectional", bidirectional)
        self.batch_first = check.flag("batch_first", batch_first)
        self.dropout = check.rate("dropout", dropout)
        if self.dropout and self.num_layers == 1 and not are_restored():
            warnings.warn(
                f"dropout={self.dropout} drops nothing with num_layers=1, since it is between layers: nn.Dropout drops "
                "outputs, recurrent_dropout what goes to the next step",
                UserWarning,
                stacklevel=3,
            )
        self.recurrent_dropout = check.rate("recurrent_dropout", recurrent_dropout)
        self.drop_connect = check.rate("drop_connect", drop_connect)
        shares = check.pair("zoneout", zoneout, "(rate of y, rate of c)")
        self.zoneout = check.rate("zoneout of y", shares[0]), check.rate("zoneout of c", shares[1])
        self.proj_size = check.count("proj_size", proj_size)
        if self.proj_size >= self.hidden_size:
            raise ValueError(f"proj_size must be less than hidden_size = {hidden_size}, not {proj_size}")
        self.dtype = check.float_dtype(dtype)
        self.batch_invariant = check.flag("batch_invariant", batch_invariant)
        self._allocate()

    # ---- sizes ----

    @property
    def directions(self) -> int:
        """D: 2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """P: values that each direction gives, the hidden size or `proj_size`."""
        return self.proj_size or self.hidden_size

    def output_for(self, below: Signal) -> Signal:
        """Return the output of the layer: a sequence with the outputs of all directions side by side."""
        return Signal(self.directions * self.output_size, True, self.directions)

    # ---- passes ----

    def _masks_for(
        self, T: int, B: int, masks: Masks | None, rng: np.random.Generator | None, training: bool
    ) -> Masks | None:
        """Return the masks of a call, checked or drawn; in inference, the shares that zoneout keeps on average."""
        if not training:
            masks = self._expected_masks(T, B) if any(self.zoneout) else None
        elif masks is None and self._has_masks():
            masks = self._drawn_masks(T, B, rng)
        return None if masks is None else self._check_masks(masks, T, B, self._array_kind)

    def _named(
        self, tapes: list[CellTape], calls: list[Call], masks: Masks | None
    ) -> tuple[dict[str, Array], dict[str, Array | None]]:
        """Return what a forward pass writes to tapes, and what it reads, by the names that messages use."""
        outputs: dict[str, Array] = {}
        inputs: dict[str, Array | None] = {"flat": self.flat}
        inputs |= {} if masks is None else masks.named()
        for k, (tape, call) in enumerate(zip(tapes, calls, strict=True)):
            outputs |= {name.replace("tape", f"tape.layers[{k}]", 1): array for name, array in tape.named().items()}
            inputs |= {f"{name} of layer {k}": array for name, array in call.named().items()}
        return outputs, inputs

    # ---- calls ----

    def __call__(
        self,
        x: Sequences,
        state: GivenT | None = None,
        lengths: ArrayLike | None = None,
        *,
        reset: ArrayLike | None = None,
        reset_to: Literal["initial", "zero"] = "initial",
        num_threads: int | None = None,
    ) -> tuple[Sequences, StateT]:
        """Run the layers over sequences without dropout, keeping nothing for a backward pass.

        Parameters
        ----------
        x : (T, B, I) array
            (B, T, I) with `batch_first`. Or a `PackedSequence`, or PyTorch's on the CPU: its rows are used as they are,
            and states, `reset` and masks have the order from before it was sorted.
        state : (h, c) for an LSTM, (h, c, g) for FGR, h for a GRU or an RNN, optional
            Each (layers D, B, H), g (layers D, B, 3H), D the number of directions; in a tuple any may be None. Default:
            zeros.
        lengths, reset, reset_to
            As for `lstm_forward`.
        num_threads : int, optional
            At most this many threads.

        Returns
        -------
        y : (T, B, D H) array
            (B, T, D H) with `batch_first`; a `PackedSequence` where x is packed.
        state : (h, c), (h, c, g) or h
            The state after the last step, each part shaped as that of the initial state.
        """
        if lengths is None and reset is None and reset_to == "initial":
            found: tuple[Any, Any] | None = self._run_held(x, state, num_threads)
            if found is not None:
                return found
        y, last, _ = run(self, x, state, lengths, reset, reset_to, num_threads=num_threads)
        return y, last

    def forward(
        self,
        x: Sequences,
        state: GivenT | None = None,
        lengths: ArrayLike | None = None,
        *,
        reset: ArrayLike | None = None,
        reset_to: Literal["initial", "zero"] = "initial",
        rng: np.random.Generator | None = None,
        masks: Masks | None = None,
        tape: Tape | None = None,
        recompute: int | None = None,
        num_threads: int | None = None,
    ) -> tuple[Sequences, StateT, Tape]:
        """Run the layers as a call does, but with dropout and zoneout, and keep what `backward` needs.

        Parameters
        ----------
        x, state, lengths, reset, reset_to, num_threads
            As for a call.
        rng : numpy.random.Generator, optional
            The source of the masks of dropout, DropConnect and zoneout.
        masks : Masks, optional
            The masks themselves, from an earlier tape or from `draw_masks`.
        tape : Tape, optional
            The tape of an earlier call with the same sizes, if it is no longer needed: it is filled again, which spares
            the system the clearing of new memory.
        recompute : int, optional
            As for `lstm_forward`. The inputs of each layer are kept whole.

        Returns
        -------
        y, state
            As from a call.
        tape : Tape
            For `backward`.
        """
        return run(
            self, x, state, lengths, reset, reset_to, rng=rng, masks=masks, tape=self._to_fill(tape),
            recompute=recompute, num_threads=num_threads,
        )  # fmt: skip

    def backward(
        self,
        tape: Tape,
        dy: Array | PackedSequence | None,
        dstate: GivenT | None = None,
        *,
        deltas: bool = False,
        out: Gradients | None = None,
        accumulate: bool = False,
        num_threads: int | None = None,
    ) -> Gradients:
        """Back-propagate through time.

        Parameters
        ----------
        tape : Tape
            The tape of this layer's `forward`, since which neither parameters nor inputs have changed; it is left as it
            was.
        dy : array or None
            dJ/dy, shaped as y; where that is packed, its data alone will do. None stands for zero.
        dstate : (dh, dc) for an LSTM, (dh, dc, dg) for FGR, dh for a GRU or an RNN, optional
            Gradients arriving at the final state, each shaped as its part; in a tuple any may be None.
        dc : list, optional
            For an LSTM alone: gradients arriving at every c^t, for each layer and direction, in the order of the
            parameters, a (T, B, H) array or None; with `batch_first` and packed sequences too.
        deltas : bool
            Return the deltas of every time step too.
        out : Gradients, optional
            An earlier result to write to again, its x included.
        accumulate : bool
            Add the gradients of the parameters to those in `out`, instead of overwriting them.
        num_threads : int, optional
            At most this many threads.

        Returns
        -------
        Gradients
            ``.params`` (the keys of `params`), ``.flat``, ``.x``, ``.state``; ``.deltas``, a list with `LSTMDeltas`,
            `GRUDeltas` or `RNNDeltas` for each layer and direction, of (T, B, H) arrays.
        """
        return self._run_back(
            tape, dy, dstate, None, deltas=deltas, out=out, accumulate=accumulate, num_threads=num_threads
        )

    def step(
        self,
        x_t: Array,
        state: StateT | None = None,
        out: tuple[Array, StateT] | None = None,
        *,
        num_threads: int | None = None,
    ) -> tuple[Array, StateT]:
        """Run a single time step of layers in one direction, as streams do.

        Parameters
        ----------
        x_t : (B, I) array
        state : (h, c) for an LSTM, (h, c, g) for FGR, h for a GRU or an RNN, optional
            Each (layers, B, H), g (layers, B, 3H). Default: zeros.
        out : (y_t, state), optional
            C-contiguous arrays for the results: (B, H), and each part of the state. A single layer without FGR,
            projection, zoneout and `batch_invariant` allocates nothing then. Each part of the state may be written
            where it was read, ``y, state = lstm.step(x_t, state, out=(y, state))``; apart from that no array may
            overlap another.
        num_threads : int, optional
            At most this many threads.

        Returns
        -------
        y_t : (B, H) array
        state : (h, c), (h, c, g) or h
            Each (layers, B, H), g (layers, B, 3H).

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> lstm = fastlstm.LSTM(2, 4, seed=0)
        >>> y, state = lstm.step(np.ones((1, 2), np.float32))
        >>> y, state = lstm.step(np.ones((1, 2), np.float32), state, out=(y, state))
        >>> y.shape
        (1, 4)
        """
        return self._step(self, x_t, state, out, num_threads)

    # ---- Python ----

    def _options(self) -> str:
        """Return the cell's own options, for `repr`."""
        raise NotImplementedError

    def __repr__(self) -> str:
        named = {
            "num_layers": (self.num_layers, 1),
            "bidirectional": (self.bidirectional, False),
            "batch_first": (self.batch_first, False),
            "dropout": (self.dropout, 0.0),
            "recurrent_dropout": (self.recurrent_dropout, 0.0),
            "drop_connect": (self.drop_connect, 0.0),
            "zoneout": (self.zoneout, (0.0, 0.0)),
            "proj_size": (self.proj_size, 0),
            "batch_invariant": (self.batch_invariant, False),
        }
        given = "".join(f", {name}={value}" for name, (value, usual) in named.items() if value != usual)
        own = self._options()
        kind = self._array_kind
        where = f"{kind.values}, device={kind.place}" if isinstance(kind, DeviceKind) else str(self.dtype)
        return f"{type(self).__name__}({self.input_size}, {self.hidden_size}, {own}{given}, dtype={where})"
