"""The GRU with every option of a call, in both forms: values by hand, gradients, and each way of computing them."""

import itertools

import numpy as np
import pytest
from cases import DTYPES, GRU_ARGUMENTS, GRU_FORMS, UNIT_OPTIONS, B, H, I, T, converted, gru_case, joined, unit_options
from differences import check_every_entry
from helpers import assert_close, assert_same, gru_arrays, gru_backward, gru_forward, run_gru
from hypothesis import given, settings
from hypothesis import strategies as st
from separate import recording_by_recording, row_by_row

import fastlstm
from fastlstm import GRU
from fastlstm.reference.activations import activation

both_forms = pytest.mark.parametrize("reset_after", GRU_FORMS)
SINGLE = [set(), *({name} for name in UNIT_OPTIONS)]
PAIRS = [set(pair) for pair in itertools.combinations(UNIT_OPTIONS, 2)]
EVERY = [*SINGLE, *PAIRS, set(UNIT_OPTIONS), set(UNIT_OPTIONS) - {"zero"}]
SIGMA, G = "hard_logistic", ("hard_logistic", 1.5, 0.4)
ACTIVATIONS = [("logistic", "tanh"), (SIGMA, "relu"), (G, "identity"), ("logistic", G), (SIGMA, "logistic")]


def by_hand(
    case, lengths=None, reverse=False, reset=None, reset_to="initial", recurrent_mask=None, zoneout=None,
    activations=("logistic", "tanh"),
):  # fmt: skip
    """Return y and the last h, row by row and step by step, with each option as the documentation says."""
    x, W, R, b, bn, h0 = (case[name] for name in GRU_ARGUMENTS)
    (T, B, _), H = x.shape, R.shape[1]
    (W_r, W_z, W_n), (R_r, R_z, R_n), (b_r, b_z, b_n) = (np.split(array, 3) for array in (W, R, b))
    (sigma, _), (g, _) = map(activation, activations)
    y, last = np.zeros((T, B, H)), h0.copy()
    for row in range(B):
        end = T if lengths is None else lengths[row]
        first = h0[row]
        h = first
        for t in reversed(range(end)) if reverse else range(end):
            if reset is not None and (t + 1 < end and reset[t + 1, row] if reverse else reset[t, row]):
                h = first if reset_to == "initial" else np.zeros(H)
            seen = h if recurrent_mask is None else recurrent_mask[row] * h
            r, z = sigma(W_r @ x[t, row] + R_r @ seen + b_r), sigma(W_z @ x[t, row] + R_z @ seen + b_z)
            from_h = R_n @ (r * seen) if bn is None else r * (R_n @ seen + bn)
            new = (1 - z) * g(W_n @ x[t, row] + b_n + from_h) + z * h
            h = new if zoneout is None else zoneout[t, row] * h + (1 - zoneout[t, row]) * new
            y[t, row] = h
        last[row] = h
    return {"y": y, "h": last}


@both_forms
@pytest.mark.parametrize("names", EVERY, ids=joined)
def test_values_by_hand(names, reset_after, isa):
    for sizes in ((5, 3, 4, 7), (12, 9, 5, 33), (6, 1, 3, 150)):
        T, B, _, H = sizes
        case, options = gru_case(*sizes, reset_after), unit_options(names, T, B, H)
        y, h, _ = gru_forward(case, **options)
        assert_close({"y": y, "h": h}, by_hand(case, **options), 1e-13)
        y_kept, h_kept, _ = gru_forward(case, tape=True, **options)
        assert_same({"y": y_kept, "h": h_kept}, {"y": y, "h": h})


@both_forms
@pytest.mark.parametrize("names", EVERY, ids=joined)
def test_gradients(names, reset_after, isa):
    case, options = gru_case(T, B, I, H, reset_after), unit_options(names, T, B, H)

    def loss(case):
        y, h, _ = gru_forward(case, **options)
        return np.sum(y * case["dy"]) + np.sum(h * case["dh"])

    found = run_gru(case, **options)
    nonzero = [name for name in GRU_ARGUMENTS if case[name] is not None and found[f"d{name}"].any()]
    assert set(GRU_ARGUMENTS) - {"h0", "bn"} <= set(nonzero)
    assert ("bn" in nonzero) == reset_after
    check_every_entry(loss, case, found, nonzero)


@both_forms
@pytest.mark.parametrize("names", [set(), {"lengths", "mask"}, {"reverse", "reset", "zone"}], ids=joined)
@pytest.mark.parametrize("activations", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_activations(dtype, activations, names, reset_after, isa):
    for sizes in ((5, 3, 4, 7), (12, 9, 5, 33), (6, 1, 3, 150)):
        T, B, _, H = sizes
        case, options = gru_case(*sizes, reset_after), unit_options(names, T, B, H) | {"activations": activations}
        expected = by_hand(case, **options)
        given = {
            name: values.astype(dtype) for name, values in options.items() if name in ("recurrent_mask", "zoneout")
        }
        y, h, _ = gru_forward(converted(case, dtype), **options | given)
        assert_close({"y": y, "h": h}, expected, {np.float32: 1e-5, np.float64: 1e-13}[dtype])


@both_forms
@pytest.mark.parametrize("names", [set(), {"lengths", "mask"}, {"reverse", "reset", "zone"}], ids=joined)
@pytest.mark.parametrize("activations", ACTIVATIONS, ids=str)
def test_gradients_of_activations(activations, names, reset_after, isa):
    case, options = gru_case(T, B, I, H, reset_after), unit_options(names, T, B, H) | {"activations": activations}

    def loss(case):
        y, h, _ = gru_forward(case, **options)
        return np.sum(y * case["dy"]) + np.sum(h * case["dh"])

    found = run_gru(case, **options)
    nonzero = [name for name in GRU_ARGUMENTS if case[name] is not None and found[f"d{name}"].any()]
    assert {"x", "W", "R", "b"} <= set(nonzero)
    check_every_entry(loss, case, found, nonzero, step=1e-5, tolerance=2e-8)  # A step must not cross a kink.
    full = fastlstm.reference.gru_forward(*(case[name] for name in GRU_ARGUMENTS), reset_after, activations)[1]
    if names == set():
        expected = fastlstm.reference.gru_backward(full, case["W"], case["R"], case["dy"], case["dh"], activations)
        assert_close({"dx": found["dx"]}, {"dx": expected.x}, 1e-12)


@settings(max_examples=100, deadline=None)
@given(
    reset_after=st.sampled_from(GRU_FORMS),
    names=st.sets(st.sampled_from(UNIT_OPTIONS)),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), st.integers(1, 9)),
    seed=st.integers(0, 10),
)
def test_any_options(reset_after, names, sizes, seed):
    T, B, _, H = sizes
    case, options = gru_case(*sizes, reset_after, seed=seed), unit_options(names, T, B, H, seed=seed)
    y, h, _ = gru_forward(case, **options)
    assert_close({"y": y, "h": h}, by_hand(case, **options), 1e-13)
    assert_close(run_gru(case, **options), row_by_row(case, options, run_gru), 1e-11)


@pytest.mark.parametrize("sizes", [(7, 9, 5, 17), (20, 33, 9, 17), (3, 2, 150, 150), (70, 1, 200, 200)], ids=str)
@pytest.mark.parametrize("names", [set(), {"lengths", "reverse"}, {"lengths", "reset", "mask"}, {"zone"}], ids=joined)
@both_forms
def test_one_way_of_computing_is_another(reset_after, names, sizes, isa):
    """Rows one by one on one thread, against all at once on any number of them."""
    T, B, _, H = sizes
    case, options = gru_case(*sizes, reset_after), unit_options(names, T, B, H)
    expected = row_by_row(case, options, run_gru)
    for num_threads in (1, 2, 3):
        assert_close(run_gru(case, num_threads, **options), expected, 1e-11)


@both_forms
@pytest.mark.parametrize(
    "names", [(), ("lengths",), ("zero",), ("mask", "zone"), ("lengths", "zero", "zone")], ids=joined
)
@pytest.mark.parametrize("reverse", [(), ("reverse",)], ids=["forward", "reverse"])
def test_each_recording_as_alone(reverse, names, reset_after, isa):
    case, options = gru_case(9, 5, 3, 7, reset_after), unit_options({"reset", *names, *reverse}, 9, 5, 7)
    assert_close(run_gru(case, **options), recording_by_recording(case, options, run_gru), 1e-11)


@both_forms
def test_reverse_is_time_turned_round(reset_after, isa):
    case = gru_case(9, 5, 7, 17, reset_after)
    turned = case | {name: np.ascontiguousarray(case[name][::-1]) for name in ("x", "dy")}
    found, expected = run_gru(case, reverse=True), run_gru(turned)
    for name in ("y", "dx"):
        expected[name] = expected[name][::-1]
    assert_close(found, expected, 1e-13)


@pytest.mark.parametrize(
    ("activations", "message"),
    [
        (("tanh", "tanh"), "must be one of logistic, hard_logistic, not 'tanh'"),
        (("logistic", "sigmoid"), "must be one of tanh, .*, not 'sigmoid'"),
        (("logistic",), "must be a tuple of two names: of the gates and g, not \\('logistic',\\)"),
        (["logistic", "tanh"], "must be a tuple of two names"),
    ],
)
def test_activations_that_are_none(activations, message):
    x, W, R, b, bn, _ = (gru_case(T, B, I, H)[name] for name in GRU_ARGUMENTS)
    for call in (
        lambda: GRU(I, H, activations=activations),
        lambda: fastlstm.gru_forward(x, W, R, b, bn, activations=activations),
    ):
        with pytest.raises(ValueError, match=f"^activations {message}"):
            call()


@both_forms
@pytest.mark.parametrize("T", [0, 1, 2])
@pytest.mark.parametrize("reverse", [False, True])
def test_rows_without_a_step(T, reverse, reset_after, isa):
    """Their state, and the gradient that arrives at it, go through unchanged."""
    case, options = gru_case(T, 4, I, H, reset_after), {"lengths": np.array([0, T, 0, T]), "reverse": reverse}
    found = run_gru(case, **options)
    assert_close(found, row_by_row(case, options, run_gru), 1e-13)
    assert_same({"h": found["h"][::2], "dh0": found["dh0"][::2]}, {"h": case["h0"][::2], "dh0": case["dh"][::2]})


@both_forms
@pytest.mark.parametrize("names", [(), ("mask", "zone"), ("zero", "reverse"), ("lengths",)], ids=joined)
@pytest.mark.parametrize("sizes", [(7, 3, 5, 19), (40, 20, 3, 40), (1, 1, 3, 8)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_deltas(dtype, sizes, names, reset_after, isa):
    """They give the gradients, and to ask for them changes not a bit."""
    T, B, _, H = sizes
    case, options = gru_case(*sizes, reset_after, dtype=dtype), unit_options({*names}, T, B, H, dtype=dtype)
    _, _, tape = gru_forward(case, tape=True, **options)
    expected, found = (gru_backward(case, tape, deltas=deltas) for deltas in (False, True))
    assert_same(gru_arrays(found), gru_arrays(expected))
    deltas = found.deltas
    assert all(array.shape == (T, B, H) for array in deltas)
    delta = np.concatenate([deltas.r, deltas.z, deltas.n], axis=-1)
    sums = {"db": delta.sum((0, 1)), "dx": delta @ case["W"], "dW": np.einsum("tbg,tbi->gi", delta, case["x"])}
    assert_close(sums, {name: gru_arrays(found)[name] for name in sums}, 1e-12 if dtype == np.float64 else 1e-5)


@both_forms
@pytest.mark.parametrize("names", [(), ("mask", "zone"), ("reset",)], ids=joined)
@pytest.mark.parametrize("sizes", [(9, 5, 3, 7), (40, 3, 5, 17), (9, 1, 150, 150)], ids=str)
def test_chunks_are_the_whole(sizes, names, reset_after, isa):
    """Forward and backward, with the state and its gradient handed on."""
    T, B, _, H = sizes
    case, options = gru_case(*sizes, reset_after), unit_options({*names}, T, B, H)
    if "reset" in options:
        options |= {"reset_to": "zero"}  # later chunks have another initial state
    expected, chunks, state = run_gru(case, num_threads=2, **options), [], case["h0"]
    for start, end in itertools.pairwise((0, T // 3, T // 3 + 1, T)):
        own, at = dict(options), slice(start, end)
        own |= {name: own[name][at] for name in ("reset", "zoneout") if name in own}
        y, state, tape = gru_forward(case | {"x": case["x"][at], "h0": state}, tape=True, num_threads=2, **own)
        chunks.append((at, y, tape))
    total, above = {"y": np.concatenate([y for _, y, _ in chunks]), "h": state}, case["dh"]
    for at, _, tape in reversed(chunks):
        grads = gru_arrays(gru_backward(case | {"dy": case["dy"][at], "dh": above}, tape, num_threads=2))
        above = total["dh0"] = grads.pop("dh0")
        total["dx"] = np.concatenate([grads.pop("dx"), total.get("dx", case["x"][:0])])
        for name, array in grads.items():
            total[name] = total.get(name, 0) + array
    assert_close(total, expected, 1e-11)


# ---- recompute -------------------------------------------------------------------------------------------------------


@both_forms
@pytest.mark.parametrize("names", EVERY, ids=joined)
@pytest.mark.parametrize("sizes", [(60, 30, 3, 7), (1100, 1, 9, 17), (9, 130, 3, 33)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_recompute(dtype, sizes, names, reset_after):
    """Not a bit differs, whatever the number of steps that are kept and of threads."""
    T, B, _, H = sizes
    case, options = gru_case(*sizes, reset_after, dtype=dtype), unit_options(names, T, B, H, dtype=dtype)
    for num_threads in (1, 2):
        expected = run_gru(case, num_threads, **options)
        for k in (1, 18):
            assert_same(run_gru(case, num_threads, recompute=k, **options), expected)


@both_forms
@pytest.mark.parametrize("recompute", [None, 1])
def test_workspace_is_large_enough_and_need_not_be_clean(recompute, reset_after):
    sizes = 60, 30, 3, 7
    case = gru_case(*sizes, reset_after, dtype=np.float32)
    for names in (set(), set(UNIT_OPTIONS)):
        options = unit_options(names, *sizes[:2], sizes[3], dtype=np.float32)
        size = fastlstm.gru_workspace(*sizes, reset_after=reset_after, recompute=recompute)
        space = np.full(size, np.nan, np.float32)
        y, h, tape = gru_forward(case, tape=True, recompute=recompute, workspace=space, **options)
        space[:] = np.nan
        found = {"y": y, "h": h} | gru_arrays(gru_backward(case, tape, workspace=space))
        assert_same(found, run_gru(case, **options))
        with pytest.raises(ValueError, match="workspace"):
            gru_backward(case, tape, workspace=np.empty(10, np.float32))


# ---- batch_invariant -------------------------------------------------------------------------------------------------


@both_forms
@pytest.mark.parametrize("names", [set(), {"lengths", "reverse"}, {"reset", "mask", "zone"}], ids=joined)
@pytest.mark.parametrize("sizes", [(12, 15, 3, 5), (12, 30, 17, 33), (1, 7, 40, 130), (5, 15, 300, 520)], ids=str)
def test_a_row_alone_and_among_others(sizes, names, reset_after, isa):
    T, B, _, H = sizes
    case = gru_case(*sizes, reset_after, dtype=np.float32)
    options = unit_options(names, T, B, H, dtype=np.float32)

    def run(case, num_threads, **options):
        found = run_gru(case, num_threads, batch_invariant=True, **options)
        return {name: found[name] for name in ("y", "h", "dx", "dh0")}

    expected = {name: a.astype(np.float32) for name, a in row_by_row(case, options, run).items()}
    for num_threads in (1, 2):
        assert_same(run(case, num_threads, **options), expected)


# ---- what is not one of the options ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 1, "yes", np.array([True])])
def test_reset_after_must_be_a_bool(value):
    arguments = [gru_case(T, B, I, H)[name] for name in GRU_ARGUMENTS]
    for call in (
        lambda: fastlstm.gru_forward(*arguments, reset_after=value),
        lambda: fastlstm.gru_workspace(T, B, I, H, reset_after=value),
        lambda: GRU(I, H, reset_after=value),
    ):
        with pytest.raises(TypeError, match=r"^reset_after must be a bool, not "):
            call()


def test_bn_is_there_where_the_form_has_it():
    x, W, R, b, bn, h0 = (gru_case(T, B, I, H)[name] for name in GRU_ARGUMENTS)
    missing, given = r"^bn must be given with reset_after", r"^bn must be None without reset_after"
    with pytest.raises(ValueError, match=missing):
        fastlstm.gru_forward(x, W, R, b)
    with pytest.raises(ValueError, match=given):
        fastlstm.gru_forward(x, W, R, b, bn, h0, reset_after=False)
    _, _, tape = fastlstm.gru_forward(x, W, R, b, bn, h0, tape=True)
    with pytest.raises(ValueError, match=missing):
        fastlstm.gru_backward(tape, W, R, None, None)
