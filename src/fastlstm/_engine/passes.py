"""The compiled passes: the one place where they are made, started and run, with the arrays that they take."""

from __future__ import annotations

from typing import Any

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, Kind, Shape, zeros_like
from fastlstm._cells import Cell, State
from fastlstm._engine import backward as _backward
from fastlstm._engine import forward as _forward
from fastlstm._engine.backward import BackwardPass
from fastlstm._engine.batches import Batch
from fastlstm._engine.call import Call, Weights, device_of
from fastlstm._engine.checkpoints import Checkpoints
from fastlstm._engine.forward import ForwardPass
from fastlstm._engine.options import Options
from fastlstm._engine.tapes import CellTape
from fastlstm._system.backend import Device
from fastlstm._system.float_mode import as_in_kernels

# The limit of values in a call's arrays: no machine has memory for more, and no count of their bytes overflows.
MOST_VALUES = 1 << 55

# Both run the passes of a layer's directions once they are started: (passes, num_threads, device).
run_forward, run_backward = _forward.run_passes, _backward.run_passes

# A pass takes three parts of a state. By the number of parts that a cell has: what fills the others.
NO_PARTS = (None, None, None), (None, None), (None,), ()


# ---- forward ----


def forward_pass(
    call: Call, weights: Weights, with_tape: bool, y_on_tape: bool, recompute: int | None,
    device: Device | None,
) -> ForwardPass:  # fmt: skip
    """Make a pass; with `recompute` it keeps checkpoints, or with a tape too, runs from them again.

    `y_on_tape` is whether the tape has y^{t-1}.
    """
    k, kind = 0 if recompute is None else min(recompute, max(call.batch.T, 1)), call.kind
    return ForwardPass(
        call.cell.kernel, call.batch, call.reverse, weights, call.options, with_tape, y_on_tape, k, kind.itemsize,
        device,
    )  # fmt: skip


def start_forward(
    forward: ForwardPass, tape: CellTape | None, x: Array, first: State, y: Array, y_offset: int, last: State,
    workspace: Array,
) -> None:  # fmt: skip
    """Give a pass its arrays. The pass writes y from column `y_offset` on, the last state and the tape."""
    arrays = checkpoints = None
    if tape is not None and tape.checkpoints is not None:
        checkpoints = tape.checkpoints.begin(first)
    elif tape is not None:
        arrays = tape.arrays()
    no_parts = NO_PARTS[len(first)]
    forward.start(x, first + no_parts, y, y_offset, last + no_parts, arrays, checkpoints, workspace)


# ---- backward ----


def backward_pass(
    call: Call, weights: Weights, y_on_tape: bool, with_deltas: bool, frozen: bool, checkpoints: Checkpoints | None,
    device: Device | None,
) -> BackwardPass:  # fmt: skip
    """Make a pass, which reads y^{t-1} on the tape or computes it; with checkpoints it runs the forward pass again."""
    again = None
    if checkpoints is not None:
        again = forward_pass(call, weights._replace(b=checkpoints.b), True, True, checkpoints.k, device)
    return BackwardPass(
        call.cell.kernel, call.batch, call.reverse, weights, call.options, y_on_tape, with_deltas, frozen,
        call.kind.itemsize, again, device,
    )  # fmt: skip


def start_backward(
    backward: BackwardPass, tape: CellTape, dy: Array | None, dy_offset: int, dlast: State, dc: Array | None,
    dx: Array | None, gradients: tuple[Array | None, ...], dfirst: State, resets: State | None,
    deltas: tuple[Array, ...] | None, accumulate: bool, workspace: Array,
) -> None:  # fmt: skip
    """Give a pass its arrays. The pass reads dy from column `dy_offset` on; `gradients`: of W, R, b, p, proj, norm."""
    again, no_parts = None if tape.checkpoints is None else tape.checkpoints.start(), NO_PARTS[len(dfirst)]
    backward.start(
        tape.x, tape.arrays(), again, dy, dy_offset, dlast + no_parts, dc, dx, gradients, dfirst + no_parts,
        None if resets is None else resets + no_parts, deltas, accumulate, workspace,
    )  # fmt: skip


def gradients_of_resets(options: Options | None, dfirst: State) -> State | None:
    """Return where resets to the initial state are to add what they send to it; None without such resets."""
    if options is None or options.reset is None or options.reset_to_zero:
        return None
    return tuple(map(zeros_like, dfirst))


def add_resets(dfirst: State, resets: State) -> None:
    """Add what resets have sent to the initial state to its gradient."""
    for total, sent in zip(dfirst, resets, strict=True):
        with as_in_kernels():
            total += sent


# ---- workspaces ----


def workspace_size(
    cell: Cell, kind: Kind, T: object, B: object, I: object, H: object, proj_size: object, recompute: int | None,
    batch_invariant: bool,
) -> int:  # fmt: skip
    """Return the size of a workspace that is enough for both passes with any options; no array is made to find it."""
    T, B, I, H = check.count("T", T), check.count("B", B), check.positive_int("I", I), check.positive_int("H", H)
    projected, n = check.count("proj_size", proj_size), cell.gates
    k = None if recompute is None else check.positive_int("recompute", recompute)
    P = projected or H
    K = P + cell.most_kernel_columns(H)
    if (T * B + B + n * H) * (n * H + I + K + P) >= MOST_VALUES:
        raise ValueError(f"T, B, I, H = {T}, {B}, {I}, {H} are more than any memory can hold")

    def shape(*shape: int) -> Any:
        return Shape(shape, kind.itemsize)

    weights = Weights(shape(n * H, I), shape(n * H, K), shape(n * H), None, shape(P, H) if projected else None)
    batch = Batch(T, B, T * B, None, check.flag("batch_invariant", batch_invariant))
    device = device_of(kind)
    checkpoints: Any = None if k is None else Checkpoints(k, *(None,) * 6, weights.b)  # type: ignore[arg-type]
    passes: list[ForwardPass | BackwardPass] = []
    for options in (None, Options(mask=shape(B, P), zone_y=shape(T, B, P), zone_c=shape(T, B, H))):
        call = Call(cell, batch, kind, options=options)
        passes += [
            forward_pass(call, weights, False, False, None, device),
            forward_pass(call, weights, k is None, k is None, k, device),
            backward_pass(call, weights, False, False, False, checkpoints, device),
        ]
    return max(one.workspace() for one in passes)
