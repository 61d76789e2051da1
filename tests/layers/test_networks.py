"""Stacks, directions, lengths, resets and masks of the layers: against the functions below them, and differences."""

import itertools
import pickle

import numpy as np
import pytest
from differences import STEP, derivative
from helpers import assert_close, assert_same, by_name
from layer_cases import (
    CELLS,
    LENGTHS,
    OPTIONS,
    SHAPES,
    UNIT_CELLS,
    B,
    H,
    I,
    T,
    layer_norm_lstm,
    make,
    random,
    sequence,
    states,
    their_gradients,
    their_network,
)

import fastlstm
from fastlstm import GRU, LSTM, RNN

# One layer with `dropout`, among all combinations: it drops nothing, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:dropout=.* drops nothing:UserWarning")


def check_gradients(network, how, step=STEP):
    """J = sum(dy y) + sum(dstate state), along random directions of x, of all parameters and of the initial state."""
    x, dy = sequence(network, T, B, I), sequence(network, T, B, network.directions * network.output_size, seed=1)
    first, dstate = states(network, 2), states(network, 4)
    masks = network.draw_masks(T, B, np.random.default_rng(0))

    def J(case):
        flat = network.flat.copy()
        network.flat[:] = case["flat"]
        state = tuple(case[n] for n in "hcg" if n in case) if isinstance(network, LSTM) else case["h"]
        y, last, _ = network.forward(case["x"], state, masks=masks, **how)
        network.flat[:] = flat
        return np.sum(dy * y) + sum(
            np.sum(d * s) for d, s in zip(*(by_name(a).values() for a in (dstate, last)), strict=True)
        )

    y, _, tape = network.forward(x, first, masks=masks, **how)
    grads = network.backward(tape, dy, dstate)
    assert grads.x.shape == x.shape
    assert y.shape == dy.shape
    found = {"x": grads.x, "flat": grads.flat} | by_name(grads.state)
    case = {"x": x, "flat": network.flat.copy()} | by_name(first)
    rng = np.random.default_rng(3)
    for name, gradient in found.items():
        for _ in range(3):
            direction = rng.standard_normal(gradient.shape)
            direction /= np.linalg.norm(direction)
            error = np.sum(gradient * direction) - derivative(J, case, name, direction, step)
            assert abs(error) <= 1e-9 * np.linalg.norm(gradient), name


@pytest.mark.parametrize("pair", [(), *((n,) for n in OPTIONS), *itertools.combinations(OPTIONS, 2)], ids="+".join)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients(shape, pair):
    options = dict(SHAPES[shape])
    for name in pair:
        options |= OPTIONS[name]
    check_gradients(*make(options))


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "recurrence"])
@pytest.mark.parametrize("shape", SHAPES)
def test_layer_norm_gradients(shape, name):
    """A step is shorter: a normalised row bends over distances of the root of its variance."""
    check_gradients(*make(SHAPES[shape] | OPTIONS[name] | {"layer_norm": True}), step=3e-5)


@pytest.mark.parametrize("name", ["dropout", "recurrent dropout", "lengths", "reset", "batch first"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layer", UNIT_CELLS)
def test_unit_gradients(layer, shape, name):
    check_gradients(*make(SHAPES[shape] | OPTIONS[name], layer))
    check_gradients(*make(SHAPES[shape] | OPTIONS[name] | {"zoneout": 0.3}, layer))


@pytest.mark.parametrize("layer", [LSTM, layer_norm_lstm])
@pytest.mark.parametrize("num_threads", [1, 2, 3, 5])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_network_is_its_layers(lengths, num_threads, layer, isa):
    """Two layers in two directions, put together from calls of the function below."""
    network = layer(I, H, num_layers=2, bidirectional=True, dtype=np.float64, seed=0)
    network.flat += 0.1 * random(network.flat.size)
    h0, c0 = states(network, 2)
    below, last = random(T, B, I), []
    for k in range(2):
        outputs = []
        for d, suffix in enumerate((f"_l{k}", f"_l{k}_reverse")):
            weights = [network.params[name + suffix] for name in "WRbp"]
            state = h0[2 * k + d], c0[2 * k + d]
            norm = network.params.get("norm" + suffix)
            y, state, _ = fastlstm.lstm_forward(below, *weights, state, norm=norm, lengths=lengths, reverse=bool(d))
            outputs.append(y)
            last.append(state)
        below = np.concatenate(outputs, axis=-1)
    y, (h, c) = network(random(T, B, I), (h0, c0), lengths, num_threads=num_threads)
    expected = {"y": below, "h": np.stack([h for h, _ in last]), "c": np.stack([c for _, c in last])}
    assert_close({"y": y, "h": h, "c": c}, expected, 1e-13)
    taped, (h_taped, c_taped), _ = network.forward(random(T, B, I), (h0, c0), lengths, num_threads=num_threads)
    assert_same({"y": taped, "h": h_taped, "c": c_taped}, {"y": y, "h": h, "c": c})


@pytest.mark.parametrize("layer", CELLS)
@pytest.mark.parametrize("num_threads", [1, 2, 4])
def test_threads_change_no_gradient(num_threads, layer):
    network = layer(40, 64, num_layers=2, bidirectional=True, dtype=np.float64, seed=0)
    x, dy = random(20, 17, 40), random(20, 17, 128, seed=1)
    expected = network.backward(network.forward(x, num_threads=1)[2], dy, num_threads=1)
    found = network.backward(network.forward(x, num_threads=num_threads)[2], dy, num_threads=num_threads)
    assert_close({"flat": found.flat, "x": found.x}, {"flat": expected.flat, "x": expected.x}, 1e-12)


def test_each_row_alone():
    network = LSTM(I, H, num_layers=2, bidirectional=True, dtype=np.float64, seed=0)
    x = random(T, B, I)
    y, (h, c) = network(x, lengths=LENGTHS)
    for row, length in enumerate(LENGTHS):
        alone, (h_alone, c_alone) = network(x[:length, row : row + 1])
        assert not y[length:, row].any()
        found = {"y": y[:length, row : row + 1], "h": h[:, row : row + 1], "c": c[:, row : row + 1]}
        assert_close(found, {"y": alone, "h": h_alone, "c": c_alone}, 1e-13)


def test_values_past_a_length_do_not_matter():
    network = LSTM(I, H, num_layers=2, bidirectional=True, seed=0)
    x, dy = random(T, B, I).astype(np.float32), random(T, B, 2 * H).astype(np.float32)
    _, _, tape = network.forward(x, lengths=LENGTHS)
    expected = network.backward(tape, dy)
    past = np.arange(T)[:, np.newaxis] >= LENGTHS
    x[past], dy[past] = np.nan, np.nan
    y, _, tape = network.forward(x, lengths=LENGTHS)
    found = network.backward(tape, dy)
    assert not np.isnan(y).any()
    assert_same({"flat": found.flat, "x": found.x}, {"flat": expected.flat, "x": expected.x})


@pytest.mark.parametrize("layer", CELLS)
@pytest.mark.parametrize("variant", ["CIFG", "FGR"])
@pytest.mark.parametrize("options", [{}, {"dropout": 0.5, "zoneout": 0.2}], ids=["plain", "zoneout"])
def test_steps_are_one_call(layer, options, variant):
    if layer not in UNIT_CELLS:
        variant = "CIFG" if layer is layer_norm_lstm else variant
        more = {"dropout": 0.5, "zoneout": (0.2, 0.1), "proj_size": 3} if options else {}
        options = more | {"variant": variant if more or variant == "FGR" else "vanilla"}
    network = layer(I, H, num_layers=3, dtype=np.float64, seed=0, **options)
    x = random(T, B, I)
    y, last = network(x)
    state, out = None, None
    for t in range(T):
        y_t, state = network.step(x[t], state, out)
        assert_close({"y": y_t}, {"y": y[t]}, 1e-13)
        out = y_t, state
    assert_close(by_name(state), by_name(last), 1e-13)


def test_inference_uses_expectations():
    """Of many draws of a linear RNN's zoneout, the mean is what inference gives."""
    rnn = RNN(2, 3, nonlinearity="identity", zoneout=0.3, dtype=np.float64, seed=0)
    x, rng = random(4, 1, 2), np.random.default_rng(0)
    draws = [rnn.forward(x, rng=rng)[0] for _ in range(4000)]
    expected = rnn(x)[0]
    assert np.abs(np.mean(draws, axis=0) - expected).max() < 5 * np.std(draws) / 4000**0.5
    plain = RNN(2, 3, nonlinearity="identity", dtype=np.float64, seed=0)
    assert np.abs(plain(x)[0] - expected).max() > 0.01


def test_masks_come_from_the_generator_and_can_be_used_again():
    network = LSTM(I, H, num_layers=2, dropout=0.5, recurrent_dropout=0.25, zoneout=(0.1, 0.2), seed=0)
    x = random(T, B, I).astype(np.float32)
    first, _, tape = network.forward(x, rng=np.random.default_rng(1))
    again, _, _ = network.forward(x, rng=np.random.default_rng(1))
    given, _, _ = network.forward(x, masks=tape.masks)
    other, _, _ = network.forward(x, rng=np.random.default_rng(2))
    assert_same({"again": again, "given": given}, {"again": first, "given": first})
    assert not np.array_equal(first, other)
    assert set(np.unique(tape.masks.between[0])) == {0, 2}
    assert set(np.unique(tape.masks.recurrent[0])) <= {0, np.float32(4 / 3)}
    with pytest.raises(TypeError, match=r"^rng must be a numpy.random.Generator, .*; not NoneType"):
        network.forward(x)
    with pytest.raises(TypeError, match=r"^masks must be Masks, not list"):
        network.forward(x, masks=[])


@pytest.mark.parametrize("variant", ["vanilla", "FGR"])
def test_dropped_connections_are_weights_of_zero(variant):
    options = {"num_layers": 2, "variant": variant, "dtype": np.float64, "seed": 0}
    network, plain = LSTM(I, H, drop_connect=0.25, **options), LSTM(I, H, **options)
    x, dy = random(T, B, I), random(T, B, H, seed=1)
    y, _, tape = network.forward(x, rng=np.random.default_rng(1))
    for k, mask in enumerate(tape.masks.weights):
        assert set(np.unique(mask)) == {0, 4 / 3}
        plain.params[f"R_l{k}"][:] *= mask
    y_plain, _, tape_plain = plain.forward(x)
    grads, expected = network.backward(tape, dy), plain.backward(tape_plain, dy)
    for k, mask in enumerate(tape.masks.weights):
        expected.params[f"R_l{k}"][:] *= mask
    assert_same({"y": y, "flat": grads.flat, "x": grads.x}, {"y": y_plain, "flat": expected.flat, "x": expected.x})
    network.backward(tape, dy, out=grads, accumulate=True)
    assert_close({"twice": grads.flat}, {"twice": 2 * expected.flat}, 1e-14)
    masks = tape.masks
    masks.weights = [mask.T for mask in masks.weights]
    with pytest.raises(ValueError, match=r"^masks.weights\[0\] must have shape as R = \(20, 5\), not \(5, 20\)"):
        network.forward(x, masks=masks)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"num_layers": 0}, "num_layers must be at least 1, not 0"),
        ({"dropout": 1.0}, "dropout must be a number from 0 to less than 1, not 1.0"),
        ({"zoneout": (0.1, -1)}, "zoneout of c must be a number from 0 to less than 1, not -1"),
        ({"proj_size": 5}, "proj_size must be less than hidden_size = 5, not 5"),
        ({"variant": "XYZ"}, "variant must be one of vanilla, .*, not 'XYZ'"),
        ({"activations": ("tanh", "tanh", "tanh")}, "activations must be one of logistic, hard_logistic, not 'tanh'"),
        ({"clip": -1.0}, "clip must be None or a positive number, not -1.0"),
        ({"cell_clip": float("nan")}, "cell_clip must be None or a positive number, not nan"),
    ],
)
def test_options_out_of_range(option, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        LSTM(I, H, **option)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        ({"lengths": [1, 2, 3]}, ValueError, r"lengths must have shape \(B,\) = \(4,\), not \(3,\)"),
        ({"lengths": [1, 2, 3, 7]}, ValueError, "lengths must be from 0 to T = 6, not 1 to 7"),
        ({"lengths": [1, 2, -3, 4]}, ValueError, "lengths must be from 0 to T = 6, not -3 to 4"),
        ({"lengths": [1.0, 2, 3, 4]}, TypeError, "lengths must be integers, not float64"),
        ({"reset": np.zeros((T, B))}, TypeError, "reset must have dtype bool, not float64"),
        ({"reset": np.zeros((B, T), bool)}, ValueError, r"reset must have shape \(T, B\) = \(6, 4\), not \(4, 6\)"),
        ({"reset": np.zeros((T, B), bool), "reset_to": "h0"}, ValueError, "reset_to must be 'initial' or 'zero', not"),
    ],
)
def test_wrong_calls(call, kind, message):
    for layer in CELLS:
        with pytest.raises(kind, match=f"^{message}"):
            layer(I, H, seed=0)(np.zeros((T, B, I), np.float32), **call)


def test_step_of_two_directions_is_refused():
    with pytest.raises(ValueError, match=r"^step needs layers in one direction"):
        LSTM(I, H, bidirectional=True).step(np.zeros((B, I), np.float32))


def test_tape_of_another_layer_is_refused():
    x = np.zeros((T, B, I), np.float32)
    tape = LSTM(I, H, seed=0).forward(x)[2]
    normalised = LSTM(I, H, layer_norm=True)
    for other in (LSTM(I, H, num_layers=2), LSTM(I, H, variant="CIFG"), normalised, RNN(I, H)):
        with pytest.raises(ValueError, match=r"^tape must be from a layer like this one"):
            other.backward(tape, None)
    with pytest.raises(ValueError, match=r"^tape must be from a layer like this one"):
        LSTM(I, H).backward(normalised.forward(x)[2], None)
    with pytest.raises(ValueError, match=r"^tape.gates must have shape \(T, B, gates H\) = \(6, 4, 65\), not"):
        normalised.forward(x, tape=tape)
    with pytest.raises(ValueError, match=r"^tape must be of 2 layers and directions, not of 1"):
        LSTM(I, H, bidirectional=True).forward(x, tape=tape)


def test_vanishing_gates_vanish_from_the_parameters():
    counts = {
        v: LSTM(I, H, variant=v).flat.size
        for v in ("vanilla", "NIG", "NFG", "NOG", "NIAF", "NOAF", "NP", "CIFG", "FGR")
    }
    full, lacking = 4 * H * (I + H + 1) + 3 * H, 3 * H * (I + H + 1) + 2 * H
    assert counts == {
        "vanilla": full,
        "NIAF": full,
        "NOAF": full,
        "NP": 4 * H * (I + H + 1),
        "FGR": full + 9 * H * H,
    } | dict.fromkeys(("NIG", "NFG", "NOG", "CIFG"), lacking)


# ---- the gates in the state of FGR ----


def fgr(**options):
    return LSTM(I, H, num_layers=2, variant="FGR", dtype=np.float64, seed=0, **options)


def test_shapes_of_the_state():
    network = fgr(bidirectional=True, proj_size=3)
    y, state, tape = network.forward(random(T, B, I))
    assert [array.shape for array in state] == [(4, B, 3), (4, B, H), (4, B, 3 * H)]
    assert [array.shape for array in network.backward(tape, y).state] == [(4, B, 3), (4, B, H), (4, B, 3 * H)]
    gates = np.stack([np.concatenate([kept.gate(g)[-1] for g in "ifo"], axis=-1) for kept in tape.layers[::2]])
    assert_same({"g": state[2][::2]}, {"g": gates})
    restored = pickle.loads(pickle.dumps(network))
    assert_same(by_name(restored(random(T, B, I), state)[1]), by_name(network(random(T, B, I), state)[1]))


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
def test_gradients_through_chunks(lengths):
    """Three calls that hand on the state, and their gradients on the way back, against one call."""
    network, x, dy, dstate = fgr(), random(T, B, I), random(T, B, H, seed=1), states(fgr(), 4)
    first = states(network, 2)
    y, last, tape = network.forward(x, first, lengths)
    expected = network.backward(tape, dy, dstate)
    state, tapes, outputs = first, [], []
    spans = [slice(0, 3), slice(3, 4), slice(4, T)]
    for span in spans:
        ends = None if lengths is None else np.clip(lengths - span.start, 0, span.stop - span.start)
        out, state, kept = network.forward(x[span], state, ends)
        outputs.append(out)
        tapes.append(kept)
    assert_close({"y": np.concatenate(outputs)} | by_name(state), {"y": y} | by_name(last), 1e-13)
    above, grads = dstate, None
    for span, kept in zip(reversed(spans), reversed(tapes), strict=True):
        grads = network.backward(kept, dy[span], above, out=grads, accumulate=grads is not None)
        above = grads.state
        grads.x = np.empty(0)
    found = {"flat": grads.flat} | by_name(grads.state)
    assert_close(found, {"flat": expected.flat} | by_name(expected.state), 1e-12)


def test_step_writes_the_state_where_it_was_read():
    network, x = fgr(), random(T, B, I)
    state = states(network, 2)
    kept = tuple(array.copy() for array in state)
    y = np.empty((B, H))
    found, last = network.step(x[0], state, (y, state))
    assert found is y
    assert all(one is other for one, other in zip(last, state, strict=True))
    expected, expected_last = network.step(x[0], kept)
    assert_same({"y": y} | by_name(state), {"y": expected} | by_name(expected_last))
    assert_same({"y": network.step(x[0], kept[:2])[0]}, {"y": network.step(x[0], (*kept[:2], None))[0]})


def test_wrong_states_of_layers():
    network, plain, x = fgr(), LSTM(I, H, dtype=np.float64), random(T, B, I)
    h, c, g = states(network, 2)
    *_, tape = network.forward(x)
    y = np.empty((B, H))
    cases = (
        (lambda: plain(x, (None, None, g)), r"state must be \(h, c\), not 3 items: variant vanilla has no gates"),
        (lambda: plain.forward(x, (None, None, g)), r"state must be \(h, c\), not 3 items: variant"),
        (lambda: plain.step(x[0], (None, None, g)), r"state must be \(h, c\), not 3 items: variant"),
        (lambda: network(x, (h,)), r"state must be \(h, c, g\), not 1 item"),
        (lambda: network(x, (h, c, c)), r"state g must have shape \(layers D, B, 3H\) = \(2, 4, 15\), not \(2, 4, 5\)"),
        (lambda: network.backward(tape, None, (h, c, c)), r"dstate g must have shape \(layers D, B, 3H\)"),
        (lambda: network.backward(tape, None, (h,)), r"dstate must be \(dh, dc, dg\), not 1 item"),
        (lambda: network.step(x[0], None, (y, (h, c))), r"out state must be \(h, c, g\), not 2 items"),
        (lambda: network.step(x[0], None, (y, (h, c, c))), r"out g must have shape \(layers, B, 3H\)"),
        (lambda: network.step(x[0], (h, c, g), (y, (h, g.ravel()[: c.size].reshape(c.shape), +g))), "out c must not"),
    )  # fmt: skip
    for call, message in cases:
        with pytest.raises(ValueError, match=f"^{message}"):
            call()


# ---- PyTorch ----


@pytest.mark.parametrize("lengths", [None, np.array([2, 6, 1, 4])], ids=["whole", "lengths"])
@pytest.mark.parametrize(
    "options", [{}, {"proj_size": 3}, {"batch_first": True}], ids=["plain", "projection", "batch first"]
)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layer", [LSTM, GRU, RNN])
def test_pytorch(layer, shape, options, lengths):
    torch = pytest.importorskip("torch")
    if layer is not LSTM and "proj_size" in options:
        options = {}
    own = {"peephole": False} if layer is LSTM else {}
    network = layer(I, H, dtype=np.float64, seed=0, **own, **SHAPES[shape], **options)
    theirs, names = their_network(torch, network)
    x, dy = sequence(network, T, B, I), sequence(network, T, B, network.directions * network.output_size, seed=1)
    first, dstate = states(network, 2), states(network, 4)

    y, last, tape = network.forward(x, first, lengths)
    grads = network.backward(tape, dy, dstate)

    def tensors(state, **how):
        found = [torch.tensor(a, **how) for a in by_name(state).values()]
        return tuple(found) if isinstance(state, tuple) else found[0]

    their_x, their_first = torch.tensor(x, requires_grad=True), tensors(first, requires_grad=True)
    given = their_x
    if lengths is not None:
        given = torch.nn.utils.rnn.pack_padded_sequence(given, lengths, network.batch_first, enforce_sorted=False)
    their_y, their_last = theirs(given, their_first)
    if lengths is not None:
        their_y, _ = torch.nn.utils.rnn.pad_packed_sequence(their_y, network.batch_first, total_length=T)
    J = (their_y * torch.from_numpy(dy)).sum()
    pairs = zip(*(by_name(a).values() for a in (their_last, tensors(dstate))), strict=True)
    (J + sum((a * b).sum() for a, b in pairs)).backward()

    expected = {"y": their_y.detach().numpy(), "dx": their_x.grad.numpy()}
    expected |= {k: a.detach().numpy() for k, a in by_name(their_last).items()}
    expected |= {f"d{k}0": a.grad.numpy() for k, a in by_name(their_first).items()}
    found = {"y": y, "dx": grads.x} | by_name(last) | {f"d{k}0": a for k, a in by_name(grads.state).items()}
    found |= grads.params
    expected |= their_gradients(theirs, names, network)
    assert_close(found, expected, 1e-10)
