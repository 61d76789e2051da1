"""What a decoder's forward pass keeps for its backward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastlstm._arrays import checks as check
from fastlstm.layers.stack import Tape
from fastlstm.nn.attention import AttentionTape
from fastlstm.nn.dense import DenseTape
from fastlstm.nn.pooling import PoolingTape

__all__ = ["DecoderTape"]


@dataclass(slots=True)
class DecoderTape:
    """What `Decoder.forward` keeps for `Decoder.backward`. A tape may be used many times.

    It refers to the decoder's inputs and outputs: they must not be changed before the backward pass.

    Attributes
    ----------
    embedding, initial, lstm, attention, combine, output
        The tapes of the parts; None for a part that the decoder lacks. ``tape.attention.weights`` (T, B, S) is how much
        each step of the input counted for each symbol.
    last : PoolingTape or None
        The tape of the last outputs, where the encoder gave a sequence.
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


def checked_tape(tape: object, decoder: Any) -> DecoderTape:
    """Return a tape; raise unless it has the parts of `decoder`, and they are of the same rows and steps."""
    if not isinstance(tape, DecoderTape):
        raise TypeError(f"tape must be a DecoderTape from forward, not {type(tape).__name__}")
    attention, last = tape.attention, tape.last
    dropped = check.pair("tape.dropped", tape.dropped, "a pair of tapes or None")
    if (attention is None) != (decoder.attention is None) or any(
        (part is None) != (not decoder.dropout) for part in dropped
    ):
        raise ValueError(f"tape must be from a decoder like this one, {decoder!r}")
    if attention is not None:
        if not (isinstance(attention, AttentionTape) and isinstance(last, PoolingTape)):
            raise TypeError("tape.attention must be an AttentionTape and tape.last a PoolingTape, from forward")
        if not isinstance(last.shape, tuple) or last.shape[1::-1] != np.shape(attention.weights)[1:]:
            raise ValueError("tape.last must be of the rows and steps that tape.attention.weights is of")
    return tape
