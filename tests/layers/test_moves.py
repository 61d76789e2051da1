"""Parameters move to the buffer of a network: what holds them follows, or raises where it is written to."""

import numpy as np
import pytest
from helpers import assert_same

from fastlstm import GRU, LSTM, RNN, Frozen, Stream, nn

OPTIONS = {
    "plain": (LSTM, {}),
    "two layers": (LSTM, {"num_layers": 2}),
    "float64": (LSTM, {"dtype": np.float64}),
    "projection": (LSTM, {"proj_size": 2}),
    "zoneout": (LSTM, {"zoneout": (0.25, 0.5), "num_layers": 2}),
    "FGR": (LSTM, {"variant": "FGR"}),
    "FGR, two layers": (LSTM, {"variant": "FGR", "num_layers": 2}),
    "batch invariant": (LSTM, {"batch_invariant": True}),
    "layer norm": (LSTM, {"layer_norm": True, "num_layers": 2}),
    "GRU": (GRU, {"num_layers": 2}),
    "RNN": (RNN, {"num_layers": 2}),
    "RNN with zoneout": (RNN, {"zoneout": 0.25}),
}
MOVES = {
    "a network": lambda layer: nn.Sequential(layer),
    "networks in networks": lambda layer: nn.Sequential(nn.Sequential(nn.Sequential(layer), nn.Last())),
    "an encoder": lambda layer: nn.Seq2Seq(
        layer, nn.Decoder(3, 2, 3, encoded_size=layer.output_size, dtype=layer.dtype, seed=0)
    ),
}


def arrays(state):
    return dict(enumerate(state if isinstance(state, tuple) else (state,)))


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("B", [1, 128])
@pytest.mark.parametrize("option", OPTIONS)
def test_streams_step_with_the_parameters_of_now(option, B, move):
    kind, how = OPTIONS[option]
    layer = kind(3, 5, seed=0, **how)
    rng = np.random.default_rng(1)
    stream, twin = Stream(layer, B), Stream(layer, B)
    network = layer
    for change in (None, MOVES[move], None if move == "an encoder" else nn.Sequential):
        if change is not None:
            network = change(network)
            network.flat[:] = rng.uniform(-0.5, 0.5, network.flat.size)
        x = rng.standard_normal((B, 3)).astype(layer.dtype)
        fresh = Stream(layer, B)
        for own, given in zip(arrays(fresh.state).values(), arrays(stream.state).values(), strict=True):
            own[:] = given
        y = stream.step(x)
        assert_same({"y": y} | arrays(stream.state), {"y": fresh.step(x)} | arrays(fresh.state))
        assert np.abs(y).max() > 0.01
    expected = twin.step(x).copy()
    layer.flat[:] = 0
    assert not np.array_equal(twin.step(x), expected)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN", "Dense", "Attention", "Embedding"])
def test_what_params_gave_before_cannot_be_written_to(kind):
    layer = {
        "LSTM": lambda: LSTM(2, 3, seed=0), "GRU": lambda: GRU(2, 3, seed=0),
        "RNN": lambda: RNN(2, 3, seed=0), "Dense": lambda: nn.Dense(2, 3, seed=0),
        "Attention": lambda: nn.Attention(2, 2, 3, seed=0), "Embedding": lambda: nn.Embedding(2, 3, seed=0),
    }[kind]()  # fmt: skip
    if kind == "Attention":
        network = nn.Decoder(4, 2, 3, encoded_size=2, attention_size=2, seed=0)
        layer = network.attention
        before = dict(network.params) | {"flat": network.flat} | dict(layer.params) | {"own flat": layer.flat}
        network = nn.Seq2Seq(None, network)
    else:
        before = dict(layer.params) | {"flat": layer.flat}
        network = nn.Sequential(layer)
        before |= {f"in a network {name}": array for name, array in (*network.params.items(), ("flat", network.flat))}
        before |= {f"its own {name}": array for name, array in (*layer.params.items(), ("flat", layer.flat))}
        network = nn.Sequential(network)
    for array in before.values():
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
    for array in (network.flat, *network.params.values(), layer.flat, *layer.params.values()):
        assert np.shares_memory(array, network.flat)
        array[:] = 0.5
    assert (network.flat == 0.5).all()


@pytest.mark.parametrize("recompute", [None, 2])
def test_a_backward_pass_of_before(recompute):
    """The tape refers to the parameters where they were: the move leaves their values."""
    layer = LSTM(2, 3, 2, seed=0)
    x = np.random.default_rng(0).standard_normal((5, 2, 2)).astype(np.float32)
    y, _, tape = layer.forward(x, recompute=recompute)
    grads = layer.backward(tape, y)
    expected = {"flat": grads.flat.copy(), "x": grads.x.copy()}
    nn.Sequential(nn.Sequential(layer))
    again = layer.backward(tape, y, out=grads)
    assert_same({"flat": again.flat, "x": again.x}, expected)


def test_gradients_of_before_fit_afterwards():
    dense, lstm = nn.Dense(2, 3, seed=0), LSTM(3, 2, seed=1)
    inner = nn.Sequential(dense, lstm)
    x = np.ones((4, 2, 2), np.float32)
    y, _, tape = inner.forward(x)
    grads = inner.backward(tape, y)
    expected = grads.flat.copy()
    outer = nn.Sequential(inner)
    outer.flat *= 2
    y, _, tape = inner.forward(x)
    inner.backward(tape, y, out=grads)
    assert not np.array_equal(grads.flat, expected)
    assert_same({"flat": grads.flat}, {"flat": inner.backward(tape, y).flat})
    assert_same({"flat": grads.flat}, {"flat": outer.backward(outer.forward(x)[-1], y).flat})


def test_an_optimiser_of_before_raises():
    lstm = LSTM(2, 3, seed=0)
    inner = nn.Sequential(lstm)
    optimisers = [nn.Adam(LSTM(2, 3).flat), nn.Adam(inner.flat)]
    nn.Sequential(inner)
    optimisers[0].step(np.ones(lstm.flat.size, np.float32))
    with pytest.raises(ValueError, match="flat is a layer's own no more"):
        optimisers[1].step(np.ones(lstm.flat.size, np.float32))


def test_frozen_networks_stay_as_they_are():
    lstm = LSTM(2, 3, seed=0)
    frozen, x = Frozen(lstm), np.ones((3, 1, 2), np.float32)
    expected = frozen(x)[0]
    nn.Sequential(lstm).flat[:] = 0
    assert_same({"y": frozen(x)[0]}, {"y": expected})
