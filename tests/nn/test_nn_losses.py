"""Losses: finite differences, brute force in float64, PyTorch as an oracle, masks, extreme values, clear errors."""

import math

import numpy as np
import pytest
from cases import DTYPES
from differences import central_difference
from scipy.special import log_softmax, xlogy
from scipy.special import softmax as scipy_softmax

import fastlstm
from fastlstm.nn import ctc_loss, huber, logistic_loss, mae, mse, softmax, softmax_cross_entropy

both_dtypes = pytest.mark.parametrize("dtype", DTYPES)
EPS = {dtype: float(np.finfo(dtype).eps) for dtype in DTYPES}
ODD = [1, 3, 7, 8, 15, 16, 17, 31, 33, 65]


def narrow_huber(prediction, target, mask=None):
    return huber(prediction, target, mask, delta=0.3)


LOSSES = [mse, mae, huber, narrow_huber, logistic_loss]
all_losses = pytest.mark.parametrize("loss", LOSSES)


def case(loss, shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    target = rng.random(shape) if loss is logistic_loss else rng.normal(size=shape)
    return np.asarray(2 * rng.normal(size=shape), dtype), np.asarray(target, dtype)


def brute_force(loss, prediction, target):
    """Values and derivatives of the elements, in float64."""
    y, t = prediction.astype(np.float64), target.astype(np.float64)
    e = y - t
    if loss is logistic_loss:
        p = 1 / (1 + np.exp(-y))
        return -xlogy(t, p) - xlogy(1 - t, 1 - p), p - t
    if loss is mse:
        return e**2, 2 * e
    if loss is mae:
        return np.abs(e), np.sign(e)
    delta = 1 if loss is huber else 0.3
    small = np.abs(e) <= delta
    return np.where(small, e**2 / 2, delta * (np.abs(e) - delta / 2)), np.where(small, e, delta * np.sign(e))


# ---- losses that are a sum over elements ----


@all_losses
@pytest.mark.parametrize("shape", [(), (4,), (2, 3, 2)])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients(loss, shape, masked):
    prediction, target = case(loss, shape)
    mask = np.asarray(np.arange(math.prod(shape)).reshape(shape) % 3 != 1) if masked else None
    value, gradient = loss(prediction, target, mask)
    assert isinstance(value, float)
    assert gradient.shape == shape
    numeric = central_difference(lambda: loss(prediction, target, mask)[0], prediction)
    np.testing.assert_allclose(gradient, numeric, atol=1e-8)


@all_losses
@both_dtypes
@pytest.mark.parametrize("n", ODD)
def test_each_instruction_set_is_brute_force(loss, dtype, n, isa):
    prediction, target = case(loss, (3, n), dtype)
    tolerance = 50 * EPS[dtype]
    mask = np.arange(3 * n).reshape(3, n) % 5 < 3
    values, slopes = brute_force(loss, prediction, target)
    for own, count in ((None, 3 * n), (mask, mask.sum())):
        value, gradient = loss(prediction, target, own)
        assert value == pytest.approx(values[... if own is None else own].sum() / count, rel=tolerance)
        assert gradient.dtype == dtype
        wanted = slopes / count if own is None else slopes * own / count
        np.testing.assert_allclose(gradient, wanted, rtol=tolerance, atol=tolerance / count)
        assert np.all(gradient[wanted == 0] == 0)


@all_losses
@both_dtypes
def test_losses_are_pytorchs(loss, dtype):
    F = pytest.importorskip("torch").nn.functional
    theirs = {
        mse: F.mse_loss,
        mae: F.l1_loss,
        huber: F.huber_loss,
        narrow_huber: lambda y, t: F.huber_loss(y, t, delta=0.3),
        logistic_loss: F.binary_cross_entropy_with_logits,
    }[loss]
    prediction, target = case(loss, (6, 5), dtype)
    if loss is not logistic_loss:
        target[0] = prediction[0]
    value, gradient = loss(prediction, target)
    torch = pytest.importorskip("torch")
    leaf = torch.tensor(prediction, requires_grad=True)
    expected = theirs(leaf, torch.tensor(target))
    expected.backward()
    assert value == pytest.approx(expected.item(), rel=1e-6)
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=1e-6, atol=1e-8)


@all_losses
@both_dtypes
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_what_the_mask_leaves_out_is_not_looked_at(loss, dtype, axes):
    prediction, target = case(loss, (5, 4, 3), dtype)
    mask = np.random.default_rng(1).random((5, 4, 3)[:axes]) < 0.6
    expected, part = loss(prediction[mask], target[mask])
    prediction[~mask], target[~mask] = np.nan, -np.inf
    value, gradient = loss(prediction, target, mask)
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_array_equal(gradient[mask], part)
    assert not gradient[~mask].any()


@all_losses
@both_dtypes
def test_not_a_number_stays_in_its_place(loss, dtype, isa):
    prediction, target = case(loss, (33,), dtype)
    clean = loss(prediction, target)[1]
    prediction[20] = np.nan
    value, gradient = loss(prediction, target)
    assert math.isnan(value)
    assert np.isnan(gradient[20])
    np.testing.assert_array_equal(np.delete(gradient, 20), np.delete(clean, 20))


@all_losses
def test_threads_change_no_gradient(loss, default_threads):
    prediction, target = case(loss, (300, 401), np.float32)
    mask = np.random.default_rng(0).random((300, 401)) < 0.5
    for own in (None, mask):
        found = []
        for threads in (1, 2, 3):
            fastlstm.set_num_threads(threads)
            found.append(loss(prediction, target, own))
        for value, gradient in found[1:]:
            assert value == pytest.approx(found[0][0], rel=1e-13)
            np.testing.assert_array_equal(gradient, found[0][1])


@all_losses
def test_any_layout_is_read_and_nothing_written(loss):
    prediction, target = case(loss, (4, 6))
    mask = np.arange(24).reshape(4, 6) % 3 > 0
    expected = loss(prediction, target, mask)
    padded = np.asfortranarray(np.repeat(prediction, 2, axis=1))[:, ::2]
    copies = padded, np.asfortranarray(target), np.asfortranarray(mask)
    for array in copies:
        array.setflags(write=False)
    found = loss(*copies)
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])
    assert not np.shares_memory(found[1], padded)


def test_mae_has_subgradient_zero_at_zero():
    assert mae(np.array([1.0, 2.0]), np.array([1.0, 3.0]))[1].tolist() == [0.0, -0.5]


def test_large_float32_values_are_finite():
    large, zero = np.full(3, 1e30, np.float32), np.zeros(3, np.float32)
    assert mse(large, zero)[0] == pytest.approx(1e60, rel=1e-6)
    assert huber(large, zero, delta=1e25)[0] == pytest.approx(1e55, rel=1e-4)
    np.testing.assert_allclose(mse(np.full(3, 3e38, np.float32), zero)[1], 2e38, rtol=1e-6)


@both_dtypes
def test_logistic_loss_of_large_logits(dtype, isa):
    """No overflow, and no digit lost where the loss is small."""
    for logit in (30.0, 80.0, 1000.0):
        exact = math.log1p(math.exp(-logit))
        for sign, right in ((1, 1.0), (-1, 0.0)):
            value, gradient = logistic_loss(np.array([sign * logit], dtype), np.array([right], dtype))
            assert value == pytest.approx(exact, rel=1e-6, abs=2 * float(np.finfo(dtype).tiny))
            assert abs(gradient[0]) <= 1.1 * max(exact, EPS[dtype])
            value, gradient = logistic_loss(np.array([sign * logit], dtype), np.array([1 - right], dtype))
            assert value == pytest.approx(logit, rel=1e-6)
            assert gradient[0] == pytest.approx(sign)


@both_dtypes
def test_logistic_loss_is_as_exact_as_the_precision(dtype, isa):
    logits = np.linspace(-20, 20, 4001).astype(dtype)
    wide = logits.astype(np.longdouble)
    for right in (0, 1):
        exact = np.log1p(np.exp(-wide if right else wide))
        found = np.array([logistic_loss(logit[np.newaxis], np.array([right], dtype))[0] for logit in logits])
        np.testing.assert_allclose(found, exact.astype(np.float64), rtol=8 * EPS[dtype])


@all_losses
def test_errors(loss):
    name = "logits" if loss is logistic_loss else "prediction"
    one = np.ones(3)
    with pytest.raises(TypeError, match=f"{name} must be a NumPy array"):
        loss([1.0], np.ones(1))
    with pytest.raises(TypeError, match="target must have dtype float32"):
        loss(np.ones(1, np.float32), np.ones(1))
    with pytest.raises(ValueError, match=f"target must have shape .*, that of {name}, not"):
        loss(np.ones((3, 1)), one)
    with pytest.raises(ValueError, match=f"{name} must have at least one element"):
        loss(np.ones((0, 2)), np.ones((0, 2)))
    with pytest.raises(TypeError, match="mask must be a NumPy array of bool, not list"):
        loss(one, one, [True, False, True])
    with pytest.raises(TypeError, match="mask must be a NumPy array of bool, not an array of int64"):
        loss(one, one, np.ones(3, np.int64))
    with pytest.raises(ValueError, match=r"mask must have the target's shape \(3,\), .* not \(2,\)"):
        loss(one, one, np.ones(2, np.bool))
    with pytest.raises(ValueError, match="mask must have the target's shape"):
        loss(one, one, np.ones((3, 1), np.bool))
    with pytest.raises(ValueError, match="mask must let at least one element count"):
        loss(one, one, np.zeros(3, np.bool))


def test_errors_of_numbers():
    one = np.ones(3)
    for bad in (0, -1, math.nan):
        with pytest.raises(ValueError, match="delta must be above 0"):
            huber(one, one, delta=bad)
    with pytest.raises(ValueError, match="delta must be finite"):
        huber(one, one, delta=math.inf)
    with pytest.raises(TypeError, match="delta must be a number"):
        huber(one, one, delta="1")
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="target must be from 0 to 1"):
            logistic_loss(one, np.array([0.5, bad, 0.5]))


# ---- softmax cross-entropy ----

OPTIONS = [(weighted, smoothing, masked) for weighted in (0, 1) for smoothing in (0.0, 0.1) for masked in (0, 1)]
all_options = pytest.mark.parametrize(("weighted", "smoothing", "masked"), OPTIONS)


def classes_case(leading, K, dtype, weighted, smoothing, masked, seed=0):
    rng = np.random.default_rng(seed)
    logits, target = (3 * rng.normal(size=(*leading, K))).astype(dtype), np.asarray(rng.integers(0, K, leading))
    mask = None
    if masked:
        mask = np.asarray(rng.random(leading) < 0.6)
        mask.flat[0] = True
    weights = rng.uniform(0.2, 2, K).astype(dtype) if weighted else None
    return logits, target, mask, {"class_weights": weights, "label_smoothing": smoothing}


@all_options
@pytest.mark.parametrize("leading", [(), (5,), (3, 2)])
def test_softmax_gradients(leading, weighted, smoothing, masked):
    logits, target, mask, options = classes_case(leading, 4, np.float64, weighted, smoothing, masked)
    value, gradient = softmax_cross_entropy(logits, target, mask, **options)
    assert isinstance(value, float)
    numeric = central_difference(lambda: softmax_cross_entropy(logits, target, mask, **options)[0], logits)
    np.testing.assert_allclose(gradient, numeric, atol=1e-8)


@all_options
@both_dtypes
@pytest.mark.parametrize("K", [1, 2, 5, 16, 17, 100, 1001])
def test_softmax_is_pytorchs(K, dtype, weighted, smoothing, masked):
    torch = pytest.importorskip("torch")
    logits, target, mask, options = classes_case((37,), K, dtype, weighted, smoothing, masked)
    value, gradient = softmax_cross_entropy(logits, target, mask, **options)
    leaf = torch.tensor(logits, requires_grad=True)
    weights = options["class_weights"]
    expected = torch.nn.functional.cross_entropy(
        leaf,
        torch.tensor(target if mask is None else np.where(mask, target, -100)),
        None if weights is None else torch.tensor(weights),
        label_smoothing=smoothing,
    )
    expected.backward()
    tolerance = 2e-6 if dtype == np.float32 else 1e-13
    assert value == pytest.approx(expected.item(), rel=tolerance, abs=tolerance)
    assert gradient.dtype == dtype
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=10 * tolerance, atol=tolerance / 37)


@both_dtypes
@pytest.mark.parametrize("K", [*ODD, 129])
def test_softmax_of_each_instruction_set_is_brute_force(K, dtype, isa):
    logits, target, mask, options = classes_case((6,), K, dtype, True, 0.2, True)
    tolerance = 50 * EPS[dtype]
    weights, wide = options["class_weights"].astype(np.float64), logits.astype(np.float64)
    q = 0.2 / K + 0.8 * (np.arange(K) == target[:, np.newaxis])
    counted = weights * q * mask[:, np.newaxis]
    total = weights[target[mask]].sum()
    value, gradient = softmax_cross_entropy(logits, target, mask, **options)
    assert value == pytest.approx(-(counted * log_softmax(wide, axis=1)).sum() / total, rel=tolerance, abs=tolerance)
    p = scipy_softmax(wide, axis=1)
    wanted = (p * counted.sum(axis=1, keepdims=True) - counted) / total
    np.testing.assert_allclose(gradient, wanted, atol=tolerance)
    np.testing.assert_allclose(softmax(logits), p, rtol=tolerance)


def test_what_the_softmax_mask_leaves_out_is_not_looked_at():
    logits, target, mask, options = classes_case((5, 4), 7, np.float32, True, 0.1, True)
    expected, part = softmax_cross_entropy(logits[mask], target[mask], **options)
    logits[~mask], target[~mask] = np.nan, -1
    value, gradient = softmax_cross_entropy(logits, target, mask, **options)
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_array_equal(gradient[mask], part)
    assert not gradient[~mask].any()


def test_a_softmax_mask_may_be_of_the_leading_axes():
    logits, target, _, _ = classes_case((5, 4), 7, np.float32, False, 0.0, False)
    steps = np.array([True, False, True, True, False])
    value, gradient = softmax_cross_entropy(logits, target, steps)
    expected, wanted = softmax_cross_entropy(logits, target, np.repeat(steps[:, np.newaxis], 4, axis=1))
    assert value == expected
    np.testing.assert_array_equal(gradient, wanted)


@both_dtypes
@pytest.mark.parametrize("K", [5, 40])
def test_softmax_of_extreme_logits(dtype, K, isa):
    large = float(np.finfo(dtype).max) / 4
    logits = np.zeros((4, K), dtype)
    logits[0] -= 1000  # all the same: no help from zero
    logits[1, 1:] = -np.inf  # impossible classes
    logits[2] = -large
    logits[2, 2] = large
    logits[3] = 1e4
    logits[3, 3] -= 1
    p = softmax(logits)
    np.testing.assert_allclose(p[0], 1 / K, rtol=1e-6)
    assert p[1].tolist() == [1.0] + [0.0] * (K - 1)
    assert p[2].tolist() == [0.0] * 2 + [1.0] + [0.0] * (K - 3)
    np.testing.assert_allclose(p[3], scipy_softmax(logits[3]), rtol=1e-6)
    for target, expected in ((0, 0.0), (1, math.inf)):
        value, gradient = softmax_cross_entropy(logits[1:2], np.array([target]))
        assert value == expected
        assert np.all(gradient[0, 2:] == 0)
    value, gradient = softmax_cross_entropy(logits[3:], np.array([3]))
    assert value == pytest.approx(math.log(1 + (K - 1) * math.e), rel=1e-6)


@both_dtypes
def test_softmax_keeps_not_a_number_to_its_row(dtype, isa):
    for place in range(20):
        logits, target, _, _ = classes_case((3,), 20, dtype, False, 0.0, False)
        clean = softmax_cross_entropy(logits, target)[1]
        logits[1, place] = np.nan
        value, gradient = softmax_cross_entropy(logits, target)
        assert math.isnan(value)
        assert np.isnan(gradient[1]).all()
        np.testing.assert_array_equal(gradient[::2], clean[::2])
    logits[1] = -np.inf  # no class is possible
    assert math.isnan(softmax_cross_entropy(logits, target)[0])


def test_threads_change_no_softmax_gradient(default_threads):
    logits, target, mask, options = classes_case((301,), 333, np.float32, True, 0.1, True)
    found = []
    for threads in (1, 2, 3):
        fastlstm.set_num_threads(threads)
        found.append((*softmax_cross_entropy(logits, target, mask, **options), softmax(logits)))
    for value, gradient, p in found[1:]:
        assert value == pytest.approx(found[0][0], rel=1e-13)
        np.testing.assert_array_equal(gradient, found[0][1])
        np.testing.assert_array_equal(p, found[0][2])


def relative_weights(dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    largest = np.finfo(dtype).max
    return [tiny, 8 * tiny, np.finfo(dtype).tiny, dtype(1e-30), dtype(1e30), largest / 8]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("which", range(6))
def test_only_quotients_of_class_weights_matter(which, smoothing, dtype, isa):
    logits, target, mask, _ = classes_case((7,), 5, dtype, False, smoothing, True)
    unit = relative_weights(dtype)[which]
    for shares in ((1, 1, 1, 1, 1), (1, 2, 4, 2, 8), (8, 1, 0, 1, 2)):
        weights = np.array(shares, dtype)
        expected = softmax_cross_entropy(logits, target, mask, class_weights=weights, label_smoothing=smoothing)
        found = softmax_cross_entropy(logits, target, mask, class_weights=weights * unit, label_smoothing=smoothing)
        tolerance = 1e-6 if dtype == np.float32 else 1e-14
        assert found[0] == pytest.approx(expected[0], rel=tolerance)
        np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_class_weights_of_classes_that_do_not_count(dtype, isa):
    logits, target = np.random.default_rng(0).normal(size=(6, 3)).astype(dtype), np.zeros(6, np.int64)
    expected = softmax_cross_entropy(logits, target)
    for unit in relative_weights(dtype):
        for other in (0, unit, np.finfo(dtype).max):
            found = softmax_cross_entropy(logits, target, class_weights=np.array([unit, other, 0], dtype))
            assert found[0] == pytest.approx(expected[0], rel=1e-6)
            np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=1e-6)
    far = np.array([np.finfo(dtype).smallest_subnormal, 1, 1], dtype)
    with pytest.raises(
        ValueError, match=r"class_weights must be at most 1.27e\+30 times as large as the largest of the targ"
    ):
        softmax_cross_entropy(logits, target, class_weights=far, label_smoothing=0.1)
    with pytest.raises(ValueError, match="class_weights must not be 0 for all targets that count"):
        softmax_cross_entropy(logits, target, class_weights=np.array([0, 1, 1], dtype), label_smoothing=0.1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_class_that_is_impossible_and_weighs_nothing(dtype, isa):
    logits = np.array([[0.0, 0.0, -np.inf]] * 3, dtype)
    weights, target = np.array([1, 1, 0], dtype), np.array([0, 1, 0])
    loss, gradient = softmax_cross_entropy(logits, target, class_weights=weights, label_smoothing=0.3)
    q = np.array([[0.8, 0.1, 0], [0.1, 0.8, 0], [0.8, 0.1, 0]])
    assert loss == pytest.approx(0.9 * math.log(2), rel=1e-6)
    np.testing.assert_allclose(gradient, (0.9 * np.array([0.5, 0.5, 0]) - q) / 3, atol=1e-7)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_losses_of_the_largest_logits_are_finite(dtype, smoothing, isa):
    largest = float(np.finfo(dtype).max) / (1 if dtype == np.float32 else 4)
    logits = np.array([[largest, -largest, 0.0]] * 2, dtype)
    loss, gradient = softmax_cross_entropy(logits, np.array([0, 1]), label_smoothing=smoothing)
    assert loss == pytest.approx((1 - smoothing) * largest + smoothing * largest, rel=1e-6)
    q = np.full((2, 3), smoothing / 3)
    q[[0, 1], [0, 1]] += 1 - smoothing
    np.testing.assert_allclose(gradient, (np.array([1.0, 0, 0]) - q) / 2, atol=1e-7)


@pytest.mark.parametrize("integer", [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64])
def test_targets_of_any_integers_and_layout(integer):
    logits, target, _, _ = classes_case((4, 3), 6, np.float64, False, 0.0, False)
    expected, wanted = softmax_cross_entropy(logits, target)
    padded = np.asfortranarray(np.repeat(logits, 2, axis=2))[..., ::2]
    value, gradient = softmax_cross_entropy(padded, np.asfortranarray(target.astype(integer)))
    assert value == expected
    np.testing.assert_array_equal(gradient, wanted)


def test_softmax_without_rows():
    assert softmax(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"logits": [[1.0]]}, TypeError, "logits must be a NumPy array"),
        ({"logits": np.ones(())}, ValueError, r"logits must have shape \(..., K\)"),
        ({"logits": np.ones((3, 0))}, ValueError, "logits must have shape .* at least one class"),
        ({"logits": np.ones((0, 4)), "target": np.ones(0, int)}, ValueError, "logits must have at least one target"),
        ({"target": [0, 1, 2]}, TypeError, "target must be a NumPy array"),
        ({"target": np.ones(3)}, TypeError, "target must have an integer dtype, not float64"),
        ({"target": np.ones(3, bool)}, TypeError, "target must have an integer dtype, not bool"),
        ({"target": np.ones((3, 1), int)}, ValueError, r"target must have the shape .* \(3,\), not \(3, 1\)"),
        ({"target": np.array([0, 4, 1])}, ValueError, "target must be from 0 to 3, a class each, not 4"),
        ({"target": np.array([0, -1, 1])}, ValueError, "target must be from 0 to 3, a class each, not -1"),
        ({"target": np.array([0, 2**63 + 1, 1], np.uint64)}, ValueError, "target must be from 0 to 3"),
        ({"mask": np.ones((3, 4), bool)}, ValueError, "mask must have the target's shape"),
        ({"mask": np.zeros(3, bool)}, ValueError, "mask must let at least one element count"),
        ({"mask": np.zeros(3)}, TypeError, "mask must be a NumPy array of bool"),
        ({"class_weights": np.ones(3)}, ValueError, "class_weights must have shape"),
        ({"class_weights": np.ones(4, np.float32)}, TypeError, "class_weights must have dtype float64"),
        ({"class_weights": np.array([1.0, -1, 1, 1])}, ValueError, "class_weights must be at least 0 and finite"),
        ({"class_weights": np.array([1.0, math.nan, 1, 1])}, ValueError, "class_weights must be at least 0 and finite"),
        ({"class_weights": np.array([0.0, 0, 0, 1])}, ValueError, "class_weights must not be 0 for all"),
        ({"label_smoothing": 1}, ValueError, "label_smoothing must be at least 0 and below 1"),
        ({"label_smoothing": None}, TypeError, "label_smoothing must be a number"),
    ],
)
def test_softmax_errors(change, error, message):
    arguments = {"logits": np.ones((3, 4)), "target": np.array([0, 1, 2])} | change
    with pytest.raises(error, match=message):
        softmax_cross_entropy(**arguments)


def test_masked_arrays_are_refused():
    logits, target = np.zeros((2, 3)), np.array([0, 1])
    masked = np.ma.array(target, mask=[False, True])
    for call in (
        lambda: softmax_cross_entropy(logits, masked),
        lambda: softmax_cross_entropy(logits, target, mask=np.ma.array([True, True], mask=[False, True])),
        lambda: ctc_loss(np.zeros((3, 2, 4)), masked, [[1], [2]], None),
        lambda: ctc_loss(np.zeros((3, 2, 4)), None, np.ma.array([[1], [2]], mask=[[True], [False]]), None),
    ):
        with pytest.raises(TypeError, match="is a masked array, whose mask would be ignored"):
            call()
