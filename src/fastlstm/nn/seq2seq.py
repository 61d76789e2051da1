"""Sequence-to-sequence networks: an encoder, a decoder, and the search for the best output."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm.layers.network_layer import NetworkLayer, Signal
from fastlstm.layers.parameters import Gradients, Parametric
from fastlstm.nn._beams import Beams, Hypothesis
from fastlstm.nn._composite import Composite, compatible
from fastlstm.nn._layer_checks import check_layer
from fastlstm.nn.batches import pad
from fastlstm.nn.decoder import Decoder, State
from fastlstm.nn.decoder_tape import DecoderTape
from fastlstm.nn.sequential import Sequential, SequentialTape

__all__ = ["Seq2Seq", "Seq2SeqTape"]


@dataclass(slots=True)
class Seq2SeqTape:
    """The values that `Seq2Seq.forward` stores for `Seq2Seq.backward`. A tape may be used many times.

    It refers to the network's inputs and outputs: they must not be changed before the backward pass.

    Attributes
    ----------
    encoder : SequentialTape or None
        The tape of the encoder, if there is one.
    decoder : DecoderTape
        The tape of the decoder. ``tape.decoder.attention.weights`` has the result of `Seq2Seq.attention_weights`, but
        with dropout.
    """

    encoder: SequentialTape | None
    decoder: DecoderTape


class Seq2Seq(Composite):
    """An encoder that reads and a decoder that writes, with all their parameters in one buffer.

    In training, `forward` is given the true previous symbols (teacher forcing), and a loss such as
    `softmax_cross_entropy` compares the logits with the symbols themselves: `Pairs` makes both. `greedy` and
    `beam_search` write sequences by themselves.

    Parameters
    ----------
    encoder : Sequential or a layer, or None
        The network that returns a sequence (S, B, E), bidirectional or not, or a vector for each row (B, E). None if
        the inputs are to be decoded as they are, such as vectors of images.
    decoder : Decoder
        A decoder with ``encoded_size`` E.

    Attributes
    ----------
    encoder : Sequential or None
        The encoder; a single layer has been put into a `Sequential`.
    decoder : Decoder
        The decoder.
    params : mapping of str to array
        ``"encoder.0.W_l0"``, ``"decoder.output.V"``.
    flat : (n,) array
        All parameters in one buffer, of which `params` are views. In a network they move into its buffer.

    Raises
    ------
    TypeError
        If something is not a layer, or dtypes differ.
    ValueError
        If sizes do not fit, or an argument is out of its range.

    References
    ----------
    Sutskever, Vinyals, Le: "Sequence to Sequence Learning with Neural Networks", 2014.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> from fastlstm import nn
    >>> encoder = nn.Sequential(nn.Embedding(10, 8, seed=0), fastlstm.LSTM(8, 16, bidirectional=True, seed=1))
    >>> model = nn.Seq2Seq(encoder, nn.Decoder(10, 8, 16, encoded_size=32, attention_size=16, seed=2))
    >>> x, lengths = np.full((7, 2), 3), [7, 4]
    >>> logits, state, tape = model.forward(x, np.full((5, 2), 3), lengths)
    >>> logits.shape
    (5, 2, 10)
    >>> model.backward(tape, np.ones_like(logits)).flat.shape == model.flat.shape
    True
    >>> [len(ids) <= 6 for ids in model.greedy(x, lengths, begin=0, end=1, max_steps=6)]
    [True, True]
    """

    def __init__(self, encoder: NetworkLayer | None, decoder: Decoder) -> None:
        if not isinstance(decoder, Decoder):
            raise TypeError(f"decoder must be a Decoder, not {type(decoder).__name__}")
        compatible({"decoder": decoder} if encoder is None else {"encoder": encoder, "decoder": decoder})
        if getattr(encoder, "batch_first", False):
            raise ValueError("encoder must not have batch_first: the sequences of a Seq2Seq are (S, B, ...)")
        if encoder is not None:
            check_layer("layers[0]", encoder)
            size, is_sequence, _ = encoder.output_for(Signal())
            if size not in (None, decoder.encoded_size):
                raise ValueError(
                    f"decoder must have encoded_size {size}, which the encoder gives, not {decoder.encoded_size}"
                )
            if decoder.attention is not None and is_sequence is False:
                raise ValueError("encoder must give sequences, since the decoder has attention, not a Last or Mean")
        self.encoder = encoder if encoder is None or isinstance(encoder, Sequential) else Sequential(encoder)
        self.decoder = decoder
        self._allocate()

    def _parts(self) -> Mapping[str, Parametric]:
        return {"decoder": self.decoder} if self.encoder is None else {"encoder": self.encoder, "decoder": self.decoder}

    @property
    def _directions(self) -> int:
        return 1 if self.encoder is None else self.encoder.directions

    def __call__(
        self, x: Array, target_in: NDArray[np.integer], lengths: ArrayLike | None = None
    ) -> tuple[Array, State]:
        """Return the logits of each next symbol, without a tape and without dropout.

        Parameters
        ----------
        x : (S, B, ...) or (B, I) array
            The encoder's input.
        target_in : (T, B) array of int
            The symbols before those to be predicted: the one that begins a sequence, then all its symbols but the last.
        lengths : (B,) array of int, optional
            The number of steps of each row of x. Default: all S.

        Returns
        -------
        logits : (T, B, V) array
        state : tuple
            The decoder's state after the last symbol.
        """
        return self.decoder(target_in, self._encode(x, lengths), lengths, directions=self._directions)

    def attention_weights(self, x: Array, target_in: NDArray[np.integer], lengths: ArrayLike | None = None) -> Array:
        """Return how much each step of the input counts for each symbol, without dropout.

        Parameters
        ----------
        x, target_in, lengths
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
        return self.decoder.attention_weights(target_in, self._encode(x, lengths), lengths, directions=self._directions)

    def forward(
        self,
        x: Array,
        target_in: NDArray[np.integer],
        lengths: ArrayLike | None = None,
        *,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, State, Seq2SeqTape]:
        """Run the network as a call does, but with dropout and with a tape for `backward`.

        Parameters
        ----------
        x, target_in, lengths
            The same as for a call.
        rng : numpy.random.Generator, optional
            The source of the dropout masks.

        Returns
        -------
        logits, state
            The same as from a call.
        tape : Seq2SeqTape
            The tape for `backward`.
        """
        encoded, encoder_tape = x, None
        if self.encoder is not None:
            encoded, _, encoder_tape = self.encoder.forward(x, None, lengths, rng=rng)
        logits, state, tape = self.decoder.forward(target_in, encoded, lengths, directions=self._directions, rng=rng)
        return logits, state, Seq2SeqTape(encoder_tape, tape)

    def backward(
        self, tape: Seq2SeqTape, dlogits: Array, *, out: Gradients | None = None, accumulate: bool = False
    ) -> Gradients:
        """Back-propagate through the decoder and the encoder.

        Parameters
        ----------
        tape : Seq2SeqTape
            The tape from `forward`; neither parameters nor inputs may have changed since. It is left as it was.
        dlogits : (T, B, V) array
            dJ/d(logits), such as the gradient of a loss.
        out : Gradients, optional
            An earlier result, whose arrays are written to again.
        accumulate : bool
            Add the parameters' gradients to those in `out`, instead of overwriting them.

        Returns
        -------
        Gradients
            ``.params`` (the keys of `params`), ``.flat``, ``.x`` (None where the encoder begins with an `Embedding` or
            with frozen layers), ``.parts`` (the encoder's and the decoder's own); ``.state`` is None.
        """
        if not isinstance(tape, Seq2SeqTape):
            raise TypeError(f"tape must be a Seq2SeqTape from forward, not {type(tape).__name__}")
        if (tape.encoder is None) != (self.encoder is None):
            raise ValueError(f"tape must be from a network like this one, {self!r}")
        grads = self._gradients(out, accumulate)
        encoder = self.encoder
        goes_on = encoder is None or bool(encoder._trained()) or not (encoder._frozen() and self.decoder._trained())
        dx = self.decoder._back(tape.decoder, dlogits, (), grads.parts["decoder"], accumulate, goes_on).x
        if encoder is not None and tape.encoder is not None:
            if goes_on:
                dx = encoder.backward(tape.encoder, dx, out=grads.parts["encoder"], accumulate=accumulate).x
            elif not accumulate:
                grads.parts["encoder"]._clear()
        grads.x, grads.state = dx if goes_on else None, None
        return grads

    def greedy(
        self,
        x: Array | Sequence[Array],
        lengths: ArrayLike | None = None,
        *,
        begin: int,
        end: int,
        max_steps: int,
    ) -> list[NDArray[np.int64]]:
        """Write a sequence for each row, with the most probable symbol at each step.

        Parameters
        ----------
        x, lengths
            The same as for a call; or x is a list of sequences (S_n, ...).
        begin, end : int
            The symbols that begin and end a sequence.
        max_steps : int
            The largest number of symbols, without those two.

        Returns
        -------
        list of (n,) arrays of int
            The symbols of each row, without `begin` and `end`.

        Raises
        ------
        ValueError
            If a row cannot end: `end` has probability zero after `max_steps` symbols.
        """
        results = self.beam_search(x, lengths, begin=begin, end=end, max_steps=max_steps, beam_width=1)
        for b, hypotheses in enumerate(results):
            if not hypotheses:
                raise ValueError(f"row {b} cannot end: {end}, which ends a sequence, has probability zero there")
        return [best.ids for (best,) in results]

    def beam_search(
        self,
        x: Array | Sequence[Array],
        lengths: ArrayLike | None = None,
        *,
        begin: int,
        end: int,
        max_steps: int,
        beam_width: int,
        length_penalty: float = 0.0,
    ) -> list[list[Hypothesis]]:
        r"""Search for the most probable sequences of each row, with several hypotheses at a time.

        All continuations of the hypotheses are compared by

        .. math::

            \frac{\log p}{n^\alpha}

        with n symbols so far, the end included, and the best stay; hypotheses that have ended do not change. The search
        is over when all have ended. After `max_steps` symbols only the end can follow, so that each log probability is
        that of a complete sequence. A beam as wide as the number of sequences finds the best of all.

        Parameters
        ----------
        x, lengths
            The same as for a call; or x is a list of sequences (S_n, ...).
        begin, end : int
            The symbols that begin and end a sequence.
        max_steps : int
            The largest number of symbols, without those two.
        beam_width : int
            The number of hypotheses that stay; 1 is the greedy search.
        length_penalty : float
            :math:`\alpha`, at least 0: 0 compares the probabilities themselves, which favours short sequences; 1 the
            mean log probability of a symbol. The power must fit a float: :math:`(n + 1)^\alpha \le 10^{290}` for
            n = `max_steps`.

        Returns
        -------
        list of list of Hypothesis
            At most `beam_width` hypotheses for each row, the best first; none if `end` has probability zero after each
            sequence of `max_steps` symbols.

        References
        ----------
        Sutskever, Vinyals, Le: "Sequence to Sequence Learning with Neural Networks", 2014, section 3.2; for the length,
        Koehn, Knowles: "Six Challenges for Neural Machine Translation", 2017, section 3.6.
        """
        if not isinstance(x, np.ndarray):
            if lengths is not None:
                raise ValueError("lengths must not be given with a list of sequences, which have their own")
            x, lengths = pad(x)
        decoder, V = self.decoder, self.decoder.vocabulary_size
        begin, end = check.symbol("begin", begin, V), check.symbol("end", end, V)
        max_steps = check.positive_int("max_steps", max_steps)
        beam_width = check.positive_int("beam_width", beam_width)
        length_penalty, largest = (
            check.within("length_penalty", length_penalty, math.inf),
            290 / math.log10(max_steps + 1),
        )
        if length_penalty > largest:  # Otherwise a quotient could become 0 or NaN.
            raise ValueError(
                f"length_penalty must be at most {largest:.4g} for max_steps = {max_steps}, not {length_penalty}"
            )
        state, memory = decoder.start(self._encode(x, lengths), lengths, directions=self._directions)
        rows = np.arange(state[0].shape[1])  # The rows whose search goes on.
        results: list[list[Hypothesis]] = [[]] * len(rows)
        beams = Beams.at_begin(len(rows), begin)
        for n in range(1, max_steps + 2):
            if not len(rows):
                break
            logits, state = decoder.step(beams.ids[-1], state, memory)
            beams, parents = beams.grown(logits, n, end, n > max_steps, beam_width, length_penalty)
            over = beams.ended.all(axis=0)
            if over.any():
                for b in np.flatnonzero(over):
                    results[rows[b]] = beams.hypotheses(b)
                on = np.flatnonzero(~over)
                rows, beams, parents = rows[on], beams.rows(on), parents[:, on]
                memory = None if memory is None else memory.rows(on)
            state = tuple(part[:, parents.reshape(-1)] for part in state)
        return results

    def _encode(self, x: Array, lengths: ArrayLike | None) -> Array:
        """Return the encoder's output, or x itself without an encoder."""
        if self.encoder is None:
            return x
        return self.encoder(x, None, lengths)[0]

    def __repr__(self) -> str:
        return f"Seq2Seq({self.encoder!r}, {self.decoder!r})"
