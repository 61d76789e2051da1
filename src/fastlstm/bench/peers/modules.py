"""The contestants of `fastlstm.bench.modules`: a module of torch.nn, ours with the same parameters, and our layer."""

from __future__ import annotations

import copy
import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastlstm
from fastlstm.bench.peers.work import CHECKED_STEPS, OURS, TORCH, Contestant
from fastlstm.bench.shapes import Shape

__all__ = ["BRIDGE", "Computed", "Problem", "Task", "kernels_alone"]

Array = NDArray[Any]
# y and the last state, from x and a state; both libraries have it, on tensors and on arrays.
Forward = Callable[[Any, Any], tuple[Any, Any]]

BRIDGE, EXACT = "fastlstm.torch", "torch.nn, float64"
# Forward and backward, or forward alone, under torch.no_grad.
Computed = Literal["training", "inference"]


class Task(NamedTuple):
    """A module, and the size of what goes through it."""

    shape: Shape
    module: str = "LSTM"
    layers: int = 1
    bidirectional: bool = False


@contextmanager
def kernels_alone() -> Iterator[Counter[str]]:
    """Let no call of our modules be left to PyTorch: the first that would be raises. Give what counts them."""
    bridge: Any = importlib.import_module("fastlstm.torch")
    bridge.fallbacks.clear()
    bridge.set_fallback("error")
    try:
        yield bridge.fallbacks
    finally:
        bridge.set_fallback("allow")


class Problem:
    """The modules and the data of a task.

    Parameters
    ----------
    torch : module
        PyTorch.
    task : Task
        What is measured.
    packed : bool
        Whether the sequences are packed, with lengths from a quarter of T to T, drawn uniformly. Else all have T steps.
    carried : bool
        Whether each call begins with the state of the last one, as one step after the other does. Else with zeros.
    """

    def __init__(self, torch: Any, task: Task, packed: bool, carried: bool) -> None:
        bridge: Any = importlib.import_module("fastlstm.torch")
        T, B, I, H = task.shape
        self.torch, self.carried = torch, carried
        torch.manual_seed(0)
        sizes, options = (I, H, task.layers), {"bidirectional": task.bidirectional}
        self.theirs = getattr(torch.nn, task.module)(*sizes, **options)
        self.ours = getattr(bridge, task.module)(*sizes, **options)
        self.ours.load_state_dict(self.theirs.state_dict(keep_vars=True), assign=True)  # the same tensors, no copies
        self.layer = bridge.to_numpy(self.theirs)
        rng = np.random.default_rng(0)
        self.x = torch.from_numpy(rng.normal(size=(T, B, I)).astype(np.float32))
        if packed:
            lengths = torch.from_numpy(rng.integers(T // 4, T, B, endpoint=True))
            self.x = torch.nn.utils.rnn.pack_padded_sequence(self.x, lengths, enforce_sorted=False)
        outputs = (*_rows(self.x).shape[:-1], H * (1 + task.bidirectional))
        self.dy = torch.from_numpy(rng.normal(size=outputs).astype(np.float32))

    def contestants(self, computed: Computed) -> list[Contestant]:
        """Return PyTorch's module, ours, and our layer on NumPy arrays."""
        modules = ((TORCH, self.theirs), (BRIDGE, self.ours))
        layer = self._layer_trained() if computed == "training" else self._called(OURS, self.layer, self._arrays())
        return [*(self._of_module(name, module, computed, self.torch.float32) for name, module in modules), layer]

    def exact(self, computed: Computed) -> Contestant:
        """Return PyTorch's module in float64, whose results are computed once: the others' errors are from it."""
        double = self._of_module(EXACT, copy.deepcopy(self.theirs).double(), computed, self.torch.float64)
        results = double.results()
        return Contestant(EXACT, double.repeat, lambda: results)

    # ---- forward alone ----

    def _called(
        self, name: str, forward: Forward, x: Any, context: Callable[[], AbstractContextManager[Any]] = nullcontext
    ) -> Contestant:
        carried, state = self.carried, None

        def repeat(n: int) -> None:
            nonlocal state
            current = state
            with context():
                for _ in range(n):
                    _, last = forward(x, current)
                    current = last if carried else None
            state = current

        def results() -> list[Array]:
            current = None
            with context():
                for _ in range(CHECKED_STEPS if carried else 1):
                    y, current = forward(x, current)
            return [np.asarray(_rows(y))]

        return Contestant(name, repeat, results)

    # ---- forward and backward ----

    def _of_module(self, name: str, module: Any, computed: Computed, dtype: Any) -> Contestant:
        rows, dy = _rows(self.x).clone().to(dtype), self.dy.to(dtype)
        x = self.x._replace(data=rows) if _is_packed(self.x) else rows
        if computed != "training":
            return self._called(name, module, x, self.torch.no_grad)
        rows.requires_grad_()

        def call() -> Any:
            module.zero_grad(set_to_none=True)
            rows.grad = None
            y = _rows(module(x)[0])
            y.backward(dy)
            return y

        def results() -> list[Array]:
            y = call()
            gradients = [p.grad for name, p in module.named_parameters() if not name.startswith("bias_hh")]
            return [tensor.numpy() for tensor in (y.detach(), rows.grad, *gradients)]

        return Contestant(name, _repeating(call), results)

    def _arrays(self) -> Any:
        """Return x as the layer takes it."""
        if not _is_packed(self.x):
            return self.x.numpy()
        return fastlstm.PackedSequence(*(part.numpy() for part in self.x))

    def _layer_trained(self) -> Contestant:
        layer, x, dy = self.layer, self._arrays(), self.dy.numpy()
        names = [name for name in self.theirs.state_dict() if not name.startswith("bias_hh")]
        ours = [n.replace("weight_ih", "W").replace("weight_hh", "R").replace("bias_ih", "b") for n in names]
        tape: fastlstm.Tape | None = None
        gradients: fastlstm.Gradients | None = None

        def call() -> Any:
            nonlocal gradients, tape
            y, _, tape = layer.forward(x, tape=tape)
            gradients = layer.backward(tape, dy, out=gradients)
            return y

        def results() -> list[Array]:
            y = call()
            assert gradients is not None
            return [_rows(y), _rows(gradients.x), *(gradients.params[name] for name in ours)]

        return Contestant(OURS, _repeating(call), results)


def _is_packed(sequences: Any) -> bool:
    return hasattr(sequences, "batch_sizes")


def _rows(sequences: Any) -> Any:
    """Return what holds the values of sequences, which may be packed."""
    return sequences.data if _is_packed(sequences) else sequences


def _repeating(call: Callable[[], Any]) -> Callable[[int], None]:
    def repeat(n: int) -> None:
        for _ in range(n):
            call()

    return repeat
