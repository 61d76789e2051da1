"""The kernels' tanh and logistic function against extended precision, in units in the last place."""

import numpy as np
import pytest

from fastlstm._cells import kernel

# Measured worst cases: tanh 1.286 ulp in float32 and 1.295 in float64 (below 1.3 everywhere); logistic below 2.5 ulp.
ULP = {"tanh": 1.3, "logistic": 2.5}
# The largest errors that are promised of the fast ones; 1.6e-6 and 0.8e-6 were measured.
FAST = {"tanh": 2e-6, "logistic": 1e-6}
DTYPES = (np.float32, np.float64)

both_dtypes = pytest.mark.parametrize("dtype", DTYPES)
both_functions = pytest.mark.parametrize("name", ["tanh", "logistic"])


def activate(name, x, fast=False):
    x = np.ascontiguousarray(x)
    y = np.full_like(x, 7)
    kernel.activate(name, x, y, fast)
    return y


def truth(name, x):
    """In a wider type: double for float32, long double for float64 (with 11 more bits on x86; where it has none more,
    as on Windows and on ARM under macOS, NumPy's own error of an ulp or less counts against the kernels)."""
    wide = x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)
    with np.errstate(over="ignore", under="ignore"):
        return np.tanh(wide) if name == "tanh" else 1 / (1 + np.exp(-wide))


def worst_error(name, x):
    """In ulp of the exact result, over the finite x at which that is a normal number; elsewhere, check the value.

    Results that are not normal may be flushed to zero: an absolute error below the smallest normal number.
    """
    x = x[np.isfinite(x)]
    y, exact = activate(name, x), truth(name, x)
    info = np.finfo(x.dtype)
    assert np.isfinite(y).all()
    normal = np.abs(exact) >= info.tiny
    error = np.abs(y - exact)
    assert (error[~normal] <= info.tiny).all()
    # tanh rounds to 1 from below, where an ulp is half of that above.
    rounded = exact.astype(x.dtype)
    below = np.nextafter(np.abs(rounded), x.dtype.type(0))
    ulp = np.where(np.abs(rounded) > np.abs(exact), np.abs(rounded) - below, np.spacing(np.abs(rounded)))
    with np.errstate(under="ignore"):
        return (error[normal] / ulp[normal]).max(initial=0)


def bits(first, last, step):
    """The float32 numbers of these bit patterns."""
    return np.arange(first, last, step, dtype=np.uint64).astype(np.uint32).view(np.float32)


@both_functions
def test_float32_sample(name, isa):
    assert worst_error(name, bits(0, 2**32, 4999)) <= ULP[name]


@pytest.mark.slow
@both_functions
def test_float32_exhaustive(name, isa):
    worst = 0
    for first in range(0, 2**32, 2**24):
        x = bits(first, first + 2**24, 1)
        nan = np.isnan(x)
        assert np.isnan(activate(name, x[nan])).all()
        if np.isfinite(x).any():
            worst = max(worst, worst_error(name, x))
    assert worst <= ULP[name]


@both_functions
def test_float64_sample(name, isa):
    """Uniform, and uniform in the logarithm: tiny numbers to huge ones."""
    rng = np.random.default_rng(0)
    sample = [rng.uniform(-scale, scale, 100_000) for scale in (0.1, 0.7, 1, 3, 20, 40, 800)]
    sample += [sign * np.exp(rng.uniform(-745, 709, 100_000)) for sign in (-1, 1)]
    assert worst_error(name, np.concatenate(sample)) <= ULP[name]


@both_functions
@both_dtypes
@pytest.mark.parametrize("center", [0.0, 0.6931, 0.695, 0.3466, 9.01, 18.7, 22.0], ids=str)
def test_around_branches(name, dtype, center, isa):
    """Where tanh changes formula, exp its power of two, and where the result becomes 1."""
    for sign in (-1, 1):
        x = (sign * np.linspace(center - 0.01, center + 0.01, 20_001)).astype(dtype)
        assert worst_error(name, x) <= ULP[name]


@both_dtypes
def test_logistic_at_the_end_of_exp(dtype, isa):
    """Where e^-x is about to overflow; NaN came from here once."""
    low, high = (86, 90) if dtype == np.float32 else (707, 712)
    x = np.linspace(low, high, 400_001, dtype=dtype)
    assert np.array_equal(activate("logistic", x), np.ones_like(x))
    y = activate("logistic", -x)
    assert np.isfinite(y).all()
    assert (y >= 0).all()
    assert (y <= truth("logistic", -x[:1]).astype(dtype) * (1 + 4 * np.finfo(dtype).eps)).all()
    assert worst_error("logistic", -x) <= ULP["logistic"]
    assert np.array_equal(activate("tanh", x), np.ones_like(x))
    assert np.array_equal(activate("tanh", -x), -np.ones_like(x))


@both_dtypes
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33])
def test_special_values(dtype, count, isa):
    """In every lane of a vector and in the tail."""
    info = np.finfo(dtype)
    special = {
        "tanh": [(np.inf, 1), (-np.inf, -1), (info.max, 1), (-info.max, -1), (0.0, 0.0), (-0.0, -0.0)],
        "logistic": [(np.inf, 1), (-np.inf, 0), (info.max, 1), (-info.max, 0), (0.0, 0.5), (-0.0, 0.5)],
        "relu": [(np.inf, np.inf), (-np.inf, 0), (info.max, info.max), (-info.max, 0), (0.0, 0.0), (-2, 0), (3, 3)],
    }
    for name, pairs in special.items():
        for lane in range(count):
            for value, expected in pairs:
                x = np.full(count, 0.5, dtype)
                x[lane] = value
                y = activate(name, x)
                assert y[lane] == dtype(expected), (name, value)
                assert name != "tanh" or np.signbit(y[lane]) == np.signbit(dtype(value))
                others = np.delete(y, lane)
                assert (others == activate(name, np.full(1, 0.5, dtype))).all()
            for nan in (np.nan, -np.nan):
                x[lane] = nan
                y = activate(name, x)
                assert np.isnan(y[lane]), name
                assert not np.isnan(np.delete(y, lane)).any()


@both_functions
@both_dtypes
def test_bounds_and_symmetry(name, dtype, isa):
    x = np.concatenate([np.linspace(0, 30, 100_001), np.geomspace(1e-30, 1e30, 100_001)]).astype(dtype)
    positive, negative = activate(name, x), activate(name, -x)
    if name == "tanh":
        assert np.array_equal(positive, -negative)
        assert (np.abs(positive) <= 1).all()
        assert (positive <= x).all()
    else:
        assert (positive <= 1).all()
        assert (positive >= 0.5).all()
        assert (negative >= 0).all()
        assert (negative <= 0.5).all()


@both_functions
@both_dtypes
def test_tiny_arguments(name, dtype, isa):
    """Denormal x: tanh may flush it, the logistic function is one half; the sign stays."""
    info = np.finfo(dtype)
    x = np.array([info.smallest_subnormal, info.tiny / 2, info.tiny, -info.smallest_subnormal, -info.tiny], dtype)
    y = activate(name, x)
    if name == "tanh":
        assert (np.abs(y - x) <= info.tiny / 2).all()
        assert np.array_equal(np.signbit(y), np.signbit(x))
    else:
        assert (y == 0.5).all()


def assert_fast(name, x):
    y, info = activate(name, x, fast=True), np.finfo(x.dtype)
    assert np.abs(y - truth(name, x)).max() <= FAST[name]
    assert y.min() >= (-1 if name == "tanh" else 0)
    assert y.max() <= 1
    if name == "tanh":
        assert np.array_equal(activate(name, -x, fast=True), -y)
        assert (np.abs(y) <= np.abs(x) + info.tiny).all()


@both_functions
@both_dtypes
def test_fast(name, dtype, isa):
    """In every range, at the bounds of what the rational functions see, and where nothing but exact is expected."""
    x = np.concatenate(
        [np.linspace(-20, 20, 400_001), np.linspace(7.19, 7.21, 10_001), np.geomspace(1e-44, 1e38, 9999)]
    )
    assert_fast(name, x.astype(dtype))
    ends = {"tanh": [1, -1], "logistic": [1, 0]}[name]
    for value, end in zip((np.inf, -np.inf), ends, strict=True):
        assert abs(activate(name, np.full(3, value, dtype), fast=True)[1] - end) <= FAST[name]
    assert np.isnan(activate(name, np.array([0, np.nan, 1], dtype), fast=True)).tolist() == [False, True, False]
    for other in ("relu", "identity", "hard_logistic"):
        assert activate(other, x.astype(dtype), fast=True).tobytes() == activate(other, x.astype(dtype)).tobytes()


@pytest.mark.slow
@both_functions
def test_fast_exhaustive(name, isa):
    for first in range(0, 2**31, 2**24):
        x = bits(first, first + 2**24, 1)
        if np.isfinite(x).any():
            assert_fast(name, x[np.isfinite(x)])
