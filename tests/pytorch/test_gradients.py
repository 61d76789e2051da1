"""Gradients by finite differences, gradients of gradients, batches of them, and what is not to be differentiated."""

import pytest

torch = pytest.importorskip("torch")

import fastlstm.torch  # noqa: E402

pytestmark = pytest.mark.usefixtures("no_fallback")

CONFIGURATIONS = [
    ("LSTM", {}),
    ("LSTM", {"num_layers": 2, "bidirectional": True, "proj_size": 2}),
    ("LSTM", {"bias": False, "batch_first": True}),
    ("GRU", {"num_layers": 2}),
    ("GRU", {"bias": False, "bidirectional": True}),
    ("RNN", {"bidirectional": True, "batch_first": True}),
    ("RNN", {"nonlinearity": "relu", "bias": False}),
]
SOME = [CONFIGURATIONS[k] for k in (0, 1, 3, 5)]
OWN = [
    ("LSTM", {"peephole": True, "bidirectional": True}),
    ("LSTM", {"layer_norm": True}),
    ("LSTM", {"variant": "CIFG", "peephole": True, "num_layers": 2}),
    ("LSTM", {"variant": "NOG", "proj_size": 2}),
]


def ids(pairs):
    return ["-".join([kind, *(f"{name}={value}" for name, value in options.items())]) for kind, options in pairs]


def as_function(kind, options, lengths=None):
    """Return a module as a function of its input, its state and its parameters, and such arguments."""
    torch.manual_seed(0)
    module = getattr(fastlstm.torch, kind)(2, 3, dtype=torch.float64, **options)
    names = [name for name, _ in module.named_parameters()]
    cells = module.num_layers * (1 + module.bidirectional)
    sizes = [module.proj_size or 3, 3][: 2 if kind == "LSTM" else 1]
    state = [torch.randn(cells, 2, size, dtype=torch.float64, requires_grad=True) for size in sizes]
    x = torch.randn(*((2, 3) if module.batch_first else (3, 2)), 2, dtype=torch.float64, requires_grad=True)

    def run(x, *rest):
        first, weights = rest[: len(sizes)], rest[len(sizes) :]
        if lengths:
            x = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, module.batch_first, enforce_sorted=False)
        hx = first if kind == "LSTM" else first[0]
        y, last = torch.func.functional_call(module, dict(zip(names, weights, strict=True)), (x, hx))
        return (y.data if lengths else y, *(last if kind == "LSTM" else [last]))

    return run, (x, *state, *module.parameters())


@pytest.mark.parametrize("lengths", [None, [2, 3]], ids=["padded", "packed"])
@pytest.mark.parametrize(("kind", "options"), CONFIGURATIONS, ids=ids(CONFIGURATIONS))
def test_gradients(kind, options, lengths):
    run, arguments = as_function(kind, options, lengths)
    assert torch.autograd.gradcheck(run, arguments, check_batched_grad=True)


@pytest.mark.parametrize(("kind", "options"), OWN, ids=ids(OWN))
def test_gradients_of_own_options(kind, options):
    run, arguments = as_function(kind, options)
    assert torch.autograd.gradcheck(run, arguments)


@pytest.mark.parametrize("lengths", [None, [2, 3]], ids=["padded", "packed"])
@pytest.mark.parametrize(("kind", "options"), SOME, ids=ids(SOME))
def test_gradients_of_gradients(kind, options, lengths):
    run, arguments = as_function(kind, options, lengths)
    assert torch.autograd.gradgradcheck(run, arguments, check_batched_grad=lengths is None)


def penalty(module, x):
    """Return the gradients of the parameters for a loss with a penalty of the gradient of x, which has dropout."""
    torch.manual_seed(4)
    y, (h, _) = module(x, None)
    (dx,) = torch.autograd.grad(y.square().sum() + h.sum(), x, create_graph=True)
    loss = y.sum() + (dx.norm() - 1).square()
    return torch.autograd.grad(loss, [x, *module.parameters()])


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_gradient_penalty(dropout):
    theirs = torch.nn.LSTM(3, 5, 3, bidirectional=True, dropout=dropout, dtype=torch.float64)
    ours = fastlstm.torch.LSTM(3, 5, 3, bidirectional=True, dropout=dropout, dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(6, 4, 3, dtype=torch.float64, requires_grad=True)
    for a, b in zip(penalty(theirs, x), penalty(ours, x), strict=True):
        assert float((a - b).abs().max()) <= 1e-12 * float(a.abs().max())


@pytest.mark.parametrize(("kind", "options"), OWN, ids=ids(OWN))
def test_gradients_of_gradients_name_the_option_that_pytorch_lacks(kind, options):
    run, (x, *rest) = as_function(kind, options)
    (dx,) = torch.autograd.grad(run(x, *rest)[0].sum(), x)  # once is no matter
    option = next(name for name in ("variant", "peephole", "layer_norm") if name in options)
    with pytest.raises(NotImplementedError, match=f"{option}={options[option]!r}"):
        torch.autograd.grad(run(x, *rest)[0].sum(), x, create_graph=True)
    assert dx.shape == x.shape


def test_the_same_tensor_in_two_places():
    """Each place has its own gradient, and the tensor their sum, in gradients of gradients too."""
    theirs = torch.nn.LSTM(4, 4, dtype=torch.float64)
    ours = fastlstm.torch.replace(torch.nn.LSTM(4, 4, dtype=torch.float64))
    ours.load_state_dict(theirs.state_dict())
    for module in (theirs, ours):
        module.weight_hh_l0 = module.weight_ih_l0
        module.bias_hh_l0 = module.bias_ih_l0
    x = torch.randn(1, 2, 4, dtype=torch.float64, requires_grad=True)
    found = []
    for module in (theirs, ours):
        y, _ = module(x, (x, x))
        gradients = torch.autograd.grad(y.square().sum(), [x, *module.parameters()], create_graph=True)
        again = torch.autograd.grad(sum(g.square().sum() for g in gradients), [x, *module.parameters()])
        found.append([*gradients, *again])
    for a, b in zip(*found, strict=True):
        assert float((a - b).detach().abs().max()) <= 1e-13 * float(a.detach().abs().max())


def test_gradients_of_some_results():
    """Nothing arrives at the others."""
    theirs = torch.nn.LSTM(3, 5, 2, bidirectional=True, dtype=torch.float64)
    ours = fastlstm.torch.LSTM(3, 5, 2, bidirectional=True, dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(6, 4, 3, dtype=torch.float64, requires_grad=True)
    for of in (lambda y, h, c: y[3:], lambda y, h, c: h[1], lambda y, h, c: c, lambda y, h, c: y[..., :5]):
        found = []
        for module in (theirs, ours):
            y, (h, c) = module(x)
            found.append(torch.autograd.grad(of(y, h, c).sin().sum(), [x, *module.parameters()]))
        for a, b in zip(*found, strict=True):
            assert float((a - b).abs().max()) <= 1e-13 * max(1, float(a.abs().max()))


def test_only_what_needs_a_gradient_has_one():
    module = fastlstm.torch.LSTM(3, 5, 2)
    module.weight_ih_l0.requires_grad_(False)
    for name in ("weight_ih_l1", "weight_hh_l1", "bias_ih_l1", "bias_hh_l1"):
        getattr(module, name).requires_grad_(False)
    expected = torch.nn.LSTM(3, 5, 2)
    expected.load_state_dict(module.state_dict())
    x = torch.randn(6, 4, 3)
    module(x)[0].sum().backward()
    expected(x)[0].sum().backward()
    assert x.grad is None
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, expected.get_parameter(name).grad)
        else:
            assert parameter.grad is None


def test_the_gradients_of_two_biases_share_no_memory():
    module = fastlstm.torch.LSTM(3, 5)
    module(torch.randn(6, 4, 3))[0].sum().backward()
    assert torch.equal(module.bias_ih_l0.grad, module.bias_hh_l0.grad)
    pointers = {p.grad.untyped_storage().data_ptr() for p in module.parameters()}
    assert len(pointers) == 4


def test_backward_twice():
    module, x = fastlstm.torch.GRU(3, 5), torch.randn(6, 4, 3)
    loss = module(x)[0].sum()
    loss.backward(retain_graph=True)
    first = module.weight_hh_l0.grad.clone()
    loss.backward()
    torch.testing.assert_close(module.weight_hh_l0.grad, 2 * first)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()
