"""The kernels as a function that PyTorch differentiates: once by the kernels, further by its own operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import _VF, Tensor

from fastlstm.torch._kernels import kernels_for
from fastlstm.torch._stacks import Description, Kept, beyond_pytorch

_PYTORCH: dict[str, Callable[..., Any]] = {
    "LSTM": _VF.lstm, "GRU": _VF.gru, "RNN_TANH": _VF.rnn_tanh, "RNN_RELU": _VF.rnn_relu,
}  # fmt: skip


class Recurrence(torch.autograd.Function):
    """A stack over sequences: ``apply(description, batch_sizes, masks, x, h0, c0, *weights)`` gives y, h and c."""

    @staticmethod
    def forward(
        ctx: Any, own: Description, batch_sizes: Tensor | None, masks: Tensor | None, x: Tensor, h0: Tensor | None,
        c0: Tensor | None, *weights: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """Run the layers, and keep what the backward pass needs."""
        y, h, c, kept = kernels_for(x).run_forward(own, x, h0, c0, weights, masks, batch_sizes, True)
        # All that the kernels read again goes through here: hooks may store it elsewhere, and nothing else holds it.
        ctx.save_for_backward(batch_sizes, masks, x, h0, c0, *weights, *kept.tensors)
        ctx.own, ctx.calls, ctx.count = own, kept.calls, len(weights)
        ctx.set_materialize_grads(False)
        return (y, h) if c is None else (y, h, c)

    @staticmethod
    def backward(ctx: Any, *above: Tensor | None) -> tuple[Any, ...]:
        """Back-propagate through time."""
        batch_sizes, masks, x, h0, c0, *rest = ctx.saved_tensors
        weights, kept = rest[: ctx.count], Kept(rest[ctx.count :], ctx.calls)
        needed = ctx.needs_input_grad[3:]
        dy, dh, dc = (*above, None)[:3]
        if dy is None and dh is None and dc is None:
            return (None,) * (6 + len(weights))
        if torch.is_grad_enabled() or any(map(_is_batched, above)):
            found = differentiate(ctx.own, (dy, dh, dc), (x, h0, c0, *weights), needed, masks, batch_sizes)
            return None, None, None, *found
        dy, dh, dc = (None if t is None else t.contiguous().resolve_neg() for t in (dy, dh, dc))
        dx, dh0, dc0, gradients = kernels_for(x).run_backward(
            ctx.own, dy, dh, dc, x, weights, masks, batch_sizes, kept, needed[0], needed[3:]
        )
        return None, None, None, dx, dh0 if needed[1] else None, dc0 if needed[2] else None, *gradients


def _is_batched(gradient: Tensor | None) -> bool:
    """Return whether a gradient stands for several, as within vmap and with `is_grads_batched`."""
    own = torch._C._functorch
    return gradient is not None and (own.is_functorch_wrapped_tensor(gradient) or own.is_legacy_batchedtensor(gradient))


def differentiate(
    own: Description, above: Sequence[Tensor | None], inputs: Sequence[Tensor | None], needed: Sequence[bool],
    masks: Tensor | None, batch_sizes: Tensor | None,
) -> list[Tensor | None]:  # fmt: skip
    """Return gradients that can be differentiated themselves, from running the layers again by PyTorch's operations.

    `inputs` are x, h0, c0 and the weights, of which those `needed` get a gradient.
    """
    lacking = beyond_pytorch(own.options)
    if lacking:
        raise NotImplementedError(
            f"gradients of gradients, and batches of gradients, are computed by PyTorch's own LSTM, which has no "
            f"{lacking}"
        )
    with torch.enable_grad():
        # A tensor that is given twice has a gradient for each place.
        places = [None if t is None else t.view_as(t) for t in inputs]
        found = _by_pytorch(own, places, masks, batch_sizes)
        given = [(out, d) for out, d in zip(found, above, strict=False) if d is not None]
        wanted = [t for t, need in zip(places, needed, strict=True) if t is not None and need]
        outputs, gradients = zip(*given, strict=True)
        results = iter(
            torch.autograd.grad(outputs, wanted, gradients, create_graph=torch.is_grad_enabled(), allow_unused=True)
        )
    return [next(results) if t is not None and need else None for t, need in zip(places, needed, strict=True)]


def _by_pytorch(
    own: Description, inputs: Sequence[Tensor | None], masks: Tensor | None, batch_sizes: Tensor | None
) -> list[Tensor]:
    """Return y, h and c as PyTorch computes them, layer by layer, since its layers take no masks."""
    x, h0, c0, *weights = inputs
    assert x is not None
    D, n, run = own.directions, own.per_layer, _PYTORCH[own.options.mode]
    B = x.shape[1] if batch_sizes is None else int(batch_sizes[0])
    if h0 is None:
        h0, c0 = (*[x.new_zeros((cells, B, size)) for cells, size in own.state_shapes], None)[:2]
    last: list[tuple[Tensor, ...]] = []
    for layer in range(own.num_layers):
        first = [part[layer * D : (layer + 1) * D] for part in (h0, c0) if part is not None]
        state: Any = first if own.has_c else first[0]
        flat, options = weights[layer * D * n : (layer + 1) * D * n], (own.options.bias, 1, 0.0, False, D > 1)
        if batch_sizes is None:
            x, *parts = run(x, state, flat, *options, False)
        else:
            x, *parts = run(x, batch_sizes, state, flat, *options)
        last.append(tuple(parts))
        if masks is not None and layer < own.num_layers - 1:
            x = x * masks[layer]
    return [x, *(torch.cat(parts) for parts in zip(*last, strict=True))]
