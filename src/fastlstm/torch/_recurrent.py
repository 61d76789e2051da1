"""Send a module's call on its way: to the kernels, to the operator in a graph, or to PyTorch's own forward."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad
from torch.nn import Parameter
from torch.nn.modules.rnn import RNNBase
from torch.nn.utils.rnn import PackedSequence

from fastlstm.torch import _fallbacks
from fastlstm.torch import _operator as _operator  # which makes torch.ops.fastlstm known
from fastlstm.torch._autograd import Recurrence
from fastlstm.torch._gpu import why_unavailable
from fastlstm.torch._kernels import kernels_for
from fastlstm.torch._stacks import (
    BYTES,
    Description,
    Options,
    beyond_pytorch,
    describe,
    directions,
    has_c,
    output_size,
    state_shapes,
)

# Why a call is not computed by the kernels. Calls with the first are for the operator, since something wants to see it,
# or has tensors without values; those with the second are for PyTorch's own forward, which mostly says what is wrong.
_SEEN = "fake or meta tensors, or a mode that sees operators"
_MALFORMED = "arguments that PyTorch alone takes"


class Recurrent(RNNBase):
    """The part of a module that runs it; its attributes and parameters are those of PyTorch's module of the kind."""

    # PyTorch's module of the kind, and the number of tensors in its state.
    _pytorch: ClassVar[type[RNNBase]]
    _parts: ClassVar[int]
    # Where a module has none of its own, as one that `replace` has made, it has no option beyond PyTorch's.
    variant: str = "vanilla"
    peephole: bool = False
    layer_norm: bool = False

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Run the layers over sequences, as PyTorch's module of the kind does.

        Parameters
        ----------
        input : Tensor or PackedSequence
            (T, B, I), (B, T, I) with `batch_first`, (T, I) without a batch, or packed.
        hx : Tensor, or (h, c) for an LSTM, optional
            The initial state, (layers D, B, H) each; (layers D, H) without a batch. Default: zeros.

        Returns
        -------
        output : Tensor or PackedSequence
            As the input, with D H columns.
        state : Tensor, or (h, c) for an LSTM
            The state after the last step, shaped as the initial one.
        """
        if torch.compiler.is_compiling():
            return self._run_in_graph(self._options(), input, hx)
        own = describe(*self._fields())
        x, batch_sizes = (input.data, input.batch_sizes) if isinstance(input, PackedSequence) else (input, None)
        weights = self._weights()
        state = () if hx is None else (hx,) if self._parts == 1 else hx
        reason = _reason(own, x, input, batch_sizes, state, hx is None, weights, self.batch_first)
        if reason is None:
            try:
                return self._run(own, input, x, batch_sizes, state, weights)
            except ValueError:
                if batch_sizes is None:
                    raise
                reason = _MALFORMED  # Only the kernels look at all batch sizes.
        if reason is _SEEN:
            return self._run_in_graph(own.options, input, hx)
        return self._leave_to_pytorch(own.options, reason, input, hx)

    def _options(self) -> Options:
        return Options(*self._fields())

    def _fields(self) -> tuple[Any, ...]:
        return (
            self.mode, self.input_size, self.hidden_size, self.num_layers, self.bias, self.bidirectional,
            self.proj_size, self.variant, self.peephole, self.layer_norm,
        )  # fmt: skip

    def _weights(self) -> list[Any]:
        """Return the weights as they are now, whatever has taken a parameter's place."""
        parameters = self._parameters
        try:
            return [parameters[name] for name in self._flat_weights_names]
        except KeyError:  # A parametrization or pruning computes some of them.
            return [getattr(self, name, None) for name in self._flat_weights_names]

    def _run(
        self, own: Description, input: Any, x: Tensor, batch_sizes: Tensor | None, state: tuple[Tensor, ...],
        weights: list[Tensor],
    ) -> Any:  # fmt: skip
        """Run the kernels, on arguments that are known to be right."""
        batched = batch_sizes is not None or x.ndim == 3
        if not batched:
            x, state = x.unsqueeze(1), tuple(part.unsqueeze(1) for part in state)
        elif batch_sizes is None and self.batch_first:
            x = x.transpose(0, 1)
        elif batch_sizes is not None and state:
            state = self._permuted(state, input.sorted_indices)
        # Whatever has other strides, or is a view that negates: the kernels see memory alone.
        x = x.contiguous().resolve_neg()
        h0, c0 = (*[part.contiguous().resolve_neg() for part in state], None, None)[:2]
        masks = self._masks(x, own.outputs) if self.training and self.dropout else None
        recorded = torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        if recorded and (x.requires_grad or any(t.requires_grad for t in (*weights, *state))):
            weights = [w.contiguous().resolve_neg() for w in weights]
            y, *last = Recurrence.apply(own, batch_sizes, masks, x, h0, c0, *weights)  # type: ignore[no-untyped-call]
        else:
            weights = [w if w.is_contiguous() and not w.is_neg() else w.contiguous().resolve_neg() for w in weights]
            y, h, c, _ = kernels_for(x).run_forward(own, x, h0, c0, weights, masks, batch_sizes, False)
            last = [h] if c is None else [h, c]
        return self._results(input, batched, y, tuple(last))

    def _run_in_graph(self, own: Options, input: Any, hx: Any) -> Any:
        """Run the operator, which a graph records as it is."""
        packed = isinstance(input, PackedSequence)
        x, batch_sizes = (input.data, input.batch_sizes) if packed else (input, None)
        weights = self._weights()
        several = self._parts > 1 and isinstance(hx, (tuple, list))
        given = () if hx is None else tuple(hx) if several else (hx,)
        if (
            x.dtype not in BYTES
            or any(not isinstance(t, Tensor) or t.dtype != x.dtype for t in (*weights, *given))
            or len(given) not in (0, self._parts)
            or x.device.type not in ("cpu", "meta")
            or torch._C._is_any_autocast_enabled()
            or x.ndim not in ((2,) if packed else (2, 3))
        ):
            return _leave_graph(self, own, input, hx)
        batched, batch_first = packed or x.ndim == 3, self.batch_first and not packed
        if not batched:
            x = x.unsqueeze(0 if batch_first else 1)
        B = x.shape[0 if batch_first else 1] if batch_sizes is None else int(batch_sizes[0])
        state: tuple[Any, ...]
        if hx is None:
            state = tuple([x.new_zeros((cells, B, size)) for cells, size in state_shapes(own)])
        else:
            state = given if batched else tuple([part.unsqueeze(1) for part in given])
            if packed:
                state = self._permuted(state, input.sorted_indices)
        hidden: Any = state if has_c(own) else state[0]
        self.check_forward_args(x, hidden, batch_sizes)
        if batch_first:
            x = x.transpose(0, 1)
        masks = self._masks(x, directions(own) * output_size(own)) if self.training and self.dropout else None
        y, h, c, _ = torch.ops.fastlstm.recurrence(
            x, state[0], state[1] if has_c(own) else None, weights, masks, batch_sizes, torch.is_grad_enabled(), *own
        )
        return self._results(input, batched, y, (h, c) if has_c(own) else (h,))

    def _results(self, input: Any, batched: bool, y: Any, last: tuple[Tensor, ...]) -> Any:
        """Return what a call returns, in the layout of its input."""
        if isinstance(input, PackedSequence):
            _, batch_sizes, sorted_indices, unsorted_indices = input
            last = self._permuted(last, unsorted_indices)
            y = PackedSequence(y, batch_sizes, sorted_indices, unsorted_indices)
        elif not batched:
            y, last = y.squeeze(1), tuple(part.squeeze(1) for part in last)
        elif self.batch_first:
            # In place, as PyTorch's modules do it: a view would have a caller's operations in place go through it.
            y = y.transpose_(0, 1)
        return y, last if self._parts == 2 else last[0]

    @staticmethod
    def _permuted(state: tuple[Tensor, ...], order: Tensor | None) -> tuple[Tensor, ...]:
        return state if order is None else tuple(part.index_select(1, order) for part in state)

    def _masks(self, x: Tensor, outputs: int) -> Tensor | None:
        """Draw the masks of dropout, as PyTorch's module draws them from the same seed."""
        layers, kept, shape = self.num_layers - 1, 1 - self.dropout, (*x.shape[:-1], outputs)
        if layers == 0:
            return None
        if kept == 0:
            return x.new_zeros((layers, *shape))
        # One draw after the other, since that gives the same numbers.
        return torch.stack([x.new_empty(shape).bernoulli_(kept).div_(kept) for _ in range(layers)])

    def _leave_to_pytorch(self, own: Options, reason: str, input: Any, hx: Any) -> Any:
        """Let PyTorch's own forward compute a call, or refuse it; raise where it lacks an option of this module."""
        tracer: Any = input.tracer if isinstance(input, torch.fx.Proxy) else None
        if tracer is not None and tracer.root is not self:
            # In graphs of torch.fx PyTorch's modules stay whole, and so do these.
            return tracer.create_proxy("call_module", tracer.path_of_module(self), (input, hx), {})
        lacking = beyond_pytorch(own)
        results = None
        if reason is _MALFORMED:
            results = self._pytorch.forward(self._without_extras() if lacking else self, input, hx)
        if lacking:
            raise NotImplementedError(
                f"{type(self).__name__} with {lacking} is computed by fastlstm's kernels alone, "
                f"in float32 and float64, not for {reason}"
            )
        _fallbacks.note(type(self).__name__, reason)
        return self._pytorch.forward(self, input, hx) if results is None else results

    def _without_extras(self) -> RNNBase:
        """Return PyTorch's module with the parameters of this one that it knows, to say what is wrong with a call."""
        plain: RNNBase = self._pytorch.__new__(self._pytorch)
        vars(plain).update(vars(self))
        known = [name for name in self._flat_weights_names if not name.startswith(("weight_ch", "weight_ln"))]
        vars(plain)["_flat_weights_names"] = known
        plain._init_flat_weights()
        return plain


@_disable_dynamo  # PyTorch's modules end a graph, too
def _leave_graph(module: Recurrent, own: Options, input: Any, hx: Any) -> Any:
    reason = "a graph of another kind than float32 and float64 on the CPU"
    return module._leave_to_pytorch(own, reason, input, hx)


def _reason(
    own: Description, x: Any, input: Any, batch_sizes: Tensor | None, state: Any, from_zeros: bool,
    weights: list[Any], batch_first: bool,
) -> str | None:  # fmt: skip
    """Return why the kernels do not compute a call; None where they do."""
    # ---- what is going on around the call ----
    if torch._C._is_any_autocast_enabled():
        return "autocast"
    if torch._C._functorch.maybe_current_level() is not None:
        return "a transform of torch.func"
    if torch._C._get_tracing_state() is not None:
        return "tracing"
    if forward_ad._current_level >= 0:
        return "forward-mode differentiation"
    # ---- the tensors ----
    if not isinstance(state, (tuple, list)) or not isinstance(x, Tensor):
        return _MALFORMED
    dtype, on_host, tensors = x.dtype, x.is_cpu, (x, *state, *weights)
    for tensor in tensors:
        kind = type(tensor)
        if kind is Tensor:
            if tensor.layout is not torch.strided or tensor.is_nested:
                return _MALFORMED
        elif kind is not Parameter:
            return _reason_of_kind(tensor)
        if tensor.is_cpu is not on_host or tensor.dtype is not dtype:
            return _MALFORMED
    if not on_host and (reason := _reason_of_place(tensors)):
        return reason
    if dtype not in BYTES:
        return str(dtype)
    if torch._C._len_torch_dispatch_stack():
        return _SEEN
    # ---- sizes ----
    shape = x.shape
    if batch_sizes is not None:
        if len(shape) != 2 or batch_sizes.dtype is not torch.int64 or batch_sizes.ndim != 1 or not len(batch_sizes):
            return _MALFORMED
        batch: tuple[int, ...] = (int(batch_sizes[0]),)
        for name in ("sorted_indices", "unsorted_indices"):
            order = getattr(input, name)
            if order is not None and order.shape != batch:  # PyTorch's LSTM would read and write past a state's end.
                raise RuntimeError(f"{name} must have shape {batch}, an index for each sequence, not {order.shape}")
    elif len(shape) == 3:
        batch = (shape[0 if batch_first else 1],)
    elif len(shape) == 2:
        batch = ()
    else:
        return _MALFORMED
    if batch_sizes is None and not shape[batch_first and len(shape) == 3]:
        return _MALFORMED  # no steps
    if shape[-1] != own.input_size or [w.shape for w in weights] != own.weight_shapes:
        return _MALFORMED
    expected = [(cells, *batch, size) for cells, size in own.state_shapes]
    return None if from_zeros or [part.shape for part in state] == expected else _MALFORMED


def _reason_of_kind(tensor: Any) -> str:
    """Return why the kernels do not compute a call with an argument that is not a plain tensor."""
    if not isinstance(tensor, Tensor):
        return _MALFORMED
    return _SEEN if isinstance(tensor, FakeTensor) else f"a {type(tensor).__name__}"


def _reason_of_place(tensors: tuple[Any, ...]) -> str | None:
    """Return why the kernels do not compute a call with tensors that are not on the host; None where they do."""
    place = tensors[0].device
    if any(tensor.device != place for tensor in tensors):
        return _MALFORMED
    if place.type == "meta":
        return _SEEN
    lacking = why_unavailable() if place.type == "cuda" else "there are no kernels for it"
    return None if lacking is None else f"the device {place.type}: {lacking}"
