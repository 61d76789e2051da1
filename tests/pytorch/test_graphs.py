"""Graphs: the operator by PyTorch's own checks, torch.compile, torch.export, fake and meta tensors."""

import pytest

torch = pytest.importorskip("torch")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence  # noqa: E402

import fastlstm.torch  # noqa: E402
from fastlstm.torch._stacks import describe  # noqa: E402

pytestmark = [
    pytest.mark.usefixtures("no_fallback"),
    # The compiler's own code is warned about.
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]

CONFIGURATIONS = [
    ("LSTM", {}),
    ("LSTM", {"num_layers": 2, "bidirectional": True, "proj_size": 2, "dropout": 0.5}),
    ("LSTM", {"bias": False, "peephole": True, "variant": "CIFG"}),
    ("LSTM", {"layer_norm": True}),
    ("GRU", {"num_layers": 2, "batch_first": True}),
    ("GRU", {"bias": False}),
    ("RNN", {"bidirectional": True}),
]
IDS = ["-".join([kind, *(f"{name}={value}" for name, value in options.items())]) for kind, options in CONFIGURATIONS]


class Model(torch.nn.Module):
    """A recurrent module between operations that a compiler fuses."""

    def __init__(self, kind, options):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = getattr(fastlstm.torch, kind)(3, 8, dtype=torch.float64, **options)
        outputs = (self.rnn.proj_size or 8) * (1 + self.rnn.bidirectional)
        self.last = torch.nn.Linear(outputs, 2, dtype=torch.float64)

    def forward(self, x):
        y, _ = self.rnn(2 * x)
        return self.last(torch.relu(y))


def operator_arguments(kind, options, packed):
    module = getattr(fastlstm.torch, kind)(3, 4, dtype=torch.float64, **options)
    own, x, sizes = module._options(), torch.randn(5, 3, 3, dtype=torch.float64), None
    described = describe(*own)
    if packed:
        x, sizes, *_ = pack_padded_sequence(x, [5, 3, 2])
        x = x.clone()
    x.requires_grad_()
    state = [torch.randn(n, 3, size, dtype=torch.float64, requires_grad=True) for n, size in described.state_shapes]
    masks = None
    if module.dropout:
        masks = torch.randn(own.num_layers - 1, *x.shape[:-1], described.outputs, dtype=torch.float64)
    weights = [weight.detach().requires_grad_() for weight in module.parameters()]
    return x, *(*state, None)[:2], weights, masks, sizes, True, *own


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize(("kind", "options"), CONFIGURATIONS, ids=IDS)
def test_operator(kind, options, packed):
    arguments = operator_arguments(kind, options, packed)
    torch.library.opcheck(torch.ops.fastlstm.recurrence.default, arguments)
    y, h, c, tape = torch.ops.fastlstm.recurrence(*arguments)
    x, h0, c0, weights, masks, sizes, _, *own = arguments
    with torch.no_grad():
        above = [torch.randn_like(result) for result in (y, h, c)]
        plain = [None if t is None else t.detach() for t in (x, h0, c0)]
        given = *above, *plain, [w.detach() for w in weights], masks, sizes, tape.detach(), *own
        torch.library.opcheck(torch.ops.fastlstm.recurrence_backward.default, given)


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize(("kind", "options"), CONFIGURATIONS, ids=IDS)
def test_operator_gradients(kind, options, packed):
    x, h0, c0, weights, masks, sizes, keep, *own = operator_arguments(kind, options, packed)

    def run(x, h0, c0, *weights):
        return torch.ops.fastlstm.recurrence(x, h0, c0, list(weights), masks, sizes, keep, *own)[:3]

    assert torch.autograd.gradcheck(run, (x, h0, c0, *weights))


def test_operator_without_a_tape():
    arguments = list(operator_arguments("LSTM", {}, False))
    arguments[6] = False
    y, _, _, tape = torch.ops.fastlstm.recurrence(*arguments)
    assert tape.numel() == 0
    with pytest.raises(RuntimeError, match="without a tape"):
        y.sum().backward()


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize(("kind", "options"), CONFIGURATIONS[:2] + CONFIGURATIONS[4:5], ids=IDS[:2] + IDS[4:5])
def test_compile(kind, options, dynamic):
    """One graph, for several shapes, gives what the module gives without it, dropout and gradients included."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model = Model(kind, options)
    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for T, B in ((5, 2), (7, 3)):
        x, found = torch.randn(T, B, 3, dtype=torch.float64, requires_grad=True), []
        for run in (model, compiled):
            torch.manual_seed(3)
            y = run(x)
            found.append([y, *torch.autograd.grad(y.square().sum(), [x, *model.parameters()])])
        for a, b in zip(*found, strict=True):
            assert float((a - b).detach().abs().max()) <= 1e-13 * float(a.detach().abs().max())
    if dynamic:
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_compile_by_inductor():
    """As the compiler is used by default: here without gradients, for which it needs a C++ compiler too."""
    torch._dynamo.reset()
    model = Model("LSTM", {})
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True)(x)
        assert float((compiled - model(x)).abs().max()) < 1e-14


def test_compiled_gradients_of_gradients_are_refused():
    torch._dynamo.reset()
    module = fastlstm.torch.LSTM(3, 8)
    x = torch.randn(5, 2, 3, requires_grad=True)
    y, _ = torch.compile(module, fullgraph=True, backend="aot_eager")(x)
    with pytest.raises(RuntimeError, match=r"double backward|gradients of gradients"):
        torch.autograd.grad(torch.autograd.grad(y.sum(), x, create_graph=True)[0].sum(), x)


def test_operators_gradients_of_gradients_are_refused():
    x, *rest = operator_arguments("LSTM", {}, False)
    y, *_ = torch.ops.fastlstm.recurrence(x, *rest)
    (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="gradients of gradients"):
        dx.sum().backward()


def test_compile_packed():
    torch._dynamo.reset()
    module, lengths = fastlstm.torch.LSTM(3, 8, dtype=torch.float64), torch.tensor([2, 5, 4])
    x = torch.randn(5, 3, 3, dtype=torch.float64)

    def run(x, lengths):
        y, (h, _) = module(pack_padded_sequence(x, lengths, enforce_sorted=False))
        return y.data.sum() + h.square().sum()

    found = [
        torch.autograd.grad(f(x, lengths), list(module.parameters()))
        for f in (run, torch.compile(run, backend="aot_eager"))
    ]
    for a, b in zip(*found, strict=True):
        assert float((a - b).abs().max()) < 1e-13


@pytest.mark.parametrize("strict", [False, True])
def test_export(strict):
    """With any time and batch, saved and loaded: one node of the graph is the operator."""
    model = Model("LSTM", CONFIGURATIONS[1][1]).eval()
    T, B = torch.export.Dim("T", min=1), torch.export.Dim("B", min=1)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    program = torch.export.export(model, (x,), dynamic_shapes={"x": {0: T, 1: B}}, strict=strict)
    assert [node.target for node in program.graph.nodes].count(torch.ops.fastlstm.recurrence.default) == 1
    for shape in ((5, 2), (9, 4), (1, 1)):
        x = torch.randn(*shape, 3, dtype=torch.float64)
        with torch.no_grad():
            assert torch.equal(program.module()(x), model(x))


def test_export_to_a_file(tmp_path):
    module = fastlstm.torch.GRU(3, 8)
    x = torch.randn(5, 2, 3)
    with torch.no_grad():  # so that no tape is kept
        program = torch.export.export(module, (x,))
        torch.export.save(program, tmp_path / "gru.pt2")
        loaded = torch.export.load(tmp_path / "gru.pt2")
        assert torch.equal(loaded.module()(x)[0], module(x)[0])


def test_fake_and_meta_tensors():
    shapes = torch.Size([5, 2, 16]), torch.Size([4, 2, 8])
    for kind in ("LSTM", "GRU"):
        make = getattr(fastlstm.torch, kind)
        y, last = make(3, 8, 2, bidirectional=True, device="meta")(torch.empty(5, 2, 3, device="meta"))
        assert (y.shape, last[0].shape if kind == "LSTM" else last.shape) == shapes
        assert y.is_meta
        with FakeTensorMode():
            y, last = make(3, 8, 2, bidirectional=True)(torch.empty(5, 2, 3))
            assert (y.shape, last[0].shape if kind == "LSTM" else last.shape) == shapes


def test_a_mode_sees_the_operator():
    module, x = fastlstm.torch.RNN(3, 8), torch.randn(5, 2, 3)
    graph = make_fx(lambda x: module(x)[0])(x)
    assert torch.ops.fastlstm.recurrence.default in {node.target for node in graph.graph.nodes}
    assert torch.equal(graph(x), module(x)[0])


@pytest.mark.parametrize("x", [(5, 2, 4), (0, 2, 3)])
def test_the_operators_arguments_are_checked(x):
    """In a graph, PyTorch's own module refuses them too."""
    torch._dynamo.reset()
    found = []
    for make in (fastlstm.torch.LSTM, torch.nn.LSTM):
        module = make(3, 8)
        run = torch.compile(module, backend="eager") if make is fastlstm.torch.LSTM else module
        with pytest.raises(RuntimeError) as error:
            run(torch.randn(*x))
        found.append(str(error.value))
    assert found[1] in found[0]


def test_no_batch_in_a_graph():
    """No sequences, but no error either."""
    torch._dynamo.reset()
    y, (h, _) = torch.compile(fastlstm.torch.LSTM(3, 8), backend="eager")(torch.randn(5, 0, 3))
    assert (y.shape, h.shape) == (torch.Size([5, 0, 8]), torch.Size([1, 0, 8]))
