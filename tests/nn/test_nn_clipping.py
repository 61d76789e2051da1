"""Clipping: what it keeps, PyTorch as an oracle, clear errors."""

import math

import numpy as np
import pytest
from cases import DTYPES

import fastlstm
from fastlstm.nn import clip_norm, clip_value


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clip_norm_keeps_the_direction(dtype):
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=shape).astype(dtype) for shape in ((7,), (2, 3))]
    whole = np.concatenate([part.ravel() for part in parts])
    norm = clip_norm(parts, 0.5)
    assert norm == pytest.approx(np.linalg.norm(whole), rel=1e-6)
    np.testing.assert_allclose(np.concatenate([part.ravel() for part in parts]), whole * (0.5 / norm), rtol=1e-6)
    assert clip_norm(parts, 1) == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 3, 7, 8, 15, 16, 17, 31, 33, 65])
def test_clip_norm_of_each_instruction_set(n, dtype, isa):
    gradient = np.random.default_rng(0).normal(size=n).astype(dtype)
    exact = math.sqrt(math.fsum(float(value) ** 2 for value in gradient))
    before = gradient.copy()
    norm = clip_norm(gradient, 1e-3)
    assert norm == pytest.approx(exact, rel=1e-15)
    assert gradient.tobytes() == (before.astype(np.float64) * (1e-3 / norm)).astype(dtype).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_clip_norm_with_threads(dtype, default_threads):
    whole = np.random.default_rng(0).normal(size=200_003).astype(dtype)
    for threads in (1, 2, 3):
        fastlstm.set_num_threads(threads)
        gradient = whole.copy()
        norm = clip_norm(gradient, 1)
        assert norm == pytest.approx(np.linalg.norm(whole.astype(np.float64)), rel=1e-13)
        assert gradient.tobytes() == (whole.astype(np.float64) * (1 / norm)).astype(dtype).tobytes()


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
