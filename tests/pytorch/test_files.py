"""State dicts and files of PyTorch's own modules as layers on NumPy arrays, and the way back."""

import itertools
import pickle
import re

import numpy as np
import pytest

import fastlstm
import fastlstm.torch as fl
from fastlstm import FileError, Stream

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

I, H, T, B = 4, 6, 9, 3
KINDS = ("LSTM", "GRU", "RNN")


def module_of(kind, dtype=torch.float64, **options):
    torch.manual_seed(0)
    return getattr(torch.nn, kind)(I, H, dtype=dtype, **options)


def outputs(module, x):
    """Return y and the parts of the last state of a module, as arrays."""
    with torch.no_grad():
        y, last = module(torch.from_numpy(x))
    return [part.numpy() for part in (y, *(last if isinstance(last, tuple) else (last,)))]


def assert_agree(layer, module, tolerance=1e-12):
    x = np.random.default_rng(0).normal(size=(T, B, I)).astype(layer.dtype)
    y, last = layer(x)
    for found, expected in zip((y, *(last if isinstance(last, tuple) else (last,))), outputs(module, x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


EVERY = [
    (kind, {"num_layers": layers, "bidirectional": both, "bias": bias, **more})
    for kind, layers, both, bias in itertools.product(KINDS, (1, 3), (False, True), (False, True))
    for more in (
        [{}, {"proj_size": 2}] if kind == "LSTM" else [{"nonlinearity": "relu"}, {}] if kind == "RNN" else [{}]
    )
]


@pytest.mark.parametrize(("kind", "options"), EVERY, ids=str)
def test_there_and_back(kind, options, tmp_path):
    module, given = module_of(kind, **options), {k: v for k, v in options.items() if k == "nonlinearity"}
    layer = fl.load(module.state_dict(), **given)
    assert_agree(layer, module)
    torch.save(module.state_dict(), tmp_path / "model.pt")
    safetensors.save_file(module.state_dict(), tmp_path / "model.safetensors")
    for path in (tmp_path / "model.pt", str(tmp_path / "model.safetensors")):
        np.testing.assert_array_equal(fl.load(path, **given).flat, layer.flat)
    if options["bias"]:
        again = module_of(kind, **options)
        with torch.no_grad():
            for parameter in again.parameters():
                parameter.zero_()
        again.load_state_dict({name: torch.from_numpy(array) for name, array in fl.state_dict(layer).items()})
        assert_agree(layer, again)
        fl.save({"rnn": layer}, tmp_path / "ours.safetensors")
        names = safetensors.load_file(tmp_path / "ours.safetensors")
        assert names.keys() == {f"rnn.{name}" for name in module.state_dict()}
        torch.nn.ModuleDict({"rnn": again}).load_state_dict(names)
        assert_agree(layer, again)


@pytest.mark.parametrize("kind", KINDS)
def test_cells(kind):
    cell = getattr(torch.nn, f"{kind}Cell")(I, H, dtype=torch.float64)
    layer = fl.load(cell.state_dict())
    x = np.random.default_rng(0).normal(size=(B, I))
    with torch.no_grad():
        expected = cell(torch.from_numpy(x))
    y, _ = layer.step(x)
    np.testing.assert_allclose(y, (expected[0] if kind == "LSTM" else expected).numpy(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("options", [{"peephole": True, "variant": "CIFG"}, {"layer_norm": True}, {"peephole": True}])
def test_modules_of_our_own(options, tmp_path):
    module = fl.LSTM(I, H, 2, bidirectional=True, dtype=torch.float64, **options)
    variant = {name: value for name, value in options.items() if name == "variant"}
    torch.save(module.state_dict(), tmp_path / "model.pt")
    for source in (module.state_dict(), tmp_path / "model.pt"):
        layer = fl.load(source, **variant)
        assert_agree(layer, module)
        np.testing.assert_array_equal(layer.flat, fl.to_numpy(module).flat)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype, tmp_path):
    module = module_of("LSTM", getattr(torch, dtype))
    torch.save(module.state_dict(), tmp_path / "model.pt")
    safetensors.save_file(module.state_dict(), tmp_path / "model.safetensors")
    for source in (module.state_dict(), tmp_path / "model.pt", tmp_path / "model.safetensors"):
        layer = fl.load(source)
        assert layer.dtype == np.float32
        np.testing.assert_array_equal(layer.params["W_l0"], module.weight_ih_l0.detach().float().numpy())


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(11, I, dtype=torch.float64)
        self.rnn = module_of("LSTM", num_layers=2, batch_first=True)
        self.norm = torch.nn.LayerNorm(H, dtype=torch.float64)
        self.head = torch.nn.Linear(H, 2, dtype=torch.float64)

    def forward(self, ids):
        return self.head(self.norm(self.rnn(self.embedding(ids))[0]))


def test_a_whole_model_streamed(tmp_path):
    """Part by part from a file, and one step at a time."""
    model, path = Model().eval(), tmp_path / "model.pt"
    torch.save({"state_dict": torch.nn.DataParallel(model).state_dict(), "epoch": 3}, path)
    with pytest.raises(ValueError, match=r"key='state_dict'"):
        fl.load(path)
    assert fl.modules(path, key="state_dict") == {"module.rnn": "LSTM(4, 6, num_layers=2)"}

    def part(name, kind=None):
        return fl.load(path, f"module.{name}", kind=kind, key="state_dict")

    ours = fastlstm.nn.Sequential(
        part("embedding", "Embedding"), part("rnn"), part("norm", "LayerNorm"), part("head", "Linear")
    )
    ids = np.random.default_rng(0).integers(0, 11, (T, B))
    with torch.no_grad():
        expected = model(torch.from_numpy(ids.T)).numpy().swapaxes(0, 1)
    np.testing.assert_allclose(ours(ids)[0], expected, rtol=0, atol=1e-12)
    stream = Stream(ours.layers[1], B)
    for step, wanted in zip(ids, expected, strict=True):
        y = stream.step(ours.layers[0](step[np.newaxis])[0])
        np.testing.assert_allclose(ours.layers[3](ours.layers[2](y[np.newaxis]))[0], wanted, rtol=0, atol=1e-12)


class Dangerous:
    def __reduce__(self):
        return print, ("This must not run.",)


@pytest.mark.parametrize(
    "content", [module_of("LSTM"), {"a": Dangerous()}, [torch.zeros(2)]], ids=["module", "code", "list"]
)
def test_what_is_no_state_dict(content, tmp_path, capsys):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(FileError, match=re.escape(str(tmp_path / "model.pt"))):
        fl.load(tmp_path / "model.pt")
    assert capsys.readouterr().out == ""


def test_pickles_of_others(tmp_path, capsys):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Dangerous()))
    with pytest.raises(FileError, match=r"PyTorch does not load it with weights_only=True"):
        fl.load(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("make", ["parametrize", "prune"])
def test_computed_weights(make):
    module = module_of("LSTM")
    if make == "parametrize":
        torch.nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")
    else:
        from torch.nn.utils import prune

        prune.l1_unstructured(module, "weight_hh_l0", 0.5)
    with pytest.raises(ValueError, match=r"comput|applied first"):
        fl.load(module.state_dict())


def test_tensors_without_values():
    with pytest.raises(TypeError, match=r"without values of its own"):
        fl.load(torch.nn.LSTM(I, H, device="meta").state_dict())


def test_a_module_is_no_source():
    with pytest.raises(TypeError, match=r"its state_dict\(\) is one"):
        fl.load(module_of("LSTM"))
