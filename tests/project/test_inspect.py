"""fastlstm.inspect: what it gives against the equations, step by step, and against finite differences."""

import re
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from cases import GRU_FORMS

import fastlstm
from fastlstm import GRU, LSTM, RNN, inspect, nn

T, B, I, H = 7, 3, 2, 4
VARIANTS = ["vanilla", "NIG", "NFG", "NOG", "NIAF", "NOAF", "NP", "CIFG", "FGR"]
NONLINEARITIES = ["tanh", "logistic", "relu", "identity"]
STACK = {"num_layers": 2, "bidirectional": True}
STEP = 1e-6


def logistic(a):
    return 1 / (1 + np.exp(-a))


def normalised(v):
    return (v - v.mean()) / np.sqrt(v.var() + 1e-5)


def random(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def make(kind, seed=0, **options):
    network = kind(I, H, dtype=np.float64, **options)
    network.flat[:] = 0.4 * np.random.default_rng(seed).normal(size=network.flat.size)
    return network


def states(network, seed=5):
    return tuple(random(*part.shape, seed=seed + n) for n, part in enumerate(network.zero_state(B)))


def state_for(network):
    return states(network) if isinstance(network, LSTM) else states(network)[0]


def lstm_row(network, x, state, layer=0, direction=0, bump=(None, None)):
    """One row through one layer and direction, written out; with bump = (k, v), v is added to c^k.

    Gives c and y of every step.
    """
    suffix = f"_l{layer}" + "_reverse" * direction
    names = "W", "R", "b", "p", "G", "proj", "norm"
    W, R, b, p, G, proj, norm = (network.params.get(name + suffix) for name in names)
    variant, blocks = network.variant, {"NIG": "fzo", "NFG": "izo", "NOG": "ifz", "CIFG": "izo"}
    blocks = blocks.get(variant, "ifzo")
    y, c, g = (*state, np.zeros(0))[:3]
    gz, h = (lambda a: a if variant == "NIAF" else np.tanh(a)), (lambda a: a if variant == "NOAF" else np.tanh(a))
    cells, outputs = np.zeros((len(x), H)), np.zeros((len(x), len(y)))
    peep = dict(zip(blocks.replace("z", ""), p, strict=True)) if p is not None else {}
    for t in range(len(x))[:: -1 if direction else 1]:
        of_x, of_y = W @ x[t], R @ y
        if norm is not None:
            gains_R, gains_W = norm[:-2].reshape(2, -1)
            of_x, of_y = gains_W * normalised(of_x), gains_R * normalised(of_y)
        a = dict(zip(blocks, np.split(of_x + of_y + b, len(blocks)), strict=True))
        if G is not None:
            a |= {name: a[name] + more for name, more in zip("ifo", np.split(G @ g, 3), strict=True)}
        gate = {name: np.ones(H) for name in "ifo"}
        for name in "if":
            if name in blocks:
                gate[name] = logistic(a[name] + peep.get(name, 0) * c)
        if variant == "CIFG":
            gate["f"] = 1 - gate["i"]
        c = gz(a["z"]) * gate["i"] + c * gate["f"]
        if t == bump[0]:
            c = c + bump[1]
        if "o" in blocks:
            gate["o"] = logistic(a["o"] + peep.get("o", 0) * c)
        u = c if norm is None else norm[-2] * normalised(c) + norm[-1]
        y, g = h(u) * gate["o"], np.concatenate([gate[name] for name in "ifo"])
        y = y if proj is None else proj @ y
        cells[t], outputs[t] = c, y
    return cells, outputs


def rnn_row(network, x, h, layer=0, direction=0, bump=(None, None)):
    """As `lstm_row`; bumps h^k."""
    suffix = f"_l{layer}" + "_reverse" * direction
    W, R, b = (network.params[name + suffix] for name in "WRb")
    g = {"tanh": np.tanh, "logistic": logistic, "relu": lambda a: np.maximum(a, 0), "identity": lambda a: a}
    hidden = np.zeros((len(x), H))
    for t in range(len(x))[:: -1 if direction else 1]:
        h = g[network.nonlinearity](W @ x[t] + R @ h + b)
        if t == bump[0]:
            h = h + bump[1]
        hidden[t] = h
    return hidden


def gru_row(network, x, h, layer=0, direction=0, bump=(None, None)):
    """As `rnn_row`; gives r, z and n too."""
    suffix = f"_l{layer}" + "_reverse" * direction
    (W_r, W_z, W_n), (R_r, R_z, R_n), (b_r, b_z, b_n) = (np.split(network.params[name + suffix], 3) for name in "WRb")
    found = {name: np.zeros((len(x), H)) for name in "rznh"}
    for t in range(len(x))[:: -1 if direction else 1]:
        r, z = logistic(W_r @ x[t] + R_r @ h + b_r), logistic(W_z @ x[t] + R_z @ h + b_z)
        from_h = r * (R_n @ h + network.params["bn" + suffix]) if network.reset_after else R_n @ (r * h)
        n = np.tanh(W_n @ x[t] + b_n + from_h)
        h = (1 - z) * n + z * h
        if t == bump[0]:
            h = h + bump[1]
        for name, value in zip("rznh", (r, z, n, h), strict=True):
            found[name][t] = value
    return found


def differences(f, k):
    """The Jacobian of f(bump) for bumps at step k, by central differences: (outputs, H)."""
    columns = [(f((k, STEP * unit)) - f((k, -STEP * unit))) / (2 * STEP) for unit in np.eye(H)]
    return np.stack(columns, axis=-1)


def input_of(network, x, state, layer):
    """Return the inputs of the layer, (T, B, columns)."""
    if layer == 0:
        return x.swapaxes(0, 1) if network.batch_first else x
    below = [inspect.flows(network, x, state, layer=layer - 1, direction=d) for d in range(network.directions)]
    return np.concatenate([found.y if isinstance(network, LSTM) else found.h for found in below], axis=-1)


# ---- forward ----


@pytest.mark.parametrize(
    ("variant", "options"),
    [
        *product(VARIANTS, [{}, {"batch_first": True}, STACK, {"proj_size": 3}, STACK | {"proj_size": 3}]),
        *product(VARIANTS[:-1], [{"layer_norm": True}, STACK | {"proj_size": 3, "layer_norm": True}]),
    ],
    ids=str,
)
def test_flows_obey_the_equations(variant, options):
    network = make(LSTM, variant=variant, **options)
    x = random(B, T, I) if network.batch_first else random(T, B, I)
    state = states(network)
    for layer in range(network.num_layers):
        for direction in range(network.directions):
            found = inspect.flows(network, x, state, layer=layer, direction=direction)
            assert found.i.shape == found.f.shape == found.z.shape == found.o.shape == found.c_prev.shape == (T, B, H)
            np.testing.assert_allclose(found.c, found.z * found.i + found.c_prev * found.f, atol=1e-14)
            k, below = layer * network.directions + direction, input_of(network, x, state, layer)
            for row in range(B):
                c, y = lstm_row(network, below[:, row], [part[k, row] for part in state], layer, direction)
                np.testing.assert_allclose(found.c[:, row], c, atol=1e-13)
                np.testing.assert_allclose(found.y[:, row], y, atol=1e-13)
            after = slice(None, -1) if direction else slice(1, None)
            before = slice(1, None) if direction else slice(None, -1)
            for now, then, first in ((found.c, found.c_prev, state[1]), (found.y, found.y_prev, state[0])):
                np.testing.assert_array_equal(then[after], now[before])
                np.testing.assert_array_equal(then[-1 if direction else 0], first[k])


@pytest.mark.parametrize("options", [{}, {"batch_first": True}, STACK])
def test_flows_of_the_rnn_obey_the_equation(options):
    network = make(RNN, **options)
    x = random(B, T, I) if network.batch_first else random(T, B, I)
    (state,) = states(network)
    for layer in range(network.num_layers):
        for direction in range(network.directions):
            found = inspect.flows(network, x, state, layer=layer, direction=direction)
            k, below = layer * network.directions + direction, input_of(network, x, state, layer)
            for row in range(B):
                expected = rnn_row(network, below[:, row], state[k, row], layer, direction)
                np.testing.assert_allclose(found.h[:, row], expected, atol=1e-13)
            ends = (slice(None, -1), slice(1, None))[:: -1 if direction else 1]
            np.testing.assert_array_equal(found.h_prev[ends[1]], found.h[ends[0]])


@pytest.mark.parametrize("options", [{}, {"batch_first": True}, STACK])
@pytest.mark.parametrize("reset_after", GRU_FORMS)
def test_flows_of_the_gru_obey_the_equations(reset_after, options):
    network = make(GRU, reset_after=reset_after, **options)
    x = random(B, T, I) if network.batch_first else random(T, B, I)
    (state,) = states(network)
    for layer in range(network.num_layers):
        for direction in range(network.directions):
            found = inspect.flows(network, x, state, layer=layer, direction=direction)
            k, below = layer * network.directions + direction, input_of(network, x, state, layer)
            for row in range(B):
                expected = gru_row(network, below[:, row], state[k, row], layer, direction)
                for name, values in expected.items():
                    np.testing.assert_allclose(getattr(found, name)[:, row], values, atol=1e-13)
            ends = (slice(None, -1), slice(1, None))[:: -1 if direction else 1]
            np.testing.assert_array_equal(found.h_prev[ends[1]], found.h[ends[0]])
            np.testing.assert_array_equal(found.h_prev[-1 if direction else 0], state[k])


def test_flows_are_those_of_inference():
    """Nothing is dropped, and zoneout keeps the share that it keeps on average."""
    options = {"dropout": 0.5, "recurrent_dropout": 0.5, "drop_connect": 0.5, "num_layers": 2}
    network, x = make(LSTM, zoneout=(0.1, 0.2), **options), random(T, B, I)
    found = inspect.flows(network, x, layer=1)
    np.testing.assert_array_equal(found.y, network(x)[0])
    np.testing.assert_allclose(found.c, found.z * found.i + found.c_prev * found.f, atol=1e-14)
    np.testing.assert_allclose(found.c_prev[1:], 0.2 * found.c_prev[:-1] + 0.8 * found.c[:-1], atol=1e-14)


# ---- backward ----


@pytest.mark.parametrize("direction", [0, 1])
@pytest.mark.parametrize("given", [False, True], ids=["default", "dy"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_deltas_and_norms_of_the_lstm(layer_norm, batch_first, given, direction):
    network = make(LSTM, bidirectional=True, batch_first=batch_first, layer_norm=layer_norm)
    x, state = random(B, T, I) if batch_first else random(T, B, I), states(network)
    dy = random(*x.shape[:2], 2 * H, seed=9) if given else None
    found = inspect.deltas(network, x, dy, state, direction=direction)
    norms = inspect.gradient_norms(network, x, dy, state, direction=direction)
    steps = x.swapaxes(0, 1) if batch_first else x
    arriving = np.zeros((T, B, H))
    if given:
        arriving[:] = (dy.swapaxes(0, 1) if batch_first else dy)[..., direction * H : (direction + 1) * H]
    else:
        arriving[0 if direction else -1] = 0.5  # of norm 1, with 4 units
    for row in range(B):

        def J(bump, row=row):
            first = [part[direction, row] for part in state]
            return np.sum(lstm_row(network, steps[:, row], first, 0, direction, bump)[1] * arriving[:, row])

        for k in range(T):
            np.testing.assert_allclose(found.c[k, row], differences(J, k), atol=1e-8)
    np.testing.assert_allclose(norms.c, np.linalg.norm(found.c, axis=-1), rtol=1e-14)
    np.testing.assert_allclose(norms.y, np.linalg.norm(found.y, axis=-1), rtol=1e-14)
    assert norms.y.shape == (T, B)
    if not given:
        np.testing.assert_allclose(norms.y[0 if direction else -1], 1, rtol=1e-14)


def test_deltas_and_norms_of_the_rnn():
    network, x, dy = make(RNN, num_layers=2), random(T, B, I), random(T, B, H, seed=1)
    found, norms = inspect.deltas(network, x, dy, layer=1), inspect.gradient_norms(network, x, dy, layer=1)
    below = inspect.flows(network, x).h
    for row in range(B):

        def J(bump, row=row):
            return np.sum(rnn_row(network, below[:, row], np.zeros(H), 1, 0, bump) * dy[:, row])

        for k in range(T):
            np.testing.assert_allclose(found.h[k, row], differences(J, k), atol=1e-8)
    np.testing.assert_allclose(norms.y, np.linalg.norm(found.h, axis=-1), rtol=1e-14)
    assert norms.c is None
    np.testing.assert_array_equal(found.a, inspect.deltas(network, x, dy, layer=1).a)


@pytest.mark.parametrize("reset_after", GRU_FORMS)
def test_deltas_and_norms_of_the_gru(reset_after):
    network, x = make(GRU, num_layers=2, reset_after=reset_after), random(T, B, I)
    dy = random(T, B, H, seed=1)
    found, norms = inspect.deltas(network, x, dy, layer=1), inspect.gradient_norms(network, x, dy, layer=1)
    flows, below = inspect.flows(network, x, layer=1), inspect.flows(network, x).h
    for row in range(B):

        def J(bump, row=row):
            return np.sum(gru_row(network, below[:, row], np.zeros(H), 1, 0, bump)["h"] * dy[:, row])

        for k in range(T):
            np.testing.assert_allclose(found.h[k, row], differences(J, k), atol=1e-8)
    np.testing.assert_allclose(found.n, found.h * (1 - flows.z) * (1 - flows.n**2), atol=1e-14)
    np.testing.assert_allclose(found.z, found.h * (flows.h_prev - flows.n) * flows.z * (1 - flows.z), atol=1e-14)
    np.testing.assert_allclose(norms.y, np.linalg.norm(found.h, axis=-1), rtol=1e-14)
    assert norms.c is None


def test_norms_do_not_vanish_before_the_values_do():
    network, x = RNN(1, H, seed=0), np.zeros((60, 1, 1), np.float32)
    network.params["R_l0"][:] = 0.25 * np.eye(H)
    norms = inspect.gradient_norms(network, x).y[:, 0]
    assert 0 < norms[0] < 1e-34


# ---- Jacobians ----


@pytest.mark.parametrize(
    ("variant", "options"),
    [
        *product(VARIANTS, [{}, {"batch_first": True}, STACK, {"proj_size": 3}]),
        *product(VARIANTS[:-1], [{"layer_norm": True}, STACK | {"layer_norm": True}]),
    ],
    ids=str,
)
def test_cell_jacobians(variant, options):
    network = make(LSTM, variant=variant, **options)
    x = random(B, T, I) if network.batch_first else random(T, B, I)
    state, row, t = states(network), 1, 4
    for layer in range(network.num_layers):
        for direction in range(network.directions):
            where = {"row": row, "layer": layer, "direction": direction}
            found = inspect.cell_jacobians(network, x, t, state, **where)
            below, k_cell = input_of(network, x, state, layer)[:, row], layer * network.directions + direction
            first = [part[k_cell, row] for part in state]

            def cell(bump, below=below, first=first, layer=layer, direction=direction):
                return lstm_row(network, below, first, layer, direction, bump)[0][t]

            assert found.jacobians.shape == (T, H, H)
            forget = inspect.flows(network, x, state, layer=layer, direction=direction).f[:, row]
            for k in range(T):
                np.testing.assert_allclose(found.jacobians[k], differences(cell, k), atol=1e-8)
                between = range(t, k) if direction else range(k + 1, t + 1)
                depends = k >= t if direction else k <= t
                expected = np.prod([forget[s] for s in between], axis=0) * np.ones(H) * depends
                np.testing.assert_allclose(found.carousel[k], expected, atol=1e-14)
            np.testing.assert_allclose(found.norms, [np.linalg.svd(J)[1][0] for J in found.jacobians], atol=1e-13)
            np.testing.assert_allclose(found.carousel_norms, found.carousel.max(axis=1), rtol=1e-14)


def test_cell_jacobian_of_one_step_is_the_forget_gate_without_other_ways():
    """With no recurrent weights and no peepholes, the constant error carousel is all there is."""
    network, x = make(LSTM, peephole=False), random(T, B, I)
    network.params["R_l0"][:] = 0
    found = inspect.cell_jacobians(network, x)
    np.testing.assert_allclose(found.jacobians, [np.diag(part) for part in found.carousel], atol=1e-15)


@pytest.mark.parametrize("options", [{}, {"batch_first": True}, STACK], ids=str)
@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_hidden_jacobians(nonlinearity, options):
    """Against finite differences and the articles' product of W^T diag(g'), W our R; they take its transpose."""
    network = make(RNN, nonlinearity=nonlinearity, **options)
    x = random(B, T, I) if network.batch_first else random(T, B, I)
    (state,), row, t = states(network), 2, 4
    for layer in range(network.num_layers):
        for direction in range(network.directions):
            where = {"row": row, "layer": layer, "direction": direction}
            found = inspect.hidden_jacobians(network, x, t, state, **where)
            below, k_cell = input_of(network, x, state, layer)[:, row], layer * network.directions + direction

            def hidden(bump, below=below, first=state[k_cell, row], layer=layer, direction=direction):
                return rnn_row(network, below, first, layer, direction, bump)[t]

            h = rnn_row(network, below, state[k_cell, row], layer, direction)
            slope = {"tanh": 1 - h**2, "logistic": h * (1 - h), "relu": h > 0, "identity": np.ones_like(h)}
            R = network.params[f"R_l{layer}" + "_reverse" * direction]
            product, bound = np.eye(H), 1.0
            for k in range(t, T) if direction else range(t, -1, -1):
                np.testing.assert_allclose(found.jacobians[k], differences(hidden, k), atol=1e-8)
                np.testing.assert_allclose(found.jacobians[k].T, product, atol=1e-13)
                assert found.norms[k] == pytest.approx(np.linalg.svd(product)[1][0])
                assert found.bounds[k] == pytest.approx(bound)
                assert found.norms[k] <= bound * (1 + 1e-12)
                factor = np.diag(slope[nonlinearity][k].astype(float))
                product, bound = R.T @ factor @ product, bound * np.linalg.svd(R)[1][0] * factor.max()
            later = found.jacobians[:t] if direction else found.jacobians[t + 1 :]
            assert not later.any()


@pytest.mark.parametrize("state", [None, "h alone", "c alone", "list"])
def test_jacobians_take_any_state(state):
    network, x = make(LSTM), random(T, B, I)
    h, c = states(network)
    zero = np.zeros_like(h)
    given, whole = {
        None: (None, (zero, zero)),
        "h alone": ((h, None), (h, zero)),
        "c alone": ((None, c), (zero, c)),
        "list": ([h, c], (h, c)),
    }[state]
    found, expected = (inspect.cell_jacobians(network, x, 3, part, row=-1) for part in (given, whole))
    np.testing.assert_array_equal(found.jacobians, expected.jacobians)


# ---- clipping ----


def test_descent_takes_clipped_steps():
    def loss(w):
        return float(w @ w), 2 * w

    start = np.array([3.0, 4.0])
    free = inspect.descend(loss, start, learning_rate=0.1, steps=5)
    clipped = inspect.descend(loss, start, learning_rate=0.1, steps=5, threshold=1)
    np.testing.assert_allclose(free.weights, start * 0.8 ** np.arange(6)[:, None])
    np.testing.assert_array_equal(free.norms, free.clipped)
    np.testing.assert_allclose(clipped.weights, start * (1 - 0.02 * np.arange(6))[:, None])
    np.testing.assert_allclose(clipped.clipped, 1)
    np.testing.assert_allclose(clipped.norms, 10 - 0.2 * np.arange(6))
    np.testing.assert_allclose(clipped.losses, (clipped.weights**2).sum(axis=1))
    np.testing.assert_array_equal(start, [3.0, 4.0])


def test_loss_surface_has_first_weights_in_columns():
    surface = inspect.loss_surface(lambda w: (w[0] + 10 * w[1], w), np.arange(3.0), np.arange(2.0))
    np.testing.assert_array_equal(surface, [[0, 1, 2], [10, 11, 12]])


# ---- misuse ----


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda n, x: inspect.flows(nn.Dense(2, 3), x), TypeError, "network must be an LSTM, GRU or RNN, not Dense"),
        (lambda n, x: inspect.deltas(None, x), TypeError, "network must be an LSTM, GRU or RNN, not NoneType"),
        (lambda n, x: inspect.cell_jacobians(make(RNN), x), TypeError, "network must be an LSTM, not RNN"),
        (lambda n, x: inspect.cell_jacobians(make(GRU), x), TypeError, "network must be an LSTM, not GRU"),
        (lambda n, x: inspect.hidden_jacobians(n, x), TypeError, "network must be an RNN, not LSTM"),
        (lambda n, x: inspect.hidden_jacobians(make(GRU), x), TypeError, "network must be an RNN, not GRU"),
        (lambda n, x: inspect.flows(n, x, layer=2), ValueError, "layer must be an int from -1 to 0, not 2"),
        (lambda n, x: inspect.flows(n, x, direction=1), ValueError, "direction must be an int from -1 to 0, not 1"),
        (lambda n, x: inspect.flows(n, x, layer=0.0), TypeError, "layer must be an int, not float"),
        (lambda n, x: inspect.cell_jacobians(n, x, T), ValueError, "t must be an int from -7 to 6, not 7"),
        (lambda n, x: inspect.cell_jacobians(n, x[:0]), ValueError, "x must have at least one row and one step"),
        (lambda n, x: inspect.cell_jacobians(n, x, row=B), ValueError, "row must be an int from -3 to 2, not 3"),
        (lambda n, x: inspect.cell_jacobians(n, x, state=(None,)), ValueError, "state must be (h, c), not 1 item"),
        (lambda n, x: inspect.flows(n, x.astype(np.float32)), TypeError, "x must have dtype float64, not float32"),
        (lambda n, x: inspect.flows(n, x[0]), ValueError, "x must have shape (T, B, I), not (3, 2)"),
        (lambda n, x: inspect.deltas(n, x, x), ValueError, "dy must have shape"),
        (
            lambda n, x: inspect.cell_jacobians(make(LSTM, zoneout=(0.1, 0.0)), x),
            ValueError,
            "network must have no zoneout for Jacobians, not zoneout=(0.1, 0.0)",
        ),
        (
            lambda n, x: inspect.flows(n, fastlstm.PackedSequence(x[:, 0], np.ones(T, int))),
            TypeError,
            "x must be a NumPy array, not PackedSequence",
        ),
        (
            lambda n, x: inspect.loss_surface(lambda w: (0.0, w), [0.0], np.zeros(2)),
            TypeError,
            "first must be a NumPy array, not list",
        ),
        (
            lambda n, x: inspect.descend(lambda w: (0.0, w), np.zeros(2), learning_rate=1, steps=0),
            ValueError,
            "steps must be at least 1, not 0",
        ),
        (
            lambda n, x: inspect.descend(lambda w: (0.0, w), np.zeros(2), learning_rate=1, steps=1, threshold=0),
            ValueError,
            "threshold must be above 0, not 0.0",
        ),
    ],
)
def test_misuse(call, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        call(make(LSTM), random(T, B, I))


# ---- pictures ----


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib")


def trained(kind):
    return make(kind), random(T, B, I)


def descents():
    def loss(w):
        return float(w @ w), 2 * w

    grid = np.linspace(-1, 1, 5)
    paths = {
        name: inspect.descend(loss, np.ones(2), learning_rate=0.1, steps=3, threshold=threshold)
        for name, threshold in (("free", 9.0), ("clipped", 0.5))
    }
    return grid, grid, inspect.loss_surface(loss, grid, grid), paths, ("R", "b")


def jacobians():
    return {"RNN": inspect.hidden_jacobians(*trained(RNN)), "LSTM": inspect.cell_jacobians(*trained(LSTM))}


PICTURES = {
    "flows": lambda: inspect.plot_flows(inspect.flows(*trained(LSTM)), row=1),
    "flows with layer norm": lambda: inspect.plot_flows(inspect.flows(make(LSTM, layer_norm=True), random(T, B, I))),
    "flows of the GRU": lambda: inspect.plot_flows(inspect.flows(*trained(GRU))),
    "flows of the RNN": lambda: inspect.plot_flows(inspect.flows(*trained(RNN))),
    "deltas": lambda: inspect.plot_deltas(inspect.deltas(*trained(LSTM)), row=1),
    "deltas of CIFG": lambda: inspect.plot_deltas(inspect.deltas(make(LSTM, variant="CIFG"), random(T, B, I))),
    "deltas of the GRU": lambda: inspect.plot_deltas(inspect.deltas(*trained(GRU))),
    "deltas of the RNN": lambda: inspect.plot_deltas(inspect.deltas(*trained(RNN))),
    "gradient norms": lambda: inspect.plot_gradient_norms(
        {kind.__name__: inspect.gradient_norms(*trained(kind)) for kind in (RNN, GRU, LSTM)}
    ),
    "jacobian norms": lambda: inspect.plot_jacobian_norms(jacobians()),
    "clipping": lambda: inspect.plot_clipping(np.array([3.0, 0.5, 2.0]), 1.0, np.array([2.0, 1.0, 0.5])),
    "descents": lambda: inspect.plot_descents(*descents()),
    "block": lambda: inspect.draw_block(*trained(LSTM), 3),
}


@pytest.mark.usefixtures("matplotlib")
@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_drawn(name, tmp_path):
    """A PNG file with ink on it, and none at its edges: nothing is cut off."""
    from matplotlib.image import imread

    file = tmp_path / "picture.png"
    PICTURES[name]().savefig(file)
    assert file.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = imread(file)[..., :3]
    assert min(pixels.shape[:2]) > 250
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    assert all((edge == 1).all() for edge in edges)


@pytest.mark.usefixtures("matplotlib")
def test_pictures_show_the_values():
    network, x = trained(LSTM)
    found = inspect.flows(network, x)
    images = [axis.images[0] for axis in inspect.plot_flows(found, row=2).axes if axis.images]
    for image, name in zip(images, ("i", "z", "f", "c", "o", "y"), strict=True):
        np.testing.assert_array_equal(image.get_array(), getattr(found, name)[:, 2].T)
    norms = inspect.gradient_norms(network, x)
    (axis,) = inspect.plot_gradient_norms({"LSTM": norms}).axes
    for line, values in zip(axis.lines, (norms.y, norms.c), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), np.median(values, axis=1))
    above, below = inspect.plot_clipping(np.array([3.0, 0.5, 2.0]), 1.0, np.array([2.0, 1.0, 0.5])).axes
    assert [line.get_ydata()[:3].tolist() for line in above.lines[:2]] == [[3.0, 0.5, 2.0], [1.0, 0.5, 1.0]]
    assert "2 of 3" in above.get_title(loc="left")
    assert below.lines[0].get_ydata().tolist() == [2.0, 1.0, 0.5]
    rnn, lstm = inspect.plot_jacobian_norms(jacobians()).axes
    expected = jacobians()
    for axis, others in ((rnn, expected["RNN"].bounds), (lstm, expected["LSTM"].carousel_norms)):
        np.testing.assert_array_equal(axis.lines[0].get_ydata(), others)
    for axis, one in zip((rnn, lstm), expected.values(), strict=True):
        np.testing.assert_array_equal(axis.lines[1].get_ydata(), one.norms)


OPTIONS = [
    {},
    {"batch_first": True},
    {"peephole": False},
    {"activations": ("hard_logistic", "logistic", "relu")},
    STACK,
    *({"variant": name} for name in VARIANTS if name != "FGR"),
]


@pytest.mark.usefixtures("matplotlib")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_block_has_the_values_of_the_flows(options):
    network = make(LSTM, **options)
    x, state = random(*((B, T, I) if network.batch_first else (T, B, I))), states(network)
    where = {"layer": -1, "direction": -1}
    figure = inspect.draw_block(network, x, -3, 2, state, row=1, **where)
    found = {name: array[T - 3, 1, 2] for name, array in inspect.flows(network, x, state, **where)._asdict().items()}
    i, f, z, o, c, c_prev, y = (found[name] for name in ("i", "f", "z", "o", "c", "c_prev", "y"))
    h = {"tanh": np.tanh, "relu": lambda a: max(a, 0), "identity": lambda a: a}[network._cell.activations[2]](c)
    assert y == pytest.approx(o * h)
    expected = {
        "$i^t$": i, "$f^t$": f, "$z^t$": z, "$o^t$": o, "$c^{t-1}$": c_prev, "$c^t$": c, "$f^t c^{t-1}$": f * c_prev,
        "$i^t z^t$": i * z, "$h(c^t)$": h, "$y^t$": y,
    }  # fmt: skip
    written = {f"{symbol} = " + f"{value:z.2f}".replace("-", "\N{MINUS SIGN}") for symbol, value in expected.items()}
    for axis in figure.axes:
        assert {text.get_text() for text in axis.texts if " = " in text.get_text()} == written
    assert "unit 2 at time step t = 4" in figure.get_suptitle()


@pytest.mark.usefixtures("matplotlib")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_no_words_of_the_block_overlap(options):
    network = make(LSTM, **options)
    network.flat[:] = -np.abs(network.flat)  # minus signs, the longest of the usual values
    x = random(*((B, T, I) if network.batch_first else (T, B, I)))
    figure = inspect.draw_block(network, x, 3)
    figure.draw_without_rendering()
    for axis in figure.axes:
        boxes = [(text.get_text(), text.get_window_extent()) for text in axis.texts if text.get_text()]
        for k, (word, box) in enumerate(boxes):
            for other, another in boxes[:k]:
                assert not box.overlaps(another), f"{word} overlaps {other}"


@pytest.mark.parametrize("name", PICTURES)
def test_missing_matplotlib_is_said(name, monkeypatch):
    for module in ("matplotlib", "matplotlib.figure", "matplotlib.colors"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"^pictures need matplotlib: pip install 'fastlstm\[plot\]'$"):
        PICTURES[name]()


def test_import_needs_no_matplotlib_and_the_library_does_not_import_it():
    code = """
import sys
sys.modules["matplotlib"] = None
import fastlstm
assert "fastlstm.inspect" not in sys.modules
import fastlstm.inspect
fastlstm.inspect.flows
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda n, x: inspect.plot_flows(x), TypeError, "flows must be LSTMFlows, GRUFlows or RNNFlows, not ndarray"),
        (lambda n, x: inspect.plot_flows(inspect.flows(n, x), row=3), ValueError, "row must be an int from -3 to 2"),
        (
            lambda n, x: inspect.plot_deltas(x),
            TypeError,
            "deltas must be LSTMDeltas, GRUDeltas or RNNDeltas, not ndarray",
        ),
        (lambda n, x: inspect.plot_gradient_norms([x]), TypeError, "norms must be a mapping of headings, not list"),
        (lambda n, x: inspect.plot_gradient_norms({}), ValueError, "norms must have at least one item"),
        (
            lambda n, x: inspect.plot_gradient_norms({"LSTM": x}),
            TypeError,
            "norms['LSTM'] must be GradientNorms, not ndarray",
        ),
        (
            lambda n, x: inspect.plot_jacobian_norms({"LSTM": x}),
            TypeError,
            "jacobians['LSTM'] must be CellJacobians or HiddenJacobians, not ndarray",
        ),
        (lambda n, x: inspect.plot_clipping(x, 1, x), ValueError, "norms must have shape (n,), not (7, 3, 2)"),
        (
            lambda n, x: inspect.plot_clipping(x[:, 0, 0], 1, x[1:, 0, 0]),
            ValueError,
            "losses must have shape (n,) = (7,), not (6,)",
        ),
        (
            lambda n, x: inspect.plot_descents(x[:, 0, 0], x[:, 0, 0], x[0], {}, ("R", "b")),
            ValueError,
            "surface must have shape (m, n) = (7, 7), not (3, 2)",
        ),
        (lambda n, x: inspect.draw_block(make(RNN), x, 0), TypeError, "network must be an LSTM, not RNN"),
        (lambda n, x: inspect.draw_block(n, x, T), ValueError, "t must be an int from -7 to 6, not 7"),
        (lambda n, x: inspect.draw_block(n, x, 0, H), ValueError, "unit must be an int from -4 to 3, not 4"),
        (
            lambda n, x: inspect.draw_block(make(LSTM, variant="FGR"), x, 0),
            ValueError,
            "network must not be of variant FGR: the drawing of a block has no gate recurrence",
        ),
        (
            lambda n, x: inspect.draw_block(make(LSTM, proj_size=2), x, 0),
            ValueError,
            "network must have no projection for the drawing of a block, not proj_size=2",
        ),
        (
            lambda n, x: inspect.draw_block(make(LSTM, layer_norm=True), x, 0),
            ValueError,
            "network must have no layer normalisation for the drawing of a block, not layer_norm=True",
        ),
        (
            lambda n, x: inspect.draw_block(make(LSTM, zoneout=(0.0, 0.1)), x, 0),
            ValueError,
            "network must have no zoneout for the drawing of a block, not zoneout=(0.0, 0.1)",
        ),
    ],
)
def test_misuse_of_pictures(call, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        call(*trained(LSTM))
