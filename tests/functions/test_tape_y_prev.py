"""y^{t-1} is not on a plain tape: the backward pass computes it from the output gate and the cell, and so does a read.

What it computes has the bits of what the forward pass gave, so that a caller may change y, and no gradient depends on
whether y^{t-1} was read before.
"""

import copy
import pickle

import numpy as np
import pytest
from cases import GRU_FORMS
from helpers import assert_same

import fastlstm
from fastlstm import GRU, LSTM, RNN
from fastlstm._cells import BLOCKS

T, B, I, H = 7, 3, 4, 19
LENGTHS = [4, 0, 7]
VARIANTS = [name for name in BLOCKS if name != "FGR"]


def numbers(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def networks(**options):
    for variant in VARIANTS:
        yield LSTM(I, H, variant=variant, seed=0, **options)
    yield LSTM(I, H, activations=("hard_logistic", "relu", "identity"), clip=0.1, cell_clip=0.2, seed=0, **options)
    yield LSTM(I, H, layer_norm=True, variant="NOG", seed=0, **options)
    yield LSTM(I, H, layer_norm=True, seed=0, **options)
    for reset_after in GRU_FORMS:
        yield GRU(I, H, reset_after=reset_after, seed=0, **options)
    for nonlinearity in ("tanh", "relu"):
        yield RNN(I, H, nonlinearity=nonlinearity, seed=0, **options)


def y_prev_of(tape):
    return tape.y_prev if hasattr(tape, "y_prev") else tape.h_prev


def first_h(network, dtype):
    h = numbers(network.directions, B, H, seed=1, dtype=dtype)
    return h if not isinstance(network, LSTM) else (h, numbers(network.directions, B, H, seed=2, dtype=dtype)), h


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
def test_what_is_read_is_what_the_steps_saw(isa, bidirectional, lengths, dtype):
    x = numbers(T, B, I, dtype=dtype)
    for network in networks(bidirectional=bidirectional, dtype=dtype):
        state, h = first_h(network, dtype)
        y, _, tape = network.forward(x, state, lengths)
        for k, layer in enumerate(tape.layers):
            assert not layer.keeps_y_prev
            own = y[..., k * H : (k + 1) * H]
            seen = layer.call.padded(y_prev_of(layer))
            for row, steps in enumerate(lengths or [T] * B):
                path = np.concatenate([h[k, row : row + 1], own[:steps, row][:: -1 if k else 1]])[:-1]
                assert_same({"y_prev": seen[:steps, row]}, {"y_prev": path[:steps][:: -1 if k else 1]})


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("rows", [B, 64])
def test_gradients_depend_neither_on_y_nor_on_what_was_read(isa, rows, num_threads):
    x, dy = numbers(T, rows, I), numbers(T, rows, 2 * H, seed=3)
    for network in networks(bidirectional=True):
        y, _, tape = network.forward(x)
        before = network.backward(tape, dy, num_threads=num_threads).flat.copy()
        y[...] = np.nan
        changed = network.backward(tape, dy, num_threads=num_threads).flat.copy()
        for layer in tape.layers:
            y_prev_of(layer)
            assert layer.keeps_y_prev
        read = network.backward(tape, dy, num_threads=num_threads).flat.copy()
        assert_same({"changed": changed, "read": read}, {"changed": before, "read": before})


def test_the_initial_state_is_a_copy():
    lstm, x = LSTM(I, H, seed=0), numbers(T, B, I)
    state = numbers(1, B, H, seed=1), numbers(1, B, H, seed=2)
    y, _, tape = lstm.forward(x, state)
    before = lstm.backward(tape, y).flat.copy()
    state[0][...] = state[1][...] = np.nan
    assert_same({"grads": lstm.backward(tape, y).flat}, {"grads": before})


@pytest.mark.parametrize("other", [copy.copy, copy.deepcopy, lambda tape: pickle.loads(pickle.dumps(tape))])
def test_copies(other):
    for network in (LSTM(I, H, seed=0), LSTM(I, H, layer_norm=True, seed=0), GRU(I, H, seed=0), RNN(I, H, seed=0)):
        y, _, tape = network.forward(numbers(T, B, I))
        before = network.backward(tape, y).flat.copy()
        assert_same({"grads": network.backward(other(tape), y).flat}, {"grads": before})


def test_what_is_read_can_be_changed():
    lstm = LSTM(I, H, seed=0)
    y, _, tape = lstm.forward(numbers(T, B, I))
    tape.layers[0].y_prev[...] = 0
    assert not lstm.backward(tape, y).params["R_l0"].any()


@pytest.mark.parametrize(
    "options",
    [{"recurrent_mask": np.ones((B, H), np.float32)}, {"reset": np.zeros((T, B), bool)}, {"proj": numbers(H, H)}],
    ids=["mask", "reset", "projection"],
)
def test_a_plain_tape_is_filled_by_a_call_with_options(options):
    lstm, x = LSTM(I, H, seed=0), numbers(T, B, I)
    weights = [lstm.params[f"{name}_l0"] for name in ("W", "R", "b")]
    _, _, plain = fastlstm.lstm_forward(x, *weights, tape=True)
    fresh = fastlstm.lstm_forward(x, *weights, tape=True, **options)[2]
    assert fresh.keeps_y_prev
    assert fresh.h0 is None
    if "recurrent_mask" in options:  # the others need arrays that a plain tape lacks
        again = fastlstm.lstm_forward(x, *weights, tape=plain, **options)[2]
        assert again.gates is plain.gates
        assert_same({"y_prev": again.y_prev}, {"y_prev": fresh.y_prev})


@pytest.mark.parametrize("wrong", [None, np.zeros(0, np.float32), np.zeros((T, B, 4 * H), np.float64)])
@pytest.mark.parametrize("name", ["gates", "c", "h0"])
def test_arrays_of_another_size_are_refused(name, wrong):
    tape = LSTM(I, H, seed=0).forward(numbers(T, B, I))[2].layers[0]
    setattr(tape, name, wrong)
    if name == "h0" and wrong is None:
        assert tape.y_prev is None
        return
    with pytest.raises(ValueError, match=r"tape"):
        tape.y_prev  # noqa: B018
