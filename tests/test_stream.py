"""Streams against calls over whole sequences."""

import tracemalloc

import numpy as np
import pytest
from helpers import assert_close, assert_same

from fastlstm import LSTM, RNN, Stream

NETWORKS = [
    lambda **options: LSTM(3, 5, **options),
    lambda **options: LSTM(3, 5, 3, variant="CIFG", **options),
    lambda **options: LSTM(3, 5, 2, proj_size=2, **options),
    lambda **options: RNN(3, 5, 2, **options),
]


def arrays(state):
    return dict(zip("hc", state, strict=True)) if isinstance(state, tuple) else {"h": state}


@pytest.mark.parametrize("make", NETWORKS)
@pytest.mark.parametrize("num_threads", [1, 2])
def test_stream_is_one_call(make, num_threads):
    network = make(dtype=np.float64, seed=0)
    x = np.random.default_rng(0).standard_normal((7, 4, 3))
    y, last = network(x)
    stream = Stream(network, 4, num_threads=num_threads)
    for t in range(7):
        assert_close({"y": stream.step(x[t])}, {"y": y[t]}, 1e-13)
    assert_close(arrays(stream.state), arrays(last), 1e-13)


@pytest.mark.parametrize("rows", [[1, 3], np.array([False, True, False, True])], ids=["indices", "mask"])
@pytest.mark.parametrize("make", NETWORKS)
def test_reset_rows_begin_anew(make, rows):
    network = make(dtype=np.float64, seed=0)
    x = np.random.default_rng(0).standard_normal((7, 4, 3))
    reset = np.zeros((7, 4), bool)
    reset[3, rows] = True
    y, _ = network(x, reset=reset)
    stream = Stream(network, 4)
    for t in range(7):
        if t == 3:
            stream.reset(rows)
        assert_close({"y": stream.step(x[t])}, {"y": y[t]}, 1e-13)
    stream.reset()
    assert_close({"y": stream.step(x[0])}, {"y": y[0]}, 1e-13)
    stream.reset([])
    before = {name: array.copy() for name, array in arrays(stream.state).items()}
    stream.reset([2], stream.state[:, [2]] if isinstance(network, RNN) else tuple(a[:, [2]] for a in stream.state))
    assert_same(arrays(stream.state), before)


@pytest.mark.parametrize("make", NETWORKS[:2] + NETWORKS[3:])
def test_a_stream_allocates_nothing(make):
    stream, x = Stream(make(seed=0), 10_000), np.ones((10_000, 3), np.float32)
    stream.step(x)
    tracemalloc.start()
    for _ in range(10):
        stream.step(x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000  # Python's own small objects; an array of the step has 200_000 bytes
    y = stream.step(x)
    assert stream.step(x) is y


def test_what_cannot_stream_is_refused():
    with pytest.raises(TypeError, match=r"^network must be an LSTM, an RNN or Frozen, not str"):
        Stream("lstm")
    with pytest.raises(ValueError, match=r"^step needs layers in one direction"):
        Stream(RNN(3, 5, bidirectional=True))
    with pytest.raises(ValueError, match=r"^step cannot carry on the gates of variant FGR"):
        Stream(LSTM(3, 5, variant="FGR"))
    with pytest.raises(ValueError, match=r"^B must be at least 1, not 0"):
        Stream(LSTM(3, 5), 0)
