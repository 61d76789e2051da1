"""One time step of layers, with the weights as they are, or as passes of one step where something lies between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, empty, empty_like, kind_of, on_device, zeros_like
from fastlstm._arrays.buffers import copy_all
from fastlstm._arrays.libraries import DeviceKind
from fastlstm._cells import State
from fastlstm._engine import passes, threads
from fastlstm._engine.batches import batch_of
from fastlstm._engine.call import Call, Weights, device_of
from fastlstm._engine.held import MANY_ROWS, HeldWeights, run_held
from fastlstm._engine.options import options_of
from fastlstm.layers.memory import WORTH_KEEPING
from fastlstm.layers.stack import Stack

__all__ = ["MANY_ROWS", "FixedStep", "Stepping"]


class Stepping(Stack):
    """The part of a layer that runs single steps."""

    dtype: np.dtype[Any]
    proj_size: int
    zoneout: tuple[float, float]
    bidirectional: bool
    _weights: list[Weights]
    # Whether nothing lies between two steps, so that calls without options need no passes made for them; and whether
    # each layer's step runs alone.
    _is_held: bool
    _one_by_one: bool
    # The function that runs a step, chosen once; and the single layer that it runs directly, else None.
    _step: Callable[[Any, Any, Any, Any, int | None], tuple[Any, Any]]
    _direct: Any

    def _bind_steps(self) -> None:
        """Keep references to the weights, which steps read as they are unless something lies between two steps."""
        weights, on_device = self._weights, isinstance(self._array_kind, DeviceKind)
        self._is_held = not (any(self.zoneout) or self._cell.has_own_layout or on_device)
        self._between = threading.local()
        is_invariant = self.batch_invariant and weights[0].packed is None
        self._one_by_one = self._is_held and not self.proj_size and not is_invariant
        self._steps = [] if on_device else [HeldWeights(self._cell.kernel, one) for one in weights]
        is_direct = self._one_by_one and not self.bidirectional and self.num_layers == 1
        self._direct = self._steps[0] if is_direct else None
        self._step = checked_step if not is_direct else direct_step if len(self._cell.state) == 1 else direct_pair_step

    def check_steps(self) -> None:
        """Raise ValueError unless the layers can run one step at a time."""
        if self.bidirectional:
            raise ValueError("step needs layers in one direction: the other would have to begin at the last step")

    def _run_held(self, x: Any, state: Any, num_threads: int | None) -> tuple[Any, Any] | None:
        """Run a call without options; None where `run` must, or must say what is wrong."""
        if not self._is_held:
            return None
        number = threads.current.number if num_threads is None else threads.checked_num_threads(num_threads)
        if self.batch_first and type(x) is np.ndarray and x.ndim == 3:
            x = x.swapaxes(0, 1)
        found = run_held(self._steps, self.directions, x, state, self.batch_invariant, self, number)
        if found is None or not self.batch_first:
            return found
        return np.ascontiguousarray(found[0].swapaxes(0, 1)), found[1]

    def zero_state(self, B: int) -> State:
        """Return new arrays for each part of the state, in the order of the cell's table."""
        return self._first_state(None, check.count("B", B), self._array_kind)

    def _spaces_between(self, B: int) -> list[Array]:
        """Return two arrays for the outputs between layers, kept for each thread and B where they are small."""
        if getattr(self._between, "B", None) == B:
            kept: list[Array] = self._between.spaces
            return kept
        spaces = [np.empty((B, self.output_size), self.dtype) for _ in range(2)]
        if spaces[0].nbytes < WORTH_KEEPING:
            self._between.B, self._between.spaces = B, spaces
        return spaces


def direct_pair_step(layers: Stepping, x_t: Any, state: Any, out: Any, num_threads: int | None) -> tuple[Any, Any]:
    """Run a step of a single layer whose state is (h, c); return `out`, y and the state after the step."""
    number = threads.current.number if num_threads is None else threads.checked_num_threads(num_threads)
    try:
        h, c = state
        if out is None:
            shape, dtype = h.shape, layers.dtype
            out = np.empty(shape[1:], dtype), (np.empty(shape, dtype), np.empty(shape, dtype))
        y, (h_out, c_out) = out
    except (AttributeError, TypeError, ValueError):
        pass  # The checks below say what is wrong.
    else:
        if layers._direct.step(x_t, h, c, y, h_out, c_out, number):
            return out  # type: ignore[no-any-return]
    # Else the checks say why not, or copy what is not contiguous.
    return checked_step(layers, x_t, state, out, number)


def direct_step(layers: Stepping, x_t: Any, state: Any, out: Any, num_threads: int | None) -> tuple[Any, Any]:
    """Run a step of a single layer whose state is h; return `out`, y and the state after the step."""
    number = threads.current.number if num_threads is None else threads.checked_num_threads(num_threads)
    try:
        if out is None:
            shape, dtype = state.shape, layers.dtype
            out = np.empty(shape[1:], dtype), np.empty(shape, dtype)
        y, h_out = out
    except (AttributeError, TypeError, ValueError):
        pass  # The checks below say what is wrong.
    else:
        if layers._direct.step(x_t, state, None, y, h_out, None, number):
            return out  # type: ignore[no-any-return]
    # Else the checks say why not, or copy what is not contiguous.
    return checked_step(layers, x_t, state, out, number)


def checked_step(layers: Stepping, x_t: Any, state: Any, out: Any, num_threads: int | None) -> tuple[Array, Any]:
    """Run a step of any layers, once its arguments are checked; return y and the state after the step."""
    number = threads.checked_num_threads(num_threads)
    layers.check_steps()
    cell, kind, P = layers._cell, layers._kind_for(x_t), layers.output_size
    B = check.sized("x_t", x_t, 2, "(B, I)", kind).shape[0]
    x = check.matching("x_t", x_t, (B, layers.input_size), kind, "(B, I)")
    first = layers._first_state(state, B, kind)
    if out is None:
        y, last = empty((B, P), kind), tuple(map(empty_like, first))
    else:
        lead_axes = "1, B" if layers.num_layers == 1 else "layers, B"
        y, last = layers._checked_out(out, (B, P), "(B, H)", kind, lead_axes)
        states = cell.labelled("state", first)
        outputs = dict(zip([f"out {part.name}" for part in cell.state], last, strict=True))
        check.disjoint({"out y": y} | outputs, {"x_t": x} | states, dict(zip(outputs, states, strict=True)))
    if layers._one_by_one:
        h, c, h_out, c_out = first[0], first[1] if cell.has_c else None, last[0], last[1] if cell.has_c else None
        between = layers._spaces_between(B)
        for k, one in enumerate(layers._steps):
            above = y if k == layers.num_layers - 1 else between[k % 2]
            own = slice(k, k + 1)
            done = one.step(
                x, h[own], None if c is None else c[own], above, h_out[own], None if c_out is None else c_out[own],
                number,
            )  # fmt: skip
            assert done  # All arrays are checked.
            x = above
        return y, cell.public(last)
    sequence = x[:, None] if layers.batch_first else x[None]
    call: Any = layers  # A subclass may override a call too.
    result, state_after = call(sequence, cell.public(first), num_threads=number)
    y[:] = result[:, 0] if layers.batch_first else result[0]
    for to, part in zip(last, state_after if len(last) > 1 else (state_after,), strict=True):
        to[:] = part
    return y, cell.public(last)


class FixedStep:
    """A step in memory that is allocated once: a pass of one step for each layer, as a call of one step would be."""

    def __init__(self, layers: Any, B: int) -> None:
        cell, kind, lead, sized = layers._cell, layers._array_kind, layers._lead(B), layers._sized
        self._layers, self._B = layers, B
        self._first, self._last = (tuple(map(zeros_like, cell.empty_kernel_state(lead, sized))) for _ in range(2))
        # The state after the step in the caller's layout.
        self._after = layers.zero_state(B) if cell.has_own_layout else self._last
        self._x = empty((1, B, layers.input_size), kind)
        self._bind()

    def _bind(self) -> None:
        """Make the passes, which hold the weights where they are now."""
        layers, B = self._layers, self._B
        cell, kind, H, P = layers._cell, layers._array_kind, layers.hidden_size, layers.output_size
        self._held, self._weights = layers._weights, [layers._weights_of(k) for k in range(layers.num_layers)]
        self._passes, below = [], self._x
        for k, weights in enumerate(self._weights):
            zoneout = None
            if any(layers.zoneout):
                share_y, share_c = layers._expected_masks(1, B).zoneout[k]
                zoneout = on_device(share_y, kind), on_device(share_c, kind)
            options = options_of(1, B, P, H, kind, None, False, None, "initial", None, zoneout)
            call = Call(cell, batch_of(1, B, None, layers.batch_invariant), kind, options=options)
            forward, y = passes.forward_pass(call, weights, False, False, None, device_of(kind)), empty((1, B, P), kind)
            first, last = layers._part(self._first, k), layers._part(self._last, k)
            passes.start_forward(forward, None, below, first, y, 0, last, empty((forward.workspace(),), kind))
            self._passes.append(forward)
            below = y
        self._y = below

    def run(self, x: Array, state: State, y: Array, num_threads: int) -> None:
        """Advance a state by a step; its outputs go to `y`."""
        layers, kind = self._layers, self._layers._array_kind
        cell: Any = layers._cell
        self._x[0] = check.matching("x_t", x, tuple(self._x.shape[1:]), kind, "(B, I)")
        for (name, _, own, _), array, after in zip(layers._sized.state, state, self._after, strict=True):
            shape = tuple(after.shape)
            check.output(f"state {name}", array, shape, own, str(shape))
        if self._held is not layers._weights:  # The parameters have moved to a network's buffer.
            self._bind()
        if cell.has_own_layout:
            self._refresh()
        cell.copy_to_kernels(state, self._first)
        device = device_of(kind)
        for forward in self._passes:
            passes.run_forward([forward], num_threads, device)
        y[:] = self._y[0]
        self._hand_back(state)

    def _refresh(self) -> None:
        """Bring copies of weights in the kernels' layout up to date."""
        params, cell = self._layers.params, self._layers._cell
        for suffix, weights in zip(self._layers._names(), self._weights, strict=True):
            if "R" + suffix in params:
                cell.refresh_kernel_R(weights.R, params["R" + suffix], params.get("G" + suffix))

    def _hand_back(self, state: State) -> None:
        """Write the state after the step, all of it at once: an interrupt comes before that or after it."""
        self._layers._cell.copy_from_kernels(self._last, self._after)
        if isinstance(kind_of(state[0]), DeviceKind):
            for array, part in zip(state, self._after, strict=True):
                array[...] = part
        else:
            copy_all(state, self._after)
