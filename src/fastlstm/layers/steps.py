"""One time step of layers, again and again, in memory that is allocated once."""

from __future__ import annotations

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, cells_of, empty, kind_of, on_device, zeros_like
from fastlstm._arrays.libraries import DeviceKind
from fastlstm._engine import call as _core
from fastlstm._engine import forward as _forward
from fastlstm._engine.batches import batch_of, options_of
from fastlstm._engine.call import Call, States
from fastlstm._system import runtime
from fastlstm.layers.stack import Layer, of_cell


class FixedStep:
    """A pass of a single step for each layer, where something lies between two steps, as zoneout or a projection."""

    def __init__(self, layers: Layer, B: int) -> None:
        cell, kind, H, P = layers._kind, layers._array_kind, layers.hidden_size, layers.output_size
        lead = layers.num_layers, B
        self._layers, self._B = layers, B
        self._first, self._last = (
            _core.each(zeros_like, _core.kernel_states(cell, lead, P, H, kind)) for _ in range(2)
        )
        self._shapes = [tuple(array.shape) for array in layers.zero_state(B)]
        self._gates = empty(self._shapes[2], kind) if cell.full_recurrence else None
        self._x = empty((1, B, layers.input_size), kind)
        self._bind()

    def _bind(self) -> None:
        """Make the passes, which hold the weights where they are now."""
        layers, B = self._layers, self._B
        cell, kind, H, P = layers._kind, layers._array_kind, layers.hidden_size, layers.output_size
        cells = range(layers.num_layers)
        self._held, self._weights = layers._weights, [layers._wide(k) for k in cells]
        self._passes, below = [], self._x
        for k in cells:
            zoneout = None
            if any(layers.zoneout):
                share_y, share_c = layers._expected_masks(1, B).zoneout[k]
                zoneout = on_device(share_y, kind), on_device(share_c, kind)
            options = options_of(1, B, P, H, kind, None, False, None, "initial", None, zoneout)
            call = Call(cell, batch_of(1, B, None, layers.batch_invariant), kind, options=options)
            one, y = _core.forward_pass(call, self._weights[k], False), empty((1, B, P), kind)
            first, last = of_cell(self._first, k), of_cell(self._last, k)
            one.start(below, first, y, 0, last, None, None, empty((one.workspace(),), kind))
            self._passes.append(one)
            below = y
        self._y = below

    def run(self, x: Array, state: tuple[Array, ...], y: Array, num_threads: int) -> None:
        """Advance `state`, (h, c, g) as far as the cell has them, by a step; its outputs go to `y`."""
        kind = self._layers._array_kind
        self._x[0] = check.matching("x_t", x, tuple(self._x.shape[1:]), kind, "(B, I)")
        for name, array, expected in zip("hcg", state, self._shapes, strict=False):
            check.output(f"state {name}", array, expected, cells_of(kind) if name == "c" else kind, str(expected))
        if self._held is not self._layers._weights:  # the parameters have moved to a network's buffer
            self._bind()
        self._refresh()
        self._copy(state, self._first)
        device = _core.device_of(kind)
        for one in self._passes:
            _forward.run_passes([one], num_threads, device)
        y[:] = self._y[0]
        self._hand_back(state)

    def _refresh(self) -> None:
        """Full gate recurrence has a copy of its weights in the kernels' order."""
        params, P = self._layers.params, self._layers.output_size
        for suffix, weights in zip(self._layers._names(), self._weights, strict=True):
            if "G" + suffix in params:
                weights.R[:, :P] = params["R" + suffix]
                _core.write_gate_recurrence(params["G" + suffix], weights.R[:, P:])

    @staticmethod
    def _copy(state: tuple[Array, ...], own: States) -> None:
        *given, g = (*state, None, None)[:3]
        for array, part in zip(given, own, strict=False):
            if array is not None and part is not None:
                part[...] = array
        if g is not None and own[2] is not None:
            for array, part in _core.gate_views(g, own[2]):
                part[...] = array

    def _hand_back(self, state: tuple[Array, ...]) -> None:
        """Write the state after the step, all of it at once: an interrupt comes before that or after it."""
        after = tuple(array for array in self._last[:2] if array is not None)
        if self._gates is not None:
            assert self._last[2] is not None
            for array, part in _core.gate_views(self._gates, self._last[2]):
                array[...] = part
            after = *after, self._gates
        if isinstance(kind_of(state[0]), DeviceKind):
            for array, part in zip(state, after, strict=True):
                array[...] = part
        else:
            runtime.copy_all(state, after)
