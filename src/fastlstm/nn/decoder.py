"""The decoder: writes a sequence of symbols, given what an encoder has made of the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm._system.float_mode import as_in_kernels
from fastlstm.layers.lstm import LSTM
from fastlstm.layers.parameters import Gradients, Parametric
from fastlstm.layers.stack import Tape
from fastlstm.nn._composite import Composite
from fastlstm.nn.attention import Attention, AttentionMemory, AttentionTape
from fastlstm.nn.dense import Dense, DenseTape
from fastlstm.nn.dropout import Dropout
from fastlstm.nn.embedding import Embedding
from fastlstm.nn.pooling import Last, PoolingTape

__all__ = ["Decoder", "DecoderTape"]

State = tuple[Array, ...]


@dataclass(slots=True)
class DecoderTape:
    """What `Decoder.forward` keeps for `Decoder.backward`. A tape may be used many times.

    It refers to the arrays that went in and came out: they must not be changed before the backward pass.

    Attributes
    ----------
    embedding, initial, lstm, attention, combine, output
        The tapes of the parts; None for those that there are not. ``tape.attention.weights`` (T, B, S) is how much each
        step of the input counted for each symbol.
    last : PoolingTape or None
        Where the encoder gave a sequence.
    dropped : pair
        The tapes of dropout at the input and at the output, or None.
    """

    embedding: Any
    initial: DenseTape
    lstm: Tape
    attention: AttentionTape | None
    combine: DenseTape | None
    output: DenseTape
    last: PoolingTape | None
    dropped: tuple[Any, Any]


class Decoder(Composite):
    r"""An LSTM that writes a sequence, one symbol after the other, from what an encoder gives.

    The encoder gives a vector s for each row, or a sequence of them :math:`e_1 \ldots e_S`, whose last outputs (of each
    direction) are s then. With the symbol :math:`k_{t-1}` that was written before:

    .. math::

        h_0, c_0 &= A s + a \\
        h_t, c_t &= \operatorname{LSTM}(E_{k_{t-1}}, h_{t-1}, c_{t-1}) \\
        o_t &= c + V \tilde h_t

    where :math:`\tilde h_t` is :math:`h_t`, or with attention

    .. math::

        \tilde h_t = \tanh(V_c [h_t; \operatorname{attention}(h_t, e_1 \ldots e_S)] + c_c)

    and the softmax of :math:`o_t` gives the probabilities of the next symbol. Since attention comes after the LSTM,
    a whole known sequence goes through it in one call.

    Parameters
    ----------
    vocabulary_size : int
        V symbols, with those that begin and end a sequence.
    embedding_size, hidden_size, num_layers : int
        Of a symbol's vector, and of the LSTM: H hidden units.
    encoded_size : int
        E features of what the encoder gives.
    attention_size : int, optional
        Hidden units of an `Attention` over the encoder's sequence. Default: none, s alone counts.
    dropout : float
        Rate at which values are dropped before the LSTM, between its layers and before the output (Zaremba, Sutskever,
        Vinyals: "Recurrent Neural Network Regularization", 2014).
    peephole, variant
        Of the LSTM.
    dtype : float32 or float64
        Of the parameters and all arrays.
    seed : int or numpy.random.Generator, optional
        Where the initial weights of all parts come from.

    Attributes
    ----------
    embedding, initial, lstm, attention, combine, output : layers
        The parts: an `Embedding`, a `Dense` for the initial state, an `LSTM`, an `Attention` and the `Dense` above it
        (or None), a `Dense`.
    params : mapping of str to array
        The parts' parameters: ``"lstm.W_l0"``.
    flat : (n,) array
        All parameters in one buffer, of which `params` are views. In a network they move to the network's.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype, or ids are not integers.
    ValueError
        If a shape is wrong, an id is not from 0 to V - 1, or there is attention and nothing to look at.

    References
    ----------
    Sutskever, Vinyals, Le: "Sequence to Sequence Learning with Neural Networks", 2014; Luong, Pham, Manning: "Effective
    Approaches to Attention-based Neural Machine Translation", 2015, equations 5 and 6.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import Decoder
    >>> decoder = Decoder(10, 8, 16, encoded_size=6, attention_size=12, seed=0)
    >>> encoded = np.ones((7, 2, 6), np.float32)  # steps, batch, features
    >>> target_in = np.zeros((5, 2), int)
    >>> logits, state, tape = decoder.forward(target_in, encoded, lengths=[7, 3])
    >>> logits.shape, tape.attention.weights.shape
    ((5, 2, 10), (5, 2, 7))
    >>> decoder.backward(tape, np.ones_like(logits)).x.shape
    (7, 2, 6)
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        encoded_size: int,
        attention_size: int | None = None,
        dropout: float = 0.0,
        peephole: bool = True,
        variant: str = "vanilla",
        dtype: DTypeLike = np.float32,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        V = self.vocabulary_size = check.positive_int("vocabulary_size", vocabulary_size)
        n = self.embedding_size = check.positive_int("embedding_size", embedding_size)
        H = self.hidden_size = check.positive_int("hidden_size", hidden_size)
        self.num_layers = check.num_layers(num_layers)
        E = self.encoded_size = check.positive_int("encoded_size", encoded_size)
        self.attention_size = None if attention_size is None else check.positive_int("attention_size", attention_size)
        self.dropout = check.rate("dropout", dropout)
        rng = check.seed("seed", seed)
        self.embedding = Embedding(V, n, dtype=dtype, seed=rng)
        self.initial = Dense(E, 2 * self.num_layers * H, dtype=dtype, seed=rng)
        self.lstm = LSTM(
            n,
            H,
            self.num_layers,
            peephole=peephole,
            variant=variant,
            dtype=dtype,
            seed=rng,
            dropout=self.dropout if self.num_layers > 1 else 0.0,
        )
        self.peephole, self.variant = self.lstm.peephole, self.lstm.variant
        A = self.attention_size
        self.attention = None if A is None else Attention(H, E, A, dtype=dtype, seed=rng)
        self.combine = None if A is None else Dense(H + E, H, activation="tanh", dtype=dtype, seed=rng)
        self.output = Dense(H, V, dtype=dtype, seed=rng)
        self._allocate()

    def _parts(self) -> Mapping[str, Parametric]:
        names = "embedding", "initial", "lstm", "attention", "combine", "output"
        return {name: part for name in names if (part := getattr(self, name)) is not None}

    def __call__(
        self, target_in: NDArray[np.integer], encoded: Array, lengths: ArrayLike | None = None, *, directions: int = 1
    ) -> tuple[Array, State]:
        """Run the decoder over known sequences, keeping nothing for the backward pass and dropping nothing.

        Parameters
        ----------
        target_in : (T, B) array of int
            The symbols before those that are to be predicted, from 0 to V - 1.
        encoded : (S, B, E) or (B, E) array
            What the encoder gives; a sequence where there is attention.
        lengths : (B,) array of int, optional
            How many steps each row of the encoder's sequence has. Default: all S.
        directions : int
            2 where the encoder's sequence is that of a bidirectional layer, as for `Last`.

        Returns
        -------
        logits : (T, B, V) array
            :math:`o_t`, for the symbol after each.
        state : (h, c), for FGR (h, c, g)
            Of the LSTM after the last symbol.
        """
        state, memory, _, _ = self._start(encoded, lengths, directions)
        h, state = self.lstm(self.embedding(self._symbols(target_in, state)), state)
        return self.output(self._look(h, memory)[0]), state

    def attention_weights(
        self, target_in: NDArray[np.integer], encoded: Array, lengths: ArrayLike | None = None, *, directions: int = 1
    ) -> Array:
        """Give how much each step of the encoder's sequence counts for each symbol, with nothing dropped.

        Parameters
        ----------
        target_in, encoded, lengths, directions
            As for a call.

        Returns
        -------
        (T, B, S) array
            For each symbol 1 in all, 0 past the row's length.

        Raises
        ------
        TypeError
            If the decoder has no attention.
        """
        if self.attention is None:
            raise TypeError(f"the decoder must have attention (attention_size=...), not be {self!r}")
        state, memory, _, _ = self._start(encoded, lengths, directions)
        h, _ = self.lstm(self.embedding(self._symbols(target_in, state)), state)
        _, tape, _ = self._look(h, memory)
        assert tape is not None
        return tape.weights

    def forward(
        self,
        target_in: NDArray[np.integer],
        encoded: Array,
        lengths: ArrayLike | None = None,
        *,
        directions: int = 1,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, State, DecoderTape]:
        """Run the decoder as by a call, but with dropout, and keep what `backward` needs.

        Parameters
        ----------
        target_in, encoded, lengths, directions
            As for a call.
        rng : numpy.random.Generator, optional
            Where the masks of dropout come from.

        Returns
        -------
        logits, state
            As from a call.
        tape : DecoderTape
            For `backward`.
        """
        state, memory, initial, last = self._start(encoded, lengths, directions)
        x, embedding = self.embedding.forward(self._symbols(target_in, state))
        x, dropped_in = self._drop(x, rng)
        h, state, lstm = self.lstm.forward(x, state, rng=rng)
        h, attention, combine = self._look(h, memory)
        h, dropped_out = self._drop(h, rng)
        logits, output = self.output.forward(h)
        dropped = dropped_in, dropped_out
        return logits, state, DecoderTape(embedding, initial, lstm, attention, combine, output, last, dropped)

    def backward(
        self, tape: DecoderTape, dlogits: Array, *, out: Gradients | None = None, accumulate: bool = False
    ) -> Gradients:
        """Back-propagate through time, and to what the encoder gave.

        Parameters
        ----------
        tape : DecoderTape
            From this one's `forward`, since which neither parameters nor inputs have changed; left as it was.
        dlogits : (T, B, V) array
            dJ/d(logits), zero where no symbol was to be predicted.
        out : Gradients, optional
            An earlier result to write to again.
        accumulate : bool
            Add the parameters' gradients to those in `out`, instead of overwriting them.

        Returns
        -------
        Gradients
            ``.params`` (the keys of `params`), ``.flat``, ``.x``, which is dJ/d(encoded), ``.parts`` (the parts' own);
            ``.state`` is None.
        """
        if not isinstance(tape, DecoderTape):
            raise TypeError(f"tape must be a DecoderTape from forward, not {type(tape).__name__}")
        attention, last = tape.attention, tape.last
        dropped_in, dropped_out = check.pair("tape.dropped", tape.dropped, "a pair of tapes or None")
        if (attention is None) != (self.attention is None) or any(
            (dropped is None) != (not self.dropout) for dropped in (dropped_in, dropped_out)
        ):
            raise ValueError(f"tape must be from a decoder like this one, {self!r}")
        if attention is not None:
            if not (isinstance(attention, AttentionTape) and isinstance(last, PoolingTape)):
                raise TypeError("tape.attention must be an AttentionTape and tape.last a PoolingTape, from forward")
            if not isinstance(last.shape, tuple) or last.shape[1::-1] != np.shape(attention.weights)[1:]:
                raise ValueError("tape.last must be of the rows and steps that tape.attention.weights is of")
        grads = self._gradients(out, accumulate)

        def through(name: str, kept: Any, dy: Any) -> Gradients:
            part: Any = getattr(self, name)
            found: Gradients = part.backward(kept, dy, out=grads.parts[name], accumulate=accumulate)
            return found

        dh = self._drop_back(dropped_out, through("output", tape.output, dlogits).x)
        dmemory = None
        if attention is not None:
            dboth = through("combine", tape.combine, dh).x
            dh, dcontext = dboth[..., : self.hidden_size], dboth[..., self.hidden_size :]
            dquery, dmemory = through("attention", attention, dcontext).x
            with as_in_kernels():
                dh = dh + dquery
        recurrent = through("lstm", tape.lstm, dh)
        through("embedding", tape.embedding, self._drop_back(dropped_in, recurrent.x))
        dstates = np.stack(recurrent.state[:2], axis=2)  # (layers, B, 2, H); the rest is that of `_start` backwards
        dx = through("initial", tape.initial, dstates.transpose(1, 2, 0, 3).reshape(-1, self.initial.output_size)).x
        if last is not None:
            dx = Last().backward(last, dx).x
        if dmemory is not None:
            with as_in_kernels():
                dx += dmemory
        grads.x, grads.state = dx, None
        return grads

    def start(
        self, encoded: Array, lengths: ArrayLike | None = None, *, directions: int = 1
    ) -> tuple[State, AttentionMemory | None]:
        """Give the state before the first symbol, and what attention looks at, for `step`.

        Parameters
        ----------
        encoded, lengths, directions
            As for a call.

        Returns
        -------
        state : (h, c)
            Each (layers, B, H).
        memory : AttentionMemory or None
            None without attention.
        """
        return self._start(encoded, lengths, directions)[:2]

    def step(
        self, symbols: NDArray[np.integer], state: State, memory: AttentionMemory | None = None
    ) -> tuple[Array, State]:
        """Run a single step, with several sequences for each row of the encoder's where K is more than 1.

        Parameters
        ----------
        symbols : (K, B) array of int
            The symbol before, of K sequences for each of B rows.
        state : (h, c), for FGR (h, c, g)
            Each (layers, K B, H), g (layers, K B, 3H).
        memory : AttentionMemory or None
            From `start`.

        Returns
        -------
        logits : (K, B, V) array
        state
            As given, after the step.
        """
        found = check.ids("symbols", symbols, self.vocabulary_size)
        if found.ndim != 2:
            raise ValueError(f"symbols must have shape (K, B), not {found.shape}")
        K, B = found.shape
        h, state = self.lstm.step(self.embedding(found.reshape(-1)), state)
        return self.output(self._look(h.reshape(K, B, self.hidden_size), memory)[0]), state

    def _start(
        self, encoded: Array, lengths: ArrayLike | None, directions: int
    ) -> tuple[State, AttentionMemory | None, DenseTape, PoolingTape | None]:
        """The initial state, the prepared memory, the tapes of the affine map and of the last outputs."""
        E, given = self.encoded_size, check.is_array("encoded", encoded).shape
        if len(given) not in ((2, 3) if self.attention is None else (3,)) or given[-1] != E:
            axes = "(S, B, encoded_size)" + (" or (B, encoded_size)" if self.attention is None else "")
            raise ValueError(f"encoded must have shape {axes}, encoded_size = {E}, not {given}")
        summary, last = encoded, None
        if encoded.ndim == 3:
            summary, last = Last().forward(encoded, lengths, directions=directions)
        states, initial = self.initial.forward(summary)
        shape = len(states), 2, self.num_layers, self.hidden_size
        h, c = states.reshape(shape).transpose(1, 2, 0, 3)
        memory = None if self.attention is None else self.attention.prepare(encoded, lengths)
        return (np.ascontiguousarray(h), np.ascontiguousarray(c)), memory, initial, last

    def _symbols(self, target_in: object, state: State) -> NDArray[np.int64]:
        """`target_in`, if it goes with the rows of the state."""
        found, B = check.ids("target_in", target_in, self.vocabulary_size), state[0].shape[1]
        if found.ndim != 2 or found.shape[1] != B:
            raise ValueError(f"target_in must have shape (T, B) = (T, {B}), not {found.shape}")
        return found

    def _look(self, h: Array, memory: AttentionMemory | None) -> tuple[Array, AttentionTape | None, DenseTape | None]:
        """What goes to the output, from h, and the tapes."""
        if self.attention is None or self.combine is None:
            return h, None, None
        if memory is None:
            raise TypeError("memory must be an AttentionMemory from start, since the decoder has attention, not None")
        context, attention = self.attention.attend(h, memory)
        found, combine = self.combine.forward(np.concatenate((h, context), axis=2))
        return found, attention, combine

    def _drop(self, x: Array, rng: np.random.Generator | None) -> tuple[Array, Any]:
        if not self.dropout:
            return x, None
        drop: Any = Dropout(self.dropout)
        dropped: tuple[Array, Any] = drop.forward(x, rng=rng)
        return dropped

    def _drop_back(self, tape: Any, dx: Array) -> Array:
        """Through what `_drop` did."""
        if tape is None:
            return dx
        back: Array = Dropout(self.dropout).backward(tape, dx).x
        return back

    def __repr__(self) -> str:
        named = {
            "num_layers": (self.num_layers, 1),
            "encoded_size": (self.encoded_size, None),
            "attention_size": (self.attention_size, None),
            "dropout": (self.dropout, 0.0),
            "peephole": (self.peephole, True),
            "variant": (self.variant, "vanilla"),
        }
        given = "".join(f", {name}={value!r}" for name, (value, usual) in named.items() if value != usual)
        return f"Decoder({self.vocabulary_size}, {self.embedding_size}, {self.hidden_size}{given}, dtype={self.dtype})"
