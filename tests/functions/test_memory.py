"""Memory: what is read, what is written, and what is left alone."""

import gc
import itertools
import tracemalloc

import numpy as np
import pytest
from cases import DTYPES, GRU_ARGUMENTS, GRU_FORMS, LSTM_ARGUMENTS, NORM, gru_case, layer_norm_case, lstm_case, rnn_case
from helpers import (
    assert_close,
    assert_same,
    gru_arrays,
    gru_backward,
    gru_forward,
    lstm_arrays,
    lstm_backward,
    lstm_forward,
    norm_of,
    rnn_arrays,
    rnn_backward,
    rnn_forward,
    run_gru,
    run_lstm,
    run_rnn,
    run_together,
    tape_arrays,
)
from layer_cases import CELLS, gru_before, layer_norm_lstm

import fastlstm
from fastlstm import GRU, LSTM, RNN, Frozen, GRUGradients, GRUTape, LSTMGradients, LSTMTape, RNNGradients, RNNTape
from fastlstm.layers.memory import MOST_TO_KEEP

SIZES = [(0, 2, 3, 5), (3, 0, 3, 5), (1, 1, 3, 5), (5, 2, 3, 5), (3, 9, 17, 33), (40, 20, 5, 7), (2, 2, 150, 150)]
all_sizes = pytest.mark.parametrize("sizes", SIZES, ids=str)
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)
GRUS = {{True: "gru", False: "gru before"}[form]: form for form in GRU_FORMS}
LSTMS = ("lstm", "layer norm")
LAYERS = {"lstm": LSTM, "layer norm": layer_norm_lstm, "gru": GRU, "gru before": gru_before, "rnn": RNN}
each_cell = pytest.mark.parametrize("cell", [*LSTMS, *GRUS, "rnn"])


def make_case(cell, sizes, dtype=np.float32):
    if cell in GRUS:
        case = gru_case(*sizes, GRUS[cell], dtype=dtype)
        return {name: array for name, array in case.items() if array is not None}
    if cell == "layer norm":
        case = layer_norm_case("vanilla", *sizes, dtype=dtype)
        return {name: array for name, array in case.items() if name not in NORM} | {"norm": norm_of(case)}
    return lstm_case(*sizes, dtype=dtype) if cell == "lstm" else rnn_case(*sizes, "tanh", dtype=dtype)


def run(cell, case):
    if cell in GRUS:
        return run_gru(case)
    return run_lstm(case) if cell in LSTMS else run_rnn(case, "tanh")


def forward(cell, case, **options):
    """Results by name, and the tape."""
    if cell in LSTMS:
        y, (h, c), tape = lstm_forward(case, **options)
        return {"y": y, "h": h, "c": c}, tape
    y, h, tape = gru_forward(case, **options) if cell in GRUS else rnn_forward(case, "tanh", **options)
    return {"y": y, "h": h}, tape


def backward(cell, case, tape, **options):
    if cell in LSTMS:
        return lstm_arrays(lstm_backward(case, tape, **options))
    if cell in GRUS:
        return gru_arrays(gru_backward(case, tape, **options))
    return rnn_arrays(rnn_backward(case, tape, **options))


def copies(arrays):
    return {name: array.copy() for name, array in arrays.items()}


# ---- layouts of inputs ----


def read_only(array, _):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def every_other(array, _):
    space = np.full([2 * length + 1 for length in array.shape], np.nan, array.dtype)
    view = space[tuple(slice(0, 2 * length, 2) for length in array.shape)]
    view[...] = array
    return view


def fortran(array, _):
    return np.asfortranarray(array)


def backwards(array, _):
    everything = (slice(None, None, -1),) * array.ndim
    return array[everything].copy()[everything]


def misaligned(array, _):
    copy = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    copy[...] = array
    assert array.size == 0 or not copy.flags.aligned
    return copy


def memory_mapped(array, folder):
    path = folder / f"{len(list(folder.iterdir()))}.npy"
    np.save(path, array)
    return np.load(path, mmap_mode="r" if array.size else None)


def subclass(array, _):
    class Subclass(np.ndarray):
        pass

    return array.copy().view(Subclass)


def shifted(array, _):
    """Aligned for its type, but not for a vector."""
    copy = np.empty(array.size + 1, array.dtype)[1:].reshape(array.shape)
    copy[...] = array
    return copy


def broadcast(array, _):
    """Strides of zero wherever all values along an axis are the same; here, nothing but a view."""
    return np.broadcast_to(array, array.shape)


LAYOUTS = [read_only, every_other, fortran, backwards, misaligned, memory_mapped, subclass, shifted, broadcast]


@pytest.mark.parametrize("layout", LAYOUTS)
@each_cell
@both_dtypes
@all_sizes
def test_layout_of_inputs_changes_nothing(sizes, cell, dtype, layout, tmp_path):
    case = make_case(cell, sizes, dtype)
    given = {name: layout(array, tmp_path) for name, array in case.items()}
    assert_same(run(cell, given), run(cell, case))


def test_strides_of_zero():
    case = lstm_case(4, 3, 5, 7)
    for name, axis in (("x", 0), ("W", 1), ("R", 0), ("b", 0), ("p", 1), ("h0", 0), ("c0", 1), ("dy", 2), ("dh", 0)):
        one = np.take(case[name], [0], axis)
        given = case | {name: np.broadcast_to(one, case[name].shape)}
        assert 0 in given[name].strides
        assert_same(run_lstm(given), run_lstm(case | {name: given[name].copy()}))


@each_cell
@both_dtypes
@all_sizes
def test_inputs_are_not_modified(sizes, cell, dtype):
    case = make_case(cell, sizes, dtype)
    before = copies(case)
    run(cell, case)
    assert_same(case, before)


@each_cell
@all_sizes
def test_outputs_share_no_memory_with_inputs(sizes, cell):
    case = make_case(cell, sizes)
    results, tape = forward(cell, case, tape=True)
    outputs = list((results | backward(cell, case, tape)).values())
    inputs = [*case.values(), *tape_arrays(tape).values()]
    for k, output in enumerate(outputs):
        assert not any(np.shares_memory(output, other) for other in inputs + outputs[:k])


@each_cell
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(("T", "B"), [(1, 1), (1, 3), (3, 1), (4, 3)])
def test_layer_outputs_share_no_memory_with_inputs(T, B, batch_first, cell):
    """T = 1 and B = 1, where transposing is a view, in particular."""
    layer = LAYERS[cell](6, 6, batch_first=batch_first, seed=0)
    shape = (B, T, 6) if batch_first else (T, B, 6)
    x, dy, h, c = np.ones(shape, np.float32), np.ones(shape, np.float32), *np.ones((2, 1, B, 6), np.float32)
    state = (h, c) if cell in LSTMS else h
    y, last, tape = layer.forward(x, state)
    gradients = layer.backward(tape, dy, state)
    assert y.shape == gradients.x.shape == shape
    kept = [array for name, array in tape_arrays(tape).items() if name != "x"]  # the tape refers to x, and says so
    inputs = [x, dy, h, c, layer.flat, *kept]
    parts = [*last, *gradients.state] if cell in LSTMS else [last, gradients.state]
    outputs = [y, *parts, gradients.flat, gradients.x]
    for k, output in enumerate(outputs):
        assert not any(np.shares_memory(output, other) for other in inputs + outputs[:k])


# ---- tapes ----


@each_cell
@all_sizes
def test_results_may_be_overwritten_before_backward(sizes, cell):
    case = make_case(cell, sizes)
    results, tape = forward(cell, case, tape=True)
    expected = backward(cell, case, tape)
    for array in results.values():
        array[:] = np.nan
    assert_same(backward(cell, case, tape), expected)


@each_cell
@all_sizes
def test_backward_leaves_the_tape_alone(sizes, cell):
    case = make_case(cell, sizes)
    _, tape = forward(cell, case, tape=True)
    before = copies(tape_arrays(tape))
    first = backward(cell, case, tape)
    assert_same(tape_arrays(tape), before)
    assert_same(backward(cell, case, tape), first)


@each_cell
@all_sizes
def test_tape_is_filled_again(sizes, cell, isa):
    old, case = make_case(cell, sizes), make_case(cell, sizes)
    for array in old.values():
        array[...] = np.nan
    _, tape = forward(cell, old, tape=True)
    results, again = forward(cell, case, tape=tape)
    expected, fresh = forward(cell, case, tape=True)
    assert_same(results, expected)
    assert_same(tape_arrays(again), tape_arrays(fresh))
    for name in tape_arrays(again).keys() - {"x", "y_prev", "h_prev"}:  # y^{t-1} is computed where it is read
        assert getattr(again, name) is getattr(tape, name)
    assert again.x is case["x"]


def test_tapes_of_two_sequences_are_independent():
    first, second = lstm_case(4, 3, 5, 7), lstm_case(4, 3, 5, 7, seed=1)
    tape_1, tape_2 = lstm_forward(first, tape=True)[2], lstm_forward(second, tape=True)[2]
    expected = run_lstm(first)
    lstm_backward(second, tape_2)
    found = lstm_arrays(lstm_backward(first, tape_1))
    assert_same(found, {name: expected[name] for name in found})


# ---- out and workspace ----

GUARD = 256
MARK = 12345.0


class Guarded:
    """Arrays filled with NaN, each between guards which must not change."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.spaces = []

    def __call__(self, *shape):
        size = int(np.prod(shape))
        space = np.full(size + 2 * GUARD + 1, MARK, self.dtype)
        array = space[GUARD + 1 : GUARD + 1 + size]  # aligned for its type only
        array[:] = np.nan
        self.spaces.append((space, size))
        return array.reshape(shape)

    def check(self):
        for space, size in self.spaces:
            assert (space[: GUARD + 1] == MARK).all()
            assert (space[GUARD + 1 + size :] == MARK).all()


def given_lstm(new, case):
    """Return a tape and gradients to be written to."""
    (T, B, I), H = case["x"].shape, case["R"].shape[1]
    tape = LSTMTape(case["x"], new(T, B, (13 if "norm" in case else 4) * H), new(T + 1, B, H), new(T, B, H))
    state = new(B, H), new(B, H)
    dp, dnorm = (None if case.get(name) is None else new(*case[name].shape) for name in ("p", "norm"))
    return tape, LSTMGradients(new(T, B, I), new(4 * H, I), new(4 * H, H), new(4 * H), dp, state, norm=dnorm)


@both_dtypes
@pytest.mark.parametrize(("cell", "peephole"), [("lstm", True), ("lstm", False), ("layer norm", True)])
@all_sizes
def test_lstm_into_given_arrays(sizes, cell, peephole, dtype, isa):
    """Full of NaN before, and of exactly the size asked for."""
    T, B, I, H = sizes
    case, new = make_case(cell, sizes, dtype), Guarded(dtype)
    if not peephole:
        case["p"] = None
    expected = run_lstm(case)
    workspace = new(fastlstm.lstm_workspace(T, B, I, H, dtype, layer_norm="norm" in case))
    y, h, c = new(T, B, H), new(B, H), new(B, H)
    given, out = given_lstm(new, case)
    plain = lstm_forward(case, out=(new(T, B, H), (new(B, H), new(B, H))), workspace=workspace)
    y_out, (h_out, c_out), tape = lstm_forward(case, out=(y, (h, c)), tape=given, workspace=workspace)
    assert y_out is y
    assert h_out is h
    assert c_out is c
    assert_same({"y": plain[0], "h": plain[1][0], "c": plain[1][1]}, {"y": y, "h": h, "c": c})

    workspace[:] = np.nan
    found = lstm_backward(case, tape, out=out, workspace=workspace)
    for name in ("x", "W", "R", "b", "p", "norm"):
        assert getattr(found, name) is getattr(out, name)
    assert found.state[0] is out.state[0]
    assert found.state[1] is out.state[1]
    assert_same({"y": y, "h": h, "c": c} | lstm_arrays(out), expected)
    new.check()


def given_gru(new, case):
    """Return a tape and gradients of new arrays."""
    (T, B, I), H, reset_after = case["x"].shape, case["R"].shape[1], case.get("bn") is not None
    tape = GRUTape(case["x"], new(T, B, 4 * H if reset_after else 3 * H), new(T + 1, B, H), new(T, B, H))
    dbn = new(H) if reset_after else None
    return tape, GRUGradients(new(T, B, I), new(3 * H, I), new(3 * H, H), new(3 * H), dbn, new(B, H))


@both_dtypes
@pytest.mark.parametrize("reset_after", GRU_FORMS)
@all_sizes
def test_gru_into_given_arrays(sizes, reset_after, dtype, isa):
    T, B, I, H = sizes
    case, new = gru_case(*sizes, reset_after, dtype=dtype), Guarded(dtype)
    expected = run_gru(case)
    workspace = new(fastlstm.gru_workspace(T, B, I, H, dtype, reset_after=reset_after))
    y, h = new(T, B, H), new(B, H)
    plain = gru_forward(case, out=(new(T, B, H), new(B, H)), workspace=workspace)
    given, out = given_gru(new, case)
    y_out, h_out, tape = gru_forward(case, out=(y, h), tape=given, workspace=workspace)
    assert y_out is y
    assert h_out is h
    assert_same({"y": plain[0], "h": plain[1]}, {"y": y, "h": h})

    workspace[:] = np.nan
    found = gru_backward(case, tape, out=out, workspace=workspace)
    assert all(a is b for a, b in zip(found, out, strict=True))
    assert_same({"y": y, "h": h} | gru_arrays(out), expected)
    new.check()


@both_dtypes
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@all_sizes
def test_rnn_into_given_arrays(sizes, nonlinearity, dtype, isa):
    T, B, I, H = sizes
    case, new = rnn_case(*sizes, nonlinearity, dtype=dtype), Guarded(dtype)
    expected = run_rnn(case, nonlinearity)
    workspace = new(fastlstm.rnn_workspace(T, B, I, H, dtype))
    y, h = new(T, B, H), new(B, H)
    plain = rnn_forward(case, nonlinearity, out=(new(T, B, H), new(B, H)), workspace=workspace)
    given = RNNTape(case["x"], new(T, B, H), new(T, B, H))
    y_out, h_out, tape = rnn_forward(case, nonlinearity, out=(y, h), tape=given, workspace=workspace)
    assert y_out is y
    assert h_out is h
    assert_same({"y": plain[0], "h": plain[1]}, {"y": y, "h": h})

    workspace[:] = np.nan
    out = RNNGradients(new(T, B, I), new(H, I), new(H, H), new(H), new(B, H))
    found = rnn_backward(case, tape, out=out, workspace=workspace)
    assert all(a is b for a, b in zip(found, out, strict=True))
    assert_same({"y": y, "h": h} | rnn_arrays(out), expected)
    new.check()


@each_cell
@pytest.mark.parametrize("num_threads", [1, 2, 3])
@pytest.mark.parametrize("sizes", [(7, 50, 33, 65), (3, 2, 151, 150), (4, 1, 201, 200)], ids=str)
def test_threads_write_within_given_arrays(sizes, num_threads, cell, isa):
    T, B, I, H = sizes
    case, new = make_case(cell, sizes), Guarded(np.float32)
    if cell in LSTMS:
        workspace = new(fastlstm.lstm_workspace(*sizes, layer_norm="norm" in case))
        tape, gradients = given_lstm(new, case)
        out = (new(T, B, H), (new(B, H), new(B, H)))
    elif cell in GRUS:
        workspace, out = new(fastlstm.gru_workspace(*sizes, reset_after=GRUS[cell])), (new(T, B, H), new(B, H))
        tape, gradients = given_gru(new, case)
    else:
        workspace = new(fastlstm.rnn_workspace(*sizes))
        tape = RNNTape(case["x"], new(T, B, H), new(T, B, H))
        gradients = RNNGradients(new(T, B, I), new(H, I), new(H, H), new(H), new(B, H))
        out = (new(T, B, H), new(B, H))
    options = {"workspace": workspace, "num_threads": num_threads}
    found, tape = forward(cell, case, out=out, tape=tape, **options)
    workspace[:] = np.nan
    found |= backward(cell, case, tape, out=gradients, **options)
    expected, fresh = forward(cell, case, tape=True, num_threads=num_threads)
    assert_same(found, expected | backward(cell, case, fresh, num_threads=num_threads))
    new.check()


@each_cell
def test_a_larger_workspace_is_as_good(cell):
    case = make_case(cell, (5, 3, 7, 9))
    results, tape = forward(cell, case, tape=True, workspace=np.full(100_000, np.nan, np.float32))
    found = results | backward(cell, case, tape, workspace=np.full(100_000, np.nan, np.float32))
    assert_same(found, run(cell, case))


@each_cell
@both_dtypes
@all_sizes
def test_accumulate_adds(sizes, cell, dtype):
    case = make_case(cell, sizes, dtype)
    _, tape = forward(cell, case, tape=True)
    expected = backward(cell, case, tape)
    rng = np.random.default_rng(0)
    parameters = [name for name in expected if name in ("dW", "dR", "db", "dp", "dbn", *(f"d{name}" for name in NORM))]
    for random in (False, True):
        base = {name: np.zeros_like(array) for name, array in expected.items()}
        if random:
            base = {name: rng.standard_normal(array.shape).astype(dtype) for name, array in expected.items()}
        before = copies(base)
        if cell in LSTMS:
            given = {name[1:]: array for name, array in base.items()}
            state = given["h0"], given["c0"]
            out = LSTMGradients(*(given[name] for name in "xWRbp"), state, norm=norm_of(given))
        elif cell in GRUS:
            out = GRUGradients(*(base.get(f"d{name}") for name in GRU_ARGUMENTS))
        else:
            out = RNNGradients(*base.values())
        found = backward(cell, case, tape, out=out, accumulate=True)
        total = {name: before[name] + array if name in parameters else array for name, array in expected.items()}
        if random:  # sums over all rows, rounded in another order
            assert_close(found, total, 16 * np.finfo(dtype).eps)
        else:
            assert_same(found, total)
        assert_same({n: a for n, a in found.items() if n not in parameters},
                    {n: a for n, a in expected.items() if n not in parameters})  # fmt: skip


@pytest.mark.parametrize("layer", [kind(5, 7, seed=0) for kind in CELLS], ids=repr)
def test_layer_accumulates_into_its_gradients(layer):
    x, dy = np.ones((4, 3, 5), np.float32), np.ones((4, 3, 7), np.float32)
    tape = layer.forward(x)[2]
    expected = layer.backward(tape, dy)
    out = layer.backward(tape, dy)
    flat = out.flat
    flat[:] = np.nan
    once = layer.backward(tape, dy, out=out)
    assert once.flat is flat
    assert_same({"flat": flat}, {"flat": expected.flat})
    twice = layer.backward(tape, dy, out=once, accumulate=True)
    assert twice.flat is flat
    assert_close({"flat": flat}, {"flat": 2 * expected.flat}, 16 * np.finfo(np.float32).eps)
    assert_same({"x": twice.x}, {"x": expected.x})
    for name, part in twice.params.items():
        assert np.shares_memory(part, flat)
        assert part.shape == layer.params[name].shape


# ---- overlaps ----

T, B, H = 4, 3, 6


def lstm_call(**given):
    """An LSTM call of I = H, so that any two arrays may be one; `given` are names of `case`, or outputs."""
    case = lstm_case(T, B, H, H, dtype=np.float32)
    arrays = {"y": (T, B, H), "h": (B, H), "c": (B, H), "gates": (T, B, 4 * H), "tape c": (T + 1, B, H)}
    arrays |= {"tape y": (T, B, H), "workspace": (fastlstm.lstm_workspace(T, B, H, H),)}
    return case, {name: np.zeros(shape, np.float32) for name, shape in arrays.items()}


LSTM_OVERLAPS = [
    ("y", lambda case, out: case["x"]),
    ("h", lambda case, out: case["h0"]),
    ("h", lambda case, out: case["c0"]),
    ("c", lambda case, out: case["c0"]),
    ("c", lambda case, out: out["h"]),
    ("h", lambda case, out: out["y"][-1]),
    ("h", lambda case, out: out["y"].reshape(-1)[5 : 5 + B * H].reshape(B, H)),
    ("h", lambda case, out: case["W"].reshape(-1)[: B * H].reshape(B, H)),
    ("c", lambda case, out: case["R"].reshape(-1)[: B * H].reshape(B, H)),
    ("h", lambda case, out: case["b"][: B * H].reshape(B, H)),
    ("h", lambda case, out: case["p"]),
    ("y", lambda case, out: out["tape y"]),
    ("tape y", lambda case, out: out["tape c"][1:]),
    ("tape c", lambda case, out: out["gates"].reshape(-1)[: (T + 1) * B * H].reshape(T + 1, B, H)),
    ("y", lambda case, out: out["workspace"][: T * B * H].reshape(T, B, H)),
    ("c", lambda case, out: out["workspace"][-B * H :].reshape(B, H)),
]


@pytest.mark.parametrize(("name", "other"), LSTM_OVERLAPS)
def test_lstm_forward_refuses_overlaps(name, other):
    case, out = lstm_call()
    out[name] = other(case, out)
    tape = LSTMTape(case["x"], out["gates"], out["tape c"], out["tape y"])
    before = copies(case)
    with pytest.raises(ValueError, match="must not overlap"):
        lstm_forward(case, out=(out["y"], (out["h"], out["c"])), tape=tape, workspace=out["workspace"])
    assert_same(case, before)


@pytest.mark.parametrize("name", LSTM_ARGUMENTS)
def test_workspace_may_not_be_an_input(name):
    space = np.zeros(100_000, np.float32)
    case = lstm_case(T, B, H, H, dtype=np.float32)
    case[name] = space[: case[name].size].reshape(case[name].shape)
    with pytest.raises(ValueError, match=r"^workspace must not overlap"):
        lstm_forward(case, workspace=space)


@pytest.mark.parametrize("name", ["x", "W", "R", "p", "norm", "dy", "dh", "dc", "gates", "c", "y_prev"])
def test_lstm_backward_refuses_overlaps(name):
    case = make_case("layer norm" if name == "norm" else "lstm", (T, B, H, H))
    tape = lstm_forward(case, tape=True)[2]
    inputs = case | tape_arrays(tape)
    part = inputs[name].reshape(-1)[-B * H :].reshape(B, H)
    zeros = {key: np.zeros_like(case[key]) for key in ("x", "W", "R", "b", "p", "norm") if key in case}
    out = LSTMGradients(state=(np.zeros_like(part), part), **zeros)
    before = copies(inputs)
    with pytest.raises(ValueError, match=r"^out c0 must not overlap"):
        lstm_backward(case, tape, out=out)
    with pytest.raises(ValueError, match="must not overlap"):
        lstm_backward(case, tape, out=out._replace(state=(part, np.zeros_like(part))))
    with pytest.raises(ValueError, match=r"^out c0 must not overlap out h0"):
        lstm_backward(case, tape, out=out._replace(state=(out.state[0], out.state[0])))
    if name == "norm":
        with pytest.raises(ValueError, match=r"^out norm must not overlap norm"):
            lstm_backward(case, tape, out=out._replace(norm=case["norm"]))
    assert_same(inputs, before)


def test_rnn_refuses_overlaps():
    case = rnn_case(T, B, H, H, "tanh", dtype=np.float32)
    y, h = np.zeros((T, B, H), np.float32), np.zeros((B, H), np.float32)
    for out in ((case["x"], h), (y, y[0]), (y, case["h0"]), (y, case["W"][:B]), (y, case["R"][:B])):
        with pytest.raises(ValueError, match="must not overlap"):
            rnn_forward(case, "tanh", out=out)
    tape = rnn_forward(case, "tanh", tape=True)[2]
    with pytest.raises(ValueError, match="must not overlap"):
        rnn_forward(case, "tanh", out=(tape.h, h), tape=tape)
    gradients = RNNGradients(*(np.zeros_like(case[name]) for name in ("x", "W", "R", "b", "h0")))
    inputs = (case["dh"], case["dy"][0], tape.h[0], tape.x[1])
    for given in [gradients._replace(state=array) for array in inputs] + [
        gradients._replace(W=case["W"]),
        gradients._replace(W=case["R"]),
        gradients._replace(x=case["dy"]),
        gradients._replace(R=gradients.W),
    ]:
        with pytest.raises(ValueError, match="must not overlap"):
            rnn_backward(case, tape, out=given)


@pytest.mark.parametrize("reset_after", GRU_FORMS)
def test_gru_refuses_overlaps(reset_after):
    case = gru_case(T, B, H, H, reset_after, dtype=np.float32)
    y, h = np.zeros((T, B, H), np.float32), np.zeros((B, H), np.float32)
    inputs = [case["W"][:B], case["R"][:B], case["b"].reshape(B, H)]
    for out in ((case["x"], h), (y, y[0]), (y, case["h0"]), *((y, array) for array in inputs)):
        with pytest.raises(ValueError, match="must not overlap"):
            gru_forward(case, out=out)
    tape = gru_forward(case, tape=True)[2]
    with pytest.raises(ValueError, match="must not overlap"):
        gru_forward(case, out=(tape.h[1:], h), tape=tape)
    gradients = GRUGradients(*(None if case[name] is None else np.zeros_like(case[name]) for name in GRU_ARGUMENTS))
    states = (case["dh"], case["dy"][0], tape.h[0], tape.x[1], tape.gates[0].reshape(-1, H)[:B], tape.h_prev[1])
    wrong = [gradients._replace(state=array) for array in states]
    wrong += [gradients._replace(W=case["W"]), gradients._replace(x=case["dy"]), gradients._replace(R=gradients.W)]
    if reset_after:
        wrong += [gradients._replace(bn=array) for array in (case["bn"], gradients.b[:H], case["dh"][0])]
    for given in wrong:
        with pytest.raises(ValueError, match="must not overlap"):
            gru_backward(case, tape, out=given)


def test_layer_refuses_its_own_parameters_as_gradients():
    for layer in (kind(5, 7, seed=0) for kind in CELLS):
        tape = layer.forward(np.ones((4, 3, 5), np.float32))[2]
        out = layer.backward(tape, None)
        out.flat = layer.flat
        before = layer.flat.copy()
        with pytest.raises(ValueError, match="must not overlap"):
            layer.backward(tape, np.ones((4, 3, 7), np.float32), out=out)
        assert np.array_equal(layer.flat, before)


STACKS = {
    "LSTM": lambda: LSTM(5, 7, 3, seed=0),
    "one layer": lambda: LSTM(5, 7, seed=0),
    "recurrence": lambda: LSTM(5, 7, 3, variant="FGR", seed=0),
    "projection": lambda: LSTM(5, 7, 3, proj_size=4, seed=0),
    "zoneout": lambda: LSTM(5, 7, 3, zoneout=(0.2, 0.1), seed=0),
    "batch invariant": lambda: LSTM(5, 7, 3, batch_invariant=True, seed=0),
    "layer norm": lambda: LSTM(5, 7, 3, layer_norm=True, seed=0),
    "GRU": lambda: GRU(5, 7, 3, seed=0),
    "RNN": lambda: RNN(5, 7, 3, seed=0),
    "Frozen": lambda: Frozen(LSTM(5, 7, 3, seed=0)),
    "Frozen GRU": lambda: Frozen(GRU(5, 7, 3, seed=0)),
    "Frozen RNN": lambda: Frozen(RNN(5, 7, 3, seed=0)),
}


def stack_state(network):
    """Parts of a state, each at the end of memory that has room for two more layers before it."""
    rng, layers = np.random.default_rng(0), network._layers if isinstance(network, Frozen) else network
    wide = [rng.standard_normal((len(a) + 2, *a.shape[1:])).astype(a.dtype) for a in layers.zero_state(B)]
    return wide, [array[2:] for array in wide], np.empty((B, layers.output_size), np.float32)


def as_state(parts):
    return parts[0] if len(parts) == 1 else tuple(parts)


@pytest.mark.parametrize("name", STACKS)
def test_step_refuses_a_state_shifted_against_its_own(name):
    """By whole layers, by rows, by values; each part alone, and that of another part; nothing is written then."""
    network = STACKS[name]()
    x = np.random.default_rng(1).standard_normal((B, 5)).astype(np.float32)
    wide, parts, y = stack_state(network)
    count = len(parts)
    for k in range(count):
        for first in (0, 1):
            shifted = [np.empty_like(part) for part in parts]
            shifted[k] = wide[k][first : first + len(parts[k])]
            if np.shares_memory(shifted[k], parts[k]):
                before = [array.copy() for array in wide]
                with pytest.raises(ValueError, match=r"^out [hcg] must be state( [hcg])? itself or not overlap it"):
                    network.step(x, as_state(parts), (y, as_state(shifted)))
                assert all(np.array_equal(*pair) for pair in zip(before, wide, strict=True))
        flat = np.empty(parts[k].size + 1, np.float32)
        flat[:-1] = parts[k].reshape(-1)
        given, shifted = list(parts), [np.empty_like(part) for part in parts]
        given[k], shifted[k] = (array.reshape(parts[k].shape) for array in (flat[:-1], flat[1:]))
        with pytest.raises(ValueError, match="itself or not overlap it"):
            network.step(x, as_state(given), (y, as_state(shifted)))
        for other in range(count):
            if other != k and parts[other].shape == parts[k].shape:
                crossed = [np.empty_like(part) for part in parts]
                crossed[k] = parts[other]
                with pytest.raises(ValueError, match="must not overlap state"):
                    network.step(x, as_state(parts), (y, as_state(crossed)))


@pytest.mark.parametrize("name", STACKS)
def test_step_writes_a_state_where_it_was_read_or_elsewhere(name):
    """Bit for bit the same: each part in its own memory or in new memory, from a state of any strides."""
    network = STACKS[name]()
    x = np.random.default_rng(1).standard_normal((B, 5)).astype(np.float32)
    _, parts, y = stack_state(network)
    expected_y, expected = network.step(x, as_state([part.copy() for part in parts]))
    expected = expected if isinstance(expected, tuple) else (expected,)
    for in_place in itertools.product([False, True], repeat=len(parts)):
        given = [part.copy() for part in parts]
        out = [part if own else np.empty_like(part) for part, own in zip(given, in_place, strict=True)]
        network.step(x, as_state(given), (y, as_state(out)))
        assert_same({"y": y}, {"y": expected_y})
        assert_same(dict(enumerate(out)), dict(enumerate(expected)))
    backwards = [np.ascontiguousarray(part[::-1]) for part in parts]
    network.step(x, as_state([part[::-1] for part in backwards]), (y, as_state(backwards)))
    assert_same({"y": y}, {"y": expected_y})
    assert_same(dict(enumerate(backwards)), dict(enumerate(expected)))


@pytest.mark.parametrize("how", [{}, {"recompute": 10}, {"recompute": 10**9}, {"batch_invariant": True}], ids=str)
@pytest.mark.parametrize("sizes", [(10**6, 10**4, 10**3, 10**3), (10**3, 3, 10, 10**6), (10, 10**9, 100, 10)], ids=str)
def test_workspaces_are_counted_and_not_allocated(sizes, how):
    """Weights, zoneout and checkpoints of such sizes would be terabytes."""
    tracemalloc.start()
    try:
        for variant, proj_size in (("vanilla", 0), ("FGR", 0), ("CIFG", 7)):
            assert fastlstm.lstm_workspace(*sizes, variant=variant, proj_size=proj_size, **how) > 10**6
        assert fastlstm.rnn_workspace(*sizes, **how) > 10**6
        assert tracemalloc.get_traced_memory()[1] < 10**5
    finally:
        tracemalloc.stop()


def test_workspaces_of_sizes_that_are_none():
    for function in (fastlstm.lstm_workspace, fastlstm.rnn_workspace):
        for sizes in ((10**9, 10**9, 10, 10), (1, 1, 10**6, 10**12), (10**30, 1, 1, 1)):
            with pytest.raises(ValueError, match=r"^T, B, I, H = \d+, .* are more than any memory can hold"):
                function(*sizes)
        for at, name in enumerate(("T", "B", "I", "H")):
            for value, kind in ((-1, ValueError), (1.5, TypeError), (True, TypeError), ("3", TypeError)):
                sizes = [3, 2, 5, 7]
                sizes[at] = value
                with pytest.raises(kind, match=f"^{name} must be "):
                    function(*sizes)


def memory_after(work):
    """How many bytes more there are after some work than before."""
    work_before = tracemalloc.get_traced_memory()[0]
    work()
    gc.collect()
    return tracemalloc.get_traced_memory()[0] - work_before


LARGE = {
    "LSTM": lambda: LSTM(16, 16, seed=0),
    "stack": lambda: LSTM(16, 16, 3, seed=0),
    "both ways": lambda: LSTM(16, 16, 2, bidirectional=True, seed=0),
    "GRU": lambda: GRU(16, 16, 2, seed=0),
    "RNN": lambda: RNN(16, 16, 2, seed=0),
    "Frozen": lambda: Frozen(LSTM(16, 16, 2, seed=0)),
}
CALLS = {
    "lengths": lambda network, x: network(x, lengths=len(x) - np.arange(len(x[0])) % 2),
    "whole": lambda network, x: network(x),
    "backward": lambda network, x: network.backward(network.forward(x)[2], None),
    "recompute": lambda network, x: network.backward(network.forward(x, recompute=1000)[2], None),
    "step": lambda network, x: network.step(x.reshape(-1, 16)),
}

NOT_THERE = {("both ways", "step"), ("Frozen", "backward"), ("Frozen", "recompute")}


@pytest.mark.parametrize(("name", "call"), [pair for pair in itertools.product(LARGE, CALLS) if pair not in NOT_THERE])
def test_a_layer_keeps_little_memory_between_calls(name, call):
    """Whatever a call took, here some ten times as much."""
    network, x = LARGE[name](), np.ones((20, 10_000, 16), np.float32)
    tracemalloc.start()
    try:
        assert memory_after(lambda: CALLS[call](network, x)) < MOST_TO_KEEP + 200_000
    finally:
        tracemalloc.stop()


def test_what_a_layer_keeps_is_used_again():
    network = LSTM(16, 16, 2, bidirectional=True, seed=0)
    x, lengths = np.ones((100, 100, 16), np.float32), np.arange(100)
    expected, _ = network(x, lengths=lengths)
    kept = dict(network._kept)
    assert kept
    found, _ = network(x, lengths=lengths)
    assert_same({"y": found}, {"y": expected})
    assert all(network._kept[use] is space for use, space in kept.items())
    run_together(4, lambda _: assert_same({"y": network(x, lengths=lengths)[0]}, {"y": expected}))
