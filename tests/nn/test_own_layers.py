"""Layers of a user's own: the one that the guide shows, alone and in networks, in files, and every error message."""

import copy
import pickle

import numpy as np
import pytest
from differences import central_difference
from pages import ROOT, run_page

import fastlstm
from fastlstm import LSTM, FileError, nn

F = np.float64


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path_factory.mktemp("page"))
        return run_page(ROOT / "docs" / "guides" / "layers.md")


@pytest.fixture
def RMSNorm(page):
    return page["RMSNorm"]


class Scale(nn.Layer):
    """As small as a layer with parameters can be."""

    def __init__(self, input_size, dtype=np.float32):
        self.input_size = input_size
        super().__init__(dtype=dtype)

    def shapes(self):
        return {"a": (self.input_size,)}

    def compute(self, x):
        return self.params["a"] * x, x

    def gradients(self, x, dy):
        return self.params["a"] * dy, {"a": (dy * x).reshape(-1, self.input_size).sum(axis=0)}


class OneHot(nn.Layer):
    """Ids as vectors."""

    takes_ids = True

    def __init__(self, output_size):
        self.output_size = output_size
        super().__init__()

    def compute(self, x):
        return np.eye(self.output_size, dtype=np.float32)[x], None

    def gradients(self, kept, dy):
        return None, {}


class Noise(nn.Layer):
    """What is different in training, and needs everything."""

    needs = ("lengths", "rng", "directions")

    def compute(self, x, *, lengths, rng, directions):
        noise = 0 if rng is None else rng.normal(size=x.shape).astype(x.dtype)
        return x + noise, (lengths, directions)

    def gradients(self, kept, dy):
        return dy, {}


def network(own, dtype=F):
    rng = np.random.default_rng(0)
    return nn.Sequential(
        LSTM(3, 4, bidirectional=True, dtype=dtype, seed=rng),
        own,
        nn.Sequential(nn.Dense(8, 5, dtype=dtype, seed=rng), type(own)(5, dtype=dtype)),
        nn.Last(),
        nn.Dense(5, 2, dtype=dtype, seed=rng),
    )


# ---- what the guide shows ----


@pytest.mark.parametrize("shape", [(5,), (3, 5), (4, 2, 5), (2, 3, 2, 5), (0, 5)])
def test_gradients_of_the_guides_layer(RMSNorm, shape):
    rng = np.random.default_rng(0)
    layer, x, dy = RMSNorm(5, dtype=F), rng.normal(size=shape), rng.normal(size=shape)
    layer.flat[:] = rng.normal(size=5)
    y, tape = layer.forward(x)
    np.testing.assert_array_equal(layer(x), y)
    grads = layer.backward(tape, dy)
    np.testing.assert_allclose(grads.x, central_difference(lambda: float((layer(x) * dy).sum()), x), atol=1e-8)
    numeric = central_difference(lambda: float((layer(x) * dy).sum()), layer.flat)
    np.testing.assert_allclose(grads.flat, numeric, atol=1e-8)
    assert grads.state is None
    assert all(np.shares_memory(part, grads.flat) for part in grads.params.values())


@pytest.mark.parametrize("lengths", [None, [5, 3, 1, 2]])
def test_gradients_through_a_network(RMSNorm, lengths):
    net, rng = network(RMSNorm(8, dtype=F)), np.random.default_rng(1)
    x, dy = rng.normal(size=(5, 4, 3)), rng.normal(size=(4, 2))
    _, _, tape = net.forward(x, lengths=lengths)
    grads = net.backward(tape, dy)

    def loss():
        return float((net(x, lengths=lengths)[0] * dy).sum())

    np.testing.assert_allclose(grads.x, central_difference(loss, x), atol=1e-8)
    np.testing.assert_allclose(grads.flat, central_difference(loss, net.flat), atol=1e-8)
    assert [name for name in net.params if name.endswith(".a")] == ["1.a", "2.1.a"]


def test_gradients_are_written_again_and_accumulate(RMSNorm):
    layer, x = RMSNorm(5, dtype=F), np.random.default_rng(0).normal(size=(4, 2, 5))
    y, tape = layer.forward(x)
    grads = layer.backward(tape, y)
    once = grads.flat.copy()
    assert layer.backward(tape, y, out=grads, accumulate=True) is grads
    np.testing.assert_array_equal(grads.flat, 2 * once)
    grads.flat[:] = np.nan
    np.testing.assert_array_equal(layer.backward(tape, y, out=grads).flat, once)
    with pytest.raises(ValueError, match="accumulate needs out"):
        layer.backward(tape, y, accumulate=True)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies(copied):
    net, x = network(Scale(8, dtype=F)), np.random.default_rng(0).normal(size=(5, 4, 3))
    for twin, own in ((copied(net), net), (copied(net.layers[1]), net.layers[1])):
        assert repr(twin) == repr(own)
        np.testing.assert_array_equal(twin.flat, own.flat)
        twin.flat[:] = 7
        assert twin.params["1.a" if twin.params.keys() - {"a"} else "a"].min() == 7
        assert not (own.flat == 7).any()
    np.testing.assert_array_equal(copied(net)(x)[0], net(x)[0])


def test_trained_saved_and_loaded(RMSNorm, tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "own"
    x = rng.normal(size=(40, 6, 3))
    data = nn.Batches(x, x.mean(axis=1)[:, :2], 8)
    net = network(RMSNorm(8, epsilon=1e-3, dtype=F))
    history = nn.fit(net, nn.mse, data, epochs=8, clip=1.0, progress=False)
    assert history.epochs[-1].loss < history.epochs[0].loss / 2
    assert np.ptp(net.params["1.a"]) > 1e-3
    fastlstm.save(net, path, extra=[1])
    again = fastlstm.load(path, layers=[RMSNorm, OneHot])
    assert type(again.layers[1]) is RMSNorm
    assert (again.flat.tobytes(), repr(again)) == (net.flat.tobytes(), repr(net))
    assert again.layers[1].epsilon == 1e-3
    np.testing.assert_array_equal(again.predict(list(x)), net.predict(list(x)))
    assert fastlstm.load_extra(path) == [1]
    fastlstm.save(again, tmp_path / "twice", extra=[1])
    assert (tmp_path / "twice").read_bytes() == path.read_bytes()


def test_training_is_resumed_with_the_same_bits(RMSNorm, tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 6, 3))
    data = nn.Batches(x, x.mean(axis=1)[:, :2], 8)
    given = {"clip": 1.0, "average": 0.9, "progress": False, "checkpoint": tmp_path / "there"}
    whole, half, rest = (network(RMSNorm(8, dtype=F)) for _ in range(3))
    nn.fit(whole, nn.mse, data, epochs=6, **given | {"checkpoint": None})
    nn.fit(half, nn.mse, data, epochs=3, **given)
    history = nn.fit(rest, nn.mse, data, epochs=6, **given, resume=True)
    assert len(history.epochs) == 6
    assert rest.flat.tobytes() == whole.flat.tobytes()


def test_a_saved_layer_alone(tmp_path):
    layer = Scale(3)
    layer.flat[:] = [1, 2, 3]
    fastlstm.save(layer, tmp_path / "own")
    again = fastlstm.load(tmp_path / "own", layers=(Scale,))
    assert (type(again), again.flat.tolist()) == (Scale, [1, 2, 3])
    assert repr(again) == "Scale(3, dtype=float32)"


def test_the_guides_maximum_over_the_steps(page):
    layer, rng = page["Max"](), np.random.default_rng(0)
    x, lengths, dy = rng.normal(size=(6, 3, 4)), [6, 1, 3], rng.normal(size=(3, 4))
    y, tape = layer.forward(x, lengths=lengths)
    np.testing.assert_array_equal(y, [x[:n, b].max(axis=0) for b, n in enumerate(lengths)])
    numeric = central_difference(lambda: float((layer(x, lengths=lengths) * dy).sum()), x)
    np.testing.assert_allclose(layer.backward(tape, dy).x, numeric, atol=1e-8)
    np.testing.assert_array_equal(layer(x), x.max(axis=0))
    with pytest.raises(ValueError, match=r"layers\[1\] must have sequences below it"):
        nn.Sequential(page["Max"](), nn.Last())
    assert nn.Sequential(page["Max"](), nn.Dense(4, 2)).predict(np.zeros((5, 0, 4), np.float32)).shape == (0, 2)


# ---- what a layer may be ----


def test_initial_parameters():
    class Many(Scale):
        def shapes(self):
            return {"M": (20, 50), "v": (30,), "T": (2, 3, 4), "none": (0, 3)}

    first = Many(3)
    assert not first.params["v"].any()
    assert 0.9 / np.sqrt(50) < np.abs(first.params["M"]).max() <= 1 / np.sqrt(50)
    assert first.params["M"].std() == pytest.approx(1 / np.sqrt(3 * 50), rel=0.05)
    assert first.params["T"].all()
    assert first.flat.size == 20 * 50 + 30 + 24


def test_a_seed_decides_and_is_not_saved(tmp_path):
    class Seeded(Scale):
        def __init__(self, input_size, *, seed=None):
            self.input_size = input_size
            nn.Layer.__init__(self, seed=seed)

        def shapes(self):
            return {"a": (self.input_size, 1)}

    np.testing.assert_array_equal(Seeded(3, seed=1).flat, Seeded(3, seed=np.random.default_rng(1)).flat)
    assert repr(Seeded(3, seed=1)) == "Seeded(3)"
    fastlstm.save(Seeded(3, seed=1), tmp_path / "a")
    np.testing.assert_array_equal(fastlstm.load(tmp_path / "a", layers=[Seeded]).flat, Seeded(3, seed=1).flat)


def test_ids_and_an_own_layer_at_the_bottom():
    net = nn.Sequential(OneHot(6), LSTM(6, 4, seed=0), nn.Last(), nn.Dense(4, 2, seed=1), batch_first=True)
    ids = np.random.default_rng(0).integers(0, 6, (3, 7))
    y, _, tape = net.forward(ids, lengths=[7, 2, 5])
    assert net.backward(tape, y).x is None
    other = nn.Sequential(*copy.deepcopy(net.layers[1:]), batch_first=True)
    other.flat[:] = net.flat
    np.testing.assert_array_equal(y, other(np.eye(6, dtype=np.float32)[ids], lengths=[7, 2, 5])[0])
    with pytest.raises(ValueError, match=r"layers\[1\] must be the first"):
        nn.Sequential(nn.Dense(3, 4), OneHot(6))
    assert len(net.predict([ids[0], ids[1, :2]])) == 2


def test_what_a_layer_needs_it_gets():
    net = nn.Sequential(LSTM(3, 2, bidirectional=True, dtype=F, seed=0), Noise(), nn.Dropout(0.0), Noise())
    x = np.random.default_rng(0).normal(size=(5, 2, 3))
    np.testing.assert_array_equal(net(x)[0], net.layers[0](x)[0])
    y, _, tape = net.forward(x, lengths=[5, 2], rng=np.random.default_rng(0))
    assert not np.allclose(y, net(x, lengths=[5, 2])[0])
    lengths, directions = tape.layers[1].kept
    assert (lengths.tolist(), lengths.dtype, directions) == ([5, 2], np.int64, 2)
    assert tape.layers[3].kept[1] == 1
    _, _, tape = net.forward(x, rng=np.random.default_rng(0))
    assert tape.layers[1].kept[0].tolist() == [5, 5]
    above = nn.Sequential(nn.Last(), Noise()).forward(x, rng=np.random.default_rng(0))[2]
    assert above.layers[1].kept == (None, 1)
    assert nn.Sequential(LSTM(3, 2, bidirectional=True), Noise()).directions == 1


def test_a_vector_for_each_row_has_no_lengths():
    net = nn.Sequential(LSTM(3, 2, dtype=F, seed=0), nn.Last(), Noise())
    x = np.random.default_rng(0).normal(size=(5, 2, 3))
    tape = net.forward(x, lengths=[5, 2], rng=np.random.default_rng(0))[2]
    assert tape.layers[2].kept == (None, 1)
    np.testing.assert_array_equal(net(x, lengths=[5, 2])[0], net.layers[0](x, lengths=[5, 2])[0][[4, 1], [0, 1]])


def test_outputs_that_keep_two_directions_apart():
    class Kept(Noise):
        def output_for(self, below):
            return below

    net = nn.Sequential(LSTM(3, 2, bidirectional=True, dtype=F, seed=0), Kept(), nn.Last())
    plain = nn.Sequential(copy.deepcopy(net.layers[0].to("cpu")), nn.Last())
    x = np.random.default_rng(0).normal(size=(5, 2, 3))
    np.testing.assert_array_equal(net(x, lengths=[5, 2])[0], plain(x, lengths=[5, 2])[0])


def test_in_other_networks(tmp_path):
    model = nn.Seq2Seq(nn.Sequential(Scale(3), LSTM(3, 4, seed=0)), nn.Decoder(7, 3, 5, encoded_size=4, seed=1))
    fastlstm.save(model, tmp_path / "own")
    again = fastlstm.load(tmp_path / "own", layers=[Scale])
    assert repr(again) == repr(model)
    alone = nn.Seq2Seq(Scale(4), nn.Decoder(7, 3, 5, encoded_size=4, seed=1))
    x, target = np.ones((5, 2, 4), np.float32), np.full((3, 2), 2)
    logits, _, tape = alone.forward(x, target, [5, 2])
    assert alone.backward(tape, logits).x.shape == x.shape


def test_other_arguments_come_back(tmp_path):
    class Mixed(nn.Layer):
        def __init__(self, *sizes, name="a", flag=True, rates=(0.5, None), dtype=np.float32, count=65536):
            self.sizes, self.name, self.flag, self.rates = sizes, name, flag, rates
            self.count = count
            super().__init__(dtype=dtype)

        compute, gradients = Noise.compute, Noise.gradients

    made = Mixed(2, 3, name="é", flag=False, rates=[np.float32(0.25), [1]], dtype=F)
    fastlstm.save(made, tmp_path / "own")
    again = fastlstm.load(tmp_path / "own", layers=[Mixed])
    assert (again.sizes, again.name, again.flag, again.rates) == ((2, 3), "é", False, (0.25, (1,)))
    assert (again.dtype, again.count) == (F, 65536)
    assert repr(again) == "Mixed(2, 3, name='é', flag=False, rates=(0.25, (1,)), dtype=float64)"


# ---- errors ----


def made(**named):
    """A layer of a class like `Scale` with these attributes instead."""
    return type("Mine", (Scale,), named)(3)


x = np.ones((5, 2, 3), np.float32)


def back(**named):
    layer = made(**named)
    y, tape = layer.forward(x)
    return layer.backward(tape, y)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: type("Mine", (nn.Layer,), {})(), TypeError, "^Mine must have a method compute"),
        (
            lambda: type("Mine", (nn.Layer,), {"compute": Scale.compute})(),
            TypeError,
            "^Mine must have a method gradients",
        ),
        (lambda: nn.Layer(), TypeError, "Layer must have a method compute"),
        (lambda: made(needs=("state",)), TypeError, r"Mine.needs must be a tuple of some of lengths, rng, directions"),
        (lambda: made(needs="rng"), TypeError, "Mine.needs must be a tuple"),
        (lambda: made(shapes=lambda self: [3]), TypeError, "what Mine.shapes returns must be a mapping"),
        (
            lambda: made(shapes=lambda self: {"a": 3}),
            TypeError,
            "the shape of a in Mine.shapes must be a tuple of ints",
        ),
        (lambda: made(shapes=lambda self: {"a": (3.0,)}), TypeError, "the shape of a in Mine.shapes must be an int"),
        (lambda: made(shapes=lambda self: {"a": (-1,)}), ValueError, "the shape of a in Mine.shapes must be at least"),
        (lambda: made(shapes=lambda self: {1: (3,)}), TypeError, "a name in Mine.shapes must be a str"),
        (lambda: made(shapes=lambda self: {"a": (self.size,)}), AttributeError, "size.*: set attributes before super"),
        (lambda: Scale(3, dtype=np.float16), TypeError, "dtype must be float32 or float64"),
        # ---- compute ----
        (lambda: made(compute=lambda self, x: x)(x), TypeError, "what Mine.compute returns must be a pair"),
        (lambda: made(compute=lambda self, x: (x, x, x))(x), ValueError, "what Mine.compute returns must be a pair"),
        (
            lambda: made(compute=lambda self, x: (1, 2))(x),
            TypeError,
            "y of Mine.compute must be a NumPy array, not int",
        ),
        (
            lambda: made(compute=lambda self, x: (x.astype(F), 2))(x),
            TypeError,
            "y of Mine.compute must have dtype float32, not float64",
        ),
        (
            lambda: made(compute=lambda self, x: (x[:-1], 2)).forward(x),
            ValueError,
            r"y of Mine.compute must have shape \(5, 2, 3\), not \(4, 2, 3\)",
        ),
        (
            lambda: made(compute=lambda self, x: (x[..., :2], 2))(x),
            ValueError,
            r"y of Mine.compute must have shape \(5, 2, 3\), not \(5, 2, 2\)",
        ),
        (
            lambda: made(output_size=4)(x),
            ValueError,
            r"y of Mine.compute must have shape \(5, 2, 4\), not \(5, 2, 3\)",
        ),
        # ---- gradients ----
        (lambda: back(gradients=lambda self, x, dy: dy), TypeError, "what Mine.gradients returns must be a pair"),
        (lambda: back(gradients=lambda self, x, dy: (dy, x)), TypeError, "Mine.gradients must return a mapping beside"),
        (
            lambda: back(gradients=lambda self, x, dy: (dy, {})),
            ValueError,
            "gradient of a in Mine.gradients is missing",
        ),
        (
            lambda: back(gradients=lambda self, x, dy: (dy, {"a": x[0, 0], "b": x})),
            ValueError,
            "the gradient of b in Mine.gradients must not be given, since there is no such parameter",
        ),
        (
            lambda: back(gradients=lambda self, x, dy: (dy, {"a": x})),
            ValueError,
            r"the gradient of a in Mine.gradients must have shape \(3,\), not \(5, 2, 3\)",
        ),
        (
            lambda: back(gradients=lambda self, x, dy: (dy, {"a": x[0, 0].astype(F)})),
            TypeError,
            "the gradient of a in Mine.gradients must have dtype float32, not float64",
        ),
        (
            lambda: back(gradients=lambda self, x, dy: (dy[0], {"a": x[0, 0]})),
            ValueError,
            r"dx of Mine.gradients must have shape \(5, 2, 3\), not \(2, 3\)",
        ),
        (
            lambda: back(gradients=lambda self, x, dy: (None, {"a": x[0, 0]})),
            TypeError,
            "dx of Mine.gradients must be a NumPy array, not NoneType",
        ),
        # ---- calls ----
        (lambda: Scale(3)([1.0]), TypeError, "x must be a NumPy array, not list"),
        (lambda: Scale(3)(x.astype(F)), TypeError, "x must have dtype float32, not float64"),
        (lambda: Scale(4)(x), ValueError, r"x must have shape \(..., input_size\) = \(5, 2, 4\), not \(5, 2, 3\)"),
        (lambda: Scale(3)(np.float32(3) * np.ones((), np.float32)), TypeError, "x must be a NumPy array"),
        (lambda: Scale(3)(np.ones((), np.float32)), ValueError, r"x must have shape \(..., input_size\), not \(\)"),
        (lambda: made(takes_sequences=True)(x[0]), ValueError, r"x must have shape \(T, B, input_size\), not \(2, 3\)"),
        (lambda: Scale(3)(x, lengths=[5, 5]), TypeError, "Scale takes x and nothing else, not lengths"),
        (lambda: Scale(3)(x, 5), TypeError, "Scale takes x and nothing else, not 5"),
        (lambda: Noise()(x, rgn=3), TypeError, "Noise takes x, lengths=, rng=, directions= and nothing else, not rgn"),
        (lambda: Noise().forward(x), TypeError, "rng must be a numpy.random.Generator"),
        (lambda: Noise()(x, lengths=[6, 1]), ValueError, "lengths must be from 0 to T = 5"),
        (lambda: Noise()(x[0], lengths=[1]), ValueError, "lengths must not be given for an x without steps"),
        (lambda: Noise()(x, directions=3), ValueError, "directions must be 1 or 2, not 3"),
        (lambda: OneHot(3)(x), TypeError, "x must have an integer dtype, not float32"),
        (
            lambda: Scale(3).backward(3, x),
            TypeError,
            "tape must be a LayerTape from the forward pass of a Scale, not int",
        ),
        (
            lambda: Scale(3).backward(OneHot(3).forward(np.array([1]))[1], x),
            TypeError,
            "tape must be a LayerTape from the forward pass of a Scale, not one of a OneHot",
        ),
        (
            lambda: Scale(3).backward(Scale(3).forward(x)[1], x[0]),
            ValueError,
            r"dy must have shape \(5, 2, 3\), that of",
        ),
        (lambda: Scale(3).backward(Scale(3).forward(x)[1], None), TypeError, "dy must be a NumPy array, not NoneType"),
        # ---- in networks ----
        (lambda: nn.Sequential(Scale), TypeError, r"layers\[0\] must be an LSTM, .*nn.Layer.*, not the class Scale"),
        (
            lambda: nn.Sequential(made(__init__=lambda self, n: None)),
            TypeError,
            r"layers\[0\] has no parameters' buffer: the __init__ of Mine must call super\(\)'s",
        ),
        (
            lambda: nn.fit(Scale(3), nn.mse, nn.Batches(x, x, 2, per_step=True)),
            TypeError,
            "model must be a network, such as an nn.Sequential of the Scale",
        ),
        (lambda: nn.Sequential(LSTM(3, 4), Scale(3)), ValueError, r"layers\[1\] must have input_size 4"),
        (lambda: nn.Sequential(Scale(3), nn.Dense(4, 2)), ValueError, r"layers\[1\] must have input_size 3"),
        (lambda: nn.Sequential(Scale(3, F), LSTM(3, 2)), TypeError, "all layers must have the same dtype"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_attributes_cannot_be_replaced():
    layer = Scale(3)
    with pytest.raises(AttributeError, match="input_size cannot be set"):
        layer.input_size = 4
    layer.note = "mine"
    assert copy.copy(layer).note == "mine"


# ---- errors of files ----


def named(name, base=Scale, **members):
    return type(name, (base,), members)


class Bare(nn.Layer):
    compute, gradients = Noise.compute, Noise.gradients


def with_argument(value):
    def __init__(self, value):
        self.value = value
        nn.Layer.__init__(self)

    return named("Mine", Bare, __init__=__init__)(value)


def forgetful(self, size):
    self.input_size = size
    nn.Layer.__init__(self)


@pytest.mark.parametrize(
    ("network", "error", "message"),
    [
        (lambda: named("Dense")(3), TypeError, "a class of your own cannot be called Dense in a file"),
        (
            lambda: nn.Sequential(named("Mine")(3), named("Mine")(3)),
            TypeError,
            "two classes in the network are called Mine",
        ),
        (
            lambda: named("Mine", __init__=forgetful)(3),
            AttributeError,
            "Mine must have an attribute for each of its arguments: self.size = size",
        ),
        (lambda: with_argument({"a": 1}), TypeError, "value of Mine must be a number, text, .*, not dict"),
        (lambda: with_argument([np.ones(3)]), TypeError, "value of Mine must be a number, text, .*, not ndarray"),
        (lambda: with_argument(nn.Dense(3, 2)), TypeError, "value of Mine must be a number, text, .*, not Dense"),
        (lambda: with_argument(65537), ValueError, "value of Mine must be at most 65536 to be saved, not 65537"),
        (lambda: with_argument((1, [-65537])), ValueError, "value of Mine must be at most 65536 to be saved"),
        (lambda: named("Mine", nn.Sequential)(Scale(3)), TypeError, "network must be one of fastlstm's own"),
        (
            lambda: Scale,
            TypeError,
            "network must be one of fastlstm's own layers or networks, or an nn.Layer, not type",
        ),
    ],
)
def test_what_cannot_be_saved(network, error, message, tmp_path):
    with pytest.raises(error, match=message):
        fastlstm.save(network(), tmp_path / "own")
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        ((), FileError, r"Scale is not one of its layers; if it is your own, load\(path, layers=\[Scale\]\) takes it"),
        ([OneHot], FileError, r"layers=\[Scale\]"),
        (Scale, TypeError, "layers must be a list of classes, not the class Scale"),
        ("Scale", TypeError, "layers must be a list of classes, not str"),
        ([Scale(3)], TypeError, r"layers\[0\] must be a class made from nn.Layer, not Scale"),
        ([Scale, LSTM], TypeError, r"layers\[1\] must be a class made from nn.Layer, not the class LSTM"),
        ([Scale, named("Scale")], ValueError, r"layers\[1\] must not be called Scale, as another in layers is"),
        ([named("Last")], ValueError, r"layers\[0\] must not be called Last, as one of fastlstm's is"),
    ],
)
def test_what_cannot_be_loaded(layers, error, message, tmp_path):
    fastlstm.save(nn.Sequential(LSTM(2, 3, seed=0), Scale(3)), tmp_path / "own")
    with pytest.raises(error, match=message):
        fastlstm.load(tmp_path / "own", layers=layers)
    assert fastlstm.load(tmp_path / "own", layers=[Scale, Scale, nn.Dense]).params.keys() >= {"1.a"}


def test_sizes_are_checked_before_memory_is_taken(tmp_path):
    """A hostile file may ask for any size of a user's layer too."""
    from fastlstm._arrays import files

    def written(described):
        files.write(tmp_path / "own", "network", {"a": np.ones(3, np.float32)}, {"architecture": described})

    seen = []

    class Watched(Scale):
        def __init__(self, input_size, dtype=np.float32):
            seen.append(input_size)
            super().__init__(input_size, dtype)

    for size, asked in ((10**12, []), (65537, []), (65536, [65536]), (4, [4])):
        written({"type": "Watched", "input_size": size})
        seen.clear()
        with pytest.raises(FileError, match=r"no size can be|would have|must be"):
            fastlstm.load(tmp_path / "own", layers=[Watched])
        assert seen == asked
    written({"type": "Dense", "input_size": 100, "output_size": 1})  # Those of fastlstm's have nothing but sizes.
    with pytest.raises(FileError, match="no size can be 100 in a file of 3 parameters"):
        fastlstm.load(tmp_path / "own", layers=[Watched])
    written({"type": "Watched", "input_size": 3})
    assert fastlstm.load(tmp_path / "own", layers=[Watched]).flat.tolist() == [1, 1, 1]
    for hostile in ("os.system", "x" * 1000, "__import__", 3, None, ["Watched"], {"type": "Watched"}):
        written({"type": hostile, "input_size": 3})
        with pytest.raises(FileError):
            fastlstm.load(tmp_path / "own", layers=[Watched])
    written({"type": "Watched", "input_size": 3, "other": 3})
    with pytest.raises(FileError, match="Watched has no other"):
        fastlstm.load(tmp_path / "own", layers=[Watched])


def test_what_an_old_version_of_the_class_wrote_is_refused_by_name(tmp_path):
    fastlstm.save(Scale(3), tmp_path / "own")
    with pytest.raises(FileError, match=r"parameter b is missing|parameter a is not one of the network"):
        fastlstm.load(tmp_path / "own", layers=[named("Scale", shapes=lambda self: {"b": (self.input_size,)})])
