"""Matrix products by the kernels against NumPy's, in every shape, layout and stack; sums over many rows; denormals."""

import itertools

import numpy as np
import pytest
from cases import DTYPES

import fastlstm
from fastlstm.nn import Attention, Dense, Mean, _gradients, _products


def numbers(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def by_columns(array):
    """The same values, columns one after another."""
    return np.ascontiguousarray(array.swapaxes(-1, -2)).swapaxes(-1, -2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_of_every_shape_and_layout(dtype, isa):
    tolerance = 3e-6 if dtype == np.float32 else 3e-15
    for M, K, N in itertools.product((0, 1, 3, 15, 16, 17, 100), (0, 1, 5, 64, 513, 1100), (0, 1, 3, 5, 16, 65)):
        a, b = numbers((M, K), dtype), numbers((K, N), dtype, 1)
        expected, size = a.astype(float) @ b.astype(float), np.abs(a).astype(float) @ np.abs(b).astype(float)
        for left, right in itertools.product((a, by_columns(a)), (b, by_columns(b))):
            wide = np.full((M, N + 2), 7, dtype)
            c = wide[:, :N]
            _products.multiply(left, right, c, 2)
            assert (np.abs(c - expected) <= tolerance * size).all(), (M, K, N)
            assert (wide[:, N:] == 7).all()
            _products.multiply(left, right, c, 1, add=True)
            assert (np.abs(c - 2 * expected) <= 2 * tolerance * size).all(), (M, K, N)


@pytest.mark.parametrize("dtype", DTYPES)
def test_stacks_with_strides(dtype, isa):
    T, B, S, E = 5, 4, 7, 6
    w, steps, d = numbers((T, B, S), dtype), numbers((B, S, E), dtype, 1), numbers((T, B, E), dtype, 2)
    context, dw, dsteps = np.empty((T, B, E), dtype), np.empty((T, B, S), dtype), np.empty((B, S, E), dtype)
    _products.multiply(w.swapaxes(0, 1), steps, context.swapaxes(0, 1), 3)
    _products.multiply(d.swapaxes(0, 1), steps.swapaxes(1, 2), dw.swapaxes(0, 1), 3)
    _products.multiply(w.transpose(1, 2, 0), d.swapaxes(0, 1), dsteps, 3)
    tolerance = {"rtol": 0, "atol": 2e-5 if dtype == np.float32 else 1e-13}
    np.testing.assert_allclose(context, np.einsum("tbs,bse->tbe", w, steps), **tolerance)
    np.testing.assert_allclose(dw, np.einsum("tbe,bse->tbs", d, steps), **tolerance)
    np.testing.assert_allclose(dsteps, np.einsum("tbs,tbe->bse", w, d), **tolerance)


@pytest.mark.parametrize(("M", "K", "N"), [(700, 300, 90), (20, 3000, 300), (9, 600, 500), (64, 70_000, 40)])
def test_threads_change_no_bit(M, K, N):
    a, b = numbers((K, M), np.float32).T, numbers((K, N), np.float32, 1)
    results = []
    for threads in (1, 2, 3, 8):
        c = np.empty((M, N), np.float32)
        _products.multiply(a, b, c, threads)
        results.append(c.tobytes())
    assert len(set(results)) == 1


@pytest.mark.parametrize(
    ("a", "b", "c"),
    [((3, 4), (5, 6), (3, 6)), ((3, 4), (4, 6), (2, 6)), ((3, 4), (4, 6), (3, 5)), ((2, 3, 4), (4, 6), (3, 6)),
     ((2, 3, 4), (1, 4, 6), (2, 3, 6))],
)  # fmt: skip
def test_shapes_must_fit(a, b, c):
    with pytest.raises(ValueError, match=r"shapes \(.*\) do not fit"):
        _products.multiply(np.ones(a), np.ones(b), np.ones(c), 1)
    with pytest.raises(ValueError, match="rows or columns must lie in one piece"):
        _products.multiply(np.ones((3, 4)), np.ones((4, 12))[:, ::2], np.ones((3, 6)), 1)


# ---- many rows ----

ROWS = 1_000_000
# Where all are alike, what is lost has one sign: sums that grow too large for the next one.
LARGE = pytest.mark.parametrize("value", [0.1, 1.7, "random"])


def many(columns, value):
    if value == "random":
        return np.random.default_rng(0).random((ROWS, columns), np.float32)
    return np.full((ROWS, columns), value, np.float32)


def relative_error(found, rows):
    expected = rows.sum(axis=0, dtype=np.float64)
    return np.abs(found / expected - 1).max()


@LARGE
def test_a_mean_over_many_steps_is_exact(value, isa):
    y = many(3, value)
    mean = Mean()(y[:, np.newaxis])[0]
    assert relative_error(mean.astype(np.float64) * ROWS, y) < 6e-8


@LARGE
def test_gradients_of_a_dense_layer_over_many_rows_are_exact(value):
    dense, rows = Dense(2, 3, seed=0), many(3, value)
    h = np.ones((ROWS, 2), np.float32)
    _, tape = dense.forward(h)
    grads = dense.backward(tape, rows)
    limit = 6e-7 if value == "random" else 6e-6  # the same rounding in each short sum
    assert relative_error(grads.params["c"], rows) < 6e-8
    assert relative_error(grads.params["V"].T, rows) < limit
    dense.backward(tape, rows, out=grads, accumulate=True)
    assert relative_error(grads.params["c"] / 2, rows) < 6e-8
    assert relative_error(grads.params["V"].T / 2, rows) < limit


def test_attention_over_many_rows_is_exact():
    T, B, S = 400, 500, 2
    arrays = [np.random.default_rng(k).random((n, B, 1)) for k, n in enumerate((T, S, T))]
    found = []
    for dtype in DTYPES:
        attention = Attention(1, 1, 1, dtype=dtype)
        attention.flat[:] = 0.5
        query, memory, dcontext = (A.astype(dtype) for A in arrays)
        found.append(attention.backward(attention.forward(query, memory)[1], dcontext).flat)
    assert np.abs(found[0] - found[1]).max() < 6e-7 * np.abs(found[1]).max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("P", [1, 5, 16, 70, 300])
def test_sums_of_rows(P, dtype, isa):
    rows, lengths = numbers((9, 4, P), dtype), np.array([9, 0, 1, 4])
    expected = np.stack([rows[:n, b].astype(float).sum(0) for b, n in enumerate(lengths)])
    sums = np.full((4, P), 7, dtype)
    _gradients.sum_rows(sums, rows, lengths, 2)
    np.testing.assert_allclose(sums, expected, rtol=1e-6, atol=1e-6)
    _gradients.sum_rows(sums, rows, lengths, 2, add=True)
    np.testing.assert_allclose(sums, 2 * expected, rtol=1e-6, atol=1e-6)
    _gradients.sum_rows(sums, rows, lengths, 2, mean=True)
    np.testing.assert_allclose(sums, expected / np.maximum(lengths, 1)[:, np.newaxis], rtol=1e-6, atol=1e-6)


# ---- denormal numbers ----


def results(dtype, tiny):
    """Layers with denormal inputs, some of which come from the parameters."""
    large = dtype(1e30)
    dense = Dense(40, 30, dtype=dtype, seed=0)
    dense.params["V"][:] *= large
    dense.params["c"][:] = 0
    h = np.full((900, 40), tiny, dtype)
    y, tape = dense.forward(h)
    yield y
    yield dense(h[:3])  # few rows are multiplied in another way
    grads = dense.backward(tape, np.full(y.shape, tiny, dtype))
    yield grads.x
    yield grads.flat
    yield Mean()(np.full((9, 4, 5), tiny, dtype))
    attention = Attention(4, 4, 20, dtype=dtype, seed=0)
    attention.params["v"][:] *= large
    context, looked = attention.forward(np.full((8, 6, 4), tiny, dtype), np.full((7, 6, 4), tiny, dtype))
    yield context
    yield attention.backward(looked, np.full(context.shape, tiny, dtype)).flat
    attention.params["U"][:] *= large
    yield attention.prepare(np.full((7, 6, 4), tiny, dtype)).keys


@pytest.mark.parametrize("dtype", DTYPES)
def test_denormals_count_as_zero_in_all_threads_and_the_callers_mode_stays(dtype, default_threads):
    fastlstm.set_num_threads(2)
    tiny = np.finfo(dtype).tiny / dtype(64)
    assert tiny > 0
    for k, array in enumerate(results(dtype, tiny)):
        assert not array.any(), k
        assert np.full(5, tiny, dtype)[2:3] * dtype(1) == tiny
