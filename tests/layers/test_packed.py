"""Packed sequences: against PyTorch's, and against the same sequences padded."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers import assert_close, assert_same, by_name
from layer_cases import (
    CELLS,
    PACKED_LENGTHS,
    SHAPES,
    UNIT_CELLS,
    B,
    H,
    I,
    T,
    pack,
    packed_rows,
    random,
    states,
    their_gradients,
    their_network,
)

import fastlstm
from fastlstm import GRU, LSTM, RNN, PackedSequence


@pytest.mark.parametrize("how", PACKED_LENGTHS)
@pytest.mark.parametrize(
    "options", [{}, {"proj_size": 3}, {"batch_first": True}], ids=["plain", "projection", "batch first"]
)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layer", [LSTM, GRU, RNN])
def test_pytorch(layer, shape, options, how):
    torch = pytest.importorskip("torch")
    if layer is not LSTM and "proj_size" in options:
        options = {}
    own = {"peephole": False} if layer is LSTM else {}
    network = layer(I, H, dtype=np.float64, seed=0, **own, **SHAPES[shape], **options)
    theirs, names = their_network(torch, network)
    x, first, dstate = torch.from_numpy(random(T, B, I)), states(network, 2), states(network, 4)
    utils = torch.nn.utils.rnn
    x = utils.pack_padded_sequence(x, torch.from_numpy(PACKED_LENGTHS[how]), enforce_sorted=how == "sorted")
    dy = random(len(x.data), network.directions * network.output_size, seed=1)

    y, last, tape = network.forward(x, first)
    grads = network.backward(tape, dy, dstate)
    assert_same({"y": network(x, first)[0].data}, {"y": y.data})

    def tensors(state, **how):
        found = [torch.tensor(a, **how) for a in by_name(state).values()]
        return tuple(found) if isinstance(state, tuple) else found[0]

    their_x, their_first = x.data.clone().requires_grad_(), tensors(first, requires_grad=True)
    their_y, their_last = theirs(x._replace(data=their_x), their_first)
    J = (their_y.data * torch.from_numpy(dy)).sum()
    pairs = zip(*(by_name(a).values() for a in (their_last, tensors(dstate))), strict=True)
    (J + sum((a * b).sum() for a, b in pairs)).backward()

    for found in (y, grads.x):
        assert isinstance(found, PackedSequence)
        for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
            mine, their = getattr(found, name), getattr(their_y, name)
            assert np.array_equal(mine, their) if their is not None else mine is None
    expected = {"y": their_y.data.detach().numpy(), "dx": their_x.grad.numpy()}
    expected |= {k: a.detach().numpy() for k, a in by_name(their_last).items()}
    expected |= {f"d{k}0": a.grad.numpy() for k, a in by_name(their_first).items()}
    found = {"y": y.data, "dx": grads.x.data} | by_name(last) | {f"d{k}0": a for k, a in by_name(grads.state).items()}
    found |= grads.params
    expected |= their_gradients(theirs, names, network)
    assert_close(found, expected, 1e-10)


def fgr(*sizes, **options):
    """The state of FGR has gates too."""
    return LSTM(*sizes, variant="FGR", **options)


@pytest.mark.parametrize("how", PACKED_LENGTHS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("layer", [*CELLS, fgr])
def test_packed_is_padded(layer, batch_first, how):
    """With every mask and resets, all in the caller's order."""
    zoneout = 0.3 if layer in UNIT_CELLS else (0.3, 0.2)
    options = {"num_layers": 2, "bidirectional": True, "dropout": 0.4, "recurrent_dropout": 0.3, "zoneout": zoneout}
    network = layer(I, H, dtype=np.float64, seed=0, batch_first=batch_first, **options)
    lengths, x, dy = PACKED_LENGTHS[how], random(T, B, I), random(T, B, 2 * H, seed=1)
    masks, reset = network.draw_masks(T, B, np.random.default_rng(0)), np.random.default_rng(5).random((T, B)) < 0.3
    first, dstate = states(network, 2), states(network, 4)

    def given(array):
        return np.ascontiguousarray(array.swapaxes(0, 1)) if batch_first else array

    y, last, tape = network.forward(given(x), first, lengths, masks=masks, reset=reset)
    grads = network.backward(tape, given(dy), dstate)
    inferred, _ = network(given(x), first, lengths, reset=reset)
    expected = {"y": packed_rows(given(y), lengths), "dx": packed_rows(given(grads.x), lengths), "flat": grads.flat}
    expected |= by_name(last) | {f"d{k}0": a for k, a in by_name(grads.state).items()}
    expected["inferred"] = packed_rows(given(inferred), lengths)

    packed, dy = pack(x, lengths), pack(dy, lengths)
    again = None
    for dy_given in (dy, dy.data, dy._replace(data=np.asfortranarray(dy.data))):
        y, last, tape = network.forward(packed, first, masks=masks, reset=reset, tape=again and tape)
        again = network.backward(tape, dy_given, dstate, out=again)
        found = {"y": y.data, "dx": again.x.data, "flat": again.flat} | by_name(last)
        found |= {f"d{k}0": a for k, a in by_name(again.state).items()}
        found["inferred"] = network(packed, first, reset=reset)[0].data
        assert_same(found, expected)
    drawn, _, tape = network.forward(packed, rng=np.random.default_rng(1))
    assert_same({"y": drawn.data}, {"y": network.forward(packed, masks=tape.masks)[0].data})
    if layer not in UNIT_CELLS:
        cells = tape.layers[3].cells()
        assert cells.shape == (T, B, H)
        assert not cells[np.arange(T)[:, np.newaxis] >= lengths].any()


def test_nothing_is_copied():
    """The rows are the kernels' own."""
    network, packed = LSTM(I, H, dtype=np.float64, seed=0), pack(random(T, B, I), PACKED_LENGTHS["unsorted"])
    _, _, tape = network.forward(SimpleNamespace(**packed._asdict()))
    assert tape.layers[0].x is packed.data


def test_no_sequences():
    network = LSTM(I, H, seed=0)
    y, (h, c), tape = network.forward(PackedSequence(np.zeros((0, I), np.float32), np.zeros(0, np.int64)))
    grads = network.backward(tape, y)
    assert y.data.shape == (0, H)
    assert h.shape == c.shape == (1, 0, H)
    assert not grads.flat.any()
    assert grads.x.data.shape == (0, I)


def replaced(**fields):
    return pack(np.zeros((T, B, I), np.float32), PACKED_LENGTHS["unsorted"])._replace(**fields)


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"batch_sizes": np.array([4.0, 3])}, TypeError, "x.batch_sizes must be integers, not float64"),
        ({"batch_sizes": np.ones((2, 2), int)}, ValueError, r"x.batch_sizes must have shape \(T,\), not \(2, 2\)"),
        ({"batch_sizes": [3, 4]}, ValueError, r"x.batch_sizes must be positive and never increase, not \[3, 4\]"),
        ({"batch_sizes": [4, 0]}, ValueError, r"x.batch_sizes must be positive and never increase, not \[4, 0\]"),
        ({"batch_sizes": [4, 3]}, ValueError, r"x.data must have shape \(count, columns\) = \(7, 3\), not \(13, 3\)"),
        ({"data": np.zeros((13, I))}, TypeError, "x.data must have dtype float32, not float64"),
        (
            {"data": np.zeros((13, I + 1), np.float32)},
            ValueError,
            r"x.data must have shape .* \(13, 3\), not \(13, 4\)",
        ),
        ({"data": np.ma.zeros((13, I), np.float32)}, TypeError, "x.data is a masked array"),
        ({"sorted_indices": [0, 1, 2]}, ValueError, r"x.sorted_indices must have each of 0 to 3 once, not \[0, 1, 2\]"),
        ({"sorted_indices": [0, 1, 2, 2]}, ValueError, "x.sorted_indices must have each of 0 to 3 once, not"),
        ({"sorted_indices": [0, 1, 2, 3.0]}, TypeError, "x.sorted_indices must be integers, not float64"),
        (
            {"unsorted_indices": np.array([3, 2, 1, 0])},
            ValueError,
            r"x.unsorted_indices must be the inverse of sorted_indices, \[2, 0, 3, 1\], not \[3, 2, 1, 0\]",
        ),
    ],
)
@pytest.mark.parametrize("layer", CELLS)
def test_wrong_fields(layer, fields, kind, message):
    network = layer(I, H, seed=0)
    for call in (network, network.forward):
        with pytest.raises(kind, match=f"^{message}"):
            call(replaced(**fields))


@pytest.mark.parametrize("layer", CELLS)
def test_wrong_calls(layer):
    network, packed = layer(I, H, seed=0), replaced()
    with pytest.raises(ValueError, match=r"^lengths must be None with packed x, which has its own"):
        network(packed, lengths=[2, 6, 1, 4])
    _, _, tape = network.forward(packed)
    dy = np.zeros((13, H), np.float32)
    with pytest.raises(ValueError, match=r"^dy must have shape \(count, columns\) = \(13, 5\), not \(6, 4, 5\)"):
        network.backward(tape, np.zeros((T, B, H), np.float32))
    with pytest.raises(ValueError, match=r"^dy.batch_sizes must be those of x, \[4, .*\], not \[13\]"):
        network.backward(tape, PackedSequence(dy, np.array([13])))
    with pytest.raises(ValueError, match=r"^dy.sorted_indices must be those of x, \[1, 3, 0, 2\], not \[0, 1, 2, 3\]"):
        network.backward(tape, packed._replace(data=dy, sorted_indices=None))
    _, _, tape = network.forward(np.zeros((T, B, I), np.float32))
    with pytest.raises(TypeError, match=r"^dy must be a NumPy array, not PackedSequence"):
        network.backward(tape, packed._replace(data=dy))


def test_a_tensor_with_a_gradient_is_refused():
    """PyTorch would not know of what happens to it here."""
    torch = pytest.importorskip("torch")
    x = torch.nn.utils.rnn.pack_sequence([torch.zeros(2, I, requires_grad=True)])
    with pytest.raises(TypeError, match=r"^x.data must be a NumPy array or share its memory with one: .*detach"):
        LSTM(I, H, seed=0)(x)


def test_where_there_is_no_packed_input():
    with pytest.raises(TypeError, match=r"^x must be a NumPy array, not PackedSequence"):
        next(fastlstm.truncated_bptt(LSTM(I, H, seed=0), replaced(), k1=2))
