"""Calls without options, for which no pass is made in Python, against the same calls with passes: the same bits."""

import numpy as np
import pytest

import fastlstm
from fastlstm import GRU, LSTM, RNN, Frozen
from fastlstm.layers.stack import run

LAYERS = {
    "LSTM": LSTM(5, 20, seed=0),
    "no peepholes": LSTM(5, 20, peephole=False, seed=0),
    "CIFG": LSTM(5, 20, variant="CIFG", seed=0),
    "one lane": LSTM(5, 17, seed=0),
    "odd": LSTM(3, 27, seed=0),
    "projected": LSTM(5, 20, proj_size=7, seed=0),
    "layer norm": LSTM(5, 20, layer_norm=True, seed=0),
    "float64": LSTM(5, 20, dtype=np.float64, seed=0),
    "stack": LSTM(5, 20, 3, seed=0),
    "two directions": LSTM(5, 20, 2, bidirectional=True, seed=0),
    "batch first": LSTM(5, 20, batch_first=True, seed=0),
    "invariant": LSTM(5, 20, batch_invariant=True, seed=0),
    "large": LSTM(70, 270, seed=0),
    "GRU": GRU(5, 20, seed=0),
    "GRU, reset before": GRU(5, 20, reset_after=False, seed=0),
    "GRU, two directions": GRU(5, 20, bidirectional=True, seed=0),
    "RNN": RNN(5, 20, seed=0),
}
SIZES = [(1, 1), (1, 20), (7, 1), (40, 1), (300, 1), (6, 3), (30, 20)]


def given(layer, T, B):
    """Return a sequence and a state."""
    rng = np.random.default_rng(T + B)
    x = rng.normal(size=(B, T, layer.input_size) if layer.batch_first else (T, B, layer.input_size))
    state = layer(x.astype(layer.dtype))[1]
    return x.astype(layer.dtype), state


def parts(result):
    y, state = result[:2]
    return [y, *(state if isinstance(state, tuple) else (state,))]


def same(a, b):
    return all(np.array_equal(one, other) for one, other in zip(parts(a), parts(b), strict=True))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("T", "B"), SIZES)
@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_the_bits_of_passes(name, T, B, num_threads):
    layer = LAYERS[name]
    x, state = given(layer, T, B)
    before = [part.copy() for part in parts((x, state))]
    is_copied = layer.batch_first and B > 1 and T > 1
    assert (layer._run_held(x, state, num_threads) is None) == is_copied
    for first in (None, state):
        expected = run(layer, x, first, num_threads=num_threads)
        assert same(layer(x, first, num_threads=num_threads), expected)
    assert all(map(np.array_equal, parts((x, state)), before))


@pytest.mark.parametrize(
    ("name", "form"),
    [(name, "full") for name in LAYERS]
    + [(name, form) for name in LAYERS if name != "float64" for form in ("bfloat16", "int8")],
)
def test_frozen(name, form):
    layer = LAYERS[name]
    frozen = Frozen(layer, form)
    for T, B in SIZES:
        x, state = given(layer, T, B)
        for first in (None, state):
            expected = run(frozen._layers, x, first, num_threads=1)
            assert same(frozen(x, first, num_threads=1), expected)
            if form == "full":
                assert all(
                    np.allclose(one, other, 1e-5, 1e-5)
                    for one, other in zip(parts(expected), parts(layer(x, first)), strict=True)
                )


def test_results_are_new_arrays():
    layer = LAYERS["LSTM"]
    x, state = given(layer, 4, 2)
    y, last = layer(x, state)
    again, last_again = layer(x, state)
    arrays = [x, *state, y, *last, again, *last_again]
    assert not any(np.shares_memory(a, b) for k, a in enumerate(arrays) for b in arrays[:k])


@pytest.mark.parametrize(
    "network",
    [LSTM(3, 4, zoneout=(0.1, 0.1), seed=0), LSTM(3, 4, variant="FGR", seed=0)],
    ids=["zoneout", "FGR"],
)
def test_what_lies_between_steps_needs_passes(network):
    x = np.ones((5, 2, 3), np.float32)
    assert network._run_held(x, None, None) is None
    assert same(network(x), run(network, x))


def test_a_state_in_part_and_arrays_that_must_be_copied():
    layer = LAYERS["LSTM"]
    x, (h, c) = given(layer, 6, 3)
    zero = np.zeros_like(h)
    assert same(layer(x, (None, c)), layer(x, (zero, c)))
    assert same(layer(x, [h, c]), layer(x, (h, c)))
    every_other = np.repeat(x, 2, axis=2)[:, :, ::2]
    assert not every_other.flags.c_contiguous
    assert same(layer(every_other, (h, c)), layer(x, (h, c)))
    unaligned = np.empty(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    unaligned[:] = x
    assert same(layer(unaligned, (h, c)), layer(x, (h, c)))


@pytest.mark.parametrize(
    ("x", "state", "message"),
    [
        (np.ones((2, 3, 4), np.float32), None, r"x must have shape \(T, B, I\) = \(2, 3, 5\)"),
        (np.ones((2, 3, 5)), None, "x must .*float32"),
        (np.ones((3, 5), np.float32), None, "x must have shape"),
        (np.ones((2, 3, 5), np.float32), np.zeros((1, 3, 20), np.float32), "state must be"),
        (np.ones((2, 3, 5), np.float32), (np.zeros((1, 2, 20), np.float32),) * 2, "state h must have shape"),
        (np.ones((2, 3, 5), np.float32), (np.zeros((1, 3, 20)),) * 2, "state h must .*float32"),
    ],
)
def test_what_is_wrong_is_said(x, state, message):
    with pytest.raises((TypeError, ValueError), match=message):
        LAYERS["LSTM"](x, state)


def test_threads_are_checked():
    with pytest.raises(ValueError, match="num_threads must be from 1"):
        LAYERS["LSTM"](np.ones((2, 3, 5), np.float32), num_threads=0)


def test_parameters_as_they_are():
    layer = fastlstm.LSTM(3, 4, seed=0)
    x = np.ones((20, 2, 3), np.float32)
    before = layer(x)[0]
    layer.flat[:] = 0
    assert before.any()
    assert not layer(x)[0].any()
