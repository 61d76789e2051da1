"""Chunks with a carried state against whole sequences."""

import numpy as np
import pytest
from helpers import assert_close, by_name
from layer_cases import CELLS, random

from fastlstm import LSTM, truncated_bptt

T, B, I, H = 11, 3, 2, 4
LENGTHS = np.array([11, 0, 7])


def network(layer=LSTM, **options):
    return layer(I, H, 2, dtype=np.float64, seed=0, **options)


def fgr(*sizes, **options):
    """The state of FGR has gates too."""
    return LSTM(*sizes, variant="FGR", **options)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize(("k1", "k2"), [(1, 11), (2, 12), (3, 30), (4, 14), (11, 11), (20, 20)])
@pytest.mark.parametrize("layer", [*CELLS, fgr])
def test_chunks_that_cut_nothing_are_the_whole(layer, k1, k2, lengths):
    net, x, dy = network(layer), random(T, B, I), random(T, B, H, seed=1)
    y, last, tape = net.forward(x, lengths=lengths)
    expected = net.backward(tape, dy)
    outputs, flat, dx = [], 0, np.zeros_like(x)
    for chunk in truncated_bptt(net, x, k1, k2, lengths=lengths):
        grads = chunk.backward(dy[chunk.start : chunk.end])
        outputs.append(chunk.y)
        flat = flat + grads.flat
        dx[chunk.end - len(grads.x) : chunk.end] += grads.x
    found = {"y": np.concatenate(outputs), "flat": flat, "x": dx}
    assert_close(found, {"y": y, "flat": expected.flat, "x": expected.x}, 1e-12)
    for one, other in zip(chunk.state, last, strict=True):
        assert_close({"state": one}, {"state": other}, 1e-12)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize(("k1", "k2"), [(1, 11), (2, 12), (3, 30), (11, 11)])
@pytest.mark.parametrize("layer", [*CELLS, fgr])
def test_resets_in_any_chunk(layer, k1, k2, lengths):
    """The state becomes zero: in the middle of a chunk, or with its first step."""
    net, x, dy = network(layer), random(T, B, I), random(T, B, H, seed=1)
    reset = np.random.default_rng(0).random((T, B)) < 0.3
    y, _, tape = net.forward(x, lengths=lengths, reset=reset)
    expected, outputs, flat = net.backward(tape, dy), [], 0
    for chunk in truncated_bptt(net, x, k1, k2, lengths=lengths, reset=reset):
        flat = flat + chunk.backward(dy[chunk.start : chunk.end]).flat
        outputs.append(chunk.y)
    assert_close({"y": np.concatenate(outputs), "flat": flat}, {"y": y, "flat": expected.flat}, 1e-12)


@pytest.mark.parametrize(("k1", "k2"), [(2, 4), (3, 3), (2, 5), (4, 6)])
@pytest.mark.parametrize("layer", [LSTM, fgr])
def test_gradients_reach_k2_steps_back(layer, k1, k2):
    """The same as a run of the last k2 steps alone, from the state before them."""
    net, x, dy = network(layer), random(T, B, I), random(T, B, H, seed=1)
    for chunk in truncated_bptt(net, x, k1, k2):
        begin = max(0, chunk.start + k1 - k2) if chunk.end - chunk.start == k1 else None
        if begin is None:
            continue
        _, state = net(x[:begin])
        _, _, tape = net.forward(x[begin : chunk.end], state)
        above = dy[begin : chunk.end].copy()
        above[: chunk.start - begin] = 0
        expected, found = net.backward(tape, above), chunk.backward(dy[chunk.start : chunk.end])
        assert_close({"flat": found.flat, "x": found.x}, {"flat": expected.flat, "x": expected.x}, 1e-12)
        assert_close(by_name(found.state), by_name(expected.state), 1e-12)


def test_out_and_accumulate():
    net, x = network(batch_first=True), random(B, T, I)
    chunks = list(truncated_bptt(net, x, 5, 10))
    assert [(c.start, c.end) for c in chunks] == [(0, 5), (5, 10), (10, 11)]
    first = chunks[1].backward(np.ones_like(chunks[1].y))
    flat = first.flat.copy()
    assert first.x.shape == (B, 10, I)
    again = chunks[1].backward(np.ones_like(chunks[1].y), out=first)
    assert_close({"flat": again.flat}, {"flat": flat}, 1e-15)
    twice = chunks[1].backward(np.ones_like(chunks[1].y), out=again, accumulate=True)
    assert_close({"flat": twice.flat}, {"flat": 2 * flat}, 1e-15)


def test_wrong_arguments():
    x = random(T, B, I)
    for k1, k2, message in ((0, None, "k1 must be at least 1"), (3, 2, "k2 must be at least k1 = 3, not 2")):
        with pytest.raises(ValueError, match=f"^{message}"):
            next(truncated_bptt(network(), x, k1, k2))
    with pytest.raises(ValueError, match=r"^network must have one direction"):
        next(truncated_bptt(network(bidirectional=True), x, 2))
    with pytest.raises(ValueError, match=r"^reset must have shape \(T, B\) = \(11, 3\), not \(12, 3\)"):
        truncated_bptt(network(), x, 2, reset=np.zeros((T + 1, B), bool))
    chunk = next(truncated_bptt(network(), x, 2))
    with pytest.raises(ValueError, match=r"^dy must have the shape of y, \(2, 3, 4\), not \(11, 3, 4\)"):
        chunk.backward(random(T, B, H))
