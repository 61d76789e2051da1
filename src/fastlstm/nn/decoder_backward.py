"""The backward pass of a decoder, as far down as gradients are needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlstm._arrays.arrays import Array
from fastlstm._system.float_mode import as_in_kernels
from fastlstm.layers.parameters import Gradients
from fastlstm.nn.decoder_tape import DecoderTape
from fastlstm.nn.dropout import Dropout
from fastlstm.nn.pooling import Last


def back_propagate(
    decoder: Any, tape: DecoderTape, dlogits: Array, grads: Gradients, accumulate: bool, to_x: bool
) -> Gradients:
    """Write the gradients of a decoder's parts; without `to_x`, dJ/d(encoded) is None, and frozen parts may end it."""
    attention, (dropped_in, dropped_out) = tape.attention, tape.dropped
    trained = {name for name, part in decoder._parts().items() if part._trained()}
    grads.x = grads.state = None

    def through(name: str, tape: Any, dy: Any, to_x: bool = True) -> Gradients:
        result: Gradients = getattr(decoder, name)._back(tape, dy, (), grads.parts[name], accumulate, to_x)
        return result

    def undropped(tape: Any, dx: Array) -> Array:
        result: Array = dx if tape is None else Dropout(decoder.dropout).backward(tape, dx).x
        return result

    def ends_above(*below: str) -> bool:
        """Return whether none of the parts below needs gradients; theirs are then zeros."""
        if to_x or trained.intersection(below):
            return False
        for name in grads.parts.keys() & below:
            if not accumulate:
                grads.parts[name]._clear()
        return True

    ends = ends_above("combine", "attention", "lstm", "embedding", "initial")
    dh = through("output", tape.output, dlogits, not ends).x
    if ends:
        return grads
    dh, dmemory = undropped(dropped_out, dh), None
    if attention is not None:
        dboth = through("combine", tape.combine, dh).x
        dh, dcontext = dboth[..., : decoder.hidden_size], dboth[..., decoder.hidden_size :]
        dquery, dmemory = through("attention", attention, dcontext).x
        with as_in_kernels():
            dh = dh + dquery
    if ends_above("lstm", "embedding", "initial"):
        return grads
    recurrent = through("lstm", tape.lstm, dh)
    through("embedding", tape.embedding, undropped(dropped_in, recurrent.x))
    if ends_above("initial"):
        return grads
    dstates = np.stack(recurrent.state[:2], axis=2)  # (layers, B, 2, H)
    dstates = dstates.transpose(1, 2, 0, 3).reshape(-1, decoder.initial.output_size)
    dx = through("initial", tape.initial, dstates, to_x).x
    if not to_x:
        return grads
    if tape.last is not None:
        dx = Last().backward(tape.last, dx).x
    if dmemory is not None:
        with as_in_kernels():
            dx += dmemory
    grads.x = dx
    return grads
