"""One layer in one direction: from checked arrays to the compiled passes, for the functions and the layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, Kind, Shape, cells_of, contiguous, empty, kind_of, zeros, zeros_like
from fastlstm._arrays.libraries import DeviceKind
from fastlstm._cells import LSTMCell, RNNCell
from fastlstm._engine import backward as _backward
from fastlstm._engine import forward as _forward
from fastlstm._engine import loops as _loops
from fastlstm._engine.batches import Batch, Lengths, Options
from fastlstm._system import devices, runtime
from fastlstm._system.float_mode import as_in_kernels

Cell = LSTMCell | RNNCell

# Of a call: so many that no count of bytes that comes of them overflows, and that no machine has memory for them.
MOST_VALUES = 1 << 55

# h, c and g, or their gradients: None where the cell has none, or where they are not given.
States = tuple[Array | None, Array | None, Array | None]


class PackedWeights(NamedTuple):
    """W and R as the steps read them: packed for the instruction set in use, `format` "full", "bfloat16" or "int8".

    For int8, `scale` has the factors of the rows of R, and those of W are `ratio` times as large.
    """

    format: str
    input: int
    outputs: int
    W: Array
    R: Array
    scale: Array | None
    ratio: Array | None


class Weights(NamedTuple):
    """The parameters of one layer in one direction; R holds those of full gate recurrence too.

    With `packed`, which inference alone can use, W and R are empty.
    """

    W: Array
    R: Array
    b: Array | None
    p: Array | None = None
    proj: Array | None = None
    packed: PackedWeights | None = None


@dataclass(frozen=True)
class Call:
    """How a forward pass was made, for the backward pass."""

    cell: Cell
    batch: Batch
    kind: Kind
    lengths: Lengths | None = None
    reverse: bool = False
    options: Options | None = None
    recompute: int | None = None

    def check_rows(self) -> None:
        """Raise unless its parts are what they should be, and its lengths those of its batch."""
        own, lengths = self.batch, self.lengths
        if not (isinstance(own, Batch) and (lengths is None or isinstance(lengths, Lengths))):
            raise TypeError("tape.call must be that of a forward pass, with a Batch and Lengths or None")
        if not (own.offsets is None if lengths is None else own.same_rows(lengths.batch)):
            raise ValueError("tape.call.batch must be that of tape.call.lengths")

    def same_rows(self, other: Call) -> bool:
        """Whether another call has the same rows at each step, from the same rows of the caller's."""
        a, b = self.lengths, other.lengths
        same = a is b or (a is not None and b is not None and np.array_equal(a.order, b.order))
        return same and (self.batch is other.batch or self.batch.same_rows(other.batch))

    def checked(self, P: int, H: int) -> Call:
        """The same, once its options are known to fit these sizes."""
        if self.options is None:
            return self
        if not isinstance(self.options, Options):
            raise TypeError(f"tape.call.options must be those of a forward pass, not {type(self.options).__name__}")
        options = self.options.checked(self.batch, self.shape(), P, H, self.kind)
        return replace(self, options=options)

    def rows(self, array: Array | None, num_threads: int) -> Array | None:
        """A (T, B, ...) array as the kernels want it."""
        return array if self.lengths is None or array is None else self.lengths.pack(array, num_threads)

    def states_in(self, states: States) -> States:
        """A state, (..., B, size) each, as the kernels want it."""
        h, c, g = states
        states = h, c, None if g is None else gates_to_kernels(g)
        return states if self.lengths is None else each(self.lengths.sort, states)

    def states_out(self, states: States, H: int) -> States:
        """The way back."""
        h, c, g = states if self.lengths is None else each(self.lengths.unsort, states)
        return h, c, None if g is None else gates_of_kernels(g, H)

    def sequence(self, rows: Array) -> Array:
        """The kernels' rows as (T, B, ...)."""
        return rows if self.lengths is None else self.lengths.pad(rows)

    def shape(self, *last: int) -> tuple[int, ...]:
        """Of an array with a row for each step and batch row."""
        batch = self.batch
        return (batch.T, batch.B, *last) if batch.offsets is None else (batch.count, *last)

    def cell_shape(self, H: int) -> tuple[int, ...]:
        """Of the cells, with the initial ones."""
        batch = self.batch
        return (batch.T + 1, batch.B, H) if batch.offsets is None else (batch.B + batch.count, H)

    def named(self) -> dict[str, Array | None]:
        """The arrays of its options, by name."""
        return {} if self.options is None else self.options.named()

    @property
    def keeps_c_prev(self) -> bool:
        """Whether c^{t-1} as a step saw it may differ from c of the step before."""
        options = self.options
        return options is not None and (options.reset is not None or options.zone_c is not None)


# ---- states ----


def each(function: Callable[[Array], Array], states: States) -> States:
    """What a function makes of those that there are."""
    h, c, g = states
    return None if h is None else function(h), None if c is None else function(c), None if g is None else function(g)


def or_zeros(states: States, cell: Cell, lead: tuple[int, ...], P: int, H: int, kind: Kind) -> States:
    """All that a cell's state has, zeros where they are not given."""
    h, c, g = states
    h = zeros((*lead, P), kind) if h is None else h
    c = zeros((*lead, H), cells_of(kind)) if c is None and cell.kernel.lstm else c
    g = zeros((*lead, 3 * H), kind) if g is None and cell.full_recurrence else g
    return h, c, g


def kernel_states(cell: Cell, lead: tuple[int, ...], P: int, H: int, kind: Kind) -> States:
    """New arrays for a cell's state as the kernels write it."""
    c = empty((*lead, H), cells_of(kind)) if cell.kernel.lstm else None
    g = empty((*lead, kernel_gates(H, kind)), kind) if cell.full_recurrence else None
    return empty((*lead, P), kind), c, g


def copy_states(to: States, states: States) -> None:
    """Writes one to another."""
    for own, array in zip(to, states, strict=True):
        if own is not None:
            own[:] = array


def gradients_of_resets(options: Options | None, first: States) -> States | None:
    """Where resets to the initial state are to add what they send to it: `first` gets none of that."""
    if options is None or options.reset is None or options.reset_to_zero:
        return None
    return each(zeros_like, first)


def add_resets(first: States, resets: States) -> None:
    """Adds it."""
    for total, sent in zip(first, resets, strict=True):
        if total is not None:
            with as_in_kernels():
                total += sent


# ---- full gate recurrence ----


def unit_block(kind: Kind) -> int:
    """Hidden units whose gates lie side by side, vector after vector."""
    return 1 if isinstance(kind, DeviceKind) else _loops.unit_block(kind.itemsize)


def kernel_gates(H: int, kind: Kind) -> int:
    """Values in a row of gates as the kernels keep them."""
    block = unit_block(kind)
    return 3 * -(-H // block) * block


def gate_views(gates: Array, rows: Array) -> list[tuple[Array, Array]]:
    """Gates i, f, o side by side, (..., 3H), and side by side for each vector of units, as the kernels keep them.

    Pairs of views of the same values, of one shape, to copy from one to the other: whole vectors, and what is left.
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
    """Gates i, f, o side by side as the kernels keep them."""
    kind = kind_of(gates)
    rows = zeros((*gates.shape[:-1], kernel_gates(gates.shape[-1] // 3, kind)), kind)
    for given, own in gate_views(gates, rows):
        own[...] = given
    return rows


def gates_of_kernels(rows: Array, H: int) -> Array:
    """The way back from `gates_to_kernels`."""
    gates = empty((*rows.shape[:-1], 3 * H), kind_of(rows))
    for given, own in gate_views(gates, rows):
        given[...] = own
    return gates


def write_gate_recurrence(G: Array, columns: Array) -> None:
    """G, with columns as the kernels keep the gates of the step before: those of R to its right."""
    H = len(G) // 3
    for place, gate in ((0, 0), (1, 1), (3, 2)):
        for given, own in gate_views(G[gate * H : (gate + 1) * H], columns[place * H : (place + 1) * H]):
            own[...] = given


def with_gate_recurrence(R: Array, G: Array) -> Array:
    """[R G'] where G' is G as `write_gate_recurrence` writes it."""
    H, P, kind = len(R) // 4, R.shape[1], kind_of(R)
    wide = zeros((4 * H, P + kernel_gates(H, kind)), kind)
    wide[:, :P] = R
    write_gate_recurrence(G, wide[:, P:])
    return wide


def gate_recurrence_of(wide: Array, P: int) -> tuple[Array, Array]:
    """R and G from [R G']."""
    H = len(wide) // 4
    G = gates_of_kernels(wide[:, P:], H).reshape(4, H, 3 * H)[[0, 1, 3]]
    return contiguous(wide[:, :P]), G.reshape(3 * H, 3 * H)


# ---- recompute ----


CHECKPOINTS = ("y", "c", "y_before", "h0", "c0", "g0")


@dataclass(slots=True)
class Checkpoints:
    """What a tape keeps instead of every step: from it the backward pass runs the steps again, segment by segment.

    Attributes
    ----------
    k : int
        Steps of a segment, as far as whole blocks of rows make them up.
    y, c, y_before : (segments, B, ...) arrays
        y^{t-1} and c^{t-1} as the first step of each segment saw them; for zoneout of y, y^{t-1} itself. Else None.
    h0, c0, g0 : (B, ...) arrays
        The initial state; g0, for full gate recurrence alone, as the kernels keep the gates.
    b : array
        The biases, not copied.
    """

    k: int
    y: Array
    c: Array | None
    y_before: Array | None
    h0: Array
    c0: Array | None
    g0: Array | None
    b: Array

    @staticmethod
    def _shapes(call: Call, weights: Weights, k: int) -> dict[str, tuple[int, ...] | None]:
        B, K = call.batch.B, weights.R.shape[1]
        H = len(weights.W) // call.cell.gates
        P = H if weights.proj is None else len(weights.proj)
        count, cells = _loops.segment_count(call.batch, k), call.cell.kernel.lstm
        zoned = call.options is not None and call.options.zone_y is not None
        return {
            "y": (count, B, K), "c": (count, B, H) if cells else None, "y_before": (count, B, P) if zoned else None,
            "h0": (B, P), "c0": (B, H) if cells else None, "g0": (B, K - P) if call.cell.full_recurrence else None,
        }  # fmt: skip

    @staticmethod
    def _kind(call: Call, name: str) -> Kind:
        return cells_of(call.kind) if name in ("c", "c0") else call.kind

    @classmethod
    def of_call(cls, call: Call, weights: Weights, k: int, given: Checkpoints | None) -> Checkpoints:
        """Checkpoints to fill: `given`, if it has the right arrays, or new ones."""
        assert weights.b is not None
        arrays: dict[str, Any] = dict.fromkeys(CHECKPOINTS)
        for name, shape in cls._shapes(call, weights, k).items():
            if shape is not None:
                kind, label = cls._kind(call, name), f"tape.checkpoints.{name}"
                arrays[name] = (
                    empty(shape, kind)
                    if given is None
                    else check.output(label, getattr(given, name), shape, kind, str(shape))
                )
        return cls(k, b=weights.b, **arrays)

    def checked(self, call: Call, weights: Weights) -> Checkpoints:
        """The same, once it is known that it belongs to a call and its weights."""
        k = check.positive_int("tape.checkpoints.k", self.k)
        if call.recompute not in (None, k):  # None in tapes that the first version pickled
            raise ValueError(f"tape.checkpoints.k must be that of the forward pass, {call.recompute}, not {k!r}")
        arrays: dict[str, Any] = {"b": (len(weights.W),)} | self._shapes(call, weights, k)
        for name, shape in arrays.items():
            if shape is not None:
                arrays[name] = check.matching(
                    f"tape.checkpoints.{name}", getattr(self, name), shape, self._kind(call, name), str(shape)
                )
        return Checkpoints(k, **arrays)

    def arrays(self) -> dict[str, Array]:
        """Those that a forward pass fills, by name."""
        named = {name: getattr(self, name) for name in CHECKPOINTS}
        return {f"tape.checkpoints.{name}": array for name, array in named.items() if array is not None}

    def begin(self, first: States) -> tuple[Array, Array | None, Array | None]:
        """What a forward pass from this state is to fill."""
        for kept, given in zip((self.h0, self.c0, self.g0), first, strict=True):
            if kept is not None:
                kept[:] = given
        return self.y, self.c, self.y_before

    def again(self) -> tuple[Any, ...]:
        """What a backward pass starts from."""
        return (self.h0, self.c0, self.g0), (self.y, self.c, self.y_before)


def recompute_steps(recompute: int | None) -> int | None:
    """The argument, checked."""
    return None if recompute is None else check.positive_int("recompute", recompute)


# ---- passes ----


def device_of(kind: Kind) -> runtime.Device | None:
    """The stream where a call on such arrays is to run; None for the host."""
    if not isinstance(kind, DeviceKind):
        return None
    return devices.device(kind.index, kind.library.stream(kind.index), kind.values)


def forward_pass(call: Call, weights: Weights, with_tape: bool, recompute: int | None = None) -> _forward.ForwardPass:
    """A pass to be started; with `recompute` it keeps checkpoints, or `with_tape` is what runs from them again."""
    k, kind = 0 if recompute is None else min(recompute, max(call.batch.T, 1)), call.kind
    return _forward.ForwardPass(
        call.cell.kernel, call.batch, call.reverse, weights, call.options, with_tape, k, kind.itemsize, device_of(kind)
    )


def backward_pass(
    call: Call, weights: Weights, with_dx: bool, with_deltas: bool, checkpoints: Checkpoints | None = None
) -> _backward.BackwardPass:
    """A pass to be started."""
    again = None
    if checkpoints is not None:
        again = forward_pass(call, weights._replace(b=checkpoints.b), True, checkpoints.k)
    return _backward_pass(call, weights, with_dx, with_deltas, again)


def _backward_pass(
    call: Call, weights: Weights, with_dx: bool, with_deltas: bool, again: _forward.ForwardPass | None
) -> _backward.BackwardPass:
    kind = call.kind
    return _backward.BackwardPass(
        call.cell.kernel, call.batch, call.reverse, weights, call.options, with_dx, with_deltas, kind.itemsize, again,
        device_of(kind),
    )  # fmt: skip


# ---- workspaces ----


def workspace_size(
    cell: Cell, kind: Kind, T: object, B: object, I: object, H: object, proj_size: object, recompute: int | None,
    batch_invariant: bool,
) -> int:  # fmt: skip
    """Values with which both passes of any options need allocate none. Nothing of such sizes is allocated here."""
    T, B, I, H = check.count("T", T), check.count("B", B), check.positive_int("I", I), check.positive_int("H", H)
    projected, n, k = check.count("proj_size", proj_size), cell.gates, recompute_steps(recompute)
    P = projected or H
    K = P + (3 * H + 192 if cell.full_recurrence else 0)
    if (T * B + B + n * H) * (n * H + I + K + P) >= MOST_VALUES:
        raise ValueError(f"T, B, I, H = {T}, {B}, {I}, {H} are more than any memory can hold")

    def shape(*shape: int) -> Any:
        return Shape(shape, kind.itemsize)

    weights = Weights(shape(n * H, I), shape(n * H, K), shape(n * H), None, shape(P, H) if projected else None)
    batch = Batch(T, B, T * B, None, check.flag("batch_invariant", batch_invariant))
    passes: list[_forward.ForwardPass | _backward.BackwardPass] = []
    for options in (None, Options(mask=shape(B, P), zone_y=shape(T, B, P), zone_c=shape(T, B, H))):
        call = Call(cell, batch, kind, options=options)
        again = None if k is None else forward_pass(call, weights, True, k)
        passes += [
            forward_pass(call, weights, False),
            forward_pass(call, weights, k is None, k),
            _backward_pass(call, weights, True, False, again),
        ]
    return max(one.workspace() for one in passes)
