"""Files that are written whole, and run by a program that has no fastlstm."""

import numpy as np
import pytest
from programs import run

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx

import fastlstm
import fastlstm.onnx
from fastlstm import nn

PROGRAM = """
    import sys

    sys.modules["fastlstm"] = None  # Whatever imports it raises ModuleNotFoundError.

    import numpy as np
    import onnxruntime

    folder = sys.argv[1]
    session = onnxruntime.InferenceSession(folder + "/sum.onnx", providers=["CPUExecutionProvider"])
    feeds = dict(np.load(folder + "/feeds.npz"))
    np.savez(folder + "/found.npz", **dict(zip(["y"], session.run(["y"], feeds))))
    print([value.name for value in session.get_inputs()], [value.name for value in session.get_outputs()])
"""


def test_a_trained_network_in_a_program_without_fastlstm(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(128, 10, 3)).astype(np.float32)
    lengths = rng.integers(1, 11, 128).astype(np.int32)
    sums = np.array([row[:length, :1].sum(axis=0) for row, length in zip(x, lengths, strict=True)])
    network = nn.Sequential(fastlstm.LSTM(3, 16, seed=0), nn.Last(), nn.Dense(16, 1, seed=1), batch_first=True)
    sequences = [row[:length] for row, length in zip(x, lengths, strict=True)]
    data = nn.Batches(sequences, sums, 32)
    before = nn.evaluate(network, nn.mse, data)
    nn.fit(network, nn.mse, data, optimiser=nn.Adam(network, learning_rate=0.02), epochs=15)
    assert nn.evaluate(network, nn.mse, data) < 0.2 * before
    fastlstm.onnx.save(network, tmp_path / "sum.onnx", lengths=True, state=False)
    np.savez(tmp_path / "feeds.npz", x=x, lengths=lengths)
    assert run(PROGRAM, tmp_path) == "['x', 'lengths'] ['y']\n"
    found = np.load(tmp_path / "found.npz")["y"]
    np.testing.assert_allclose(found, network(x, lengths=lengths)[0], rtol=0, atol=2e-6)
    assert float(np.mean((found - sums) ** 2)) < 0.2 * before


def test_a_file_is_the_model(tmp_path):
    network = fastlstm.GRU(3, 5, 2, seed=0)
    path = tmp_path / "gru.onnx"
    path.write_bytes(b"what was here before")
    fastlstm.onnx.save(network, path, opset=20, state=False)
    assert onnx.load(path) == fastlstm.onnx.to_onnx(network, opset=20, state=False)
    assert [one.name for one in tmp_path.iterdir()] == ["gru.onnx"]


def test_options_of_to_onnx_alone(tmp_path):
    with pytest.raises(TypeError, match="unexpected keyword argument 'version'"):
        fastlstm.onnx.save(fastlstm.GRU(3, 5), tmp_path / "gru.onnx", version=3)
    assert not list(tmp_path.iterdir())
