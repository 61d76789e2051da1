"""Modules of PyTorch and of fastlstm with the same parameters, and what their calls give, as arrays to compare."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
fl = pytest.importorskip("fastlstm.torch")

KINDS = ("LSTM", "GRU", "RNN")
T, B, I, H = 5, 3, 2, 4

OPTIONS = {
    "one": {},
    "two layers": {"num_layers": 2, "dropout": 0.5},
    "two directions": {"bidirectional": True, "batch_first": True},
    "no bias": {"bias": False},
    "projection": {"proj_size": 3},
    "peephole": {"peephole": True},
    "variant": {"variant": "CIFG"},
    "layer_norm": {"layer_norm": True, "num_layers": 2},
}
OF_ALL = ("one", "two layers", "two directions", "no bias")
CASES = [(kind, name) for kind in KINDS for name in (OPTIONS if kind == "LSTM" else OF_ALL)]


def make(kind, name, **options):
    """Return one of our modules, by its case."""
    torch.manual_seed(0)
    return getattr(fl, kind)(I, H, **OPTIONS[name], **options)


def pair(kind, *sizes, extras=None, **options):
    """Return a module of PyTorch and one of fastlstm with the same parameters; `extras` are options of ours alone."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(*sizes, **options)
    ours = getattr(fl, kind)(*sizes, **options, **(extras or {}))
    ours.load_state_dict(theirs.state_dict(), strict=not extras)
    return theirs, ours


def random(*shape, dtype=torch.float64, seed=0, requires_grad=False):
    numbers = torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    return numbers.requires_grad_(requires_grad)


def state_of(module, *batch, dtype=torch.float64, seed=1, requires_grad=False):
    """Return a random initial state of a module, for a batch of that size, or for one sequence without a batch."""
    cells = module.num_layers * (1 + module.bidirectional)
    parts = [
        random(cells, *batch, size, dtype=dtype, seed=seed + k, requires_grad=requires_grad)
        for k, size in enumerate((module.proj_size or module.hidden_size, module.hidden_size))
    ]
    return tuple(parts) if module.mode == "LSTM" else parts[0]


def leaves(value):
    """Return the tensors of a nest of tuples, lists and packed sequences, in their order."""
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in leaves(part)]
    return [value] if isinstance(value, torch.Tensor) else []


def loss_of(results):
    """Return a sum of all that a call gives in which each value has another weight, so that none stands for another."""
    floats = [leaf for leaf in leaves(results) if leaf.is_floating_point()]
    return sum(
        (leaf * torch.cos(torch.arange(leaf.numel(), dtype=leaf.dtype)).view(leaf.shape)).sum() for leaf in floats
    )


def arrays(tensors):
    """Return copies of tensors as arrays, by name; None is left out."""
    return {name: np.array(t.detach().numpy()) for name, t in tensors.items() if t is not None}


def run(module, x, hx=None, parameters=None):
    """Return what a call gives, and the gradients of its loss that x, hx and the parameters have, as arrays."""
    results = module(x, hx)
    inputs = dict(enumerate(leaf for leaf in leaves((x, hx)) if leaf.requires_grad))
    inputs |= {name: p for name, p in (parameters or dict(module.named_parameters())).items() if p.requires_grad}
    found = {f"result {k}": leaf for k, leaf in enumerate(leaves(results))}
    if inputs:
        gradients = torch.autograd.grad(loss_of(results), list(inputs.values()), allow_unused=True)
        found |= {f"d{name}": gradient for name, gradient in zip(inputs, gradients, strict=True)}
    return arrays(found)
