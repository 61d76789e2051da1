"""Wrong arguments raise TypeError or ValueError that names the argument, what was expected and what came."""

import re

import numpy as np
import pytest
from cases import gru_case, layer_norm_case, lstm_case, rnn_case
from helpers import norm_of
from layer_cases import CELLS

import fastlstm
from fastlstm import (
    GRU,
    LSTM,
    RNN,
    Gradients,
    GRUGradients,
    GRUTape,
    LSTMGradients,
    LSTMTape,
    RNNGradients,
    RNNTape,
)
from fastlstm._arrays.checks import counted

T, B, I, H = 4, 3, 5, 6
DTYPE = np.float32


def new(*shape):
    return np.zeros(shape, DTYPE)


# ---- every function: its array arguments by the names that errors use, all of them right, and how to call it ----


def lstm_forward():
    case = lstm_case(T, B, I, H, dtype=DTYPE)
    arrays = {name: case[name] for name in ("x", "W", "R", "b", "p")}
    arrays |= {"state h": case["h0"], "state c": case["c0"]}
    arrays |= {"out y": new(T, B, H), "out h": new(B, H), "out c": new(B, H)}
    arrays |= {"tape.gates": new(T, B, 4 * H), "tape.c": new(T + 1, B, H), "tape.y_prev": new(T, B, H)}
    arrays["workspace"] = new(fastlstm.lstm_workspace(T, B, I, H))

    def call(x, W, R, b, p, h0, c0, y, h, c, tape_gates, tape_c, tape_y, workspace):
        tape = LSTMTape(x, tape_gates, tape_c, tape_y)
        fastlstm.lstm_forward(x, W, R, b, p, (h0, c0), tape=tape, out=(y, (h, c)), workspace=workspace)

    return arrays, call


def lstm_backward():
    case = lstm_case(T, B, I, H, dtype=DTYPE)
    tape = fastlstm.lstm_forward(*(case[name] for name in ("x", "W", "R", "b", "p")), tape=True)[2]
    arrays = {f"tape.{name}": getattr(tape, name) for name in ("x", "gates", "c", "y_prev")}
    arrays |= {name: case[name] for name in ("W", "R", "p", "dy")} | {"dstate h": case["dh"], "dstate c": case["dc"]}
    arrays |= {"out x": new(T, B, I), "out W": new(4 * H, I), "out R": new(4 * H, H), "out b": new(4 * H)}
    arrays |= {"out p": new(3, H), "out h0": new(B, H), "out c0": new(B, H)}
    arrays["workspace"] = new(fastlstm.lstm_workspace(T, B, I, H))

    def call(x, gates, c, y, W, R, p, dy, dh, dc, dx, dW, dR, db, dp, dh0, dc0, workspace):
        out = LSTMGradients(dx, dW, dR, db, dp, (dh0, dc0))
        fastlstm.lstm_backward(LSTMTape(x, gates, c, y), W, R, p, dy, (dh, dc), out=out, workspace=workspace)

    return arrays, call


def layer_norm_forward():
    case = layer_norm_case("vanilla", T, B, I, H, dtype=DTYPE)
    arrays = {name: case[name] for name in ("x", "W", "R", "b", "p")} | {"norm": norm_of(case)}
    arrays |= {"tape.gates": new(T, B, 13 * H), "tape.c": new(T + 1, B, H), "tape.y_prev": new(T, B, H)}
    arrays["workspace"] = new(fastlstm.lstm_workspace(T, B, I, H, layer_norm=True))

    def call(x, W, R, b, p, norm, tape_gates, tape_c, tape_y, workspace):
        tape = LSTMTape(x, tape_gates, tape_c, tape_y)
        fastlstm.lstm_forward(x, W, R, b, p, norm=norm, tape=tape, workspace=workspace)

    return arrays, call


def layer_norm_backward():
    case = layer_norm_case("vanilla", T, B, I, H, dtype=DTYPE)
    norm = norm_of(case)
    tape = fastlstm.lstm_forward(*(case[name] for name in ("x", "W", "R", "b", "p")), norm=norm, tape=True)[2]
    arrays = {f"tape.{name}": getattr(tape, name) for name in ("x", "gates", "c", "y_prev")}
    arrays |= {name: case[name] for name in ("W", "R", "p", "dy")} | {"norm": norm}
    zeros = fastlstm.lstm_backward(tape, case["W"], case["R"], case["p"], None, norm=norm)
    arrays |= {"out norm": zeros.norm, "workspace": new(fastlstm.lstm_workspace(T, B, I, H, layer_norm=True))}

    def call(x, gates, c, y, W, R, p, dy, norm, dnorm, workspace):
        given, out = LSTMTape(x, gates, c, y, call=tape.call), zeros._replace(norm=dnorm)
        fastlstm.lstm_backward(given, W, R, p, dy, norm=norm, out=out, workspace=workspace)

    return arrays, call


def rnn_forward():
    case = rnn_case(T, B, I, H, "tanh", dtype=DTYPE)
    arrays = {name: case[name] for name in ("x", "W", "R", "b")} | {"state": case["h0"]}
    arrays |= {"out y": new(T, B, H), "out h": new(B, H), "tape.h": new(T, B, H), "tape.h_prev": new(T, B, H)}
    arrays["workspace"] = new(fastlstm.rnn_workspace(T, B, I, H))

    def call(x, W, R, b, h0, y, h, tape_h, h_prev, workspace):
        tape = RNNTape(x, tape_h, h_prev)
        fastlstm.rnn_forward(x, W, R, b, h0, tape=tape, out=(y, h), workspace=workspace)

    return arrays, call


def rnn_backward():
    case = rnn_case(T, B, I, H, "tanh", dtype=DTYPE)
    tape = fastlstm.rnn_forward(*(case[name] for name in ("x", "W", "R", "b")), tape=True)[2]
    arrays = {"tape.x": tape.x, "tape.h": tape.h, "tape.h_prev": tape.h_prev}
    arrays |= {"W": case["W"], "R": case["R"], "dy": case["dy"]}
    arrays |= {"dstate": case["dh"], "out x": new(T, B, I), "out W": new(H, I), "out R": new(H, H), "out b": new(H)}
    arrays |= {"out state": new(B, H), "workspace": new(fastlstm.rnn_workspace(T, B, I, H))}

    def call(x, h, h_prev, W, R, dy, dh, dx, dW, dR, db, dh0, workspace):
        out = RNNGradients(dx, dW, dR, db, dh0)
        fastlstm.rnn_backward(RNNTape(x, h, h_prev), W, R, dy, dh, out=out, workspace=workspace)

    return arrays, call


def gru_forward(reset_after=True):
    case = gru_case(T, B, I, H, reset_after, dtype=DTYPE)
    arrays = {name: case[name] for name in ("x", "W", "R", "b", "bn") if case[name] is not None}
    arrays |= {"state": case["h0"], "out y": new(T, B, H), "out h": new(B, H)}
    arrays |= {"tape.gates": new(T, B, 4 * H if reset_after else 3 * H), "tape.h": new(T + 1, B, H)}
    arrays |= {
        "tape.h_prev": new(T, B, H),
        "workspace": new(fastlstm.gru_workspace(T, B, I, H, reset_after=reset_after)),
    }

    def call(x, W, R, b, *more):
        bn, (h0, y, h, gates, tape_h, h_prev, workspace) = (more[0], more[1:]) if reset_after else (None, more)
        tape, out = GRUTape(x, gates, tape_h, h_prev), (y, h)
        fastlstm.gru_forward(x, W, R, b, bn, h0, reset_after=reset_after, tape=tape, out=out, workspace=workspace)

    return arrays, call


def gru_before_forward():
    return gru_forward(reset_after=False)


def gru_backward(reset_after=True):
    case = gru_case(T, B, I, H, reset_after, dtype=DTYPE)
    weights = [case[name] for name in ("x", "W", "R", "b", "bn")]
    tape = fastlstm.gru_forward(*weights, reset_after=reset_after, tape=True)[2]
    arrays = {"tape.x": tape.x, "tape.gates": tape.gates, "tape.h": tape.h, "tape.h_prev": tape.h_prev}
    arrays |= {name: case[name] for name in ("W", "R", "bn", "dy") if case[name] is not None}
    arrays |= {"dstate": case["dh"], "out x": new(T, B, I), "out W": new(3 * H, I), "out R": new(3 * H, H)}
    arrays |= {"out b": new(3 * H)} | ({"out bn": new(H)} if reset_after else {})
    arrays |= {"out state": new(B, H), "workspace": new(fastlstm.gru_workspace(T, B, I, H, reset_after=reset_after))}

    def call(x, gates, h, h_prev, W, R, *more):
        bn, *more = more if reset_after else (None, *more)
        dy, dh, dx, dW, dR, db, *more = more
        dbn, *more = more if reset_after else (None, *more)
        dh0, workspace = more
        given, out = GRUTape(x, gates, h, h_prev, call=tape.call), GRUGradients(dx, dW, dR, db, dbn, dh0)
        fastlstm.gru_backward(given, W, R, bn, dy, dh, out=out, workspace=workspace)

    return arrays, call


def gru_before_backward():
    return gru_backward(reset_after=False)


def gru_call():
    gru = GRU(I, H, seed=0)
    return {"x": new(T, B, I), "state": new(1, B, H)}, lambda x, h: gru(x, h)


def gru_layer_backward():
    gru = GRU(I, H, seed=0)
    tape = gru.forward(new(T, B, I))[2]
    out = gru.backward(tape, new(T, B, H))
    arrays = {"dy": new(T, B, H), "dstate": new(1, B, H), "out.flat": out.flat}

    def call(dy, dh, flat):
        gru.backward(tape, dy, dh, out=Gradients(flat, out.params))

    return arrays, call


def gru_step():
    gru = GRU(I, H, seed=0)
    arrays = {"x_t": new(B, I), "state": new(1, B, H), "out y": new(B, H), "out h": new(1, B, H)}
    return arrays, lambda x, h, y, h_out: gru.step(x, h, (y, h_out))


def lstm_call():
    lstm = LSTM(I, H, seed=0)
    return {"x": new(T, B, I), "state h": new(1, B, H), "state c": new(1, B, H)}, lambda x, h, c: lstm(x, (h, c))


def lstm_layer_forward():
    lstm = LSTM(I, H, seed=0, batch_first=True)
    arrays = {"x": new(B, T, I), "state h": new(1, B, H), "state c": new(1, B, H)}
    return arrays, lambda x, h, c: lstm.forward(x, (h, c))


def lstm_layer_backward():
    lstm = LSTM(I, H, seed=0)
    tape = lstm.forward(new(T, B, I))[2]
    out = lstm.backward(tape, new(T, B, H))
    arrays = {"dy": new(T, B, H), "dstate h": new(1, B, H), "dstate c": new(1, B, H), "out.flat": out.flat}

    def call(dy, dh, dc, flat):
        lstm.backward(tape, dy, (dh, dc), out=Gradients(flat, out.params))

    return arrays, call


def lstm_step():
    lstm = LSTM(I, H, seed=0)
    arrays = {"x_t": new(B, I), "state h": new(1, B, H), "state c": new(1, B, H)}
    arrays |= {"out y": new(B, H), "out h": new(1, B, H), "out c": new(1, B, H)}
    return arrays, lambda x, h, c, y, h_out, c_out: lstm.step(x, (h, c), (y, (h_out, c_out)))


def lstm_step_of_one_row():
    """Where shapes with and without an axis of length 1 could be mistaken for each other."""
    lstm = LSTM(I, H, seed=0)
    arrays = {"x_t": new(1, I), "state h": new(1, 1, H), "state c": new(1, 1, H)}
    arrays |= {"out y": new(1, H), "out h": new(1, 1, H), "out c": new(1, 1, H)}
    return arrays, lambda x, h, c, y, h_out, c_out: lstm.step(x, (h, c), (y, (h_out, c_out)))


def lstm_step_without_out():
    lstm = LSTM(I, H, seed=0)
    return {"x_t": new(B, I), "state h": new(1, B, H), "state c": new(1, B, H)}, lambda x, h, c: lstm.step(x, (h, c))


def rnn_call():
    rnn = RNN(I, H, seed=0)
    return {"x": new(T, B, I), "state": new(1, B, H)}, lambda x, h: rnn(x, h)


def rnn_layer_forward():
    rnn = RNN(I, H, seed=0, batch_first=True)
    return {"x": new(B, T, I), "state": new(1, B, H)}, lambda x, h: rnn.forward(x, h)


def rnn_layer_backward():
    rnn = RNN(I, H, seed=0)
    tape = rnn.forward(new(T, B, I))[2]
    out = rnn.backward(tape, new(T, B, H))
    arrays = {"dy": new(T, B, H), "dstate": new(1, B, H), "out.flat": out.flat}

    def call(dy, dh, flat):
        rnn.backward(tape, dy, dh, out=Gradients(flat, out.params))

    return arrays, call


def rnn_step():
    rnn = RNN(I, H, seed=0)
    arrays = {"x_t": new(B, I), "state": new(1, B, H), "out y": new(B, H), "out h": new(1, B, H)}
    return arrays, lambda x, h, y, h_out: rnn.step(x, h, (y, h_out))


def rnn_step_of_one_row():
    rnn = RNN(I, H, seed=0)
    arrays = {"x_t": new(1, I), "state": new(1, 1, H), "out y": new(1, H), "out h": new(1, 1, H)}
    return arrays, lambda x, h, y, h_out: rnn.step(x, h, (y, h_out))


def rnn_step_without_out():
    rnn = RNN(I, H, seed=0)
    return {"x_t": new(B, I), "state": new(1, B, H)}, lambda x, h: rnn.step(x, h)


FUNCTIONS = [
    lstm_forward, lstm_backward, lstm_call, lstm_layer_forward, lstm_layer_backward, lstm_step, lstm_step_of_one_row,
    lstm_step_without_out, rnn_forward, rnn_backward, rnn_call, rnn_layer_forward, rnn_layer_backward, rnn_step,
    rnn_step_of_one_row, rnn_step_without_out, gru_forward, gru_backward, gru_call, gru_layer_backward, gru_step,
    gru_before_forward, gru_before_backward, layer_norm_forward, layer_norm_backward,
]  # fmt: skip
ARGUMENTS = [pytest.param(make, name, id=f"{make.__name__}-{name}") for make in FUNCTIONS for name in make()[0]]
each_argument = pytest.mark.parametrize(("make", "name"), ARGUMENTS)


def arguments(wanted):
    """Return the cases for which wanted(make, name) holds."""
    return pytest.mark.parametrize(("make", "name"), [p for p in ARGUMENTS if wanted(*p.values)])


def error(make, name, change, kind):
    """The message of the error that a changed argument leads to; it begins with the argument's name."""
    arrays, call = make()
    arrays[name] = change(arrays[name])
    with pytest.raises(kind, match=rf"^{re.escape(name)}\b") as caught:
        call(*arrays.values())
    return str(caught.value)


@pytest.mark.parametrize("make", FUNCTIONS)
def test_right_arguments(make):
    arrays, call = make()
    call(*arrays.values())


@each_argument
@pytest.mark.parametrize("dtype", ["float16", "int32", "int64", "bool", "complex64", ">f4", "object", "longdouble"])
def test_dtype(make, name, dtype):
    if np.dtype(dtype) == np.float64:
        dtype = "uint8"  # a platform whose long double is a double
    message = error(make, name, lambda array: array.astype(dtype), TypeError)
    found, _, hint = message.partition(": ")
    assert found.endswith(f"not {np.dtype(dtype)}")
    assert not hint or hint.startswith(f"{name}.astype(np.float")
    assert "float32" in message


@each_argument
def test_the_other_precision(make, name):
    """x and R come first in the stateless functions and decide the rest, so that the others are wrong then."""
    arrays, call = make()
    arrays[name] = arrays[name].astype(np.float64)
    with pytest.raises(TypeError, match=r"must have dtype float(32|64), not float(64|32)(: |$)") as caught:
        call(*arrays.values())
    assert str(caught.value).startswith(name) or name in ("x", "tape.x")


@each_argument
def test_too_many_dimensions(make, name):
    shape = (1, *make()[0][name].shape)
    message = error(make, name, lambda array: array[np.newaxis], ValueError)
    assert message.endswith(f"not {shape}")


@each_argument
def test_too_few_dimensions(make, name):
    message = error(make, name, lambda array: np.zeros((), DTYPE) if array.ndim == 1 else array[0].copy(), ValueError)
    assert re.search(r"must have shape .*, not \(", message)


@arguments(lambda _, name: name not in ("x", "x_t", "tape.x", "workspace"))  # others are checked against the x's
@pytest.mark.parametrize("change", [-1, 1])
def test_length_of_the_first_axis(make, name, change):
    length = len(make()[0][name]) + change
    message = error(make, name, lambda array: np.zeros((length, *array.shape[1:]), DTYPE), ValueError)
    assert re.search(rf"must have shape .*, not \({length},", message)


@arguments(lambda _, name: name == "workspace")
def test_workspace_too_small(make, name):
    message = error(make, name, lambda array: array[:9].copy(), ValueError)
    assert re.search(r"must have at least \d+ values, not 9$", message)


@arguments(lambda make, name: make()[0][name].ndim > 1)
@pytest.mark.parametrize("change", [-1, 1])
def test_length_of_the_last_axis(make, name, change):
    """x, R and the tape's arrays decide sizes, so that it may be another argument that does not fit."""
    arrays, call = make()
    arrays[name] = np.zeros((*arrays[name].shape[:-1], arrays[name].shape[-1] + change), DTYPE)
    with pytest.raises(ValueError, match=r"must have shape .* = \(.*\), not \(") as caught:
        call(*arrays.values())
    assert str(caught.value).startswith(name) or name in ("x", "R") or name.startswith("tape.")


@each_argument
def test_not_an_array(make, name):
    for value in (make()[0][name].tolist(), "text", 1.0, memoryview(b"text"), object()):
        message, _, line = error(make, name, lambda _, value=value: value, TypeError).partition(": ")
        assert message.endswith(f"not {type(value).__name__}")
        assert line in ("", f"np.asarray({name}) makes one", f"np.asarray({name}, np.float32) makes one")
        assert not line or type(value) is list


@each_argument
def test_masked_array(make, name):
    assert "masked" in error(make, name, np.ma.masked_array, TypeError)


OPTIONAL = ("p", "dy", "workspace", "state", "state h", "state c", "dstate", "dstate h", "dstate c")


@arguments(lambda _, name: name in OPTIONAL)
def test_none_for_an_optional_argument(make, name):
    arrays, call = make()
    arrays[name] = None
    call(*arrays.values())


@arguments(lambda _, name: name not in (*OPTIONAL, "bn", "norm"))
def test_none_where_it_has_no_meaning(make, name):
    assert "NoneType" in error(make, name, lambda _: None, TypeError)


OUTPUTS = [p for p in ARGUMENTS if p.values[1].startswith("out") or p.values[1] == "workspace"]
OUTPUTS += [p for p in ARGUMENTS if p.values[0].__name__.endswith("_forward") and p.values[1].startswith("tape")]


@pytest.mark.parametrize(("make", "name"), OUTPUTS)
def test_outputs_must_be_written_to(make, name):
    def read_only(array):
        array.flags.writeable = False
        return array

    def strided(array):
        return np.zeros((*array.shape[:-1], 2 * array.shape[-1]), DTYPE)[..., ::2]

    def misaligned(array):
        return np.zeros(array.nbytes + 1, np.uint8)[1:].view(DTYPE).reshape(array.shape)

    for change in (read_only, strided, misaligned):
        assert "writable" in error(make, name, change, ValueError)


# ---- what is not an array ----


@pytest.mark.parametrize("state", [np.zeros((2, B, H), DTYPE), 1, "hc", {1, 2}])
def test_state_must_be_a_pair(state):
    arrays, _ = lstm_forward()
    lstm, x = LSTM(I, H, seed=0), arrays["x"]
    for call in (
        lambda: fastlstm.lstm_forward(*(arrays[name] for name in ("x", "W", "R", "b", "p")), state),
        lambda: lstm(x, state),
        lambda: lstm.forward(x, state),
        lambda: lstm.step(x[0], state),
    ):
        with pytest.raises(TypeError, match=rf"^state must be \(h, c\), not {type(state).__name__}"):
            call()


def test_state_must_be_two_items():
    h = new(1, B, H)
    lstm, x = LSTM(I, H, seed=0), new(T, B, I)
    for call in (lstm, lstm.forward, lambda x, state: lstm.step(x[0], state)):
        for state in ((h,), (h, h, h), ()):
            with pytest.raises(ValueError, match=rf"^state must be \(h, c\), not {counted(len(state), 'item')}"):
                call(x, state)


def test_backward_needs_pairs():
    lstm = LSTM(I, H, seed=0)
    tape = lstm.forward(new(T, B, I))[2]
    W, R, p = (lstm.params[name] for name in ("W_l0", "R_l0", "p_l0"))
    own = tape.layers[0]
    for call in (lambda d: lstm.backward(tape, None, d), lambda d: fastlstm.lstm_backward(own, W, R, p, None, d)):
        with pytest.raises(TypeError, match=r"^dstate must be \(dh, dc\), not ndarray"):
            call(new(2, B, H))
        with pytest.raises(ValueError, match=r"^dstate must be \(dh, dc\), not 1 item"):
            call((new(B, H),))


def test_out_must_be_what_it_should():
    case = lstm_case(T, B, I, H, dtype=DTYPE)
    lstm, rnn = LSTM(I, H, seed=0), RNN(I, H, seed=0)
    forward = [case[name] for name in ("x", "W", "R", "b", "p")]
    rnn_arguments = [case["x"], *(rnn.params[name] for name in ("W_l0", "R_l0", "b_l0"))]
    tape, rnn_tape = fastlstm.lstm_forward(*forward, tape=True)[2], fastlstm.rnn_forward(*rnn_arguments, tape=True)[2]
    y = new(T, B, H)
    with pytest.raises(TypeError, match=r"^out must be \(y, \(h, c\)\), not ndarray"):
        fastlstm.lstm_forward(*forward, out=y)
    with pytest.raises(TypeError, match=r"^out state must be \(h, c\), not ndarray"):
        fastlstm.lstm_forward(*forward, out=(y, y))
    with pytest.raises(TypeError, match=r"^out must be \(y, \(h, c\)\), not ndarray"):
        lstm.step(case["x"][0], out=y)
    with pytest.raises(TypeError, match=r"^out must be \(y, h\), not ndarray"):
        fastlstm.rnn_forward(*rnn_arguments, out=y)
    with pytest.raises(TypeError, match=r"^out must be \(y, h\), not ndarray"):
        rnn.step(case["x"][0], out=y)
    with pytest.raises(TypeError, match=r"^out must be LSTMGradients, not tuple"):
        fastlstm.lstm_backward(tape, case["W"], case["R"], case["p"], None, out=())
    with pytest.raises(TypeError, match=r"^out must be RNNGradients, not tuple"):
        fastlstm.rnn_backward(rnn_tape, *rnn_arguments[1:3], None, out=())
    for layer in (lstm, rnn):
        with pytest.raises(TypeError, match=r"^out must be Gradients, not tuple"):
            layer.backward(layer.forward(case["x"])[2], None, out=())


def test_accumulate_needs_out():
    lstm, rnn, x = LSTM(I, H, seed=0), RNN(I, H, seed=0), new(T, B, I)
    W, R, _, p = lstm.params.values()
    W_rnn, R_rnn, _ = rnn.params.values()
    tape, rnn_tape = lstm.forward(x)[2], rnn.forward(x)[2]
    for call in (
        lambda: lstm.backward(tape, None, accumulate=True),
        lambda: rnn.backward(rnn_tape, None, accumulate=True),
        lambda: fastlstm.lstm_backward(tape.layers[0], W, R, p, None, accumulate=True),
        lambda: fastlstm.rnn_backward(rnn_tape.layers[0], W_rnn, R_rnn, None, accumulate=True),
    ):
        with pytest.raises(ValueError, match=r"^accumulate needs out"):
            call()


@pytest.mark.parametrize("tape", [None, True, (1, 2, 3, 4), "tape"])
def test_tape_must_be_one(tape):
    lstm, gru, rnn = (kind(I, H, seed=0) for kind in (LSTM, GRU, RNN))
    W, R, _, p = lstm.params.values()
    with pytest.raises(TypeError, match=rf"^tape must be a GRUTape from gru_forward.*, not {type(tape).__name__}"):
        fastlstm.gru_backward(tape, *list(gru.params.values())[:2], gru.params["bn_l0"], None)
    with pytest.raises(TypeError, match=rf"^tape must be an LSTMTape .*, not {type(tape).__name__}"):
        fastlstm.lstm_backward(tape, W, R, p, None)
    with pytest.raises(TypeError, match=rf"^tape must be an RNNTape .*, not {type(tape).__name__}"):
        fastlstm.rnn_backward(tape, *list(rnn.params.values())[:2], None)
    for layer in (lstm, gru, rnn):
        with pytest.raises(TypeError, match=rf"^tape must be a Tape from forward, not {type(tape).__name__}"):
            layer.backward(tape, None)


@pytest.mark.parametrize("nonlinearity", ["Tanh", "sigmoid", "", None, 3, ["tanh"]])
def test_nonlinearity(nonlinearity):
    rnn = RNN(I, H, seed=0)
    x, (W, R, b) = new(T, B, I), rnn.params.values()
    for call in (
        lambda: RNN(I, H, nonlinearity=nonlinearity),
        lambda: fastlstm.rnn_forward(x, W, R, b, nonlinearity=nonlinearity),
    ):
        with pytest.raises(
            ValueError, match=rf"^nonlinearity must be one of tanh, .*, not {re.escape(repr(nonlinearity))}"
        ):
            call()


@pytest.mark.parametrize("layer", CELLS)
def test_sizes_and_dtype_of_layers(layer):
    for value, kind in ((0, ValueError), (-1, ValueError), (1.0, TypeError), ("3", TypeError), (True, TypeError)):
        with pytest.raises(kind, match=r"^input_size must be"):
            layer(value, 3)
        with pytest.raises(kind, match=r"^hidden_size must be"):
            layer(3, value)
    for dtype in (np.float16, np.int32, np.complex64, object):
        with pytest.raises(TypeError, match=rf"^dtype must be float32 or float64, not {np.dtype(dtype)}"):
            layer(3, 3, dtype=dtype)
    assert layer(np.int64(3), np.uint8(4)).params["R_l0"].shape[1] == 4


@pytest.mark.parametrize("number", [0, -1, 257, 10**30])
def test_num_threads_out_of_range(number):
    check_num_threads(number, ValueError, rf"^num_threads must be from 1 to 256, not {number}")


@pytest.mark.parametrize("number", [1.0, "2", True, [1]])
def test_num_threads_of_a_wrong_type(number):
    check_num_threads(number, TypeError, rf"^num_threads must be an int, not {type(number).__name__}")


def check_num_threads(number, kind, message):
    case, option = lstm_case(T, B, I, H, dtype=DTYPE), {"num_threads": number}
    W, R, b, p, x = (case[name] for name in ("W", "R", "b", "p", "x"))
    tape = fastlstm.lstm_forward(x, W, R, b, p, tape=True)[2]
    calls = [
        lambda: fastlstm.set_num_threads(number),
        lambda: fastlstm.lstm_forward(x, W, R, b, p, **option),
        lambda: fastlstm.lstm_backward(tape, W, R, p, None, **option),
    ]
    for kind_of_layer in CELLS:
        layer = kind_of_layer(I, H, seed=0)
        own = layer.forward(x)[2]
        calls += [
            lambda layer=layer: layer(x, **option),
            lambda layer=layer: layer.forward(x, **option),
            lambda layer=layer, own=own: layer.backward(own, None, **option),
            lambda layer=layer: layer.step(x[0], **option),
        ]
    for call in calls:
        with pytest.raises(kind, match=message):
            call()


def test_workspace_sizes_of_a_wrong_dtype():
    for function in (fastlstm.lstm_workspace, fastlstm.gru_workspace, fastlstm.rnn_workspace):
        with pytest.raises(TypeError, match=r"^dtype must be float32 or float64, not int32"):
            function(T, B, I, H, np.int32)


def test_functions_take_no_packed_sequence():
    packed = fastlstm.PackedSequence(np.ones((4, I), DTYPE), np.array([2, 2]))
    W, R, b = np.ones((4 * H, I), DTYPE), np.ones((4 * H, H), DTYPE), np.ones(4 * H, DTYPE)
    with pytest.raises(TypeError, match=r"^x must be a NumPy array, not PackedSequence"):
        fastlstm.lstm_forward(packed, W, R, b)
    with pytest.raises(TypeError, match=r"^x must be a NumPy array, not PackedSequence"):
        fastlstm.gru_forward(packed, W[: 3 * H], R[: 3 * H], b[: 3 * H], b[:H])
    with pytest.raises(TypeError, match=r"^x must be a NumPy array, not PackedSequence"):
        fastlstm.rnn_forward(packed, W[:H], R[:H], b[:H])
