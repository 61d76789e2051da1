"""The peers of the benchmarks compute what fastlstm does, in the format that their name says, as fast as they can."""

import importlib
import shutil
import sys

import numpy as np
import pytest

from fastlstm.bench import measure, peers, shapes, suite

# PyTorch and ONNX Runtime warn about things of their own.
pytestmark = pytest.mark.filterwarnings("ignore")

SHAPES = {"inference": shapes.Shape(5, 3, 7, 17), "step": shapes.Shape(1, 1, 16, 17)}
NARROW = {
    "fastlstm, Frozen, bfloat16", "PyTorch, bfloat16", "OpenVINO, bfloat16",
    "fastlstm, Frozen, int8", "PyTorch, int8", "ONNX Runtime, int8",
}  # fmt: skip


@pytest.fixture
def fake(monkeypatch):
    """OpenVINO's stand-in, also where OpenVINO is."""
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name)
    module = importlib.import_module("fake_openvino")
    module.put(monkeypatch)
    monkeypatch.setattr(module, "COMPILED", [])
    return module


@pytest.fixture
def found(monkeypatch):
    """All peers, OpenVINO's stand-in where it is not installed."""
    for name in ("torch", "onnx", "onnxruntime"):
        pytest.importorskip(name)
    importlib.import_module("fake_openvino").put_if_missing(monkeypatch)
    return peers.Peers.find()


@pytest.mark.parametrize("kind", SHAPES)
def test_in_full(found, kind):
    work = peers.Work(SHAPES[kind])
    taking_part = peers.plain(kind, work, found, 1)
    assert [one.name for one in taking_part] == [peers.OURS, peers.FROZEN, peers.TORCH, peers.ORT, peers.OPENVINO]
    for one in taking_part:
        for _ in range(2):
            assert measure.difference(peers.exact(kind, work), one, tolerance=1e-6) > 0
            one.repeat(3)  # What was computed before does not matter.


@pytest.mark.parametrize("kind", SHAPES)
def test_in_fewer_bits(found, kind):
    work = peers.Work(SHAPES[kind])
    taking_part = peers.narrow(kind, work, found, 1)
    theirs = {one.name for one in taking_part}
    bfloat16 = peers.in_format(peers.OPENVINO, "bfloat16")
    assert theirs | {bfloat16} == NARROW
    assert (bfloat16 in theirs) == ("BF16" in found.openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    for one in taking_part:
        # A wrong gate would be further away, a computation in float32 much nearer.
        assert measure.difference(peers.exact(kind, work), one, tolerance=0.02) > 1e-4, one.name


def test_each_is_compared_with_its_counterpart(found, monkeypatch):
    """Weights may change between calls for both, or for neither; with peepholes for both, or for neither."""
    seconds = {
        peers.OURS: 1, peers.FROZEN: 2, peers.OURS_PEEPHOLE: 3, peers.FROZEN_PEEPHOLE: 4,
        peers.TORCH: 50, peers.ORT: 60, peers.OPENVINO: 70, peers.ORT_PEEPHOLE: 80,
    }  # fmt: skip

    def interleave(taking_part, *_):
        return {one.name: np.full(3, seconds.get(one.name, 9.0)) for one in taking_part}

    monkeypatch.setattr(suite, "interleave", interleave)
    plan = suite.Plan([1], quick=True, seconds=1, kinds=("inference",), shapes=[SHAPES["inference"]])
    (part,) = suite.run(plan, found, lambda line: None)["parts"]
    (row,) = part["rows"]
    ratios = {name: spread["median"] for name, spread in row["ratios"].items()}
    assert ratios == {peers.TORCH: 50, peers.ORT: 30, peers.OPENVINO: 35, peers.ORT_PEEPHOLE: 20}
    assert row["best_peer"] == peers.ORT
    assert row["errors"].keys() == row["ms"].keys() - {peers.OURS_FLOAT64}
    assert all(error < 1e-6 for error in row["errors"].values())


def test_all_in_fewer_bits_have_a_counterpart_in_as_many():
    for name in NARROW:
        if not name.startswith(peers.FROZEN):
            assert peers.COUNTERPART[name] == f"fastlstm, Frozen, {name.split(', ')[1]}"


@pytest.mark.parametrize(("weights", "hint"), [("full", "f32"), ("bfloat16", "bf16")])
@pytest.mark.parametrize("kind", SHAPES)
def test_openvino_is_asked_for_speed(fake, kind, weights, hint):
    listed = peers.plain if weights == "full" else peers.narrow
    listed(kind, peers.Work(SHAPES[kind]), peers.Peers.find(), 2)
    (hints,) = fake.COMPILED
    assert hints == {
        "INFERENCE_NUM_THREADS": 2, "INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
    }  # fmt: skip


def test_openvino_without_bfloat16(fake, monkeypatch):
    monkeypatch.setattr(fake, "CAPABILITIES", ["FP32"])
    found = peers.Peers(onnx=sys.modules["onnx"], openvino=fake)
    names = {one.name for one in peers.narrow("step", peers.Work(SHAPES["step"]), found, 1)}
    assert names == {"fastlstm, Frozen, bfloat16", "fastlstm, Frozen, int8"}


def test_a_node_that_was_not_quantised_is_refused(found, monkeypatch):
    quantization = importlib.import_module("onnxruntime.quantization")
    monkeypatch.setattr(quantization, "quantize_dynamic", lambda before, after, **_: shutil.copy(before, after))
    with pytest.raises(RuntimeError, match="has not quantised the LSTM"):
        peers.narrow("inference", peers.Work(SHAPES["inference"]), found, 1)


def test_without_onnx_there_are_no_models(monkeypatch):
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, name, type(sys)(name))
    monkeypatch.setitem(sys.modules, "onnx", None)
    found = peers.Peers.find()
    assert found.onnxruntime is found.openvino is None
    assert found.missing.keys() >= {"onnx", "onnxruntime", "openvino"}
