"""One direction of an LSTM, GRU or RNN node: on the kernels, or by `fastlstm.reference` where they lack something."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from fastlstm import reference
from fastlstm._arrays.arrays import Array
from fastlstm._cells.cell import ACTIVATIONS, GATE_ACTIVATIONS, checked_activation
from fastlstm.functions.gru import gru_forward
from fastlstm.functions.lstm import lstm_forward
from fastlstm.functions.rnn import rnn_forward
from fastlstm.onnx._attributes import Activation, Attributes, Kind

States = tuple[Array, ...]

# What the kernels have in the place of each activation.
_ALLOWED: dict[Kind, tuple[tuple[str, ...], ...]] = {
    "LSTM": (GATE_ACTIVATIONS, ACTIVATIONS, ACTIVATIONS), "GRU": (GATE_ACTIVATIONS, ACTIVATIONS),
    "RNN": (ACTIVATIONS,),
}  # fmt: skip
_CALLS: dict[Kind, Any] = {"LSTM": lstm_forward, "GRU": gru_forward, "RNN": rnn_forward}
_REFERENCES: dict[Kind, Any] = {
    "LSTM": reference.lstm_forward, "GRU": reference.gru_forward, "RNN": reference.rnn_forward,
}  # fmt: skip


class Direction:
    """A direction of a node, the first or the second, without its weights.

    Attributes
    ----------
    on_kernels : bool
        Whether the kernels compute it.
    """

    def __init__(self, attributes: Attributes, d: int) -> None:
        self._kind, self._attributes = attributes.kind, attributes
        self._reverse = attributes.direction == "reverse" or d == 1
        own = attributes.activations[d]
        self._options: dict[str, Any] = {}
        self.on_kernels = self._kind == "LSTM" or attributes.clip is None
        for one, allowed in zip(own, _ALLOWED[self._kind], strict=True):
            self.on_kernels &= _has(one, allowed)
        activations = activations_of(attributes, d)
        if self._kind == "RNN":
            self._options["nonlinearity"] = activations[0]
        else:
            self._options["activations"] = activations
        if attributes.clip is not None:
            self._options["clip"] = attributes.clip
        if self._kind == "LSTM":
            self._options["variant"] = "CIFG" if attributes.input_forget else "vanilla"
        if self._kind == "GRU":
            self._options["reset_after"] = attributes.linear_before_reset

    def run(self, x: Array, weights: dict[str, Array], states: States, lengths: Array | None) -> tuple[Array, States]:
        """Return y (T, B, H), zeros past the end of a row, and the last states, each (B, H).

        `weights` are as `from_onnx` gives them; `states` are the initial ones, in the dtype of x as all else.
        """
        if not self.on_kernels:
            return self._by_reference(x, weights, states, lengths)
        is_lstm = self._kind == "LSTM"
        y, last, _ = _CALLS[self._kind](
            x, **weights, state=states if is_lstm else states[0], lengths=lengths, reverse=self._reverse,
            **self._options,
        )  # fmt: skip
        return y, last if is_lstm else (last,)

    def _by_reference(
        self, x: Array, weights: dict[str, Array], states: States, lengths: Array | None
    ) -> tuple[Array, States]:
        """Compute in float64, all rows of the same length at once."""
        T, B, _ = x.shape
        lengths = np.full(B, T) if lengths is None else lengths
        wide = {name: array.astype(np.float64) for name, array in weights.items()}
        if self._kind == "LSTM":
            wide.setdefault("p", np.zeros((len(wide["b"]) // states[0].shape[1] - 1, states[0].shape[1])))
        elif self._kind == "GRU":
            wide.setdefault("bn", None)  # type: ignore[arg-type]
        names = ("h0", "c0")[: len(states)]
        y, last = np.zeros((T, *states[0].shape), x.dtype), tuple(state.copy() for state in states)
        for length in np.unique(lengths[lengths > 0]):
            rows = lengths == length
            steps = slice(length - 1, None, -1) if self._reverse else slice(length)
            first = {name: state[rows].astype(np.float64) for name, state in zip(names, states, strict=True)}
            own = x[:length, rows][:: -1 if self._reverse else 1].astype(np.float64)
            with np.errstate(all="ignore"):
                y[steps, rows], tape = _REFERENCES[self._kind](own, **wide, **first, **self._options)
            for state, path in zip(last, (tape.y, tape.c) if self._kind == "LSTM" else (tape.h,), strict=True):
                state[rows] = path[-1]
        return y, last


def activations_of(attributes: Attributes, d: int) -> tuple[Any, ...]:
    """Return the activations of a direction as our functions and `fastlstm.reference` take them."""
    return tuple(one.ours or _in_reference(one) for one in attributes.activations[d])


def _has(one: Activation, allowed: tuple[str, ...]) -> bool:
    """Return whether the kernels have an activation in a place where they allow these."""
    if one.ours is None:
        return False
    try:
        checked_activation("activation", one.ours, allowed)
    except ValueError:
        return False
    return isinstance(one.ours, str) or "hard_logistic" in allowed


def _in_reference(one: Activation) -> Any:
    """Return an activation as `fastlstm.reference` names it: LeakyRelu is leaky_relu."""
    name = re.sub(r"(?<=.)([A-Z])", r"_\1", one.name).lower()
    return (name, *(value for value in (one.alpha, one.beta) if value is not None))
