"""The values that layers show: every delta, every cell and gate; gradients that arrive at every cell."""

import re

import numpy as np
import pytest
from cases import rnn_case
from differences import derivative
from helpers import assert_close, assert_same, by_name, rnn_forward
from layer_cases import (
    CELLS,
    OPTIONS,
    PACKED_LENGTHS,
    SHAPES,
    UNIT_CELLS,
    B,
    H,
    I,
    T,
    make,
    pack,
    random,
    sequence,
    states,
)

import fastlstm
from fastlstm import LSTM, RNN

pytestmark = pytest.mark.filterwarnings("ignore:dropout=.* drops nothing:UserWarning")  # of one layer


def arguments(network):
    x, dy = sequence(network, T, B, I), sequence(network, T, B, network.directions * network.output_size, seed=1)
    return x, dy, states(network, 2), states(network, 4), network.draw_masks(T, B, np.random.default_rng(0))


def cells_of(network):
    return network.num_layers * network.directions


def above_cells(network):
    """Gradients that arrive at the cells of all layers and directions but one."""
    return [None if k == 1 else random(T, B, H, seed=10 + k) for k in range(cells_of(network))]


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_deltas_are_those_of_each_layer_alone(shape, name):
    network, how = make(SHAPES[shape] | OPTIONS[name])
    x, dy, first, dstate, masks = arguments(network)
    D, P, dc, get = network.directions, network.output_size, above_cells(network), network.params.get
    _, _, tape = network.forward(x, first, masks=masks, **how)
    grads = network.backward(tape, dy, dstate, dc=dc, deltas=True)
    assert len(grads.deltas) == cells_of(network)
    above = dy.swapaxes(0, 1) if network.batch_first else dy
    for layer in reversed(range(network.num_layers)):
        below = 0
        for d, suffix in enumerate((f"_l{layer}", f"_l{layer}_reverse")[:D]):
            k = layer * D + d
            W, R, p, G, proj = (get(name + suffix) for name in ("W", "R", "p", "G", "proj"))
            R = R * masks.weights[k] if masks.weights else R
            alone = fastlstm.lstm_backward(
                tape.layers[k], W, R, p, above[..., d * P : (d + 1) * P], tuple(part[k] for part in dstate), G=G,
                proj=proj, dc=dc[k], deltas=True,
            )  # fmt: skip
            found, expected = (
                {key: array for key, array in deltas._asdict().items() if array is not None}
                for deltas in (grads.deltas[k], alone.deltas)
            )
            assert_close(found, expected, 1e-13)
            below = below + alone.x
        if layer:
            above = below * masks.between[layer - 1] if masks.between else below
    dx = grads.x.swapaxes(0, 1) if network.batch_first else grads.x
    assert_close({"x": dx}, {"x": below}, 1e-13)
    plain = network.backward(tape, dy, dstate, dc=dc, out=grads)
    assert plain.deltas is None


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_at_every_cell(shape, name):
    """J = sum(dy y) + sum(dstate state) + sum(dc c), c all cells: against finite differences."""
    network, how = make(SHAPES[shape] | OPTIONS[name])
    x, dy, first, dstate, masks = arguments(network)
    dc = above_cells(network)

    def J(case):
        flat = network.flat.copy()
        network.flat[:] = case["flat"]
        y, last, tape = network.forward(case["x"], tuple(case[n] for n in "hcg" if n in case), masks=masks, **how)
        network.flat[:] = flat
        cells = (layer.cells() for layer in tape.layers)
        total = sum(np.sum(above * c) for above, c in zip(dc, cells, strict=True) if above is not None)
        return total + np.sum(dy * y) + sum(np.sum(d * s) for d, s in zip(dstate, last, strict=True))

    _, _, tape = network.forward(x, first, masks=masks, **how)
    grads = network.backward(tape, dy, dstate, dc=dc)
    case, rng = {"x": x, "flat": network.flat.copy()} | by_name(first), np.random.default_rng(3)
    for name, gradient in ({"x": grads.x, "flat": grads.flat} | by_name(grads.state)).items():
        for _ in range(3):
            direction = rng.standard_normal(gradient.shape)
            direction /= np.linalg.norm(direction)
            error = np.sum(gradient * direction) - derivative(J, case, name, direction)
            assert abs(error) <= 1e-9 * np.linalg.norm(gradient), name


@pytest.mark.parametrize("lengths", [None, PACKED_LENGTHS["unsorted"]], ids=["whole", "lengths"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("variant", ["vanilla", "CIFG"])
def test_cells_and_gates_of_each_layer(variant, batch_first, lengths):
    """Cells and gates are (T, B, H) in any layout of sequences, and obey the equations."""
    network = LSTM(I, H, 2, bidirectional=True, variant=variant, batch_first=batch_first, dtype=np.float64, seed=0)
    x, _, (h0, c0), _, _ = arguments(network)
    y, (_, c_last), tape = network.forward(x, (h0, c0), lengths)
    y = y.swapaxes(0, 1) if batch_first else y
    inside = np.arange(T)[:, np.newaxis] < (T if lengths is None else lengths) + np.zeros(B, int)
    for k, layer in enumerate(tape.layers):
        cells, z = layer.cells(), layer.gate("z")
        assert cells.shape == z.shape == (T, B, H)
        for b in range(B):
            steps = np.flatnonzero(inside[:, b])[:: -1 if k % 2 else 1]
            before = c0[k, b]
            for t in steps:
                i = layer.gate("i")[t, b]
                f = 1 - i if variant == "CIFG" else layer.gate("f")[t, b]
                np.testing.assert_allclose(cells[t, b], z[t, b] * i + before * f, rtol=1e-13)
                before = cells[t, b]
            np.testing.assert_array_equal(before, c_last[k, b])
            assert not cells[~inside[:, b], b].any()
        if k >= 2:
            expected = np.tanh(cells) * layer.gate("o")
            np.testing.assert_allclose(y[..., (k - 2) * H : (k - 1) * H], expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("layer", CELLS)
def test_packed_sequences_have_them_padded(layer):
    network, lengths = layer(I, H, 2, bidirectional=True, dtype=np.float64, seed=0), PACKED_LENGTHS["unsorted"]
    x, dy, first, dstate, _ = arguments(network)
    more = {} if layer in UNIT_CELLS else {"dc": above_cells(network)}
    _, _, tape = network.forward(x, first, lengths)
    expected = network.backward(tape, dy, dstate, deltas=True, **more)
    _, _, tape = network.forward(pack(x, lengths), first)
    found = network.backward(tape, pack(dy, lengths), dstate, deltas=True, **more)
    assert_same({"flat": found.flat}, {"flat": expected.flat})
    for mine, theirs in zip(found.deltas, expected.deltas, strict=True):
        assert_same(mine._asdict(), theirs._asdict())


@pytest.mark.parametrize("nonlinearity", ["tanh", "logistic"])
def test_deltas_of_the_rnn(nonlinearity, isa):
    case = rnn_case(T, B, I, H, nonlinearity)
    _, _, tape = rnn_forward(case, nonlinearity, tape=True)
    gradients = fastlstm.rnn_backward(tape, case["W"], case["R"], case["dy"], case["dh"], deltas=True)
    a, h = gradients.deltas
    arriving = case["dy"].copy()
    arriving[:-1] += a[1:] @ case["R"]
    arriving[-1] += case["dh"]
    slope = 1 - tape.h**2 if nonlinearity == "tanh" else tape.h * (1 - tape.h)
    expected = {"h": arriving, "a": arriving * slope, "b": a.sum((0, 1)), "x": a @ case["W"]}
    assert_close({"h": h, "a": a, "b": gradients.b, "x": gradients.x}, expected, 1e-13)
    out = fastlstm.rnn_backward(tape, case["W"], case["R"], case["dy"], case["dh"], out=gradients)
    assert out.deltas is None


@pytest.mark.parametrize("name", ["dropout", "recurrent dropout", "lengths", "reset", "batch first"])
@pytest.mark.parametrize("shape", SHAPES)
def test_deltas_of_each_rnn_layer(shape, name):
    network, how = make(SHAPES[shape] | OPTIONS[name], RNN)
    x, dy, first, dh, masks = arguments(network)
    D, params = network.directions, network.params
    _, _, tape = network.forward(x, first, masks=masks, **how)
    grads = network.backward(tape, dy, dh, deltas=True)
    above = dy.swapaxes(0, 1) if network.batch_first else dy
    for layer in reversed(range(network.num_layers)):
        below = 0
        for d, suffix in enumerate((f"_l{layer}", f"_l{layer}_reverse")[:D]):
            k, W, R = layer * D + d, params[f"W{suffix}"], params[f"R{suffix}"]
            own = above[..., d * H : (d + 1) * H]
            alone = fastlstm.rnn_backward(tape.layers[k], W, R, own, dh[k], deltas=True)
            assert_close(grads.deltas[k]._asdict(), alone.deltas._asdict(), 1e-13)
            np.testing.assert_allclose(grads.deltas[k].a.sum((0, 1)), grads.params[f"b{suffix}"], rtol=1e-11)
            below = below + alone.x
        if layer:
            above = below * masks.between[layer - 1] if masks.between else below


@pytest.mark.parametrize(
    ("dc", "kind", "message"),
    [
        (np.zeros((2, T, B, H)), TypeError, "dc must be a list of an array or None for each layer and direction, not"),
        ([None], ValueError, "dc must have 2 items, one for each layer and direction, not 1"),
        ([None, np.zeros((T, B, 4))], ValueError, "dc[1] must have shape (T, B, H) = (6, 4, 5), not (6, 4, 4)"),
        ([np.zeros((T, B, H), np.float32), None], TypeError, "dc[0] must have dtype float64, not float32"),
    ],
)
def test_wrong_gradients_at_cells(dc, kind, message):
    network = LSTM(I, H, 2, dtype=np.float64, seed=0)
    _, _, tape = network.forward(random(T, B, I))
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        network.backward(tape, None, dc=dc)


def test_results_may_not_overlap_them():
    network = LSTM(H, H, dtype=np.float64, seed=0)
    _, _, tape = network.forward(random(T, B, H))
    grads = network.backward(tape, None)
    with pytest.raises(ValueError, match=r"^out x must not overlap dc\[0\]"):
        network.backward(tape, None, dc=[grads.x], out=grads)
