"""Arguments that do not fit together are refused before anything is written."""

import copy

import numpy as np
import pytest
from helpers import assert_same
from layer_cases import CELLS

import fastlstm
from fastlstm import LSTM, RNN, Frozen, PackedSequence, Stream, nn, rounding_error, truncated_bptt

T, B, I, H = 4, 2, 3, 8


def numbers(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("recompute", [None, 2])
@pytest.mark.parametrize("layer", CELLS)
def test_a_tape_of_other_sizes(layer, recompute):
    _, _, tape = layer(I, H, seed=0).forward(numbers(T, B, I), recompute=recompute)
    for other, kind in (
        (layer(I, 9), ValueError),
        (layer(4, H), ValueError),
        (layer(I, H, dtype=np.float64), TypeError),
    ):
        with pytest.raises(kind, match=r"^tape\."):
            other.backward(tape, numbers(T, B, other.hidden_size, dtype=other.dtype))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [None, [4, 1]])
def test_where_dx_goes(lengths, batch_first):
    network = LSTM(I, H, batch_first=batch_first, seed=0)
    x, dy = numbers(T, T, I), numbers(T, T, H)  # T rows, so that both layouts have one shape
    lengths = None if lengths is None else lengths * 2
    _, _, tape = network.forward(x, lengths=lengths)
    expected = network.backward(tape, dy).x.copy()
    grads = network.backward(tape, dy)
    before = grads.x
    before[:] = np.nan
    assert network.backward(tape, dy, out=grads).x is before
    assert_same({"x": before}, {"x": expected})
    for wrong in (np.zeros(x.shape), np.zeros((*x.shape[:2], 6), np.float32)[..., ::2]):
        grads.x = wrong
        assert_same({"x": network.backward(tape, dy, out=grads).x}, {"x": expected})
        assert not wrong.any()


def test_gradients_may_not_overlap_what_they_come_from():
    network = LSTM(I, H, 2, recurrent_dropout=0.5, seed=0)
    x, dy = numbers(T, B, I), numbers(T, B, H)
    _, _, tape = network.forward(x, rng=np.random.default_rng(0))
    n = network.flat.size
    for array in (dy, tape.layers[0].gates, tape.layers[1].y_prev, tape.masks.recurrent[1]):
        grads = network.backward(tape, dy)
        grads.x = np.zeros(1)
        memory = np.zeros(n + array.size, np.float32)
        shared = memory[: array.size].reshape(array.shape)
        shared[:] = array
        grads.flat = memory[array.size - 1 : array.size - 1 + n]
        other = copy.copy(tape)
        other.layers, above = [copy.copy(kept) for kept in tape.layers], dy
        if array is dy:
            above = shared
        elif array is tape.masks.recurrent[1]:
            other.layers[1].call = copy.copy(tape.layers[1].call)
            options = copy.copy(other.layers[1].call.options)
            object.__setattr__(options, "mask", shared)
            object.__setattr__(other.layers[1].call, "options", options)
        else:
            k, name = (0, "gates") if array is tape.layers[0].gates else (1, "y_prev")
            setattr(other.layers[k], name, shared)
        before = shared.copy()
        with pytest.raises(ValueError, match=r"^out.flat must not overlap"):
            network.backward(other, above, out=grads)
        assert_same({"": shared}, {"": before})


def test_options_biases_and_gate_weights_overlap_too():
    W, R, b, G = numbers(4 * H, I), numbers(4 * H, H), numbers(4 * H), numbers(3 * H, 3 * H)
    x, mask, zone = numbers(T, B, I), numbers(B, H), numbers(T, B, H)
    y, h, c = (np.zeros(shape, np.float32) for shape in ((T, B, H), (B, H), (B, H)))
    with pytest.raises(ValueError, match=r"^out h must not overlap recurrent_mask"):
        fastlstm.lstm_forward(x, W, R, b, recurrent_mask=mask, out=(y, (mask, c)))
    with pytest.raises(ValueError, match=r"^out y must not overlap zoneout of c"):
        fastlstm.lstm_forward(x, W, R, b, zoneout=(None, zone), out=(zone, (h, c)))
    with pytest.raises(ValueError, match=r"^out h must not overlap recurrent_mask"):
        fastlstm.rnn_forward(x, W[:H], R[:H], b[:H], recurrent_mask=mask, out=(y, mask))
    _, _, tape = fastlstm.lstm_forward(x, W, R, b, recurrent_mask=mask, tape=True, recompute=2)
    grads = fastlstm.lstm_backward(tape, W, R, None, y)
    with pytest.raises(ValueError, match=r"^out b must not overlap b"):
        fastlstm.lstm_backward(tape, W, R, None, y, out=grads._replace(b=b))
    with pytest.raises(ValueError, match=r"^out c0 must not overlap recurrent_mask"):
        fastlstm.lstm_backward(tape, W, R, None, y, out=grads._replace(state=(h, mask)))
    _, _, tape = fastlstm.lstm_forward(x, W, R, b, variant="FGR", G=G, tape=True)
    grads = fastlstm.lstm_backward(tape, W, R, None, y, G=G)
    for name, array in (("R", R), ("G", G)):
        with pytest.raises(ValueError, match=f"^out {name} must not overlap {name}"):
            fastlstm.lstm_backward(tape, W, R, None, y, G=G, out=grads._replace(**{name: array}))


@pytest.mark.parametrize("recompute", [None, 1])
def test_workspace_of_the_batch_invariant_mode(recompute):
    x, W, R, b, y = numbers(1, 1, 64), numbers(256, 64), numbers(256, 64), numbers(256), numbers(1, 1, 64)
    how = {"recompute": recompute, "batch_invariant": True}
    space = np.full(fastlstm.lstm_workspace(1, 1, 64, 64, **how), np.nan, np.float32)
    _, _, tape = fastlstm.lstm_forward(x, W, R, b, tape=True, workspace=space, **how)
    fastlstm.lstm_backward(tape, W, R, None, y, workspace=space)
    space = np.full(fastlstm.rnn_workspace(1, 1, 64, 64, **how), np.nan, np.float32)
    _, _, tape = fastlstm.rnn_forward(x, W[:64], R[:64], b[:64], tape=True, workspace=space, **how)
    fastlstm.rnn_backward(tape, W[:64], R[:64], y, workspace=space)


def test_tapes_of_no_kind():
    x, W, R, b = numbers(T, B, I), numbers(4 * H, I), numbers(4 * H, H), numbers(4 * H)
    with pytest.raises(TypeError, match=r"^tape must be a bool or LSTMTape, not NoneType"):
        fastlstm.lstm_forward(x, W, R, b, tape=None)
    with pytest.raises(TypeError, match=r"^tape must be a bool or RNNTape, not LSTMTape"):
        fastlstm.rnn_forward(x, W[:H], R[:H], b[:H], tape=fastlstm.lstm_forward(x, W, R, b, tape=True)[2])
    for wrong, found in (("a", "str"), (True, "bool"), (False, "bool")):
        for layer in (kind(I, H) for kind in CELLS):
            with pytest.raises(TypeError, match=f"^tape must be a Tape of an earlier call or None, not {found}"):
                layer.forward(x, tape=wrong)


@pytest.mark.parametrize("options", [{}, {"zoneout": (0.1, 0.1)}], ids=["direct", "fixed"])
def test_states_of_streams(options):
    stream = Stream(LSTM(I, H, 2, seed=0, **options), B)
    stream.step(numbers(B, I))
    h, c = (part.copy() for part in stream.state)
    with pytest.raises(
        ValueError, match=r"^state c must have shape \(layers, rows, units\) = \(2, 1, 8\), not \(2, 8\)"
    ):
        stream.reset([1], [np.zeros((2, 1, H)), np.zeros((2, H))])
    with pytest.raises(ValueError, match=r"^state must have 2 parts, as the stream's has, not 1"):
        stream.reset([1], [np.zeros((2, 1, H))])
    assert_same(dict(zip("hc", stream.state, strict=True)), {"h": h, "c": c})
    stream.reset([1], [np.ones((2, 1, H)), None])
    assert stream.state[0][:, 1].min() == 1
    assert not stream.state[1][:, 1].any()
    stream.state = h.astype(np.float64), c
    with pytest.raises(TypeError, match=r"h must have dtype float32, not float64"):
        stream.step(numbers(B, I))
    stream.state = h[:, :1], c
    with pytest.raises(ValueError, match=r"h must "):
        stream.step(numbers(B, I))


def test_bfloat16_is_off_by_at_most_two_to_the_minus_eight():
    network = LSTM(1, 1, peephole=False)
    network.flat[:] = 0
    network.params["W_l0"][2] = 1 + 2.0**-8  # halfway: to the even neighbour, which is 1
    network.params["b_l0"][[0, 1, 3]] = 100
    x = np.ones((1, 1, 1), np.float32)
    assert Frozen(network, "bfloat16")(x)[0] == pytest.approx(np.tanh(np.tanh(1)), rel=1e-6)


def test_errors_over_sequences_of_different_lengths():
    network = LSTM(I, H, seed=0)
    x = numbers(50, 2, I)
    alone, both = rounding_error(network, x[:, :1].copy()), rounding_error(network, x, lengths=[50, 0])
    assert both == pytest.approx(alone)
    packed = PackedSequence(x[:, 0].copy(), np.ones(50, np.int64))
    assert rounding_error(network, packed) == pytest.approx(alone)
    first = LSTM(I, H, batch_first=True, seed=0)
    assert rounding_error(first, x.swapaxes(0, 1).copy(), lengths=[50, 0]) == pytest.approx(alone)


def test_int8_of_weights_next_to_nothing():
    network = LSTM(I, H, seed=0)
    network.flat[:] = 1e-44
    assert not np.abs(Frozen(network, "int8")(numbers(T, B, I))[0]).max() > 1e-30


def test_truncated_bptt_keeps_to_its_threads(monkeypatch):
    network, given = LSTM(I, H, seed=0), []
    plain = LSTM.backward
    monkeypatch.setattr(LSTM, "backward", lambda *a, **k: (given.append(k["num_threads"]), plain(*a, **k))[1])
    for chunk in truncated_bptt(network, numbers(T, B, I), 2, num_threads=1):
        chunk.backward(np.ones_like(chunk.y))
    assert given == [1, 1]


@pytest.mark.parametrize("layer", [LSTM, RNN, nn.Dense])
def test_what_a_layer_is_made_of_stays_as_it_is(layer):
    """The kernels trust the sizes; and parameters that are replaced would not be those in use."""
    network = layer(I, H, seed=0)
    for name, value in vars(network).copy().items():
        if not name.startswith("_"):
            other = value * 2 if name == "flat" else (value or 0) + 1 if isinstance(value, int) else object()
            with pytest.raises(AttributeError, match=f"^{name} cannot be set"):
                setattr(network, name, other)
    network.flat *= 0
    assert not network.flat.any()
    again = copy.deepcopy(network)
    again.flat[:] = 1
    assert not network.flat.any()
    assert all(np.all(array == 1) for array in again.params.values())


def test_arguments_are_refused_at_once():
    network, x = LSTM(I, H, bidirectional=True), numbers(T, B, I)
    with pytest.raises(ValueError, match=r"^network must have one direction"):
        truncated_bptt(network, x, 2)
    with pytest.raises(TypeError, match=r"^network must be an LSTM, a GRU or an RNN, not Frozen"):
        truncated_bptt(Frozen(LSTM(I, H)), x, 2)
    with pytest.raises(TypeError, match=r"^rng must be a numpy.random.Generator, not int"):
        network.draw_masks(T, B, 4)
    with pytest.raises(ValueError, match=r"^activations must be a tuple of three names"):
        LSTM(I, H, activations=["logistic", "tanh", "tanh"])
    with pytest.raises(ValueError, match=r"^x_t must have shape \(B, I\) = \(2, 3\), not \(1, 3\)"):
        Stream(LSTM(I, H), 2).step(numbers(1, I))
