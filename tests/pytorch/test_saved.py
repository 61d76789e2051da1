"""What a call keeps for its backward pass: given away and taken back, changed, poisoned, freed."""

import functools
import gc
import importlib
import io
import weakref

import numpy as np
import pytest
from helpers import assert_close, assert_same
from torch_pairs import CASES, KINDS, B, H, I, T, arrays, leaves, loss_of, make, pair, random, run, state_of

torch = pytest.importorskip("torch")
fl = pytest.importorskip("fastlstm.torch")
checkpoints = importlib.import_module("torch.utils.checkpoint")
checkpoint = checkpoints.checkpoint
hooks = torch.autograd.graph.saved_tensors_hooks
pack = torch.nn.utils.rnn.pack_padded_sequence

pytestmark = pytest.mark.usefixtures("no_fallback")


def arguments_of(module, packed=False):
    """Return an input, a state, and the tensor in the input; both require gradients, and the seed of dropout is set."""
    lengths = pack(torch.zeros(B, B, I), torch.tensor([2, 3, 1]), enforce_sorted=False)
    x = random(*(lengths.data.shape if packed else (B, B, I)), requires_grad=True)
    torch.manual_seed(2)
    return (lengths._replace(data=x) if packed else x), state_of(module, B, requires_grad=True), x


def gradients(module, results, x, hx):
    """Return all gradients of the loss, as arrays."""
    inputs = [x, *leaves(hx), *module.parameters()]
    return arrays(dict(enumerate(torch.autograd.grad(loss_of(results), inputs, allow_unused=True))))


def gradients_of(module, packed=False):
    given, hx, x = arguments_of(module, packed)
    return gradients(module, module(given, hx), x, hx)


# ---- saved elsewhere -------------------------------------------------------------------------------------------------


def to_file(tensor):
    file = io.BytesIO()
    torch.save(tensor, file)
    return file


def from_file(file):
    file.seek(0)
    return torch.load(file, weights_only=True)


def spread(tensor):
    """Return a tensor with other strides, in whose gaps there is NaN."""
    if not tensor.is_floating_point():
        return tensor.clone()
    wide = torch.full((*tensor.shape, 2), torch.nan, dtype=tensor.dtype)
    wide[..., 0] = tensor.detach()
    return wide[..., 0]


HOOKS = {
    "a copy": (torch.clone, lambda kept: kept),
    "a copy when asked": (lambda tensor: tensor, torch.clone),
    "a file": (to_file, from_file),
    "an array": (lambda tensor: tensor.detach().numpy().copy(), torch.from_numpy),
    "strides": (spread, lambda kept: kept),
}


@pytest.mark.parametrize("how", HOOKS)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_hooks_that_store_elsewhere(kind, name, packed, how):
    ours = make(kind, name, dtype=torch.float64)
    expected = gradients_of(ours, packed)
    given, hx, x = arguments_of(ours, packed)
    with hooks(*HOOKS[how]):
        results = ours(given, hx)
    assert_same(gradients(ours, results, x, hx), expected)


@pytest.mark.parametrize("changed", range(6))
def test_hooks_that_give_back_other_numbers(changed):
    """As one that stores half of the digits, and forgets that it did."""
    ours = make("LSTM", "one", dtype=torch.float64)
    count = iter(range(100))
    with hooks(lambda tensor: tensor.float() if next(count) == changed else tensor, lambda kept: kept):
        loss = loss_of(ours(random(T, B, I)))
    with pytest.raises(RuntimeError, match=r"saved tensors must come back as they were.* on the CPU"):
        loss.backward()
    assert next(count) >= 6


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_hooks_see_all_that_backward_reads(kind, name, packed):
    """Everything that was saved is replaced by a copy, and its memory filled with NaN before the backward pass."""
    ours = make(kind, name, dtype=torch.float64)
    expected = gradients_of(ours, packed)
    given, hx, x = arguments_of(ours, packed)
    kept = []

    def keep(tensor):
        kept.append((tensor.detach(), tensor.clone()))
        return len(kept) - 1

    with hooks(keep, lambda number: kept[number][1]):
        results = ours(given, hx)
    loss = loss_of(results)
    for tensor, _ in kept:
        tensor.data.fill_(torch.nan if tensor.is_floating_point() else -1)
    for tensor in (*leaves(results), *(p for p in ours.parameters()), *leaves(hx), x):
        if tensor.is_floating_point():
            tensor.data.fill_(torch.nan)
    found = torch.autograd.grad(loss, [x, *leaves(hx), *ours.parameters()], allow_unused=True)
    assert_same(arrays(dict(enumerate(found))), expected)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_parameters_freed_between_forward_and_backward(kind, name):
    """As FSDP frees what it has gathered, and gathers it again, perhaps elsewhere."""
    ours = make(kind, name, dtype=torch.float64)
    expected = gradients_of(ours)
    given, hx, x = arguments_of(ours)
    results = ours(given, hx)
    copies = [p.detach().clone() for p in ours.parameters()]
    for p in ours.parameters():
        p.untyped_storage().resize_(0)
    occupied = [torch.full_like(kept, torch.nan) for kept in copies for _ in range(4)]
    for p, kept in zip(ours.parameters(), copies, strict=True):
        p.untyped_storage().resize_(kept.untyped_storage().nbytes())
        p.data.copy_(kept)
    assert_same(gradients(ours, results, x, hx), expected)
    assert all(tensor.isnan().all() for tensor in occupied)


@pytest.mark.parametrize("kind", KINDS)
def test_offloading(kind):
    ours = make(kind, "two layers", dtype=torch.float64)
    expected = gradients_of(ours)
    given, hx, x = arguments_of(ours)
    with torch.autograd.graph.save_on_cpu():
        results = ours(given, hx)
    assert_same(gradients(ours, results, x, hx), expected)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_checkpoints(kind, name, packed, reentrant):
    """The call is repeated in the backward pass, with the same dropout."""
    ours = make(kind, name, dtype=torch.float64)
    expected = gradients_of(ours, packed)
    given, hx, x = arguments_of(ours, packed)
    parts = list(leaves(hx))

    def call(rows, *state):
        rows = given._replace(data=rows) if packed else rows
        return tuple(
            leaf for leaf in leaves(ours(rows, state if kind == "LSTM" else state[0])) if leaf.is_floating_point()
        )

    rows = given.data if packed else given
    results = checkpoint(call, rows, *parts, use_reentrant=reentrant)
    loss_of(results).backward()
    found = arrays(dict(enumerate([x.grad, *(part.grad for part in parts), *(p.grad for p in ours.parameters())])))
    assert_same(found, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("saved", [True, False])
def test_selective_checkpoints(kind, saved):
    """Those see operators, and so it is ours that runs; it is saved or run again as their policy says."""
    ours = make(kind, "two layers", dtype=torch.float64)
    expected = gradients_of(ours)
    given, hx, x = arguments_of(ours)
    seen = []

    def policy(context, operator, *arguments, **options):
        seen.append((str(operator), context.is_recompute))
        own = saved and "fastlstm.recurrence" in str(operator)
        return checkpoints.CheckpointPolicy.MUST_SAVE if own else checkpoints.CheckpointPolicy.PREFER_RECOMPUTE

    contexts = functools.partial(checkpoints.create_selective_checkpoint_contexts, policy)
    results = checkpoint(lambda rows: ours(rows, hx), given, use_reentrant=False, context_fn=contexts)
    assert_close(gradients(ours, results, x, hx), expected, 1e-14)
    assert ("fastlstm.recurrence.default", False) in seen


# ---- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_memory_that_is_not_initialised_is_not_read(kind, name):
    """In its deterministic mode PyTorch fills new memory with NaN."""
    ours = make(kind, name, dtype=torch.float64)
    expected = gradients_of(ours), gradients_of(ours, packed=True)
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(3).isnan().all()
        found = gradients_of(ours), gradients_of(ours, packed=True)
    finally:
        torch.use_deterministic_algorithms(False)
    for k in range(2):
        assert_same(found[k], expected[k])


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_only_the_loss_is_kept(kind, name):
    ours = make(kind, name, dtype=torch.float64)
    expected = run(ours.eval(), random(B, B, I))
    parameters = dict(ours.named_parameters())
    loss = loss_of(ours(random(B, B, I)))
    del ours
    occupied = [torch.full((B, B, I * k), torch.nan, dtype=torch.float64) for k in range(1, 40)]
    found = arrays(
        {f"d{key}": d for key, d in zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True)}
    )
    assert_same(found, {key: array for key, array in expected.items() if key.startswith("d")})
    assert all(tensor.isnan().all() for tensor in occupied)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_all_is_freed_with_the_results(kind, name):
    ours = make(kind, name, dtype=torch.float64)
    given, hx, _ = arguments_of(ours)
    seen = []

    def watch(tensor):
        held = tensor.detach().clone()
        seen.append(weakref.ref(held))
        return held

    gc.disable()  # A cycle would live on until it is found.
    try:
        with hooks(watch, lambda held: held):
            results = ours(given, hx)
        assert all(reference() is not None for reference in seen)
        loss_of(results).backward()
        assert all(reference() is None for reference in seen)
        del results
        grad_fn = weakref.ref(leaves(ours(given, hx))[1].grad_fn)
        assert grad_fn() is None
    finally:
        gc.enable()


# ---- changed in between ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_changes_of_what_was_saved_are_noticed(kind, name):
    ours = make(kind, name, dtype=torch.float64)
    given, hx, x = arguments_of(ours)
    for tensor in (*ours.parameters(), *leaves(hx), x):
        if tensor is x and ours.batch_first:
            continue  # Its sequences have been copied to lie step by step.
        loss = loss_of(ours(given, hx))
        with torch.no_grad():
            tensor.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
    loss = loss_of(ours(given, hx))
    optimiser = torch.optim.SGD(ours.parameters(), 0.1)
    loss.backward(retain_graph=True)
    optimiser.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("kind", KINDS)
def test_changes_of_what_was_copied_do_no_harm(kind):
    ours = make(kind, "two directions", dtype=torch.float64)
    expected = gradients_of(ours)
    given, hx, x = arguments_of(ours)
    results = ours(given, hx)
    with torch.no_grad():
        x.fill_(torch.nan)
    assert_same(gradients(ours, results, x, hx), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_changes_where_they_are_allowed(kind):
    ours = make(kind, "two directions", dtype=torch.float64)
    expected = gradients_of(ours)
    given, hx, x = arguments_of(ours)
    with torch.autograd.graph.allow_mutation_on_saved_tensors():
        results = ours(given, hx)
        with torch.no_grad():
            for p in ours.parameters():
                p.mul_(2)
        assert_close(gradients(ours, results, x, hx), expected, 1e-14)


IN_PLACE = {
    "multiplied": lambda t: t.mul_(2),
    "cut": lambda t: t.relu_(),
    "zeros within": lambda t: t[..., 1:].zero_(),
    "masked": lambda t: t.masked_fill_(t > 0, 0.5),
    "clamped": lambda t: t.clamp_(-0.1, 0.1),
}


@pytest.mark.parametrize("how", IN_PLACE)
@pytest.mark.parametrize("layout", ["steps first", "batch first", "no batch", "packed"])
@pytest.mark.parametrize("kind", KINDS)
def test_results_changed_in_place(kind, layout, how):
    """Nothing of the results is read again; PyTorch, in float64, takes it too."""
    found = []
    for module in reversed(
        pair(kind, I, H, 2, bidirectional=True, batch_first=layout == "batch first", dtype=torch.float64)
    ):
        x = random(T, B, I, requires_grad=True)
        results = module({"no batch": x[:, 0], "packed": pack(x, torch.tensor([5, 3, 1]))}.get(layout, x))
        for leaf in leaves(results):
            if leaf.requires_grad:
                IN_PLACE[how](leaf)
        found.append(gradients(module, results, x, None))
    assert_close(found[0], found[1], 1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_states_carried_on(kind):
    """Detached in place, or not at all, or changed; through three parts of a sequence."""
    changes = {
        "detached": lambda part: part.detach_(),
        "a new one": lambda part: part.detach(),
        "kept": lambda part: part,
        "reset": lambda part: part.index_fill(1, torch.tensor([1]), 0.0),
        "zeros": lambda part: part.mul_(0),
    }
    for change in changes.values():
        found = []
        for module in reversed(pair(kind, I, H, 2, dtype=torch.float64)):
            x, hx, total = random(3 * T, B, I), None, 0
            for k in range(3):
                y, hx = module(x[k * T : (k + 1) * T], hx)
                total = total + loss_of(y)
                hx = tuple(map(change, hx)) if kind == "LSTM" else change(hx)
            found.append(arrays(dict(enumerate(torch.autograd.grad(total, list(module.parameters()))))))
        assert_close(found[0], found[1], 1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_some_results_alone(kind):
    """A gradient for y, h or c alone, and for a part of one that comes with other strides."""
    chosen = {
        "y": lambda y, last: y.sum(),
        "the last step": lambda y, last: y[-1].square().sum(),
        "every other value": lambda y, last: y[..., ::2].square().sum(),
        "one value of all": lambda y, last: y[2, 1, 0],
        "turned": lambda y, last: (y.mT @ y).sum(),
        "h": lambda y, last: leaves(last)[0].square().sum(),
        "the last of the state": lambda y, last: leaves(last)[-1].square().sum(),
        "h of one layer": lambda y, last: leaves(last)[0][-1].square().sum(),
        "a view that negates": lambda y, last: torch.complex(y, y).conj().imag.square().sum(),
    }
    for choose in chosen.values():
        found = []
        for module in reversed(pair(kind, I, H, 2, bidirectional=True, dtype=torch.float64)):
            x = random(T, B, I, requires_grad=True)
            inputs = [x, *module.parameters()]
            found.append(arrays(dict(enumerate(torch.autograd.grad(choose(*module(x)), inputs, allow_unused=True)))))
        zeros = {key: np.zeros_like(array) for key, array in found[0].items()}
        assert_close(zeros | found[0], zeros | found[1], 1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_that_is_a_view_that_negates(kind):
    """Only one of a single value has the strides of memory, and then its sign is in the view alone."""
    found = []
    for module in reversed(pair(kind, 1, 1, dtype=torch.float64)):
        x, hx = random(1, 1, 1, requires_grad=True), state_of(module, 1, requires_grad=True)
        signs = []
        results = module(x, hx)
        for leaf in leaves(results):
            leaf.register_hook(lambda gradient, signs=signs: signs.append(gradient.is_neg()))
        loss = sum(
            (torch.complex(torch.ones_like(leaf), leaf).conj() * (2 + 3j)).imag.sum() for leaf in leaves(results)
        )
        found.append(arrays(dict(enumerate(torch.autograd.grad(loss, [x, *leaves(hx), *module.parameters()])))))
        assert all(signs)
    assert_close(found[0], found[1], 1e-14)
