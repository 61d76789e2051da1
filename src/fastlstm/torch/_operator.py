"""The kernels as an operator in PyTorch's library, for graphs: `torch.compile`, `torch.export`, fake tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastlstm.torch._host import check, run_backward, run_forward
from fastlstm.torch._stacks import Kept, describe

_DESCRIPTION = (
    "str mode, int input_size, int hidden_size, int num_layers, bool bias, bool bidirectional, int proj_size, "
    "str variant, bool peephole, bool layer_norm"
)
_INPUTS = "Tensor x, Tensor h0, Tensor? c0, Tensor[] weights, Tensor? masks, Tensor? batch_sizes"

torch.library.define(
    "fastlstm::recurrence", f"({_INPUTS}, bool keep, {_DESCRIPTION}) -> (Tensor y, Tensor h, Tensor c, Tensor tape)"
)
torch.library.define(
    "fastlstm::recurrence_backward",
    f"(Tensor dy, Tensor dh, Tensor dc, {_INPUTS}, Tensor tape, {_DESCRIPTION}) -> Tensor[]",
)


def _contiguous(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [t.contiguous() for t in tensors]


def _optional(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _forward(
    x: Tensor, h0: Tensor, c0: Tensor | None, weights: Sequence[Tensor], masks: Tensor | None,
    batch_sizes: Tensor | None, keep: bool, *description: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    if batch_sizes is None and not len(x):
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")  # as PyTorch says it
    own = describe(*description)
    if own.has_c is (c0 is None):
        raise RuntimeError(f"c0 must be given for an LSTM alone, not for mode={own.options.mode!r}")
    check(own, x, (h0, c0), weights, masks, batch_sizes)
    y, h, c, kept = run_forward(
        own, x.contiguous(), h0.contiguous(), _optional(c0), _contiguous(weights),
        _optional(masks), batch_sizes, keep,
    )  # fmt: skip
    return y, h, x.new_empty(0) if c is None else c, kept.tensors[0] if kept else x.new_empty(0)


def _fake_forward(
    x: Tensor, h0: Tensor, c0: Tensor | None, weights: Sequence[Tensor], masks: Tensor | None,
    batch_sizes: Tensor | None, keep: bool, *description: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    own = describe(*description)
    B, rows = h0.shape[1], x.shape[0] if batch_sizes is not None else x.shape[0] * x.shape[1]
    y = x.new_empty((*x.shape[:-1], own.outputs))
    tape = x.new_empty(own.stack(x.dtype).tape_size(rows, B) if keep else 0)
    return y, h0.new_empty(h0.shape), x.new_empty(0) if c0 is None else c0.new_empty(c0.shape), tape


def _backward(
    dy: Tensor, dh: Tensor, dc: Tensor, x: Tensor, h0: Tensor, c0: Tensor | None, weights: Sequence[Tensor],
    masks: Tensor | None, batch_sizes: Tensor | None, tape: Tensor, *description: Any,
) -> list[Tensor]:  # fmt: skip
    dx, dh0, dc0, gradients = run_backward(
        describe(*description), dy.contiguous(), dh.contiguous(), None if c0 is None else dc.contiguous(),
        x.contiguous(), _contiguous(weights), _optional(masks), batch_sizes, Kept([tape]), True, [True] * len(weights),
    )  # fmt: skip
    return [t for t in (dx, dh0, dc0, *gradients) if t is not None]


def _fake_backward(
    dy: Tensor, dh: Tensor, dc: Tensor, x: Tensor, h0: Tensor, c0: Tensor | None, weights: Sequence[Tensor],
    masks: Tensor | None, batch_sizes: Tensor | None, tape: Tensor, *description: Any,
) -> list[Tensor]:  # fmt: skip
    return [t.new_empty(t.shape) for t in (x, h0, c0, *weights) if t is not None]


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, h0, c0, weights, masks, batch_sizes, keep, *description = inputs
    ctx.save_for_backward(x, h0, c0, masks, batch_sizes, output[3], *weights)
    ctx.description, ctx.kept = description, keep


def _differentiate(ctx: Any, dy: Tensor, dh: Tensor, dc: Tensor, _: Tensor) -> tuple[Any, ...]:
    x, h0, c0, masks, batch_sizes, tape, *weights = ctx.saved_tensors
    if not ctx.kept:
        raise RuntimeError("fastlstm::recurrence was run without a tape, and cannot be differentiated")
    found = torch.ops.fastlstm.recurrence_backward(
        dy, dh, dc, x, h0, c0, weights, masks, batch_sizes, tape, *ctx.description
    )
    first = 2 + (c0 is not None)
    dx, dh0, *rest = found
    return dx, dh0, rest[0] if c0 is not None else None, found[first:], *(None,) * (3 + len(ctx.description))


def _refuse(ctx: Any, *_: Any) -> None:
    raise NotImplementedError(
        "gradients of gradients are not part of a compiled graph: call the module without torch.compile for them"
    )


torch.library.impl("fastlstm::recurrence", "CPU", _forward)
torch.library.impl("fastlstm::recurrence_backward", "CPU", _backward)
torch.library.register_fake("fastlstm::recurrence", _fake_forward)
torch.library.register_fake("fastlstm::recurrence_backward", _fake_backward)
torch.library.register_autograd("fastlstm::recurrence", _differentiate, setup_context=_keep_for_backward)
torch.library.register_autograd("fastlstm::recurrence_backward", _refuse)
