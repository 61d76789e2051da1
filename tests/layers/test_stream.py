"""Streams against calls over whole sequences."""

import tracemalloc

import numpy as np
import pytest
from cases import GRU_FORMS
from helpers import assert_close, assert_same, by_name
from layer_cases import CELLS

from fastlstm import GRU, LSTM, RNN, Stream

NETWORKS = [
    lambda **options: LSTM(3, 5, **options),
    lambda **options: LSTM(3, 5, 3, variant="CIFG", **options),
    lambda **options: LSTM(3, 5, 2, proj_size=2, **options),
    lambda **options: LSTM(3, 5, 2, variant="FGR", **options),
    lambda **options: LSTM(3, 37, variant="FGR", zoneout=(0.1, 0.2), proj_size=7, **options),
    lambda **options: LSTM(3, 5, 2, zoneout=(0.3, 0.2), batch_first=True, **options),
    lambda **options: LSTM(3, 5, batch_invariant=True, **options),
    lambda **options: LSTM(3, 37, 2, layer_norm=True, zoneout=(0.1, 0.2), **options),
    lambda **options: LSTM(3, 5, layer_norm=True, variant="CIFG", proj_size=2, **options),
    *(lambda form=form, **options: GRU(3, 5, 2, reset_after=form, **options) for form in GRU_FORMS),
    lambda **options: GRU(3, 37, zoneout=0.3, batch_first=True, **options),
    lambda **options: RNN(3, 5, 2, zoneout=0.3, **options),
    lambda **options: RNN(3, 5, 2, **options),
]


@pytest.mark.parametrize("make", NETWORKS)
@pytest.mark.parametrize("num_threads", [1, 2])
def test_stream_is_one_call(make, num_threads):
    network = make(dtype=np.float64, seed=0)
    x = np.random.default_rng(0).standard_normal((7, 4, 3))
    y, last = network(x) if not network.batch_first else network(x.swapaxes(0, 1))
    y = y if not network.batch_first else y.swapaxes(0, 1)
    stream = Stream(network, 4, num_threads=num_threads)
    for t in range(7):
        assert_close({"y": stream.step(x[t])}, {"y": y[t]}, 1e-13)
    assert_close(by_name(stream.state), by_name(last), 1e-13)


@pytest.mark.parametrize("rows", [[1, 3], np.array([False, True, False, True])], ids=["indices", "mask"])
@pytest.mark.parametrize("make", NETWORKS)
def test_reset_rows_begin_anew(make, rows):
    network = make(dtype=np.float64, seed=0)
    x = np.random.default_rng(0).standard_normal((7, 4, 3))
    reset = np.zeros((7, 4), bool)
    reset[3, rows] = True
    y, _ = network(x, reset=reset) if not network.batch_first else network(x.swapaxes(0, 1), reset=reset)
    y = y if not network.batch_first else y.swapaxes(0, 1)
    stream = Stream(network, 4)
    for t in range(7):
        if t == 3:
            stream.reset(rows)
        assert_close({"y": stream.step(x[t])}, {"y": y[t]}, 1e-13)
    stream.reset()
    assert_close({"y": stream.step(x[0])}, {"y": y[0]}, 1e-13)
    stream.reset([])
    before = {name: array.copy() for name, array in by_name(stream.state).items()}
    stream.reset([2], stream.state[:, [2]] if not isinstance(network, LSTM) else tuple(a[:, [2]] for a in stream.state))
    assert_same(by_name(stream.state), before)


@pytest.mark.parametrize("make", NETWORKS)
def test_changed_parameters_take_effect_at_the_next_step(make):
    network, x = make(seed=0), np.ones((4, 3), np.float32)
    stream = Stream(network, 4)
    stream.step(x)
    network.flat[:] *= 0.9
    before = stream.state.copy() if not isinstance(network, LSTM) else tuple(part.copy() for part in stream.state)
    assert_close({"y": network.step(x, before)[0]}, {"y": stream.step(x)}, 1e-6)


@pytest.mark.parametrize("make", NETWORKS)
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
    with pytest.raises(TypeError, match=r"^network must be an LSTM, a GRU, an RNN or Frozen, not str"):
        Stream("lstm")
    with pytest.raises(ValueError, match=r"^step needs layers in one direction"):
        Stream(RNN(3, 5, bidirectional=True))
    with pytest.raises(ValueError, match=r"^B must be at least 1, not 0"):
        Stream(LSTM(3, 5), 0)


def test_reset_to_a_state_of_other_parts():
    rng = np.random.default_rng(0)
    h, c, g = (rng.standard_normal((1, 2, size)).astype(np.float32) for size in (5, 5, 15))
    stream = Stream(LSTM(3, 5, variant="FGR", seed=0), 4)
    stream.reset([1, 2], (h, None, g))
    zero = {"h": np.zeros((1, 4, 5)), "c": np.zeros((1, 4, 5)), "g": np.zeros((1, 4, 15))}
    zero["h"][:, 1:3], zero["g"][:, 1:3] = h, g
    assert_close(by_name(stream.state), zero, 0)
    stream.reset([1, 2], (h, c))  # gates are zero where they are not given, as for a call
    zero["c"][:, 1:3], zero["g"][:] = c, 0
    assert_close(by_name(stream.state), zero, 0)
    with pytest.raises(ValueError, match=r"^state must have 3 parts, as the stream's has, not 1"):
        stream.reset([1, 2], h)
    with pytest.raises(ValueError, match=r"^state must have 2 parts, as the stream's has, not 3"):
        Stream(LSTM(3, 5), 4).reset([1, 2], (h, c, g))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("layer", CELLS)
def test_a_call_of_one_step_is_that_step(layer, batch_first):
    """Bitwise, whether few rows or many, and as the first step of a longer call."""
    network = layer(3, 21, batch_first=batch_first, seed=0)
    for B in (1, 3, 15, 16, 40):
        x = np.random.default_rng(B).standard_normal((B, 3)).astype(np.float32)
        sequence = x[:, np.newaxis] if batch_first else x[np.newaxis]
        y, state = network(sequence)
        y_t, state_t = network.step(x)
        tolerance = 0 if B < 16 else 1e-6
        assert_close({"y": y.reshape(B, 21)} | by_name(state), {"y": y_t} | by_name(state_t), tolerance)
        assert y.shape == ((B, 1, 21) if batch_first else (1, B, 21))
        again, _ = network(sequence, state)
        assert_close({"y": again.reshape(B, 21)}, {"y": network.step(x, state)[0]}, tolerance)


@pytest.mark.parametrize("make", NETWORKS)
def test_a_stream_of_many_rows(make):
    network, x = make(seed=0), np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)
    stream, state = Stream(network, 200), None
    for _ in range(3):
        y_t, state = network.step(x, state)
        assert_close({"y": stream.step(x)}, {"y": y_t}, 2e-6)
    assert_close(by_name(stream.state), by_name(state), 2e-6)


@pytest.mark.parametrize("B", [2, 200])
@pytest.mark.parametrize("options", [{"num_layers": 2}, {"zoneout": (0.1, 0.1)}], ids=str)
def test_parts_of_a_state_that_overlap_are_refused(options, B):
    stream = Stream(LSTM(3, 4, seed=0, **options), B)
    h, c = stream.state
    stream.state = (h, h)
    with pytest.raises(ValueError, match="state c must not overlap state h"):
        stream.step(np.ones((B, 3), np.float32))
    assert not h.any()
    stream.state = (h, c)
    assert stream.step(np.ones((B, 3), np.float32)).any()


class Counting(LSTM):
    """A subclass with a step and a call of its own, which count."""

    steps = calls = 0

    def step(self, *args, **options):
        vars(self)["steps"] = self.steps + 1
        return super().step(*args, **options)

    def __call__(self, *args, **options):
        vars(self)["calls"] = self.calls + 1
        return super().__call__(*args, **options)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_step_and_the_call_of_a_subclass(layers):
    x = np.ones((1, 2, 3), np.float32)
    network = Counting(3, 5, layers, seed=0)
    Stream(network, 2).step(x[0])
    assert network.steps == 1
    projected = Counting(3, 5, layers, proj_size=2, seed=0)
    projected.step(x[0])
    assert (projected.steps, projected.calls) == (1, 1)
