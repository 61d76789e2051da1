"""The passes over a stack, forward and back through time: layers of a cell, in one direction or two, and functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, Kind, empty, empty_like, zeros, zeros_like
from fastlstm._cells import Cell, State
from fastlstm._cells.cell import Sized
from fastlstm._engine import passes
from fastlstm._engine.batches import as_packed
from fastlstm._engine.call import Call, Weights, device_of
from fastlstm._engine.held import DIRECTIONS
from fastlstm._engine.options import options_of
from fastlstm._engine.tapes import CellTape, recompute_steps
from fastlstm._engine.threads import checked_num_threads
from fastlstm._system.float_mode import as_in_kernels
from fastlstm.layers.masks import Masks


@dataclass(slots=True)
class Tape:
    """What a layer's `forward` keeps for `backward`. A tape may be used many times.

    Attributes
    ----------
    layers : list of LSTMTape, GRUTape or RNNTape
        One for each layer and direction, in the order of the parameters: ``tape.layers[k].cells()`` and ``.gate("f")``
        are (T, B, H), with `batch_first` and packed sequences too.
    masks : Masks or None
        What was drawn.
    """

    layers: list[Any]
    call: Call
    masks: Masks | None = None


@dataclass(slots=True)
class CheckedTape:
    """A tape as a backward pass uses it: the objects that were checked, whatever becomes of the tape meanwhile."""

    call: Call
    layers: list[CellTape]
    weights: list[Weights]
    masks: Masks | None


class Stack:
    """Layers of a cell, one above the other, in one direction or two; a function is a stack of a single one.

    Layers and directions are numbered by k, in the order of the parameters.
    """

    _cell: Cell
    # The cell's row with the sizes of the layers.
    _sized: Sized
    _array_kind: Kind
    # The class of the tape of a layer and direction, and of the whole that a caller has.
    _tape_type: type[CellTape]
    _whole_tape_type: type = Tape
    input_size: int
    hidden_size: int
    num_layers: int
    batch_first: bool
    batch_invariant: bool
    # Whether the first direction of each layer runs from the last step to the first.
    _reverse = False

    @property
    def directions(self) -> int:
        """D: 2 if bidirectional, else 1."""
        raise NotImplementedError

    @property
    def output_size(self) -> int:
        """P: values that each direction gives, the hidden size or `proj_size`."""
        raise NotImplementedError

    def _weights_of(self, k: int, masks: Masks | None = None) -> Weights:
        """Return the weights of a layer and direction as the passes read them."""
        raise NotImplementedError

    def _kind_for(self, x: object) -> Kind:
        """Return what the arrays of a call must be like."""
        return self._array_kind

    def _masks_for(
        self, T: int, B: int, masks: Masks | None, rng: np.random.Generator | None, training: bool
    ) -> Masks | None:
        """Return the masks of a call, checked or drawn."""
        raise NotImplementedError

    def _tapes_to_fill(self, tape: Any) -> list[Any]:
        """Return the tapes of all layers and directions that a caller gives to be filled again."""
        raise NotImplementedError

    def _whole_tape(self, layers: list[CellTape], call: Call, masks: Masks | None) -> Any:
        """Return the tape that a caller has, from those of all layers and directions."""
        return Tape(layers, call, masks)

    def _named(
        self, tapes: list[CellTape], calls: list[Call], masks: Masks | None
    ) -> tuple[dict[str, Array], dict[str, Array | None]]:
        """Return what a forward pass writes to tapes, and what it reads, by the names that messages use."""
        raise NotImplementedError

    # ---- states ----

    def _lead(self, B: int) -> tuple[int, ...]:
        """Return the axes of a state before the last."""
        return self.num_layers * self.directions, B

    def _lead_axes(self) -> str:
        """Return how messages write the axes of a state before the last."""
        return "1, B" if self.num_layers * self.directions == 1 else "layers D, B"

    def _part(self, state: State, k: int) -> State:
        """Return the state of a layer and direction."""
        return tuple([None if part is None else part[k] for part in state])

    def _checked_state(self, name: str, state: Any, B: int, kind: Kind, prefix: str = "") -> State:
        """Return the parts of a state, or of gradients of one, once they are known to be right; None where not given.

        Messages write the parts' names after `prefix`.
        """
        cell = self._cell
        if state is None:
            return (None,) * len(cell.state)
        lead, axes, parts = self._lead(B), self._lead_axes(), []
        for (part, size, own, axis), given in zip(self._sized.state, cell.parts(name, state, prefix), strict=True):
            label = f"{name} {part}" if len(cell.state) > 1 else name
            parts.append(check.optional(label, given, (*lead, size), own, f"({axes}, {axis})"))
        return tuple(parts)

    def _first_state(self, state: Any, B: int, kind: Kind) -> State:
        """Return a caller's initial state, zeros where it is not given."""
        lead = self._lead(B)
        if state is None:
            return tuple([zeros((*lead, size), own) for _, size, own, _ in self._sized.state])
        return tuple([
            zeros((*lead, size), own) if given is None else given
            for given, (_, size, own, _) in zip(
                self._checked_state("state", state, B, kind), self._sized.state, strict=True
            )
        ])  # fmt: skip

    def _checked_out(
        self, out: Any, shape: tuple[int, ...], axes: str, kind: Kind, lead_axes: str
    ) -> tuple[Array, State]:
        """Return y, of this shape, and the parts of the state in `out`, once results can be written to them."""
        cell, lead = self._cell, self._lead(shape[-2])
        names = ", ".join([part.name for part in cell.state])
        y, given = check.pair("out", out, f"(y, ({names}))" if len(cell.state) > 1 else f"(y, {names})")
        parts = cell.parts("out state", given, whole=True)
        y = check.output("out y", y, shape, kind, axes)
        return y, tuple([
            check.output(f"out {name}", array, (*lead, size), own, f"({lead_axes}, {axis})")
            for (name, size, own, axis), array in zip(self._sized.state, parts, strict=True)
        ])  # fmt: skip

    # ---- memory ----

    def _borrow(self, use: str, size: int, kind: Kind, borrowed: dict[str, Array]) -> Array:
        """Return memory of at least `size` values."""
        return check.workspace(None, size, kind)

    def _rows_for(self, use: str, shape: tuple[int, ...], kind: Kind, borrowed: dict[str, Array] | None) -> Array:
        """Return a new array, or with `borrowed`, borrowed memory of this shape."""
        return empty(shape, kind)

    def _keep(self, borrowed: dict[str, Array]) -> None:
        """Keep what a call has borrowed for the next one."""


# ---- forward ----


def run(
    stack: Stack, x: Any, state: Any = None, lengths: ArrayLike | None = None, reset: ArrayLike | None = None,
    reset_to: Literal["initial", "zero"] = "initial", *, rng: np.random.Generator | None = None,
    masks: Masks | None = None, tape: Any = False, recompute: int | None = None, num_threads: int | None = None,
    opened: tuple[Call, Array] | None = None, out: tuple[Array, State] | None = None, workspace: Array | None = None,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Run a stack over sequences; return y, the last state and the tape, or None where `tape` is False.

    `tape` may be one to fill, `opened` is what `Call.open` has returned, and `out` has the parts of a checked state.
    """
    threads, steps = checked_num_threads(num_threads), recompute_steps(recompute, tape, stack._whole_tape_type)
    borrowed: dict[str, Array] = {}
    # Without a tape, rows in the kernels' order are needed here alone.
    for_rows = None if tape or lengths is None else borrowed
    call, below = opened or Call.open(
        stack._cell, as_packed("x", x), lengths, stack._kind_for(x), stack.input_size, stack.batch_first,
        stack.batch_invariant, threads, stack._rows_for, for_rows,
    )  # fmt: skip
    cell, kind, D, P, with_tape = call.cell, call.kind, stack.directions, stack._sized.P, tape is not False
    T, B, count, device = call.batch.T, call.batch.B, stack.num_layers * D, device_of(kind)
    given = stack._first_state(state, B, kind)
    masks = stack._masks_for(T, B, masks, rng, with_tape)
    opens_state, opens_rows = call.opens_state, call.opens_rows(stack.batch_first)
    first = call.open_state(given) if opens_state else given
    last = tuple(map(empty_like, first)) if out is None or opens_state else out[1]
    ready: list[tuple[Call, Weights, Any]] = []
    if out is not None or workspace is not None or type(tape) is not bool:  # All must fit before any is written to.
        to_fill = [None] * count if type(tape) is bool else stack._tapes_to_fill(tape)
        for k, own_tape in enumerate(to_fill):
            ready.append(_begin(stack, k, call, reset, reset_to, masks, below, with_tape, steps, own_tape))
        tapes = [kept for *_, kept in ready if kept is not None]
        outputs, inputs = stack._named(tapes, [own for own, *_ in ready], masks)
        if out is not None:
            outputs["out y"] = out[0]
            outputs |= {f"out {part.name}": array for part, array in zip(cell.state, out[1], strict=True)}
        if workspace is not None:
            outputs["workspace"] = check.workspace(workspace, 0, kind)
        # With lengths, the rows that the kernels read are a copy.
        caller_x = below
        if opened is not None and call.lengths is not None:
            caller_x = check.matching("x", x, call.caller_shape(stack.input_size, False), kind, "(T, B, I)")
        check.disjoint(outputs, {"x": caller_x} | inputs | cell.labelled("state", given))
    layers: list[CellTape] = []
    for k0 in range(0, count, D):
        if out is None or opens_rows:
            y = stack._rows_for("even" if k0 // D % 2 else "odd", call.shape(D * P), kind, for_rows)
        else:
            y = out[0]
        started = []
        for k in range(k0, k0 + D):
            own, weights, kept = (
                ready[k] if ready else _begin(stack, k, call, reset, reset_to, masks, below, with_tape, steps)
            )
            if kept is not None:
                kept.x = below
                layers.append(kept)
            y_on_tape = kept is not None and kept.keeps_y_prev
            forward = passes.forward_pass(own, weights, with_tape and steps is None, y_on_tape, steps, device)
            if workspace is None:
                space = stack._borrow(DIRECTIONS[k - k0], forward.workspace(), kind, borrowed)
            else:
                space = check.workspace(workspace, forward.workspace(), kind)
            own_first, own_last = stack._part(first, k), stack._part(last, k)
            passes.start_forward(forward, kept, below, own_first, y, (k - k0) * P, own_last, space)
            started.append(forward)
        passes.run_forward(started, threads, device)
        below = y
        if masks is not None and masks.between and k0 + D < count:
            with as_in_kernels():
                below = y * call.packed(masks.between[k0 // D], threads)
    y = call.close(below, stack.batch_first, threads, None if out is None else out[0])
    if opens_state:
        last = call.close_state(last, stack._sized.H, None if out is None else out[1])
    if borrowed:
        stack._keep(borrowed)
    return y, cell.public(last), stack._whole_tape(layers, call, masks) if with_tape else None


def _begin(
    stack: Stack, k: int, call: Call, reset: ArrayLike | None, reset_to: Literal["initial", "zero"],
    masks: Masks | None, x: Array, with_tape: bool, recompute: int | None, given: CellTape | None = None,
) -> tuple[Call, Weights, Any]:  # fmt: skip
    """Return the call of a layer and direction, its weights and its tape."""
    reverse = stack._reverse or k % stack.directions > 0
    if reverse or reset is not None or masks is not None or reset_to != "initial":
        batch, sized = call.batch, stack._sized
        recurrent = masks.recurrent[k] if masks is not None and masks.recurrent else None
        zoneout = masks.zoneout[k] if masks is not None and masks.zoneout else None
        options = options_of(
            batch.T, batch.B, sized.P, sized.H, call.kind, call.lengths, reverse, reset, reset_to, recurrent, zoneout
        )
        call = call.of_direction(reverse, options)
    weights = stack._weights_of(k, masks)
    if not with_tape:
        return call, weights, None
    return call, weights, stack._tape_type.of_call(call, weights, stack._sized, x, given, recompute)


# ---- back through time ----


@dataclass(slots=True)
class Target:
    """The arrays to which a backward pass writes its gradients."""

    # The gradients of the parameters of each layer and direction, by name; None where they are frozen.
    parameters: Sequence[Mapping[str, Array]] | None
    # None where it is not wanted.
    x: Array | None
    # The gradients of the initial state in the caller's layout; None for new arrays.
    state: State | None = None


def run_back(
    stack: Stack, tape: CheckedTape, dy: Array | None, dlast: State, dc: list[Array | None], target: Target,
    accumulate: bool, deltas: bool, num_threads: int, workspace: Array | None = None,
) -> tuple[Any, Any, list[Any] | None]:  # fmt: skip
    """Back-propagate through a stack; return the gradients of x and of the initial state, and the deltas if asked for.

    `dy` and `dc` have the rows of the kernels, `dlast` is in the caller's layout.
    """
    call, tapes, masks = tape.call, tape.layers, tape.masks
    cell, kind, D, sized, count = call.cell, call.kind, stack.directions, stack._sized, len(tapes)
    P, device = sized.P, device_of(kind)
    borrowed: dict[str, Array] = {}
    opens_state, opens_rows = call.opens_state, call.opens_rows(stack.batch_first)
    if opens_state:
        dlast = call.open_state(dlast)
    dfirst = target.state
    if dfirst is None or opens_state:
        dfirst = cell.empty_kernel_state(stack._lead(call.batch.B), sized)
    every: list[Any] = [None] * count
    above = dy
    for k0 in range(count - D, -1, -D):
        started, dxs, dRs = [], [], []
        all_resets: list[tuple[State, State]] = []
        for k in range(k0, k0 + D):
            kept, weights = tapes[k], tape.weights[k]
            gradients: Mapping[str, Array] = {} if target.parameters is None else target.parameters[k]
            own: Any = kept.call
            mask = masks.weights[k] if masks is not None and masks.weights else None
            get = gradients.get
            dR = get("R")
            if dR is not None and (cell.has_own_layout or mask is not None):
                dR = zeros_like(weights.R)
                dRs.append((gradients, dR, mask))
            backward = passes.backward_pass(
                own, weights, kept.keeps_y_prev, deltas, dR is None, kept.checkpoints, device
            )
            if workspace is None:
                space = stack._borrow(DIRECTIONS[k - k0], backward.workspace(), kind, borrowed)
            else:
                space = check.workspace(workspace, backward.workspace(), kind)
            dx = target.x
            if k > 0 or (dx is not None and opens_rows):
                dx = None if k0 == 0 and dx is None else empty(call.shape(weights.W.shape[1]), kind)
            if deltas:
                every[k] = _new_deltas(call, sized)
            own_dfirst, resets = stack._part(dfirst, k), None
            if own.options is not None:
                resets = passes.gradients_of_resets(own.options, own_dfirst)
                if resets is not None:
                    all_resets.append((own_dfirst, resets))
            passes.start_backward(
                backward, kept, above, (k - k0) * P, stack._part(dlast, k), dc[k], dx,
                (get("W"), dR, get("b"), get(cell.unit_parameter), get("proj"), get("norm")),
                own_dfirst, resets,
                every[k], accumulate, space,
            )  # fmt: skip
            started.append(backward)
            dxs.append(dx)
        passes.run_backward(started, num_threads, device)
        for own_dfirst, resets in all_resets:
            passes.add_resets(own_dfirst, resets)
        above = dxs[0]
        between = masks.between[k0 // D - 1] if masks is not None and masks.between and k0 else None
        if between is not None or D > 1 or dRs:
            between = call.packed(between, num_threads)
            with as_in_kernels():
                for gradients, dR, mask in dRs:
                    _write_dR(cell, gradients, dR, mask, P, accumulate)
                if above is not None and D > 1:
                    above += dxs[1]
                if between is not None:
                    above *= between
    if borrowed:
        stack._keep(borrowed)
    x = None if above is None else call.close(above, stack.batch_first, num_threads, target.x if opens_rows else None)
    if opens_state:
        dfirst = call.close_state(dfirst, sized.H, target.state)
    named = _named_deltas(call, every) if deltas else None
    return x, cell.public(dfirst), named


def _new_deltas(call: Call, sized: Sized) -> tuple[Array, ...]:
    """Return arrays for the deltas of every step of a layer and direction."""
    return tuple([empty(call.shape(size), kind) for size, kind in sized.deltas])


def _named_deltas(call: Call, every: list[tuple[Array, ...]]) -> list[Any]:
    """Return the deltas of all layers and directions by name, in the caller's layout."""
    return [call.cell.named_deltas([call.padded(rows) for rows in arrays]) for arrays in every]


def _write_dR(
    cell: Cell, gradients: Mapping[str, Array], dR: Array, mask: Array | None, P: int, accumulate: bool
) -> None:
    """Write or add the gradients of R and of what the kernels read with it, from that of R as they read it."""
    for name, gradient in cell.gradients_of_R(dR, P).items():
        if name == "R" and mask is not None:
            gradient = gradient * mask
        target = gradients[name]
        target[:] = target + gradient if accumulate else gradient
