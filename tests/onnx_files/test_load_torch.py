"""Models that torch.onnx writes, by both of its exporters, as networks of fastlstm: equal to ONNX Runtime."""

import io
import warnings

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

import fastlstm  # noqa: E402
import fastlstm.onnx  # noqa: E402
from fastlstm import nn  # noqa: E402

I, H, T, B = 4, 5, 7, 3
BOTH = [False, pytest.param(True, id="dynamo")]


def exported(module, *arguments, dynamo, dynamic=None, **options):
    """What torch.onnx writes, with the axes of each input that a call decides: all of them unless `dynamic` says."""
    if dynamo:
        pytest.importorskip("onnxscript")
    module.eval()
    names = [f"input_{k}" for k in range(len(arguments))]
    axes = [(0, 1)] * len(arguments) if dynamic is None else dynamic
    if dynamo:
        options["dynamic_shapes"] = tuple(dict.fromkeys(own, torch.export.Dim.AUTO) for own in axes)
    else:
        options["dynamic_axes"] = {name: {k: f"{name}_{k}" for k in own} for name, own in zip(names, axes, strict=True)}
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of the exporters themselves.
        torch.onnx.export(module, arguments, file, dynamo=dynamo, input_names=names, **options)
    return onnx.load_from_string(file.getvalue())


def compare(network, model, arrays, runtime, *more):
    """Hold a network against its model."""
    feeds = {one.name: arrays[int(one.name.removeprefix("input_"))] for one in model.graph.input}
    y, _ = network(arrays[0], *more)
    [expected, *_] = runtime(model, feeds).values()
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-6)


class Tagger(torch.nn.Module):
    """A recurrent layer with what stands below and above it in many a model."""

    def __init__(self, kind="LSTM", batch_first=False, layers=1, two=False, head="all", embedded=False):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(11, I) if embedded else torch.nn.Identity()
        options = {"batch_first": batch_first, "bidirectional": two, "dropout": 0.2 if layers > 1 else 0.0}
        self.rnn = getattr(torch.nn, kind)(I, H, layers, **options)
        self.linear = torch.nn.Linear(H * (1 + two), 3)
        self.batch_first, self.two, self.head = batch_first, two, head

    def forward(self, x):
        y, last = self.rnn(self.embedding(x))
        h = last[0] if isinstance(last, tuple) else last
        if self.head == "states":
            return y, h
        if self.head == "step":
            y = y[:, -1] if self.batch_first else y[-1]
        elif self.head == "slice":
            y = (y[:, -1:] if self.batch_first else y[-1:]).squeeze(1 if self.batch_first else 0)
        elif self.head == "mean":
            y = y.mean(1 if self.batch_first else 0)
        elif self.head == "h":
            y = torch.cat([h[-2], h[-1]], 1) if self.two else h[-1]
        y = self.linear(y)
        return torch.softmax(y, -1) if self.head == "all" else torch.relu(y)


def data(embedded=False):
    rng = np.random.default_rng(0)
    return rng.integers(0, 11, (T, B)) if embedded else rng.normal(size=(T, B, I)).astype(np.float32)


SHAPES = [(1, False, False, False), (2, True, True, False), (2, False, True, True), (1, True, False, True)]
HEADS = ["all", "states", "step", "slice", "mean", "h"]
# With two directions the last step is refused: see below.
TAGGERS = [
    (False, kind, head, *shape)
    for kind in ("LSTM", "GRU", "RNN") for head in HEADS for shape in SHAPES
    if not (shape[1] and head in ("step", "slice"))
] + [
    (True, "LSTM", "all", *SHAPES[0]), (True, "LSTM", "states", *SHAPES[1]), (True, "LSTM", "step", *SHAPES[2]),
    (True, "LSTM", "slice", *SHAPES[0]), (True, "LSTM", "mean", *SHAPES[1]), (True, "LSTM", "h", *SHAPES[1]),
    (True, "LSTM", "h", *SHAPES[2]), (True, "LSTM", "all", 2, True, False, False),
    (True, "GRU", "all", *SHAPES[1]), (True, "GRU", "h", *SHAPES[3]),
]  # fmt: skip


@pytest.mark.parametrize(("dynamo", "kind", "head", "layers", "two", "batch_first", "embedded"), TAGGERS)
def test_taggers(dynamo, kind, head, layers, two, batch_first, embedded, runtime):
    module, x = Tagger(kind, batch_first, layers, two, head, embedded), data(embedded)
    model = exported(module, torch.from_numpy(x), dynamo=dynamo)
    network = fastlstm.onnx.load(model)
    compare(network, model, [x], runtime)
    rnn = next(layer for layer in getattr(network, "layers", [network]) if "state" in layer.needs)
    assert (rnn.num_layers, rnn.bidirectional, network.batch_first) == (layers, two, batch_first)
    assert isinstance(network, nn.Sequential) == (head != "states" or embedded)
    assert len(list(getattr(network, "layers", [network]))) == {
        "all": 3, "states": 1, "step": 3, "slice": 3, "mean": 3, "h": 3,
    }[head] + embedded  # fmt: skip


@pytest.mark.parametrize(
    ("dynamo", "shape"),
    [(False, (7, 3)), (False, (1, 3)), (False, (7, 1)), (False, (1, 1)), (True, (7, 3)), (True, (1, 1))],
)
@pytest.mark.parametrize("head", ["all", "h", "mean"])
def test_files_of_one_shape_alone(head, shape, dynamo, runtime):
    """Lengths of 1 too, which say nothing of what an axis is. The network takes any shape."""
    x = np.random.default_rng(0).normal(size=(*shape, I)).astype(np.float32)
    module = Tagger("LSTM", True, 2, True, head)
    model = exported(module, torch.from_numpy(x), dynamo=dynamo, dynamic=[()])
    network = fastlstm.onnx.load(model)
    compare(network, model, [x], runtime)
    assert network.batch_first
    assert len(network(np.zeros((9, 4, I), np.float32))[0]) == 9


@pytest.mark.parametrize("dynamo", BOTH)
@pytest.mark.parametrize("step", ["step", "slice"])
def test_the_last_step_of_both_directions_is_no_last_state(step, dynamo):
    """Of the reverse direction it is the first step that it sees: a common mistake, and not what nn.Last gives."""
    model = exported(Tagger("LSTM", True, 1, True, step), torch.from_numpy(data()), dynamo=dynamo)
    with pytest.raises(ValueError, match="it takes the last step of both directions"):
        fastlstm.onnx.load(model)


class WithStates(torch.nn.Module):
    def __init__(self, two):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = torch.nn.LSTM(I, H, 2, batch_first=True, bidirectional=two)

    def forward(self, x, h, c):
        y, (h, c) = self.rnn(x, (h, c))
        return y, h, c


@pytest.mark.parametrize("dynamo", BOTH)
@pytest.mark.parametrize("two", [False, True])
def test_initial_states_are_the_callers(two, dynamo, runtime):
    rng = np.random.default_rng(0)
    arrays = [data(), *rng.normal(size=(2, 4 if two else 2, T, H)).astype(np.float32)]
    model = exported(WithStates(two), *map(torch.from_numpy, arrays), dynamo=dynamo, dynamic=[(0, 1), (1,), (1,)])
    network = fastlstm.onnx.load(model)
    compare(network, model, arrays, runtime, tuple(arrays[1:]))
    assert isinstance(network, fastlstm.LSTM)


class Packed(torch.nn.Module):
    def __init__(self, two, head):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = torch.nn.LSTM(I, H, 2, batch_first=True, bidirectional=two)
        self.two, self.head = two, head

    def forward(self, x, lengths):
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        y, (h, _) = self.rnn(packed)
        if self.head == "h":
            return torch.cat([h[-2], h[-1]], 1) if self.two else h[-1]
        y = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0]
        return y[:, -1] if self.head == "step" else y


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("head", ["all", "h"])
def test_lengths_are_the_callers(head, two, runtime):
    """The other exporter cannot write packed sequences."""
    arrays = [data(), np.array([3, 3, 2, 2, 1, 1, 1])]
    model = exported(Packed(two, head), *map(torch.from_numpy, arrays), dynamo=False, dynamic=[(0, 1), (0,)])
    compare(fastlstm.onnx.load(model), model, arrays, runtime, None, arrays[1])


def test_the_last_step_is_not_that_of_shorter_rows():
    arrays = [torch.from_numpy(data()), torch.tensor([3, 3, 2, 2, 1, 1, 1])]
    model = exported(Packed(False, "step"), *arrays, dynamo=False, dynamic=[(0, 1), (0,)])
    with pytest.raises(ValueError, match=r"its layers go by different lengths: .*the whole length"):
        fastlstm.onnx.load(model)


class Deep(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.below, self.norm = torch.nn.Linear(I, 6), torch.nn.LayerNorm(6)
        self.norm.weight.data, self.norm.bias.data = torch.randn(2, 6)
        self.gru, self.lstm = torch.nn.GRU(6, 6, batch_first=True), torch.nn.LSTM(6, H, 2, batch_first=True)
        self.first, self.second = torch.nn.Linear(H, 8), torch.nn.Linear(8, 3)

    def forward(self, x):
        x = self.norm(torch.relu(self.below(x)))
        y, _ = self.lstm(x + self.gru(x)[0])
        return self.second(torch.tanh(self.first(torch.sigmoid(y))))


@pytest.mark.parametrize(("dynamo", "opset"), [(False, 14), (False, 17), (True, 18)])
def test_deep_networks(dynamo, opset, runtime):
    """With layer normalisation as other operators, which it is before opset 17, and as one."""
    x = data()
    model = exported(Deep(), torch.from_numpy(x), dynamo=dynamo, opset_version=opset)
    network = fastlstm.onnx.load(model)
    compare(network, model, [x], runtime)
    assert repr(network) == (
        "Sequential(Dense(4, 6, activation='relu', dtype=float32), LayerNorm(6, dtype=float32), "
        "Residual(GRU(6, 6, reset_after=True, dtype=float32)), "
        "LSTM(6, 5, peephole=False, num_layers=2, dtype=float32), "
        "Activation('logistic'), Dense(5, 8, activation='tanh', dtype=float32), Dense(8, 3, dtype=float32), "
        "batch_first=True)"
    )


class Views(torch.nn.Module):
    """Last states by layers and directions, as PyTorch's documentation lays them out; features of all rows at once."""

    def __init__(self, rows):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = torch.nn.GRU(I, H, 2, batch_first=True, bidirectional=True)
        self.linear, self.rows = torch.nn.Linear(2 * H, 3), rows

    def forward(self, x):
        y, h = self.rnn(x)
        if self.rows:
            return self.linear(y.reshape(-1, 2 * H)).reshape(y.shape[0], y.shape[1], 3)
        h = h.view(2, 2, x.shape[0], H)[-1]
        return self.linear(h.transpose(0, 1).reshape(x.shape[0], -1))


@pytest.mark.parametrize("dynamo", BOTH)
@pytest.mark.parametrize(("rows", "dynamic"), [(False, (0,)), (False, ()), (True, ())])
def test_views(rows, dynamic, dynamo, runtime):
    x = data()
    model = exported(Views(rows), torch.from_numpy(x), dynamo=dynamo, dynamic=[dynamic])
    compare(fastlstm.onnx.load(model), model, [x], runtime)


class Mixed(torch.nn.Module):
    """Rows and steps are mixed up, as by those who take a reshape for a transposition."""

    def __init__(self):
        super().__init__()
        self.rnn = torch.nn.LSTM(I, H)

    def forward(self, x):
        return self.rnn(x)[0].reshape(B, -1, H)


@pytest.mark.parametrize("dynamic", [(0, 1), (), (1,)])
def test_rows_and_steps_that_are_mixed_up(dynamic):
    model = exported(Mixed(), torch.from_numpy(data()), dynamo=False, dynamic=[dynamic])
    with pytest.raises(ValueError, match=r"\(Reshape\): it splits an axis, or joins some"):
        fastlstm.onnx.load(model)


class Odd(torch.nn.Module):
    """What no network of fastlstm's layers does."""

    def __init__(self, what):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = torch.nn.LSTM(I, H, 2, batch_first=True, bidirectional=what in ("sum", "one direction"))
        self.conv, self.state = torch.nn.Conv1d(I, I, 3, padding=1), torch.nn.Parameter(torch.ones(2, 1, H))
        self.what = what

    def forward(self, x):
        if self.what == "convolution":
            x = self.conv(x.transpose(1, 2)).transpose(1, 2)
        if self.what == "learned state":
            h = self.state.expand(2, x.shape[0], H).contiguous()
            return self.rnn(x, (h, h))[0]
        y, (h, c) = self.rnn(x)
        return {
            "convolution": lambda: y, "sum": lambda: y[..., :H] + y[..., H:], "one direction": lambda: y[..., :H],
            "cell": lambda: torch.relu(c[-1]), "other layer": lambda: torch.relu(h[0]), "cosine": lambda: torch.cos(y),
            "first step": lambda: y[:, 0], "some steps": lambda: y[:, 1:3], "two outputs": lambda: (y, torch.relu(y)),
            "transposed": lambda: y.transpose(0, 1), "product": lambda: y * y, "all features": lambda: y.flatten(1),
            "scaled": lambda: 2 * y,
        }[self.what]()  # fmt: skip


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("convolution", r"\(Conv\) is in the way"),
        ("learned state", r"\(LSTM\): (its initial_h is neither zeros|initial_h is constant and not zeros)"),
        ("sum", r"\(Slice\): it takes a part of the features"),
        ("one direction", r"\(Slice\): it takes a part of the features"),
        ("cell", r"\(Relu\): it takes last states"),
        ("cosine", r"\(Cos\) is in the way"),
        ("first step", r"\(Gather\): it takes a step that is not the last"),
        ("some steps", r"\(Slice\): it takes a part of the"),
        ("two outputs", "it gives more than the output of one layer"),
        ("transposed", "its output has other axes, or in another order"),
        ("product", r"\(Mul\) is in the way"),
        ("all features", r"its output has other axes|output .*: it takes something else than the features"),
        ("scaled", r"\(Mul\) is in the way"),
    ],
)
def test_what_is_in_the_way_is_named(what, message):
    model = exported(Odd(what), torch.from_numpy(data()), dynamo=False, dynamic=[()])
    with pytest.raises(ValueError, match=message) as caught:
        fastlstm.onnx.load(model)
    assert str(caught.value).startswith("the model is no network of fastlstm's layers: ")


@pytest.mark.parametrize("what", ["learned state", "sum", "cell"])
def test_the_other_exporter_is_refused_alike(what):
    model = exported(Odd(what), torch.from_numpy(data()), dynamo=True, dynamic=[()])
    with pytest.raises(ValueError, match=r"\((LSTM|Slice|Relu)\): |is constant and not zeros"):
        fastlstm.onnx.load(model)


@pytest.mark.parametrize("dynamo", BOTH)
def test_layers_that_nothing_comes_of_are_left_out(dynamo, runtime):
    model = exported(Odd("other layer"), torch.from_numpy(data()), dynamo=dynamo, dynamic=[()])
    network = fastlstm.onnx.load(model)
    compare(network, model, [data()], runtime)
    assert network.layers[0].num_layers == 1


def test_rnns_that_are_written_step_by_step():
    model = exported(Tagger("RNN"), torch.from_numpy(data()), dynamo=True, dynamic=[()])
    with pytest.raises(ValueError, match="it has no LSTM, GRU or RNN node"):
        fastlstm.onnx.load(model)
