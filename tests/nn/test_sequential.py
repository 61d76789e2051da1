"""fastlstm.nn's networks: one buffer, gradients against finite differences, pooling, lengths, states, misuse."""

import copy
import pickle

import numpy as np
import pytest
from differences import central_difference

from fastlstm import LSTM, RNN
from fastlstm.nn import SGD, Attention, Decoder, Dense, Dropout, Embedding, Last, Mean, Sequential

F = np.float64
LENGTHS = [5, 3, 1, 0]


def network(pool=None, seed=0):
    rng = np.random.default_rng(seed)
    layers = [
        RNN(3, 4, dtype=F, seed=rng),
        Dense(4, 3, dtype=F, seed=rng),
        LSTM(3, 2, num_layers=2, bidirectional=True, dtype=F, seed=rng),
    ]
    return Sequential(*layers, *([] if pool is None else [pool]), Dense(4, 2, dtype=F, seed=rng))


@pytest.mark.parametrize("pool", [None, Last, Mean])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_gradients(pool, lengths):
    net = network(pool and pool())
    rng = np.random.default_rng(1)
    x = rng.normal(size=(5, 4, 3))
    state = (rng.normal(size=(1, 4, 4)), tuple(rng.normal(size=(2, 4, 4, 2))))
    y, last, tape = net.forward(x, state, lengths)
    dy = rng.normal(size=y.shape)
    if lengths is not None and pool is None:
        dy *= (np.arange(5)[:, None] < lengths)[..., None]  # the bias of the last layer alone is seen past an end
    dlast = (rng.normal(size=last[0].shape), tuple(rng.normal(size=part.shape) for part in last[1]))

    def loss():
        y, last = net(x, state, lengths)
        parts = [(last[0], dlast[0]), *zip(last[1], dlast[1], strict=True)]
        return float((y * dy).sum() + sum((a * b).sum() for a, b in parts))

    grads = net.backward(tape, dy, dlast)
    np.testing.assert_allclose(grads.x, central_difference(loss, x), atol=1e-8)
    np.testing.assert_allclose(grads.flat, central_difference(loss, net.flat), atol=1e-8)
    np.testing.assert_allclose(grads.state[0], central_difference(loss, state[0]), atol=1e-8)
    for k in range(2):
        np.testing.assert_allclose(grads.state[1][k], central_difference(loss, state[1][k]), atol=1e-8)


def test_call_is_forward():
    net, x = network(Last()), np.random.default_rng(0).normal(size=(5, 4, 3))
    y, state, _ = net.forward(x, lengths=LENGTHS)
    again, again_state = net(x, lengths=LENGTHS)
    np.testing.assert_array_equal(again, y)
    np.testing.assert_array_equal(again_state[1][0], state[1][0])


def test_one_buffer():
    lstm, dense = LSTM(3, 4, seed=0), Dense(4, 2, seed=1)
    before = {name: value.copy() for name, value in lstm.params.items()}
    x = np.ones((5, 2, 3), np.float32)
    expected = dense(lstm(x)[0])
    net = Sequential(lstm, dense)
    assert list(net.params) == ["0.W_l0", "0.R_l0", "0.b_l0", "0.p_l0", "1.V", "1.c"]
    for name, value in before.items():
        np.testing.assert_array_equal(net.params["0." + name], value)
        np.testing.assert_array_equal(lstm.params[name], value)
    np.testing.assert_array_equal(net(x)[0], expected)
    net.flat[:] = 0
    assert not lstm.params["W_l0"].any()
    assert not net(x)[0].any()
    lstm.params["b_l0"][:] = 1
    assert net.flat.any()


def test_gradients_are_written_again_and_accumulate():
    net, x = network(Mean()), np.random.default_rng(0).normal(size=(5, 4, 3))
    y, _, tape = net.forward(x)
    grads = net.backward(tape, y)
    once, x_once, flat = grads.flat.copy(), grads.x.copy(), grads.flat
    assert all(np.shares_memory(part, flat) for part in grads.params.values())
    assert net.backward(tape, y, out=grads, accumulate=True) is grads
    np.testing.assert_allclose(grads.flat, 2 * once, rtol=1e-12)
    grads.flat[:] = np.nan
    net.backward(tape, y, out=grads)
    np.testing.assert_array_equal(grads.flat, once)
    np.testing.assert_array_equal(grads.x, x_once)
    assert grads.flat is flat
    grads.flat = np.full_like(flat, np.nan)  # another buffer of the caller's
    net.backward(tape, y, out=grads)
    np.testing.assert_array_equal(grads.flat, once)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_what_is_below_a_network_within_may_have_two_directions(lengths):
    lstm, x = LSTM(3, 4, bidirectional=True, dtype=F, seed=0), np.random.default_rng(0).normal(size=(5, 4, 3))
    flat = Sequential(copy.deepcopy(lstm), Last())
    expected, _, tape = flat.forward(x, lengths=lengths)
    dx = flat.backward(tape, expected).x
    for layers in (
        [copy.deepcopy(lstm), Sequential(Last())],
        [copy.deepcopy(lstm), Sequential(Dropout(0.0)), Last()],
        [Sequential(copy.deepcopy(lstm)), Sequential(Sequential(Dropout(0.0)), Sequential(Last()))],
    ):
        net = Sequential(*layers)
        y, _, tape = net.forward(x, lengths=lengths, rng=np.random.default_rng(0))
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(net(x, lengths=lengths)[0], expected)
        np.testing.assert_array_equal(net.backward(tape, y).x, dx)


def test_an_optimiser_made_too_early_is_refused():
    lstm = LSTM(3, 4, seed=0)
    early = SGD(lstm.flat, 0.1)
    net = Sequential(lstm)
    with pytest.raises(ValueError, match="flat is a layer's own no more"):
        early.step(np.ones_like(net.flat))
    inner = SGD(net.flat, 0.1)
    Sequential(net)
    with pytest.raises(ValueError, match="flat is a layer's own no more"):
        inner.step(np.ones_like(net.flat))


def test_networks_within_networks():
    inner, whole = network(), network()
    outer = Sequential(Sequential(*copy.deepcopy(whole.layers[:2])), Sequential(*copy.deepcopy(whole.layers[2:])))
    np.testing.assert_array_equal(outer.flat, inner.flat)
    x = np.random.default_rng(0).normal(size=(5, 4, 3))
    y, state, tape = outer.forward(x, lengths=LENGTHS)
    expected, expected_state, expected_tape = inner.forward(x, lengths=LENGTHS)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(state[1][0][1], expected_state[1][1])
    grads, expected_grads = outer.backward(tape, y), inner.backward(expected_tape, y)
    np.testing.assert_array_equal(grads.flat, expected_grads.flat)
    outer.flat[:] = 0
    assert not outer.layers[1].layers[0].params["W_l0"].any()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_have_their_own_buffer(copied):
    net = network(Last())
    twin = copied(net)
    np.testing.assert_array_equal(twin.flat, net.flat)
    twin.flat[:] = 0
    assert not twin.layers[0].params["W_l0"].any()
    assert net.flat.any()
    assert repr(twin) == repr(net)


def test_predict_gives_each_sequence_its_own():
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(T, 3)) for T in (4, 0, 7, 2, 2, 9)]
    for pool in (None, Last()):
        net = network(pool)
        found = net.predict(inputs, batch_size=2)
        for x, y in zip(inputs, found, strict=True):
            alone = net(x[:, np.newaxis])[0]
            np.testing.assert_allclose(y, alone[:, 0] if pool is None else alone[0], atol=1e-14)
    equal = rng.normal(size=(5, 4, 3))
    np.testing.assert_allclose(net.predict(equal), net(equal)[0], atol=1e-14)


def test_last_and_mean_do_not_look_past_an_end():
    y = np.full((3, 2, 4), np.nan)
    y[:2, 0], y[0, 1] = 1, 2
    assert Last()(y, [2, 1], directions=2).tolist() == [[1] * 4, [2] * 4]
    assert Mean()(y, [2, 1]).tolist() == [[1] * 4, [2] * 4]
    assert not Last()(y, [0, 0]).any()
    assert not Mean()(y, [0, 0]).any()
    assert Last()(np.ones((0, 2, 4), np.float32)).tolist() == [[0] * 4] * 2


def test_last_of_two_directions_is_the_final_state():
    lstm = LSTM(3, 2, bidirectional=True, dtype=F, seed=0)
    y, (h, _) = lstm(np.random.default_rng(0).normal(size=(5, 4, 3)), lengths=LENGTHS)
    np.testing.assert_array_equal(Last()(y, LENGTHS, directions=2), np.concatenate(h, axis=1))


def test_a_dense_layer_mixes_the_directions():
    def layers():
        return [LSTM(3, 2, bidirectional=True, dtype=F, seed=0), Dropout(0.5)]

    x = np.random.default_rng(0).normal(size=(5, 4, 3))
    assert (Sequential(*layers()).directions, Sequential(*layers(), Dense(4, 2, dtype=F)).directions) == (2, 1)
    net = Sequential(*layers(), Dense(4, 2, dtype=F, seed=0))
    last = Sequential(*layers(), Dense(4, 2, dtype=F, seed=0), Last())
    np.testing.assert_array_equal(last(x)[0], net(x)[0][-1])


x32 = np.ones((5, 2, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Sequential(), ValueError, "layers must be at least one"),
        (lambda: Sequential(3), TypeError, r"layers\[0\] must be an LSTM, .*, not int"),
        (lambda: Sequential(LSTM(3, 4, batch_first=True)), ValueError, r"layers\[0\] must not have batch_first"),
        (lambda: Sequential(LSTM(3, 4), Dense(4, 2, dtype=F)), TypeError, "same dtype, not float32 and float64"),
        (lambda: Sequential(Last()).forward([1.0]), TypeError, "y must be a NumPy array"),
        (
            lambda: Sequential(LSTM(3, 4))(x32, state=3),
            TypeError,
            "state must be a tuple with an item for each of the 1",
        ),
        (lambda: Sequential(LSTM(3, 4))(x32, state=(None, None)), ValueError, "state must be a tuple"),
        (
            lambda: Sequential(Dense(3, 4), Attention(3, 4, 5)),
            TypeError,
            r"layers\[1\] must be .*, not Attention",
        ),
        (lambda: Sequential(Decoder(3, 4, 5, encoded_size=2)), TypeError, "or Sequential, not Decoder"),
        (lambda: Sequential(LSTM(3, 4)).backward(3, x32), TypeError, "tape must be a SequentialTape"),
        (lambda: Sequential(LSTM(3, 4), Last())(x32, lengths=[6, 1]), ValueError, "lengths must be from 0 to T = 5"),
        (lambda: Last()(x32, lengths=[1.0, 2.0]), TypeError, "lengths must be integers"),
        (lambda: Last()(x32, lengths=[1]), ValueError, r"lengths must have shape \(B,\) = \(2,\)"),
        (lambda: Last()(x32, directions=2), ValueError, "directions must be 1 or 2 and divide P = 3"),
        (lambda: Mean()(x32[0]), ValueError, r"y must have shape \(T, B, P\)"),
        (lambda: Mean().backward(Mean().forward(x32)[1], x32), ValueError, r"dy must have shape \(B, P\) = \(2, 3\)"),
        (lambda: Mean().backward(None, x32), TypeError, "tape must be a PoolingTape"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_layer_is_in_one_network_once():
    lstm = LSTM(3, 3, seed=0)
    with pytest.raises(ValueError, match="each layer may be in a network once"):
        Sequential(lstm, lstm)
    net = Sequential(lstm)
    with pytest.raises(ValueError, match=r"layers\[0\] is part of a network already"):
        Sequential(lstm, Dense(3, 2))
    _, _, tape = net.forward(x32)
    with pytest.raises(ValueError, match="tape must be from a network of 2 layers, not 1"):
        Sequential(copy.deepcopy(lstm), Dense(3, 2)).backward(tape, x32)
    with pytest.raises(AttributeError, match="layers cannot be set"):
        net.layers = ()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            lambda: [LSTM(3, 8), Dense(9, 1)],
            r"layers\[1\] must have input_size 8, ",
        ),
        (lambda: [LSTM(3, 8, bidirectional=True), Dense(8, 1)], r"layers\[1\] must have input_size 16"),
        (lambda: [LSTM(3, 8, proj_size=2), Last(), Dense(8, 1)], r"layers\[2\] must have input_size 2"),
        (lambda: [Dense(3, 4), Sequential(Dropout(0.1)), RNN(3, 4)], r"layers\[2\] must have input_size 4"),
        (lambda: [LSTM(3, 8), Last(), LSTM(8, 2)], r"layers\[2\] must have sequences below it"),
        (lambda: [LSTM(3, 8), Mean(), Last()], r"layers\[2\] must have sequences below it"),
        (lambda: [Dense(3, 8), Embedding(4, 2)], r"layers\[1\] must be the first"),
    ],
)
def test_sizes_must_fit_when_a_network_is_made(layers, message):
    layers = layers()
    with pytest.raises(ValueError, match=message):
        Sequential(*layers)
    Sequential(layers[0])  # it is free still
