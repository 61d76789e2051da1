"""The contestants of PyTorch: in float32, in bfloat16, and with int8 weights by its dynamic quantisation."""

from __future__ import annotations

import warnings
from typing import Any

from numpy.typing import NDArray

from fastlstm.bench.peers.work import CHECKED_STEPS, Contestant, Work
from fastlstm.layers.frozen import Format

__all__ = ["torch_inference", "torch_step", "torch_training"]

Array = NDArray[Any]


def _loaded(torch: Any, module: Any, work: Work, suffix: str) -> Any:
    with torch.no_grad():
        getattr(module, f"weight_ih{suffix}").copy_(torch.from_numpy(work.W))
        getattr(module, f"weight_hh{suffix}").copy_(torch.from_numpy(work.R))
        getattr(module, f"bias_ih{suffix}").copy_(torch.from_numpy(work.b))
        getattr(module, f"bias_hh{suffix}").zero_()
    return module


def _for_inference(torch: Any, module: Any, weights: Format) -> tuple[Any, Any]:
    """Return a module with its weights in a format, and the type of what it takes and gives."""
    module.eval()
    if weights == "bfloat16":
        return module.to(torch.bfloat16), torch.bfloat16
    if weights == "int8":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # It warns of its plans for quantisation.
            listed = torch.nn.ModuleList([module])  # It replaces the modules inside one.
            module = torch.ao.quantization.quantize_dynamic(listed, {type(module)}, torch.qint8)[0]
    return module, torch.float32


def torch_inference(torch: Any, name: str, work: Work, weights: Format = "full") -> Contestant:
    """Return the contestant that calls `torch.nn.LSTM` in inference mode."""
    module = _loaded(torch, torch.nn.LSTM(work.shape.I, work.shape.H), work, "_l0")
    module, dtype = _for_inference(torch, module, weights)
    x = torch.from_numpy(work.x).to(dtype)

    def repeat(n: int) -> None:
        with torch.inference_mode():
            for _ in range(n):
                module(x)

    def results() -> list[Array]:
        with torch.inference_mode():
            return [module(x)[0].float().numpy()]

    return Contestant(name, repeat, results)


def torch_training(torch: Any, name: str, work: Work) -> Contestant:
    """Return the contestant that runs `torch.nn.LSTM` forward, and backward by autograd."""
    module = _loaded(torch, torch.nn.LSTM(work.shape.I, work.shape.H), work, "_l0")
    x, dy = torch.from_numpy(work.x.copy()).requires_grad_(), torch.from_numpy(work.dy)

    def repeat(n: int) -> None:
        for _ in range(n):
            module.zero_grad(set_to_none=True)
            x.grad = None
            y, _ = module(x)
            y.backward(dy)

    def results() -> list[Array]:
        repeat(1)
        return [x.grad.numpy(), *(getattr(module, f"{name}_l0").grad.numpy() for name in _PARAMETERS)]

    return Contestant(name, repeat, results)


_PARAMETERS = ("weight_ih", "weight_hh", "bias_ih")


def torch_step(torch: Any, name: str, work: Work, weights: Format = "full") -> Contestant:
    """Return the contestant that calls `torch.nn.LSTMCell` in inference mode, with its state fed back."""
    cell = _loaded(torch, torch.nn.LSTMCell(work.shape.I, work.shape.H), work, "")
    cell, dtype = _for_inference(torch, cell, weights)
    x = torch.from_numpy(work.x[0]).to(dtype)
    zeros = torch.zeros(work.shape.B, work.shape.H, dtype=dtype)
    state = (zeros, zeros)

    def repeat(n: int) -> None:
        nonlocal state
        current = state
        with torch.inference_mode():
            for _ in range(n):
                current = cell(x, current)
        state = current

    def results() -> list[Array]:
        nonlocal state
        state = (zeros, zeros)
        repeat(CHECKED_STEPS)
        return [state[0].float().numpy()]

    return Contestant(name, repeat, results)
