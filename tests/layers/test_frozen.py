"""Frozen networks against the network itself, or against one whose weights are rounded in another way."""

import pickle

import numpy as np
import pytest
from cases import GRU_FORMS
from helpers import assert_close, by_name
from layer_cases import CELLS

from fastlstm import GRU, LSTM, RNN, Frozen, Stream, rounding_error
from fastlstm._cells import kernel
from fastlstm.reference import BLOCKS

FORMATS = ("full", "bfloat16", "int8")


def layer_normalised(*sizes, **options):
    """Return an LSTM whose gains do not let rounding grow from step to step, as gains of 1 do while R y is small."""
    network = LSTM(*sizes, layer_norm=True, **options)
    for name, norm in network.params.items():
        if name.startswith("norm"):
            norm[:-1] = 0.3
    return network


NETWORKS = {
    **{variant: lambda variant=variant, **o: LSTM(7, 21, variant=variant, **o) for variant in BLOCKS},
    "stack": lambda **o: LSTM(7, 21, 3, **o),
    "directions": lambda **o: LSTM(7, 21, 2, bidirectional=True, **o),
    "projection": lambda **o: LSTM(7, 21, 2, proj_size=9, **o),
    "zoneout": lambda **o: LSTM(7, 21, zoneout=(0.3, 0.2), **o),
    "layer norm": lambda **o: layer_normalised(7, 21, **o),
    "layer norm, two layers": lambda **o: layer_normalised(7, 21, 2, variant="CIFG", proj_size=9, **o),
    "batch first": lambda **o: LSTM(7, 21, batch_first=True, clip=1.0, **o),
    "large": lambda **o: LSTM(600, 600, **o),  # beyond the cache, so that W x is a product of its own
    **{f"GRU {form}": lambda form=form, **o: GRU(7, 21, reset_after=form, **o) for form in GRU_FORMS},
    "GRUs": lambda **o: GRU(7, 91, 2, bidirectional=True, **o),
    "large GRU": lambda **o: GRU(600, 600, **o),
    "RNN": lambda **o: RNN(7, 21, **o),
    "RNNs": lambda **o: RNN(7, 91, 2, bidirectional=True, **o),
}


def bfloat16(A):
    """To 8 bits of precision, ties to even, by way of fractions and exponents."""
    fraction, exponent = np.frexp(A.astype(np.float64))
    return np.ldexp(np.rint(fraction * 2**8) / 2**8, exponent).astype(np.float32)


def rounded(network, make, weights):
    """The network with its weights as they are once stored."""
    copy = make(dtype=network.dtype)
    copy.flat[:] = network.flat
    for suffix in [name[1:] for name in network.params if name.startswith("W")]:
        parts = {name: network.params[name + suffix] for name in "WRG" if name + suffix in network.params}
        if weights == "bfloat16":
            new = {name: bfloat16(A) for name, A in parts.items()}
        else:
            H = network.hidden_size
            largest = {name: np.abs(A).max(1) for name, A in parts.items()}
            if "G" in parts:  # what goes into i, f, o
                into = np.concatenate([np.arange(2 * H), np.arange(3 * H, 4 * H)])
                largest["R"][into] = largest["G"] = np.maximum(largest["R"][into], largest["G"])
            scale = {name: values / 127 for name, values in largest.items()}
            new = {name: np.rint(A / scale[name][:, None]) * scale[name][:, None] for name, A in parts.items()}
        for name, A in new.items():
            copy.params[name + suffix][:] = A
    return copy


def sequences(network, T=9, B=5):
    shape = (B, T) if network.batch_first else (T, B)
    return np.random.default_rng(0).standard_normal((*shape, network.input_size)).astype(network.dtype)


@pytest.mark.parametrize("weights", FORMATS)
@pytest.mark.parametrize("name", NETWORKS)
def test_calls(name, weights, isa):
    make = NETWORKS[name]
    network = make(seed=0)
    if isinstance(network, LSTM):  # a simple RNN would make small errors grow from step to step
        network.flat *= 2
        for name in {"norm_l0", "norm_l1"} & network.params.keys():  # so would gains of 2
            network.params[name] /= 4
    frozen, expected = Frozen(network, weights), network if weights == "full" else rounded(network, make, weights)
    reset = np.random.default_rng(1).random((9, 5)) < 0.2
    tolerance = 5e-6 if "large" in name else 2e-6  # sums of 1200 and of 28 terms
    for T, B in ((9, 5), (9, 1), (1, 1), (0, 3), (3, 0)):
        x = sequences(network, T, B)
        options = {"lengths": np.arange(B)[::-1] % (T + 1), "reset": reset[:T, :B]}
        for how in ({}, options):
            for num_threads in (1, 2):
                y, state = frozen(x, num_threads=num_threads, **how)
                y_expected, state_expected = expected(x, **how)
                assert_close({"y": y} | by_name(state), {"y": y_expected} | by_name(state_expected), tolerance)


@pytest.mark.parametrize("weights", FORMATS)
@pytest.mark.parametrize("name", [n for n in NETWORKS if n not in ("directions", "GRUs", "RNNs", "batch first")])
def test_steps_and_streams(name, weights):
    network = NETWORKS[name](seed=0)
    frozen, x = Frozen(network, weights), sequences(network)
    y, last = frozen(x)
    stream, state = Stream(frozen, 5), None
    for t in range(9):
        assert_close({"y": stream.step(x[t])}, {"y": y[t]}, 2e-6)
        y_t, state = frozen.step(x[t], state)
        assert_close({"y": y_t}, {"y": y[t]}, 2e-6)
    assert_close(by_name(stream.state), by_name(last), 2e-6)


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("weights", FORMATS)
def test_steps_of_a_row_alone_are_bitwise_those_among_others(kind, weights):
    frozen = Frozen(kind(5, 19, 2, batch_invariant=True, seed=0), weights)
    x = np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32)
    y, _ = frozen.step(x)
    for row in range(30):
        assert frozen.step(x[[row]])[0].tobytes() == y[[row]].tobytes()
        assert frozen(x[np.newaxis, [row]])[0].tobytes() == y[[row]].tobytes()


def test_double_precision():
    network = LSTM(7, 21, 2, dtype=np.float64, seed=0)
    x = sequences(network)
    y, state = Frozen(network)(x)
    assert_close({"y": y} | by_name(state), dict(zip("yhc", (network(x)[0], *network(x)[1]), strict=True)), 1e-13)


def test_is_a_copy():
    network = LSTM(7, 21, seed=0)
    x, frozen = sequences(network), Frozen(network, "bfloat16")
    before = frozen(x)[0]
    network.flat[:] = 0
    assert frozen(x)[0].tobytes() == before.tobytes()
    assert "bfloat16" in repr(frozen)


def test_special_weights():
    network = LSTM(3, 4, peephole=False, seed=0)
    network.flat[:] = 0
    x = sequences(network, 2, 1)
    assert not Frozen(network, "int8")(x)[0].any()  # no row has a largest weight
    W = network.params["W_l0"]
    W[0, 0], W[4, 0], W[8, 0], W[12, 0] = np.inf, -np.inf, np.nan, 3.38e38
    y, frozen = network(np.zeros_like(x))[0], Frozen(network, "bfloat16")
    assert np.isnan(y).any()
    assert np.array_equal(np.isnan(frozen(np.zeros_like(x))[0]), np.isnan(y))
    with pytest.raises(ValueError, match=r"weights cannot be 'int8': the network has some that are not finite"):
        Frozen(network, "int8")


@pytest.mark.parametrize("name", ["W_l0", "R_l0", "G_l0"])
def test_bfloat16_makes_no_weight_infinite(name):
    network = LSTM(3, 4, variant="FGR", seed=0)
    largest = np.array(0x7F7F7FFF, np.uint32).view(np.float32)  # the next one is rounded to infinity
    network.params[name][0, 0] = -largest
    Frozen(network, "bfloat16")
    network.params[name][0, 0] = np.nextafter(-largest, np.float32(-np.inf))
    with pytest.raises(
        ValueError, match="weights cannot be 'bfloat16': the network has finite ones that would become inf"
    ):
        Frozen(network, "bfloat16")
    network.params[name][0, 0] = -np.inf
    Frozen(network, "bfloat16")


# Inputs may be of any magnitude: pressures in pascals, prices, times in milliseconds.
UNITS = [1e-30, 1e-5, 1.0, 1e2, 1e5, 1e30]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    "name", ["NP", "FGR", "stack", "directions", "projection", "zoneout", "large", "GRU True", "RNN"]
)
def test_int8_does_not_mind_the_unit_of_the_inputs(name, unit):
    make = NETWORKS[name]
    network, x = make(seed=0), sequences(make())
    for key, A in network.params.items():
        if key.startswith("W_l0"):
            A /= np.float32(unit)
    frozen = Frozen(network, "int8")
    (y, state), (expected, last) = (one(x * np.float32(unit)) for one in (frozen, network))
    limit = 0.04 if name == "RNN" else 0.01
    assert np.abs(y - expected).max() < limit * np.abs(expected).max()
    assert rounding_error(network, x * np.float32(unit), "int8").relative < limit
    assert_close(by_name(Frozen(network, "full")(x * np.float32(unit))[1]), by_name(last), 1e-5)
    if "reverse" not in " ".join(network.params):
        state = None
        for t in range(len(x)):
            y_t, state = frozen.step(x[t] * np.float32(unit), state)
            assert_close({"y": y_t}, {"y": y[t]}, 2e-6)


@pytest.mark.parametrize(("W", "R"), [(1e38, 1e-10), (1e-38, 1e30), (0.0, 1e30), (1e30, 0.0), (1e-44, 1.0)])
def test_int8_of_weights_far_from_each_other(W, R):
    network = LSTM(3, 4, seed=0)
    network.params["W_l0"][:] *= np.float32(W)
    network.params["R_l0"][:] *= np.float32(R)
    x = sequences(network, 4, 2) * np.float32(1 / W if W > 1 else 1)
    found, expected = (net(x)[0] for net in (Frozen(network, "int8"), network))
    assert np.isfinite(found).all()
    assert np.abs(found[0] - expected[0]).max() < 0.02  # of later steps such networks make what they will


def test_memory():
    network = LSTM(256, 256, seed=0)
    full, half, quarter = (Frozen(network, weights).nbytes for weights in FORMATS)
    assert full == network.flat.nbytes
    assert half < 0.51 * full
    assert quarter < 0.27 * full
    network = LSTM(256, 256, layer_norm=True, seed=0)
    assert Frozen(network).nbytes == network.flat.nbytes


def test_errors_are_measured():
    network, lengths = LSTM(7, 21, 2, seed=0), [9, 3, 4, 0, 8]
    x = sequences(network)
    y = network(x, lengths=lengths)[0]
    worst = []
    there = np.arange(9)[:, np.newaxis] < np.array(lengths)
    for weights in FORMATS:
        difference = Frozen(network, weights)(x, lengths=lengths)[0] - y.astype(np.float64)
        difference = difference[there]
        error = rounding_error(network, x, weights, lengths=lengths)
        assert error.largest == np.abs(difference).max()
        assert error.rms == pytest.approx(np.sqrt(np.mean(difference**2)))
        assert error.relative == pytest.approx(error.rms / np.sqrt(np.mean(y[there].astype(np.float64) ** 2)))
        worst.append(error.largest)
    assert worst[0] < 1e-6 < worst[1] < 2e-3
    assert 1e-6 < worst[2] < 1e-2
    assert rounding_error(network, x[:0]) == (0, 0, 0)


def test_what_cannot_be_frozen_is_refused():
    with pytest.raises(TypeError, match=r"^network must be an LSTM, a GRU or an RNN, not str"):
        Frozen("lstm")
    with pytest.raises(ValueError, match=r"^weights must be 'full', 'bfloat16' or 'int8', not 'int4'"):
        Frozen(LSTM(2, 3), "int4")
    with pytest.raises(TypeError, match=r"^weights must be 'full' for a network of float64, not 'int8'"):
        Frozen(LSTM(2, 3, dtype=np.float64), "int8")
    with pytest.raises(TypeError, match=r"pickle the network, freeze it where it is needed"):
        pickle.dumps(Frozen(LSTM(2, 3)))
    with pytest.raises(ValueError, match=r"^x must have shape"):
        Frozen(LSTM(2, 3))(np.zeros((4, 5, 7), np.float32))


FAST_NETWORKS = [name for name in NETWORKS if not name.startswith("layer norm") and "GRU" not in name]


@pytest.mark.parametrize("weights", ["full", "int8"])
@pytest.mark.parametrize("name", FAST_NETWORKS)
def test_fast_networks(name, weights, isa):
    """Near the exact one, but not the same, in whole sequences, in streams and for a row alone."""
    network = NETWORKS[name](seed=0)
    x = sequences(network)
    exact, fast = Frozen(network, weights), Frozen(network, weights, fast=True)
    assert fast.fast
    assert not exact.fast
    assert "fast=True" in repr(fast)
    for rows in (slice(None), slice(1)):
        given = x[rows] if network.batch_first else x[:, rows]
        y, y_exact = fast(given)[0], exact(given)[0]
        assert_close({"y": y}, {"y": y_exact}, 3e-5)
        assert y.tobytes() != y_exact.tobytes()
    if name in ("batch first", "directions", "RNNs"):
        return
    stream = Stream(fast)
    for t in range(9):
        assert_close({"y": stream.step(x[t, :1])}, {"y": fast(x[: t + 1, :1])[0][t]}, 2e-6)


@pytest.mark.parametrize("H", [8, 12, 16, 24, 40, 61])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("peephole", [True, False])
def test_fast_steps(H, dtype, peephole, isa):
    """The equations with the fast functions instead, in float64."""
    lstm = LSTM(3, H, peephole=peephole, dtype=dtype, seed=0)
    x = np.random.default_rng(1).normal(size=(20, 1, 3)).astype(dtype)
    W, R, b = (lstm.params[f"{name}_l0"].astype(np.float64) for name in "WRb")
    p = lstm.params["p_l0"].astype(np.float64) if peephole else np.zeros((3, H))

    def fast(name, a):
        y = np.empty_like(a)
        kernel.activate(name, np.ascontiguousarray(a), y, True)
        return y

    h, c, frozen = np.zeros(H), np.zeros(H), Frozen(lstm, fast=True)
    y, state = frozen(x)[0], None
    for t in range(20):
        i, f, z, o = np.split(W @ x[t, 0].astype(np.float64) + R @ h + b, 4)
        c_prev = c
        c = fast("tanh", z) * fast("logistic", i + p[0] * c_prev) + c_prev * fast("logistic", f + p[1] * c_prev)
        h = fast("tanh", c) * fast("logistic", o + p[2] * c)
        y_t, state = frozen.step(x[t], state)
        tolerance = 1e-13 if dtype == np.float64 else 2e-6
        assert_close({"y": y[t, 0], "step": y_t[0]}, {"y": h, "step": h}, tolerance)


def test_fast_networks_are_refused_where_there_are_none():
    for network, kind in ((GRU(2, 3), "a GRU"), (LSTM(2, 3, layer_norm=True), "a network with layer_norm=True")):
        with pytest.raises(TypeError, match=rf"^fast must be False for {kind}"):
            Frozen(network, fast=True)
    for call in (Frozen, lambda network, fast: rounding_error(network, np.ones((2, 1, 2), np.float32), fast=fast)):
        with pytest.raises(TypeError, match=r"^fast must be a bool, not str"):
            call(LSTM(2, 3), fast="no")
    assert 0 < rounding_error(LSTM(2, 3, seed=0), np.ones((9, 2, 2), np.float32), "full", fast=True).largest < 1e-5


def test_int8_of_a_recurrence_that_is_next_to_nothing():
    """The sum that is brought from W's scale to R's stays a number."""
    rnn = RNN(4, 4, nonlinearity="relu", seed=0)
    for name, value in (("W_l0", 0.6), ("R_l0", 1.6e-36), ("b_l0", 0.0)):
        rnn.params[name][:] = value
    x = np.full((3, 2, 4), 2, np.float32)
    np.testing.assert_allclose(Frozen(rnn, "int8")(x)[0], rnn(x)[0], rtol=1e-2)
