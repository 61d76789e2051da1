"""Every gradient against central finite differences in float64, for the kernels and for the reference itself."""

import numpy as np
import pytest
from cases import (
    GRU_ARGUMENTS,
    GRU_FORMS,
    LSTM_ARGUMENTS,
    NONLINEARITIES,
    RNN_ARGUMENTS,
    gru_case,
    lstm_case,
    rnn_case,
    variant_case,
)
from differences import check_directions, check_every_entry
from helpers import (
    assert_same,
    gru_forward,
    lstm_forward,
    reference_gru,
    reference_lstm,
    reference_rnn,
    rnn_forward,
    run_gru,
    run_lstm,
    run_rnn,
)

from fastlstm import reference

SMALL = [(T, B, 3, 5) for T in (1, 2, 7) for B in (1, 2, 7)] + [(3, 3, 1, 1), (5, 3, 9, 7), (3, 5, 2, 9), (13, 1, 7, 3)]
WIDTHS = [(1, 7), (7, 1), (8, 15), (15, 8), (16, 17), (17, 16), (31, 33), (33, 31), (1, 65), (65, 16), (65, 65)]


def loss(case, result):
    """J, whose gradients a result holds; a missing gradient from above is zero."""
    pairs = {"dy": "y", "dh": "h", "dc": "c", "dg": "g"}
    return sum(np.sum(case[d] * result[name]) for d, name in pairs.items() if case.get(d) is not None)


def lstm_loss(case):
    y, (h, c), _ = lstm_forward(case)
    return loss(case, {"y": y, "h": h, "c": c})


def rnn_loss(case, nonlinearity):
    y, h, _ = rnn_forward(case, nonlinearity)
    return loss(case, {"y": y, "h": h})


# ---- LSTM ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peephole", [True, False])
@pytest.mark.parametrize("sizes", SMALL, ids=str)
def test_lstm_every_entry(sizes, peephole):
    case = lstm_case(*sizes, peephole=peephole)
    check_every_entry(lstm_loss, case, run_lstm(case), LSTM_ARGUMENTS)


@pytest.mark.parametrize("peephole", [True, False])
@pytest.mark.parametrize(("I", "H"), WIDTHS)
@pytest.mark.parametrize(("T", "B"), [(3, 2), (2, 9)])
def test_lstm_around_vector_widths(T, B, I, H, peephole):
    case = lstm_case(T, B, I, H, peephole=peephole)
    check_directions(lstm_loss, case, run_lstm(case), LSTM_ARGUMENTS)


@pytest.mark.parametrize("peephole", [True, False])
@pytest.mark.parametrize("sizes", [(60, 9, 3, 5), (530, 1, 2, 3)], ids=str)
def test_lstm_over_several_blocks_of_steps(sizes, peephole):
    case = lstm_case(*sizes, peephole=peephole)
    check_directions(lstm_loss, case, run_lstm(case), LSTM_ARGUMENTS)


@pytest.mark.parametrize("peephole", [True, False])
@pytest.mark.parametrize("sizes", [(1, 1, 3, 5), (4, 2, 3, 5), (7, 3, 2, 4)], ids=str)
def test_reference_lstm_every_entry(sizes, peephole):
    def J(case):
        return loss(case, reference_lstm(case))

    case = lstm_case(*sizes, peephole=peephole)
    check_every_entry(J, case, reference_lstm(case), LSTM_ARGUMENTS)


@pytest.mark.parametrize("run", [run_lstm, reference_lstm])
@pytest.mark.parametrize("only", ["dy", "dh", "dc"])
@pytest.mark.parametrize("T", [1, 4])
def test_lstm_each_gradient_from_above_alone(T, only, run):
    case = lstm_case(T, 2, 3, 5)
    case |= {name: None for name in ("dy", "dh", "dc") if name != only}
    result = run(case)
    # With one step, dc does not pass the output gate: those gradients are zero, and exactly so.
    if T == 1 and only == "dc":
        assert not result["dp"][2].any()
        assert not np.split(result["dR"], 4)[3].any()
    check_every_entry(lstm_loss, case, result, LSTM_ARGUMENTS)


@pytest.mark.parametrize("run", [run_lstm, reference_lstm])
@pytest.mark.parametrize("t", [0, 1, 4])
def test_lstm_gradient_from_a_single_step(t, run):
    case = lstm_case(5, 2, 3, 5) | {"dh": None, "dc": None}
    case["dy"][np.arange(5) != t] = 0
    result = run(case)
    assert not result["dx"][t + 1 :].any()
    assert all(step.any() for step in result["dx"][: t + 1])
    check_every_entry(lstm_loss, case, result, LSTM_ARGUMENTS)


@pytest.mark.parametrize("row", [0, 1, 2])
def test_each_peephole_alone(row):
    case = lstm_case(4, 2, 3, 5)
    case["p"][np.arange(3) != row] = 0
    result = run_lstm(case)
    assert result["dp"].all()
    check_every_entry(lstm_loss, case, result, LSTM_ARGUMENTS)


def test_lstm_from_the_zero_state():
    """h0 and c0 of zero: the first step adds nothing to dR, dp_i and dp_f, and its own share to dp_o."""
    case = lstm_case(1, 2, 3, 5)
    case["h0"][:], case["c0"][:] = 0, 0
    result = run_lstm(case)
    assert not result["dR"].any()
    assert not result["dp"][:2].any()
    assert result["dp"][2].all()
    check_every_entry(lstm_loss, case, result, ("x", "W", "b", "h0", "c0"))


# ---- simple RNN ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("sizes", SMALL, ids=str)
def test_rnn_every_entry(sizes, nonlinearity):
    case = rnn_case(*sizes, nonlinearity)
    check_every_entry(lambda case: rnn_loss(case, nonlinearity), case, run_rnn(case, nonlinearity), RNN_ARGUMENTS)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize(("I", "H"), WIDTHS)
@pytest.mark.parametrize(("T", "B"), [(3, 2), (2, 9), (60, 9)])
def test_rnn_around_vector_widths(T, B, I, H, nonlinearity):
    case = rnn_case(T, B, I, H, nonlinearity)
    check_directions(lambda case: rnn_loss(case, nonlinearity), case, run_rnn(case, nonlinearity), RNN_ARGUMENTS)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("sizes", [(1, 1, 3, 5), (4, 2, 3, 5)], ids=str)
def test_reference_rnn_every_entry(sizes, nonlinearity):
    def J(case):
        return loss(case, reference_rnn(case, nonlinearity))

    case = rnn_case(*sizes, nonlinearity)
    check_every_entry(J, case, reference_rnn(case, nonlinearity), RNN_ARGUMENTS)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("only", ["dy", "dh"])
def test_rnn_each_gradient_from_above_alone(only, nonlinearity):
    case = rnn_case(3, 2, 3, 5, nonlinearity)
    case |= {name: None for name in ("dy", "dh") if name != only}
    check_every_entry(lambda case: rnn_loss(case, nonlinearity), case, run_rnn(case, nonlinearity), RNN_ARGUMENTS)


@pytest.mark.parametrize("t", [0, 1, 4])
def test_rnn_gradient_from_a_single_step(t):
    case = rnn_case(5, 2, 3, 5, "tanh") | {"dh": None}
    case["dy"][np.arange(5) != t] = 0
    result = run_rnn(case, "tanh")
    assert not result["dx"][t + 1 :].any()
    assert all(step.any() for step in result["dx"][: t + 1])
    check_every_entry(lambda case: rnn_loss(case, "tanh"), case, result, RNN_ARGUMENTS)


# ---- GRU -------------------------------------------------------------------------------------------------------------


def gru_loss(case):
    y, h, _ = gru_forward(case)
    return loss(case, {"y": y, "h": h})


def reference_gru_loss(case):
    return loss(case, reference_gru(case))


@pytest.mark.parametrize("reset_after", GRU_FORMS)
@pytest.mark.parametrize("sizes", SMALL, ids=str)
def test_gru_every_entry(sizes, reset_after):
    case = gru_case(*sizes, reset_after)
    check_every_entry(gru_loss, case, run_gru(case), GRU_ARGUMENTS)


@pytest.mark.parametrize("reset_after", GRU_FORMS)
@pytest.mark.parametrize(("I", "H"), WIDTHS)
@pytest.mark.parametrize(("T", "B"), [(3, 2), (2, 9), (60, 9)])
def test_gru_around_vector_widths(T, B, I, H, reset_after):
    case = gru_case(T, B, I, H, reset_after)
    check_directions(gru_loss, case, run_gru(case), GRU_ARGUMENTS)


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("sizes", [(1, 1, 3, 5), (4, 2, 3, 5), (7, 3, 2, 4)], ids=str)
def test_reference_gru_every_entry(sizes, reset_after):
    case = gru_case(*sizes, reset_after)
    check_every_entry(reference_gru_loss, case, reference_gru(case), GRU_ARGUMENTS)


@pytest.mark.parametrize("run", [run_gru, reference_gru])
@pytest.mark.parametrize("reset_after", GRU_FORMS)
@pytest.mark.parametrize("only", ["dy", "dh"])
def test_gru_each_gradient_from_above_alone(only, reset_after, run):
    case = gru_case(3, 2, 3, 5, reset_after)
    case |= {name: None for name in ("dy", "dh") if name != only}
    check_every_entry(reference_gru_loss, case, run(case), GRU_ARGUMENTS)


@pytest.mark.parametrize("reset_after", GRU_FORMS)
@pytest.mark.parametrize("t", [0, 1, 4])
def test_gru_gradient_from_a_single_step(t, reset_after):
    case = gru_case(5, 2, 3, 5, reset_after) | {"dh": None}
    case["dy"][np.arange(5) != t] = 0
    result = run_gru(case)
    assert not result["dx"][t + 1 :].any()
    assert all(step.any() for step in result["dx"][: t + 1])
    check_every_entry(gru_loss, case, result, GRU_ARGUMENTS)


@pytest.mark.parametrize("reset_after", GRU_FORMS)
def test_gru_from_the_zero_state(reset_after):
    """Nothing goes into dR then, and r has no gradient but through bn."""
    case = gru_case(1, 2, 3, 5, reset_after)
    case["h0"][:] = 0
    result = run_gru(case)
    assert not result["dR"].any()
    assert result["dW"][:5].any() == reset_after
    check_every_entry(gru_loss, case, result, ("x", "W", "b", "bn", "h0"))


def test_reference_gru_forms_agree_where_r_is_one():
    """With r = 1 both forms are the same cell, whose bn then adds to b_n; r itself has no gradients."""
    after, H = gru_case(4, 2, 3, 5), 5
    for name in ("W", "R"):
        after[name][:H] = 0
    after["b"][:H] = 1000
    before = after | {"bn": None, "b": after["b"] + np.concatenate([np.zeros(2 * H), after["bn"]])}
    found, expected = reference_gru(after), reference_gru(before)
    np.testing.assert_array_equal(found["dbn"], found["db"][2 * H :])
    for name in found.keys() - {"dbn"}:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-12, err_msg=name)


# ---- the checks themselves -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LSTM_ARGUMENTS)
def test_a_wrong_entry_is_noticed(name):
    case = lstm_case(3, 2, 3, 5)
    result = run_lstm(case)
    result[f"d{name}"].flat[-1] += 1e-7 * np.abs(result[f"d{name}"]).max()
    with pytest.raises(AssertionError, match=f"d{name}"):
        check_every_entry(lstm_loss, case, result, LSTM_ARGUMENTS)


@pytest.mark.parametrize("name", LSTM_ARGUMENTS)
def test_a_wrong_gradient_is_noticed_along_directions(name):
    case = lstm_case(3, 2, 17, 33)
    result = run_lstm(case)
    result[f"d{name}"] *= 1 + 1e-7
    with pytest.raises(AssertionError, match=f"d{name}"):
        check_directions(lstm_loss, case, result, LSTM_ARGUMENTS)


@pytest.mark.parametrize("sizes", [(1, 2, 3, 4), (2, 1, 2, 3), (5, 2, 3, 4)], ids=str)
@pytest.mark.parametrize("variant", reference.BLOCKS)
def test_reference_variants(variant, sizes):
    """The specification of all nine cells; those of the kernels are in test_options.py."""
    case = variant_case(variant, *sizes)
    if variant == "NP":
        case["p"][:] = 0

    def J(changed):
        return loss(changed, reference_lstm(changed, variant))

    names = (*LSTM_ARGUMENTS, *(("G", "g0") if variant == "FGR" else ()))
    check_every_entry(J, case, reference_lstm(case, variant), names)


def test_reference_gates_before_the_first_step_are_zero_unless_given():
    case = variant_case("FGR", 4, 2, 3, 5)
    found = reference_lstm(case | {"g0": None, "dg": None}, "FGR")
    zero = np.zeros((2, 15))
    assert_same(found, reference_lstm(case | {"g0": zero, "dg": zero}, "FGR"))


def test_reference_variants_with_one_gate_that_never_moves():
    """A variant without a gate is the vanilla cell with that gate held open."""
    case, held = variant_case("vanilla", 4, 2, 3, 5), {"NIG": "i", "NFG": "f", "NOG": "o"}
    for variant, gate in held.items():
        lacking, full = variant_case(variant, 4, 2, 3, 5), {name: array.copy() for name, array in case.items()}
        at = "ifzo".index(gate)
        for name in ("W", "R"):
            np.split(full[name], 4)[at][:] = 0
        np.split(full["b"], 4)[at][:] = 1000  # sigma is 1
        full["p"]["ifo".index(gate)] = 0
        found, expected = reference_lstm(lacking, variant), reference_lstm(full, "vanilla")
        for name in ("y", "h", "c", "dx", "dh0", "dc0"):
            np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-12)
