"""What becomes of a module in a program: copies, files, shared memory, other parameters, hooks, freezing."""

import contextlib
import copy
import importlib
import io
import os
import pickle

import numpy as np
import pytest
from helpers import assert_close, assert_same
from torch_pairs import CASES, KINDS, B, H, I, T, arrays, leaves, loss_of, make, pair, random, run, state_of

torch = pytest.importorskip("torch")
fl = pytest.importorskip("fastlstm.torch")
parametrizations, parametrize = torch.nn.utils.parametrizations, torch.nn.utils.parametrize
prune = importlib.import_module("torch.nn.utils.prune")
Parameter = torch.nn.Parameter

pytestmark = pytest.mark.usefixtures("no_fallback")


def input_of(module, dtype=torch.float64):
    """Return an input whose first axes may be read either way."""
    return random(B, B, I, dtype=dtype)


# ---- copies and files ------------------------------------------------------------------------------------------------


def through_torch_save(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def through_safe_torch_save(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    with torch.serialization.safe_globals([type(module)]):
        return torch.load(file, weights_only=True)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),
    "torch.save": through_torch_save,
    "torch.save, weights only": through_safe_torch_save,
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_copies(kind, name, how):
    ours = make(kind, name, dtype=torch.float64).eval()
    ours.weight_ih_l0.requires_grad_(False)
    run(ours, input_of(ours))
    other = COPIES[how](ours)
    assert type(other) is type(ours)
    assert repr(other) == repr(ours)
    assert not other.training
    assert not other.weight_ih_l0.requires_grad
    expected = run(ours, input_of(ours))
    assert_same(run(other, input_of(ours)), expected)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(2)
    assert_same(run(ours, input_of(ours)), expected)
    assert not np.array_equal(run(other, input_of(ours))["result 0"], expected["result 0"])
    assert all(a is b for a, b in zip(other._flat_weights, [p for ps in other.all_weights for p in ps], strict=True))


def test_a_shallow_copy_shares():
    ours = make("LSTM", "two layers", dtype=torch.float64).eval()
    other = copy.copy(ours)
    with torch.no_grad():
        ours.weight_hh_l1.mul_(2)
    assert_same(run(other, random(T, B, I)), run(ours, random(T, B, I)))


OPTIONS_OF_BOTH = {
    "one": {},
    "two directions": {"num_layers": 2, "bidirectional": True, "batch_first": True},
    "no bias": {"bias": False},
    "projection": {"proj_size": 3},
}
CASES_OF_BOTH = [(kind, name) for kind in KINDS for name in OPTIONS_OF_BOTH if kind == "LSTM" or name != "projection"]


@pytest.mark.parametrize(("kind", "name"), CASES_OF_BOTH)
@pytest.mark.parametrize("by", ["torch.save", "safetensors"])
def test_states_go_both_ways(kind, name, by, tmp_path):
    options = OPTIONS_OF_BOTH[name]
    torch.manual_seed(0)
    for source, target in ((torch.nn, fl), (fl, torch.nn)):
        saved = getattr(source, kind)(I, H, **options, dtype=torch.float64)
        loaded = getattr(target, kind)(I, H, **options, dtype=torch.float64)
        assert list(saved.state_dict()) == list(loaded.state_dict())
        path = tmp_path / "state"
        if by == "torch.save":
            torch.save(saved.state_dict(), path)
            missing = loaded.load_state_dict(torch.load(path, weights_only=True))
        else:
            safetensors = pytest.importorskip("safetensors.torch")
            safetensors.save_model(saved, path)
            missing = safetensors.load_model(loaded, path)
        assert not any(missing)
        assert_same(arrays(dict(loaded.named_parameters())), arrays(dict(saved.named_parameters())))
        assert_close(run(loaded, random(B, T, I)), run(saved, random(B, T, I)), 1e-14)


@pytest.mark.parametrize("name", ["peephole", "variant", "layer_norm"])
def test_states_with_extras_do_not_fit(name):
    ours, theirs = make("LSTM", name), torch.nn.LSTM(I, H, num_layers=2 if name == "layer_norm" else 1)
    words = "size mismatch for weight_ih_l0" if name == "variant" else "Unexpected key.*weight_(ch|ln)_l0"
    with pytest.raises(RuntimeError, match=words):
        theirs.load_state_dict(ours.state_dict())
    if name != "variant":
        with pytest.raises(RuntimeError, match=r"Missing key.*weight_(ch|ln)_l0"):
            ours.load_state_dict(theirs.state_dict())
        assert ours.load_state_dict(theirs.state_dict(), strict=False).missing_keys


def test_loading_in_place_and_by_assignment():
    ours, other = make("LSTM", "two layers").eval(), torch.nn.LSTM(I, H, 2)
    x = random(T, B, I, dtype=torch.float32)
    before = list(ours.parameters())
    for assign in (False, True):
        ours.load_state_dict(other.state_dict(), assign=assign)
        assert all((a is b) != assign for a, b in zip(before, ours.parameters(), strict=True))
        assert_close(run(ours, x), run(other.eval(), x), 1e-5)
        other.reset_parameters()


@pytest.mark.parametrize("kind", KINDS)
def test_shared_memory(kind):
    ours = make(kind, "two layers").eval()
    x = random(T, B, I, dtype=torch.float32)
    expected = run(ours, x)
    assert ours.share_memory() is ours
    assert all(p.is_shared() for p in ours.parameters())
    assert_same(run(ours, x), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_trains_the_shared_module():
    """After the parent has used threads, which the child does not have."""
    torch.set_num_threads(2)
    ours = make("LSTM", "two layers", dtype=torch.float64).share_memory().eval()
    x = random(20, 64, I)

    def gradient():  # of a sum, which PyTorch computes without the threads that it lost, too
        return torch.autograd.grad(ours(x)[0].sum(), ours.weight_hh_l0)[0]

    expected = gradient()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            ours.weight_hh_l0.data.copy_(gradient())
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert torch.equal(ours.weight_hh_l0, expected)


# ---- parametrizations, pruning ---------------------------------------------------------------------------------------


class Symmetric(torch.nn.Module):
    """Blocks that are symmetric, and not contiguous."""

    def forward(self, x):
        blocks = x.unflatten(0, (-1, x.shape[1]))
        return (blocks + blocks.mT).mT.flatten(0, 1).mT.contiguous().mT / 2


class Imaginary(torch.nn.Module):
    """A view that negates, of numbers of other strides."""

    def forward(self, x):
        return torch.complex(torch.zeros_like(x), -x).conj().imag


PARAMETRIZATIONS = {
    "weight_norm": lambda module, name: parametrizations.weight_norm(module, name),
    "orthogonal": lambda module, name: parametrizations.orthogonal(module, name),
    "spectral_norm": lambda module, name: parametrizations.spectral_norm(module, name),
    "of its own": lambda module, name: parametrize.register_parametrization(module, name, Symmetric()),
}


@pytest.mark.parametrize("how", PARAMETRIZATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_parametrizations(kind, how):
    theirs, ours = pair(kind, I, H, 2, dtype=torch.float64)
    names = [f"weight_hh_l{k}" for k in range(2)]
    x = random(T, B, I)
    for module in (theirs, ours):
        for name in names:
            torch.manual_seed(1)
            PARAMETRIZATIONS[how](module, name)
        module.eval()  # A spectral norm changes in training at each look, and PyTorch's modules look more often.
        optimiser = torch.optim.SGD(module.parameters(), 0.01)
        for _ in range(3):
            optimiser.zero_grad()
            loss_of(module(x)).backward()
            optimiser.step()
    assert_close(run(ours, x), run(theirs, x), 1e-12)
    copied = copy.deepcopy(ours)
    assert_same(run(copied, x), run(ours, x))
    with parametrize.cached():
        first = ours(x)[0]
        assert torch.equal(first, ours(x)[0])
    expected = run(ours, x)["result 0"]
    for name in names:
        parametrize.remove_parametrizations(ours, name)
    assert type(ours) is getattr(fl, kind)
    assert {name for name, _ in ours.named_parameters()} == set(ours._flat_weights_names)
    assert_close({"y": run(ours, x)["result 0"]}, {"y": expected}, 1e-14)
    assert isinstance(copied, getattr(fl, kind))


def test_parametrizations_of_peepholes():
    ours = make("LSTM", "peephole", dtype=torch.float64)
    before = run(ours, random(T, B, I))
    parametrize.register_parametrization(ours, "weight_ch_l0", Imaginary())
    parametrize.register_parametrization(ours, "bias_hh_l0", Imaginary())
    found = run(ours, random(T, B, I))
    names = {f"dparametrizations.{name}.original": f"d{name}" for name in ("weight_ch_l0", "bias_hh_l0")}
    assert_close({names.get(name, name): array for name, array in found.items()}, before, 1e-15)


@pytest.mark.parametrize("kind", KINDS)
def test_pruning(kind):
    theirs, ours = pair(kind, I, H, 2, dtype=torch.float64)
    x = random(T, B, I)
    for module in (theirs, ours):
        prune.l1_unstructured(module, "weight_hh_l0", amount=0.5)
        prune.ln_structured(module, "weight_ih_l1", amount=0.25, n=2, dim=0)
        prune.global_unstructured([(module, "weight_ih_l0"), (module, "bias_ih_l0")], prune.L1Unstructured, amount=0.3)
    found = run(ours, x)
    assert_close(found, run(theirs, x), 1e-13)
    assert (found["dweight_hh_l0_orig"] == 0).mean() == 0.5
    optimiser = torch.optim.SGD(ours.parameters(), 0.1)
    loss_of(ours(x)).backward()
    optimiser.step()
    pruned = run(ours, x)
    assert not np.array_equal(pruned["result 0"], found["result 0"])
    for name in ("weight_hh_l0", "weight_ih_l1", "weight_ih_l0", "bias_ih_l0"):
        prune.remove(ours, name)
    assert set(dict(ours.named_parameters())) == set(ours._flat_weights_names)
    assert_same({"y": run(ours, x)["result 0"]}, {"y": pruned["result 0"]})


# ---- other parameters ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_parameters_that_are_assigned_are_seen(kind, name):
    ours, other = make(kind, name, dtype=torch.float64).eval(), make(kind, name, dtype=torch.float64).eval()
    x = input_of(ours)
    run(ours, x)
    for each, parameter in list(other.named_parameters()):
        for change in (
            lambda: setattr(ours, each, Parameter(getattr(ours, each).detach() * 1.5)),  # noqa: B023, called at once
            lambda: setattr(getattr(ours, each), "data", getattr(ours, each).data - 0.1),  # noqa: B023
            lambda: getattr(ours, each).data.mul_(0.9),  # noqa: B023
        ):
            before = run(ours, x)["result 0"]
            change()
            assert not np.array_equal(run(ours, x)["result 0"], before)
        with torch.no_grad():
            parameter.copy_(getattr(ours, each))
        assert_same(run(ours, x), run(other, x))


class DroppedWeights(torch.nn.Module):
    """DropConnect as people write it: at each call it sets an attribute where there was a parameter."""

    def __init__(self, module, names):
        super().__init__()
        self.module, self.names = module, names
        for name in names:
            weight = getattr(module, name)
            delattr(module, name)
            self.register_parameter(f"{name}_raw", Parameter(weight.detach()))

    def forward(self, x):
        for name in self.names:
            setattr(self.module, name, torch.dropout(getattr(self, f"{name}_raw"), 0.3, self.training))
        return self.module(x)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_set_at_each_call(kind):
    found = []
    for module in reversed(pair(kind, I, H, 2, dtype=torch.float64)):
        model = DroppedWeights(module, ["weight_hh_l0", "weight_hh_l1"])
        torch.manual_seed(2)
        trained = run(lambda x, hx, model=model: model(x), random(T, B, I), parameters=dict(model.named_parameters()))
        evaluated = {"evaluated": model.eval()(random(T, B, I))[0]}
        found.append(trained | arrays(evaluated))
        assert {"dweight_hh_l0_raw", "dweight_hh_l1_raw"} <= found[-1].keys()
    assert_close(found[0], found[1], 1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_functional_call(kind):
    theirs, ours = pair(kind, I, H, 2, bidirectional=True, dtype=torch.float64)
    x, hx = random(T, B, I), state_of(ours, B)
    values = {name: random(*p.shape, seed=k, requires_grad=True) for k, (name, p) in enumerate(ours.named_parameters())}
    some = dict(list(values.items())[::2])
    before = run(ours, x)
    for given in (values, some):
        found = [
            run(lambda *a, m=module: torch.func.functional_call(m, given, a), x, hx, given)  # noqa: B023
            for module in (ours, theirs)
        ]
        assert_close(found[0], found[1], 1e-13)
    assert all(p.grad is None for p in ours.parameters())
    assert_same(run(ours, x), before)


@pytest.mark.parametrize("kind", KINDS)
def test_tied_parameters(kind):
    found = []
    for module in reversed(pair(kind, I, I, 3, dtype=torch.float64)):
        module.weight_hh_l1 = module.weight_ih_l1 = module.weight_hh_l0
        module.bias_hh_l2 = module.bias_ih_l0
        other = type(module)(I, I, dtype=torch.float64)
        other.load_state_dict({name: p for name, p in module.state_dict().items() if name.endswith("l0")})
        other.weight_ih_l0 = module.weight_hh_l0
        both = torch.nn.ModuleList([module, other])
        found.append(
            run(lambda x, hx, both=both: both[1](both[0](x)[0]), random(T, B, I), None, dict(both.named_parameters()))
        )
    assert_close(found[0], found[1], 1e-13)
    assert len(found[0]) == len(found[1]) == 1 + 1 + (kind == "LSTM") + 12 - 3 + 4 - 1


# ---- frozen parameters, and no gradients -----------------------------------------------------------------------------

FROZEN = {
    "all": lambda name: True,
    "the first layer": lambda name: name.endswith("_l0"),
    "the last layer": lambda name: name.endswith("_l1"),
    "one direction": lambda name: name.endswith("_reverse"),
    "biases": lambda name: name.startswith("bias"),
    "all but biases": lambda name: not name.startswith("bias"),
    "all but one bias": lambda name: name != "bias_hh_l0",
    "matrices of the state": lambda name: name.startswith("weight_hh"),
}


@pytest.mark.parametrize("frozen", FROZEN)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("needed", ["x", "hx", "both", "none"])
def test_frozen_parameters(kind, frozen, needed):
    found = []
    for module in reversed(pair(kind, I, H, 2, bidirectional=True, dtype=torch.float64)):
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(not FROZEN[frozen](name))
        x = random(T, B, I, requires_grad=needed in ("x", "both"))
        hx = state_of(module, B, requires_grad=needed in ("hx", "both"))
        found.append(run(module, x, hx))
        results = module(x, hx)
        assert all(leaf.requires_grad == (frozen != "all" or needed != "none") for leaf in leaves(results))
        if needed != "none" or frozen != "all":
            loss_of(results).backward()
        assert all((p.grad is None) == FROZEN[frozen](name) for name, p in module.named_parameters())
        assert all((leaf.grad is not None) == leaf.requires_grad for leaf in leaves((x, hx)))
    assert_close(found[0], found[1], 1e-13)


@contextlib.contextmanager
def both_modes():
    """Nothing is recorded in inference mode, whatever is enabled within."""
    with torch.inference_mode(), torch.enable_grad():
        yield


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, both_modes])
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_without_gradients(kind, name, context):
    ours = make(kind, name, dtype=torch.float64).eval()
    expected = {key: value for key, value in run(ours, input_of(ours)).items() if "result" in key}
    with context():
        results = leaves(ours(input_of(ours)))
    assert not any(leaf.requires_grad for leaf in results)
    assert all(leaf.is_inference() == (context is not torch.no_grad) for leaf in results)
    assert_close(arrays({f"result {k}": leaf for k, leaf in enumerate(results)}), expected, 1e-15)


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_of_inference_mode_are_refused_outside_it(kind):
    with torch.inference_mode():
        x = torch.zeros(T, B, I)
    theirs, ours = pair(kind, I, H)
    for module in (theirs, ours):
        with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
            module(x)
        with torch.no_grad():
            assert module(x)[0].shape == (T, B, H)


# ---- hooks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:Using a non-full backward hook")
def test_hooks(kind):
    found = []
    for module in reversed(pair(kind, I, H, dtype=torch.float64)):
        seen = {}

        def keep(name, seen=seen):
            def hook(*arguments):
                tensors = [leaf for leaf in leaves(arguments[1:]) if leaf is not None]
                seen.update(arrays({f"{name} {k}": leaf for k, leaf in enumerate(tensors)}))

            return hook

        module.register_forward_pre_hook(keep("forward, before"))
        module.register_forward_hook(keep("forward"))
        module.register_full_backward_pre_hook(keep("backward, before"))
        module.register_full_backward_hook(keep("backward"))
        module.register_forward_pre_hook(lambda module, arguments: (arguments[0] * 2, *arguments[1:]))
        module.register_forward_hook(lambda module, arguments, results: (results[0] * 3, results[1]))
        module.weight_hh_l0.register_hook(lambda gradient: gradient * 5)
        module.bias_hh_l0.register_post_accumulate_grad_hook(
            lambda p, seen=seen: seen.update(bias=p.grad.numpy().copy())
        )
        x = random(T, B, I, requires_grad=True)
        results = module(x)
        for k, leaf in enumerate(leaves(results)):
            leaf.register_hook(lambda gradient, k=k, seen=seen: seen.update({f"d{k}": gradient.numpy().copy()}))
            leaf.retain_grad()
        loss_of(results).backward()
        seen |= arrays({f"kept {k}": leaf.grad for k, leaf in enumerate(leaves(results))})
        found.append(seen | arrays({name: p.grad for name, p in module.named_parameters()} | {"x": x.grad}))
    assert_close(found[0], found[1], 1e-13)
    assert {"forward 0", "backward 0", "bias", "d0", "kept 1"} <= set(found[0])


@pytest.mark.parametrize("kind", KINDS)
def test_anomalies_are_found(kind):
    theirs, ours = pair(kind, I, H, dtype=torch.float64)
    with pytest.warns(UserWarning, match="Anomaly"):
        mode = torch.autograd.detect_anomaly()
    x = random(T, B, I, requires_grad=True)
    for module in (theirs, ours):
        with mode:
            loss_of(module(x)).backward()
            y, _ = module(x)
            with pytest.raises(RuntimeError, match="returned nan values"):
                (y * torch.nan).sum().backward()
