"""The contestants: fastlstm, PyTorch, ONNX Runtime and OpenVINO, each used as its own users would for speed.

All get the same inputs and weights, built before the clock starts. `work` has what they share, `onnx` the models that
two of them read, `ours` and the files of the peers' names the contestants themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from fastlstm.bench.peers.onnxruntime import onnx_inference, onnx_step
from fastlstm.bench.peers.openvino import openvino_has_bfloat16, openvino_inference, openvino_step
from fastlstm.bench.peers.ours import fastlstm_inference, fastlstm_step, fastlstm_training, on_blas
from fastlstm.bench.peers.torch import torch_inference, torch_step, torch_training
from fastlstm.bench.peers.work import (
    FROZEN,
    FROZEN_PEEPHOLE,
    OPENVINO,
    ORT,
    ORT_PEEPHOLE,
    OURS,
    OURS_BLAS,
    OURS_FLOAT64,
    OURS_PEEPHOLE,
    TORCH,
    Contestant,
    Peers,
    Work,
    in_format,
)
from fastlstm.layers.frozen import Format

__all__ = [
    "COUNTERPART", "FIXED", "FROZEN", "FROZEN_PEEPHOLE", "NARROW", "OPENVINO", "ORT", "ORT_PEEPHOLE", "OURS",
    "OURS_BLAS", "OURS_FLOAT64", "OURS_PEEPHOLE", "PEERS", "TORCH", "WITH_PEEPHOLES", "Contestant", "Peers",
    "Work", "contestants", "exact", "in_format", "narrow", "plain",
]  # fmt: skip

NARROW: tuple[Format, ...] = ("bfloat16", "int8")
# The peers in float32, without peepholes; of two of them weights are fixed once a model is made.
PEERS = (TORCH, ORT, OPENVINO)
FIXED = (ORT, OPENVINO)
WITH_PEEPHOLES = (OURS_PEEPHOLE, FROZEN_PEEPHOLE, ORT_PEEPHOLE)
# The contestant that each one is compared with. It computes the same equations, and its weights may change between
# calls where those of the peer may: those of PyTorch's layers, as those of ours.
COUNTERPART = {
    FROZEN: OURS, TORCH: OURS, ORT: FROZEN, OPENVINO: FROZEN,
    FROZEN_PEEPHOLE: OURS_PEEPHOLE, ORT_PEEPHOLE: FROZEN_PEEPHOLE,
    OURS_FLOAT64: OURS, OURS_BLAS: OURS,
    **{in_format(peer, weights): in_format(FROZEN, weights) for peer in PEERS for weights in NARROW},
}  # fmt: skip


def exact(kind: str, work: Work, peephole: bool = False) -> Contestant:
    """Return the contestant of fastlstm in float64, whose results are computed once: the others' errors are from it."""
    if kind == "step":
        double = fastlstm_step(OURS_FLOAT64, work, dtype=np.float64)
    else:
        ours = fastlstm_training if kind == "training" else fastlstm_inference
        double = ours(OURS_FLOAT64, work, peephole=peephole, dtype=np.float64)
    results = double.results()
    return Contestant(double.name, double.repeat, lambda: results)


def plain(kind: str, work: Work, peers: Peers, threads: int) -> list[Contestant]:
    """Return the contestants in float32 without peepholes that can compute `kind`, fastlstm first."""
    if kind == "training":
        theirs = [torch_training(peers.torch, TORCH, work)] if peers.torch else []
        return [fastlstm_training(OURS, work), *theirs]
    ours = fastlstm_step if kind == "step" else fastlstm_inference
    return [ours(OURS, work), *_fixed(kind, work, peers, threads, "full")]


def narrow(kind: str, work: Work, peers: Peers, threads: int) -> list[Contestant]:
    """Return the contestants of inference or a step with weights in fewer bits, fastlstm first in each format."""
    return [contestant for weights in NARROW for contestant in _fixed(kind, work, peers, threads, weights)]


def _fixed(kind: str, work: Work, peers: Peers, threads: int, weights: Format) -> list[Contestant]:
    """Return the contestants of inference or a step with weights in a format, but for the layer."""
    step = kind == "step"
    ours = partial(fastlstm_step if step else fastlstm_inference, frozen=weights)
    named: list[tuple[str, Callable[[str], Contestant]]] = [(FROZEN, lambda name: ours(name, work))]
    if peers.torch:
        torch = torch_step if step else torch_inference
        named.append((TORCH, lambda name: torch(peers.torch, name, work, weights)))
    if peers.onnxruntime and weights != "bfloat16":
        onnx = onnx_step if step else onnx_inference
        named.append((ORT, lambda name: onnx(peers, name, work, threads, weights=weights)))
    if peers.openvino and (weights == "full" or (weights == "bfloat16" and openvino_has_bfloat16(peers.openvino))):
        openvino = openvino_step if step else openvino_inference
        named.append((OPENVINO, lambda name: openvino(peers, name, work, threads, weights)))
    return [make(in_format(name, weights)) for name, make in named]


def contestants(kind: str, work: Work, peers: Peers, threads: int, float64: bool) -> list[Contestant]:
    """Return all contestants of the suite that can compute `kind`, fastlstm first.

    Parameters
    ----------
    kind : str
        One of `shapes.KINDS`.
    work : Work
        The inputs and weights.
    peers : Peers
        The other libraries.
    threads : int
        The number of threads of ONNX Runtime and OpenVINO, which is a property of their models.
    float64 : bool
        Whether fastlstm takes part in float64 too.
    """
    result = plain(kind, work, peers, threads)
    if kind == "step":
        return [*result, on_blas(fastlstm_step(OURS_BLAS, work))]
    ours = fastlstm_training if kind == "training" else fastlstm_inference
    result.append(ours(OURS_PEEPHOLE, work, peephole=True))
    if kind == "inference":
        result.append(fastlstm_inference(FROZEN_PEEPHOLE, work, peephole=True, frozen="full"))
        if peers.onnxruntime:
            result.append(onnx_inference(peers, ORT_PEEPHOLE, work, threads, peephole=True))
    if float64:
        result.append(ours(OURS_FLOAT64, work, dtype=np.float64))
    return [*result, on_blas(ours(OURS_BLAS, work))]
