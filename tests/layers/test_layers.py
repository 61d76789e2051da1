"""The layers: parameters, layouts, single steps, copies."""

import copy
import pickle

import numpy as np
import pytest
from cases import GRU_FORMS, KINKED_TOO
from helpers import assert_close, assert_same, by_name, gru_arrays, rnn_arrays
from layer_cases import CELLS

import fastlstm
from fastlstm import GRU, LSTM, RNN

EPS = {np.float32: np.finfo(np.float32).eps, np.float64: np.finfo(np.float64).eps}

LAYERS = [
    lambda **options: LSTM(5, 9, **options),
    lambda **options: LSTM(5, 9, peephole=False, **options),
    lambda **options: LSTM(5, 9, layer_norm=True, **options),
    *(lambda form=form, **options: GRU(5, 9, reset_after=form, **options) for form in GRU_FORMS),
    *(lambda g=g, **options: RNN(5, 9, nonlinearity=g, **options) for g in KINKED_TOO),
]
NAMES = ["lstm", "lstm-np", "lstm-norm", *(f"gru-{form}" for form in GRU_FORMS), *(f"rnn-{g}" for g in KINKED_TOO)]
# What activations are for 0, where that is not 0.
AT_ZERO = {"logistic": 0.5, "hard_logistic": 0.5, ("hard_logistic", 1.5, 0.4): 0.4}
each_layer = pytest.mark.parametrize("make", LAYERS, ids=NAMES)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def random(layer, *shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(layer.dtype)


def random_state(layer, B, seed=1):
    h, c = random(layer, 2, 1, B, layer.hidden_size, seed=seed)
    return (h, c) if isinstance(layer, LSTM) else h


# ---- layers against the functions below them ----


@both_dtypes
@pytest.mark.parametrize("peephole", [True, False])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_lstm_layer_is_the_stateless_functions(layer_norm, peephole, dtype):
    lstm = LSTM(5, 9, peephole=peephole, layer_norm=layer_norm, dtype=dtype, seed=0)
    lstm.flat[:] += 0.1 * random(lstm, lstm.flat.size)
    x, dy, (h0, c0), (dh, dc) = (
        random(lstm, 4, 3, 5),
        random(lstm, 4, 3, 9),
        random_state(lstm, 3),
        random_state(lstm, 3, 2),
    )
    W, R, b, p, norm = (lstm.params.get(name) for name in ("W_l0", "R_l0", "b_l0", "p_l0", "norm_l0"))
    y, (h, c), tape = fastlstm.lstm_forward(x, W, R, b, p, (h0[0], c0[0]), norm=norm, tape=True)
    gradients = fastlstm.lstm_backward(tape, W, R, p, dy, (dh[0], dc[0]), norm=norm)
    expected = {name: getattr(gradients, name.removesuffix("_l0")) for name in lstm.params}
    expected |= {"y": y, "h": h, "c": c, "dx": gradients.x} | by_name(gradients.state, ("dh0", "dc0"))

    y, (h, c) = lstm(x, (h0, c0))
    y_kept, (h_kept, c_kept), tape = lstm.forward(x, (h0, c0))
    assert_same({"y": y_kept, "h": h_kept, "c": c_kept}, {"y": y, "h": h, "c": c})
    gradients = lstm.backward(tape, dy, (dh, dc))
    dh0, dc0 = gradients.state
    found = gradients.params | {"dx": gradients.x, "y": y, "h": h[0], "c": c[0], "dh0": dh0[0], "dc0": dc0[0]}
    assert_same(found, expected)
    assert gradients.params.keys() == lstm.params.keys()


@both_dtypes
@pytest.mark.parametrize("nonlinearity", KINKED_TOO)
def test_rnn_layer_is_the_stateless_functions(nonlinearity, dtype):
    rnn = RNN(5, 9, nonlinearity=nonlinearity, dtype=dtype, seed=0)
    x, dy, h0, dh = random(rnn, 4, 3, 5), random(rnn, 4, 3, 9), random_state(rnn, 3), random_state(rnn, 3, 2)
    W, R, b = rnn.params.values()
    y, h, tape = fastlstm.rnn_forward(x, W, R, b, h0[0], nonlinearity=nonlinearity, tape=True)
    expected = rnn_arrays(fastlstm.rnn_backward(tape, W, R, dy, dh[0]))
    expected |= {"y": y, "h": h}

    y, h = rnn(x, h0)
    y_kept, h_kept, tape = rnn.forward(x, h0)
    assert_same({"y": y_kept, "h": h_kept}, {"y": y, "h": h})
    gradients = rnn.backward(tape, dy, dh)
    found = {f"d{name[0]}": array for name, array in gradients.params.items()}
    found |= {"dx": gradients.x, "dh0": gradients.state[0], "y": y, "h": h[0]}
    assert_same(found, expected)


@both_dtypes
@pytest.mark.parametrize("reset_after", GRU_FORMS)
def test_gru_layer_is_the_stateless_functions(reset_after, dtype):
    gru = GRU(5, 9, reset_after=reset_after, dtype=dtype, seed=0)
    x, dy, h0, dh = random(gru, 4, 3, 5), random(gru, 4, 3, 9), random_state(gru, 3), random_state(gru, 3, 2)
    W, R, b, bn = (gru.params.get(name) for name in ("W_l0", "R_l0", "b_l0", "bn_l0"))
    y, h, tape = fastlstm.gru_forward(x, W, R, b, bn, h0[0], reset_after=reset_after, tape=True)
    expected = gru_arrays(fastlstm.gru_backward(tape, W, R, bn, dy, dh[0]))
    expected |= {"y": y, "h": h}

    y, h = gru(x, h0)
    y_kept, h_kept, tape = gru.forward(x, h0)
    assert_same({"y": y_kept, "h": h_kept}, {"y": y, "h": h})
    gradients = gru.backward(tape, dy, dh)
    found = {f"d{name.removesuffix('_l0')}": array for name, array in gradients.params.items()}
    found |= {"dx": gradients.x, "dh0": gradients.state[0], "y": y, "h": h[0]}
    assert_same(found, expected)


@each_layer
@both_dtypes
@pytest.mark.parametrize(("T", "B"), [(4, 3), (1, 3), (4, 1), (0, 2), (3, 0), (5, 9)])
def test_batch_first_is_transposed(make, T, B, dtype):
    layer, other = make(dtype=dtype, seed=0), make(dtype=dtype, seed=0, batch_first=True)
    x, dy, state, dstate = (
        random(layer, T, B, 5),
        random(layer, T, B, 9),
        random_state(layer, B),
        random_state(layer, B, 2),
    )
    y, last, tape = layer.forward(x, state)
    gradients = layer.backward(tape, dy, dstate)
    y_other, last_other, tape_other = other.forward(x.swapaxes(0, 1), state)
    gradients_other = other.backward(tape_other, dy.swapaxes(0, 1), dstate)
    assert y_other.shape == (B, T, 9)
    assert gradients_other.x.shape == (B, T, 5)
    assert_same({"y": y_other.swapaxes(0, 1), "dx": gradients_other.x.swapaxes(0, 1)}, {"y": y, "dx": gradients.x})
    assert_same(by_name(last_other), by_name(last))
    assert_same(by_name(gradients_other.state), by_name(gradients.state))
    assert_same({"flat": gradients_other.flat}, {"flat": gradients.flat})
    assert_same({"y": other(x.swapaxes(0, 1), state)[0]}, {"y": y_other})


# ---- single steps ----


@each_layer
@both_dtypes
@pytest.mark.parametrize("B", [1, 2, 9, 50])
def test_steps_are_one_call(make, B, dtype, isa):
    layer = make(dtype=dtype, seed=0)
    x, state = random(layer, 12, B, 5), random_state(layer, B)
    y, last = layer(x, state)
    before = {name: array.copy() for name, array in by_name(state).items()}
    ys, now = [], state
    for x_t in x:
        y_t, now = layer.step(x_t, now)
        assert y_t.shape == (B, 9)
        assert y_t.dtype == dtype
        ys.append(y_t)
    # Frozen weights and weights as they are add up the same products in another order.
    assert_close({"y": np.stack(ys)} | by_name(now), {"y": y} | by_name(last), 32 * EPS[dtype])
    assert_same(by_name(state), before)


@each_layer
@both_dtypes
@pytest.mark.parametrize("B", [0, 1, 3, 9])
def test_step_into_given_arrays(make, B, dtype, isa):
    layer = make(dtype=dtype, seed=0)
    x_t, state = random(layer, B, 5), random_state(layer, B)
    y, last = layer.step(x_t, state)

    y_out = np.full((B, 9), np.nan, dtype)
    fresh = [np.full((1, B, 9), np.nan, dtype) for _ in range(2)]
    given = tuple(fresh) if isinstance(layer, LSTM) else fresh[0]
    y_found, found = layer.step(x_t, state, (y_out, given))
    assert y_found is y_out
    assert all(a is b for a, b in zip(by_name(found).values(), by_name(given).values(), strict=True))
    assert_same({"y": y_out} | by_name(given), {"y": y} | by_name(last))

    in_place = copy.deepcopy(state)
    layer.step(x_t, in_place, out=(y_out, in_place))
    assert_same({"y": y_out} | by_name(in_place), {"y": y} | by_name(last))


@each_layer
def test_step_without_state_starts_at_zero(make):
    layer = make(seed=0)
    x_t = random(layer, 3, 5)
    zero = np.zeros((1, 3, 9), np.float32)
    y, state = layer.step(x_t)
    y_zero, state_zero = layer.step(x_t, (zero, zero.copy()) if isinstance(layer, LSTM) else zero)
    assert_same({"y": y} | by_name(state), {"y": y_zero} | by_name(state_zero))
    out = np.full((3, 9), np.nan, np.float32), tuple(np.full((2, 1, 3, 9), np.nan, np.float32))
    if not isinstance(layer, LSTM):
        out = out[0], out[1][0]
    y, state = layer.step(x_t, None, out)
    assert y is out[0]
    assert_same({"y": y} | by_name(state), {"y": y_zero} | by_name(state_zero))


def test_lstm_step_with_half_a_state():
    lstm = LSTM(5, 9, seed=0)
    x_t, (h, c) = random(lstm, 3, 5), random_state(lstm, 3)
    zero = np.zeros_like(h)
    for given, full in (((h, None), (h, zero)), ((None, c), (zero, c))):
        (y, state), (y_full, state_full) = lstm.step(x_t, given), lstm.step(x_t, full)
        assert_same({"y": y} | by_name(state), {"y": y_full} | by_name(state_full))


@each_layer
def test_step_of_arrays_in_any_layout(make):
    layer = make(seed=0)
    x_t, state = random(layer, 3, 5), random_state(layer, 3)
    y, last = layer.step(x_t, state)

    def layouts(array):
        frozen = array.copy()
        frozen.flags.writeable = False
        wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.nan, np.float32)
        wide[..., ::2] = array
        misaligned = np.zeros(array.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(array.shape)
        misaligned[...] = array
        return frozen, wide[..., ::2], np.asfortranarray(array), array[..., ::-1].copy()[..., ::-1], misaligned

    for x_given in layouts(x_t):
        y_found, found = layer.step(x_given, state)
        assert_same({"y": y_found} | by_name(found), {"y": y} | by_name(last))
    for arrays in zip(*(layouts(array) for array in by_name(state).values()), strict=True):
        y_found, found = layer.step(x_t, arrays if isinstance(layer, LSTM) else arrays[0])
        assert_same({"y": y_found} | by_name(found), {"y": y} | by_name(last))


@pytest.mark.parametrize("num_threads", [1, 2, 3])
@both_dtypes
def test_large_step_with_threads(num_threads, dtype, isa):
    for layer in (
        LSTM(200, 201, dtype=dtype, seed=0),
        GRU(250, 251, dtype=dtype, seed=0),
        RNN(300, 301, dtype=dtype, seed=0),
    ):
        x, state = random(layer, 1, 2, layer.input_size), random_state(layer, 2)
        y, last = layer(x, state, num_threads=1)
        y_t, now = layer.step(x[0], state, num_threads=num_threads)
        assert_close({"y": y_t} | by_name(now), {"y": y[0]} | by_name(last), 64 * EPS[dtype])


def test_lstm_step_refuses_overlaps():
    lstm = LSTM(9, 9, seed=0)
    x_t, (h, c) = random(lstm, 3, 9), random_state(lstm, 3)
    y, h_out, c_out = np.zeros((3, 9), np.float32), *np.zeros((2, 1, 3, 9), np.float32)
    long = np.zeros(60, np.float32)
    part, shifted = long[:27].reshape(1, 3, 9), long[9:36].reshape(1, 3, 9)
    cases = [
        ((h, c), (h[0], (h_out, c_out))),
        ((h, c), (c[0], (h_out, c_out))),
        ((h, c), (x_t, (h_out, c_out))),
        ((h, c), (h_out[0], (h_out, c_out))),
        ((h, c), (c_out[0], (h_out, c_out))),
        ((h, c), (y, (c, c_out))),
        ((h, c), (y, (h_out, h))),
        ((h, c), (y, (c, h))),
        ((h, c), (y, (h_out, h_out))),
        ((h, c), (y, (x_t[None], c_out))),
        ((h, c), (y, (h_out, x_t[None]))),
        ((part, c), (y, (shifted, c_out))),
        ((h, part), (y, (h_out, shifted))),
    ]
    for state, out in cases:
        before = [array.copy() for array in (x_t, *state)]
        with pytest.raises(ValueError, match="overlap"):
            lstm.step(x_t, state, out)
        assert all(np.array_equal(a, b) for a, b in zip((x_t, *state), before, strict=True))


def test_rnn_step_refuses_overlaps():
    rnn = RNN(9, 9, seed=0)
    x_t, h = random(rnn, 3, 9), random_state(rnn, 3)
    y, h_out = np.zeros((3, 9), np.float32), np.zeros((1, 3, 9), np.float32)
    long = np.zeros(60, np.float32)
    part, shifted = long[:27].reshape(1, 3, 9), long[9:36].reshape(1, 3, 9)
    for state, out in (
        (h, (h[0], h_out)),
        (h, (x_t, h_out)),
        (h, (h_out[0], h_out)),
        (h, (y, x_t[None])),
        (part, (y, shifted)),
    ):
        with pytest.raises(ValueError, match="overlap"):
            rnn.step(x_t, state, out)


# ---- parameters ----


@each_layer
@both_dtypes
def test_params_are_views_of_flat(make, dtype):
    layer = make(dtype=dtype, seed=0)
    assert layer.flat.ndim == 1
    assert layer.flat.dtype == dtype
    assert layer.flat.size == sum(array.size for array in layer.params.values())
    assert np.array_equal(layer.flat, np.concatenate([array.ravel() for array in layer.params.values()]))
    for array in layer.params.values():
        before = layer.flat.copy()
        array.flat[-1] += 1
        assert (layer.flat != before).sum() == 1
    layer.flat[:] = 7
    assert all((array == 7).all() for array in layer.params.values())


def test_names_and_shapes_of_params():
    assert {name: array.shape for name, array in LSTM(5, 9).params.items()} == {
        "W_l0": (36, 5), "R_l0": (36, 9), "b_l0": (36,), "p_l0": (3, 9),
    }  # fmt: skip
    assert "p_l0" not in LSTM(5, 9, peephole=False).params
    assert {name: array.shape for name, array in GRU(5, 9).params.items()} == {
        "W_l0": (27, 5), "R_l0": (27, 9), "b_l0": (27,), "bn_l0": (9,),
    }  # fmt: skip
    assert "bn_l0" not in GRU(5, 9, reset_after=False).params
    assert {name: array.shape for name, array in RNN(5, 9).params.items()} == {
        "W_l0": (9, 5), "R_l0": (9, 9), "b_l0": (9,),
    }  # fmt: skip


@each_layer
def test_params_cannot_be_exchanged(make):
    layer = make(seed=0)
    with pytest.raises(TypeError, match="item assignment"):
        layer.params["W_l0"] = np.zeros_like(layer.params["W_l0"])
    with pytest.raises(TypeError, match="item assignment"):
        layer.params["no such name"] = None


@pytest.mark.parametrize(("make", "name"), [(make, name) for make in LAYERS for name in make().params])
def test_changes_in_place_take_effect(make, name):
    """At the next call, and at the next step, which holds the weights itself."""
    layer = make(seed=0)
    x, state = np.abs(random(layer, 2, 3, 5)), random_state(layer, 3)
    y, (y_t, _) = layer(x, state)[0], layer.step(x[0], state)
    layer.params[name][...] += 0.5
    y_after, (y_t_after, _) = layer(x, state)[0], layer.step(x[0], state)
    assert not np.array_equal(y, y_after)
    assert not np.array_equal(y_t, y_t_after)
    assert_close({"y": y_t_after}, {"y": y_after[0]}, 32 * EPS[np.float32])


def test_initial_weights():
    lstm = LSTM(5, 400, seed=0)
    bound = 1 / 20
    assert np.array_equal(lstm.params["b_l0"][400:800], np.ones(400))
    others = [lstm.params["W_l0"], lstm.params["R_l0"], lstm.params["p_l0"], lstm.params["b_l0"][:400]]
    for array in others:
        assert 0.9 * bound < np.abs(array).max() <= np.float32(bound)
        assert abs(array.mean()) < 0.1 * bound
    norm = LSTM(5, 9, layer_norm=True, seed=0, init_scale=3).params["norm_l0"]
    assert (norm[:-1] == 1).all()
    assert not norm[-1].any()
    assert np.array_equal(LSTM(5, 9, seed=0, forget_bias=-3).params["b_l0"][9:18], np.full(9, -3))
    for layer in CELLS:
        assert 0.9 < np.abs(layer(5, 40, seed=0, init_scale=1, dtype=np.float64).params["W_l0"]).max() <= 1
        assert 0.9 < np.abs(layer(5, 400, seed=0).params["R_l0"]).max() * 20 <= 1.000001
    assert not RNN(5, 9, init_scale=0).flat.any()


@each_layer
@both_dtypes
def test_seeds(make, dtype):
    first = make(seed=3, dtype=dtype).flat
    assert_same({"flat": make(seed=3, dtype=dtype).flat}, {"flat": first})
    assert_same({"flat": make(seed=np.random.default_rng(3), dtype=dtype).flat}, {"flat": first})
    assert not np.array_equal(make(seed=4, dtype=dtype).flat, first)
    assert not np.array_equal(make(dtype=dtype).flat, make(dtype=dtype).flat)
    generator = np.random.default_rng(3)
    assert not np.array_equal(make(seed=generator, dtype=dtype).flat, make(seed=generator, dtype=dtype).flat)


# ---- copies and names ----


def clones(layer):
    return {
        "deepcopy": copy.deepcopy(layer),
        "copy": copy.copy(layer),
        **{f"pickle {p}": pickle.loads(pickle.dumps(layer, p)) for p in range(2, pickle.HIGHEST_PROTOCOL + 1)},
    }


@each_layer
@pytest.mark.parametrize("batch_first", [True, False])
@both_dtypes
def test_copies(make, batch_first, dtype):
    layer = make(dtype=dtype, seed=0, batch_first=batch_first)
    x, state = random(layer, 3, 3, 5), random_state(layer, 3)
    y, last = layer(x, state)
    y_t, _ = layer.step(x[0], state)
    for clone in clones(layer).values():
        assert repr(clone) == repr(layer)
        assert clone.dtype == dtype
        assert_same({"flat": clone.flat} | dict(clone.params), {"flat": layer.flat} | dict(layer.params))
        y_clone, last_clone = clone(x, state)
        assert_same({"y": y_clone} | by_name(last_clone), {"y": y} | by_name(last))
        assert_same({"y": clone.step(x[0], state)[0]}, {"y": y_t})
        clone.flat[:] = 0  # the clone's own: its params and its steps follow, the original does not
        assert not any(array.any() for array in clone.params.values())
        zero = np.zeros_like(random_state(layer, 3)[0][np.newaxis] if isinstance(layer, LSTM) else state)
        zero = zero.reshape(1, 3, 9)
        flat_y = clone.step(x[0], (zero, zero.copy()) if isinstance(layer, LSTM) else zero)[0]
        assert (flat_y == flat_y.dtype.type(AT_ZERO.get(getattr(layer, "nonlinearity", None), 0))).all()
        assert layer.flat.any()
        with pytest.raises(TypeError, match="item assignment"):
            clone.params["W_l0"] = None


def test_tapes_and_gradients_can_be_pickled():
    lstm = LSTM(5, 9, seed=0)
    tape = lstm.forward(random(lstm, 4, 3, 5))[2]
    gradients = lstm.backward(tape, random(lstm, 4, 3, 9))
    again = lstm.backward(pickle.loads(pickle.dumps(tape)), random(lstm, 4, 3, 9))
    assert_same({"flat": again.flat, "x": again.x}, {"flat": gradients.flat, "x": gradients.x})


def test_repr():
    assert repr(LSTM(3, 8)) == "LSTM(3, 8, peephole=True, dtype=float32)"
    assert (
        repr(LSTM(3, 8, peephole=False, batch_first=True, dtype=float))
        == "LSTM(3, 8, peephole=False, batch_first=True, dtype=float64)"
    )
    assert repr(LSTM(3, 8, layer_norm=True, variant="cifg")) == (
        "LSTM(3, 8, peephole=True, variant='CIFG', layer_norm=True, dtype=float32)"
    )
    assert repr(GRU(3, 8, 2)) == "GRU(3, 8, reset_after=True, num_layers=2, dtype=float32)"
    assert repr(RNN(3, 8, nonlinearity="relu")) == "RNN(3, 8, nonlinearity='relu', dtype=float32)"


@pytest.mark.parametrize(
    "layer",
    [
        LSTM(3, 8, dtype=np.float64),
        LSTM(3, 8, layer_norm=True),
        GRU(3, 8, reset_after=False),
        RNN(3, 8, nonlinearity="relu", batch_first=True),
    ],
    ids=repr,
)
def test_repr_is_python(layer):
    again = eval(repr(layer), {"LSTM": LSTM, "GRU": GRU, "RNN": RNN, "float32": np.float32, "float64": np.float64})
    assert repr(again) == repr(layer)


@pytest.mark.parametrize("layer", CELLS)
def test_memory_kept_between_calls_changes_nothing(layer):
    """Calls of many sizes, whose memory is kept, against those of a layer that has none yet."""
    rng = np.random.default_rng(0)
    used, grads = layer(40, 90, seed=0), None
    for T, B in ((30, 20), (3, 2), (50, 9), (30, 20), (30, 20)):
        x, dy = (rng.standard_normal((T, B, columns)).astype(np.float32) for columns in (40, 90))
        before = None if grads is None else grads.x
        new = layer(40, 90, seed=0)
        y, _, tape = used.forward(x)
        expected_y, _, expected_tape = new.forward(x)
        grads, expected = used.backward(tape, dy, out=grads), new.backward(expected_tape, dy)
        np.testing.assert_array_equal(y, expected_y)
        np.testing.assert_array_equal(used(x)[0], expected_y)
        np.testing.assert_array_equal(grads.flat, expected.flat)
        np.testing.assert_array_equal(grads.x, expected.x)
        if before is not None:
            assert (grads.x is before) == (before.shape == x.shape)
