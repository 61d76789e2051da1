"""Encoders with decoders as ONNX models, beside ONNX Runtime."""

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx_export import assert_same, axes_of, session

import fastlstm
import fastlstm.onnx
from fastlstm import nn

S, T, B, V = 7, 5, 4, 9


def encoder(**options):
    return nn.Sequential(nn.Embedding(10, 4, seed=0), fastlstm.LSTM(4, 6, seed=1, **options))


NETWORKS = {
    "plain": lambda: nn.Seq2Seq(encoder(), nn.Decoder(V, 3, 5, encoded_size=6, seed=2)),
    "layers": lambda: nn.Seq2Seq(encoder(), nn.Decoder(V, 3, 5, 3, encoded_size=6, dropout=0.2, seed=2)),
    "two directions": lambda: nn.Seq2Seq(
        encoder(bidirectional=True), nn.Decoder(V, 3, 5, 2, encoded_size=12, variant="CIFG", seed=2)
    ),
    "attention": lambda: nn.Seq2Seq(encoder(), nn.Decoder(V, 3, 5, encoded_size=6, attention_size=8, seed=2)),
    "attention, two directions": lambda: nn.Seq2Seq(
        encoder(bidirectional=True), nn.Decoder(V, 3, 5, 2, encoded_size=12, attention_size=8, peephole=False, seed=2)
    ),
    "vectors": lambda: nn.Seq2Seq(None, nn.Decoder(V, 3, 5, encoded_size=6, seed=2)),
    "attention to x": lambda: nn.Seq2Seq(None, nn.Decoder(V, 3, 5, encoded_size=6, attention_size=8, seed=2)),
    "an encoder of vectors": lambda: nn.Seq2Seq(nn.Dense(3, 6, seed=0), nn.Decoder(V, 3, 5, encoded_size=6, seed=2)),
    "an encoder to vectors": lambda: nn.Seq2Seq(
        nn.Sequential(fastlstm.GRU(3, 6, seed=0), nn.Mean()), nn.Decoder(V, 3, 5, encoded_size=6, seed=2)
    ),
}
WITHOUT_LENGTHS = ["vectors", "an encoder of vectors"]


def inputs(model):
    rng, feeds = np.random.default_rng(5), {}
    for value in model.graph.input:
        shape = [{"time": S, "batch": B, "target_time": T}.get(axis, axis) for axis in axes_of(value)]
        if value.name == "lengths":
            feeds["lengths"] = np.array([7, 0, 1, 5], np.int32)
        elif value.name == "x":
            feeds["x"] = rng.normal(size=shape).astype(np.float32)
        else:
            feeds[value.name] = rng.integers(0, V, shape)
    return feeds


@pytest.mark.parametrize("opset", [14, 17, 20])
@pytest.mark.parametrize("lengths", [False, True], ids=["all", "lengths"])
@pytest.mark.parametrize("name", NETWORKS)
def test_logits(name, lengths, opset):
    network = NETWORKS[name]()
    if lengths and name in WITHOUT_LENGTHS:
        with pytest.raises(ValueError, match=r"^lengths must be False: no part takes them in "):
            fastlstm.onnx.to_onnx(network, lengths=True)
        return
    model = fastlstm.onnx.to_onnx(network, lengths=lengths, opset=opset)
    assert [value.name for value in model.graph.output] == ["y"]
    assert axes_of(model.graph.output[0]) == ["target_time", "batch", V]
    feeds = inputs(model)
    (found,) = session(model).run(["y"], feeds)
    x = feeds["ids"] if "ids" in feeds else feeds["x"]
    expected, _ = network(x, feeds["target_in"], feeds.get("lengths"))
    assert_same({"y": found}, {"y": expected})


def test_a_greedy_search_outside():
    """A program writes symbol by symbol by giving what it has written so far."""
    network = NETWORKS["attention, two directions"]()
    network.flat[:] *= 4
    run = session(fastlstm.onnx.to_onnx(network, lengths=True))
    x, lengths = np.random.default_rng(0).integers(0, 10, (S, B)), np.array([7, 2, 1, 5], np.int32)
    written = np.zeros((1, B), np.int64)
    for _ in range(6):
        (logits,) = run.run(["y"], {"ids": x, "lengths": lengths, "target_in": written})
        written = np.concatenate([written, logits[-1:].argmax(axis=-1)])
    expected = network.greedy(x, lengths, begin=0, end=8, max_steps=6)
    assert max(map(len, expected)) > 2
    for row, ids in enumerate(expected):
        np.testing.assert_array_equal(written[1 : len(ids) + 1, row], ids)


def test_refusals():
    class Own(nn.Seq2Seq):
        pass

    network = Own(encoder(), nn.Decoder(V, 3, 5, encoded_size=6))
    with pytest.raises(TypeError, match=r"^network must be a layer or a network of layers, not Own$"):
        fastlstm.onnx.to_onnx(network)
    with pytest.raises(TypeError, match=r"not Decoder: give the Seq2Seq that it is part of$"):
        fastlstm.onnx.to_onnx(nn.Decoder(V, 3, 5, encoded_size=6))
    fgr = nn.Seq2Seq(encoder(), nn.Decoder(V, 3, 5, encoded_size=6, variant="FGR"))
    with pytest.raises(ValueError, match=r"^layer decoder\.lstm, LSTM, has variant FGR, which ONNX cannot say"):
        fastlstm.onnx.to_onnx(fgr)
