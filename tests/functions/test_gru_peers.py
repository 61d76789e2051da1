"""The GRU of PyTorch, ONNX Runtime and Keras, in both forms: the same numbers, and from autograd the same gradients."""

import os

import numpy as np
import pytest
from cases import GRU_ARGUMENTS, GRU_FORMS, gru_case
from helpers import assert_close, gru_forward, reference_gru, run_gru
from peers import PEER_TOLERANCE, SIZES, all_sizes, both_dtypes, leaf, run_onnxruntime, torch_layer

from fastlstm.keras import from_keras

both_forms = pytest.mark.parametrize("reset_after", GRU_FORMS)


def reordered(array, order):
    """Return the blocks r, z, n in another order."""
    blocks = dict(zip("rzn", np.split(array, 3), strict=True))
    return np.concatenate([blocks[name] for name in order])


def both_biases(case, order):
    """Return the biases of the two products: that of R h has bn alone."""
    H = len(case["b"]) // 3
    of_R = np.zeros_like(case["b"])
    if case["bn"] is not None:
        of_R[2 * H :] = case["bn"]
    return reordered(case["b"], order), reordered(of_R, order)


def as_numpy(tensors):
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


# ---- PyTorch ---------------------------------------------------------------------------------------------------------


@all_sizes
@both_dtypes
def test_torch(torch, sizes, dtype):
    case = gru_case(*sizes, dtype=dtype)
    layer = torch_layer(torch, torch.nn.GRU, case)
    x, h0 = leaf(torch, case["x"]), leaf(torch, case["h0"][None])
    y, h = layer(x, h0)
    h = h[0]
    torch.autograd.backward([y, h], [torch.from_numpy(case[name]) for name in ("dy", "dh")])
    expected = {
        "y": y, "h": h, "dx": x.grad, "dW": layer.weight_ih_l0.grad, "dR": layer.weight_hh_l0.grad,
        "db": layer.bias_ih_l0.grad, "dbn": layer.bias_hh_l0.grad[2 * sizes[3] :], "dh0": h0.grad[0],
    }  # fmt: skip
    for run in (run_gru, reference_gru):
        assert_close(run(case), as_numpy(expected), PEER_TOLERANCE[dtype])


def autograd_gru(torch, x, W, R, b, bn, h0):
    """The equations in PyTorch's words, with no backward pass written by hand; its own GRU has one form alone."""
    h, hs = h0, []
    R_r, R_z, R_n = R.chunk(3)
    for x_t in x:
        r, z, n = (x_t @ W.T + b).chunk(3, dim=-1)
        r, z = torch.sigmoid(r + h @ R_r.T), torch.sigmoid(z + h @ R_z.T)
        n = torch.tanh(n + ((r * h) @ R_n.T if bn is None else r * (h @ R_n.T + bn)))
        h = n + z * (h - n)
        hs.append(h)
    return torch.stack(hs), h


@both_forms
@all_sizes
@both_dtypes
def test_autograd(torch, sizes, reset_after, dtype):
    case = gru_case(*sizes, reset_after, dtype=dtype)
    leaves = {name: None if case[name] is None else leaf(torch, case[name]) for name in GRU_ARGUMENTS}
    y, h = autograd_gru(torch, **leaves)
    torch.autograd.backward([y, h], [torch.from_numpy(case[name]) for name in ("dy", "dh")])
    expected = {"y": y, "h": h} | {f"d{name}": tensor.grad for name, tensor in leaves.items() if tensor is not None}
    for run in (run_gru, reference_gru):
        assert_close(run(case), as_numpy(expected), PEER_TOLERANCE[dtype])


# ---- ONNX Runtime ----------------------------------------------------------------------------------------------------


ENDS = {"forward": {}, "reverse": {"reverse": True}}


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("direction", ENDS)
@both_forms
@all_sizes
def test_onnxruntime(onnx, sizes, reset_after, direction, lengths):
    """ONNX has the blocks z, r, h."""
    (T, B, _, H), ends = sizes, None
    case = gru_case(*sizes, reset_after, dtype=np.float32)
    if lengths:
        ends = np.random.default_rng(0).integers(1, T + 1, B).astype(np.int32)
        ends[-1] = T
    inputs = {
        "X": case["x"], "W": reordered(case["W"], "zrn")[None], "R": reordered(case["R"], "zrn")[None],
        "B": np.concatenate(both_biases(case, "zrn"))[None], "sequence_lens": ends, "initial_h": case["h0"][None],
    }  # fmt: skip
    attributes = {"hidden_size": H, "linear_before_reset": int(reset_after), "direction": direction}
    found = run_onnxruntime(onnx, "GRU", inputs, ["Y", "Y_h"], **attributes)
    y, h, _ = gru_forward(case, lengths=ends, **ENDS[direction])
    # 1e-5: ONNX Runtime's own approximations of tanh and sigma are good to some 20 float32 ulp.
    assert_close({"y": y, "h": h}, {"y": found["Y"][:, 0], "h": found["Y_h"][0]}, 1e-5)


# ---- Keras -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras():
    """Keras on PyTorch, whose autograd gives the gradients."""
    pytest.importorskip("torch", reason="PyTorch is an optional peer")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras", reason="Keras is an optional peer")


@both_forms
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_keras(torch, keras, sizes, reset_after):
    """Keras has the blocks z, r, h side by side, and batches first."""
    case, H = gru_case(*sizes, reset_after), sizes[3]
    layer = keras.layers.GRU(H, return_sequences=True, return_state=True, reset_after=reset_after, dtype="float64")
    layer.build((sizes[1], sizes[0], sizes[2]))
    b, b_of_R = both_biases(case, "zrn")
    weights = [
        reordered(case["W"], "zrn").T,
        reordered(case["R"], "zrn").T,
        np.stack([b, b_of_R]) if reset_after else b,
    ]
    layer.set_weights(weights)
    x, h0 = leaf(torch, case["x"]), leaf(torch, case["h0"])
    y, h = layer(x.swapaxes(0, 1), initial_state=h0)
    y = y.swapaxes(0, 1)
    torch.autograd.backward([y, h], [torch.from_numpy(case[name]) for name in ("dy", "dh")])
    dW, dR, db = (weight.value.grad for weight in layer.weights)
    expected = as_numpy({"y": y, "h": h, "dx": x.grad, "dW": dW.T, "dR": dR.T, "dh0": h0.grad})
    db = db.numpy()
    expected["db"] = db[0] if reset_after else db
    if reset_after:
        expected["dbn"] = db[1, 2 * H :]
    for name in ("dW", "dR", "db"):
        z, r, n = np.split(expected[name], 3)
        expected[name] = np.concatenate([r, z, n])
    # The reset-before form is no single call of PyTorch, and Keras rounds the factors of its products to float32 there.
    tolerance = PEER_TOLERANCE[np.float64 if reset_after else np.float32]
    for run in (run_gru, reference_gru):
        assert_close(run(case), expected, tolerance)
    found, last = from_keras(keras.saving.serialize_keras_object(layer), weights)(case["x"], case["h0"][np.newaxis])
    assert_close({"y": found, "h": last[0]}, {name: expected[name] for name in "yh"}, tolerance)
