"""Rows to the kernels' order and back, against plain indexing; results straight into the caller's arrays."""

import numpy as np
import pytest
from cases import GRU_FORMS, gru_case, lstm_case, options_case, rnn_case
from helpers import (
    assert_close,
    assert_same,
    gru_arrays,
    gru_backward,
    gru_forward,
    lstm_arrays,
    lstm_forward,
    rnn_arrays,
    rnn_forward,
    run_lstm,
)
from layer_cases import CELLS, random
from separate import row_by_row

import fastlstm
from fastlstm import LSTM
from fastlstm._engine import batches as _batches

SIZES = [(0, 2), (3, 0), (1, 1), (6, 4), (50, 33)]
SHAPES = {"flags": (), "narrow": (1,), "odd": (7,), "wide": (100,), "empty": (0,)}


DTYPES = {"flags": np.uint8}


def batch(T, B):
    """Lengths, and an array of which row is of what step and sequence, in the kernels' order."""
    lengths = np.random.default_rng([T, B]).integers(0, T + 1, B)
    order = np.argsort(-lengths, kind="stable")
    index = [t * B + b for t in range(T) for b in order if lengths[b] > t]
    return _batches.Lengths(lengths, T, B), np.array(index, int)


def values(*shape):
    return np.random.default_rng(0).integers(1, 200, shape)


@pytest.mark.parametrize("num_threads", [1, 2, 5])
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("sizes", [*SIZES, (300, 60)])
def test_pack_and_pad(sizes, kind, num_threads):
    (T, B), last, dtype = sizes, SHAPES[kind], DTYPES.get(kind, np.float64)
    lengths, index = batch(T, B)
    padded = values(T, B, *last).astype(dtype)
    turned = np.ascontiguousarray(padded.swapaxes(0, 1)).swapaxes(0, 1)
    for given in (padded, turned, np.repeat(padded, 2, -1)[..., ::2] if last else padded):
        rows = lengths.pack(given, num_threads)
        assert rows.flags.c_contiguous
        assert_same({"rows": rows}, {"rows": padded.reshape(T * B, *last)[index]})
    expected = np.zeros((T * B, *last), dtype)
    expected[index] = rows
    expected = expected.reshape(padded.shape)
    filled, turned = np.full_like(padded, 255), np.full((B, T, *last), 255, dtype)
    lengths.pad(rows, turned.swapaxes(0, 1), num_threads)
    found = {
        "new": lengths.pad(rows, num_threads=num_threads),
        "given": lengths.pad(rows, filled, num_threads),
        "turned": turned.swapaxes(0, 1),
        "strided": lengths.pad(np.repeat(rows, 2, -1)[..., ::2] if last else rows, num_threads=num_threads),
    }
    assert found["given"] is filled
    assert_same(found, dict.fromkeys(found, expected))


@pytest.mark.parametrize("sizes", [(5, 3, 4, 7), (60, 40, 30, 50)])
def test_into_given_arrays(sizes):
    """Every value is written, those past the ends too."""
    T, B, _, H = sizes
    lengths, case = np.random.default_rng(0).integers(0, T + 1, B), lstm_case(*sizes)
    y, (h, c), tape = lstm_forward(case, lengths=lengths, tape=True)
    out = np.full((T, B, H), np.nan), (np.full((B, H), np.nan), np.full((B, H), np.nan))
    found = lstm_forward(case, lengths=lengths, out=out)
    assert found[0] is out[0]
    assert_same({"y": out[0], "h": out[1][0], "c": out[1][1]}, {"y": y, "h": h, "c": c})
    expected = fastlstm.lstm_backward(tape, case["W"], case["R"], case["p"], case["dy"])
    out = expected._replace(x=np.full_like(expected.x, np.nan), state=tuple(np.full((2, B, H), np.nan)))
    found = fastlstm.lstm_backward(tape, case["W"], case["R"], case["p"], case["dy"], out=out)
    assert found.x is out.x
    assert_same(lstm_arrays(found), lstm_arrays(expected))

    for reset_after in GRU_FORMS:
        case = gru_case(*sizes, reset_after)
        y, h, tape = gru_forward(case, lengths=lengths, tape=True)
        out = np.full((T, B, H), np.nan), np.full((B, H), np.nan)
        gru_forward(case, lengths=lengths, out=out)
        assert_same({"y": out[0], "h": out[1]}, {"y": y, "h": h})
        expected = gru_backward(case, tape)
        out = expected._replace(x=np.full_like(expected.x, np.nan), state=np.full((B, H), np.nan))
        assert_same(gru_arrays(gru_backward(case, tape, out=out)), gru_arrays(expected))

    case = rnn_case(*sizes, "tanh")
    y, h, tape = rnn_forward(case, "tanh", lengths=lengths, tape=True)
    out = np.full((T, B, H), np.nan), np.full((B, H), np.nan)
    rnn_forward(case, "tanh", lengths=lengths, out=out)
    assert_same({"y": out[0], "h": out[1]}, {"y": y, "h": h})
    expected = fastlstm.rnn_backward(tape, case["W"], case["R"], case["dy"])
    out = expected._replace(x=np.full_like(expected.x, np.nan), state=np.full((B, H), np.nan))
    assert_same(
        rnn_arrays(fastlstm.rnn_backward(tape, case["W"], case["R"], case["dy"], out=out)), rnn_arrays(expected)
    )


@pytest.mark.parametrize("sizes", [*SIZES, (300, 60)])
def test_order(sizes):
    T, B = sizes
    for seed in range(20):
        given = np.random.default_rng([seed, T, B]).integers(0, T + 1, B)
        lengths = _batches.Lengths(given, T, B)
        order = np.argsort(-given, kind="stable")
        assert np.array_equal(lengths.order, order)
        assert np.array_equal(lengths.batch.offsets, np.cumsum([0, *(np.sum(given > t) for t in range(T))]))
        assert lengths.batch.count == given.sum()
        state = values(2, B, 3)
        assert np.array_equal(lengths.sort(state), state[:, order])
        assert np.array_equal(lengths.unsort(lengths.sort(state)), state)


@pytest.mark.parametrize("wrong", [-1, 7, -(2**63), 2**63 - 1, np.uint64(2**64 - 1)])
def test_lengths_out_of_range(wrong):
    with pytest.raises(ValueError, match=rf"^lengths must be from 0 to T = 6, not .*{int(wrong)}"):
        _batches.Lengths(np.array([3, wrong], getattr(wrong, "dtype", np.int64)), 6, 2)


@pytest.mark.parametrize("layer", CELLS)
def test_calls_share_no_results(layer):
    """Memory is kept between calls, but never what was returned; batches grow and shrink."""
    network = layer(60, 70, 3, bidirectional=True, seed=0)
    found, expected = [], []
    for seed, (T, B) in enumerate([(30, 40), (60, 50), (20, 30)]):
        x = random(T, B, 60, seed=seed).astype(np.float32)
        lengths = np.random.default_rng(seed).integers(0, T + 1, B)
        found.append(network(x, lengths=lengths)[0])
        expected.append(network.forward(x, lengths=lengths)[0])
    assert_same(dict(enumerate(found)), dict(enumerate(expected)))


def test_a_tape_with_rows_missing():
    _, _, tape = LSTM(5, 5, seed=0).forward(np.zeros((6, 4, 5), np.float32), lengths=[2, 6, 0, 4])
    tape.layers[0].gates = tape.layers[0].gates[1:]
    with pytest.raises(ValueError, match=r"^there must be 12 rows, not 11"):
        tape.layers[0].gate("f")


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("layer", CELLS)
def test_layers_write_dx_where_it_was(layer, batch_first):
    network = layer(5, 5, 2, bidirectional=True, batch_first=batch_first, dtype=np.float64, seed=0)
    first, lengths = (4, 6) if batch_first else (6, 4), [2, 6, 0, 4]
    dy = random(*first, 10)
    _, _, tape = network.forward(random(*first, 5), None, lengths)
    expected, grads = network.backward(tape, dy), network.backward(tape, 2 * dy)
    x = grads.x
    x[:] = np.nan
    network.backward(tape, dy, out=grads)
    assert grads.x is x
    assert_same({"x": x, "flat": grads.flat}, {"x": expected.x, "flat": expected.flat})
    grads.x = dy.reshape(-1)[:120].reshape(*first, 5)
    with pytest.raises(ValueError, match=r"^out x must not overlap dy"):
        network.backward(tape, dy, out=grads)


@pytest.mark.parametrize("sizes", [(60, 40, 5, 17, 9), (100, 12, 5, 33, 20)], ids=["folded", "hoisted"])
@pytest.mark.parametrize("reverse", [set(), {"reverse"}], ids=["forward", "reverse"])
@pytest.mark.parametrize("names", [{"lengths"}, {"lengths", "proj", "reset", "zone_y", "zone_c"}], ids=["plain", "all"])
def test_many_blocks_of_steps_on_any_number_of_threads(names, reverse, sizes, isa):
    """Each block divides its rows anew."""
    T, B, I, H, P = sizes
    case, options = options_case("vanilla", names | reverse, T=T, B=B, I=I, H=H, P=P)
    expected = row_by_row(case, options)
    for num_threads in (1, 2, 3, 6):
        assert_close(run_lstm(case, num_threads, **options), expected, 1e-11)
