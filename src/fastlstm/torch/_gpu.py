"""The kernels for GPUs on tensors: a module's passes, layer by layer, forward and back through time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastlstm._arrays.arrays import Kind
from fastlstm._arrays.libraries import library
from fastlstm._engine.batches import PackedSequence
from fastlstm._engine.call import Call, Weights
from fastlstm._engine.tapes import CellTape, GRUTape, LSTMTape, RNNTape
from fastlstm._system import devices
from fastlstm.layers.masks import Masks
from fastlstm.layers.stack import CheckedTape, Stack, Target, run, run_back
from fastlstm.torch._stacks import Description, Kept

# The parameters of a layer in one direction, or their gradients, by the names that the passes give them. What goes to
# the passes has no type: they take arrays of any library.
_Named = dict[str, Any]


def why_unavailable() -> str | None:
    """Return why no GPU can be used; None where one can."""
    return devices.why_unavailable()


class _Layer(Stack):
    """A layer of a module, in its directions, with the parameters that the tensors have now."""

    num_layers = 1
    batch_first = batch_invariant = False
    directions = 1

    def __init__(self, own: Description, kind: Kind, weights: Sequence[Tensor]) -> None:
        self._cell, self._array_kind, self.directions = own.cell, kind, own.directions
        self._tape_type = {"LSTM": LSTMTape, "GRU": GRUTape}.get(own.options.mode, RNNTape)
        self.input_size, self.hidden_size = weights[0].shape[1], own.options.hidden_size
        self._sized = own.cell.sized(
            kind, self.input_size, self.hidden_size, own.output_size, own.options.proj_size > 0
        )  # fmt: skip
        n = own.per_layer
        self._weights = [
            _as_the_passes_read(own, _named(own, weights[k : k + n])) for k in range(0, own.directions * n, n)
        ]

    def _weights_of(self, k: int, masks: Masks | None = None) -> Weights:
        return self._weights[k]

    def _masks_for(
        self, T: int, B: int, masks: Masks | None, rng: np.random.Generator | None, training: bool
    ) -> Masks | None:
        return None


def _named(own: Description, weights: Sequence[Tensor]) -> _Named:
    """Return the parameters of a layer in one direction by name, the two biases as b_W and b_R."""
    options = own.options
    names = ["W", "R", *["b_W", "b_R"] * options.bias, *["proj"] * (options.proj_size > 0)]
    names += ["p"] * options.peephole + ["norm"] * options.layer_norm
    return dict(zip(names, weights, strict=True))


def _as_the_passes_read(own: Description, given: _Named) -> Weights:
    H, p = own.options.hidden_size, given.get("p")
    if not own.options.bias:
        b = given["W"].new_zeros(len(given["W"]))
        p = given["W"].new_zeros(H) if own.options.mode == "GRU" else p
    elif own.options.mode == "GRU":  # The last H of b_R are inside r.
        b, p = torch.cat([given["b_W"][:-H] + given["b_R"][:-H], given["b_W"][-H:]]), given["b_R"][-H:]
    else:
        b = given["b_W"] + given["b_R"]
    return Weights(given["W"], given["R"], b, p, given.get("proj"), norm=given.get("norm"))


def _layers(own: Description, weights: Sequence[Tensor], x: Tensor) -> list[_Layer]:
    count, kind = own.directions * own.per_layer, library("torch").kind(x)
    return [_Layer(own, kind, weights[k : k + count]) for k in range(0, len(weights), count)]


def _as_given(x: Any, batch_sizes: Tensor | None) -> Any:
    """Return rows as the passes take them."""
    return x if batch_sizes is None else PackedSequence(x, batch_sizes.numpy(), None, None)


def _rows(y: Any) -> Any:
    """Return what the passes give as rows."""
    return y.data if isinstance(y, PackedSequence) else y


def run_forward(
    own: Description, x: Tensor, h0: Tensor | None, c0: Tensor | None, weights: Sequence[Tensor],
    masks: Tensor | None, batch_sizes: Tensor | None, keep: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Kept]:  # fmt: skip
    """Return what `_host.run_forward` does; the tape has each layer's input but the first's, and its arrays."""
    x, *weights = (t.detach() for t in (x, *weights))
    first = [part.detach() for part in (h0, c0) if part is not None]
    D, lasts = own.directions, []
    tensors: list[Any] = []
    calls: list[list[Call]] = []
    for layer, stack in enumerate(_layers(own, weights, x)):
        if layer:
            tensors.append(x)
        state = tuple([part[layer * D : (layer + 1) * D] for part in first]) or None
        if state is not None and not own.has_c:
            state = state[0]  # type: ignore[assignment]
        y, last, tape = run(stack, _as_given(x, batch_sizes), state, tape=keep)
        x = _rows(y)
        if masks is not None and layer < own.num_layers - 1:
            x = x * masks[layer]
        lasts.append(last if own.has_c else (last,))
        if keep:
            calls.append([kept.call for kept in tape.layers])
            for kept in tape.layers:
                tensors += kept._NAMED(kept)
    h, *c = [torch.cat(parts) for parts in zip(*lasts, strict=True)]
    return x, h, c[0] if c else None, Kept(tensors if keep else [], calls)


def run_backward(
    own: Description, dy: Any, dh: Tensor | None, dc: Tensor | None, x: Tensor, weights: Sequence[Tensor],
    masks: Tensor | None, batch_sizes: Tensor | None, kept: Kept, to_x: bool, to_weights: Sequence[bool],
) -> tuple[Tensor | None, Tensor, Tensor | None, list[Tensor | None]]:  # fmt: skip
    """Return the gradients of x, unless it needs none, of h0, of c0 and of the weights, None where none is needed."""
    # Hooks of autograd's may have changed the strides of what was saved.
    x, *weights = (t.detach().contiguous() for t in (x, *weights))
    tape: list[Any] = [None if t is None else t.contiguous() for t in kept.tensors]
    D, n, size = own.directions, own.per_layer, len(own.cell.tape)
    per_layer = D * size + 1  # with the layer's input, but for the first
    firsts: list[Any] = []
    gradients: list[Tensor | None] = []
    above: Any = dy
    stacks = _layers(own, weights, x)
    for layer in range(own.num_layers - 1, -1, -1):
        stack, at = stacks[layer], layer * per_layer
        below: Any = tape[at - 1] if layer else x
        tapes: list[CellTape] = [
            stack._tape_type._of_arrays(below, tape[at + k * size : at + (k + 1) * size], kept.calls[layer][k])
            for k in range(D)
        ]
        own_weights = weights[layer * D * n : (layer + 1) * D * n]
        needed = to_weights[layer * D * n : (layer + 1) * D * n]
        named = [_named(own, own_weights[k * n : (k + 1) * n]) for k in range(D)] if any(needed) else []
        targets = [_targets(own, given) for given in named]
        last = tuple(
            None if part is None else part[layer * D : (layer + 1) * D] for part in ((dh, dc) if own.has_c else (dh,))
        )
        call = kept.calls[layer][0]
        checked = CheckedTape(call, tapes, stack._weights, None)
        dx: Any = torch.empty_like(below) if layer or to_x else None
        found, first, _ = run_back(
            stack, checked, above, last, [None] * D, Target(targets or None, dx), False, False, 1
        )
        above = None if dx is None else _rows(found)
        if masks is not None and layer:
            above = above * masks[layer - 1]
        firsts.insert(0, first if own.has_c else (first,))
        results: list[Tensor | None] = []
        for target in targets:
            results += _as_the_module_has(own, target)
        gradients = [*(results or [None] * (D * n)), *gradients]
    dh0, *dc0 = [torch.cat(parts) for parts in zip(*firsts, strict=True)]
    wanted = [g if need else None for g, need in zip(gradients, to_weights, strict=True)]
    return above, dh0, dc0[0] if dc0 else None, wanted


def _targets(own: Description, given: _Named) -> _Named:
    """Return new tensors for the gradients of a layer's parameters in one direction, as the passes write them."""
    found: _Named = {name: torch.empty_like(given[name]) for name in ("W", "R", "proj", "p", "norm") if name in given}
    found["b"] = given["W"].new_empty(len(given["W"]))
    if own.options.mode == "GRU":
        found["bn"] = given["W"].new_empty(own.options.hidden_size)
    return found


def _as_the_module_has(own: Description, found: _Named) -> list[Tensor | None]:
    """Return these gradients in the order of the module's parameters; its two biases are added."""
    H, options = own.options.hidden_size, own.options
    of_R = found["b"].clone()
    if options.mode == "GRU":
        of_R[-H:] = found["bn"]
    biases = [found["b"], of_R] if options.bias else []
    return [found["W"], found["R"], *biases, *[found[name] for name in ("proj", "p", "norm") if name in found]]
