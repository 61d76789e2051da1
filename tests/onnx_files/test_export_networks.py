"""Networks of all layers as ONNX models, beside ONNX Runtime."""

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
from onnx.reference import ReferenceEvaluator
from onnx_export import B, T, assert_same, axes_of, check, feeds_of, needs_reference, outputs_of, session
from onnx_networks import NETWORKS, H, I, batch_first, lstm, randomised

import fastlstm
import fastlstm.onnx
from fastlstm import nn

WITH_BATCH_FIRST = [name for name in NETWORKS if name != "branches alone"]


@pytest.mark.parametrize("lengths", [None, (7, 3, 1, 5), (2, 0, 7, 0)], ids=["all", "some", "none"])
@pytest.mark.parametrize("state", [True, False], ids=["state", "zeros"])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name, state, lengths):
    check(randomised(NETWORKS[name]()), lengths=lengths, state=state)


@pytest.mark.parametrize("lengths", [None, (7, 3, 1, 5)], ids=["all", "some"])
@pytest.mark.parametrize("name", WITH_BATCH_FIRST)
def test_networks_with_the_batch_first(name, lengths):
    network = batch_first(randomised(NETWORKS[name]()))
    model = check(network, lengths=lengths)
    assert axes_of(model.graph.input[0])[:2] == ["batch", "time"]


@pytest.mark.parametrize("opset", [14, 16, 18, 20, 22, 24, 28])
@pytest.mark.parametrize("name", ["norm", "mean", "last of two", "residual", "branches", "dropout", "embedding"])
def test_opsets(name, opset):
    if opset > onnx.defs.onnx_opset_version():
        pytest.skip(f"onnx {onnx.__version__} has no opset {opset}")
    check(randomised(NETWORKS[name]()), opset=opset)
    check(randomised(NETWORKS[name]()), opset=opset, lengths=None, state=False)


@pytest.mark.parametrize(
    ("network", "axes"),
    [
        (nn.Dense(I, 2, seed=0), ["batch", I]),
        (nn.Sequential(nn.Dense(I, 4, seed=0), nn.LayerNorm(4), nn.Dense(4, 2, seed=1)), ["batch", I]),
        (nn.Sequential(nn.Dense(I, 4, seed=0), batch_first=True), ["batch", I]),
        (nn.LayerNorm(I), ["batch", I]),
        (nn.Activation("logistic"), ["batch", "features"]),
        (nn.Embedding(10, 4, seed=0), ["batch"]),
        (nn.Dropout(0.5), ["batch", "features"]),
        (nn.Last(), ["time", "batch", "features"]),
        (nn.Mean(), ["time", "batch", "features"]),
    ],
    ids=lambda given: type(given).__name__,
)
def test_networks_without_a_state(network, axes):
    model = check(network, lengths=None)
    assert axes_of(model.graph.input[0]) == axes


@pytest.mark.parametrize("network", [nn.Last(), nn.Mean()], ids=str)
def test_pooling_alone_with_lengths(network):
    check(network)


@needs_reference
@pytest.mark.parametrize("name", ["last", "norm", "embedding", "two recurrent", "mean", "branches"])
def test_float64(name):
    """By ONNX's reference, to the precision of float64, the layers' statistics included."""
    network = fastlstm.saving.architecture(NETWORKS[name]())

    def double(described):
        if isinstance(described, list):
            return [double(one) for one in described]
        if not isinstance(described, dict):
            return described
        return {key: "float64" if key == "dtype" else double(value) for key, value in described.items()}

    network = randomised(fastlstm.saving.build(double(network)))
    model = fastlstm.onnx.to_onnx(network)
    feeds = feeds_of(model)
    names = [value.name for value in model.graph.output]
    found = dict(zip(names, ReferenceEvaluator(model).run(names, feeds), strict=True))
    assert_same(found, outputs_of(network, feeds), 1e-12)


@pytest.mark.parametrize("end", ["softmax", "logistic"])
@pytest.mark.parametrize("first", [False, True])
def test_ends(end, first):
    network = nn.Sequential(lstm(), nn.Dense(H, 4, seed=2), batch_first=first)
    model = fastlstm.onnx.to_onnx(network, end=end, state=False)
    feeds = feeds_of(model)
    (found,) = session(model).run(["y"], feeds)
    logits, _ = network(feeds["x"])
    assert_same({"y": found}, {"y": nn.softmax(logits) if end == "softmax" else 1 / (1 + np.exp(-logits))})


def test_names_and_what_is_said():
    network = nn.Sequential(nn.Embedding(10, I, seed=0), lstm(), nn.Sequential(fastlstm.GRU(H, 4, seed=0)), nn.Last())
    model = fastlstm.onnx.to_onnx(network, lengths=True)
    assert [value.name for value in model.graph.input] == ["ids", "lengths", "1.h0", "1.c0", "2.0.h0"]
    assert [value.name for value in model.graph.output] == ["y", "1.h", "1.c", "2.0.h"]
    assert [axes_of(value) for value in model.graph.input] == [
        ["time", "batch"], ["batch"], [1, "batch", H], [1, "batch", H], [1, "batch", 4],
    ]  # fmt: skip
    assert (model.producer_name, model.producer_version) == ("fastlstm", fastlstm.__version__)
    assert repr(network) in model.doc_string
    assert model.graph.name == "Sequential"
    assert all(value.doc_string for value in [*model.graph.input, *model.graph.output])
    assert all(node.name and node.domain == "" for node in model.graph.node)
    assert not model.metadata_props


def test_the_same_network_gives_the_same_bytes():
    one, other = (fastlstm.onnx.to_onnx(NETWORKS["branches"]()).SerializeToString(deterministic=True) for _ in range(2))
    assert one == other


def test_the_checker_of_onnx_has_the_last_word(monkeypatch):
    seen = []
    monkeypatch.setattr(onnx.checker, "check_model", lambda *given, **options: seen.append((*given, options)))
    model = fastlstm.onnx.to_onnx(lstm())
    assert seen == [(model, {"full_check": True})]


def test_nothing_of_the_network_is_shared():
    layer = lstm()
    model = fastlstm.onnx.to_onnx(layer)
    before = model.SerializeToString(deterministic=True)
    layer.flat[:] = 0
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("opset", [14, 17, 22])
def test_dropout_between_layers_does_nothing(opset):
    model = check(fastlstm.GRU(I, H, 3, dropout=0.5, seed=0), opset=opset)
    assert [node.op_type for node in model.graph.node if node.op_type in ("GRU", "Dropout")] == [
        "GRU", "Dropout", "GRU", "Dropout", "GRU",
    ]  # fmt: skip


def test_many_rows():
    check(NETWORKS["last of two"](), lengths=None, T=T, B=B * 16)
