"""Numbers that are not ordinary: NaN, infinities, denormals; the same bits every time; the floating-point mode."""

import numpy as np
import pytest
from cases import DTYPES, GRU_FORMS, KINKED_TOO, gru_case, layer_norm_case, lstm_case, rnn_case
from helpers import assert_close, assert_same, reference_gru, reference_lstm, reference_rnn, run_gru, run_lstm, run_rnn

both_forms = pytest.mark.parametrize("reset_after", GRU_FORMS)
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)
batches = pytest.mark.parametrize("sizes", [(4, 3, 5, 9), (3, 9, 17, 33), (2, 50, 7, 17), (1, 2, 3, 5)], ids=str)


def rows(result, keep):
    """Return the results of single batch rows, for the rows to keep."""
    axes = {"y": 1, "h": 0, "c": 0, "dx": 1, "dh0": 0, "dc0": 0}
    return {name: np.compress(keep, array, axes[name]) for name, array in result.items() if name in axes}


@pytest.mark.parametrize("name", ["x", "h0", "c0", "dy", "dh", "dc"])
@batches
@both_dtypes
def test_nan_stays_in_its_row(sizes, name, dtype, isa):
    _, B, _, _ = sizes
    case = lstm_case(*sizes, dtype=dtype)
    clean = run_lstm(case)
    for row in {0, B // 2, B - 1}:
        bad = {key: array.copy() for key, array in case.items()}
        (bad[name][:, row] if case[name].ndim == 3 else bad[name][row])[...] = np.nan
        result = run_lstm(bad)
        others = np.arange(B) != row
        assert_same(rows(result, others), rows(clean, others))
        assert all(np.isnan(array).all() for array in rows(result, ~others).values() if name in ("x", "h0"))
        for gradient in ("dx", "dh0", "dc0"):
            assert np.isnan(rows(result, ~others)[gradient]).all(), gradient
        seen = result["dW"][: 3 * sizes[3]] if name == "dc" else result["dW"]  # o of the last step does not see dc
        assert np.isnan(seen).all()


@pytest.mark.parametrize("name", ["x", "h0", "c0", "dy", "dh", "dc"])
@batches
@both_dtypes
def test_layer_norm_nan_stays_in_its_row(sizes, name, dtype, isa):
    """One entry is enough: a row that is normalised is NaN as a whole."""
    _, B, _, _ = sizes
    case = layer_norm_case("vanilla", *sizes, dtype=dtype)
    clean = run_lstm(case)
    for row in {0, B // 2, B - 1}:
        bad = case | {name: case[name].copy()}
        (bad[name][0, row] if case[name].ndim == 3 else bad[name][row])[-1] = np.nan
        result = run_lstm(bad)
        others = np.arange(B) != row
        assert_same(rows(result, others), rows(clean, others))
        assert np.isnan(rows(result, ~others)["dx"][0]).all()
        assert np.isnan(result["y"][:, row]).all() == (name in ("x", "h0", "c0"))


@pytest.mark.parametrize("name", ["x", "h0", "dy", "dh"])
@both_forms
@batches
@both_dtypes
def test_gru_nan_stays_in_its_row(sizes, reset_after, name, dtype, isa):
    _, B, _, _ = sizes
    case = gru_case(*sizes, reset_after, dtype=dtype)
    clean = run_gru(case)
    for row in {0, B // 2, B - 1}:
        bad = case | {name: case[name].copy()}
        (bad[name][:, row] if case[name].ndim == 3 else bad[name][row])[...] = np.nan
        result = run_gru(bad)
        others = np.arange(B) != row
        assert_same(rows(result, others), rows(clean, others))
        assert np.isnan(rows(result, ~others)["dx"]).all()
        assert np.isnan(rows(result, ~others)["dh0"]).all()
        assert np.isnan(result["y"][:, row]).all() == (name in ("x", "h0"))


@pytest.mark.parametrize("nonlinearity", KINKED_TOO)
@batches
@both_dtypes
def test_rnn_nan_stays_in_its_row(sizes, nonlinearity, dtype, isa):
    _, B, _, _ = sizes
    case = rnn_case(*sizes, nonlinearity, dtype=dtype)
    clean = run_rnn(case, nonlinearity)
    for row in {0, B // 2, B - 1}:
        bad = case | {"x": case["x"].copy()}
        bad["x"][0, row, -1] = np.nan
        result = run_rnn(bad, nonlinearity)
        others = np.arange(B) != row
        assert_same(rows(result, others), rows(clean, others))
        assert np.isnan(result["y"][:, row]).all()


@pytest.mark.parametrize("t", [0, 2, 4])
def test_nan_reaches_only_what_depends_on_it(t, isa):
    """One entry of x^t: outputs from t on; and one entry of dy^t: gradients up to t."""
    case = lstm_case(5, 3, 7, 9)
    bad = case | {"x": case["x"].copy(), "dy": case["dy"].copy()}
    bad["x"][t, 1, 3] = np.nan
    y = run_lstm(bad)["y"]
    assert np.isnan(y[t:, 1]).all()
    assert_same({"y": y[:t]}, {"y": run_lstm(case)["y"][:t]})
    bad = case | {"dy": case["dy"].copy()}
    bad["dy"][t, 1, 3] = np.nan
    dx = run_lstm(bad)["dx"]
    assert np.isnan(dx[: t + 1, 1]).all()
    assert_same({"dx": dx[t + 1 :]}, {"dx": run_lstm(case)["dx"][t + 1 :]})


@pytest.mark.parametrize("B", [1, 9])
@both_dtypes
def test_nan_in_parameters(B, dtype, isa):
    """In one row of a gate's weights: that unit at the first step, everything afterwards."""
    H = 9
    for name in ("W", "R", "b"):
        for gate in range(4):
            case = lstm_case(3, B, 5, H, dtype=dtype)
            case[name][gate * H + 4] = np.nan
            y = run_lstm(case)["y"]
            assert np.isnan(y[0]).any(axis=0).nonzero()[0].tolist() == [4]
            assert np.isnan(y[0, :, 4]).all()
            assert np.isnan(y[1:]).all()
    for row in range(3):
        case = lstm_case(3, B, 5, H, dtype=dtype)
        case["p"][row, 4] = np.nan
        y = run_lstm(case)["y"]
        assert np.isnan(y[0]).any(axis=0).nonzero()[0].tolist() == [4]
        assert np.isnan(y[1:]).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("B", [1, 3, 9])
@both_dtypes
def test_infinite_input_saturates(B, value, dtype, isa):
    case = lstm_case(4, B, 7, 17, dtype=dtype)
    case["x"][1, 0, 3] = value
    with np.errstate(all="ignore"):
        expected = reference_lstm(case)
    found = run_lstm(case)
    assert np.isfinite(expected["y"]).all()
    tolerance = 2e-6 if dtype == np.float32 else 1e-13
    names = ("y", "h", "c")
    assert_close({name: found[name] for name in names}, {name: expected[name] for name in names}, tolerance)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("B", [1, 9])
@both_dtypes
def test_infinite_bias(B, value, dtype, isa):
    for peephole in (True, False):
        case = lstm_case(4, B, 7, 17, dtype=dtype, peephole=peephole)
        for gate in range(4):
            case["b"][gate * 17 + 3] = value
            with np.errstate(all="ignore"):
                expected = reference_lstm(case)["y"]
            assert np.isfinite(expected).all()
            assert_close({"y": run_lstm(case)["y"]}, {"y": expected}, 2e-6 if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("B", [1, 9])
@both_dtypes
def test_infinite_cell(B, sign, dtype, isa):
    """Without peepholes nothing sees it but tanh, which is 1 for large numbers as well."""
    case = lstm_case(4, B, 7, 17, dtype=dtype, peephole=False)
    case["c0"][0, 3] = sign * 1e30
    expected = run_lstm(case)
    case["c0"][0, 3] = sign * np.inf
    found = run_lstm(case)
    assert_same({"y": found["y"]}, {"y": expected["y"]})
    assert found["c"][0, 3] == sign * np.inf
    assert np.isfinite(found["c"]).sum() == found["c"].size - 1


@pytest.mark.parametrize("nonlinearity", ["tanh", "logistic"])
@both_dtypes
def test_rnn_infinite_input_saturates(nonlinearity, dtype, isa):
    for value in (np.inf, -np.inf):
        case = rnn_case(4, 9, 7, 17, nonlinearity, dtype=dtype)
        case["x"][1, 0, 3] = value
        with np.errstate(all="ignore"):
            expected = reference_rnn(case, nonlinearity)
        found = run_rnn(case, nonlinearity)
        assert set(np.abs(found["y"][1, 0])) <= {0, 1}
        assert_close({"y": found["y"]}, {"y": expected["y"]}, 2e-6 if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("B", [1, 3, 9])
@both_forms
@both_dtypes
def test_gru_infinite_input_saturates(reset_after, B, value, dtype, isa):
    case = gru_case(4, B, 7, 17, reset_after, dtype=dtype)
    case["x"][1, 0, 3] = value
    with np.errstate(all="ignore"):
        expected = reference_gru(case)
    found = run_gru(case)
    assert np.isfinite(expected["y"]).all()
    tolerance = 2e-6 if dtype == np.float32 else 1e-13
    assert_close({name: found[name] for name in "yh"}, {name: expected[name] for name in "yh"}, tolerance)


@both_forms
@both_dtypes
@pytest.mark.parametrize("B", [1, 9])
def test_gru_large_weights_saturate_without_nan(B, reset_after, dtype, isa):
    case = gru_case(6, B, 7, 17, reset_after, dtype=dtype)
    for name in ("W", "R", "b"):
        case[name] *= 300
    result = run_gru(case)
    assert all(np.isfinite(array).all() for array in result.values())
    assert (np.abs(result["y"]) <= max(1, np.abs(case["h0"]).max())).all()


@both_dtypes
@pytest.mark.parametrize("B", [1, 9])
def test_large_weights_saturate_without_nan(B, dtype, isa):
    """Values before activation in the hundreds, where e^x overflows, forward and backward."""
    case = lstm_case(6, B, 7, 17, dtype=dtype)
    for name in ("W", "R", "b", "p"):
        case[name] *= 300
    result = run_lstm(case)
    assert all(np.isfinite(array).all() for array in result.values())
    assert (np.abs(result["y"]) <= 1).all()


@both_dtypes
@pytest.mark.parametrize("B", [1, 9])
def test_denormal_inputs(B, dtype, isa):
    """Denormals may count as zero, so that results differ from the reference by denormals and rounding only."""
    tiny = np.finfo(dtype).smallest_subnormal
    case = lstm_case(3, B, 7, 17, dtype=dtype)
    for name in ("x", "h0", "c0", "b"):
        case[name] = (np.sign(case[name]) * 1000 * tiny).astype(dtype)
    found = run_lstm(case)
    for name, expected in reference_lstm(case).items():
        assert np.isfinite(found[name]).all()
        error = np.abs(found[name] - expected)
        assert (error <= 1e-5 * np.abs(expected).max() + 1e3 * np.finfo(dtype).tiny).all(), name


@both_dtypes
def test_state_passes_unchanged_through_no_steps(dtype):
    """Also denormals, infinities and the bits of NaN, in both directions."""
    case = lstm_case(0, 2, 3, 5, dtype=dtype)
    odd = [np.finfo(dtype).smallest_subnormal, np.inf, -np.inf, np.nan, -0.0]
    for name in ("h0", "c0", "dh", "dc"):
        case[name][0] = odd
    result = run_lstm(case)
    assert_same(
        {name: result[name] for name in ("h", "c", "dh0", "dc0")},
        {"h": case["h0"], "c": case["c0"], "dh0": case["dh"], "dc0": case["dc"]},
    )


def denormals_work():
    for dtype in DTYPES:
        tiny = np.full(64, np.finfo(dtype).smallest_subnormal, dtype)
        for size in (1, 64):
            if not ((tiny[:size] + tiny[:size]) == 2 * tiny[0]).all() or (tiny[:size] * dtype(1) == 0).any():
                return False
    return 5e-324 * 1.0 > 0


@pytest.mark.parametrize("num_threads", [1, 2, 3])
@pytest.mark.parametrize(
    "sizes", [(0, 1, 3, 5), (1, 1, 3, 5), (5, 3, 3, 5), (7, 50, 33, 65), (2, 2, 150, 150)], ids=str
)
def test_floating_point_mode_of_the_caller_is_kept(sizes, num_threads, isa):
    assert denormals_work()
    for dtype in DTYPES:
        run_lstm(lstm_case(*sizes, dtype=dtype), num_threads)
        assert denormals_work()
        run_lstm(layer_norm_case("vanilla", *sizes, dtype=dtype), num_threads)
        assert denormals_work()
        run_rnn(rnn_case(*sizes, "logistic", dtype=dtype), "logistic", num_threads)
        assert denormals_work()
        for reset_after in GRU_FORMS:
            run_gru(gru_case(*sizes, reset_after, dtype=dtype), num_threads)
            assert denormals_work()


@pytest.mark.parametrize("num_threads", [1, 2, 3])
@pytest.mark.parametrize(
    "sizes", [(5, 3, 7, 9), (7, 50, 33, 65), (600, 2, 17, 20), (3, 2, 150, 150), (4, 1, 200, 200)], ids=str
)
@both_dtypes
def test_repeats_bitwise(sizes, num_threads, dtype, isa):
    case = lstm_case(*sizes, dtype=dtype)
    first = run_lstm(case, num_threads)
    case_rnn = rnn_case(*sizes, "tanh", dtype=dtype)
    first_rnn = run_rnn(case_rnn, "tanh", num_threads)
    case_norm = layer_norm_case("vanilla", *sizes, dtype=dtype)
    first_norm = run_lstm(case_norm, num_threads)
    cases_gru = [gru_case(*sizes, reset_after, dtype=dtype) for reset_after in GRU_FORMS]
    first_grus = [run_gru(case_gru, num_threads) for case_gru in cases_gru]
    for _ in range(4):
        assert_same(run_lstm(case, num_threads), first)
        assert_same(run_lstm(case_norm, num_threads), first_norm)
        assert_same(run_rnn(case_rnn, "tanh", num_threads), first_rnn)
        for case_gru, first_gru in zip(cases_gru, first_grus, strict=True):
            assert_same(run_gru(case_gru, num_threads), first_gru)
