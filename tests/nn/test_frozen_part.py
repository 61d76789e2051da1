"""Layers that are frozen: their gradients, what is not computed, optimisers, training, files."""

import copy
import itertools
import pickle

import numpy as np
import pytest

import fastlstm
from fastlstm import LSTM, RNN, FileError, nn
from fastlstm._arrays import files

F = np.float64


class Scale(nn.Layer):
    def __init__(self, input_size):
        self.input_size = input_size
        super().__init__(dtype=F)

    def shapes(self):
        return {"a": (self.input_size,)}

    def initialise(self, rng):
        self.params["a"][:] = 2

    def compute(self, x):
        return self.params["a"] * x, x

    def gradients(self, x, dy):
        own = {"a": (dy * x).reshape(-1, self.input_size).sum(axis=0)} if self.trainable else {}
        return self.params["a"] * dy, own


def network(seed=0):
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        LSTM(3, 4, bidirectional=True, recurrent_dropout=0.2, drop_connect=0.2, dtype=F, seed=rng),
        nn.Sequential(nn.Dense(8, 5, activation="tanh", dtype=F, seed=rng), Scale(5), nn.Dropout(0.2)),
        RNN(5, 3, dtype=F, seed=rng),
        nn.Last(),
        nn.Dense(3, 2, dtype=F, seed=rng),
    )


LEAVES = ["0", "1.0", "1.1", "2", "4"]


def part_of(network, name):
    for own in name.split("."):
        network = network._parts()[own]
    return network


def sections(network):
    """The slice of each leaf in the buffer."""
    found, start = {}, 0
    for name in LEAVES:
        size = part_of(network, name).flat.size
        found[name] = slice(start, start + size)
        start += size
    return found


def backward(net, x, **given):
    y, state, tape = net.forward(x, lengths=[5, 3], rng=np.random.default_rng(7))
    dstate = ((np.ones_like(state[0][0]), None), (), np.ones_like(state[2]))
    return net.backward(tape, np.cos(y), dstate, **given)


X = np.random.default_rng(0).normal(size=(5, 2, 3))


@pytest.mark.parametrize("frozen", [c for n in range(6) for c in itertools.combinations(LEAVES, n)], ids=",".join)
def test_gradients(frozen):
    """Those of trained layers are as they were, bit by bit; those of frozen ones are zeros, whatever was there."""
    net = network()
    expected = backward(net, X)
    for name in frozen:
        part_of(net, name).trainable = False
    wanted = expected.flat.copy()
    for name in frozen:
        wanted[sections(net)[name]] = 0
    grads = backward(net, X)
    assert grads.flat.tobytes() == wanted.tobytes()
    stops = "0" in frozen and len(frozen) < len(LEAVES)
    assert grads.x is None if stops else grads.x.tobytes() == expected.x.tobytes()
    if stops:
        assert grads.state[0] is None
    else:
        np.testing.assert_array_equal(grads.state[0][0], expected.state[0][0])
    grads.flat[:] = np.nan
    assert backward(net, X, out=grads).flat.tobytes() == wanted.tobytes()
    grads.flat[:] = 1
    np.testing.assert_allclose(backward(net, X, out=grads, accumulate=True).flat, wanted + 1, rtol=1e-14)
    for name in frozen:
        assert (grads.flat[sections(net)[name]] == 1).all()
        part_of(net, name).trainable = True
    assert backward(net, X, out=grads).flat.tobytes() == expected.flat.tobytes()


def test_what_is_below_the_lowest_trained_layer_is_not_run(monkeypatch):
    net = network()
    ran = []
    for kind in (LSTM, RNN):
        original = kind.backward

        def counted(self, *args, _original=original, **named):
            ran.append(type(self).__name__)
            return _original(self, *args, **named)

        monkeypatch.setattr(kind, "backward", counted)
    backward(net, X)
    assert ran == ["RNN", "LSTM"]
    for name, expected in (("0", ["RNN"]), ("1", ["RNN"]), ("2", [])):
        part_of(net, name).trainable = False
        ran.clear()
        backward(net, X)
        assert ran == expected
    nested = nn.Sequential(network())
    nested.layers[0].layers[0].trainable = False
    ran.clear()
    y, _, tape = nested.forward(X, rng=np.random.default_rng(0))
    nested.backward(tape, y)
    assert ran == ["RNN"]


def test_products_that_a_dense_layer_is_spared(monkeypatch):
    from fastlstm.nn import _products

    net = nn.Sequential(*(nn.Dense(3, 3, dtype=F, seed=k) for k in range(4)))
    products = []
    multiply = _products.multiply
    y, _, tape = net.forward(X)
    monkeypatch.setattr(_products, "multiply", lambda *args, **named: products.append(1) or multiply(*args, **named))
    for frozen, expected in (((), 8), ((1,), 7), ((1, 2), 6), ((0,), 5), ((0, 1), 3), ((0, 1, 3), 2), (range(4), 4)):
        for k, layer in enumerate(net.layers):
            layer.trainable = k not in frozen
        products.clear()
        net.backward(tape, y)
        assert len(products) == expected


def test_a_frozen_layer_alone_gives_dx_alone():
    attention = nn.Attention(3, 3, 4, dtype=F, seed=0)
    for layer, forward in [
        (LSTM(3, 4, 2, proj_size=2, variant="FGR", dtype=F, seed=0), lambda one: one.forward(X)),
        (LSTM(3, 4, dtype=F, seed=0), lambda one: one.forward(X, recompute=2)),
        (nn.Dense(3, 2, dtype=F, seed=0), lambda one: one.forward(X)),
        (Scale(3), lambda one: one.forward(X)),
        (attention, lambda one: one.forward(X, X)),
    ]:
        y, *_, tape = forward(layer)
        before = layer.flat.copy()
        expected = layer.backward(tape, y)
        layer.trainable = False
        grads = layer.backward(tape, y)
        assert not grads.flat.any()
        assert expected.flat.any()
        np.testing.assert_array_equal(np.asarray(grads.x), np.asarray(expected.x))
        np.testing.assert_array_equal(layer.flat, before)
        grads.flat[:] = 7
        for given in (expected, grads):
            assert not layer.backward(tape, y, out=given).flat.any()


def test_an_embedding():
    net = nn.Sequential(nn.Embedding(5, 3, dtype=F, seed=0), nn.Dense(3, 2, dtype=F, seed=1))
    y, _, tape = net.forward(np.array([[1, 4], [2, 2]]))
    expected = net.backward(tape, y).flat.copy()
    net.layers[0].trainable = False
    grads = net.backward(tape, y)
    assert not grads.flat[:15].any()
    np.testing.assert_array_equal(grads.flat[15:], expected[15:])
    alone = net.layers[0].backward(tape.layers[0], np.ones((2, 2, 3)))
    assert not alone.flat.any()
    assert alone.x is None


# ---- networks of an encoder and a decoder ----


def translator(attention_size=3):
    encoder = nn.Sequential(nn.Embedding(6, 3, dtype=F, seed=0), LSTM(3, 4, bidirectional=True, dtype=F, seed=1))
    decoder = nn.Decoder(7, 3, 4, encoded_size=8, attention_size=attention_size, dropout=0.2, dtype=F, seed=2)
    return nn.Seq2Seq(encoder, decoder)


PARTS = ["encoder.0", "encoder.1", "decoder.embedding", "decoder.initial", "decoder.lstm", "decoder.output"]
MORE = ["decoder.attention", "decoder.combine"]


@pytest.mark.parametrize("attention_size", [None, 3])
def test_gradients_of_a_translator(attention_size):
    model, rng = translator(attention_size), np.random.default_rng(0)
    names = PARTS if attention_size is None else PARTS + MORE
    x, target = rng.integers(0, 6, (5, 2)), rng.integers(0, 7, (4, 2))
    logits, _, tape = model.forward(x, target, [5, 3], rng=np.random.default_rng(7))
    expected, grads = model.backward(tape, np.cos(logits)), None
    for n in range(len(names) + 1):
        for frozen in itertools.combinations(names, n):
            for name in names:
                part_of(model, name).trainable = name not in frozen
            grads = model.backward(tape, np.cos(logits), out=grads)
            for name, gradient in grads.params.items():
                is_frozen = any(name.startswith(own + ".") for own in frozen)
                wanted = 0 * gradient if is_frozen else expected.params[name]
                np.testing.assert_array_equal(gradient, wanted, err_msg=f"{name}, frozen: {frozen}")
            assert [part_of(model, name).trainable for name in names] == [name not in frozen for name in names]


def test_a_decoder_alone_gives_what_goes_to_an_encoder():
    decoder = translator().decoder
    encoded, target = np.random.default_rng(0).normal(size=(5, 2, 8)), np.ones((4, 2), int)
    logits, _, tape = decoder.forward(target, encoded, rng=np.random.default_rng(0))
    expected = decoder.backward(tape, logits).x
    decoder.trainable = False
    grads = decoder.backward(tape, logits)
    np.testing.assert_array_equal(grads.x, expected)
    assert not grads.flat.any()


def test_a_frozen_encoder_is_not_run(monkeypatch):
    model = translator()
    logits, _, tape = model.forward(np.ones((5, 2), int), np.ones((4, 2), int), rng=np.random.default_rng(0))
    model.encoder.trainable = False
    monkeypatch.setattr(LSTM, "backward", None)
    model.decoder.lstm.trainable = model.decoder.embedding.trainable = model.decoder.initial.trainable = False
    assert model.backward(tape, logits).x is None  # Not even the decoder's LSTM is run.


# ---- trainable ----


def test_trainable():
    net = network()
    assert net.trainable
    net.layers[1].trainable = False
    assert not net.layers[1].layers[0].trainable
    assert not net.layers[1].layers[1].trainable
    assert net.trainable
    net.trainable = False
    assert not any(layer.trainable for layer in net.layers)
    assert not net.trainable
    net.layers[1].layers[1].trainable = True
    assert (net.trainable, net.layers[1].trainable, net.layers[0].trainable) == (True, True, False)
    assert nn.Sequential(nn.Dropout(0.5)).trainable
    for wrong in ("no", 0, None):
        with pytest.raises(TypeError, match="trainable must be a bool"):
            net.trainable = wrong
        with pytest.raises(TypeError, match="trainable must be a bool"):
            net.layers[0].trainable = wrong


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_are_frozen_too(copied):
    net = network()
    net.layers[0].trainable = net.layers[1].layers[1].trainable = False
    twin = copied(net)
    assert [part_of(twin, name).trainable for name in LEAVES] == [False, True, False, True, True]
    assert not copied(net.layers[0]).trainable
    twin.trainable = True
    assert not net.layers[0].trainable
    assert not net.layers[0].to("cpu").trainable
    grads = copied(backward(net, X))
    assert not grads.flat[sections(net)["0"]].any()


@pytest.mark.parametrize("make", [network, translator], ids=["Sequential", "Seq2Seq"])
def test_files(make, tmp_path):
    net, frozen = make(), (["0", "1.1"] if make is network else ["encoder.1", "decoder.attention"])
    fastlstm.save(net, tmp_path / "trained")
    for name in frozen:
        part_of(net, name).trainable = False
    fastlstm.save(net, tmp_path / "frozen")
    again = fastlstm.load(tmp_path / "frozen", layers=[Scale])
    assert again._frozen() == frozen
    assert again.flat.tobytes() == net.flat.tobytes()
    assert fastlstm.load(tmp_path / "trained", layers=[Scale])._frozen() == []
    dense = nn.Dense(3, 2)
    dense.trainable = False
    fastlstm.save(dense, tmp_path / "dense")
    assert not fastlstm.load(tmp_path / "dense").trainable


@pytest.mark.parametrize("names", [["1"], ["0.5"], ["0.0.0"], [3], 3, [None], [["0"]], {"layers": 3}])
def test_files_that_freeze_what_there_is_not(names, tmp_path):
    net = nn.Sequential(nn.Dense(3, 2, seed=0))
    content = {"architecture": fastlstm.saving.architecture(net), "frozen": names}
    files.write(tmp_path / "wrong", "network", dict(net.params), content)
    with pytest.raises(FileError, match="no layer to be frozen"):
        fastlstm.load(tmp_path / "wrong")


# ---- optimisers ----

OPTIMISERS = {
    "SGD": lambda flat: nn.SGD(flat, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "plain": lambda flat: nn.SGD(flat, 0.1, weight_decay=0.1),
    "Adam": lambda flat: nn.Adam(flat, 0.1, epsilon=0),
    "AdamW": lambda flat: nn.AdamW(flat, 0.1, weight_decay=0.5),
}


@pytest.mark.parametrize("kind", OPTIMISERS)
@pytest.mark.parametrize("threads", [1, 2])
def test_optimisers_leave_frozen_parameters_alone(kind, threads, default_threads):
    """The trained part is as an optimiser of that part alone leaves it; what has momentum is not moved by it."""
    fastlstm.set_num_threads(threads)
    net = nn.Sequential(*(nn.Dense(150, 150, seed=k) for k in range(5)), nn.Dropout(0.5))
    twin, rng = copy.deepcopy(net), np.random.default_rng(0)
    optimiser = OPTIMISERS[kind](net)
    assert optimiser.flat is net.flat
    alone = [OPTIMISERS[kind](layer.flat) for layer in twin.layers[:5]]

    def step(trained):
        gradient = rng.normal(size=net.flat.size).astype(np.float32)
        optimiser.step(gradient)
        for one, own in zip(alone, np.split(gradient, 5), strict=True):
            if one in trained:
                one.step(own)

    step(alone)
    net.layers[0].trainable = net.layers[2].trainable = False
    before = net.flat.copy()
    step([alone[1], *alone[3:]])
    step([alone[1], *alone[3:]])
    assert net.flat.tobytes() == twin.flat.tobytes()
    assert net.layers[0].flat.tobytes() == before[: net.layers[0].flat.size].tobytes()
    for name, buffer in optimiser.state().items():
        assert buffer.tobytes() == b"".join(one.state()[name].tobytes() for one in alone)
    assert optimiser.t == 3
    net.trainable = False
    before = net.flat.copy()
    step([])
    assert net.flat.tobytes() == before.tobytes()


def test_a_step_says_what_is_not_finite_in_any_section():
    net = nn.Sequential(*(nn.Dense(3, 3, seed=k) for k in range(3)))
    net.layers[1].trainable = False
    gradient = np.zeros_like(net.flat)
    gradient[0] = 1e30
    with pytest.warns(RuntimeWarning, match="v is no longer finite"):
        nn.Adam(net).step(gradient)
    gradient[0], gradient[13] = 0, np.nan  # That of a frozen parameter.
    nn.Adam(net).step(gradient)


def test_optimisers_of_networks():
    net = network()
    optimiser = nn.Adam(net)
    for twin_net, twin in (copy.deepcopy((net, optimiser)), pickle.loads(pickle.dumps((net, optimiser)))):
        assert twin.flat is twin_net.flat
        twin_net.layers[0].trainable = False
        before = twin_net.layers[0].flat.copy()
        twin.step(np.ones_like(net.flat))
        assert twin_net.layers[0].flat.tobytes() == before.tobytes()
        assert twin_net.layers[4].flat.tobytes() != net.layers[4].flat.tobytes()
    same = copy.copy(optimiser)
    assert same.flat is net.flat
    assert repr(same) == repr(nn.Adam(net.flat))
    with pytest.raises(TypeError, match="flat must be a NumPy array, not int"):
        nn.Adam(3)
    dense = nn.Dense(2, 2)
    early = nn.SGD(dense, 0.1)
    nn.Sequential(dense)
    with pytest.raises(ValueError, match="flat is a layer's own no more"):
        early.step(np.ones(6, np.float32))


# ---- training ----


def data_for(model, x):
    return nn.Batches(list(x), np.stack([one[:, :2].mean(axis=0) for one in x]), 4)


@pytest.mark.parametrize("given", [None, "flat", "network"])
def test_fit_trains_the_rest_as_if_it_were_alone(given):
    """The head of a frozen encoder, on its outputs: the same bits, clipped by the norm of its own gradients."""
    rng = np.random.default_rng(0)
    encoder = nn.Sequential(LSTM(3, 6, dtype=F, seed=0), nn.Last())
    head = nn.Sequential(nn.Dense(6, 4, activation="tanh", dtype=F, seed=1), nn.Dense(4, 2, dtype=F, seed=2))
    x = list(rng.normal(size=(20, 5, 3)))
    target = rng.normal(size=(20, 2))
    whole = nn.Sequential(copy.deepcopy(encoder), copy.deepcopy(head))
    whole.layers[0].trainable = False
    optimisers = [None, None]
    if given is not None:
        optimisers = [nn.AdamW(whole.flat if given == "flat" else whole, 0.01, weight_decay=0.3),
                      nn.AdamW(head.flat, 0.01, weight_decay=0.3)]  # fmt: skip
    before = whole.layers[0].flat.copy()
    same = {"epochs": 5, "clip": 0.05, "average": 0.9, "progress": False}
    found = nn.fit(whole, nn.mse, nn.Batches(x, target, 4), optimiser=optimisers[0], **same)

    class Same:
        """The same batches in the same order, of the encoder's outputs."""

        def __len__(self):
            return 5

        def epoch(self, rng=None):
            for batch in nn.Batches(x, target, 4).epoch(rng):
                yield batch._replace(inputs={"x": encoder(**batch.inputs)[0]})

    expected = nn.fit(head, nn.mse, Same(), optimiser=optimisers[1], **same)
    assert whole.layers[0].flat.tobytes() == before.tobytes()
    assert whole.layers[1].flat.tobytes() == head.flat.tobytes()
    assert [epoch.loss for epoch in found.epochs] == [epoch.loss for epoch in expected.epochs]


def test_gradual_unfreezing_with_one_optimiser():
    net, x = network(), np.random.default_rng(0).normal(size=(20, 5, 3))
    data, optimiser = data_for(net, x), nn.Adam(net, 0.01)
    net.layers[0].trainable = False
    first = net.layers[0].flat.copy()
    nn.fit(net, nn.mse, data, optimiser=optimiser, epochs=2, progress=False)
    assert net.layers[0].flat.tobytes() == first.tobytes()
    net.layers[0].trainable = True
    nn.fit(net, nn.mse, data, optimiser=optimiser, epochs=2, progress=False)
    assert net.layers[0].flat.tobytes() != first.tobytes()


def frozen_network():
    net = network()
    net.layers[0].trainable = net.layers[1].layers[1].trainable = False
    return net


def test_training_is_resumed_with_the_same_bits(tmp_path):
    x = np.random.default_rng(0).normal(size=(20, 5, 3))
    given = {"clip": 0.5, "average": 0.9, "progress": False}
    whole, half, rest = (frozen_network() for _ in range(3))
    data = data_for(whole, x)

    def fit(net, epochs, **more):
        optimiser = nn.SGD(net.flat, 0.05, momentum=0.9, weight_decay=0.1)
        return nn.fit(net, nn.mse, data, data, optimiser=optimiser, epochs=epochs, **given, **more)

    expected = fit(whole, 6)
    fit(half, 3, checkpoint=tmp_path / "there")
    with pytest.raises(FileError, match=r"is of another frozen part: \['0', '1.1'\], not None"):
        fit(network(), 6, checkpoint=tmp_path / "there", resume=True)
    other = frozen_network()
    other.layers[2].trainable = False
    with pytest.raises(FileError, match=r"is of another frozen part: \['0', '1.1'\], not \['0', '1.1', '2'\]"):
        fit(other, 6, checkpoint=tmp_path / "there", resume=True)
    found = fit(rest, 6, checkpoint=tmp_path / "there", resume=True)
    assert rest.flat.tobytes() == whole.flat.tobytes()
    measures = [[epoch[:4] for epoch in history.epochs] for history in (found, expected)]
    assert measures[0] == measures[1]
    assert rest.layers[0].flat.tobytes() == network().layers[0].flat.tobytes()


def test_what_cannot_be_trained():
    net, x = network(), np.random.default_rng(0).normal(size=(20, 5, 3))

    class Own:
        """An optimiser that does not know of frozen parts."""

        flat, t, learning_rate = net.flat, 0, 0.1

        def step(self, gradient):
            self.flat -= 0.1 * gradient

    nn.fit(net, nn.mse, data_for(net, x), optimiser=Own(), epochs=1, progress=False)
    net.layers[0].trainable = False
    with pytest.raises(TypeError, match="optimiser must be one of fastlstm's, since a part of the model is frozen"):
        nn.fit(net, nn.mse, data_for(net, x), optimiser=Own(), epochs=1, progress=False)
    net.trainable = False
    with pytest.raises(ValueError, match="model must have layers to train: trainable is False"):
        nn.fit(net, nn.mse, data_for(net, x), epochs=1, progress=False)


def test_what_is_frozen_during_a_training_stays_from_then_on():
    net, x = network(), np.random.default_rng(0).normal(size=(20, 5, 3))
    kept = []

    def score(model):
        kept.append(model.layers[0].flat.copy())
        model.layers[0].trainable = len(kept) < 2
        return float(len(kept))

    optimiser = nn.SGD(net.flat, 0.05, momentum=0.9, weight_decay=0.1)
    nn.fit(net, nn.mse, data_for(net, x), score=score, optimiser=optimiser, epochs=4, progress=False)
    same = [one.tobytes() == kept[1].tobytes() for one in kept]
    assert same == [False, True, True, True]
