"""The kernels see addresses alone: what is at them is checked, whatever way it takes to them."""

import pytest

torch = pytest.importorskip("torch")

from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence  # noqa: E402

import fastlstm.torch  # noqa: E402

I, H, T, B = 3, 4, 5, 2


def both(kind, **options):
    theirs = getattr(torch.nn, kind)(I, H, **options)
    ours = getattr(fastlstm.torch, kind)(I, H, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def state_of(kind, *shape, **draw):
    h, c = torch.randn(*shape, **draw), torch.randn(*shape, **draw)
    return (h, c) if kind == "LSTM" else h


@pytest.mark.parametrize("order", [[0], [0, 1, 0]])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_wrong_order_of_packed_rows(no_fallback, kind, order):
    """It would make a state of another size than the one that was checked."""
    packed = PackedSequence(torch.randn(4, I), torch.tensor([2, 2]), torch.tensor(order), torch.tensor(order))
    with pytest.raises(RuntimeError, match="sorted_indices must have shape"):
        getattr(fastlstm.torch, kind)(I, H)(packed, state_of(kind, 1, B, H))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_a_state_of_another_dtype_in_a_graph(kind, dtype):
    torch._dynamo.reset()
    x, state = torch.randn(T, B, I), state_of(kind, 1, B, H, dtype=torch.float64)
    state = tuple(t.to(dtype) for t in state) if kind == "LSTM" else state.to(dtype)
    theirs, ours = both(kind)
    for module in (theirs, ours, torch.compile(ours, backend="eager")):
        with pytest.raises((RuntimeError, ValueError)):
            module(x, state)


@pytest.mark.parametrize("state", [(1, 2, 3), "one"], ids=["three", "one"])
def test_a_state_of_other_parts_in_a_graph(state):
    torch._dynamo.reset()
    hx = torch.randn(2, 1, B, H) if state == "one" else tuple(torch.randn(1, B, H) for _ in state)
    theirs, ours = both("LSTM")
    for module in (theirs, ours, torch.compile(ours, backend="eager")):
        with pytest.raises((RuntimeError, TypeError)):
            module(torch.randn(T, B, I), hx)


def test_an_exported_program_is_given_other_arguments():
    module, x, state = fastlstm.torch.LSTM(I, H), torch.randn(T, B, I), state_of("LSTM", 1, B, H)
    run = torch.export.export(module, (x, state)).module(check_guards=False)
    assert torch.equal(run(x, state)[0], module(x, state)[0])
    double = torch.export.export(module, (x, state)).module(check_guards=False).double()
    for own, given in (
        (run, (x, tuple(t.double() for t in state))),
        (run, (x.double(), state)),
        (double, (x, state)),
        (run, (x, (state[0], state[1][:, :1]))),
    ):
        with pytest.raises((RuntimeError, ValueError, AssertionError)):
            own(*given)


def arguments(**other):
    """Return arguments of the operator for an LSTM, some of them others."""
    module = fastlstm.torch.LSTM(I, H, 2, dropout=0.5)
    named = {
        "x": torch.randn(T, B, I), "h0": torch.zeros(2, B, H), "c0": torch.zeros(2, B, H),
        "weights": [w.detach() for w in module.parameters()], "masks": torch.ones(1, T, B, H), "batch_sizes": None,
        "keep": True,
    }  # fmt: skip
    return [*(named | other).values(), *module._options()]


def test_right_arguments_of_the_operator():
    y, *_ = torch.ops.fastlstm.recurrence(*arguments())
    assert y.shape == (T, B, H)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", torch.randn(T, B, I).double()),
        ("x", torch.randn(T, B, I).bfloat16()),
        ("x", torch.randn(T, B, I + 1)),
        ("x", torch.randn(T, I)),
        ("x", torch.randn(T, B + 1, I)),
        ("h0", torch.zeros(2, B, H + 1)),
        ("h0", torch.zeros(1, B, H)),
        ("h0", torch.zeros(2, B, H).half()),
        ("c0", torch.zeros(2, B + 1, H)),
        ("c0", None),
        ("weights", [torch.zeros(4 * H, I)]),
        ("weights", [torch.zeros(4 * H, H)] * 8),
        ("masks", torch.ones(1, T, B, H).double()),
        ("masks", torch.ones(2, T, B, H)),
        ("batch_sizes", torch.tensor([B] * T)),
    ],
    ids=range(15),
)
def test_wrong_arguments_of_the_operator(name, value):
    with pytest.raises(RuntimeError, match=r"must be "):
        torch.ops.fastlstm.recurrence(*arguments(**{name: value}))


@pytest.mark.parametrize("sizes", [[2.0, 2.0], [[2, 2]], [], [3, 1], [1, 3], [2, 0, 2]])
def test_wrong_batch_sizes_of_the_operator(sizes):
    given = arguments(x=torch.randn(4, I), masks=torch.ones(1, 4, H), batch_sizes=torch.tensor(sizes))
    with pytest.raises((RuntimeError, ValueError), match=r"batch_sizes|h0"):
        torch.ops.fastlstm.recurrence(*given)


@pytest.mark.parametrize("stride", [0, 2])
def test_batch_sizes_with_strides(no_fallback, stride):
    sizes = torch.tensor([2]).expand(3) if stride == 0 else torch.tensor([2, 9, 2, 9, 2, 9])[::2]
    theirs, ours = both("LSTM")
    x = torch.randn(6, I)
    expected, _ = theirs(PackedSequence(x, torch.tensor([2, 2, 2])))
    y, _ = ours(PackedSequence(x, sizes))
    torch.testing.assert_close(y.data, expected.data)
    y.data.sum().backward()


@pytest.mark.parametrize("training", [True, False])
def test_negated_views(no_fallback, training):
    """PyTorch keeps the sign of such views beside their memory."""
    theirs, ours = both("LSTM")
    weight = ours.weight_hh_l0.detach()
    x, state = torch.randn(T, B, I), state_of("LSTM", 1, B, H)
    expected, _ = torch.func.functional_call(theirs, {"weight_hh_l0": -weight}, (-x, tuple(-part for part in state)))
    negated = torch._neg_view(x), tuple(map(torch._neg_view, state))
    with torch.set_grad_enabled(training):
        y, _ = torch.func.functional_call(ours, {"weight_hh_l0": torch._neg_view(weight)}, negated)
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("position", range(8))
def test_saved_tensors_of_other_shapes(position):
    """A hook gives back less than it was given."""
    module, count = fastlstm.torch.LSTM(I, H), iter(range(100))

    def unpack(tensor):
        return tensor[:1].clone() if next(count) == position else tensor

    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, unpack):
        y, _ = module(torch.randn(T, B, I, requires_grad=True), state_of("LSTM", 1, B, H, requires_grad=True))
    if position in (1, 2):  # The state, which is whole as it is: (1, B, H).
        y.sum().backward()
        return
    with pytest.raises(RuntimeError, match="saved tensors must come back as they were"):
        y.sum().backward()


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("way", ["autocast", "bfloat16"])
def test_compiled_with_other_numbers(kind, way):
    """PyTorch computes it, with its gradients, as it does without a compiler."""
    torch._dynamo.reset()
    module = getattr(fastlstm.torch, kind)(I, H)
    if way == "bfloat16":
        module = module.bfloat16()
    x = torch.randn(T, B, I, dtype=torch.bfloat16 if way == "bfloat16" else torch.float32)
    found = []
    for run in (module, torch.compile(module, backend="aot_eager")):
        with torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast"):
            y, _ = run(x)
            found.append([y, *torch.autograd.grad(y.float().square().sum(), list(module.parameters()))])
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


def test_a_state_in_a_graph_over_packed_sequences():
    torch._dynamo.reset()
    theirs, ours = both("GRU")
    packed = pack_padded_sequence(torch.randn(T, B, I), [3, 5], enforce_sorted=False)
    h = state_of("GRU", 1, B, H)
    expected, _ = theirs(packed, h)
    y, _ = torch.compile(ours, backend="aot_eager")(packed, h)
    torch.testing.assert_close(y.data, expected.data)
