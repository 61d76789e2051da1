"""The C interface against the layers in Python, which are tested against the equations."""

import ctypes
from ctypes import byref
from dataclasses import dataclass

import numpy as np
import pytest
from c_interface import (
    ACTIVATIONS,
    KINDS,
    PLACES,
    VARIANTS,
    C,
    Layer,
    Memory,
    Network,
    Plan,
    address,
    network,
    status,
)  # fmt: skip
from cases import C_ISAS

import fastlstm
from fastlstm import nn
from fastlstm._system import runtime

DTYPES = (np.float32, np.float64)
LSTM, RNN, DENSE, GRU, GRU_BEFORE, LSTM_NORM = range(6)


@dataclass
class Case:
    """The same network in both languages."""

    layers: list  # of Python
    description: Network
    flat: np.ndarray

    @property
    def plan(self):
        plan = Plan(self.description, self.flat)
        at = 0
        for layer in self.layers:
            count = getattr(layer, "num_layers", 1)
            for place, g in zip(PLACES, activations_of(layer), strict=True):
                for k in range(at, at + count) if isinstance(g, tuple) else ():
                    assert status(C.set_hard_logistic(plan.plan, k, PLACES.index(place), *g[1:])) == "OK"
            at += count
        return plan


def activations_of(layer) -> tuple:
    """The activations of a Python layer's gates, of g and of h."""
    if isinstance(layer, nn.Dense):
        return "usual", layer.activation, "usual"
    if isinstance(layer, fastlstm.RNN):
        return "usual", layer.nonlinearity, "usual"
    if isinstance(layer, fastlstm.GRU):
        return *(layer.activations or ("usual", "usual")), "usual"
    return layer.activations or ("usual",) * 3


def described(layer) -> list[Layer]:
    """A Python layer as the C interface describes it."""
    names = [g if isinstance(g, str) else g[0] for g in activations_of(layer)]
    fields = dict(zip(PLACES, map(ACTIVATIONS.index, names), strict=True))
    if isinstance(layer, nn.Dense):
        return [Layer(kind=KINDS.index("DENSE"), units=layer.output_size, **fields)]
    fields |= {"units": layer.hidden_size, "bidirectional": layer.bidirectional}
    if isinstance(layer, fastlstm.GRU):
        fields |= {"kind": KINDS.index("GRU" if layer.reset_after else "GRU_BEFORE")}
    elif isinstance(layer, fastlstm.RNN):
        fields |= {"kind": KINDS.index("RNN")}
    else:
        kind = KINDS.index("LSTM_NORM" if layer.layer_norm else "LSTM")
        fields |= {"kind": kind, "peephole": layer.peephole}
        fields |= {"variant": VARIANTS.index("vanilla" if layer.variant == "NP" else layer.variant)}
        fields |= {"clip": layer.clip or 0, "cell_clip": layer.cell_clip or 0}
    return [Layer(**fields)] * layer.num_layers


def case(layers, **options) -> Case:
    flat = np.concatenate([layer.flat for layer in layers])
    rows = [row for layer in layers for row in described(layer)]
    return Case(layers, network(layers[0].input_size, rows, flat.dtype, **options), flat)


def arrays(state):
    return state if isinstance(state, tuple) else (state,)


def joined(layers, states, B):
    """The states of layers in Python's order as one in C's: direction by direction, h then c."""
    parts = []
    for layer, state in zip(layers, states, strict=True):
        if isinstance(layer, nn.Dense):
            continue
        for k in range(len(arrays(state)[0])):
            parts += [part[k].ravel() for part in arrays(state)]
    return np.concatenate([np.zeros(0), *parts])


def run_python(layers, x, dy=None, dlast_seed=None):
    """y, last state, and with dy: gradients of x, of the first state, of the parameters."""
    rng = np.random.default_rng(3)
    tapes, lasts, firsts, below = [], [], [], x
    for layer in layers:
        if isinstance(layer, nn.Dense):
            below, tape = layer.forward(below)
            first = last = None
        else:
            first = tuple(rng.normal(size=part.shape).astype(x.dtype) for part in arrays(layer.zero_state(x.shape[1])))
            given = first if isinstance(layer, fastlstm.LSTM) else first[0]
            below, last, tape = layer.forward(below, given)
        tapes.append(tape), lasts.append(last), firsts.append(first)
    result = {"y": below, "last": joined(layers, lasts, x.shape[1]), "first": joined(layers, firsts, x.shape[1])}
    if dy is None:
        return result
    dlasts, dfirsts, gradients = [], [], []
    for layer, tape, last in reversed(list(zip(layers, tapes, lasts, strict=True))):
        if isinstance(layer, nn.Dense):
            grads, dlast = layer.backward(tape, dy), None
        else:
            dlast = tuple(rng.normal(size=part.shape).astype(x.dtype) for part in arrays(last))
            grads = layer.backward(tape, dy, dlast if isinstance(layer, fastlstm.LSTM) else dlast[0])
        dy = grads.x
        dlasts.insert(0, dlast), dfirsts.insert(0, grads.state), gradients.insert(0, grads.flat)
    result |= {"dx": dy, "dlast": joined(layers, dlasts, x.shape[1]), "dfirst": joined(layers, dfirsts, x.shape[1])}
    return result | {"gradients": np.concatenate(gradients)}


def assert_close(found, expected, name):
    tolerance = 1e-5 if found.dtype == np.float32 else 1e-12
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    assert found.shape == expected.shape, name
    assert np.abs(found - expected).max(initial=0) <= tolerance * scale, name


def check(layers, T, B, **options):
    """Both passes, with and without a tape, and step by step."""
    both = case(layers, **options)
    plan, dtype = both.plan, both.flat.dtype
    rng = np.random.default_rng([T, B, plan.outputs])
    x = rng.normal(size=(T, B, layers[0].input_size)).astype(dtype)
    dy = rng.normal(size=(T, B, plan.outputs)).astype(dtype)
    expected = run_python(layers, x, dy)
    first, dlast = expected["first"].astype(dtype), expected["dlast"].astype(dtype)

    y, last, tape = plan.forward(x, first, tape=True)
    assert_close(y, expected["y"], "y")
    assert_close(last, expected["last"], "last")
    untaped, last_untaped, _ = plan.forward(x, first)
    assert_close(untaped, y, "y without a tape")
    assert_close(last_untaped, last, "last without a tape")

    dx, dfirst, gradients = plan.backward(x, y, tape, dy, dlast)
    for name, found in {"dx": dx, "dfirst": dfirst, "gradients": gradients}.items():
        assert_close(found, expected[name], name)
    _, _, twice = plan.backward(x, y, tape, dy, dlast, gradients.copy())
    assert_close(twice, 2 * expected["gradients"], "gradients, accumulated")
    again = plan.backward(x, y, tape, dy, dlast)
    for found, before in zip(again, (dx, dfirst, gradients), strict=True):
        assert found.tobytes() == before.tobytes()  # the tape was left as it was

    if not any(getattr(layer, "bidirectional", False) for layer in layers):
        state = first.copy()
        for t in range(T):
            assert_close(plan.step(x[t], state), y[t], f"step {t}")
        assert_close(state, last, "the state after all steps")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("H", [1, 15, 16, 17, 33, 65])
@pytest.mark.parametrize(("T", "B"), [(1, 1), (1, 7), (7, 1), (5, 3), (3, 50)])
@pytest.mark.parametrize("peephole", [False, True])
def test_lstm(dtype, H, T, B, peephole):
    check([fastlstm.LSTM(5, H, peephole=peephole, dtype=dtype, seed=0)], T, B)


@pytest.mark.parametrize("instruction_set", C_ISAS)
@pytest.mark.parametrize("variant", [*VARIANTS, "NP"])
def test_variants_on_each_instruction_set(variant, instruction_set):
    for dtype in DTYPES:
        layer = fastlstm.LSTM(4, 21, variant=variant, dtype=dtype, seed=1)
        check([layer], 6, 4, instruction_set=instruction_set.encode())


@pytest.mark.parametrize("instruction_set", C_ISAS)
@pytest.mark.parametrize("nonlinearity", ["tanh", "logistic", "identity"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_rnn(nonlinearity, bidirectional, instruction_set):
    for dtype in DTYPES:
        layer = fastlstm.RNN(3, 18, 2, nonlinearity=nonlinearity, bidirectional=bidirectional, dtype=dtype, seed=0)
        check([layer], 7, 3, instruction_set=instruction_set.encode())


@pytest.mark.parametrize("instruction_set", C_ISAS)
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("hidden", [1, 18, 70])
def test_gru(reset_after, hidden, instruction_set):
    for dtype in DTYPES:
        for bidirectional in (False, True):
            layer = fastlstm.GRU(
                3, hidden, 2, reset_after=reset_after, bidirectional=bidirectional, dtype=dtype, seed=0
            )
            check([layer], 7, 3, instruction_set=instruction_set.encode())
            check([layer], 1, 1, instruction_set=instruction_set.encode())


@pytest.mark.parametrize("instruction_set", C_ISAS)
@pytest.mark.parametrize("variant", [*VARIANTS, "NP"])
@pytest.mark.parametrize("hidden", [1, 21, 70])
def test_layer_norm(variant, hidden, instruction_set):
    for dtype in DTYPES:
        for bidirectional in (False, True):
            layer = fastlstm.LSTM(
                4, hidden, 2, variant=variant, bidirectional=bidirectional, layer_norm=True, dtype=dtype, seed=0
            )
            layer.flat[:] += np.random.default_rng(1).normal(scale=0.1, size=layer.flat.size)  # of norm, too
            check([layer], 7, 3, instruction_set=instruction_set.encode())
            check([layer], 1, 1, instruction_set=instruction_set.encode())


@pytest.mark.parametrize("dtype", DTYPES)
def test_options_of_layer_norm(dtype):
    for options in (
        {"peephole": False},
        {"activations": ("hard_logistic", "relu", "identity")},
        {"clip": 0.5, "cell_clip": 0.25},
    ):
        check([fastlstm.LSTM(4, 19, layer_norm=True, dtype=dtype, seed=0, **options)], 7, 3)


@pytest.mark.parametrize(("kind", "since"), [("GRU", 2), ("GRU_BEFORE", 2), ("LSTM_NORM", 3)])
def test_kinds_of_later_versions(kind, since):
    """A description whose version lacks its kind is refused, as the library of that version refuses it."""
    layer = Layer(KINDS.index(kind), 4)
    for version in range(1, C.version + 1):
        assert bool(C.plan_bytes(byref(network(3, [layer], version=version)))) == (version >= since)


@pytest.mark.parametrize("instruction_set", C_ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("H", [8, 16, 21, 24, 61])
def test_fast_networks(H, dtype, instruction_set):
    """Near the exact network, and in every step as in a whole sequence; earlier versions have none."""
    layers = [
        fastlstm.LSTM(3, H, peephole=False, dtype=dtype, seed=0),
        fastlstm.LSTM(H, H, variant="CIFG", dtype=dtype, seed=1),
        fastlstm.RNN(H, 9, dtype=dtype, seed=2),
        nn.Dense(9, 4, activation="tanh", dtype=dtype, seed=3),
    ]
    options = {"training": False, "instruction_set": instruction_set.encode()}
    fast, exact, earlier = (
        case(layers, **options, **more).plan for more in ({"fast": 1}, {}, {"fast": 1, "version": 3})
    )
    for B in (1, 5):
        x = np.random.default_rng(B).normal(size=(20, B, 3)).astype(dtype)
        y, y_exact = fast.forward(x)[0], exact.forward(x)[0]
        assert_near(y, y_exact)
        assert earlier.forward(x)[0].tobytes() == y_exact.tobytes()
        state = fast.state(B)
        for t in range(20):
            assert_close(fast.step(x[t], state), y[t], "step")


@pytest.mark.parametrize("instruction_set", C_ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("peephole", [False, True])
@pytest.mark.parametrize("fast", [0, 1])
@pytest.mark.parametrize("H", [4, 8, 12, 16, 24, 32])
def test_steps_of_one_row(H, fast, peephole, dtype, instruction_set):
    """Whole panels, and a last one of half a vector, have forms of their own: as in a sequence, and as the layer."""
    lstm = fastlstm.LSTM(3, H, peephole=peephole, dtype=dtype, seed=0)
    plan = case([lstm], training=False, fast=fast, instruction_set=instruction_set.encode()).plan
    x = np.random.default_rng(H).normal(size=(20, 1, 3)).astype(dtype)
    y, exact, state = plan.forward(x)[0], lstm(x)[0], plan.state(1)
    assert_close(y, exact, "y") if not fast else assert_near(y, exact)
    for t in range(20):
        assert_close(plan.step(x[t], state), y[t], f"step {t}")


def assert_near(y, exact):
    """As near as fast activations are, and not the same."""
    assert 0 < np.abs(y - exact).max() < 2e-5


@pytest.mark.parametrize("B", [1, 3])
def test_steps_in_two_directions(B):
    """A step is a sequence of one step in both directions."""
    layers = [
        fastlstm.LSTM(3, 16, 2, bidirectional=True, seed=0),
        fastlstm.RNN(32, 5, bidirectional=True, seed=1),
        fastlstm.GRU(10, 8, bidirectional=True, seed=2),
    ]
    plan = case(layers).plan
    x, state = np.random.default_rng(B).normal(size=(2, B, 3)).astype(np.float32), plan.state(B)
    for t in range(2):
        y, last, _ = plan.forward(x[t : t + 1], state)
        assert_close(plan.step(x[t], state), y[0], f"step {t}")
        assert_close(state, last, "the state")


@pytest.mark.skipif(C_ISAS[-1] == "portable", reason="portable C has no floating-point mode")
def test_fast_steps_leave_the_floating_point_mode():
    """Where the caller does not flush denormal numbers, they count; elsewhere they are zero."""
    lstm = fastlstm.LSTM(1, 16, peephole=False, seed=0)
    lstm.flat[:] = 0
    for fast in (0, 1):
        plan = case([lstm], training=False, fast=fast).plan
        state = plan.state(1)
        state[16:] = 2e-38  # c is halved, and then denormal
        plan.step(np.zeros((1, 1), np.float32), state)
        assert state[16:].all() == bool(fast)


@pytest.fixture
def isa_of_c():
    """Use the instruction set that the C interface chooses."""
    runtime.choose_isa(C_ISAS[-1])
    yield
    runtime.choose_isa(runtime.ISA)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("T", "B"), [(24, 1), (9, 7), (700, 1), (12, 50), (3, 530)])
def test_the_bits_of_python(dtype, T, B, default_threads, isa_of_c):
    """Both run on the same parts of a pass: its blocks, its hoisted products and its sums are the same.

    That needs rows enough for packing weights of 40 inputs to pay in Python, as they always are in C.
    """
    fastlstm.set_num_threads(1)
    layers = [
        fastlstm.LSTM(5, 37, 2, dtype=dtype, seed=0),
        fastlstm.GRU(37, 21, dtype=dtype, seed=2),
        fastlstm.GRU(21, 40, reset_after=False, dtype=dtype, seed=3),
        fastlstm.LSTM(40, 35, layer_norm=True, dtype=dtype, seed=4),
        fastlstm.LSTM(35, 18, variant="CIFG", peephole=False, layer_norm=True, dtype=dtype, seed=5),
        fastlstm.RNN(18, 9, dtype=dtype, seed=1),
    ]
    rng = np.random.default_rng([T, B])
    x, dy = (rng.normal(size=(T, B, columns)).astype(dtype) for columns in (5, 9))
    expected = run_python(layers, x, dy)
    plan, first, dlast = case(layers).plan, expected["first"].astype(dtype), expected["dlast"].astype(dtype)
    y, last, tape = plan.forward(x, first, tape=True)
    dx, dfirst, gradients = plan.backward(x, y, tape, dy, dlast)
    for name, result in {"y": y, "last": last, "dx": dx, "dfirst": dfirst, "gradients": gradients}.items():
        assert result.tobytes() == expected[name].astype(dtype).tobytes(), name


@pytest.mark.parametrize("activation", ["identity", "tanh", "logistic", "relu"])
@pytest.mark.parametrize(("T", "B"), [(1, 1), (7, 3), (40, 33)])
def test_dense(activation, T, B):
    """More than 512 rows are several blocks."""
    for dtype in DTYPES:
        check([nn.Dense(9, 21, activation=activation, dtype=dtype, seed=0)], T, B)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("T", "B"), [(1, 1), (1, 40), (9, 1), (700, 1), (12, 13), (3, 530)], ids=lambda n: str(n)
)  # blocks of steps of less, and of more, than 512 rows
def test_deep_networks(dtype, T, B):
    layers = [
        fastlstm.LSTM(3, 20, 2, bidirectional=True, dtype=dtype, seed=0),
        nn.Dense(40, 11, activation="tanh", dtype=dtype, seed=1),
        fastlstm.RNN(11, 9, dtype=dtype, seed=2),
        fastlstm.LSTM(9, 6, variant="CIFG", dtype=dtype, seed=3),
        fastlstm.GRU(6, 12, bidirectional=True, dtype=dtype, seed=5),
        fastlstm.GRU(24, 35, reset_after=False, dtype=dtype, seed=6),
        fastlstm.LSTM(35, 17, bidirectional=True, layer_norm=True, dtype=dtype, seed=7),
        nn.Dense(34, 2, dtype=dtype, seed=4),
    ]
    check(layers, T, B)
    check(layers[2:], T, B)


def test_wide_layers():
    """Rows of a kilobyte and more are transposed first; weights beyond the cache are read in one product."""
    check([fastlstm.LSTM(300, 260, seed=0)], 5, 20)
    check([fastlstm.LSTM(700, 560, bidirectional=True, seed=0)], 3, 9)
    check([fastlstm.LSTM(1, 512, seed=0)], 2, 520)
    check([fastlstm.LSTM(1100, 8, seed=0)], 3, 9)
    for reset_after in (True, False):
        check([fastlstm.GRU(300, 260, reset_after=reset_after, seed=0)], 5, 20)
        check([fastlstm.GRU(700, 650, reset_after=reset_after, bidirectional=True, seed=0)], 3, 9)
    check([fastlstm.LSTM(300, 260, layer_norm=True, seed=0)], 5, 20)
    check([fastlstm.LSTM(700, 560, bidirectional=True, layer_norm=True, seed=0)], 3, 9)


@pytest.mark.parametrize("option", ["activations", "clip", "cell_clip"])
def test_cells(option):
    given = {"activations": ("hard_logistic", "relu", "logistic"), "clip": 0.3, "cell_clip": 0.2}[option]
    for dtype in DTYPES:
        check([fastlstm.LSTM(4, 19, dtype=dtype, seed=0, **{option: given})], 8, 5)


HARD = "hard_logistic", 1.5, 0.4


@pytest.mark.parametrize("instruction_set", C_ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_activations(dtype, instruction_set):
    given = {"dtype": dtype, "seed": 0}
    for layer in (
        fastlstm.LSTM(4, 19, activations=(HARD, "tanh", ("hard_logistic", 1 / 6, 0.5)), **given),
        fastlstm.LSTM(4, 19, layer_norm=True, activations=("logistic", HARD, HARD), **given),
        fastlstm.GRU(4, 19, activations=(HARD, "relu"), **given),
        fastlstm.GRU(4, 19, 2, activations=("hard_logistic", HARD), reset_after=False, **given),
        fastlstm.RNN(4, 19, nonlinearity=HARD, bidirectional=True, **given),
        fastlstm.RNN(4, 19, nonlinearity="hard_logistic", **given),
    ):
        check([nn.Dense(3, 4, **given), layer], 8, 5, instruction_set=instruction_set.encode())


def test_constants_of_the_hard_logistic_function():
    hard, usual = ACTIVATIONS.index("hard_logistic"), ACTIVATIONS.index("usual")
    plan = Plan(network(3, [Layer(LSTM, 4, gate=hard, g=hard), Layer(DENSE, 2, g=usual)]))
    gate, g, h = range(3)
    for expected, layer, place, alpha, beta in (
        ("OK", 0, gate, 1e-3, -7), ("OK", 0, g, 1 / 6, 0.5), ("ACTIVATION", 0, h, 0.2, 0.5),
        ("ACTIVATION", 0, 3, 0.2, 0.5), ("ACTIVATION", 0, -1, 0.2, 0.5), ("ACTIVATION", 1, g, 0.2, 0.5),
        ("SIZE", 2, gate, 0.2, 0.5), ("OPTION", 0, gate, 0, 0.5), ("OPTION", 0, gate, -0.2, 0.5),
        ("OPTION", 0, gate, np.nan, 0.5), ("OPTION", 0, gate, 0.2, np.nan), ("OPTION", 0, gate, 0.2, -np.inf),
    ):  # fmt: skip
        assert status(C.set_hard_logistic(plan.plan, layer, place, alpha, beta)) == expected
    assert status(C.set_hard_logistic(None, 0, gate, 0.2, 0.5)) == "NULL"


@pytest.mark.parametrize("layer", [Layer(GRU, 4, g=1), Layer(GRU_BEFORE, 4, gate=3), Layer(RNN, 4, g=5)])
def test_activations_of_later_versions(layer):
    """A description of an earlier version is refused, as the library of that version refuses it."""
    for version in range(2, C.version + 1):
        assert bool(C.plan_bytes(byref(network(3, [layer], version=version)))) == (version >= 5)


def test_sequential_network():
    """The buffer of a network in Python is that of the plan."""
    model = nn.Sequential(fastlstm.LSTM(3, 8, seed=0), nn.Dropout(0.5), nn.Dense(8, 2, seed=1))
    layers = [layer for layer in model.layers if layer.flat.size]
    plan = Plan(network(3, [row for layer in layers for row in described(layer)]), model.flat)
    x = np.random.default_rng(0).normal(size=(10, 4, 3)).astype(np.float32)
    assert_close(plan.forward(x)[0], model(x)[0], "y")


@pytest.mark.parametrize(("T", "B"), [(0, 3), (3, 0), (2**40, 0), (0, 0)])
def test_nothing_to_do(T, B):
    both = case([fastlstm.LSTM(3, 4, bidirectional=True, seed=0), nn.Dense(8, 2, seed=0)])
    plan = both.plan
    x = np.zeros((T, B, 3), np.float32)
    first = np.arange(plan.state(B).size, dtype=np.float32)
    y, last, tape = plan.forward(x, first, tape=True)
    assert y.shape == (T, B, 2)
    np.testing.assert_array_equal(last, first)
    _, dfirst, gradients = plan.backward(x, y, tape, y.copy(), first)
    np.testing.assert_array_equal(dfirst, first)
    assert not gradients.any()


def test_states_in_place():
    """`last` may be `first`, and dfirst dlast; both may be left out."""
    plan = case([fastlstm.LSTM(3, 17, seed=0)]).plan
    x = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
    first = np.random.default_rng(1).normal(size=plan.state(2).size).astype(np.float32)
    y, last, tape = plan.forward(x, first, tape=True)
    state, found, space = first.copy(), np.empty_like(y), plan.workspace(6, 2)
    again = Memory(C.tape_bytes(plan.plan, 6, 2))
    arguments = address(x), address(state), address(found), address(state), again.address, space.address
    assert status(C.forward(plan.plan, 6, 2, *arguments)) == "OK"
    assert found.tobytes() == y.tobytes()
    assert state.tobytes() == last.tobytes()
    assert status(C.forward(plan.plan, 6, 2, address(x), None, address(found), None, None, space.address)) == "OK"
    assert_close(found, plan.forward(x)[0], "from zeros")

    dx, dfirst, gradients = plan.backward(x, y, tape, y, first)
    dstate, without = first.copy(), np.empty_like(gradients)
    arguments = address(x), address(y), again.address, address(y), address(dstate), None, address(dstate)
    assert status(C.backward(plan.plan, 6, 2, *arguments, address(without), 0, space.address)) == "OK"
    assert dstate.tobytes() == dfirst.tobytes()
    assert without.tobytes() == gradients.tobytes()
    assert dx.any()
    for found, zeros in zip(plan.backward(x, y, tape, y), plan.backward(x, y, tape, y, 0 * first), strict=True):
        assert found.tobytes() == zeros.tobytes()


def test_new_parameters():
    layer = fastlstm.LSTM(3, 5, seed=0)
    both = case([layer])
    plan = both.plan
    x = np.ones((4, 2, 3), np.float32)
    before = plan.forward(x)[0]
    layer.flat[:] *= 2
    assert plan.forward(x)[0].tobytes() == before.tobytes()  # they were copied
    assert status(C.set_parameters(plan.plan, address(layer.flat), layer.flat.size)) == "OK"
    assert_close(plan.forward(x)[0], layer(x)[0], "y")


def test_denormals_and_the_callers_mode():
    """Denormal numbers count as zero inside, as in Python; outside nothing has changed."""
    layer = fastlstm.LSTM(3, 5, seed=0)
    plan = case([layer]).plan
    x = np.full((4, 2, 3), 1e-41, np.float32)
    assert plan.forward(x)[0].tobytes() == plan.forward(np.zeros_like(x))[0].tobytes()
    assert np.float32(1e-41) * np.float32(1) > 0


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "layer",
    [
        Layer(LSTM, 20), Layer(LSTM, 600, bidirectional=1), Layer(RNN, 9), Layer(DENSE, 5), Layer(GRU, 20),
        Layer(GRU_BEFORE, 300), Layer(LSTM_NORM, 20, peephole=1), Layer(LSTM_NORM, 300, variant=6, bidirectional=1),
    ],
)  # fmt: skip
def test_memory_for_more_is_enough_for_less(layer, training):
    plan = Plan(network(3, [layer, Layer(LSTM, 4)], training=training))
    for bytes_of in (C.workspace_bytes, C.tape_bytes):
        sizes = np.array([[bytes_of(plan.plan, T, B) for B in range(0, 600, 3)] for T in (0, 1, 2, 3, 70, 100, 600)])
        assert (np.diff(sizes, axis=0) >= 0).all()
        assert (np.diff(sizes, axis=1) >= 0).all()


def test_sizes():
    assert ctypes.sizeof(Network) == 48
    assert ctypes.sizeof(Layer) == 56
