"""The protocol between a network and its layers: what a layer takes, returns and needs to be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fastlstm.layers.parameters import Parametric


class Signal(NamedTuple):
    """The values that go from one layer to the next, as far as they are known before a call."""

    features: int | None = None
    """The number of values of each step; None where it is not known."""
    is_sequence: bool | None = None
    """Whether there is a vector for each step, not one for each row; None where it is not known."""
    directions: int = 1
    """2 where the values are the outputs of a bidirectional layer, those of its two directions side by side."""


class NetworkLayer(Parametric):
    """A layer that networks are made of.

    It has a call, which returns y; `forward`, which returns y and a tape; and `backward(tape, dy, *, out, accumulate)`,
    which puts dJ/dx into ``out.x``. A layer with a state returns the state after y, and its `backward` takes dJ/dstate
    after dy. The attributes `input_size` and `output_size`, where a layer has them, are its numbers of features; a
    layer without them takes any number, and gives as many.
    """

    needs: tuple[str, ...] = ()
    """The arguments of `forward` besides x: some of "state", "lengths", "rng" and "directions"; a call has no "rng"."""
    takes_sequences = False
    """Whether x must be a sequence, (T, B, ...)."""

    @property
    def _step_shape(self) -> tuple[int, ...] | None:
        """The shape of one step of one row of x, () for ids; None where any will do."""
        size = getattr(self, "input_size", None)
        return None if size is None else (size,)

    def _check_below(self, below: Signal, name: str) -> None:
        """Raise ValueError unless the layer, which is called `name` in messages, takes the values from below."""
        if self.takes_sequences and below.is_sequence is False:
            raise ValueError(f"{name} must have sequences below it, not a Last or Mean: {self!r}")
        if below.features is None or self._step_shape in (None, (below.features,)):
            return
        if not self._step_shape:
            raise ValueError(f"{name} must be the first that is not Dropout, since it takes ids: {self!r}")
        raise ValueError(f"{name} must have input_size {below.features}, which is what comes from below: {self!r}")

    def output_for(self, below: Signal) -> Signal:
        """Return what is known of y before a call, given what is known of x.

        Default: y has `output_size` features, or as many as x, and is a sequence where x is one. A subclass says where
        it is otherwise: ``below._replace(is_sequence=False)`` for one vector of each row, ``below`` itself where the
        outputs of a bidirectional layer stay side by side.

        Parameters
        ----------
        below : Signal
            What is known of x.

        Returns
        -------
        Signal
        """
        as_many = getattr(self, "input_size", None) if below.features is None else below.features
        return Signal(getattr(self, "output_size", as_many), below.is_sequence)

    def _run(self, x: Any, context: Mapping[str, Any], tapes: list[Any] | None) -> tuple[Any, list[Any]]:
        """Return y, and the state in a list, empty for a layer without one.

        `context` has a value for each name that `needs` may have. Without `tapes` the layer is called; otherwise
        `forward` runs, and its tape is added to `tapes`.
        """
        layer: Any = self
        if tapes is not None:
            y, *state, tape = layer.forward(x, **{name: context[name] for name in self.needs})
            tapes.append(tape)
            return y, state
        if not self.needs:
            return layer(x), []
        result = layer(x, **{name: context[name] for name in self.needs if name != "rng"})
        return (result[0], [result[1]]) if "state" in self.needs else (result, [])
