"""What PyTorch's own suite checks of nn.LSTM, nn.GRU and nn.RNN, checked of the modules in their place."""

import io
import pickle

import numpy as np
import pytest
from helpers import assert_close, assert_same
from torch_pairs import (
    CASES,
    KINDS,
    OF_ALL,
    OPTIONS,
    B,
    H,
    I,
    T,
    arrays,
    leaves,
    loss_of,
    make,
    pair,
    random,
    run,
    state_of,
)

torch = pytest.importorskip("torch")
fl = pytest.importorskip("fastlstm.torch")
pack = torch.nn.utils.rnn.pack_padded_sequence
Parameter = torch.nn.Parameter


# ---- test_nn ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_input_without_sequences(kind, no_fallback):
    ours = make(kind, "one")
    x = torch.zeros(T, 0, I, requires_grad=True)
    y, last = ours(x)
    assert y.shape == (T, 0, H)
    assert all(part.shape == (1, 0, H) for part in leaves(last))
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert all(not p.grad.any() for p in ours.parameters())


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_no_state_is_one_of_zeros(kind, name, no_fallback):
    ours = make(kind, name, dtype=torch.float64).eval()
    x = random(B, T, I)
    batch = B if ours.batch_first else T
    hx = state_of(ours, batch)
    zeros = tuple(map(torch.zeros_like, hx)) if kind == "LSTM" else torch.zeros_like(hx)
    assert_same(run(ours, x), run(ours, x, zeros))
    unlike = run(ours, x, hx)
    assert all(np.abs(array - unlike[name]).max() > 1e-6 for name, array in run(ours, x).items() if "result" in name)


@pytest.mark.parametrize("kind", KINDS)
def test_backward_twice_over_a_kept_graph(kind, no_fallback):
    ours = make(kind, "two directions", dtype=torch.float64)
    x = random(B, T, I, requires_grad=True)
    results = ours(x)
    loss_of(results).backward(retain_graph=True)
    once = arrays({name: p.grad for name, p in ours.named_parameters()} | {"x": x.grad})
    loss_of(results).backward()
    twice = arrays({name: p.grad for name, p in ours.named_parameters()} | {"x": x.grad})
    assert_close(twice, {name: 2 * array for name, array in once.items()}, 1e-15)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss_of(results).backward()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("enforce_sorted", [True, False])
@pytest.mark.parametrize("name", OF_ALL)
def test_packed_sequences_are_each_by_itself(kind, name, enforce_sorted, no_fallback):
    ours = make(kind, name, dtype=torch.float64).eval()
    lengths = [5, 4, 4, 2, 1] if enforce_sorted else [2, 5, 1, 4, 4]
    x, hx = random(T, 5, I, requires_grad=True), state_of(ours, 5)
    y, last = ours(pack(x, torch.tensor(lengths), enforce_sorted=enforce_sorted), hx)
    y, found_lengths = torch.nn.utils.rnn.pad_packed_sequence(y)
    assert found_lengths.tolist() == lengths
    (dx,) = torch.autograd.grad(loss_of((y, last)), x)
    ours.batch_first = False
    rows = [
        ours(x[:length, k], tuple(part[:, k] for part in hx) if kind == "LSTM" else hx[:, k])
        for k, length in enumerate(lengths)
    ]
    alone = torch.nn.utils.rnn.pad_sequence([y for y, _ in rows])
    states = [torch.stack(parts, 1) for parts in zip(*(leaves(last) for _, last in rows), strict=True)]
    (dx_alone,) = torch.autograd.grad(loss_of((alone, states)), x)
    expected = {"y": alone, "dx": dx_alone} | dict(enumerate(states))
    assert_close(arrays({"y": y, "dx": dx} | dict(enumerate(leaves(last)))), arrays(expected), 1e-14)
    assert not dx[2:, 4 if enforce_sorted else 2].any()


def test_gradients_of_gradients():
    ours = make("LSTM", "two directions", dtype=torch.float64)
    x = random(1, 3, I, requires_grad=True)
    parameters = [p.detach().requires_grad_() for p in ours.parameters()]
    names = [name for name, _ in ours.named_parameters()]

    def call(x, *values):
        return torch.func.functional_call(ours, dict(zip(names, values, strict=True)), (x,))[0]

    assert torch.autograd.gradcheck(call, (x, *parameters), fast_mode=True)
    assert torch.autograd.gradgradcheck(call, (x, *parameters), fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_weight_norm(kind, no_fallback):
    theirs, ours = pair(kind, I, H, dtype=torch.float64)
    x = random(T, B, I)
    before = run(ours, x)
    for module in (theirs, ours):
        torch.nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")
        torch.nn.utils.parametrizations.weight_norm(module, "weight_ih_l0", dim=None)
    assert_close(run(ours, x), run(theirs, x), 1e-14)
    for module in (theirs, ours):
        with torch.no_grad():
            module.parametrizations.weight_hh_l0.original0.mul_(2)
    doubled = run(ours, x)
    assert_close(doubled, run(theirs, x), 1e-14)
    assert np.abs(doubled["result 0"] - before["result 0"]).max() > 1e-3
    for name in ("weight_hh_l0", "weight_ih_l0"):
        torch.nn.utils.parametrize.remove_parametrizations(ours, name)
    assert type(ours) is getattr(fl, kind)
    assert_close({"y": run(ours, x)["result 0"]}, {"y": doubled["result 0"]}, 1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_weight_norm_of_former_days(kind, no_fallback):
    """It computes the weight in a hook before each call, and leaves an attribute that is no parameter."""
    theirs, ours = pair(kind, I, H, dtype=torch.float64)
    x = random(T, B, I)
    for module in (theirs, ours):
        torch.nn.utils.weight_norm(module, "weight_hh_l0")
        with torch.no_grad():
            module.weight_hh_l0_g.mul_(2)
    assert "weight_hh_l0" not in dict(ours.named_parameters())
    assert_close(run(ours, x), run(theirs, x), 1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_former_versions(kind, no_fallback):
    """Before projections, modules had no proj_size; before that, _all_weights held the parameters themselves."""
    ours = make(kind, "two directions", dtype=torch.float64)
    x = random(B, T, I)
    state = ours.__getstate__()
    del state["proj_size"]
    old = getattr(fl, kind).__new__(getattr(fl, kind))
    old.__setstate__(pickle.loads(pickle.dumps(state)))
    assert old.proj_size == 0
    assert_same(run(old, x), run(ours, x))
    state["_all_weights"] = [[getattr(ours, name) for name in names] for names in ours._all_weights]
    old = getattr(fl, kind).__new__(getattr(fl, kind))
    old.__setstate__(state)
    assert old._all_weights == ours._all_weights
    assert_same(run(old, x), run(ours, x))


# ---- test_modules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_device_and_dtype_of_parameters(kind, name, dtype, device):
    ours = make(kind, name, device=device, dtype=dtype)
    assert {(p.device.type, p.dtype) for p in ours.parameters()} == {(device, dtype)}
    assert all(isinstance(p, Parameter) and p.requires_grad for p in ours.parameters())
    assert len(ours._flat_weights) == len(list(ours.parameters()))
    assert all(a is b for a, b in zip(ours._flat_weights, [p for ps in ours.all_weights for p in ps], strict=True))


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_default_dtype_and_device(kind, name):
    torch.set_default_dtype(torch.float64)
    try:
        assert {p.dtype for p in make(kind, name).parameters()} == {torch.float64}
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        ours = make(kind, name)
        assert {p.device.type for p in ours.parameters()} == {"meta"}
    with torch.device("meta"), torch.device("cpu"):
        assert {p.device.type for p in make(kind, name).parameters()} == {"cpu"}


@pytest.mark.parametrize("kind", KINDS)
def test_calls_where_another_device_is_the_default(kind, no_fallback):
    ours = make(kind, "two layers")
    x = random(T, B, I, dtype=torch.float32, requires_grad=True)
    with torch.device("meta"):
        results = ours(x)
        loss = sum(leaf.sum() for leaf in leaves(results))
        loss.backward()
    assert all(leaf.is_cpu for leaf in (*leaves(results), x.grad, *(p.grad for p in ours.parameters())))


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_repr(kind, name):
    options = dict(OPTIONS[name])
    extras = {option: options.pop(option) for option in ("peephole", "variant", "layer_norm") if option in options}
    theirs = repr(getattr(torch.nn, kind)(I, H, **options))
    written = "".join(f", {option}={value!r}" for option, value in extras.items())
    assert repr(make(kind, name)) == f"{theirs.removesuffix(')')}{written})"


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_state_in_a_file(kind, name, no_fallback):
    ours = make(kind, name, dtype=torch.float64).eval()
    file = io.BytesIO()
    torch.save(ours.state_dict(), file)
    other = getattr(fl, kind)(I, H, **OPTIONS[name], dtype=torch.float64).eval()
    x = random(B, T, I)
    assert not np.array_equal(run(ours, x)["result 0"], run(other, x)["result 0"])
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert_same(run(other, x), run(ours, x))


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_memory_of_any_strides(kind, name, no_fallback):
    """Inputs, states, parameters and arriving gradients of other strides give the same results."""
    ours = make(kind, name, dtype=torch.float64).eval()
    x, hx = random(B, T, I, requires_grad=True), state_of(ours, B if ours.batch_first else T)
    expected = run(ours, x, hx)

    def strided(tensor):
        spread = tensor.detach().repeat_interleave(2, -1)
        spread[..., 1::2] = torch.nan
        spread = spread[..., ::2]
        assert not spread.is_contiguous()
        return spread.requires_grad_(tensor.requires_grad)

    hx = tuple(map(strided, hx)) if kind == "LSTM" else strided(hx)
    assert_same(run(ours, strided(x), hx), expected)
    for parameter in ours.parameters():
        parameter.data = strided(parameter)
    assert_same(run(ours, strided(x), hx), expected)
    for own, parameter in list(ours.named_parameters()):
        by_columns = parameter.detach().contiguous()
        setattr(ours, own, Parameter(by_columns.mT.contiguous().mT if by_columns.ndim > 1 else strided(by_columns)))
    assert_same(run(ours, x, hx), expected)
    with torch.no_grad():
        alone = arrays({f"result {k}": leaf for k, leaf in enumerate(leaves(ours(x, hx)))})
    assert_close(alone, {name: array for name, array in expected.items() if name in alone}, 1e-15)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_parameters_as_views_of_one_vector(kind, name, no_fallback):
    """As parameters_to_vector and flattening optimisers keep them: at addresses that no allocator gives."""
    ours = make(kind, name).eval()
    x = random(B, T, I, dtype=torch.float32, requires_grad=True)
    expected = run(ours, x)
    vector = torch.nn.utils.parameters_to_vector(ours.parameters()).detach()
    for start in (0, 1, 3):
        whole = torch.cat([torch.full((start,), torch.nan), vector])
        torch.nn.utils.vector_to_parameters(whole[start:], ours.parameters())
        assert next(iter(ours.parameters())).data_ptr() == whole.data_ptr() + 4 * start
        assert_same(run(ours, x), expected)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_train_and_eval_differ_in_dropout_alone(kind, name, no_fallback):
    ours = make(kind, name, dtype=torch.float64)
    assert ours.training
    x = random(B, T, I)
    trained, again, evaluated = run(ours.train(), x), run(ours.train(), x), run(ours.eval(), x)
    assert_same(run(ours.eval(), x), evaluated)
    if ours.dropout:
        assert not np.array_equal(trained["result 0"], again["result 0"])
        assert not np.array_equal(trained["result 0"], evaluated["result 0"])
    else:
        assert_same(trained, evaluated)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_moves(kind, name, no_fallback):
    ours = make(kind, name).eval()
    x = random(B, T, I, dtype=torch.float32)
    expected = run(ours, x)
    parameters = list(ours.parameters())
    assert ours.to(torch.float64) is ours
    assert all(a is b and a.dtype is torch.float64 for a, b in zip(parameters, ours.parameters(), strict=True))
    assert_close(run(ours, x.double()), expected, 1e-5)
    assert_same(run(ours.float(), x), expected)
    state = {key: value.clone() for key, value in ours.state_dict().items()}
    ours.to("meta")
    assert all(p.is_meta for p in ours.parameters())
    with torch.no_grad():
        y, last = ours(x.to("meta"))
    assert [leaf.shape for leaf in leaves((y, last))] == [expected[f"result {k}"].shape for k in range(1 + ours._parts)]
    ours.to_empty(device="cpu")
    ours.load_state_dict(state)
    assert_same(run(ours, x), expected)
    on_meta = getattr(fl, kind)(I, H, **OPTIONS[name], device="meta").eval()
    on_meta.load_state_dict(state, assign=True)
    assert_same(run(on_meta, x), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_moves_that_swap_tensors(kind, no_fallback):
    theirs, ours = pair(kind, I, H, 2)
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        theirs.double(), ours.double()
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    assert_close(run(ours, random(T, B, I)), run(theirs, random(T, B, I)), 1e-14)
