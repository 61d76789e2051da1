"""The decoder of a sequence-to-sequence network, which writes symbols given the output of an encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm.layers.lstm import LSTM
from fastlstm.layers.parameters import Gradients, Parametric
from fastlstm.nn._composite import Composite
from fastlstm.nn.attention import Attention, AttentionMemory, AttentionTape
from fastlstm.nn.decoder_backward import back_propagate
from fastlstm.nn.decoder_tape import DecoderTape, checked_tape
from fastlstm.nn.dense import Dense, DenseTape
from fastlstm.nn.dropout import Dropout
from fastlstm.nn.embedding import Embedding
from fastlstm.nn.pooling import Last, PoolingTape

__all__ = ["Decoder"]

State = tuple[Array, ...]


class Decoder(Composite):
    r"""An LSTM that writes a sequence, one symbol after the other, given the output of an encoder.

    The encoder gives a vector s for each row, or a sequence of vectors :math:`e_1 \ldots e_S`, whose last outputs (of
    each direction) are then s. With the symbol :math:`k_{t-1}` that was written before:

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
        V symbols, including those that begin and end a sequence.
    embedding_size, hidden_size, num_layers : int
        The size of a symbol's vector; the H hidden units and the layers of the LSTM.
    encoded_size : int
        The E features of the encoder's output.
    attention_size : int, optional
        The hidden units of an `Attention` over the encoder's sequence. Default: no attention, s alone counts.
    dropout : float
        The rate at which values are dropped before the LSTM, between its layers and before the output (Zaremba,
        Sutskever, Vinyals: "Recurrent Neural Network Regularization", 2014).
    peephole, variant
        Options of the LSTM.
    dtype : float32 or float64
        The dtype of the parameters and of all arrays.
    seed : int or numpy.random.Generator, optional
        The source of the initial weights of all parts.

    Attributes
    ----------
    embedding, initial, lstm, attention, combine, output : layers
        The parts: an `Embedding`, a `Dense` for the initial state, an `LSTM`, an `Attention` and the `Dense` above it
        (or None), a `Dense`.
    params : mapping of str to array
        The parts' parameters: ``"lstm.W_l0"``.
    flat : (n,) array
        All parameters in one buffer, of which `params` are views. In a network they move into its buffer.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype, or ids are not integers.
    ValueError
        If a shape is wrong, an id is not from 0 to V - 1, or there is attention and no sequence to attend to.

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
        """Run the decoder over known sequences, without a tape and without dropout.

        Parameters
        ----------
        target_in : (T, B) array of int
            The symbols before those that are to be predicted, from 0 to V - 1.
        encoded : (S, B, E) or (B, E) array
            The encoder's output; a sequence if the decoder has attention.
        lengths : (B,) array of int, optional
            The number of steps of each row of the encoder's sequence. Default: all S.
        directions : int
            2 if the encoder's sequence is that of a bidirectional layer, as for `Last`.

        Returns
        -------
        logits : (T, B, V) array
            :math:`o_t`, for the symbol after each.
        state : (h, c), for FGR (h, c, g)
            The LSTM's state after the last symbol.
        """
        state, memory, _, _ = self._start(encoded, lengths, directions)
        h, state = self.lstm(self.embedding(self._symbols(target_in, state)), state)
        return self.output(self._look(h, memory)[0]), state

    def attention_weights(
        self, target_in: NDArray[np.integer], encoded: Array, lengths: ArrayLike | None = None, *, directions: int = 1
    ) -> Array:
        """Return how much each step of the encoder's sequence counts for each symbol, without dropout.

        Parameters
        ----------
        target_in, encoded, lengths, directions
            The same as for a call.

        Returns
        -------
        (T, B, S) array
            The weights, whose sum is 1 for each symbol, and which are 0 past the row's length.

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
        """Run the decoder as a call does, but with dropout and with a tape for `backward`.

        Parameters
        ----------
        target_in, encoded, lengths, directions
            The same as for a call.
        rng : numpy.random.Generator, optional
            The source of the dropout masks.

        Returns
        -------
        logits, state
            The same as from a call.
        tape : DecoderTape
            The tape for `backward`.
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
        """Back-propagate through time, and to the encoder's output.

        Parameters
        ----------
        tape : DecoderTape
            The tape from `forward`; neither parameters nor inputs may have changed since. It is left as it was.
        dlogits : (T, B, V) array
            dJ/d(logits), zero where there is no symbol to predict.
        out : Gradients, optional
            An earlier result, whose arrays are written to again.
        accumulate : bool
            Add the parameters' gradients to those in `out`, instead of overwriting them.

        Returns
        -------
        Gradients
            ``.params`` (the keys of `params`), ``.flat``, ``.x``, which is dJ/d(encoded), ``.parts`` (the parts' own);
            ``.state`` is None.
        """
        return self._back(tape, dlogits, (), out, accumulate, True)

    def _back(
        self, tape: Any, dy: Any, dstates: tuple[Any, ...], out: Gradients | None, accumulate: bool, to_x: bool
    ) -> Gradients:
        tape = checked_tape(tape, self)
        return back_propagate(self, tape, dy, self._gradients(out, accumulate), accumulate, to_x)

    def start(
        self, encoded: Array, lengths: ArrayLike | None = None, *, directions: int = 1
    ) -> tuple[State, AttentionMemory | None]:
        """Return the state before the first symbol, and the memory of attention, for `step`.

        Parameters
        ----------
        encoded, lengths, directions
            The same as for a call.

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
        """Run a single step, of K sequences for each row of the encoder's output.

        Parameters
        ----------
        symbols : (K, B) array of int
            The previous symbol of each of the K sequences of each of the B rows.
        state : (h, c), for FGR (h, c, g)
            Each (layers, K B, H), g (layers, K B, 3H).
        memory : AttentionMemory or None
            The memory from `start`.

        Returns
        -------
        logits : (K, B, V) array
        state
            The state after the step, shaped as the one given.
        """
        ids = check.ids("symbols", symbols, self.vocabulary_size)
        if ids.ndim != 2:
            raise ValueError(f"symbols must have shape (K, B), not {ids.shape}")
        K, B = ids.shape
        h, state = self.lstm.step(self.embedding(ids.reshape(-1)), state)
        return self.output(self._look(h.reshape(K, B, self.hidden_size), memory)[0]), state

    def _start(
        self, encoded: Array, lengths: ArrayLike | None, directions: int
    ) -> tuple[State, AttentionMemory | None, DenseTape, PoolingTape | None]:
        """Return the initial state, the prepared memory, and the tapes of `initial` and of the last outputs."""
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
        """Return `target_in` as ids; raise unless it has as many rows as the state."""
        ids, B = check.ids("target_in", target_in, self.vocabulary_size), state[0].shape[1]
        if ids.ndim != 2 or ids.shape[1] != B:
            raise ValueError(f"target_in must have shape (T, B) = (T, {B}), not {ids.shape}")
        return ids

    def _look(self, h: Array, memory: AttentionMemory | None) -> tuple[Array, AttentionTape | None, DenseTape | None]:
        """Return the input of the output layer, which is h or combined with attention, and the tapes."""
        if self.attention is None or self.combine is None:
            return h, None, None
        if memory is None:
            raise TypeError("memory must be an AttentionMemory from start, since the decoder has attention, not None")
        context, attention = self.attention.attend(h, memory)
        combined, combine = self.combine.forward(np.concatenate((h, context), axis=2))
        return combined, attention, combine

    def _drop(self, x: Array, rng: np.random.Generator | None) -> tuple[Array, Any]:
        """Return x with dropout, and its tape; x itself and None without dropout."""
        if not self.dropout:
            return x, None
        layer: Any = Dropout(self.dropout)
        result: tuple[Array, Any] = layer.forward(x, rng=rng)
        return result

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
