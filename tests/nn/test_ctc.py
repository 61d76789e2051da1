"""CTC: loss and gradient against all paths, finite differences and PyTorch; searches against all labellings."""

import itertools
import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from cases import laid_out, layouts
from differences import central_difference
from helpers import run_together
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlstm.nn import ctc_beam_search, ctc_best_path, ctc_loss

DTYPES = [np.float32, np.float64]
TOLERANCE = {np.float32: 2e-6, np.float64: 1e-12}


def collapse(path, blank):
    return tuple(k for k, _ in itertools.groupby(path) if k != blank)


def steps_needed(labels):
    return len(labels) + sum(a == b for a, b in itertools.pairwise(labels))


def softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True, initial=-np.inf))
    return e / e.sum(-1, keepdims=True)


def all_labellings(logits, blank):
    """Of one row (T, K): labelling -> (probability, expected visits (T, K) times that probability), over all paths."""
    y, (T, K) = softmax(logits.astype(np.float64)), logits.shape
    found = {}
    for path in itertools.product(range(K), repeat=T):
        probability = math.prod(y[t, k] for t, k in enumerate(path))
        entry = found.setdefault(collapse(path, blank), [0.0, np.zeros((T, K))])
        entry[0] += probability
        entry[1][np.arange(T), path] += probability
    return found


def enumerated(logits, lengths, labels, label_lengths, blank=0, per_label=True):
    """The loss and its gradient from all paths; rows of probability zero count as zero."""
    (_, B, _), value, gradient = logits.shape, 0.0, np.zeros(logits.shape)
    for b in range(B):
        row = logits[: lengths[b], b].astype(np.float64)
        wanted = tuple(labels[b, : label_lengths[b]].tolist())
        probability, visits = all_labellings(row, blank).get(wanted, (0.0, 0.0))
        if probability > 0:
            weight = 1 / (B * (max(len(wanted), 1) if per_label else 1))
            value -= weight * math.log(probability)
            gradient[: lengths[b], b] = weight * (softmax(row) - visits / probability)
    return value, gradient


def problem(T, B, K, L, *, seed=0, blank=0, dtype=np.float64, scale=2.0):
    """Rows of all lengths with labels that fit, many of them repeated, and nonsense past the ends."""
    rng = np.random.default_rng([seed, T, B, K, L])
    classes = np.delete(np.arange(K), blank)
    lengths, label_lengths = rng.integers(0, T + 1, B), np.zeros(B, np.int64)
    labels = np.full((B, L), -99)
    for b in range(B):
        row = rng.choice(classes[: 1 + rng.integers(K - 1)], L) if K > 1 else classes
        fitting = [n for n in range(len(row) + 1) if steps_needed(row[:n]) <= lengths[b]]
        label_lengths[b] = rng.choice(fitting[len(fitting) // 2 :])
        labels[b, : label_lengths[b]] = row[: label_lengths[b]]
    logits = (scale * rng.normal(size=(T, B, K))).astype(dtype)
    logits[np.arange(T)[:, np.newaxis] >= lengths] = np.nan
    return logits, lengths, labels, label_lengths


def pytorchs(torch, logits, lengths, labels, label_lengths, **options):
    leaf = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    where = [torch.tensor(array) for array in (labels.clip(0), lengths, label_lengths)]
    value = torch.nn.functional.ctc_loss(leaf.log_softmax(-1), *where, **options)
    value.backward()
    return value.item(), leaf.grad.numpy()


# ---- the loss ----


@pytest.mark.parametrize("per_label", [True, False])
@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_is_that_of_all_paths(dtype, blank, per_label, isa):
    for seed in range(8):
        case = problem(6, 5, 3, 4, seed=seed, blank=blank, dtype=dtype)
        value, gradient = ctc_loss(*case, blank=blank, per_label=per_label)
        expected_value, expected = enumerated(*case, blank=blank, per_label=per_label)
        assert value == pytest.approx(expected_value, rel=TOLERANCE[dtype])
        assert gradient.dtype == dtype
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=TOLERANCE[dtype])


def test_gradient_is_the_derivative():
    logits, *rest = problem(7, 4, 5, 3)
    seen = np.nan_to_num(logits)
    _, gradient = ctc_loss(seen, *rest)
    numeric = central_difference(lambda: ctc_loss(seen, *rest)[0], seen)
    np.testing.assert_allclose(gradient, numeric, rtol=0, atol=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "sizes", [(40, 6, 12, 15), (150, 3, 33, 40), (9, 20, 4, 8), (30, 2, 130, 17), (1, 3, 2, 1)], ids=str
)
def test_loss_is_pytorchs(sizes, dtype, isa):
    torch = pytest.importorskip("torch")
    for seed, blank in enumerate((0, sizes[2] - 1)):
        logits, lengths, *rest = problem(*sizes, seed=seed, blank=blank, dtype=dtype)
        for options, theirs in (({}, "mean"), ({"per_label": False}, "sum")):
            value, gradient = ctc_loss(logits, lengths, *rest, blank=blank, **options)
            expected = pytorchs(torch, np.nan_to_num(logits), lengths, *rest, blank=blank, reduction=theirs)
            scale = 1 if theirs == "mean" else len(lengths)
            assert value == pytest.approx(expected[0] / scale, rel=TOLERANCE[dtype])
            np.testing.assert_allclose(gradient, expected[1] / scale, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_with_as_few_steps_as_possible(dtype):
    torch = pytest.importorskip("torch")
    labels = np.array([[1, 1, 1, 1], [1, 2, 1, 2], [3, 3, 2, 2], [3, 2, 2, 1]])
    lengths, label_lengths = np.array([steps_needed(row) for row in labels.tolist()]), np.full(4, 4)
    logits = np.random.default_rng(0).normal(size=(7, 4, 4)).astype(dtype)
    value, gradient = ctc_loss(logits, lengths, labels, label_lengths)
    expected_value, expected = pytorchs(torch, logits, lengths, labels, label_lengths)
    assert value == pytest.approx(expected_value, rel=TOLERANCE[dtype])
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize(("dtype", "scale"), [(np.float32, 1.0), (np.float64, 1.0), (np.float64, 1e3)])
def test_probabilities_far_below_the_smallest_number(dtype, scale):
    torch = pytest.importorskip("torch")
    logits, _, labels, _ = problem(1500, 2, 10, 400, dtype=dtype, scale=scale)
    logits = np.random.default_rng(1).normal(scale=scale, size=logits.shape).astype(dtype)
    labels = np.random.default_rng(2).integers(1, 10, labels.shape)
    lengths, label_lengths = np.array([1500, 1100]), np.array([400, 399])
    value, gradient = ctc_loss(logits, lengths, labels, label_lengths, per_label=False)
    expected_value, expected = pytorchs(torch, logits, lengths, labels, label_lengths, reduction="sum")
    assert expected_value / 2 > 1500  # e^-1500 is no float64
    assert value == pytest.approx(expected_value / 2, rel=1e-6 if dtype == np.float32 else 1e-12)
    np.testing.assert_allclose(gradient, expected / 2, rtol=0, atol=1e-5 if dtype == np.float32 else 1e-8)


cases = st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(1, 4), st.integers(0, 5))
common = settings(deadline=None, max_examples=100, derandomize=True)


@common
@given(cases, st.sampled_from(DTYPES), st.integers(0, 99), layouts, st.integers(1, 5))
def test_any_sizes_and_layouts(sizes, dtype, seed, layout, num_threads):
    blank = seed % sizes[2]
    logits, *rest = problem(*sizes, seed=seed, blank=blank, dtype=dtype)
    moved = [laid_out(array, layout) for array in (logits, *rest)]
    before = [array.copy() for array in moved]
    value, gradient = ctc_loss(*moved, blank=blank, num_threads=num_threads)
    expected_value, expected = enumerated(logits, *rest, blank=blank)
    assert value == pytest.approx(expected_value, rel=TOLERANCE[dtype], abs=TOLERANCE[dtype])
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=TOLERANCE[dtype])
    for array, copy in zip(moved, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.uint64])
def test_any_integers(dtype):
    logits, *rest = problem(6, 4, 3, 3)
    cast = [np.abs(array).astype(dtype) for array in rest]
    value, gradient = ctc_loss(logits, *rest)
    again = ctc_loss(logits, *cast)
    lists = ctc_loss(logits, *(array.tolist() for array in rest))
    for found in (again, lists):
        assert found[0] == value
        np.testing.assert_array_equal(found[1], gradient)


def test_without_lengths_all_counts():
    logits, labels = np.random.default_rng(0).normal(size=(5, 2, 3)), np.array([[1, 2], [2, 1]])
    value, gradient = ctc_loss(logits, None, labels, None)
    expected_value, expected = ctc_loss(logits, [5, 5], labels, [2, 2])
    assert value == expected_value
    np.testing.assert_array_equal(gradient, expected)
    for search in (ctc_best_path, ctc_beam_search):
        assert repr(search(logits)) == repr(search(logits, [5, 5]))


def test_what_is_past_the_ends_has_no_effect():
    logits, lengths, labels, label_lengths = problem(9, 6, 5, 4)  # NaN and -99 there
    value, gradient = ctc_loss(logits, lengths, labels, label_lengths)
    past = np.arange(9)[:, np.newaxis] >= lengths
    assert past.any()
    assert math.isfinite(value)
    assert not gradient[past].any()
    other = ctc_loss(
        np.where(past[..., np.newaxis], 1e9, logits), lengths, np.where(labels < 0, 0, labels), label_lengths
    )
    assert other[0] == value
    np.testing.assert_array_equal(other[1], gradient)
    alone = []
    for b, (n, L) in enumerate(zip(lengths, label_lengths, strict=True)):
        alone.append(ctc_loss(logits[:n, b : b + 1], [n], labels[b : b + 1, :L], [L])[0])
    assert value == pytest.approx(np.mean(alone), rel=1e-14)


def test_nothing_to_do():
    for T, B, L in ((0, 3, 2), (4, 0, 2), (0, 0, 0)):
        value, gradient = ctc_loss(np.ones((T, B, 5)), np.zeros(B, int), np.ones((B, L), int), np.zeros(B, int))
        assert (value, gradient.shape) == (0, (T, B, 5))
        assert math.copysign(1, value) == 1
    value, gradient = ctc_loss(np.zeros((3, 2, 4)), [3, 2], np.zeros((2, 0), int), [0, 0])
    assert value == pytest.approx(2.5 * math.log(4))
    np.testing.assert_allclose(gradient[:2, 0], [[-0.375, 0.125, 0.125, 0.125]] * 2)
    certain = ctc_loss(np.ones((3, 2, 1)), [3, 2], np.zeros((2, 0), int), [0, 0])[0]
    assert certain == pytest.approx(0, abs=1e-300)  # the kernels' smallest exponential is not zero


def test_impossible_rows():
    logits = np.random.default_rng(0).normal(size=(4, 3, 3))
    lengths, labels, label_lengths = [4, 2, 4], np.array([[1, 2, 1], [1, 1, 0], [2, 0, 0]]), [3, 2, 1]
    with pytest.raises(
        ValueError, match=r"labels\[1\] cannot fit: 2 labels with 1 repeat need 3 steps, lengths\[1\] is 2"
    ):
        ctc_loss(logits, lengths, labels, label_lengths)
    value, gradient = ctc_loss(logits, lengths, labels, label_lengths, zero_infinity=True)
    expected_value, expected = enumerated(logits, lengths, labels, label_lengths)
    assert value == pytest.approx(expected_value, rel=1e-12)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-12)
    assert not gradient[:, 1].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_class_with_logit_minus_infinity(dtype, isa):
    logits, lengths, labels, label_lengths = problem(6, 4, 3, 3, dtype=dtype)
    masked = np.insert(logits, 3, -np.inf, axis=2)
    value, gradient = ctc_loss(masked, lengths, labels, label_lengths)
    expected_value, expected = ctc_loss(logits, lengths, labels, label_lengths)
    assert value == expected_value
    assert not gradient[..., 3].any()
    np.testing.assert_allclose(gradient[..., :3], expected, rtol=0, atol=TOLERANCE[dtype])
    labels[0, 0], label_lengths[0], lengths[0] = 3, 1, 6
    masked[:, 0] = [0, 0, 0, -np.inf]
    with pytest.raises(ValueError, match=r"logits give labels\[0\] probability zero"):
        ctc_loss(masked, lengths, labels, label_lengths)
    _, gradient = ctc_loss(masked, lengths, labels, label_lengths, zero_infinity=True)
    assert not gradient[:, 0].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 4, 20])
def test_nan_is_seen(place, bad, dtype, isa):
    logits = np.zeros((5, 2, 21), dtype)
    logits[2, 1, place] = bad
    for zero_infinity in (False, True):
        value, gradient = ctc_loss(logits, [5, 5], [[1], [2]], [1, 1], zero_infinity=zero_infinity)
        assert math.isnan(value)
        assert np.isfinite(gradient[:, 0]).all()
        assert np.isnan(gradient[:, 1]).any(axis=-1).all()


@pytest.mark.parametrize("num_threads", [1, 2, 3, 16])
def test_bitwise_the_same_in_many_threads(num_threads):
    case = problem(80, 20, 20, 20, dtype=np.float32)
    value, gradient = ctc_loss(*case, num_threads=1)
    found = ctc_beam_search(*case[:2], beam_width=5, num_threads=1)

    def work(_):
        again = ctc_loss(*case, num_threads=num_threads)
        assert again[0] == value
        np.testing.assert_array_equal(again[1], gradient)
        assert_same_results(ctc_beam_search(*case[:2], beam_width=5, num_threads=num_threads), found)

    run_together(6, work)


# ---- the searches ----


def as_tuples(results):
    return [[(tuple(labels.tolist()), score) for labels, score in row] for row in results]


def assert_same_results(found, expected):
    assert as_tuples(found) == as_tuples(expected)


def plain_beam_search(logits, width, blank):
    """Of one row, prefixes in a dictionary: the same search in a few lines."""
    beam = {(): (1.0, 0.0)}
    for y in softmax(logits.astype(np.float64)):
        following = {}
        for prefix, (b, n) in beam.items():
            ways = [(prefix, (b + n) * y[blank], n * y[prefix[-1]] if prefix else 0.0)]
            for k in range(len(y)):
                if k != blank:
                    ways.append(((*prefix, k), 0.0, (b if prefix[-1:] == (k,) else b + n) * y[k]))
            for longer, more_b, more_n in (way for way in ways if way[1] + way[2] > 0):
                b_so_far, n_so_far = following.get(longer, (0.0, 0.0))
                following[longer] = b_so_far + more_b, n_so_far + more_n
        beam = dict(sorted(following.items(), key=lambda item: -sum(item[1]))[:width])
    return sorted(((prefix, math.log(sum(ways))) for prefix, ways in beam.items()), key=lambda item: -item[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("blank", [0, 1])
def test_a_wide_beam_finds_every_labelling(blank, dtype, isa):
    for seed in range(4):
        logits, lengths, *_ = problem(6, 4, 3, 2, seed=seed, dtype=dtype)
        rows = as_tuples(ctc_beam_search(logits, lengths, beam_width=200, num_results=200, blank=blank))
        for b, row in enumerate(rows):
            expected = {k: math.log(v[0]) for k, v in all_labellings(logits[: lengths[b], b], blank).items()}
            assert len(row) == len(expected)
            assert dict(row) == pytest.approx(expected, rel=TOLERANCE[dtype], abs=TOLERANCE[dtype])
            assert [score for _, score in row] == sorted((score for _, score in row), reverse=True)


@pytest.mark.parametrize("width", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_a_narrow_beam_is_the_plain_search(scale, width):
    for seed in range(6):
        logits, lengths, *_ = problem(25, 4, 5, 2, seed=seed, scale=scale, blank=seed % 5)
        rows = as_tuples(ctc_beam_search(logits, lengths, beam_width=width, num_results=width, blank=seed % 5))
        for b, row in enumerate(rows):
            expected = plain_beam_search(logits[: lengths[b], b], width, seed % 5)
            assert [labels for labels, _ in row] == [labels for labels, _ in expected]
            np.testing.assert_allclose([score for _, score in row], [score for _, score in expected], atol=1e-10)


def test_a_narrow_beam_never_says_more_than_is_true():
    logits, lengths, *_ = problem(7, 6, 3, 2, scale=1.0)
    for width in (1, 2, 4, 8):
        for b, row in enumerate(as_tuples(ctc_beam_search(logits, lengths, beam_width=width, num_results=width))):
            true = all_labellings(logits[: lengths[b], b], 0)
            assert len({labels for labels, _ in row}) == len(row) <= width
            for labels, score in row:
                assert score <= math.log(true[labels][0]) + 1e-12


def test_the_score_of_a_wide_beam_is_the_loss():
    logits, lengths, *_ = problem(12, 8, 3, 2, scale=5.0)
    for b, [(labels, score)] in enumerate(ctc_beam_search(logits, lengths, beam_width=9000)):
        one = logits[:, b : b + 1], lengths[b : b + 1], labels[np.newaxis], [len(labels)]
        assert score == pytest.approx(-ctc_loss(*one, per_label=False)[0], rel=1e-12)


@common
@given(cases, st.sampled_from(DTYPES), st.integers(0, 99), layouts)
def test_best_path_of_any_sizes_and_layouts(sizes, dtype, seed, layout):
    blank = seed % sizes[2]
    logits, lengths, *_ = problem(*sizes, seed=seed, blank=blank, dtype=dtype)
    found = ctc_best_path(laid_out(logits, layout), laid_out(lengths, layout), blank=blank)
    for b, labels in enumerate(found):
        assert labels.dtype == np.int64
        assert tuple(labels.tolist()) == collapse(logits[: lengths[b], b].argmax(-1).tolist(), blank)
    assert len(found) == sizes[1]


def test_searches_with_nothing_to_find():
    assert ctc_best_path(np.ones((4, 0, 3)), []) == ctc_beam_search(np.ones((4, 0, 3)), []) == []
    for logits, lengths in ((np.ones((0, 2, 3)), [0, 0]), (np.ones((4, 2, 1)), [4, 0]), (np.ones((4, 2, 3)), [0, 0])):
        assert [row.tolist() for row in ctc_best_path(logits, lengths)] == [[], []]
        assert as_tuples(ctc_beam_search(logits, lengths, num_results=2)) == [[((), 0.0)]] * 2


def test_impossible_labels_are_not_found():
    logits = np.tile([0.0, -np.inf, 1.0], (3, 1, 1)).reshape(3, 1, 3)
    (row,) = as_tuples(ctc_beam_search(logits, [3], num_results=50))
    assert [labels for labels, _ in row] == [(2,), (2, 2), ()]
    assert sum(math.exp(score) for _, score in row) == pytest.approx(1)


# ---- logits of any size ----


def exactly_enumerated(logits, labels, blank=0):
    """-ln p(labels) and its gradient for one row (T, K), from all paths: what is large is added up in fractions."""
    (T, K), exact = logits.shape, [[Fraction(float(x)) for x in step] for step in logits]
    below = np.array([[float(x - max(step)) for x in step] for step in exact])
    sums = np.exp(below).sum(axis=1)
    paths = [path for path in itertools.product(range(K), repeat=T) if collapse(path, blank) == labels]
    scores = [sum(exact[t][k] for t, k in enumerate(path)) for path in paths]
    best = max(scores)
    weights = np.array([math.exp(max(score - best, -999)) for score in scores])
    shares = np.zeros((T, K))
    for path, weight in zip(paths, weights / weights.sum(), strict=True):
        shares[np.arange(T), path] += weight
    loss = float(sum(max(step) for step in exact) - best) + np.log(sums).sum() - math.log(weights.sum())
    return loss, np.exp(below) / sums[:, np.newaxis] - shares


@pytest.mark.parametrize(
    ("size", "dtype"),
    [(size, np.float64) for size in (1e-300, 1.0, 1e7, 1e14, 1e15, 1e17, 1e30, 1e200, 1e298)]
    + [(size, np.float32) for size in (1e-40, 1.0, 1e7, 1e14, 1e30, 1e37)],
)
@pytest.mark.parametrize("around", [0.0, 1.0])
def test_logits_of_any_size(around, size, dtype, isa):
    for seed, labels in itertools.product(range(3), ((), (1,), (1, 1), (2, 1))):
        x = np.random.default_rng(seed).normal(size=(4, 3))
        logits = (size + x if around else size * x).astype(dtype)
        loss, gradient = ctc_loss(
            logits[:, np.newaxis], None, np.array([labels], np.int64).reshape(1, -1), None, per_label=False
        )
        expected, d = exactly_enumerated(logits, labels)
        assert loss == pytest.approx(expected, rel=TOLERANCE[dtype], abs=TOLERANCE[dtype])
        np.testing.assert_allclose(gradient[:, 0], d, rtol=0, atol=TOLERANCE[dtype])
        (found,) = ctc_beam_search(logits[:, np.newaxis], beam_width=99, num_results=99)
        scores = {tuple(labels.tolist()): score for labels, score in found}
        assert scores[labels] == pytest.approx(-expected, rel=TOLERANCE[dtype], abs=TOLERANCE[dtype])


@pytest.mark.parametrize(
    ("size", "dtype"),
    [(size, np.float64) for size in (1e14, 1e16, 1e18, 1e30, 1e200)] + [(1e14, np.float32), (1e30, np.float32)],
)
def test_shares_of_paths_that_are_equal_are_shares(size, dtype, isa):
    """No float holds what tells such paths apart; but each has a share of one."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        logits = (size * rng.integers(-2, 2, (7, 1, 4))).astype(dtype)
        _, gradient = ctc_loss(logits, None, rng.integers(1, 4, (1, 3)), None)
        assert np.abs(gradient).max() <= 1
        np.testing.assert_allclose(gradient.sum(axis=2), 0, atol=TOLERANCE[dtype])


# ---- arguments ----

LOGITS, LENGTHS, LABELS, LABEL_LENGTHS = np.zeros((4, 2, 3)), [4, 3], [[1, 2], [2, 1]], [2, 1]


@pytest.mark.parametrize(
    "call", [lambda *a, **k: ctc_loss(*a, LABELS, LABEL_LENGTHS, **k), ctc_best_path, ctc_beam_search]
)
@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([[[1.0]]], LENGTHS), {}, TypeError, "logits must be a NumPy array"),
        ((LOGITS.astype(int), LENGTHS), {}, TypeError, "logits must have dtype float32 or float64, not int64"),
        ((LOGITS[0], LENGTHS), {}, ValueError, r"logits must have shape \(T, B, K\), not \(2, 3\)"),
        ((LOGITS, [4.0, 3.0]), {}, TypeError, "lengths must be integers, not float64"),
        ((LOGITS, [True, False]), {}, TypeError, "lengths must be integers, not bool"),
        ((LOGITS, 4), {}, ValueError, r"lengths must have shape \(B,\) = \(2,\), not \(\)"),
        ((LOGITS, [4]), {}, ValueError, r"lengths must have shape \(B,\) = \(2,\), not \(1,\)"),
        ((LOGITS, [5, 1]), {}, ValueError, "lengths must be from 0 to T = 4, not 1 to 5"),
        ((LOGITS, [-1, 4]), {}, ValueError, "lengths must be from 0 to T = 4, not -1 to 4"),
        ((LOGITS, LENGTHS), {"blank": 3}, ValueError, "blank must be one of the K = 3 classes, not 3"),
        ((LOGITS, LENGTHS), {"blank": -1}, ValueError, "blank must be one of the K = 3 classes, not -1"),
        ((LOGITS[..., :0], LENGTHS), {}, ValueError, "blank must be one of the K = 0 classes, not 0"),
        ((LOGITS, LENGTHS), {"blank": 1.0}, TypeError, "blank must be an int, not float"),
        ((LOGITS, LENGTHS), {"blank": True}, TypeError, "blank must be an int, not bool"),
    ],
)  # fmt: skip
def test_errors_of_all(call, arguments, options, error, message):
    with pytest.raises(error, match=message):
        call(*arguments, **options)


@pytest.mark.parametrize(
    ("labels", "label_lengths", "error", "message"),
    [
        ([[1.0, 2.0]] * 2, LABEL_LENGTHS, TypeError, "labels must be integers, not float64"),
        ([1, 2], LABEL_LENGTHS, ValueError, r"labels must have shape \(B, L\) = \(2, L\), not \(2,\)"),
        ([[1, 2]], LABEL_LENGTHS, ValueError, r"labels must have shape \(B, L\) = \(2, L\), not \(1, 2\)"),
        (LABELS, [2.0, 1.0], TypeError, "label_lengths must be integers"),
        (LABELS, [2], ValueError, r"label_lengths must have shape \(B,\) = \(2,\)"),
        (LABELS, [3, 1], ValueError, "label_lengths must be from 0 to L = 2, not 1 to 3"),
        (LABELS, [-1, 1], ValueError, "label_lengths must be from 0 to L = 2, not -1 to 1"),
        ([[1, 2], [0, 1]], LABEL_LENGTHS, ValueError, r"to K - 1 = 2 and not blank = 0, but labels\[1, 0\] is 0"),
        ([[1, 3], [2, 9]], LABEL_LENGTHS, ValueError, r"labels\[0, 1\] is 3"),
        ([[1, -2], [2, 9]], LABEL_LENGTHS, ValueError, r"labels\[0, 1\] is -2"),
    ],
)  # fmt: skip
def test_errors_of_the_loss(labels, label_lengths, error, message):
    with pytest.raises(error, match=message):
        ctc_loss(LOGITS, LENGTHS, labels, label_lengths)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"beam_width": 0}, ValueError, "beam_width must be at least 1, not 0"),
        ({"beam_width": 2.5}, TypeError, "beam_width must be an int"),
        ({"num_results": 0}, ValueError, "num_results must be at least 1, not 0"),
        ({"num_results": "all"}, TypeError, "num_results must be an int"),
        ({"num_results": 9, "beam_width": 8}, ValueError, "num_results must be at most beam_width = 8, not 9"),
        ({"num_threads": 0}, ValueError, "num_threads must be from 1"),
    ],
)
def test_errors_of_the_beam(options, error, message):
    with pytest.raises(error, match=message):
        ctc_beam_search(LOGITS, LENGTHS, **options)
    if "num_threads" in options:
        with pytest.raises(error, match=message):
            ctc_loss(LOGITS, LENGTHS, LABELS, LABEL_LENGTHS, **options)


@pytest.mark.parametrize("dtype", DTYPES)
def test_searches_refuse_nan(dtype, isa):
    logits = np.zeros((4, 2, 3), dtype)
    logits[2, 1, 2] = np.nan
    with pytest.raises(ValueError, match="logits must be numbers up to the lengths: row 1 has NaN"):
        ctc_best_path(logits, [4, 3])
    with pytest.raises(ValueError, match=r"softmax up to the lengths, but logits\[2, 1\] have none"):
        ctc_beam_search(logits, [4, 3])
    logits[2, 1] = -np.inf
    with pytest.raises(ValueError, match=r"but logits\[2, 1\] have none"):
        ctc_beam_search(logits, [4, 3])
    assert [row.tolist() for row in ctc_best_path(logits, [4, 2])] == [[], []]
    assert as_tuples(ctc_beam_search(logits, [4, 2]))[1][0][0] in {(1,), (2,)}


@pytest.mark.parametrize("width", [10**9, 2**61, 2**63, 10**40])
def test_a_beam_is_no_wider_than_there_are_labellings(width):
    logits, lengths = problem(T=2, B=2, K=3, L=1)[:2]
    found, expected = (ctc_beam_search(logits, lengths, beam_width=n, num_results=7) for n in (width, 7))
    assert [len(row) for row in found] == [len(row) for row in expected]
    logits = np.zeros((100, 1, 50), np.float32)
    if width > 2**60:
        with pytest.raises(MemoryError):
            ctc_beam_search(logits, beam_width=width)


def test_no_more_results_are_made_room_for_than_there_are_labellings():
    logits = np.zeros((2, 3, 3))
    tracemalloc.start()
    found = ctc_beam_search(logits, beam_width=2 * 10**7, num_results=2 * 10**7)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    expected = plain_beam_search(np.zeros((2, 3)), 99, 0)
    for row in as_tuples(found):
        assert sorted(labels for labels, _ in row) == sorted(labels for labels, _ in expected)
        assert [score for _, score in row] == sorted((score for _, score in row), reverse=True)
