"""The kernels against fastlstm.reference: every instruction set, both precisions, all sizes at which the code branches.

The reference runs in float64 on the same numbers. Float64 kernels may differ by rounding alone: 1e-13 of the largest
value. In float32 the unit of rounding is 6e-8; weights that do not let errors grow, activations good to 3 ulp, and sums
of up to 5000 terms in blocks leave some 50 units: 4e-6.
"""

import functools

import numpy as np
import pytest
from cases import (
    DTYPES,
    GRU_ARGUMENTS,
    GRU_FORMS,
    KINKED_TOO,
    converted,
    gru_case,
    layer_norm_case,
    lstm_case,
    rnn_case,
)
from helpers import (
    assert_close,
    assert_same,
    gru_forward,
    lstm_forward,
    reference_gru,
    reference_layer_norm_lstm,
    reference_lstm,
    reference_rnn,
    rnn_forward,
    run_gru,
    run_lstm,
    run_rnn,
)

from fastlstm import reference

TOLERANCE = {np.float32: 4e-6, np.float64: 1e-13}
THREADS = (1, 2, 3)

SIZES = [
    # (T, B, I, H): nothing, one, few
    *((T, B, 3, 5) for T in (0, 1, 2, 7) for B in (0, 1, 2, 7)),
    # widths of vectors and their tails; no input at all
    *((T, B, I, H) for T, B in ((1, 1), (5, 3), (3, 9)) for I, H in ((7, 1), (1, 7), (3, 8), (8, 3), (17, 15), (15, 16),
      (16, 17), (33, 31), (31, 33), (2, 65), (65, 2), (0, 4), (0, 17), (5, 128))),
    # around 8 rows, from which weights are packed and inputs folded
    (4, 2, 5, 9), (9, 1, 5, 9), (8, 1, 9, 5), (1, 8, 5, 9), (2, 8, 9, 5), (1, 9, 5, 9), (3, 7, 9, 20),
    # a single row with packed weights: whole panels, and a last one of half a vector's units
    (20, 1, 5, 24), (20, 1, 0, 12), (17, 1, 7, 6), (18, 1, 33, 8), (20, 1, 5, 40),
    # large batches, over 48 rows; tails of blocks of rows
    (2, 33, 7, 17), (3, 48, 7, 17), (3, 49, 3, 33), (7, 50, 33, 65), (3, 100, 17, 31), (2, 131, 5, 16),
    # more than one block of 512 rows
    (513, 1, 3, 5), (600, 1, 0, 9), (257, 2, 5, 7), (75, 7, 5, 7), (65, 8, 7, 9), (20, 33, 9, 17), (11, 50, 7, 33),
    (6, 100, 5, 7),
    # enough work per step to divide the hidden units among threads
    (4, 1, 200, 200), (3, 2, 70, 150), (3, 3, 130, 161), (2, 5, 150, 150),
]  # fmt: skip

# Of the layer-normalised LSTM, whose rows are computed one by one: nothing, one, few; tails of vectors and of sums of
# four vectors; more than 8 rows, 48 and 512. One unit has a test of its own. A normalised row is |v| / sqrt(variance)
# times as far off as v, about 5 in these cases.
NORM_TOLERANCE = {np.float32: 2e-5, np.float64: 1e-13}
NORM_SIZES = [
    *((T, B, 3, 5) for T in (0, 1, 2) for B in (0, 1, 7)), (1, 1, 1, 2), (5, 3, 8, 3), (3, 9, 17, 15), (4, 2, 15, 16),
    (3, 3, 31, 33), (2, 2, 2, 65), (2, 1, 0, 17), (2, 2, 5, 128), (2, 49, 3, 9), (3, 100, 5, 7), (3, 260, 3, 9),
    (2, 520, 3, 5), (2, 3, 130, 161),
]  # fmt: skip

lstm_expected = functools.cache(lambda sizes, peephole: reference_lstm(lstm_case(*sizes, peephole=peephole)))
gru_expected = functools.cache(lambda sizes, reset_after: reference_gru(gru_case(*sizes, reset_after)))
norm_expected = functools.cache(lambda sizes, v: reference_layer_norm_lstm(layer_norm_case(v, *sizes), v))
rnn_expected = functools.cache(lambda sizes, g: reference_rnn(rnn_case(*sizes, g), g))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("peephole", [True, False])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_lstm(sizes, peephole, dtype, isa):
    case = lstm_case(*sizes, peephole=peephole, dtype=dtype)
    for num_threads in THREADS:
        result = run_lstm(case, num_threads)
        assert all(array.dtype == dtype for array in result.values())
        assert_close(result, lstm_expected(sizes, peephole), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reset_after", GRU_FORMS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_gru(sizes, reset_after, dtype, isa):
    case = gru_case(*sizes, reset_after, dtype=dtype)
    for num_threads in THREADS:
        result = run_gru(case, num_threads)
        assert all(array.dtype == dtype for array in result.values())
        assert_close(result, gru_expected(sizes, reset_after), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", ["vanilla", "NP", "CIFG"])
@pytest.mark.parametrize("sizes", NORM_SIZES, ids=str)
def test_layer_norm_lstm(sizes, variant, dtype, isa):
    case = layer_norm_case(variant, *sizes, dtype=dtype)
    for num_threads in THREADS:
        result = run_lstm(case, num_threads, variant=variant)
        assert all(array.dtype == dtype for array in result.values())
        assert_close(result, norm_expected(sizes, variant), NORM_TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("nonlinearity", KINKED_TOO)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_rnn(sizes, nonlinearity, dtype, isa):
    case = rnn_case(*sizes, nonlinearity, dtype=dtype)
    for num_threads in THREADS:
        result = run_rnn(case, nonlinearity, num_threads)
        assert all(array.dtype == dtype for array in result.values())
        assert_close(result, rnn_expected(sizes, nonlinearity), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("peephole", [True, False])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_lstm_tape_changes_nothing(sizes, peephole, dtype, isa):
    case = lstm_case(*sizes, peephole=peephole, dtype=dtype)
    for num_threads in THREADS:
        y, (h, c), nothing = lstm_forward(case, num_threads=num_threads)
        y_kept, (h_kept, c_kept), tape = lstm_forward(case, tape=True, num_threads=num_threads)
        assert nothing is None
        assert_same({"y": y, "h": h, "c": c}, {"y": y_kept, "h": h_kept, "c": c_kept})
        assert_same({"c": tape.c[0], "last": tape.c[-1]}, {"c": case["c0"], "last": c})
        if sizes[0]:
            assert_same({"h": h, "h0": tape.y_prev[0]}, {"h": y[-1], "h0": case["h0"]})
            assert_same({"y": tape.y_prev[1:]}, {"y": y[:-1]})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("nonlinearity", KINKED_TOO)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_rnn_tape_changes_nothing(sizes, nonlinearity, dtype, isa):
    case = rnn_case(*sizes, nonlinearity, dtype=dtype)
    for num_threads in THREADS:
        y, h, nothing = rnn_forward(case, nonlinearity, num_threads=num_threads)
        y_kept, h_kept, tape = rnn_forward(case, nonlinearity, tape=True, num_threads=num_threads)
        assert nothing is None
        assert_same({"y": y, "h": h}, {"y": y_kept, "h": h_kept})
        assert_same({"y": tape.h}, {"y": y})
        if sizes[0]:
            assert_same({"h": h, "h0": tape.h_prev[0]}, {"h": y[-1], "h0": case["h0"]})
            assert_same({"y": tape.h_prev[1:]}, {"y": y[:-1]})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reset_after", GRU_FORMS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_gru_tape_changes_nothing(sizes, reset_after, dtype, isa):
    case = gru_case(*sizes, reset_after, dtype=dtype)
    for num_threads in THREADS:
        y, h, nothing = gru_forward(case, num_threads=num_threads)
        y_kept, h_kept, tape = gru_forward(case, tape=True, num_threads=num_threads)
        assert nothing is None
        assert_same({"y": y, "h": h}, {"y": y_kept, "h": h_kept})
        assert_same({"h": tape.h[1:], "h0": tape.h[0]}, {"h": y, "h0": case["h0"]})
        if sizes[0]:
            assert_same({"h": h, "h0": tape.h_prev[0]}, {"h": y[-1], "h0": case["h0"]})
            assert_same({"y": tape.h_prev[1:]}, {"y": y[:-1]})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reset_after", GRU_FORMS)
def test_gru_tape_holds_the_gates(reset_after, dtype, isa):
    """Blocks r, z, n, and q in the form that resets after."""
    case = gru_case(5, 3, 7, 17, reset_after, dtype=dtype)
    _, _, tape = gru_forward(case, tape=True)
    arguments = (converted(case, np.float64)[name] for name in GRU_ARGUMENTS)
    _, expected = reference.gru_forward(*arguments, reset_after=reset_after)
    names = "rznq" if reset_after else "rzn"
    found = dict(zip(names, np.split(tape.gates, len(names), axis=-1), strict=True))
    assert_close(found, {name: getattr(expected, name) for name in names}, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_tape_holds_the_gates(dtype, isa):
    """Blocks i, f, z, o."""
    case = lstm_case(5, 3, 7, 17, dtype=dtype)
    _, _, tape = lstm_forward(case, tape=True)
    names = ("x", "W", "R", "b", "p", "h0", "c0")
    _, expected = reference.lstm_forward(*(converted(case, np.float64)[name] for name in names))
    found = dict(zip("ifzo", np.split(tape.gates, 4, axis=-1), strict=True)) | {"c": tape.c}
    assert_close(found, {name: getattr(expected, name) for name in "ifzoc"}, TOLERANCE[dtype])


def test_rnn_relu_of_random_signs(isa):
    """Unlike the cases above, R matters as much as W here; in float64 no a^t comes near the kink by chance."""
    case = rnn_case(30, 9, 17, 33, "tanh")
    assert_close(run_rnn(case, "relu"), reference_rnn(case, "relu"), TOLERANCE[np.float64])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("B", [1, 9])
def test_derivative_of_relu_at_zero_is_zero(B, dtype, isa):
    case = rnn_case(3, B, 5, 9, "tanh", dtype=dtype)
    case["b"][:], case["h0"][:], case["x"][:] = 0, 0, 0
    result = run_rnn(case, "relu")
    assert case["dy"].all()
    assert not any(array.any() for array in result.values())


@pytest.mark.parametrize("missing", ["dy", "dh", "dc"])
@pytest.mark.parametrize("sizes", [(1, 1, 3, 5), (5, 3, 7, 17), (3, 9, 7, 17), (0, 3, 7, 5)], ids=str)
def test_lstm_missing_gradients_count_as_zero(sizes, missing, isa):
    case = lstm_case(*sizes) | {missing: None}
    assert_close(run_lstm(case), reference_lstm(case), TOLERANCE[np.float64])


@pytest.mark.parametrize("peephole", [True, False])
@pytest.mark.parametrize("T", [0, 4])
def test_no_gradient_from_above_gives_zeros(T, peephole, isa):
    case = lstm_case(T, 3, 5, 9, peephole=peephole) | {"dy": None, "dh": None, "dc": None}
    gradients = {name: array for name, array in run_lstm(case).items() if name.startswith("d")}
    assert len(gradients) == (7 if peephole else 6)
    assert not any(array.any() for array in gradients.values())


def test_missing_state_counts_as_zero(isa):
    zero = {"h0": np.zeros((3, 17)), "c0": np.zeros((3, 17))}
    case = lstm_case(5, 3, 7, 17)
    y, state, _ = lstm_forward(case | {"h0": None, "c0": None})
    y_zero, state_zero, _ = lstm_forward(case | zero)
    assert_same({"y": y, "h": state[0], "c": state[1]}, {"y": y_zero, "h": state_zero[0], "c": state_zero[1]})
    for reset_after in GRU_FORMS:
        case = gru_case(5, 3, 7, 17, reset_after)
        y, h, _ = gru_forward(case | {"h0": None})
        y_zero, h_zero, _ = gru_forward(case | {"h0": zero["h0"]})
        assert_same({"y": y, "h": h}, {"y": y_zero, "h": h_zero})
    case = rnn_case(5, 3, 7, 17, "tanh")
    assert_same(
        {"y": rnn_forward(case | {"h0": None}, "tanh")[0]}, {"y": rnn_forward(case | {"h0": zero["h0"]}, "tanh")[0]}
    )


@pytest.mark.parametrize("name", ["y", "h", "c", "dx", "dW", "dR", "db", "dp", "dh0", "dc0"])
def test_a_small_difference_is_noticed(name):
    sizes = (5, 3, 7, 17)
    result = run_lstm(lstm_case(*sizes))
    result[name].flat[-1] += 1e-12 * np.abs(result[name]).max()
    with pytest.raises(AssertionError, match=f"{name}: error"):
        assert_close(result, lstm_expected(sizes, True), TOLERANCE[np.float64])
