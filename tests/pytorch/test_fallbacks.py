"""What the kernels do not compute: PyTorch does, or refuses it as it refuses its own modules' calls; it is counted."""

import importlib
import warnings

import pytest
from helpers import assert_close
from torch_pairs import CASES, KINDS, B, H, I, T, arrays, leaves, make, pair, random, run, state_of

torch = pytest.importorskip("torch")
fl = pytest.importorskip("fastlstm.torch")
forward_ad = importlib.import_module("torch.autograd.forward_ad")
fake_tensor = importlib.import_module("torch._subclasses.fake_tensor")
functional_call = torch.func.functional_call
Parameter = torch.nn.Parameter


@pytest.fixture(autouse=True)
def _no_calls_before():
    fl.fallbacks.clear()
    yield
    fl.set_fallback("allow")
    fl.fallbacks.clear()


class Marked(torch.Tensor):
    """A tensor of a class of a user's."""


# ---- the calls -------------------------------------------------------------------------------------------------------


def in_autocast(module, x, **options):
    with torch.autocast("cpu", **options):
        return module(x)


def in_dual_level(module, x):
    with forward_ad.dual_level():
        y, _ = module(forward_ad.make_dual(x, torch.ones_like(x)))
        return forward_ad.unpack_dual(y).tangent


def gradient_of_function(module, x):
    parameters = dict(module.named_parameters())
    return tuple(torch.func.grad(lambda p: functional_call(module, p, (x,))[0].sum())(parameters).values())


def gradient_of_each_sequence(module, x):
    parameters = {name: p.detach() for name, p in module.named_parameters()}

    def loss(parameters, sequence):
        return functional_call(module, parameters, (sequence.unsqueeze(1),))[0].sum()

    return tuple(torch.func.vmap(torch.func.grad(loss), (None, 1))(parameters, x).values())


def several_modules(module, x):
    stacked, buffers = torch.func.stack_module_state([module, module])
    return torch.func.vmap(lambda p, b: functional_call(module, (p, b), (x,))[0])(stacked, buffers)


def with_marked_parameter(module, x):
    module.weight_hh_l0 = Parameter(module.weight_hh_l0.detach().as_subclass(Marked))
    return module(x)


# A call by its name, and the reason that is counted for it.
CALLS = {
    "bfloat16": (lambda module, x: module.bfloat16()(x.bfloat16()), "torch.bfloat16"),
    "float16": (lambda module, x: module.half()(x.half()), "torch.float16"),
    "complex": (lambda module, x: module.to(torch.cfloat)(x.cfloat()), "torch.complex64"),
    "autocast": (in_autocast, "autocast"),
    "autocast of bfloat16": (lambda module, x: in_autocast(module.bfloat16(), x.bfloat16()), "autocast"),
    "torch.func.grad": (gradient_of_function, "a transform of torch.func"),
    "torch.func.vjp": (
        lambda module, x: torch.func.vjp(lambda x: module(x)[0], x)[1](torch.ones(T, B, H)),
        "a transform of torch.func",
    ),
    "torch.func.jacrev": (
        lambda module, x: torch.func.jacrev(lambda x: module(x)[0].sum((1, 2)))(x),
        "a transform of torch.func",
    ),
    "torch.func.jvp": (
        lambda module, x: torch.func.jvp(lambda x: module(x)[0], (x,), (torch.ones_like(x),)),
        "a transform of torch.func",
    ),
    "torch.func.hessian": (
        lambda module, x: torch.func.hessian(lambda x: module(x)[0].sum())(x),
        "a transform of torch.func",
    ),
    "vmap of a batch": (
        lambda module, x: torch.func.vmap(lambda x: module(x)[0])(torch.stack([x, x])),
        "a transform of torch.func",
    ),
    "vmap of modules": (several_modules, "a transform of torch.func"),
    "a gradient for each sequence": (gradient_of_each_sequence, "a transform of torch.func"),
    "dual numbers": (in_dual_level, "forward-mode differentiation"),
    "tracing": (lambda module, x: torch.jit.trace(module, (x,), check_trace=False)(x), "tracing"),
    "input of another class": (lambda module, x: module(x.as_subclass(Marked)), "a Marked"),
    "parameter of another class": (with_marked_parameter, "a Marked"),
}
# What PyTorch warns of on the way, also of its own modules.
WARNED = pytest.mark.filterwarnings(
    "ignore:.*torch.jit",
    "ignore::torch.jit.TracerWarning",
    "ignore:Complex modules:UserWarning",
    "ignore:There is a performance drop:UserWarning",
)


def outcome(call, module, x):
    """Return what a call gives, as arrays, or the type of what it raises and the first line of that."""
    try:
        return arrays(
            {
                str(k): leaf.float() if leaf.dtype is torch.bfloat16 else leaf
                for k, leaf in enumerate(leaves(call(module, x)))
            }
        )
    except (RuntimeError, NotImplementedError) as error:
        return {type(error): str(error).partition("\n")[0]}


@WARNED
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("kind", KINDS)
def test_pytorch_computes_or_refuses(kind, name):
    call, reason = CALLS[name]
    theirs, ours = pair(kind, I, H, 2)
    x = random(T, B, I, dtype=torch.float32)
    expected, found = outcome(call, theirs, x), outcome(call, ours, x)
    assert list(found) == list(expected)
    if "0" in expected:
        assert_close(found, expected, 0)
    else:
        assert found == expected
    assert set(fl.fallbacks) == {reason}
    assert 1 <= fl.fallbacks[reason] <= 2


@WARNED
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("kind", KINDS)
def test_they_may_be_errors(kind, name):
    call, reason = CALLS[name]
    x = random(T, B, I, dtype=torch.float32)
    fl.set_fallback("error")
    with pytest.raises(fl.FallbackError) as raised:
        call(make(kind, "one"), x)
    assert str(raised.value) == f'a call of {kind} is left to PyTorch, which set_fallback("error") forbids: {reason}'
    assert isinstance(raised.value, RuntimeError)


@WARNED
@pytest.mark.parametrize("name", ["bfloat16", "autocast", "torch.func.grad", "tracing", "input of another class"])
def test_they_may_warn(name):
    call, reason = CALLS[name]
    x = random(T, B, I, dtype=torch.float32)
    fl.set_fallback("warn")
    with pytest.warns(fl.FallbackWarning) as warned:
        call(make("GRU", "one"), x)
    found = {str(warning.message) for warning in warned if warning.category is fl.FallbackWarning}
    assert found == {f"a call of GRU is left to PyTorch: {reason}"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make("GRU", "one")(x)


def test_warnings_name_the_line_of_the_call():
    module, x = make("LSTM", "one").bfloat16(), torch.zeros(T, B, I, dtype=torch.bfloat16)
    fl.set_fallback("warn")
    with pytest.warns(fl.FallbackWarning) as warned:
        module(x)
    assert [warning.filename for warning in warned] == [__file__]
    module.register_forward_hook(lambda *_: None)
    with pytest.warns(fl.FallbackWarning) as warned:
        torch.nn.Sequential(module)(x)
    assert [warning.filename for warning in warned] == [__file__]


@WARNED
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("extra", ["peephole", "variant", "layer_norm"])
def test_with_extras_they_are_refused_by_name(extra, name):
    call, reason = CALLS[name]
    option = {"peephole": "peephole=True", "variant": "variant='CIFG'", "layer_norm": "layer_norm=True"}[extra]
    with pytest.raises(NotImplementedError) as raised:
        call(make("LSTM", extra), random(T, B, I, dtype=torch.float32))
    assert str(raised.value).startswith(f"LSTM with {option} is computed by fastlstm's kernels alone")
    assert str(raised.value).endswith(f"not for {reason}")
    assert not fl.fallbacks


def test_policies_are_checked():
    for policy in ("never", None, True, "Error"):
        with pytest.raises(ValueError, match="policy must be allow, warn or error, not"):
            fl.set_fallback(policy)


# ---- what is no fallback ---------------------------------------------------------------------------------------------

ALONE = {
    "autocast that is off": lambda module, x: in_autocast(module, x, enabled=False),
    "autocast of another device": lambda module, x: cuda_autocast(module, x),
    "a Jacobian": lambda module, x: torch.autograd.functional.jacobian(lambda x: module(x)[0].sum((1, 2)), x),
    "a Jacobian in batches": lambda module, x: torch.autograd.functional.jacobian(
        lambda x: module(x)[0].sum((1, 2)), x, vectorize=True
    ),
    "a Hessian": lambda module, x: torch.autograd.functional.hessian(lambda x: module(x)[0].sum(), x),
    "a product with the Jacobian": lambda module, x: torch.autograd.functional.jvp(
        lambda x: module(x)[0], x, torch.ones_like(x)
    ),
    "gradients of several": lambda module, x: torch.autograd.grad(
        module(x)[0], list(module.parameters()), torch.ones(2, T, B, H), is_grads_batched=True
    ),
    "a profiler": lambda module, x: profiled(module, x),
    "a mode that sees operators": lambda module, x: counted(module, x),
    "a mode that sees functions": lambda module, x: with_functions_seen(module, x),
    "a graph of torch.fx": lambda module, x: torch.fx.symbolic_trace(torch.nn.Sequential(module))(x),
}


def cuda_autocast(module, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no such device
        context = torch.autocast("cuda")
    with context:
        return module(x)


def profiled(module, x):
    with torch.profiler.profile():
        return module(x)


def counted(module, x):
    with importlib.import_module("torch.utils.flop_counter").FlopCounterMode(display=False):
        return module(x)


def with_functions_seen(module, x):
    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            return function(*args, **(kwargs or {}))

    with Mode():
        return module(x)


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("kind", KINDS)
def test_the_kernels_or_operations_of_ours_compute(kind, name, no_fallback):
    theirs, ours = pair(kind, I, H, 2, dtype=torch.float64)
    x = random(T, B, I)
    found, expected = (arrays(dict(enumerate(leaves(ALONE[name](module, x))))) for module in (ours, theirs))
    assert_close(found, expected, 1e-12)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_graphs_of_fx_keep_the_module_whole(kind, name, no_fallback):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = make(kind, name, dtype=torch.float64)
            self.last = torch.nn.Linear(H, 1, dtype=torch.float64)

        def forward(self, x, hx=None):
            y, last = self.first(x, hx)
            return self.last(last[0] if kind != "LSTM" else last[0][0][..., :1].repeat(1, 1, H)), y.mean()

    model = Model().eval()
    graph = torch.fx.symbolic_trace(model)
    assert [node.target for node in graph.graph.nodes if node.op == "call_module"] == ["first", "last"]
    assert graph.first is model.first
    x, hx = random(B, B, I), state_of(model.first, B)
    for state in (None, hx):
        assert_close(run(graph, x, state), run(model, x, state), 1e-15)


def test_a_graph_of_fx_of_the_module_itself():
    for module in (torch.nn.LSTM(I, H), fl.LSTM(I, H)):
        with pytest.raises(torch.fx.proxy.TraceError):
            torch.fx.symbolic_trace(module)


# ---- tensors without values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["batch", "no batch", "state", "no batch, state"])
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_meta_and_fake_tensors(kind, name, layout, no_fallback):
    ours = make(kind, name)
    x = random(B, B, I, dtype=torch.float32, requires_grad=True)
    batch = () if "no batch" in layout else (B,)
    hx = state_of(ours, *batch, dtype=torch.float32) if "state" in layout else None
    x = x if batch else x[0]
    expected = [(leaf.shape, leaf.stride(), leaf.dtype, leaf.requires_grad) for leaf in leaves(ours(x, hx))]

    def check(module, x, hx):
        results = leaves(module(x, hx))
        assert [(leaf.shape, leaf.stride(), leaf.dtype, leaf.requires_grad) for leaf in results] == expected
        sum(leaf.sum() for leaf in results).backward()
        assert [p.grad.shape for p in module.parameters()] == [p.shape for p in ours.parameters()]
        return results

    on_meta = x.detach().to("meta").requires_grad_(), None if hx is None else moved(hx, "meta")
    assert all(leaf.is_meta for leaf in check(make(kind, name, device="meta"), *on_meta))
    real = [leaf.detach() for leaf in leaves((x, hx))]
    with fake_tensor.FakeTensorMode() as mode:
        module = make(kind, name)
        fake = [mode.from_tensor(leaf) for leaf in real]
        state = None if hx is None else tuple(fake[1:]) if kind == "LSTM" else fake[1]
        assert all(isinstance(leaf, fake_tensor.FakeTensor) for leaf in check(module, fake[0].requires_grad_(), state))


def moved(hx, device):
    return tuple(part.to(device) for part in hx) if isinstance(hx, tuple) else hx.to(device)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_are_checked_without_values(kind):
    theirs, ours = (getattr(package, kind)(I, H, 2, device="meta") for package in (torch.nn, fl))
    for size, batch in ((I + 1, B), (I, B + 1)):
        x, hx = torch.zeros(T, B, size, device="meta"), moved(state_of(ours, batch, dtype=torch.float32), "meta")
        said = []
        for module in (theirs, ours):
            with pytest.raises(RuntimeError, match=r"must be equal to input_size|Expected hidden") as raised:
                module(x, hx)
            said.append(str(raised.value))
        assert said[0] == said[1]


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_no_scripts():
    with pytest.raises(torch.jit.frontend.NotSupportedError):
        torch.jit.script(fl.LSTM(I, H))
