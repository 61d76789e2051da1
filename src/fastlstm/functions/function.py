"""A function as a stack of one layer in one direction: its parameters are the arguments of a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, Kind, cells_of, empty
from fastlstm._cells import Cell, State
from fastlstm._engine.call import Call, Weights
from fastlstm._engine.tapes import CellTape, call_of
from fastlstm._engine.threads import checked_num_threads
from fastlstm.layers.masks import Masks
from fastlstm.layers.stack import CheckedTape, Stack, Target, run, run_back

Parameters = dict[str, Any]
REQUIRED = "W", "R", "b"


class Function(Stack):
    """One layer in one direction, of these parameters."""

    num_layers, directions = 1, 1
    batch_first = False

    def __init__(
        self, cell: Cell, tape_type: type[CellTape], kind: Kind, inputs: int, given: Parameters, reverse: bool = False
    ) -> None:
        self._cell, self._array_kind, self._reverse, self.input_size = cell, kind, reverse, inputs
        self._tape_type = self._whole_tape_type = tape_type
        proj = given.get("proj")
        P = H = check.sized("R", given["R"], 2, cell.axes_of_R[proj is not None], kind).shape[1]
        if proj is not None:
            H = check.sized("proj", proj, 2, "(P, H)", kind).shape[1]
        cell.check_optional(given)
        self._sized = sized = cell.sized(kind, inputs, H, P, proj is not None)
        # The parameters that are given, by name, once they are checked.
        parameters: Parameters = {}
        self.parameters = parameters
        for name, value in given.items():
            if value is not None or name in REQUIRED:
                shape, axes, _ = sized.parameters[name]
                parameters[name] = check.matching(name, value, shape, kind, axes)
        get, R = parameters.get, parameters["R"]
        if cell.has_own_layout:
            R = cell.kernel_R(R, get("G"))
        self._weights = Weights(parameters["W"], R, get("b"), get(cell.unit_parameter), get("proj"), norm=get("norm"))

    def _weights_of(self, k: int, masks: Masks | None = None) -> Weights:
        return self._weights

    def _masks_for(
        self, T: int, B: int, masks: Masks | None, rng: np.random.Generator | None, training: bool
    ) -> Masks | None:
        return masks

    def _tapes_to_fill(self, tape: Any) -> list[CellTape | None]:
        return [None if tape is True else tape]

    def _whole_tape(self, layers: list[CellTape], call: Call, masks: Masks | None) -> CellTape:
        return layers[0]

    def _named(
        self, tapes: list[CellTape], calls: list[Call], masks: Masks | None
    ) -> tuple[dict[str, Array], dict[str, Array | None]]:
        return tapes[0].named() if tapes else {}, {**self.parameters, **calls[0].named()}

    def _lead(self, B: int) -> tuple[int, ...]:
        return (B,)

    def _lead_axes(self) -> str:
        return "B"

    def _part(self, state: State, k: int) -> State:
        return state

    def _check_gradients(self, out: Any, shapes: Mapping[str, tuple[int, ...]], B: int) -> tuple[Parameters, State]:
        """Return the gradients in `out`, those of these shapes by name and those of the initial state's parts."""
        cell, kind = self._cell, self._array_kind
        parts = cell.parts("out.state", out.state, suffix="0", whole=True)
        gradients = {
            name: check.output(f"out {name}", getattr(out, name), shape, kind, name) for name, shape in shapes.items()
        }
        return gradients, tuple([
            check.output(f"out {name}", part, (B, size), own, name)
            for name, part, (_, size, own, _) in zip(self._first_names(), parts, self._sized.state, strict=True)
        ])  # fmt: skip

    def _first_names(self) -> list[str]:
        """Return what the parts of the initial state are called among the gradients."""
        state = self._cell.state
        return [f"{part.name}0" for part in state] if len(state) > 1 else ["state"]


def forward(
    cell: Cell, tape_type: type[CellTape], x: Any, parameters: Parameters, state: Any, *, lengths: ArrayLike | None,
    reverse: bool, reset: ArrayLike | None, reset_to: Literal["initial", "zero"], recurrent_mask: Array | None,
    zoneout: Any, tape: Any, recompute: int | None, out: Any, workspace: Array | None, num_threads: int | None,
    batch_invariant: bool,
) -> tuple[Array, Any, Any]:  # fmt: skip
    """Run a layer over sequences; return y, the last state and the tape or None."""
    reverse, invariant = check.flag("reverse", reverse), check.flag("batch_invariant", batch_invariant)
    opened = Call.open(cell, x, lengths, None, None, False, invariant, num_threads)
    call, rows = opened
    stack = Function(cell, tape_type, call.kind, rows.shape[-1], parameters, reverse)
    masks = None
    if recurrent_mask is not None or zoneout is not None:
        recurrent = [] if recurrent_mask is None else [recurrent_mask]
        masks = Masks(recurrent=recurrent, zoneout=[] if zoneout is None else [zoneout])
    if out is not None:
        out = stack._checked_out(out, (call.batch.T, call.batch.B, stack._sized.P), "(T, B, H)", call.kind, "B")
    return run(
        stack, x, state, lengths, reset, reset_to, masks=masks, tape=bool(tape) if isinstance(tape, np.bool) else tape,
        recompute=recompute, num_threads=num_threads, opened=opened, out=out, workspace=workspace,
    )  # fmt: skip


def backward(
    cell: Cell, tape_type: type[CellTape], gradients_type: Any, tape: Any, parameters: Parameters, dy: Array | None,
    dstate: Any, dc: Array | None, *, deltas: bool, out: Any, accumulate: bool, workspace: Array | None,
    num_threads: int | None,
) -> Any:  # fmt: skip
    """Back-propagate through the steps of `forward`; return the gradients of all its arguments."""
    accumulate, deltas = check.flag("accumulate", accumulate), check.flag("deltas", deltas)
    if not isinstance(tape, tape_type):
        name = f"{cell.name.lower()}_forward(..., tape=True)"
        expected = check.with_article(tape_type.__name__)
        raise TypeError(f"tape must be {expected} from {name}, not {type(tape).__name__}")
    call = call_of(tape, cell)
    cell, kind, T, B = call.cell, call.kind, call.batch.T, call.batch.B
    I = check.sized("tape.x", tape.x, 3 if call.batch.offsets is None else 2, "(T, B, I)", kind).shape[-1]
    stack = Function(cell, tape_type, kind, I, parameters)
    sized, parameters, weights = stack._sized, stack.parameters, stack._weights
    kept = tape.checked(call, weights, sized)
    assert kept.call is not None
    call = kept.call
    if dy is not None:
        dy = check.matching("dy", dy, (T, B, sized.P), kind, "(T, B, H)")
    if dc is not None:
        dc = check.matching("dc", dc, (T, B, sized.H), cells_of(kind), "(T, B, H)")
    dlast = stack._checked_state("dstate", dstate, B, kind, "d")
    shapes = {"x": (T, B, I), "b": weights.W.shape[:1]}
    for name, array in parameters.items():
        shapes[name] = array.shape
    fields = gradients_type._fields
    outputs: dict[str, Array] = {}
    gradients: dict[str, Any] = {}
    dfirst = None
    if out is not None:
        if not isinstance(out, gradients_type):
            raise TypeError(f"out must be {gradients_type.__name__}, not {type(out).__name__}")
        gradients, dfirst = stack._check_gradients(out, shapes, B)
        outputs = {f"out {name}": gradients[name] for name in fields if name in gradients}
        outputs |= {f"out {name}": array for name, array in zip(stack._first_names(), dfirst, strict=True)}
    elif accumulate:
        raise ValueError("accumulate needs out, the gradients to add to")
    else:
        for name, shape in shapes.items():
            gradients[name] = empty(shape, kind)
    if workspace is not None:
        outputs["workspace"] = check.workspace(workspace, 0, kind)
    if outputs:
        inputs = {"tape.x": kept.x, **kept.read(), **parameters, "dy": dy, "dc": dc}
        check.disjoint(outputs, {**inputs, **cell.labelled("dstate", dlast), **call.named()})

    threads, tapes = checked_num_threads(num_threads), CheckedTape(call, [kept], [weights], None)
    dy, dc = call.packed(dy, threads), call.packed(dc, threads)
    goal = Target([gradients], gradients["x"], dfirst)
    _, gradients["state"], every = run_back(stack, tapes, dy, dlast, [dc], goal, accumulate, deltas, threads, workspace)
    gradients["deltas"] = None if every is None else every[0]
    return gradients_type._make(map(gradients.get, fields))
