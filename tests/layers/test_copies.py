"""Copies and pickles: what belonged together still does, what is copied alone has memory of its own."""

import base64
import copy
import json
import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_close, assert_same

from fastlstm import GRU, LSTM, RNN, Frozen, Gradients, Stream, nn
from fastlstm._system import runtime

WAYS = {"deepcopy": copy.deepcopy} | {
    f"pickle {p}": lambda thing, p=p: pickle.loads(pickle.dumps(thing, p))
    for p in range(2, pickle.HIGHEST_PROTOCOL + 1)
}
each_way = pytest.mark.parametrize("copied", WAYS.values(), ids=WAYS)

MODELS = {
    "LSTM": lambda: LSTM(3, 4, dropout=0.5, num_layers=2, seed=0),
    "large": lambda: LSTM(3, 100, seed=0),  # whose memory is aligned
    "GRU": lambda: GRU(3, 4, dtype=np.float64, seed=0),
    "RNN": lambda: RNN(3, 4, dtype=np.float64, seed=0),
    "FGR": lambda: LSTM(3, 4, variant="FGR", seed=0),
    "layer norm": lambda: LSTM(3, 4, 2, layer_norm=True, seed=0),
    "Sequential": lambda: nn.Sequential(LSTM(3, 4, bidirectional=True, seed=0), nn.Last(), nn.Dense(8, 2, seed=1)),
    "networks in networks": lambda: nn.Sequential(
        nn.Sequential(nn.Dropout(0.5), nn.Sequential(LSTM(3, 70, seed=0))), nn.Sequential(nn.Dense(70, 2, seed=1))
    ),
    "Seq2Seq": lambda: nn.Seq2Seq(
        nn.Sequential(nn.Embedding(5, 3, seed=0), LSTM(3, 4, seed=0)),
        nn.Decoder(5, 3, 4, encoded_size=4, attention_size=3, seed=1),
    ),
}
OPTIMISERS = {
    "SGD": lambda flat: nn.SGD(flat, 0.1, momentum=0.5),
    "AdamW": lambda flat: nn.AdamW(flat, nn.CosineDecay(0.1, steps=10)),
}


class Both:
    """A user's object that has a model and its optimiser."""

    def __init__(self, model, optimiser):
        self.optimiser, self.model = optimiser, model


def parts_of(model):
    """A network's layers and theirs."""
    own = list(model._parts().values()) if isinstance(model, nn.Sequential | nn.Seq2Seq | nn.Decoder) else []
    return own + [part for one in own for part in parts_of(one)]


HELD = {
    "model first": (lambda m, o: (m, o), lambda both: both),
    "optimiser first": (lambda m, o: (o, m), lambda both: both[::-1]),
    "dict": (lambda m, o: {"optimiser": [o], "more": {"model": m}}, lambda d: (d["more"]["model"], d["optimiser"][0])),
    "object": (Both, lambda both: (both.model, both.optimiser)),
    "parts first": (lambda m, o: (parts_of(m), o, m), lambda found: (found[2], found[1])),
}


def train(model, optimiser, steps, seed):
    """Some steps of a training, from the network to its gradients and back."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        if isinstance(model, nn.Seq2Seq):
            *_, tape = found = model.forward(rng.integers(0, 5, (4, 2)), rng.integers(0, 5, (3, 2)), rng=rng)
        else:
            *_, tape = found = model.forward(rng.standard_normal((4, 2, 3)).astype(model.dtype), rng=rng)
        optimiser.step(model.backward(tape, found[0]).flat)


@each_way
@pytest.mark.parametrize("how", HELD)
@pytest.mark.parametrize("kind", OPTIMISERS)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_and_its_optimiser_belong_together(name, kind, how, copied):
    hold, given = HELD[how]
    model = MODELS[name]()
    optimiser = OPTIMISERS[kind](model.flat)
    train(model, optimiser, 3, seed=0)
    before = model.flat.copy()
    twin, twins_optimiser = given(copied(hold(model, optimiser)))
    assert twins_optimiser.flat is twin.flat
    assert not np.shares_memory(twin.flat, model.flat)
    train(twin, twins_optimiser, 3, seed=1)
    assert_same({"flat": model.flat}, {"flat": before})
    assert not np.array_equal(twin.flat, before)
    train(model, optimiser, 3, seed=1)
    assert_same({"flat": twin.flat} | dict(twin.params), {"flat": model.flat} | dict(model.params))
    assert_same(twins_optimiser.state(), optimiser.state())
    for part in (twin, *parts_of(twin)):
        for array in (part.flat, *part.params.values()):
            assert np.shares_memory(array, twin.flat) or not array.size


@each_way
def test_training_goes_on_with_fit(copied):
    x, target = np.random.default_rng(0).standard_normal((2, 8, 5, 3)).astype(np.float32)
    batches = nn.Batches(x, target[:, 0, :2].copy(), 4)
    model = MODELS["Sequential"]()
    optimiser = nn.Adam(model.flat)
    nn.fit(model, nn.mse, batches, optimiser=optimiser, epochs=2, progress=False)
    twin, twins = copied((model, optimiser))
    for one, its in ((model, optimiser), (twin, twins)):
        nn.fit(one, nn.mse, batches, optimiser=its, epochs=2, progress=False)
    assert_same({"flat": twin.flat}, {"flat": model.flat})


@each_way
def test_an_optimiser_of_a_part_of_a_network_raises(copied):
    model = MODELS["Sequential"]()
    twin, optimiser = copied((model, nn.Adam(model.layers[2].flat)))
    with pytest.raises(ValueError, match="that of a network's part anew for each copy"):
        optimiser.step(np.ones(optimiser.flat.size, np.float32))
    nn.Adam(twin.layers[2].flat).step(np.ones(optimiser.flat.size, np.float32))


@pytest.mark.parametrize("name", MODELS)
def test_a_shallow_copy_of_a_network_has_its_own_parameters(name):
    model = MODELS[name]()
    before = model.flat.copy()
    twin = copy.copy(model)
    assert repr(twin) == repr(model)
    assert_same(dict(twin.params), dict(model.params))
    twin.flat[:] = 0
    for part in (twin, *parts_of(twin)):
        assert not any(array.any() for array in part.params.values())
    assert_same({"flat": model.flat}, {"flat": before})
    if not isinstance(model, nn.Seq2Seq):
        nn.Sequential(twin)  # no part of another network


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_copies_of_an_optimiser_alone(kind):
    flat, gradient = np.linspace(0, 1, 5), np.linspace(1, 2, 5)
    optimiser = OPTIMISERS[kind](flat)
    optimiser.step(gradient)
    alone = copy.deepcopy(optimiser)
    assert not np.shares_memory(alone.flat, flat)
    shallow = copy.copy(optimiser)
    assert shallow.flat is flat
    assert repr(shallow) == repr(alone) == repr(optimiser)
    before = {name: array.copy() for name, array in optimiser.state().items()}
    assert_same(shallow.state(), before)
    shallow.step(gradient)
    assert (shallow.t, optimiser.t) == (2, 1)
    assert_same(optimiser.state(), before)
    alone.step(gradient)
    assert_same({"flat": alone.flat} | alone.state(), {"flat": flat} | shallow.state())


@pytest.mark.parametrize("B", [2, 128])
@pytest.mark.parametrize("how", [{}, {"proj_size": 2}, {"variant": "FGR"}])
def test_copies_of_a_stream(how, B):
    lstm, x = LSTM(3, 4, seed=0, **how), np.random.default_rng(0).standard_normal((2, B, 3)).astype(np.float32)
    stream = Stream(lstm, B, num_threads=1)
    stream.step(x[0])
    twins = {name: copied((lstm, stream)) for name, copied in WAYS.items()} | {"copy": (lstm, copy.copy(stream))}
    before = {"y": stream.y.copy()} | {str(k): part.copy() for k, part in enumerate(stream.state)}
    for network, twin in twins.values():
        assert twin.network is network
        assert twin.num_threads == 1
        found = {"y": twin.y.copy()} | {str(k): part.copy() for k, part in enumerate(twin.state)}
        assert_same(found, before)
        twin.step(x[1])
        assert_same({"y": stream.y} | {str(k): part for k, part in enumerate(stream.state)}, before)
    expected = stream.step(x[1])
    for network, twin in twins.values():
        assert_same({"y": twin.y}, {"y": expected})
        network.flat[:] = 0
        twin.reset()
        assert not twin.step(x[1]).any()


def test_copies_of_what_is_frozen():
    frozen = Frozen(LSTM(3, 4, seed=0), "int8")
    assert copy.copy(frozen) is frozen
    assert copy.deepcopy(frozen) is frozen
    stream, x = Stream(frozen, 2), np.ones((2, 3), np.float32)
    stream.step(x)
    twin = copy.deepcopy(stream)
    assert twin.network is frozen
    assert_same({"y": twin.step(x)}, {"y": stream.step(x)})
    with pytest.raises(TypeError, match="pickle the network"):
        pickle.dumps(stream)


@pytest.mark.parametrize("copied", [copy.copy, *WAYS.values()], ids=["copy", *WAYS])
def test_copies_of_gradients_and_tapes(copied):
    model = nn.Sequential(nn.Sequential(nn.Dense(3, 3, seed=0)), LSTM(3, 4, seed=1), nn.Last())
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)
    y, _, tape = model.forward(x)
    grads = model.backward(tape, y)
    twin = copied(grads)
    shared = copied is copy.copy
    assert np.shares_memory(twin.flat, grads.flat) is shared
    expected = {"flat": grads.flat.copy(), "x": grads.x.copy()} | {k: array.copy() for k, array in grads.params.items()}
    assert_same({"flat": twin.flat, "x": twin.x} | dict(twin.params), expected)
    assert_same({"V": twin.parts["0"].parts["0"].params["V"]}, {"V": grads.params["0.0.V"]})
    twin.flat[:] = 0
    assert not any(array.any() for array in twin.params.values())
    assert not twin.parts["0"].parts["0"].params["V"].any()
    again = model.backward(copied(tape), y, out=twin)
    assert again is twin
    assert_same({"flat": twin.flat, "x": twin.x} | dict(twin.params), expected)
    assert isinstance(copied(Gradients(np.zeros(0), {})), Gradients)  # of no backward pass


@each_way
def test_copies_of_params_are_plain(copied):
    lstm = LSTM(2, 3, seed=0)
    params = copied(lstm.params)
    assert type(params) is dict
    assert_same(params, dict(lstm.params))
    assert not any(np.shares_memory(array, lstm.flat) for array in params.values())


# ---- what the first version pickled ----

DATA = Path(__file__).parents[1] / "data_0_1_0"
PICKLES = {
    name: zlib.decompress(base64.b64decode(text))
    for name, text in json.loads((DATA / "copies.json").read_text()).items()
}


def filled(layer):
    layer.flat[:] = np.linspace(-0.5, 0.5, layer.flat.size)
    return layer


OLD = {
    "lstm": lambda: LSTM(
        2, 3, num_layers=2, bidirectional=True, variant="CIFG", clip=2, dropout=0.25,
        activations=("logistic", "tanh", "relu"),
    ),
    "rnn": lambda: RNN(2, 3, nonlinearity="relu", zoneout=0.25, dtype=np.float64, batch_first=True),
    "network": lambda: nn.Sequential(
        nn.Embedding(4, 2), nn.Sequential(nn.Dropout(0.5), LSTM(2, 3, variant="FGR")), nn.Mean(),
        nn.Dense(3, 2, activation="tanh"),
    ),
    "seq2seq": lambda: nn.Seq2Seq(
        nn.Sequential(LSTM(2, 2)), nn.Decoder(4, 2, 3, encoded_size=2, attention_size=2)
    ),
    "dense": lambda: nn.Dense(2, 2),
    "attention": lambda: nn.Attention(2, 2, 2),
    "embedding": lambda: nn.Embedding(3, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", OLD)
def test_networks_of_the_first_version(name):
    expected, found = filled(OLD[name]()), pickle.loads(PICKLES[name])
    assert repr(found) == repr(expected)
    assert_same({"flat": found.flat} | dict(found.params), {"flat": expected.flat} | dict(expected.params))
    x = np.ones((2, 2), int) if name in ("network", "embedding") else np.ones((2, 2, 2), found.dtype)
    how = {"network": (x,), "seq2seq": (x, np.ones((2, 2), int)), "attention": (x, x)}.get(name, (x,))
    assert_same(*({"y": one(*how)[0]} for one in (found, expected)))
    found.flat[:] = 0
    assert not any(array.any() for part in (found, *parts_of(found)) for array in part.params.values())


@pytest.mark.parametrize("name", ["network_and_optimiser", "optimiser_and_network"])
def test_a_model_and_its_optimiser_of_the_first_version(name):
    found = pickle.loads(PICKLES[name])
    model, optimiser = found if isinstance(found, tuple) else (found["model"], found["optimiser"])
    expected = filled(nn.Sequential(RNN(2, 2), nn.Last(), nn.Dense(2, 1)))
    adam = nn.AdamW(expected.flat, nn.CosineDecay(0.1, 10), weight_decay=0.1)
    adam.step(np.ones_like(expected.flat))
    filled(expected)
    assert optimiser.flat is model.flat
    for one, own in ((model, optimiser), (expected, adam)):
        y, _, tape = one.forward(np.ones((3, 2, 2), np.float32))
        own.step(one.backward(tape, y).flat)
    assert_same({"flat": model.flat} | optimiser.state(), {"flat": expected.flat} | adam.state())
    assert (repr(optimiser), optimiser.t) == (repr(adam), 2)


def assert_as_pickled(found, expected):
    """With the instructions of the machine that made the pickles, bit for bit; with others, but for rounding."""
    if runtime.ISA == "avx512":
        assert_same(found, expected)
    else:
        assert_close(found, expected, 1e-6)


def test_what_else_the_first_version_pickled():
    found = {name: pickle.loads(data) for name, data in PICKLES.items() if name not in OLD}
    assert [repr(layer) for layer in found["pooling"]] == ["Last()", "Mean()", "Dropout(0.25)"]
    sgd = nn.SGD(np.linspace(0, 1, 4), 0.1, momentum=0.5, nesterov=True)
    for one in (sgd, sgd, found["sgd"]):
        one.step(np.ones(4))
    assert_same({"flat": found["sgd"].flat} | found["sgd"].state(), {"flat": sgd.flat} | sgd.state())
    layer, tape = found["tape"]
    y, _, again = layer.forward(np.ones((2, 1, 1), np.float32))
    assert_as_pickled({"flat": layer.backward(tape, y).flat}, {"flat": layer.backward(again, y).flat})
    fgr, x = LSTM(1, 2, variant="FGR", clip=2.0, zoneout=(0.5, 0.5), seed=0), np.ones((2, 1, 1), np.float32)
    _, _, again = fgr.forward(x, lengths=[1], masks=found["lstm_tapes"][0].masks, recompute=1)
    dy = np.ones((2, 1, 2), np.float32)
    if runtime.ISA == "avx512":
        assert_same({"flat": fgr.backward(found["lstm_tapes"][0], dy).flat}, {"flat": fgr.backward(again, dy).flat})
    else:  # full gate recurrence lays out a state by the machine's vectors
        with pytest.raises(ValueError, match=r"^tape\.checkpoints\.y must have shape"):
            fgr.backward(found["lstm_tapes"][0], dy)
    rnn = RNN(1, 2, seed=0)
    assert_as_pickled({"x": rnn.backward(found["rnn_tape"], dy).x}, {"x": rnn.backward(rnn.forward(x)[2], dy).x})
    plain = filled(LSTM(1, 1))
    assert_same({"y": found["no_clip"](x)[0]}, {"y": plain(x)[0]})
    assert_same({"y": found["clip_true"](x)[0]}, {"y": filled(LSTM(1, 1, clip=1))(x)[0]})
    assert_same({"data": found["packed"].data}, {"data": x[:, 0]})
    assert found["masks"].between[0].shape == (1, 1, 2)
    lstm = filled(LSTM(2, 3, num_layers=2))
    stream, x_t = Stream(lstm, 2), np.ones((2, 2), np.float32)
    stream.step(x_t)
    assert_as_pickled({"y": found["stream"].step(x_t)}, {"y": stream.step(x_t)})


def test_a_pickle_of_other_sizes():
    state = LSTM(2, 3).__getstate__() | {"flat": np.zeros(5, np.float32)}
    with pytest.raises(ValueError, match=r"^flat must have shape \(81,\), not \(5,\)"):
        LSTM.__new__(LSTM).__setstate__(state)


def test_parameters_that_cannot_be_written_to_are_copied():
    """As a program's that maps its pickles into memory."""
    state = LSTM(2, 3, seed=0).__getstate__()
    state["flat"].flags.writeable = False
    lstm = LSTM.__new__(LSTM)
    lstm.__setstate__(state)
    lstm.flat[:] = 0
    assert state["flat"].any()
