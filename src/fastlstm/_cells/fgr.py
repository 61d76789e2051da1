"""The LSTM with full gate recurrence (FGR): each gate also sees the gates of the step before, through the weights G.

The kernels treat the gates g = (i, f, o) of the step before as more outputs: they read [y^{t-1} g^{t-1}] and [R G'].
In memory, the gates of a vector of hidden units lie side by side, vector after vector: a step writes them as it goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from fastlstm._arrays.arrays import Array, Kind, contiguous, empty, kind_of, zeros
from fastlstm._arrays.libraries import DeviceKind
from fastlstm._cells import kernel
from fastlstm._cells.cell import Parameter, Part, Sized, State
from fastlstm._cells.lstm import LSTMCell

# Which blocks of R the row blocks i, f, o of G belong to: there are four, i, f, z, o.
ROWS = (0, 1, 3)


@dataclass(frozen=True)
class FGRCell(LSTMCell):
    """The equations of an LSTM with full gate recurrence; its state has the gates too."""

    state: ClassVar[tuple[Part, ...]] = (*LSTMCell.state, Part("g", "3H", "3H", optional=True))
    has_own_layout: ClassVar[bool] = True
    kernel_name: ClassVar[str] = "fgr"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        *LSTMCell.parameters[:-1],
        Parameter("G", ("3H", "3H")),
        LSTMCell.parameters[-1],
    )

    def check_optional(self, given: dict[str, Any]) -> None:
        """Raise unless the parameters that only some variants have are given where this one has them."""
        if given["G"] is None:
            raise ValueError("G must be given with variant FGR: a (3H, 3H) array")
        if given["norm"] is not None:
            raise ValueError("norm must be None with variant FGR, which has no layer normalisation")

    def hint_for_state(self, count: int) -> str:
        """Return why a state of `count` parts is not one of this cell's, for a message."""
        return ""

    def kernel_columns(self, H: int, kind: Kind) -> int:
        """Return the number of values in a row of gates as the kernels keep them."""
        block = unit_block(kind)
        return 3 * -(-H // block) * block

    def most_kernel_columns(self, H: int) -> int:
        """Return the most that `kernel_columns` is for any instruction set."""
        return 3 * H + 192

    def kernel_R(self, R: Array, G: Array | None) -> Array:
        """Return [R G'], where G' is G with its columns in the order of the kernels' gates."""
        H, P, kind = len(R) // 4, R.shape[1], kind_of(R)
        wide = zeros((4 * H, P + self.kernel_columns(H, kind)), kind)
        self.refresh_kernel_R(wide, R, G)
        return wide

    def refresh_kernel_R(self, wide: Array, R: Array, G: Array | None) -> None:
        """Write new values of R and G to [R G']."""
        assert G is not None
        H, P = len(R) // 4, R.shape[1]
        wide[:, :P] = R
        columns = wide[:, P:]
        for gate, block in enumerate(ROWS):
            for given, own in gate_views(G[gate * H : (gate + 1) * H], columns[block * H : (block + 1) * H]):
                own[...] = given

    def gradients_of_R(self, wide: Array, P: int) -> dict[str, Array]:
        """Return the gradients of R and G from that of [R G']."""
        H = len(wide) // 4
        G = gates_of_kernels(wide[:, P:], H).reshape(4, H, 3 * H)[list(ROWS)]
        return {"R": contiguous(wide[:, :P]), "G": G.reshape(3 * H, 3 * H)}

    def kernel_state(self, state: State) -> State:
        """Return a state with its gates in the kernels' order."""
        h, c, g = state
        return h, c, None if g is None else gates_to_kernels(g)

    def caller_state(self, state: State, H: int) -> State:
        """Return a state of the kernels with its gates side by side, i, f, o."""
        h, c, g = state
        return h, c, gates_of_kernels(g, H)

    def copy_to_kernels(self, state: State, own: State) -> None:
        """Copy a caller's state to arrays in the kernels' layout."""
        own[0][...], own[1][...] = state[:2]
        for given, rows in gate_views(state[2], own[2]):
            rows[...] = given

    def copy_from_kernels(self, own: State, state: State) -> None:
        """Copy the kernels' state to a caller's."""
        state[0][...], state[1][...] = own[:2]
        for given, rows in gate_views(state[2], own[2]):
            given[...] = rows

    def empty_kernel_state(self, lead: tuple[int, ...], sized: Sized) -> State:
        """Return new arrays for a state in the kernels' layout."""
        h, c, _ = super().empty_kernel_state(lead, sized)
        return h, c, empty((*lead, self.kernel_columns(sized.H, kind_of(h))), kind_of(h))


def unit_block(kind: Kind) -> int:
    """Return how many hidden units have their gates side by side: the values of a vector."""
    return 1 if isinstance(kind, DeviceKind) else kernel.unit_block(kind.itemsize)


def gate_views(gates: Array, rows: Array) -> list[tuple[Array, Array]]:
    """Return pairs of views, of the same values and shape, to copy gates from one layout to the other.

    `gates` has i, f, o side by side, (..., 3H); `rows` has them as the kernels do. The pairs are of whole vectors of
    units, and of the units that are left.
    """
    lead, H, block = gates.shape[:-1], gates.shape[-1] // 3, unit_block(kind_of(gates))
    by_gate, by_vector = gates.reshape(*lead, 3, H), rows.reshape(*lead, rows.shape[-1] // (3 * block), 3, block)
    count, left = divmod(H, block)
    whole = by_gate[..., : count * block].reshape(*lead, 3, count, block).swapaxes(-3, -2)
    pairs = [(whole, by_vector[..., :count, :, :])]
    if left:
        pairs.append((by_gate[..., count * block :], by_vector[..., count, :, :left]))
    return pairs


def gates_to_kernels(gates: Array) -> Array:
    """Return gates i, f, o side by side in the kernels' order."""
    kind, H, block = kind_of(gates), gates.shape[-1] // 3, unit_block(kind_of(gates))
    rows = zeros((*gates.shape[:-1], 3 * -(-H // block) * block), kind)
    for given, own in gate_views(gates, rows):
        own[...] = given
    return rows


def gates_of_kernels(rows: Array, H: int) -> Array:
    """Return gates in the kernels' order side by side, i, f, o."""
    gates = empty((*rows.shape[:-1], 3 * H), kind_of(rows))
    for given, own in gate_views(gates, rows):
        given[...] = own
    return gates
