"""The backward pass of recurrent layers: what a tape must hold, and where gradients go."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, Kind, cells_of, empty
from fastlstm._arrays.libraries import DeviceKind
from fastlstm._engine.batches import PackedSequence, as_packed
from fastlstm._engine.call import Call
from fastlstm._engine.tapes import CellTape, known_call
from fastlstm._engine.threads import checked_num_threads
from fastlstm.layers.parameters import Gradients
from fastlstm.layers.stack import CheckedTape, Tape, Target, run_back
from fastlstm.layers.weights import Weighted


class Backpropagating(Weighted):
    """The part of a layer that checks tapes and back-propagates."""

    def _run_back(
        self, tape: object, dy: Any, dstate: Any, dc: Any, *, deltas: bool, out: Gradients | None, accumulate: bool,
        num_threads: int | None, to_x: bool = True,
    ) -> Gradients:  # fmt: skip
        """Check what a backward pass is given, and run it; dJ/dx is None unless `to_x`."""
        checked, dy, deltas = self._check_tape(tape), as_packed("dy", dy), check.flag("deltas", deltas)
        call, masks, kind, B = checked.call, checked.masks, self._array_kind, checked.call.batch.B
        dlast = self._checked_state("dstate", dstate, B, kind, "d")
        grads, threads = self._gradients(out, accumulate), checked_num_threads(num_threads)
        above, columns = None, self.directions * self.output_size
        if dy is not None:
            above = call.open_gradient(dy, columns, self.batch_first, threads)
        dcs = self._cell_gradients(call, dc, threads)
        opens_rows = call.opens_rows(self.batch_first)
        shape = call.caller_shape(self.input_size, self.batch_first) if opens_rows else call.shape(self.input_size)
        dx = self._like_x(out, shape, kind) if to_x else None
        if out is not None:
            outputs = {"out.flat": grads.flat} if dx is None else {"out x": dx, "out.flat": grads.flat}
            inputs: dict[str, Array | None] = {"dy": above, **{f"dc[{k}]": array for k, array in enumerate(dcs)}}
            inputs |= self._cell.labelled("dstate", dlast) | {"the layer's flat": self.flat}
            inputs |= {} if masks is None else masks.named()
            for kept in checked.layers:  # Each name stands for all layers.
                assert kept.call is not None
                own = {"tape.x": kept.x, **kept.read(), **kept.call.named()}
                check.disjoint(outputs, inputs | own)
            if dx is not None and isinstance(dy, np.ndarray) and np.may_share_memory(dx, dy):
                raise ValueError("out x must not overlap dy")  # It is not contiguous, so that `above` is a copy.
        parts = None
        if self._trainable:
            parts = [{name: grads.params[full] for name, full in names} for names in self._parameter_names]
        grads.x, grads.state, grads.deltas = run_back(
            self, checked, above, dlast, dcs, Target(parts, dx), bool(accumulate), deltas, threads
        )
        return grads

    def _back(
        self, tape: Any, dy: Any, dstates: tuple[Any, ...], out: Gradients | None, accumulate: bool, to_x: bool
    ) -> Gradients:
        if to_x or not self._has_our_backward():
            return super()._back(tape, dy, dstates, out, accumulate, to_x)
        dstate = dstates[0] if dstates else None
        return self._run_back(
            tape, dy, dstate, None, deltas=False, out=out, accumulate=accumulate, num_threads=None, to_x=False
        )

    def _cell_gradients(self, call: Call, dc: Any, threads: int) -> list[Array | None]:
        """Return the gradients arriving at every c^t as the kernels read them, for each layer and direction."""
        cells, shape = self.num_layers * self.directions, (call.batch.T, call.batch.B, self.hidden_size)
        if dc is None:
            return [None] * cells
        if not isinstance(dc, (list, tuple)):
            raise TypeError(
                f"dc must be a list of an array or None for each layer and direction, not {type(dc).__name__}"
            )
        if len(dc) != cells:
            raise ValueError(
                f"dc must have {check.counted(cells, 'item')}, one for each layer and direction, not {len(dc)}"
            )
        return [
            call.packed(check.optional(f"dc[{k}]", above, shape, cells_of(self._array_kind), "(T, B, H)"), threads)
            for k, above in enumerate(dc)
        ]

    @staticmethod
    def _to_fill(tape: Tape | None) -> Tape | Literal[True]:
        """Return a tape to fill, or True for a new one."""
        if tape is None:
            return True
        if not isinstance(tape, Tape):
            raise TypeError(f"tape must be a Tape of an earlier call or None, not {type(tape).__name__}")
        return tape

    def _tapes_of(self, tape: Tape) -> list[CellTape]:
        """Return the tapes of all layers and directions, of cells like those of this network."""
        if not isinstance(tape.layers, (list, tuple)):
            raise TypeError(f"tape.layers must be a list, not {type(tape.layers).__name__}")
        layers = list(tape.layers)
        if any(not isinstance(kept, self._tape_type) for kept in layers):
            raise ValueError(f"tape must be from a layer like this one, {self!r}, with {self._tape_type.__name__}s")
        return layers

    def _tapes_to_fill(self, tape: Tape) -> list[CellTape]:
        """Return the tapes of all layers and directions that a caller gives to be filled again."""
        given, count = self._tapes_of(tape), self.num_layers * self.directions
        if len(given) != count:
            expected = "1 layer and direction" if count == 1 else f"{count} layers and directions"
            raise ValueError(f"tape must be of {expected}, not of {len(given)}")
        return given

    def _check_tape(self, tape: object) -> CheckedTape:
        """Return what a tape holds now, once it is known that all of it goes together, and with this layer."""
        if not isinstance(tape, Tape):
            raise TypeError(f"tape must be a Tape from forward, not {type(tape).__name__}")
        call, masks, kind, cell, D = tape.call, tape.masks, self._array_kind, self._cell, self.directions
        if not isinstance(call, Call):
            raise TypeError(f"tape.call must be that of a forward pass, not {type(call).__name__}")
        call.check_rows()
        if call.kind != kind:
            raise TypeError(f"tape.call must be of arrays as this layer's are, {kind}, not {call.kind}")
        given = self._tapes_of(tape)
        if len(given) != self.num_layers * D:
            raise ValueError(f"tape must be from a layer like this one, {self!r}")
        if masks is not None:
            masks = self._check_masks(masks, call.batch.T, call.batch.B, kind, "tape.masks")
        layers, all_weights = [], []
        for k, kept in enumerate(given):
            own, weights = known_call(kept.call, cell), self._weights_of(k, masks)
            if own.cell is not cell and own.cell != cell:
                raise ValueError(f"tape must be from a layer like this one, {self!r}")
            if own.reverse != (k % D > 0) or not (own is call or (own.kind == kind and own.same_rows(call))):
                raise ValueError(f"tape.layers[{k}] must be of the same forward pass as the tape, in its own direction")
            layers.append(kept.checked(own, weights, self._sized))
            all_weights.append(weights)
        return CheckedTape(call, layers, all_weights, masks)

    def _like_x(self, out: Gradients | None, shape: tuple[int, ...], kind: Kind) -> Array:
        """Return where to write dJ/dx: that of `out` where it has this layout."""
        before = getattr(out, "x", None)
        if isinstance(before, PackedSequence):
            before = before.data
        if isinstance(kind, DeviceKind):
            own = kind.library
            if before is not None and own.owns(before) and own.kind(before) == kind and own.is_contiguous(before):
                return before if before.shape == shape else empty(shape, kind)
            return empty(shape, kind)
        if isinstance(before, np.ndarray) and before.shape == shape and before.dtype == self.dtype:
            flags = before.flags
            if flags.c_contiguous and flags.aligned and flags.writeable:
                return before
        return empty(shape, kind)
