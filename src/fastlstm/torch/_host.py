"""The kernels for the host on tensors: a module's passes, forward and back through time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fastlstm._system.runtime import MAX_THREADS
from fastlstm.torch._stacks import BYTES, Description, Kept

# The bytes from which NumPy asks for huge pages.
LARGE = 1 << 22


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _threads() -> int:
    """Return how many threads PyTorch uses: the kernels do not run beside its own, but in turns with them."""
    return min(torch.get_num_threads(), MAX_THREADS)


def _sizes(x: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
    """Return T, B and the number of rows."""
    if batch_sizes is None:
        T, B, _ = x.shape
        return T, B, T * B
    return len(batch_sizes), int(batch_sizes[0]), len(x)


def _state(
    own: Description, x: Tensor, B: int, h: Tensor | None = None, c: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return new tensors for a state; like another one, that is done sooner."""
    h = x.new_empty((own.cells, B, own.output_size)) if h is None else torch.empty_like(h)
    if own.has_c:
        c = x.new_empty((own.cells, B, own.options.hidden_size)) if c is None else torch.empty_like(c)
    return h, c


def _tape(x: Tensor, size: int) -> Tensor:
    """Return a new tensor of as many values, of the kind of x.

    A large one is in NumPy's memory: in huge pages, where the system has them, which it clears in less time.
    """
    if size * x.itemsize < LARGE:
        return x.new_empty(size)
    return torch.from_numpy(np.empty(size, f"f{x.itemsize}"))


def check(
    own: Description, x: Tensor, state: Sequence[Tensor | None], weights: Sequence[Tensor], masks: Tensor | None,
    batch_sizes: Tensor | None, tape: Tensor | None = None, above: Sequence[Tensor | None] = (),
) -> None:  # fmt: skip
    """Raise unless tensors are of the kind and the shapes that the kernels take, which see addresses alone.

    `above` has the gradients of y, h and c.
    """
    if x.dtype not in BYTES or not x.is_cpu or x.ndim != (3 if batch_sizes is None else 2):
        raise RuntimeError(f"x must be in float32 or float64 on the CPU, (T, B, I) or packed, not {_described(x)}")
    if batch_sizes is not None and (
        batch_sizes.dtype is not torch.int64 or not batch_sizes.is_cpu or batch_sizes.ndim != 1 or not len(batch_sizes)
    ):
        raise RuntimeError(f"batch_sizes must be a row of int64 on the CPU, not {_described(batch_sizes)}")
    _, B, rows = _sizes(x, batch_sizes)
    lead = x.shape[:-1]
    states = [(cells, B, size) for cells, size in own.state_shapes]
    y = (*lead, own.outputs)
    if len(weights) != len(own.weight_shapes):
        raise RuntimeError(f"there must be {len(own.weight_shapes)} weights, not {len(weights)}")
    expected = [("x", x, (*lead, own.input_size)), ("masks", masks, (own.num_layers - 1, *y))]
    expected += [(f"weight {k}", w, shape) for k, (w, shape) in enumerate(zip(weights, own.weight_shapes, strict=True))]
    expected += zip(("h0", "c0"), state, states, strict=False)
    expected += zip(("dy", "dh", "dc"), above, (y, *states), strict=False)
    if tape is not None:
        expected.append(("tape", tape, (own.stack(x.dtype).tape_size(rows, B),)))
    for name, tensor, shape in expected:
        if tensor is not None and (tensor.dtype is not x.dtype or not tensor.is_cpu or tensor.shape != shape):
            raise RuntimeError(f"{name} must be {list(shape)} in {x.dtype} on the CPU, not {_described(tensor)}")


def _described(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} in {tensor.dtype} on {tensor.device}"


def run_forward(
    own: Description, x: Tensor, h0: Tensor | None, c0: Tensor | None, weights: Sequence[Tensor],
    masks: Tensor | None, batch_sizes: Tensor | None, keep: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Kept | None]:  # fmt: skip
    """Return y, the last state, whose c is None but for an LSTM, and with `keep` the tape, a single tensor.

    x is (T, B, I), or (rows, I) with batch sizes; without an initial state it is zeros. All tensors are contiguous.
    """
    stack = own.stack(x.dtype)
    batch_sizes = None if batch_sizes is None else batch_sizes.contiguous()
    T, B, rows = _sizes(x, batch_sizes)
    y = x.new_empty((*x.shape[:-1], own.outputs))
    h, c = _state(own, x, B, h0, c0)
    kept = Kept([_tape(x, stack.tape_size(rows, B))]) if keep else None
    stack.forward(
        T, B, rows, _address(batch_sizes), x.data_ptr(), _address(h0), _address(c0), [w.data_ptr() for w in weights],
        _address(masks), y.data_ptr(), h.data_ptr(), _address(c), kept.tensors[0].data_ptr() if kept else 0, _threads(),
    )  # fmt: skip
    return y, h, c, kept


def run_backward(
    own: Description, dy: Tensor | None, dh: Tensor | None, dc: Tensor | None, x: Tensor, weights: Sequence[Tensor],
    masks: Tensor | None, batch_sizes: Tensor | None, kept: Kept, to_x: bool, to_weights: Sequence[bool],
) -> tuple[Tensor | None, Tensor, Tensor | None, list[Tensor | None]]:  # fmt: skip
    """Return the gradients of x, unless it needs none, of h0, of c0 and of the weights, None where none is needed."""
    tape = kept.tensors[0]
    try:
        check(own, x, (), weights, masks, batch_sizes, tape, (dy, dh, dc))
    except RuntimeError as error:
        words = "saved tensors must come back as they were, if hooks of autograd's keep them"
        raise RuntimeError(f"{words}: {error}") from None
    x, tape, *weights = (t.contiguous() for t in (x, tape, *weights))
    masks, batch_sizes = (None if t is None else t.contiguous() for t in (masks, batch_sizes))
    T, B, rows = _sizes(x, batch_sizes)
    n = own.per_layer
    dx = torch.empty_like(x) if to_x else None
    dh0, dc0 = _state(own, x, B)
    gradients: list[Tensor | None] = []
    for k in range(0, len(weights), n):
        needed = any(to_weights[k : k + n])
        gradients += [torch.empty_like(w) if needed else None for w in weights[k : k + n]]
    if not rows:  # A batch of none has an empty tape, and that no address.
        return dx, dh0, dc0, [torch.zeros_like(w) if to else None for w, to in zip(weights, to_weights, strict=True)]
    own.stack(x.dtype).backward(
        T, B, rows, _address(batch_sizes), x.data_ptr(), [w.data_ptr() for w in weights], _address(masks),
        tape.data_ptr(), _address(dy), _address(dh), _address(dc), _address(dx), dh0.data_ptr(),
        _address(dc0), [_address(g) for g in gradients], _threads(),
    )  # fmt: skip
    return dx, dh0, dc0, [g if needed else None for g, needed in zip(gradients, to_weights, strict=True)]
