"""A run of a network as for inference, with a tape, on which all of `fastlstm.inspect` is built."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm.layers.gru import GRU
from fastlstm.layers.layer import Layer
from fastlstm.layers.lstm import LSTM
from fastlstm.layers.masks import Masks
from fastlstm.layers.rnn import RNN
from fastlstm.layers.stack import Tape


class Run(NamedTuple):
    """The run of a network, and the layer and direction to inspect; `y` is in the network's own layout."""

    network: Any
    y: Array
    tape: Tape
    k: int
    layer: int
    direction: int

    @property
    def cell_tape(self) -> Any:
        """The tape of the layer and direction."""
        return self.tape.layers[self.k]

    @property
    def shape(self) -> tuple[int, int]:
        """T and B."""
        batch = self.tape.call.batch
        return batch.T, batch.B

    def weights(self) -> dict[str, Any]:
        """Return W, R, p, G, proj and norm of the layer and direction, None for those that it lacks."""
        suffix = f"_l{self.layer}" + ("_reverse" if self.direction else "")
        return {name: self.network.params.get(name + suffix) for name in ("W", "R", "p", "G", "proj", "norm")}

    def gates(self) -> dict[str, Array]:
        """Return i, f, z and o of an LSTM, (T, B, H); a gate that the variant lacks is as in its equations."""
        blocks, c = self.network._cell.blocks, self.cell_tape.cells()
        gates = {name: self.cell_tape.gate(name) if name in blocks else np.ones_like(c) for name in "ifzo"}
        if self.network.variant == "CIFG":
            gates["f"] = 1 - gates["i"]
        return gates

    def outputs(self) -> Array:
        """Return the outputs of the layer and direction at every step, (T, B, P)."""
        network, above = self.network, self.k - self.direction + self.network.directions
        y = self.tape.layers[above].x if above < len(self.tape.layers) else self.y
        if above == len(self.tape.layers) and network.batch_first:
            y = y.swapaxes(0, 1)
        P = network.output_size
        return y[..., self.direction * P :][..., :P]


def run(network: Any, x: Array, state: Any, layer: int, direction: int) -> Run:
    """Run a network over sequences."""
    is_network(network, LSTM, GRU, RNN)
    layer, direction = index("layer", layer, network.num_layers), index("direction", direction, network.directions)
    x = check.sized("x", x, 3, "(B, T, I)" if network.batch_first else "(T, B, I)")
    T, B = x.shape[1::-1] if network.batch_first else x.shape[:2]
    y, _, tape = network.forward(x, state, masks=network._masks_for(T, B, None, None, training=False) or Masks())
    return Run(network, y, tape, layer * network.directions + direction, layer, direction)


def is_network(network: object, *kinds: type[Layer[Any, Any]]) -> None:
    """Raise TypeError unless the network is a layer of one of these kinds, on the host."""
    if not isinstance(network, kinds):
        *others, last = [kind.__name__ for kind in kinds]
        expected = f"{', '.join(others)} or {last}" if others else last
        raise TypeError(f"network must be {check.with_article(expected)}, not {type(network).__name__}")
    if network.device != "cpu":
        raise TypeError(f"network must be on the host, not on {network.device}: inspect network.to('cpu')")


def no_zoneout(network: Any, what: str) -> None:
    """Raise ValueError if the network has zoneout, which mixes the equations with the state before."""
    if any(network.zoneout):
        raise ValueError(f"network must have no zoneout for {what}, not zoneout={network.zoneout}")


def index(name: str, value: int, count: int) -> int:
    """Return `value` as an index from 0; values below 0 count from the end, as in Python."""
    given = check.integer(name, value)
    if not -count <= given < count:
        raise ValueError(f"{name} must be an int from {-count} to {count - 1}, not {given}")
    return given % count


def one_row(network: Any, x: Array, state: Any, row: int, times: int) -> tuple[Array, Any]:
    """Return one row of a batch and of its state, repeated `times` times."""
    axis = 0 if network.batch_first else 1
    x = check.sized("x", x, 3, "(B, T, I)" if network.batch_first else "(T, B, I)")
    B = x.shape[axis]
    if not x.size:
        raise ValueError(f"x must have at least one row and one step, not shape {x.shape}")
    row = index("row", row, B)
    rows = [row] * times
    if state is not None:
        parts = [
            None if part is None else part[:, rows] for part in network._checked_state("state", state, B, network.dtype)
        ]
        state = tuple(parts[: len(state)]) if isinstance(network, LSTM) else parts[0]
    return np.take(x, rows, axis), state


def after(t: int, T: int, direction: int) -> Array:
    """Return the steps from t back to the first step of this direction, in the order of the backward pass."""
    return np.arange(t, T) if direction else np.arange(t, -1, -1)
