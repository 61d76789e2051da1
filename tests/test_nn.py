"""fastlstm.nn: gradients against finite differences, PyTorch as an oracle, what clipping keeps, clear errors."""

import copy
import math

import numpy as np
import pytest

from fastlstm import LSTM
from fastlstm.nn import Adam, Dense, clip_norm, clip_value, mae, mse

LOSSES = [mse, mae]
SHAPES = [(3,), (5, 3), (4, 2, 3), (0, 3)]


def central_difference(f, array, step=1e-6):
    """df/d(array), element by element."""
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + step
        above = f()
        array[index] = value - step
        gradient[index] = (above - f()) / (2 * step)
        array[index] = value
    return gradient


# ---- Dense ----


@pytest.mark.parametrize("shape", SHAPES)
def test_dense_gradients(shape):
    rng = np.random.default_rng(0)
    dense = Dense(3, 2, dtype=np.float64, seed=0)
    h, dy = rng.normal(size=shape), rng.normal(size=(*shape[:-1], 2))
    y, tape = dense.forward(h)
    np.testing.assert_array_equal(y, dense(h))
    np.testing.assert_allclose(y, h @ dense.params["V"].T + dense.params["c"], atol=1e-14)
    grads = dense.backward(tape, dy)

    def loss():
        return float((dense(h) * dy).sum())

    np.testing.assert_allclose(grads.x, central_difference(loss, h), atol=1e-8)
    np.testing.assert_allclose(grads.flat, central_difference(loss, dense.flat), atol=1e-8)
    assert grads.state is None


def test_dense_gradients_are_views_and_accumulate():
    dense = Dense(3, 2, seed=0)
    h = np.ones((4, 3), np.float32)
    y, tape = dense.forward(h)
    grads = dense.backward(tape, np.ones_like(y))
    assert list(grads.params) == ["V", "c"]
    assert all(np.shares_memory(part, grads.flat) for part in grads.params.values())
    once = grads.flat.copy()
    assert dense.backward(tape, np.ones_like(y), out=grads, accumulate=True).flat is grads.flat
    np.testing.assert_array_equal(grads.flat, 2 * once)
    grads.flat[:] = np.nan
    np.testing.assert_array_equal(dense.backward(tape, np.ones_like(y), out=grads).flat, once)


def test_dense_reads_any_strides_and_read_only_input():
    dense = Dense(3, 2, seed=0)
    h = np.arange(24, dtype=np.float32).reshape(3, 8).T
    h.setflags(write=False)
    np.testing.assert_array_equal(dense(h), dense(h.copy(order="C")))


def test_dense_copies_keep_their_views():
    dense = Dense(3, 2, seed=0)
    twin = copy.deepcopy(dense)
    twin.flat[:] = 0
    assert not twin.params["V"].any()
    assert dense.params["V"].any()
    assert repr(twin) == "Dense(3, 2, dtype=float32)"


def test_dense_initial_weights():
    dense = Dense(100, 50, seed=1)
    assert np.abs(dense.flat).max() <= 0.1
    assert dense.flat.std() == pytest.approx(0.1 / math.sqrt(3), rel=0.05)
    np.testing.assert_array_equal(dense.flat, Dense(100, 50, seed=np.random.default_rng(1)).flat)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda d, tape: Dense(0, 2), ValueError, "input_size must be at least 1"),
        (lambda d, tape: Dense(3, 2.0), TypeError, "output_size must be an int"),
        (lambda d, tape: Dense(3, 2, dtype=np.float16), TypeError, "float32 or float64"),
        (lambda d, tape: d([1.0, 2.0, 3.0]), TypeError, "h must be a NumPy array"),
        (lambda d, tape: d(np.ones(3)), TypeError, "h must have dtype float32, not float64"),
        (
            lambda d, tape: d(np.ones((2, 4), np.float32)),
            ValueError,
            r"h must have shape \(..., input_size\) = \(2, 3\)",
        ),
        (lambda d, tape: d(np.ones((), np.float32)), ValueError, "h must have shape"),
        (lambda d, tape: d.backward(np.ones(3), np.ones(2)), TypeError, "tape must be a DenseTape"),
        (lambda d, tape: d.backward(tape, np.ones((5, 3), np.float32)), ValueError, "dy must have shape"),
        (lambda d, tape: d.backward(tape, np.ones((5, 2), np.float32), accumulate=True), ValueError, "needs out"),
        (lambda d, tape: d.backward(tape, np.ones((5, 2), np.float32), out=3), TypeError, "out must be Gradients"),
    ],
)
def test_dense_errors(call, error, message):
    dense = Dense(3, 2, seed=0)
    _, tape = dense.forward(np.ones((5, 3), np.float32))
    with pytest.raises(error, match=message):
        call(dense, tape)


def test_dense_refuses_to_write_over_its_weights():
    dense = Dense(3, 2, seed=0)
    y, tape = dense.forward(np.ones((5, 3), np.float32))
    grads = dense.backward(tape, y)
    grads.flat = dense.flat
    with pytest.raises(ValueError, match=r"out\.flat must not overlap"):
        dense.backward(tape, y, out=grads)


# ---- losses ----


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", [(), (4,), (2, 3, 2)])
def test_loss_gradients(loss, shape):
    rng = np.random.default_rng(0)
    prediction, target = np.asarray(rng.normal(size=shape)), np.asarray(rng.normal(size=shape))
    value, gradient = loss(prediction, target)
    assert isinstance(value, float)
    assert gradient.shape == shape
    np.testing.assert_allclose(gradient, central_difference(lambda: loss(prediction, target)[0], prediction), atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_are_pytorchs(dtype):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(size=(2, 6, 5)).astype(dtype)
    target[0] = prediction[0]
    for ours, theirs in ((mse, torch.nn.functional.mse_loss), (mae, torch.nn.functional.l1_loss)):
        value, gradient = ours(prediction, target)
        leaf = torch.tensor(prediction, requires_grad=True)
        expected = theirs(leaf, torch.tensor(target))
        expected.backward()
        assert value == pytest.approx(expected.item(), rel=1e-6)
        assert gradient.dtype == dtype
        np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=1e-6)


def test_mae_has_subgradient_zero_at_zero():
    assert mae(np.array([1.0, 2.0]), np.array([1.0, 3.0]))[1].tolist() == [0.0, -0.5]


def test_mse_of_large_float32_is_finite():
    assert mse(np.full(3, 1e30, np.float32), np.zeros(3, np.float32))[0] == pytest.approx(1e60, rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_errors(loss):
    with pytest.raises(TypeError, match="prediction must be a NumPy array"):
        loss([1.0], np.ones(1))
    with pytest.raises(TypeError, match="target must have dtype float32"):
        loss(np.ones(1, np.float32), np.ones(1))
    with pytest.raises(ValueError, match="target must have shape the prediction's"):
        loss(np.ones((3, 1)), np.ones(3))
    with pytest.raises(ValueError, match="prediction must have at least one element"):
        loss(np.ones((0, 2)), np.ones((0, 2)))


# ---- Adam ----


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-13), (np.float32, 1e-5)])
def test_adam_is_pytorchs(dtype, tolerance):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    flat = rng.normal(size=20).astype(dtype)
    leaf = torch.tensor(flat, requires_grad=True)
    ours = Adam(flat, 0.01, beta1=0.8, beta2=0.99, epsilon=1e-6)
    theirs = torch.optim.Adam([leaf], 0.01, betas=(0.8, 0.99), eps=1e-6)
    for t in range(50):
        gradient = (rng.normal(size=20) * 10.0 ** rng.integers(-6, 6)).astype(dtype)
        if t == 25:
            ours.learning_rate = theirs.param_groups[0]["lr"] = 0.001
        ours.step(gradient)
        leaf.grad = torch.tensor(gradient)
        theirs.step()
        np.testing.assert_allclose(flat, leaf.detach().numpy(), rtol=tolerance, atol=tolerance)
    assert ours.t == 50


def test_adam_changes_the_layer_and_not_the_gradient():
    dense = Dense(3, 2, seed=0)
    gradient = np.ones_like(dense.flat)
    before = dense.params["V"].copy()
    Adam(dense.flat, 0.1).step(gradient)
    np.testing.assert_allclose(dense.params["V"], before - 0.1, rtol=1e-5)
    assert np.all(gradient == 1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Adam([1.0]), TypeError, "flat must be a NumPy array"),
        (lambda: Adam(np.ones((2, 2))), ValueError, r"flat must have shape \(n,\)"),
        (lambda: Adam(np.ones(4)[::2]), ValueError, "flat must be C-contiguous"),
        (lambda: Adam(np.ones(2), "fast"), TypeError, "learning_rate must be a number"),
        (lambda: Adam(np.ones(2), -1), ValueError, "learning_rate must be at least 0"),
        (lambda: Adam(np.ones(2), math.nan), ValueError, "learning_rate must be at least 0"),
        (lambda: Adam(np.ones(2), beta1=1), ValueError, "beta1 must be at least 0 and below 1"),
        (lambda: Adam(np.ones(2), beta2=-0.1), ValueError, "beta2 must be"),
        (lambda: Adam(np.ones(2), epsilon=math.inf), ValueError, "epsilon must be"),
        (lambda: Adam(np.ones(2)).step(np.ones(3)), ValueError, "gradient must have shape"),
        (lambda: Adam(np.ones(2)).step(np.ones(2, np.float32)), TypeError, "gradient must have dtype float64"),
    ],
)
def test_adam_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---- clipping ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clip_norm_keeps_the_direction(dtype):
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=shape).astype(dtype) for shape in ((7,), (2, 3))]
    whole = np.concatenate([part.ravel() for part in parts])
    norm = clip_norm(parts, 0.5)
    assert norm == pytest.approx(np.linalg.norm(whole), rel=1e-6)
    np.testing.assert_allclose(np.concatenate([part.ravel() for part in parts]), whole * (0.5 / norm), rtol=1e-6)
    assert clip_norm(parts, 1) == pytest.approx(0.5, rel=1e-6)


def test_clip_norm_is_pytorchs():
    torch = pytest.importorskip("torch")
    parts = [np.array([3.0, 4.0]), np.array([[12.0]])]
    leaves = [torch.nn.Parameter(torch.tensor(part)) for part in parts]
    for leaf, part in zip(leaves, parts, strict=True):
        leaf.grad = torch.tensor(part)
    assert clip_norm(parts, 2.0) == torch.nn.utils.clip_grad_norm_(leaves, 2.0).item() == 13
    for leaf, part in zip(leaves, parts, strict=True):
        np.testing.assert_allclose(part, leaf.grad.numpy(), rtol=1e-6)


def test_clip_norm_leaves_short_and_empty_gradients():
    gradient = np.array([3.0, 4.0])
    assert clip_norm(gradient, 5) == 5
    assert clip_norm(gradient, math.inf) == 5
    assert gradient.tolist() == [3, 4]
    assert clip_norm(np.zeros(3), 1) == clip_norm(np.zeros(0), 1) == clip_norm([], 1) == 0


def test_clip_norm_of_large_float32_does_not_overflow():
    gradient = np.full(100, 3e38, np.float32)
    assert clip_norm(gradient, 1) == pytest.approx(3e39, rel=1e-6)
    np.testing.assert_allclose(gradient, 0.1, rtol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e200])
def test_clip_norm_leaves_gradients_without_a_norm(bad):
    gradients = [np.array([1.0, bad]), np.array([2.0])]
    assert not math.isfinite(clip_norm(gradients, 1))
    np.testing.assert_array_equal(gradients[0], [1, bad])
    assert gradients[1] == 2


def test_clip_value():
    gradients = [np.array([3.0, -0.5, -7.0, math.nan, math.inf]), np.array([[2.0]], np.float32)]
    clip_value(gradients, 1)
    np.testing.assert_array_equal(gradients[0], [1, -0.5, -1, math.nan, 1])
    assert gradients[1] == 1
    clip_value(gradients[1], 1e300)
    assert gradients[1] == 1


@pytest.mark.parametrize(("clip", "name"), [(clip_norm, "threshold"), (clip_value, "limit")])
def test_clipping_errors(clip, name):
    overlapping = np.ones(4)
    read_only = np.ones(2)
    read_only.setflags(write=False)
    for bad in (0, -1, math.nan):
        with pytest.raises(ValueError, match=f"{name} must be above 0"):
            clip(np.ones(2), bad)
    with pytest.raises(TypeError, match=f"{name} must be a number"):
        clip(np.ones(2), None)
    with pytest.raises(TypeError, match="gradients must be an array or a sequence"):
        clip(3.0, 1)
    with pytest.raises(TypeError, match=r"gradients\[1\] must be a NumPy array"):
        clip([np.ones(2), 3.0], 1)
    with pytest.raises(ValueError, match="gradients must be C-contiguous"):
        clip(read_only, 1)
    with pytest.raises(ValueError, match=r"gradients\[1\] must not overlap gradients\[0\]"):
        clip([overlapping[:3], overlapping[2:]], 1)


# ---- all of it ----


def test_training_is_pytorchs():
    torch = pytest.importorskip("torch")
    T, B, I, H, O = 7, 4, 3, 5, 2
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(T, B, I)), rng.normal(size=(B, O))
    lstm = LSTM(I, H, peephole=False, dtype=np.float64, seed=rng)
    dense = Dense(H, O, dtype=np.float64, seed=rng)

    their_lstm, their_dense = torch.nn.LSTM(I, H).double(), torch.nn.Linear(H, O).double()
    pairs = {
        their_lstm.weight_ih_l0: lstm.params["W_l0"],
        their_lstm.weight_hh_l0: lstm.params["R_l0"],
        their_lstm.bias_ih_l0: lstm.params["b_l0"],
        their_dense.weight: dense.params["V"],
        their_dense.bias: dense.params["c"],
    }
    with torch.no_grad():
        their_lstm.bias_hh_l0.zero_()
        for theirs, ours in pairs.items():
            theirs.copy_(torch.from_numpy(ours))
    their_adam = torch.optim.Adam(pairs, 0.01)  # their second bias is left out: ours is one
    adams = [Adam(lstm.flat, 0.01), Adam(dense.flat, 0.01)]

    losses = []
    for _ in range(10):
        _, (h, _), lstm_tape = lstm.forward(x)
        y, dense_tape = dense.forward(h[0])
        loss, dy = mse(y, target)
        dense_grads = dense.backward(dense_tape, dy)
        lstm_grads = lstm.backward(lstm_tape, None, (dense_grads.x[np.newaxis], None))
        for adam, grads in zip(adams, (lstm_grads, dense_grads), strict=True):
            adam.step(grads.flat)
        losses.append(loss)

        their_adam.zero_grad()
        _, (their_h, _) = their_lstm(torch.from_numpy(x))
        their_loss = torch.nn.functional.mse_loss(their_dense(their_h[0]), torch.from_numpy(target))
        their_loss.backward()
        their_adam.step()
        assert loss == pytest.approx(their_loss.item(), rel=1e-12)
    assert np.all(np.diff(losses) < 0)
    for theirs, ours in pairs.items():
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=0, atol=1e-9)
