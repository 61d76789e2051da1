"""Peepholes, variants and layer normalisation in modules, against fastlstm's own layers with the same weights."""

import io
import itertools

import numpy as np
import pytest
from helpers import assert_close, assert_same
from torch_pairs import B, H, I, T, arrays, leaves, loss_of, random, run, state_of

import fastlstm

torch = pytest.importorskip("torch")
fl = pytest.importorskip("fastlstm.torch")

pytestmark = pytest.mark.usefixtures("no_fallback")

BLOCKS = {"vanilla": 4, "NIG": 3, "NFG": 3, "NOG": 3, "NIAF": 4, "NOAF": 4, "NP": 4, "CIFG": 3}
OPTIONS = [
    {"variant": variant, "peephole": peephole, "layer_norm": layer_norm, "proj_size": projected}
    for variant, peephole, layer_norm, projected in itertools.product(BLOCKS, (False, True), (False, True), (0, 3))
    if not (variant == "NP" and peephole)
]
SHAPES = {
    "one": {},
    "two directions": {"bidirectional": True, "batch_first": True},
    "both": {"num_layers": 2, "bidirectional": True},
    "no bias": {"num_layers": 2, "bias": False},
}
NAMES = {"W": "weight_ih", "R": "weight_hh", "b": "bias_ih", "p": "weight_ch", "norm": "weight_ln", "proj": "weight_hr"}
LACKING = {
    "peephole=True": {"peephole": True},
    "variant='CIFG'": {"variant": "CIFG"},
    "variant='NIAF'": {"variant": "NIAF", "peephole": True},
    "layer_norm=True": {"layer_norm": True},
}


def named(options):
    return "-".join(map(str, options.values()))


def of_layer(module, layer, x, hx, lengths, above):
    """Return what the layer gives, and its gradients, by the names that they have of the module."""
    given = x if lengths is None else fastlstm.PackedSequence(x, *lengths)
    y, state, tape = layer.forward(given, hx)
    dy, *dstate = above
    gradients = layer.backward(tape, dy if lengths is None else fastlstm.PackedSequence(dy, *lengths), tuple(dstate))
    dx = gradients.x if lengths is None else gradients.x.data
    found = {"y": y if lengths is None else y.data, "h": state[0], "c": state[1]}
    found |= {"dx": dx, "dh": gradients.state[0], "dc": gradients.state[1]}
    for name in layer.params:
        own, _, place = name.partition("_")
        if own != "b" or module.bias:
            found[f"d{NAMES[own]}_{place}"] = gradients.params[name]
        if own == "b" and module.bias:
            found[f"dbias_hh_{place}"] = gradients.params[name]
    return found


def of_module(module, x, hx, lengths, above):
    x = torch.from_numpy(x).requires_grad_()
    hx = tuple(torch.from_numpy(part).requires_grad_() for part in hx)
    given = x
    if lengths is not None:
        sizes, order = map(torch.from_numpy, lengths)
        given = torch.nn.utils.rnn.PackedSequence(x, sizes, order, torch.argsort(order))
    y, (h, c) = module(given, hx)
    y = y if lengths is None else y.data
    results = {"y": y, "h": h, "c": c}
    inputs = {"x": x, "h": hx[0], "c": hx[1]} | dict(module.named_parameters())
    gradients = torch.autograd.grad((y, h, c), list(inputs.values()), [torch.from_numpy(d) for d in above])
    return arrays(results | {f"d{name}": gradient for name, gradient in zip(inputs, gradients, strict=True)})


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("options", OPTIONS, ids=named)
def test_results_and_gradients(options, packed):
    for shape in SHAPES.values():
        torch.manual_seed(0)
        module = fl.LSTM(I, H, **options, **shape, dtype=torch.float64)
        with torch.no_grad():  # gains that are not 1
            for parameter in module.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        layer = fl.to_numpy(module)
        hx = tuple(part.numpy() for part in state_of(module, B))
        lead = (9,) if packed else (B, T) if module.batch_first else (T, B)
        lengths = (np.array([3, 2, 2, 1, 1]), np.array([1, 0, 2])) if packed else None
        x = random(*lead, I, seed=3).numpy()
        outputs = (1 + module.bidirectional) * (module.proj_size or H)
        above = (random(*lead, outputs, seed=4).numpy(), *(part.numpy() for part in state_of(module, B, seed=5)))
        found = of_module(module, x, hx, lengths, above)
        assert_close(found, of_layer(module, layer, x, hx, lengths, above), 1e-12)


@pytest.mark.parametrize("options", OPTIONS, ids=named)
def test_names_and_shapes_of_parameters(options):
    module = fl.LSTM(I, H, 2, bidirectional=True, **options)
    n, P = BLOCKS[options["variant"]], options["proj_size"] or H
    expected = {}
    for place in ("l0", "l0_reverse", "l1", "l1_reverse"):
        expected |= {
            f"weight_ih_{place}": (n * H, I if "l0" in place else 2 * P),
            f"weight_hh_{place}": (n * H, P),
            f"bias_ih_{place}": (n * H,),
            f"bias_hh_{place}": (n * H,),
        }
        if options["proj_size"]:
            expected[f"weight_hr_{place}"] = (P, H)
        if options["peephole"]:
            expected[f"weight_ch_{place}"] = (n - 1, H)
        if options["layer_norm"]:
            expected[f"weight_ln_{place}"] = (2 * n + 2, H)
    assert {name: tuple(value.shape) for name, value in module.state_dict().items()} == expected
    assert dict(module.named_parameters()).keys() == expected.keys()
    assert [len(names) for names in module.all_weights] == [len(expected) // 4] * 4
    if not (options["peephole"] or options["layer_norm"]) and n == 4:
        theirs = torch.nn.LSTM(I, H, 2, bidirectional=True, proj_size=options["proj_size"])
        assert list(theirs.state_dict()) == list(module.state_dict())


@pytest.mark.parametrize("options", OPTIONS, ids=named)
def test_initial_parameters(options):
    module = fl.LSTM(I, 25, 2, **options)

    def check():
        for name, value in module.named_parameters():
            if name.startswith("weight_ln"):
                assert (value[:-1] == 1).all()
                assert (value[-1] == 0).all()
            else:
                assert 0.1 < value.abs().max() <= 0.2
                assert value.unique().numel() > 0.9 * value.numel()

    check()
    before = arrays(module.state_dict())
    with torch.no_grad():
        for value in module.parameters():
            value.fill_(7)
    torch.manual_seed(1)
    module.reset_parameters()
    check()
    drawn = arrays(module.state_dict())
    assert all(name.startswith("weight_ln") or not np.array_equal(drawn[name], before[name]) for name in drawn)
    torch.manual_seed(1)
    module.reset_parameters()
    assert_same(arrays(module.state_dict()), drawn)


def test_the_same_seed_gives_the_same_module():
    for options in ({}, {"peephole": True}, {"layer_norm": True, "variant": "NIG"}):
        drawn = []
        for _ in range(2):
            torch.manual_seed(2)
            drawn.append(arrays(fl.LSTM(I, H, 2, **options).state_dict()))
        assert_same(*drawn)
    torch.manual_seed(2)
    theirs = torch.nn.LSTM(I, H, 2)
    torch.manual_seed(2)
    assert_same(arrays(fl.LSTM(I, H, 2).state_dict()), arrays(theirs.state_dict()))
    torch.manual_seed(2)
    assert_same(arrays(fl.LSTM(I, H, 2, variant="NP").state_dict()), arrays(theirs.state_dict()))


def test_variants_are_named_in_any_case():
    module = fl.LSTM(I, H, variant="cifg")
    assert module.variant == "CIFG"
    assert repr(module) == repr(fl.LSTM(I, H, variant="CIFG"))
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert (again.variant, again.peephole, again.layer_norm) == ("CIFG", False, False)


@pytest.mark.parametrize("options", LACKING.values(), ids=LACKING)
def test_dropout_between_layers(options):
    """The masks are those that PyTorch draws from the seed, here set between two modules of one layer."""
    module = fl.LSTM(I, H, 2, dropout=0.4, dtype=torch.float64, **options)
    x = random(T, B, I)
    layers = []
    for k, size in enumerate((I, H)):
        layers.append(fl.LSTM(size, H, dtype=torch.float64, **options))
        its = {name: value for name, value in module.state_dict().items() if name.endswith(f"_l{k}")}
        layers[k].load_state_dict({name.replace(f"_l{k}", "_l0"): value for name, value in its.items()})
    torch.manual_seed(3)
    y, (h, c) = module(x)
    torch.manual_seed(3)
    below, (h0, c0) = layers[0](x)
    above, (h1, c1) = layers[1](torch.nn.functional.dropout(below, 0.4))
    found, expected = {"y": y, "h": h, "c": c}, {"y": above, "h": torch.cat([h0, h1]), "c": torch.cat([c0, c1])}
    assert_close(arrays(found), arrays(expected), 1e-14)
    (weight,) = torch.autograd.grad(loss_of(y), module.weight_ih_l0)
    (alone,) = torch.autograd.grad(loss_of(above), layers[0].weight_ih_l0)
    assert_close({"dW": weight.numpy()}, {"dW": alone.numpy()}, 1e-13)
    assert_same({"y": module.eval()(x)[0].detach().numpy()}, {"y": run(module, x)["result 0"]})


@pytest.mark.parametrize(("name", "options"), LACKING.items(), ids=LACKING)
def test_gradients_of_gradients_are_refused_by_name(name, options):
    module = fl.LSTM(I, H, dtype=torch.float64, **options)
    x = random(T, B, I, requires_grad=True)
    words = f"gradients of gradients.* which has no {name}"
    with pytest.raises(NotImplementedError, match=words):
        torch.autograd.grad(loss_of(module(x)), x, create_graph=True)
    with pytest.raises(NotImplementedError, match=words):
        torch.autograd.grad(module(x)[0], x, torch.ones(2, T, B, H, dtype=torch.float64), is_grads_batched=True)
    loss_of(module(x)).backward()  # A refusal leaves nothing behind.
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("name", "options"), LACKING.items(), ids=LACKING)
def test_other_numbers_are_refused_by_name(name, options, dtype):
    module = fl.LSTM(I, H, dtype=dtype, **options)
    with pytest.raises(NotImplementedError, match=f"LSTM with {name} .* in float32 and float64, not for {dtype}"):
        module(torch.zeros(T, B, I, dtype=dtype))
    assert leaves(module.float()(torch.zeros(T, B, I)))[0].isfinite().all()
