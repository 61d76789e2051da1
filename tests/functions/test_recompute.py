"""Recompute: checkpoints every k steps instead of a tape of all, and bit for bit the same results."""

import itertools
import pickle

import numpy as np
import pytest
from cases import DTYPES, INITIAL, VARIANTS, lstm_case, options_case, rnn_case
from helpers import (
    assert_same,
    by_name,
    lstm_arrays,
    lstm_backward,
    lstm_forward,
    rnn_arrays,
    rnn_backward,
    rnn_forward,
    tape_arrays,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from layer_cases import gru_before

import fastlstm
from fastlstm import GRU, LSTM, RNN, truncated_bptt

OPTIONS = ("reverse", "lengths", "reset", "zero", "mask", "zone_y", "zone_c", "proj")
# T B I H P: 4 segments of 512 rows at k = 1.
SIZES = (60, 30, 3, 7, 5)


def make(variant, names, sizes=SIZES, dtype=np.float32, seed=0):
    """A case with some options, and all of their arrays, in one precision."""
    T, B, I, H, P = sizes
    case, options = options_case(variant, names, T=T, B=B, I=I, H=H, P=P, seed=seed)
    case = {name: None if array is None else array.astype(dtype) for name, array in case.items()}
    if "recurrent_mask" in options:
        options["recurrent_mask"] = options["recurrent_mask"].astype(dtype)
    if "zoneout" in options:
        options["zoneout"] = tuple(None if zone is None else zone.astype(dtype) for zone in options["zoneout"])
    return case, options


def forward(case, options, **how):
    y, state, tape = lstm_forward(case, **({"tape": True} | options | how))
    return {"y": y} | by_name(state), tape


def backward(case, tape, **how):
    return lstm_backward(case, tape, **({"dc": None} | how))


def results(case, options, k, num_threads=1, **how):
    found, tape = forward(case, options, recompute=k, num_threads=num_threads)
    return found | lstm_arrays(backward(case, tape, num_threads=num_threads, **how))


def assert_recomputed(case, options, ks, num_threads=1):
    expected = results(case, options, None, num_threads)
    for k in ks:
        assert_same(results(case, options, k, num_threads), expected)


def segments(tape):
    return len(tape.checkpoints.y)


# ---- the same bits ----


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", [None, *OPTIONS])
def test_each_variant_with_each_option(name, variant, isa):
    case, options = make(variant, {name})
    assert_recomputed(case, options, (1, 20))


@pytest.mark.parametrize("pair", list(itertools.combinations(OPTIONS, 2)), ids="+".join)
@pytest.mark.parametrize("variant", VARIANTS)
def test_pairs_of_options(pair, variant):
    assert_recomputed(*make(variant, set(pair)), (1,))


@pytest.mark.parametrize("num_threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("names", [(), ("lengths", "reverse", "zone_y"), ("proj", "zone_c", "reset")], ids=str)
@pytest.mark.parametrize("sizes", [SIZES, (1100, 1, 9, 17, 5), (40, 20, 70, 90, 40), (9, 130, 3, 33, 20)], ids=str)
def test_sizes_precisions_and_threads(sizes, names, dtype, num_threads):
    for variant in ("vanilla", "FGR"):
        case, options = make(variant, set(names), sizes, dtype)
        assert_recomputed(case, options, (1, 18, 10**30), num_threads)


@settings(max_examples=60, deadline=None)
@given(
    variant=st.sampled_from(VARIANTS),
    names=st.sets(st.sampled_from(OPTIONS)),
    sizes=st.tuples(
        st.integers(0, 90), st.sampled_from([0, 1, 2, 9, 30, 70]), st.integers(0, 4), st.integers(1, 19),
        st.integers(1, 19),
    ),
    k=st.integers(1, 100),
    num_threads=st.integers(1, 2),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 10),
)  # fmt: skip
@example("FGR", set(OPTIONS), (60, 70, 3, 9, 5), 2, 1, np.float32, 0)
@example("vanilla", {"lengths"}, (64, 16, 3, 9, 5), 1, 1, np.float32, 0)
def test_any_options(variant, names, sizes, k, num_threads, dtype, seed):
    T, B, I, H, P = sizes
    case, options = make(variant, names, (T, B, I, H, min(P, H)), dtype, seed)
    assert_recomputed(case, options, (k,), num_threads)


@pytest.mark.parametrize("sizes", [(0, 2), (1, 1), (1, 3), (3, 0), (0, 0), (1, 600), (3, 600)], ids=str)
@pytest.mark.parametrize("names", [(), ("reverse",), ("lengths", "zone_y", "zone_c", "reset")], ids=str)
@pytest.mark.parametrize("variant", ["vanilla", "FGR"])
def test_few_steps_or_rows(variant, names, sizes):
    assert_recomputed(*make(variant, set(names), (*sizes, 3, 5, 4)), (1, 2))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [[512, 0], [1024, 0], [512, 1, 0], [0, 0], [1100, 1024]], ids=str)
def test_steps_without_rows(lengths, reverse):
    """A block that ends where all sequences do, and steps after it."""
    case, options = make("vanilla", (), (1100, len(lengths), 3, 5, 4))
    assert_recomputed(case, options | {"lengths": lengths, "reverse": reverse}, (1, 600))


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rnn(nonlinearity, dtype):
    T, B, _, H, _ = SIZES
    case, rng = rnn_case(*SIZES[:4], nonlinearity, dtype=dtype), np.random.default_rng(0)
    given = {
        "lengths": rng.integers(0, T + 1, B), "reverse": True, "reset": rng.random((T, B)) < 0.1, "reset_to": "zero",
        "recurrent_mask": rng.integers(0, 2, (B, H)).astype(dtype), "zoneout": rng.random((T, B, H)).astype(dtype),
    }  # fmt: skip
    for count, num_threads in itertools.product(range(3), (1, 2)):
        for names in itertools.combinations(given, count):
            found = []
            for k in (None, 1, 30):
                options = {name: given[name] for name in names} | {"num_threads": num_threads}
                y, h, tape = rnn_forward(case, nonlinearity, tape=True, recompute=k, **options)
                arrays = rnn_arrays(rnn_backward(case, tape, num_threads=num_threads))
                found.append({"y": y, "h": h} | arrays)
            assert_same(found[1], found[0])
            assert_same(found[2], found[0])


@pytest.mark.parametrize("sizes", [(200, 5, 33, 64, 5), (100, 13, 30, 90, 5), (100, 8, 60, 100, 7)], ids=str)
def test_other_threads_backward_than_forward(sizes):
    """The steps run again are divided as they were at first: with a projection, bits depend on it."""
    case, options = make("vanilla", {"proj", "zone_y"}, sizes)
    for first, then in itertools.product((1, 2, 3, 4), (1, 2, 3, 4)):
        found = []
        for k in (None, 1):
            _, tape = forward(case, options, recompute=k, num_threads=first)
            found.append(lstm_arrays(backward(case, tape, num_threads=then)))
        assert_same(found[1], found[0])


# ---- options of the backward pass ----


@pytest.mark.parametrize("names", [(), ("reverse", "lengths", "zone_y", "zone_c", "proj")], ids=str)
def test_deltas_dc_and_accumulate(names):
    case, options = make("vanilla", set(names))
    found = []
    for k in (None, 1):
        _, tape = forward(case, options, recompute=k)
        grads = backward(case, tape, dc=case["dc_all"], deltas=True)
        found.append(lstm_arrays(grads) | {name: a for name, a in grads.deltas._asdict().items() if a is not None})
        again = backward(case, tape, dc=case["dc_all"], out=grads, accumulate=True)
        found[-1] |= {f"twice {name}": array.copy() for name, array in lstm_arrays(again).items()}
    assert_same(found[1], found[0])


def test_tape_used_twice():
    case, options = make("vanilla", {"zone_y", "reset"})
    _, tape = forward(case, options, recompute=1)
    kept = {name: array.copy() for name, array in tape.named().items()}
    first, second = (lstm_arrays(backward(case, tape)) for _ in range(2))
    assert_same(first, second)
    assert_same(tape.named(), kept)


def test_tape_pickled():
    case, options = make("FGR", {"lengths", "reverse"})
    _, tape = forward(case, options, recompute=1)
    assert_same(lstm_arrays(backward(case, pickle.loads(pickle.dumps(tape)))), lstm_arrays(backward(case, tape)))


def test_tape_filled_again():
    case, options = make("vanilla", {"zone_y", "reset"})
    other, _ = make("vanilla", (), seed=1)
    other |= {name: case[name] for name in ("W", "R", "b", "p")}
    _, tape = forward(other, options, recompute=1)
    found, again = forward(case, options, recompute=1, tape=tape)
    assert again.checkpoints.y is tape.checkpoints.y
    assert_same(found | lstm_arrays(backward(case, again)), results(case, options, None))
    for k, k_before in [(None, 1), (1, None), (18, 1)]:
        _, before = forward(case, options, recompute=k_before)
        with pytest.raises(ValueError, match=r"recompute|checkpoints"):
            forward(case, options, recompute=k, tape=before)


@pytest.mark.parametrize("names", [(), ("reset", "zone_y", "zone_c", "proj", "mask")], ids=str)
@pytest.mark.parametrize("variant", ["vanilla", "FGR"])
def test_workspace_is_large_enough_and_need_not_be_clean(variant, names):
    case, options = make(variant, set(names))
    T, B, I, H, P = SIZES
    size = fastlstm.lstm_workspace(T, B, I, H, variant=variant, proj_size=P if "proj" in names else 0, recompute=1)
    space = np.full(size, np.nan, np.float32)
    found, tape = forward(case, options, recompute=1, workspace=space)
    space[:] = np.nan
    grads = backward(case, tape, workspace=space)
    assert_same(found | lstm_arrays(grads), results(case, options, None))
    with pytest.raises(ValueError, match="workspace"):
        backward(case, tape, workspace=np.empty(10, np.float32))


def test_rnn_workspace():
    case = rnn_case(*SIZES[:4], "tanh", dtype=np.float32)
    space = np.full(fastlstm.rnn_workspace(*SIZES[:4], recompute=1), np.nan, np.float32)
    _, _, tape = rnn_forward(case, "tanh", tape=True, recompute=1, workspace=space)
    space[:] = np.nan
    found = rnn_arrays(rnn_backward(case, tape, workspace=space))
    assert_same(found, rnn_arrays(rnn_backward(case, rnn_forward(case, "tanh", tape=True)[2])))


def test_initial_state_may_change_after_the_forward_pass():
    case, options = make("FGR", {"reverse", "lengths", "reset"})
    expected = results(case, options, None)
    found, tape = forward(case, options, recompute=1)
    case["h0"][:] = case["c0"][:] = case["g0"][:] = np.nan
    assert_same(found | lstm_arrays(backward(case, tape)), expected)


@pytest.mark.parametrize("name", ["y", "c", "y_before"])
def test_every_checkpoint_is_used(name):
    case, options = make("vanilla", {"zone_y"})
    expected = results(case, options, 1)["dW"]
    for segment in range(1, 4):
        _, tape = forward(case, options, recompute=1)
        getattr(tape.checkpoints, name)[segment] += 1
        assert not np.array_equal(backward(case, tape).W, expected)


# ---- layers ----

UNIT = {"gru": GRU, "gru before": gru_before, "rnn": RNN}


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("how", ["plain", "lengths", "masks"])
@pytest.mark.parametrize("kind", ["lstm", "fgr", "gru", "gru before", "rnn", "projection", "layer norm"])
def test_layers(kind, how, num_threads):
    T, B, I, H, P = SIZES
    rng = np.random.default_rng(0)
    given = {"num_layers": 2, "bidirectional": True, "seed": 0}
    if how == "masks":
        given |= {"dropout": 0.2, "recurrent_dropout": 0.2, "zoneout": 0.1 if kind in UNIT else (0.1, 0.1)}
    if kind in UNIT:
        layer = UNIT[kind](I, H, **given)
    else:
        own = {"fgr": {"variant": "FGR"}, "projection": {"proj_size": P}, "layer norm": {"layer_norm": True}}
        layer = LSTM(I, H, **own.get(kind, {}), **given)
    x = rng.standard_normal((T, B, I)).astype(np.float32)
    options = {"masks": layer.draw_masks(T, B, rng), "reset": rng.random((T, B)) < 0.05}
    if how == "lengths":
        options["lengths"] = rng.integers(0, T + 1, B)
    found, tape = [], None
    for k in (None, 1, 1, 25):
        y, state, tape = layer.forward(
            x, recompute=k, tape=tape if len(found) == 2 else None, num_threads=num_threads, **options
        )
        grads = layer.backward(tape, np.cos(y), state, num_threads=num_threads)
        found.append({"y": y, "flat": grads.flat, "dx": grads.x})
        found[-1] |= {} if kind in UNIT else by_name(state) | by_name(grads.state, INITIAL)
    for others in found[1:]:
        assert_same(others, found[0])


def test_truncated_bptt_is_as_before():
    """Recomputing needs no tape of many steps."""
    lstm, x = LSTM(3, 7, seed=0), np.random.default_rng(0).standard_normal((40, 30, 3)).astype(np.float32)
    (chunk,) = truncated_bptt(lstm, x, k1=40)
    y, _, tape = lstm.forward(x, recompute=1)
    assert_same({"flat": chunk.backward(y).flat}, {"flat": lstm.backward(tape, y).flat})


# ---- memory ----


def test_memory_of_the_tape():
    T, B, I, H, k = 1000, 16, 4, 8, 32
    case, options = make("vanilla", (), (T, B, I, H, H))
    _, plain = forward(case, options)
    _, tape = forward(case, options, recompute=k)
    assert segments(tape) == -(-T // k)
    held = sum(array.nbytes for name, array in tape_arrays(tape).items() if name != "x")
    held += sum(array.nbytes for array in tape.named().values())
    row = B * H * 4
    assert held == (2 * segments(tape) + 2) * row
    assert sum(array.nbytes for name, array in tape_arrays(plain).items() if name != "x") > 90 * held
    more = fastlstm.lstm_workspace(T, B, I, H, recompute=k) - fastlstm.lstm_workspace(T, B, I, H)
    assert more * 4 < 20 * k * row


def test_k_is_rounded_up_to_whole_blocks():
    for B, k, expected in [(1, 1, 3), (1, 512, 3), (1, 513, 2), (16, 32, 32), (16, 33, 16), (600, 1, 293)]:
        T = 1100 if B == 1 else 1000 if B == 16 else 500
        case, options = make("vanilla", (), (T, B, 1, 2, 2))
        assert segments(forward(case, options, recompute=k)[1]) == expected


# ---- arguments ----


@pytest.mark.parametrize(("k", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_bad_recompute(k, error):
    case, options = make("vanilla", (), (3, 2, 3, 4, 4))
    rnn = rnn_case(3, 2, 3, 4, "tanh", dtype=np.float32)
    for call in (
        lambda: forward(case, options, recompute=k),
        lambda: rnn_forward(rnn, "tanh", tape=True, recompute=k),
        lambda: LSTM(3, 4).forward(case["x"], recompute=k),
        lambda: GRU(3, 4).forward(case["x"], recompute=k),
        lambda: RNN(3, 4).forward(case["x"], recompute=k),
        lambda: fastlstm.gru_workspace(3, 2, 3, 4, recompute=k),
        lambda: fastlstm.lstm_workspace(3, 2, 3, 4, recompute=k),
        lambda: fastlstm.rnn_workspace(3, 2, 3, 4, recompute=k),
    ):
        with pytest.raises(error, match="recompute"):
            call()


def test_recompute_without_a_tape():
    case, options = make("vanilla", (), (3, 2, 3, 4, 4))
    with pytest.raises(ValueError, match="recompute"):
        forward(case, options, recompute=1, tape=False)
    with pytest.raises(ValueError, match="recompute"):
        rnn_forward(rnn_case(3, 2, 3, 4, "tanh"), "tanh", recompute=1)


def test_tape_has_no_cells_and_gates():
    case, options = make("vanilla", (), (3, 2, 3, 4, 4))
    _, tape = forward(case, options, recompute=1)
    with pytest.raises(ValueError, match="recompute"):
        tape.cells()
    with pytest.raises(ValueError, match="recompute"):
        tape.gate("i")


def test_tape_of_other_sizes():
    case, options = make("vanilla", ())
    _, tape = forward(case, options, recompute=1)
    tape.checkpoints.c = tape.checkpoints.c[:-1]
    with pytest.raises(ValueError, match=r"tape\.checkpoints\.c"):
        backward(case, tape)


def test_lstm_of_plain_float64_case():
    case = lstm_case(60, 30, 3, 7)
    found = []
    for k in (None, 1):
        y, _, tape = fastlstm.lstm_forward(case["x"], case["W"], case["R"], case["b"], tape=True, recompute=k)
        found.append(lstm_arrays(fastlstm.lstm_backward(tape, case["W"], case["R"], None, y)))
    assert_same(found[1], found[0])
