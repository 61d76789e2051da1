"""Copies as layers on NumPy arrays, and of those as modules: the same results, nothing shared, nothing left out."""

import itertools

import numpy as np
import pytest
from helpers import assert_close, assert_same
from torch_pairs import KINDS, B, H, I, T, arrays, leaves, random

import fastlstm
from fastlstm import saving

torch = pytest.importorskip("torch")
fl = pytest.importorskip("fastlstm.torch")

pytestmark = pytest.mark.usefixtures("no_fallback")

SHAPES = [
    {"num_layers": layers, "bidirectional": both, "batch_first": batch_first}
    for layers, both, batch_first in itertools.product((1, 3), (False, True), (False, True))
]
OPTIONS_OF_MODULES = {
    "usual": {},
    "no bias": {"bias": False},
    "projection": {"proj_size": 3},
    "dropout": {"dropout": 0.5, "num_layers": 2},
    "relu": {"nonlinearity": "relu"},
}
OF_MODULES = {"LSTM": ("usual", "no bias", "projection", "dropout"), "GRU": ("usual", "no bias", "dropout")}
OF_MODULES["RNN"] = (*OF_MODULES["GRU"], "relu")
VARIANTS = ("vanilla", "NIG", "NFG", "NOG", "NIAF", "NOAF", "NP", "CIFG")
EXTRAS = [
    {"variant": variant, "peephole": peephole, "layer_norm": layer_norm, "proj_size": projected}
    for variant, peephole, layer_norm, projected in itertools.product(VARIANTS, (False, True), (False, True), (0, 3))
    if not (variant == "NP" and peephole)
]
DTYPES = {"float32": 1e-6, "float64": 1e-14}


def states(module, dtype, seed=1):
    """Return an initial state as tensors, and the same as arrays."""
    cells = module.num_layers * (1 + module.bidirectional)
    sizes = (getattr(module, "proj_size", 0) or H, H)
    parts = [random(cells, B, size, seed=seed + k).to(getattr(torch, dtype)) for k, size in enumerate(sizes)]
    if isinstance(module, torch.nn.LSTM | fl.LSTM | fastlstm.LSTM):
        return tuple(parts), tuple(part.numpy() for part in parts)
    return parts[0], parts[0].numpy()


def assert_agree(module, layer, dtype):
    """Assert that a module and a layer give the same, with a state and without."""
    x = random(*((B, T) if module.batch_first else (T, B)), I).to(getattr(torch, dtype))
    hx, state = states(module, dtype)
    module.eval()
    for tensors, own in (((x,), (x.numpy(),)), ((x, hx), (x.numpy(), state))):
        expected = arrays(dict(enumerate(leaves(module(*tensors)))))
        y, last = layer(*own)
        found = {0: y} | dict(enumerate(last if isinstance(last, tuple) else (last,), 1))
        assert {array.dtype.name for array in found.values()} == {dtype}
        assert_close(found, expected, DTYPES[dtype])


def options_of(layer):
    return {name: value for name, value in layer.arguments().items() if name != "dtype"}


# ---- to layers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("package", [torch.nn, fl])
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in OF_MODULES[kind]])
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_modules_as_layers(kind, name, package, dtype):
    for shape in SHAPES:
        options = shape | OPTIONS_OF_MODULES[name]
        torch.manual_seed(0)
        module = getattr(package, kind)(I, H, **options, dtype=getattr(torch, dtype))
        layer = fl.to_numpy(module)
        assert type(layer) is getattr(fastlstm, kind)
        assert {key: getattr(layer, key) for key in options if key != "bias"} == {
            key: value for key, value in options.items() if key != "bias"
        }
        assert_agree(module, layer, dtype)


@pytest.mark.parametrize("options", EXTRAS, ids=lambda o: "-".join(map(str, o.values())))
def test_modules_with_extras_both_ways(options):
    for shape, bias in ((SHAPES[0], True), (SHAPES[-1], False)):
        torch.manual_seed(0)
        module = fl.LSTM(I, H, **shape, **options, bias=bias, dtype=torch.float64)
        layer = fl.to_numpy(module)
        assert {key: getattr(layer, key) for key in options} == options
        assert_agree(module, layer, "float64")
        again = fl.from_numpy(layer)
        assert {key: getattr(again, key) for key in options | shape} == options | shape
        assert_agree(again, layer, "float64")
        assert_same(dict(fl.to_numpy(again).params), dict(layer.params))


def test_modules_of_replace_and_of_parametrizations():
    module = torch.nn.GRU(I, H, 2, dtype=torch.float64)
    torch.nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")
    assert_agree(module, fl.to_numpy(module), "float64")
    torch.nn.utils.prune.l1_unstructured(module, "weight_ih_l1", 0.5)
    fl.replace(module)
    with torch.no_grad():
        module.parametrizations.weight_hh_l0.original0.mul_(3)
        module.weight_ih_l1_orig.mul_(2)
    assert_agree(module, fl.to_numpy(module), "float64")


@pytest.mark.parametrize("kind", KINDS)
def test_layers_train_as_modules_do(kind):
    """The layer's one bias has the gradient that each of the module's two has."""
    module = getattr(fl, kind)(I, H, 2, bidirectional=True, dtype=torch.float64)
    layer = fl.to_numpy(module)
    x, dy = random(T, B, I, requires_grad=True), random(T, B, 2 * H, seed=9)
    y, _ = module(x)
    (y * dy).sum().backward()
    _, _, tape = layer.forward(x.detach().numpy())
    gradients = layer.backward(tape, dy.numpy())
    found = {"x": gradients.x} | {name: gradients.params[name] for name in layer.params}
    names = {"W": "weight_ih", "R": "weight_hh", "b": "bias_ih", "bn": "bias_hh"}
    expected = {"x": x.grad.numpy()}
    for name in layer.params:
        own, _, place = name.partition("_")
        gradient = module.get_parameter(f"{names[own]}_{place}").grad.numpy()
        expected[name] = gradient[-H:] if own == "bn" else gradient
    assert_close(found, expected, 1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_share_nothing(kind):
    module = getattr(fl, kind)(I, H, 2, dtype=torch.float64)
    layer = fl.to_numpy(module)
    before = {name: array.copy() for name, array in layer.params.items()}
    with torch.no_grad():
        for p in module.parameters():
            p.fill_(torch.nan)
    assert_same(dict(layer.params), before)
    module = fl.from_numpy(layer)
    values = arrays(dict(module.named_parameters()))
    for array in layer.params.values():
        array[:] = np.nan
    assert_same(arrays(dict(module.named_parameters())), values)


def test_streams_and_frozen_networks_of_modules():
    module = torch.nn.LSTM(I, H, 2)
    layer = fl.to_numpy(module)
    x = random(T, 1, I, dtype=torch.float32)
    expected = module(x)[0].detach().numpy()
    stream = fastlstm.Stream(layer)
    assert_close({"y": np.stack([stream.step(x_t.numpy()).copy() for x_t in x])}, {"y": expected}, 1e-6)
    assert_close({"y": fastlstm.Frozen(layer)(x.numpy())[0]}, {"y": expected}, 1e-6)
    assert_close({"y": fastlstm.Frozen(layer, "bfloat16")(x.numpy())[0]}, {"y": expected}, 0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_layers_of_modules(kind, tmp_path):
    layer = fl.to_numpy(getattr(fl, kind)(I, H))
    saving.save(layer, tmp_path / "layer.safetensors")
    assert_agree(fl.from_numpy(saving.load(tmp_path / "layer.safetensors")), layer, "float32")


# ---- to modules ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_layers_as_modules(kind, dtype):
    for shape in SHAPES:
        layer = getattr(fastlstm, kind)(I, H, **shape, dtype=dtype, seed=0)
        for array in layer.params.values():
            array[:] += 0.1
        module = fl.from_numpy(layer)
        assert type(module) is getattr(fl, kind)
        assert {p.dtype for p in module.parameters()} == {getattr(torch, dtype)}
        assert all(p.requires_grad and p.is_leaf and p.is_cpu for p in module.parameters())
        assert_agree(module, layer, dtype)
        assert_same(dict(fl.to_numpy(module).params), dict(layer.params))
        if kind != "LSTM":
            assert_agree(fl.restore(module), layer, dtype)
    assert fl.from_numpy(getattr(fastlstm, kind)(I, H, 2, dropout=0.3)).dropout == 0.3


def test_names_of_usual_activations():
    for variant, names in (("vanilla", ("logistic", "tanh", "tanh")), ("NIAF", ("logistic", "identity", "tanh"))):
        layer = fastlstm.LSTM(I, H, variant=variant, activations=names, dtype=np.float64, seed=0)
        assert_agree(fl.from_numpy(layer), layer, "float64")


REFUSED = {
    "recurrent_dropout": (KINDS, 0.5),
    "drop_connect": (KINDS, 0.5),
    "batch_invariant": (KINDS, True),
    "zoneout": (("GRU", "RNN"), 0.1),
    "reset_after": (("GRU",), False),
    "nonlinearity": (("RNN",), "logistic"),
    "activations": (("LSTM",), ("hard_logistic", "tanh", "tanh")),
    "activations of a GRU": (("GRU",), ("hard_logistic", "tanh")),
    "clip": (("LSTM",), 3.0),
    "cell_clip": (("LSTM",), 3.0),
    "variant": (("LSTM",), "FGR"),
}


@pytest.mark.parametrize("option", REFUSED)
def test_options_that_no_module_has_are_named(option):
    kinds, value = REFUSED[option]
    option = option.split()[0]
    for kind in kinds:
        with pytest.raises(ValueError, match=rf"{option}.*{value if isinstance(value, str) else ''}"):
            fl.from_numpy(getattr(fastlstm, kind)(I, H, **{option: value}))


@pytest.mark.parametrize(
    "options",
    [
        {"zoneout": (0.1, 0.0)},
        {"zoneout": (0.0, 0.1)},
        {"activations": ("logistic", "tanh", "identity")},
        {"variant": "NIAF", "activations": ("logistic", "tanh", "tanh")},
        {"variant": "NOAF", "activations": ("logistic", "tanh", "tanh")},
    ],
)
def test_options_of_lstms_that_no_module_has(options):
    name = "zoneout" if "zoneout" in options else "activations"
    with pytest.raises(ValueError, match=f"layer must not have {name}="):
        fl.from_numpy(fastlstm.LSTM(I, H, **options))


class MyLSTM(torch.nn.LSTM):
    pass


class MyLayer(fastlstm.LSTM):
    pass


def test_other_objects_are_refused():
    for module in (
        torch.nn.Linear(I, H),
        torch.nn.LSTMCell(I, H),
        None,
        fastlstm.LSTM(I, H),
        torch.nn.LSTM,
        MyLSTM(I, H),
    ):
        with pytest.raises(TypeError, match=r"module must .* not (Linear|LSTMCell|NoneType|LSTM|type|MyLSTM)"):
            fl.to_numpy(module)
    for layer in (torch.nn.LSTM(I, H), fl.LSTM(I, H), None, MyLayer(I, H)):
        with pytest.raises(TypeError, match=r"layer must be a fastlstm.LSTM, GRU or RNN, not (LSTM|NoneType|MyLayer)"):
            fl.from_numpy(layer)


def test_other_numbers_are_refused():
    for dtype in (torch.bfloat16, torch.float16):
        with pytest.raises(TypeError, match=rf"float32 or float64 throughout, not {dtype}: module.float\(\) makes it"):
            fl.to_numpy(torch.nn.LSTM(I, H, dtype=dtype))
    mixed = torch.nn.GRU(I, H)
    mixed.weight_hh_l0 = torch.nn.Parameter(mixed.weight_hh_l0.detach().double())
    with pytest.raises(TypeError, match=r"throughout, not torch\.float32, torch\.float64"):
        fl.to_numpy(mixed)
    assert_agree(mixed.float(), fl.to_numpy(mixed), "float32")


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_of_all_is_refused(kind):
    with pytest.raises(ValueError, match="dropout"):
        fl.to_numpy(getattr(torch.nn, kind)(I, H, 2, dropout=1.0))
    with pytest.warns(UserWarning, match="dropout"):
        module = getattr(torch.nn, kind)(I, H, dropout=1.0)
    assert fl.to_numpy(module).dropout == 0
