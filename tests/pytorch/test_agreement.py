"""The modules against PyTorch's own, over the grid of their options: results and all gradients in float64."""

import itertools

import pytest

torch = pytest.importorskip("torch")

import fastlstm.torch  # noqa: E402

pytestmark = pytest.mark.usefixtures("no_fallback")

I, H, T, B, PROJECTED = 4, 7, 6, 5, 3
SORTED, UNSORTED = [6, 5, 5, 2, 1], [2, 5, 6, 1, 5]


def grid():
    for kind, layers, bidirectional, batch_first, bias in itertools.product(
        ("LSTM", "GRU", "RNN"), (1, 2, 3), (False, True), (False, True), (True, False)
    ):
        options = {"num_layers": layers, "bidirectional": bidirectional, "batch_first": batch_first, "bias": bias}
        named = f"{kind}-{layers}" + "-both" * bidirectional + "-batch_first" * batch_first + "-no_bias" * (not bias)
        for dropout in (0, 0.5, 1) if layers > 1 else (0,):
            for projected in (0, PROJECTED) if kind == "LSTM" else (0,):
                more = {"dropout": dropout} | ({"proj_size": projected} if projected else {})
                yield pytest.param(
                    kind, options | more, id=named + f"-{dropout}" * (dropout > 0) + "-proj" * (projected > 0)
                )


def inputs(module, shape, given):
    """Return the module's input of this shape, and its initial state if it is given, which require gradients."""
    lead = {"unbatched": (T,)}.get(shape, (B, T) if module.batch_first else (T, B))
    x = torch.randn(*lead, I, dtype=torch.float64, requires_grad=True)
    cells = module.num_layers * (1 + module.bidirectional)
    sizes = [module.proj_size or H, H][: 2 if module.mode == "LSTM" else 1]
    lead = (cells,) if shape == "unbatched" else (cells, B)
    return x, [torch.randn(*lead, size, dtype=torch.float64, requires_grad=True) for size in sizes] if given else []


def run(module, shape, x, state):
    """Return the results of a call, and the gradients of everything for random gradients of the results."""
    torch.manual_seed(5)  # of dropout
    given = x
    if shape in ("sorted", "unsorted"):
        given = torch.nn.utils.rnn.pack_padded_sequence(
            x, {"sorted": SORTED, "unsorted": UNSORTED}[shape], module.batch_first, enforce_sorted=shape == "sorted"
        )
    y, last = module(given, None if not state else tuple(state) if module.mode == "LSTM" else state[0])
    results = [y.data if given is not x else y, *(last if module.mode == "LSTM" else [last])]
    above = [torch.randn_like(result) for result in results]
    return results, torch.autograd.grad(results, [x, *state, *module.parameters()], above)


def apart(a, b):
    with torch.no_grad():
        return float((a - b).abs().max())


@pytest.mark.parametrize(("kind", "options"), list(grid()))
def test_agreement(kind, options):
    theirs = getattr(torch.nn, kind)(I, H, dtype=torch.float64, **options)
    ours = getattr(fastlstm.torch, kind)(I, H, dtype=torch.float64, **options)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict(theirs.state_dict())
    for shape in ("batched", "unbatched", "sorted", "unsorted"):
        for given in (False, True):
            x, state = inputs(theirs, shape, given)
            expected, expected_gradients = run(theirs, shape, x, state)
            found, gradients = run(ours, shape, x, state)
            for a, b in zip(expected, found, strict=True):
                assert a.shape == b.shape
                assert a.stride() == b.stride()
                assert apart(a, b) < 1e-14
            for a, b in zip(expected_gradients, gradients, strict=True):
                assert a.shape == b.shape
                assert apart(a, b) <= 1e-13 * float(a.abs().max())


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_gradients(kind, dtype):
    """Other memory is used without a tape."""
    theirs = getattr(torch.nn, kind)(I, H, 3, bidirectional=True, dropout=0.5, dtype=dtype)
    ours = getattr(fastlstm.torch, kind)(I, H, 3, bidirectional=True, dropout=0.5, dtype=dtype)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(T, B, I, dtype=dtype)
    for training in (True, False):
        found = []
        for module in (theirs.train(training), ours.train(training)):
            torch.manual_seed(5)
            with torch.no_grad():
                found.append(module(x)[0])
        assert apart(*found) < (1e-6 if dtype is torch.float32 else 1e-14)
        assert not found[1].requires_grad


def test_same_draws_in_single_precision():
    theirs = torch.nn.LSTM(I, 64, 2, dropout=0.3)
    ours = fastlstm.torch.LSTM(I, 64, 2, dropout=0.3)
    ours.load_state_dict(theirs.state_dict())
    x, drawn = torch.randn(50, 9, I), []
    for module in (theirs, ours):
        torch.manual_seed(2)
        y = module(x)[0]
        drawn.append(torch.rand(3))  # what is drawn next
    assert torch.equal(*drawn)
    torch.manual_seed(2)
    assert apart(theirs(x)[0], y) < 1e-6


def test_parameters_have_the_same_draws():
    torch.manual_seed(3)
    theirs = torch.nn.GRU(I, H, 2)
    torch.manual_seed(3)
    for a, b in zip(theirs.parameters(), fastlstm.torch.GRU(I, H, 2).parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("shape", [(1, 1), (100, 3), (3, 100), (40, 40)])
def test_many_sizes(shape):
    """Sizes at which the kernels divide the work, pack weights and hoist products in other ways."""
    for hidden in (1, 16, 65, 130):
        theirs = torch.nn.LSTM(hidden + 3, hidden, 2, bidirectional=True, dtype=torch.float64)
        ours = fastlstm.torch.replace(torch.nn.LSTM(hidden + 3, hidden, 2, bidirectional=True, dtype=torch.float64))
        ours.load_state_dict(theirs.state_dict())
        x = torch.randn(*shape, hidden + 3, dtype=torch.float64, requires_grad=True)
        expected, expected_gradients = run(theirs, "batched", x, [])
        found, gradients = run(ours, "batched", x, [])
        assert max(map(apart, expected, found)) < 1e-14
        for a, b in zip(expected_gradients, gradients, strict=True):
            assert apart(a, b) <= 1e-13 * float(a.abs().max())
