"""Pairs of sequences in batches: what is in them, which go together, misuse."""

import numpy as np
import pytest

from fastlstm.nn import Pairs

BEGIN, END = 8, 9


def data(count=100, seed=0):
    rng = np.random.default_rng(seed)
    sources = [rng.normal(size=(n, 2)) for n in rng.integers(0, 12, count)]
    return sources, [rng.integers(0, 8, n).astype(np.uint64) for n in rng.integers(0, 9, count)]


def unpadded(batch, row, source_is_a_vector=False):
    """The source, what goes in and what is to come out of one row of a batch, without padding."""
    x, target = batch.inputs["x"], batch.targets["target"]
    if source_is_a_vector:
        source = x[row]
    else:
        length = batch.inputs.get("lengths", np.full(x.shape[1], len(x)))[row]
        assert not x[length:, row].any()
        source = x[:length, row]
    mask = batch.targets.get("mask", np.ones(target.shape, bool))[:, row]
    assert np.array_equal(mask, np.sort(mask)[::-1])
    return source, batch.inputs["target_in"][mask, row], target[mask, row]


@pytest.mark.parametrize("rng", [None, np.random.default_rng(1)])
@pytest.mark.parametrize("vectors", [False, True])
def test_an_epoch_has_each_pair_once(vectors, rng):
    sources, targets = data()
    if vectors:
        sources = np.random.default_rng(0).normal(size=(100, 3))
    pairs = Pairs(sources, targets, 7, begin=BEGIN, end=END)
    batches = list(pairs.epoch(rng))
    assert len(batches) == len(pairs) == 15
    assert sorted(np.concatenate([batch.rows for batch in batches]).tolist()) == list(range(100))
    for batch in batches:
        assert ("lengths" in batch.inputs) == (not vectors and len({len(sources[k]) for k in batch.rows}) > 1)
        assert ("mask" in batch.targets) == (len({len(targets[k]) for k in batch.rows}) > 1)
        assert batch.size == sum(len(targets[k]) + 1 for k in batch.rows)
        for row, k in enumerate(batch.rows):
            source, before, after = unpadded(batch, row, vectors)
            np.testing.assert_array_equal(source, sources[k])
            assert before.tolist() == [BEGIN, *targets[k].tolist()]
            assert after.tolist() == [*targets[k].tolist(), END]


def test_what_is_alike_goes_together():
    sources, targets = data()
    in_order = list(Pairs(sources, targets, 5, begin=BEGIN, end=END).epoch())
    sizes = [(len(sources[k]), len(targets[k])) for batch in in_order for k in batch.rows]
    assert sizes == sorted(sizes)
    pairs = Pairs(sources, targets, 5, begin=BEGIN, end=END)
    first, second = (list(pairs.epoch(np.random.default_rng(seed))) for seed in (0, 1))
    assert [batch.rows.tolist() for batch in first] != [batch.rows.tolist() for batch in second]
    assert all(np.ptp([len(sources[k]) for k in batch.rows]) <= 2 for batch in first)
    again = pairs.epoch(np.random.default_rng(0))
    assert [batch.rows.tolist() for batch in again] == [batch.rows.tolist() for batch in first]


def test_without_pairs_there_are_no_batches():
    pairs = Pairs([], [], 5, begin=BEGIN, end=END)
    assert len(pairs) == 0
    assert list(pairs.epoch()) == []


x, ids = [np.ones((3, 2))], [np.array([1, 2])]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((x, ids, 0, BEGIN, END), ValueError, "batch_size must be at least 1"),
        ((x, ids, 1, -1, END), ValueError, "begin must be from 0 on, not -1"),
        ((x, ids, 1, BEGIN, 1.0), TypeError, "end must be an int, not float"),
        ((3, ids, 1, BEGIN, END), TypeError, "sources must be a list of arrays"),
        ((x, [[1, 2.0]], 1, BEGIN, END), TypeError, r"targets\[0\] must be an array"),
        ((x, ids * 2, 1, BEGIN, END), ValueError, "targets must be as many as the sources, 1, not 2"),
        ((x, [np.ones(2)], 1, BEGIN, END), TypeError, r"targets\[0\] must have an integer dtype, not float64"),
        ((x, [np.ones((2, 2), int)], 1, BEGIN, END), ValueError, r"targets\[0\] must have shape \(T,\), not \(2, 2\)"),
        ((x, ids, 1, BEGIN, 2), ValueError, r"targets\[0\] must not contain end = 2"),
    ],
)
def test_errors(arguments, error, message):
    sources, targets, batch_size, begin, end = arguments
    with pytest.raises(error, match=message):
        Pairs(sources, targets, batch_size, begin=begin, end=end)


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 2)])
def test_arrays_of_sequences_are_sequences(shape):
    rng = np.random.default_rng(0)
    sources = rng.integers(0, 5, shape) if len(shape) == 2 else rng.normal(size=shape)
    targets = [np.array([k]) for k in range(6)]
    as_list = Pairs(list(sources), targets, 4, begin=BEGIN, end=END).epoch()
    for batch, expected in zip(Pairs(sources, targets, 4, begin=BEGIN, end=END).epoch(), as_list, strict=True):
        np.testing.assert_array_equal(batch.inputs["x"], expected.inputs["x"])
        assert batch.inputs["x"].shape[0] == 4
