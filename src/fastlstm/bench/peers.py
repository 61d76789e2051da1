"""The contestants: fastlstm, PyTorch and ONNX Runtime, each used as its own users would for speed.

All get the same inputs and weights, built before the clock starts.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

import fastlstm
from fastlstm._system import runtime
from fastlstm.bench.shapes import Shape

__all__ = [
    "ORT", "ORT_PEEPHOLE", "OURS", "OURS_BLAS", "OURS_FLOAT64", "OURS_PEEPHOLE", "TORCH", "Contestant", "Peers", "Work",
]  # fmt: skip

Array = NDArray[Any]

OURS, OURS_PEEPHOLE, OURS_FLOAT64 = "fastlstm", "fastlstm, peepholes", "fastlstm, float64"
OURS_BLAS = "fastlstm, blas"
TORCH, ORT, ORT_PEEPHOLE = "PyTorch", "ONNX Runtime", "ONNX Runtime, peepholes"

# Outputs are compared after this many steps, which are enough for the state to matter.
CHECKED_STEPS = 3


@dataclass
class Contestant:
    """A computation that is timed.

    Attributes
    ----------
    name : str
        The name in the report.
    repeat : callable
        ``repeat(n)`` computes n times; the loop is inside, so that it adds as little as possible to short calls.
    results : callable
        A function that returns the arrays that must be equal for all contestants.
    """

    name: str
    repeat: Callable[[int], None]
    results: Callable[[], list[Array]]


@dataclass
class Peers:
    """The modules of the peers; one that cannot be imported is None, and the reason is in `missing`."""

    torch: Any = None
    onnx: Any = None
    onnxruntime: Any = None
    missing: dict[str, str] = field(default_factory=dict)

    @classmethod
    def find(cls) -> Peers:
        """Import the modules that are installed."""
        peers = cls()
        for name in ("torch", "onnx", "onnxruntime"):
            try:
                setattr(peers, name, importlib.import_module(name))
            except (ImportError, OSError) as error:  # OSError: a shared library of the package does not load.
                peers.missing[name] = str(error)
        if peers.onnxruntime and not peers.onnx:
            peers.missing["onnxruntime"] = "without the package onnx there is no model to run"
            peers.onnxruntime = None
        if peers.onnxruntime:
            # Only errors are shown: it warns about processors that it does not know.
            peers.onnxruntime.set_default_logger_severity(3)
        return peers


class Work:
    """The inputs and weights of one shape in float32, the same in every run.

    Attributes
    ----------
    x, dy : (T, B, I), (T, B, H) arrays
        The inputs, and the gradient of the outputs.
    W, R, b, p : (4H, I), (4H, H), (4H,), (3, H) arrays
        The weights: gate blocks in the order i, f, z, o, rows of p in the order i, f, o.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        T, B, I, H = shape
        rng = np.random.default_rng(0)
        bound = 1 / math.sqrt(H)

        def weights(*sizes: int) -> Array:
            return rng.uniform(-bound, bound, sizes).astype(np.float32)

        self.W, self.R, self.b, self.p = weights(4 * H, I), weights(4 * H, H), weights(4 * H), weights(3, H)
        self.x = rng.normal(size=(T, B, I)).astype(np.float32)
        self.dy = rng.normal(size=(T, B, H)).astype(np.float32)


# ---- fastlstm ----


def _layer(work: Work, peephole: bool, dtype: DTypeLike) -> fastlstm.LSTM:
    layer = fastlstm.LSTM(work.shape.I, work.shape.H, peephole=peephole, dtype=dtype)
    values = {"W_l0": work.W, "R_l0": work.R, "b_l0": work.b, "p_l0": work.p}
    for name, parameter in layer.params.items():
        parameter[:] = values[name]
    return layer


def fastlstm_inference(name: str, work: Work, peephole: bool = False, dtype: DTypeLike = np.float32) -> Contestant:
    """Return the contestant that calls the layer."""
    layer, x = _layer(work, peephole, dtype), work.x.astype(dtype)

    def repeat(n: int) -> None:
        for _ in range(n):
            layer(x)

    return Contestant(name, repeat, lambda: [layer(x)[0]])


def fastlstm_training(name: str, work: Work, peephole: bool = False, dtype: DTypeLike = np.float32) -> Contestant:
    """Return the contestant that runs forward and backward, with tape and gradients reused as in a training loop."""
    layer, x, dy = _layer(work, peephole, dtype), work.x.astype(dtype), work.dy.astype(dtype)
    tape: fastlstm.Tape | None = None
    gradients: fastlstm.Gradients | None = None

    def repeat(n: int) -> None:
        nonlocal gradients, tape
        for _ in range(n):
            _, _, tape = layer.forward(x, tape=tape)
            gradients = layer.backward(tape, dy, out=gradients)

    def results() -> list[Array]:
        repeat(1)
        assert gradients is not None
        return [gradients.x, *(gradients.params[name] for name in ("W_l0", "R_l0", "b_l0"))]

    return Contestant(name, repeat, results)


def fastlstm_step(name: str, work: Work) -> Contestant:
    """Return the contestant that runs one step, written over the last output and state."""
    layer, x = _layer(work, False, np.float32), work.x[0]

    def start() -> tuple[Array, tuple[Array, ...]]:
        shape = (1, work.shape.B, work.shape.H)
        return np.zeros(shape[1:], np.float32), (np.zeros(shape, np.float32), np.zeros(shape, np.float32))

    out = start()

    def repeat(n: int) -> None:
        step, (_, state) = layer.step, out
        for _ in range(n):
            _, state = step(x, state, out=out)

    def results() -> list[Array]:
        y, state = start()
        for _ in range(CHECKED_STEPS):
            y, state = layer.step(x, state, out=(y, state))
        return [y]

    return Contestant(name, repeat, results)


def on_blas(contestant: Contestant) -> Contestant:
    """Return a contestant of fastlstm with its steps on SciPy's BLAS."""

    def repeat(n: int) -> None:
        runtime.choose_isa("blas")
        try:
            contestant.repeat(n)
        finally:
            runtime.choose_isa(runtime.ISA)

    def results() -> list[Array]:
        runtime.choose_isa("blas")
        try:
            return contestant.results()
        finally:
            runtime.choose_isa(runtime.ISA)

    return Contestant(contestant.name, repeat, results)


# ---- PyTorch ----


def _load_torch(torch: Any, module: Any, work: Work, suffix: str) -> Any:
    with torch.no_grad():
        getattr(module, f"weight_ih{suffix}").copy_(torch.from_numpy(work.W))
        getattr(module, f"weight_hh{suffix}").copy_(torch.from_numpy(work.R))
        getattr(module, f"bias_ih{suffix}").copy_(torch.from_numpy(work.b))
        getattr(module, f"bias_hh{suffix}").zero_()
    return module


def torch_inference(torch: Any, name: str, work: Work) -> Contestant:
    """Return the contestant that calls `torch.nn.LSTM` in inference mode."""
    module = _load_torch(torch, torch.nn.LSTM(work.shape.I, work.shape.H), work, "_l0").eval()
    x = torch.from_numpy(work.x)

    def repeat(n: int) -> None:
        with torch.inference_mode():
            for _ in range(n):
                module(x)

    def results() -> list[Array]:
        with torch.inference_mode():
            return [module(x)[0].numpy()]

    return Contestant(name, repeat, results)


def torch_training(torch: Any, name: str, work: Work) -> Contestant:
    """Return the contestant that runs `torch.nn.LSTM` forward, and backward by autograd."""
    module = _load_torch(torch, torch.nn.LSTM(work.shape.I, work.shape.H), work, "_l0")
    x, dy = torch.from_numpy(work.x.copy()).requires_grad_(), torch.from_numpy(work.dy)

    def repeat(n: int) -> None:
        for _ in range(n):
            module.zero_grad(set_to_none=True)
            x.grad = None
            y, _ = module(x)
            y.backward(dy)

    def results() -> list[Array]:
        repeat(1)
        return [x.grad.numpy(), *(getattr(module, f"{name}_l0").grad.numpy() for name in _TORCH_PARAMETERS)]

    return Contestant(name, repeat, results)


_TORCH_PARAMETERS = ("weight_ih", "weight_hh", "bias_ih")


def torch_step(torch: Any, name: str, work: Work) -> Contestant:
    """Return the contestant that calls `torch.nn.LSTMCell` in inference mode, with its state fed back."""
    cell = _load_torch(torch, torch.nn.LSTMCell(work.shape.I, work.shape.H), work, "").eval()
    x = torch.from_numpy(work.x[0])
    zeros = torch.zeros(work.shape.B, work.shape.H)
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
        return [state[0].numpy()]

    return Contestant(name, repeat, results)


# ---- ONNX Runtime ----


def _onnx_session(peers: Peers, work: Work, threads: int, peephole: bool, outputs: list[str], carried: bool) -> Any:
    """Return a session for one LSTM node whose weights are constants, so that ONNX Runtime can pack them once."""
    T, B, I, H = work.shape

    def gates(array: Array) -> Array:
        """Return blocks in the order i, f, z, o in the operator's order i, o, f, c."""
        i, f, z, o = np.split(array, 4)
        return np.concatenate([i, o, f, z])[np.newaxis]

    b = gates(work.b)
    constants = {"W": gates(work.W), "R": gates(work.R), "B": np.concatenate([b, np.zeros_like(b)], axis=1)}
    if peephole:
        constants["P"] = work.p[[0, 2, 1]].reshape(1, 3 * H)
    values = {"X": [T, B, I]} | ({"H": [1, B, H], "C": [1, B, H]} if carried else {})
    inputs = ["X", "W", "R", "B", "", *(["H", "C"] if carried else ["", ""]), "P" if peephole else ""]
    return onnx_session(peers, "LSTM", constants, values, inputs, outputs, threads, hidden_size=H)


def onnx_session(
    peers: Peers, operator: str, constants: dict[str, Array], values: dict[str, list[int]], inputs: list[str],
    outputs: list[str], threads: int, **attributes: int,
) -> Any:  # fmt: skip
    """Return a session for one node, with the shapes of the values that a run is given and the constants."""
    onnx, runtime = peers.onnx, peers.onnxruntime
    while not inputs[-1]:
        inputs.pop()
    make, float32 = onnx.helper, onnx.TensorProto.FLOAT
    graph = make.make_graph(
        [make.make_node(operator, inputs, outputs, **attributes)],
        operator.lower(),
        [make.make_tensor_value_info(name, float32, shape) for name, shape in values.items()],
        [make.make_tensor_value_info(name, float32, None) for name in outputs if name],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()],
    )
    # Every recent ONNX Runtime reads these versions; the operators have not changed since.
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 14)], ir_version=8)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def onnx_inference(peers: Peers, name: str, work: Work, threads: int, peephole: bool = False) -> Contestant:
    """Return the contestant that runs a session whose only output is Y."""
    session = _onnx_session(peers, work, threads, peephole, ["Y"], carried=False)
    wanted, given = ["Y"], {"X": work.x}

    def repeat(n: int) -> None:
        run = session.run
        for _ in range(n):
            run(wanted, given)

    return Contestant(name, repeat, lambda: [session.run(wanted, given)[0][:, 0]])


def onnx_step(peers: Peers, name: str, work: Work, threads: int) -> Contestant:
    """Return the contestant that runs one step between two bound states, allocating as little as fastlstm does."""
    session = _onnx_session(peers, work, threads, False, ["", "Y_h", "Y_c"], carried=True)
    value = peers.onnxruntime.OrtValue.ortvalue_from_numpy
    B, H = work.shape.B, work.shape.H
    x = value(work.x)
    states = [[value(np.zeros((1, B, H), np.float32)) for _ in "hc"] for _ in range(2)]
    bindings = []
    for before, after in (states, states[::-1]):
        binding = session.io_binding()
        for key, array in zip(("X", "H", "C"), (x, *before), strict=True):
            binding.bind_ortvalue_input(key, array)
        for key, array in zip(("Y_h", "Y_c"), after, strict=True):
            binding.bind_ortvalue_output(key, array)
        bindings.append(binding)

    def repeat(n: int) -> None:
        run, there, back = session.run_with_iobinding, *bindings
        for _ in range(n // 2):
            run(there)
            run(back)
        if n % 2:
            run(there)

    def results() -> list[Array]:
        for array in states[0]:
            array.update_inplace(np.zeros((1, B, H), np.float32))
        repeat(CHECKED_STEPS)
        return [states[CHECKED_STEPS % 2][0].numpy()[0]]

    return Contestant(name, repeat, results)


# ---- all contestants ----


def contestants(kind: str, work: Work, peers: Peers, threads: int, float64: bool) -> list[Contestant]:
    """Return all contestants that can compute `kind`, fastlstm first.

    Parameters
    ----------
    kind : str
        One of `shapes.KINDS`.
    work : Work
        The inputs and weights.
    peers : Peers
        The other libraries.
    threads : int
        The number of threads of ONNX Runtime, which is a property of its sessions.
    float64 : bool
        Whether fastlstm takes part in float64 too.
    """
    result: list[Contestant] = []
    if kind == "step":
        result.append(fastlstm_step(OURS, work))
        if peers.torch:
            result.append(torch_step(peers.torch, TORCH, work))
        if peers.onnxruntime:
            result.append(onnx_step(peers, ORT, work, threads))
        return [*result, on_blas(fastlstm_step(OURS_BLAS, work))]
    ours = fastlstm_training if kind == "training" else fastlstm_inference
    result.append(ours(OURS, work))
    if peers.torch:
        result.append((torch_training if kind == "training" else torch_inference)(peers.torch, TORCH, work))
    if peers.onnxruntime and kind == "inference":
        result.append(onnx_inference(peers, ORT, work, threads))
    result.append(ours(OURS_PEEPHOLE, work, peephole=True))
    if peers.onnxruntime and kind == "inference":
        result.append(onnx_inference(peers, ORT_PEEPHOLE, work, threads, peephole=True))
    if float64:
        result.append(ours(OURS_FLOAT64, work, dtype=np.float64))
    return [*result, on_blas(ours(OURS_BLAS, work))]
