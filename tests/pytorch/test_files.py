"""Files and state dicts of PyTorch's models as layers, and back: the same results, by every kind of file."""

import itertools
import pickle
import subprocess
import sys
import textwrap
import warnings
import zipfile

import numpy as np
import pytest
from helpers import assert_close, assert_same
from torch_pairs import KINDS, B, H, I, T, arrays, leaves, random

import fastlstm
from fastlstm import FileError, nn

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
fl = pytest.importorskip("fastlstm.torch")

pytestmark = [
    pytest.mark.usefixtures("no_fallback"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
]

SHAPES = [
    {"num_layers": layers, "bidirectional": both, "batch_first": batch_first, "bias": bias}
    for layers, both, batch_first, bias in itertools.product((1, 3), (False, True), (False, True), (False, True))
]
OPTIONS = [("LSTM", {}), ("LSTM", {"proj_size": 3}), ("GRU", {}), ("RNN", {}), ("RNN", {"nonlinearity": "relu"})]
TOLERANCES = {"float32": 1e-6, "float64": 1e-12}
OF_OURS = [
    {"peephole": True},
    {"layer_norm": True, "peephole": True, "num_layers": 2},
    {"layer_norm": True, "bidirectional": True, "bias": False},
    *({"variant": variant} for variant in ("NIG", "NFG", "NOG", "NIAF", "NOAF", "NP", "CIFG")),
    {"variant": "CIFG", "peephole": True, "layer_norm": True, "proj_size": 3, "num_layers": 2, "bidirectional": True},
]


def module_of(kind, options, package=torch.nn, dtype="float64"):
    torch.manual_seed(0)
    return getattr(package, kind)(I, H, **options, dtype=getattr(torch, dtype)).eval()


def tensors_of(arrays):
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def assert_agree(layer, module, tolerance):
    """Assert that a layer and a module give the same output and state, from a state of their own."""
    cells, sizes = layer.num_layers * layer.directions, (layer.output_size, layer.hidden_size)
    x = random(*((B, T) if layer.batch_first else (T, B)), I).to(getattr(torch, str(layer.dtype)))
    state = tuple(random(cells, B, size, seed=seed).to(x.dtype) for seed, size in enumerate(sizes))
    both = isinstance(layer, fastlstm.LSTM)
    given = tuple(part.numpy() for part in state)
    y, last = layer(x.numpy(), given if both else given[0])
    expected = arrays(dict(enumerate(leaves(module(x, state if both else state[0])))))
    assert_close({0: y} | dict(enumerate(last if both else [last], 1)), expected, tolerance)


# ---- state dicts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("kind", "options"), OPTIONS, ids=str)
def test_state_dicts_there_and_back(kind, options, dtype, tmp_path):
    path = tmp_path / "model.safetensors"
    for shape in SHAPES:
        module = module_of(kind, shape | options, dtype=dtype)
        own = {name: options[name] for name in options if name == "nonlinearity"}
        layer = fl.load(module.state_dict(), batch_first=shape["batch_first"], **own)
        assert layer.dtype == dtype
        assert_agree(layer, module, TOLERANCES[dtype])
        safetensors.save_file(module.state_dict(), path)
        assert_same(dict(fl.load(path, **own).params), dict(layer.params))
        bare = module_of(
            kind, {name: value for name, value in (shape | options).items() if name != "bias"}, dtype=dtype
        )
        found = fl.state_dict(layer)
        assert list(found) == list(bare.state_dict())
        bare.load_state_dict(tensors_of(found))
        assert_agree(layer, bare, TOLERANCES[dtype])
        fl.save({"a": layer}, path)
        assert_same(arrays(safetensors.load_file(path)), {f"a.{name}": array for name, array in found.items()})


@pytest.mark.parametrize("options", OF_OURS, ids=str)
def test_modules_with_options_of_ours(options):
    module = module_of("LSTM", options, fl)
    given = {"variant": options["variant"]} if "variant" in options else {}
    layer = fl.load({f"a.{name}": tensor for name, tensor in module.state_dict().items()}, **given)
    assert_agree(layer, module, 1e-12)
    again = module_of("LSTM", options | {"bias": True}, fl)
    assert again.state_dict().keys() == fl.state_dict(layer).keys()
    again.load_state_dict(tensors_of(fl.state_dict(layer)))
    assert_agree(layer, again, 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_cells(kind):
    torch.manual_seed(0)
    cell = getattr(torch.nn, f"{kind}Cell")(I, H, dtype=torch.float64)
    layer, x, state = fl.load(cell.state_dict()), random(T, B, I), None
    for x_t in x:
        state = cell(x_t, state)
        expected = state[0] if kind == "LSTM" else state
    assert_close({"y": layer(x.numpy())[0][-1]}, {"y": expected.detach().numpy()}, 1e-12)


def test_half_precision():
    for dtype in (torch.float16, torch.bfloat16):
        module = torch.nn.GRU(I, H).to(dtype)
        assert_agree(fl.load(module.state_dict()), module.float(), 1e-6)


def test_tensors_of_every_kind():
    """Parameters, views with other strides, those that negate."""
    module = module_of("GRU", {"num_layers": 2})
    expected = dict(fl.to_numpy(module).params)
    assert_same(dict(fl.load(dict(module.named_parameters())).params), expected)
    state = {name: tensor.T.contiguous().T for name, tensor in module.state_dict().items() if tensor.ndim == 2}
    state |= {name: -torch._neg_view(tensor) for name, tensor in module.state_dict().items() if tensor.ndim == 1}
    assert_same(dict(fl.load(state | {"name": "gru"}).params), expected)
    state["bias_ih_l0"] = torch._neg_view(-module.bias_ih_l0.detach())
    assert_same(dict(fl.load(state).params), expected)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.to("meta"), "weight_ih_l0 is a tensor without values of its own: "),
        (lambda t: t.to_sparse(), "weight_ih_l0 is a tensor without values of its own: "),
        (
            lambda t: t.to(torch.int8),
            "weight_ih_l0 has dtype int8, but only float32, float64, float16, bfloat16 are read",
        ),
        (lambda t: t.to(torch.float8_e4m3fn), "has dtype float8_e4m3fn"),
        (lambda t: t.to(torch.complex64), "has dtype complex64"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "has dtype qint8"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*quantize")
def test_tensors_that_cannot_be_read(change, match):
    state = torch.nn.GRU(I, H).state_dict()
    with pytest.raises(TypeError, match=f"^the dict: .*{match}"):
        fl.load(state | {"weight_ih_l0": change(state["weight_ih_l0"])})


def test_a_module_is_no_state_dict():
    for module in (torch.nn.LSTM(I, H), torch.nn.Sequential(torch.nn.GRU(I, H))):
        with pytest.raises(TypeError, match=r"a dict of tensors, not (LSTM|Sequential): its state_dict\(\) is one"):
            fl.load(module)


def test_models_that_were_wrapped():
    model = torch.nn.Sequential(torch.nn.LSTM(I, H))
    assert fl.modules(torch.nn.DataParallel(model).state_dict()) == {"module.0": f"LSTM({I}, {H})"}
    assert fl.modules(torch.compile(model, backend="eager").state_dict()) == {"_orig_mod.0": f"LSTM({I}, {H})"}


def test_weights_that_are_computed():
    """They are refused, by the names of what computes them, and loaded once they have been computed."""
    pruning, parametrize = torch.nn.utils.prune, torch.nn.utils.parametrize
    for change, undo, match in (
        (
            lambda module: pruning.l1_unstructured(module, "weight_hh_l0", 0.5),
            lambda module: pruning.remove(module, "weight_hh_l0"),
            "weight_hh_l0_(orig|mask) is no parameter .*: what computes the weights has to be applied first",
        ),
        (
            lambda module: torch.nn.utils.parametrizations.weight_norm(module, "weight_hh_l0"),
            lambda module: parametrize.remove_parametrizations(module, "weight_hh_l0"),
            "parametrizations compute weight_hh_l0: .*remove_parametrizations has to be called first",
        ),
    ):
        model = torch.nn.Sequential(torch.nn.GRU(I, H, 2, dtype=torch.float64))
        change(model[0])
        with pytest.raises(ValueError, match=match):
            fl.load(model.state_dict(), "0")
        undo(model[0])
        assert_agree(fl.load(model.state_dict(), "0"), model[0], 1e-12)


# ---- files -----------------------------------------------------------------------------------------------------------


class Model(torch.nn.Module):
    """A network of every kind of layer that comes over."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(7, I)
        self.lstm = torch.nn.LSTM(I, H, 2)
        self.norm = torch.nn.LayerNorm(H, eps=1e-3)
        self.gru = torch.nn.GRU(H, H)
        self.linear = torch.nn.Linear(H, 2)

    def forward(self, ids):
        y, _ = self.gru(self.norm(self.lstm(self.embedding(ids))[0]))
        return self.linear(y)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Model()
    with torch.no_grad():
        for name in ("weight", "bias"):
            getattr(model.norm, name).uniform_()
    return model


def as_safetensors(state, path):
    safetensors.save_file(state, path)


def as_zip(state, path):
    torch.save(state, path)


def as_pickle(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


WRITERS = [as_safetensors, as_zip, as_pickle]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_files_of_every_kind(model, write, dtype, tmp_path):
    """Whatever the file's name ends in."""
    path = tmp_path / "model.bin"
    model.to(getattr(torch, dtype))
    write(model.state_dict(), path)
    assert fl.modules(path) == {"gru": "GRU(4, 4)", "lstm": "LSTM(2, 4, num_layers=2)"}
    for name, options in (("lstm", {}), ("gru", {}), ("linear", {"kind": "Linear"}), ("norm", {"kind": "LayerNorm"})):
        found, expected = fl.load(path, name, **options), fl.load(model.state_dict(), name, **options)
        assert found.dtype == ("float64" if dtype == "float64" else "float32")
        assert found.arguments() == expected.arguments()
        assert_same(dict(found.params), dict(expected.params))
    assert_same(
        dict(fl.load(path, "gru").params), dict(fl.to_numpy(model.gru.to(getattr(torch, str(found.dtype)))).params)
    )


@pytest.mark.parametrize("write", WRITERS)
def test_a_network_of_pytorch_streamed_step_by_step(model, write, tmp_path):
    path = tmp_path / "model"
    write(model.state_dict(), path)
    embedding, norm, linear = (
        fl.load(path, "embedding", kind="Embedding"), fl.load(path, "norm", kind="LayerNorm", epsilon=1e-3),
        fl.load(path, "linear", kind="Linear"),
    )  # fmt: skip
    streams = [fastlstm.Stream(fl.load(path, name), B) for name in ("lstm", "gru")]
    ids = np.random.default_rng(0).integers(0, 7, (50, B))
    found = []
    for ids_t in ids:
        h = norm(streams[0].step(embedding(ids_t)))
        found.append(linear(streams[1].step(h)).copy())
    with torch.no_grad():
        expected = model(torch.from_numpy(ids)).numpy()
    np.testing.assert_allclose(np.stack(found), expected, rtol=0, atol=1e-6, strict=True)
    lstm, gru = (stream.network for stream in streams)
    network = nn.Sequential(embedding, lstm, norm, gru, linear)
    np.testing.assert_allclose(network(ids)[0], expected, rtol=0, atol=1e-6)


def test_a_network_goes_to_pytorch(model, tmp_path):
    layers = {
        "embedding": nn.Embedding(7, I, seed=0), "lstm": fastlstm.LSTM(I, H, 2, peephole=False, seed=1),
        "norm": nn.LayerNorm(H, 1e-3), "gru": fastlstm.GRU(H, H, seed=2), "linear": nn.Dense(H, 2, seed=3),
    }  # fmt: skip
    path, ids = tmp_path / "model.safetensors", np.random.default_rng(0).integers(0, 7, (9, B))
    fl.save(layers, path)
    model.load_state_dict(safetensors.load_file(path))
    found, _ = nn.Sequential(*layers.values())(ids)
    np.testing.assert_allclose(model(torch.from_numpy(ids)).detach(), found, rtol=0, atol=1e-6)


def test_a_file_of_pytorch_in_a_program_without_it(model, tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.save_file(model.bfloat16().state_dict(), path)
    code = """
    import sys
    sys.modules.update(dict.fromkeys(["torch", "safetensors", "ml_dtypes"]))
    import numpy as np, fastlstm.torch
    lstm = fastlstm.torch.load(sys.argv[1], "lstm")
    print(lstm(np.ones((3, 2, 2), np.float32))[0].tobytes().hex())
    """
    run = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), str(path)]
    found = bytes.fromhex(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    y, _ = fl.to_numpy(model.lstm.float())(np.ones((3, 2, 2), np.float32))
    assert found == y.tobytes()


def test_importing_it_does_not_import_pytorch(tmp_path):
    safetensors.save_file(torch.nn.GRU(I, H).state_dict(), tmp_path / "gru.safetensors")
    code = """
    import sys, fastlstm.torch
    fastlstm.torch.save(fastlstm.torch.load(sys.argv[1]), sys.argv[1])
    print("torch" in sys.modules, set(fastlstm.torch.__all__) <= set(dir(fastlstm.torch)))
    from fastlstm.torch import *
    import torch
    print(issubclass(LSTM, torch.nn.RNNBase), fastlstm.torch.LSTM is LSTM, torch.ops.fastlstm.recurrence)
    """
    run = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), str(tmp_path / "gru.safetensors")]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False True", "True True fastlstm.recurrence"]


def test_pickles_find_their_classes_by_themselves(tmp_path):
    model = fl.replace(torch.nn.Sequential(torch.nn.GRU(I, H)))
    torch.save(model, tmp_path / "model.pt")
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(model))
    code = """
    import pickle, sys, torch
    with open(sys.argv[1] + "/model.pickle", "rb") as file:
        print(type(pickle.load(file)[0]))
    print(type(torch.load(sys.argv[1] + "/model.pt", weights_only=False)[0]))
    """
    run = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["<class 'fastlstm.torch.GRU'>"] * 2


# ---- files of torch.save ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [as_zip, as_pickle])
def test_checkpoints(model, write, tmp_path):
    path = tmp_path / "checkpoint.ckpt"
    optimiser = torch.optim.Adam(model.parameters())
    write({"epoch": 3, "state_dict": model.state_dict(), "optimiser": optimiser.state_dict()}, path)
    with pytest.raises(
        ValueError, match=r"checkpoint\.ckpt has no LSTM, .* within it, of which key='state_dict' takes one"
    ):
        fl.load(path, "lstm")
    assert_same(dict(fl.load(path, "lstm", key="state_dict").params), dict(fl.to_numpy(model.lstm).params))
    with pytest.raises(
        ValueError, match=r"checkpoint\.ckpt: key 'model' is not there; the keys are 'epoch', 'state_dict', '"
    ):
        fl.modules(path, key="model")
    with pytest.raises(
        ValueError, match=r"checkpoint\.ckpt\['state_dict'\] has no LSTM, GRU or RNN 'rnn'; there is 'lstm'"
    ):
        fl.load(path, "rnn", key="state_dict")


class Trap:
    def __reduce__(self):
        return pytest.fail, ("a file was unpickled",)


def as_it_is(content, path):
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("write", [as_zip, as_pickle, as_it_is])
@pytest.mark.parametrize("content", [Model, lambda: {"a": Trap()}, Trap])
def test_nothing_in_a_file_is_executed(write, content, tmp_path):
    path = tmp_path / "model.pt"
    write(content(), path)
    match = rf"^{path}: PyTorch does not load it with weights_only=True: [^\n]+$"
    for call in (fl.load, fl.modules):
        with pytest.raises(FileError, match=match) as caught:
            call(path)
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize("content", [3, None, [torch.zeros(2)], torch.zeros(2), "text"], ids=str)
def test_files_that_have_no_dict(content, tmp_path):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(FileError, match=rf"model\.pt has no dict of tensors, but an? {type(content).__name__}$"):
        fl.load(tmp_path / "model.pt")


def test_programs_of_torchscript(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 3), torch.zeros(1, 2)), tmp_path / "model.pt")
    with pytest.raises(FileError, match=r"model\.pt is a program of TorchScript"):
        fl.load(tmp_path / "model.pt")


@pytest.mark.parametrize("write", [as_zip, as_pickle])
def test_cut_files(model, write, tmp_path):
    path = tmp_path / "model.pt"
    write(model.state_dict(), path)
    whole = path.read_bytes()
    for end in [*range(4, 200, 9), *range(200, len(whole), len(whole) // 40)]:
        path.write_bytes(whole[:end])
        with pytest.raises(FileError, match=f"^{path}"):
            fl.load(path, "lstm")


def test_archives_that_are_compressed(model, tmp_path):
    path = tmp_path / "model.pt"
    torch.save(model.state_dict(), path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "small.pt", "w", zipfile.ZIP_DEFLATED) as small:
        for member in archive.infolist():
            small.writestr(member.filename, archive.read(member))
    with pytest.raises(FileError, match=r"small\.pt is compressed, as no file of torch\.save is"):
        fl.load(tmp_path / "small.pt", "lstm")


@pytest.mark.parametrize("write", [as_zip, as_pickle])
def test_few_bytes_that_would_be_many(write, tmp_path):
    """A tensor whose strides are 0 is a few bytes in a file, whatever its shape."""
    shapes = {"weight_ih_l0": (4 << 15, 3), "weight_hh_l0": (4 << 15, 1 << 15)}
    write({name: torch.zeros(1, 1).expand(shape) for name, shape in shapes.items()}, tmp_path / "model.pt")
    assert fl.modules(tmp_path / "model.pt") == {"": "LSTM(3, 32768, bias=False)"}
    with pytest.raises(FileError, match=r"model\.pt has fewer bytes than its tensors would have"):
        fl.load(tmp_path / "model.pt")


def test_an_exported_program_in_a_program_of_its_own(tmp_path):
    """What makes the operator known is the import of a module, in any order."""
    module = fl.GRU(I, H).eval()
    with torch.no_grad():
        torch.export.save(torch.export.export(module, (torch.ones(T, B, I),)), tmp_path / "gru.pt2")
        expected = module(torch.ones(T, B, I))[0]
    code = """
    import sys
    from fastlstm.torch import LSTM
    import torch
    with torch.no_grad():
        y, _ = torch.export.load(sys.argv[1]).module()(torch.ones(5, 3, 2))
    sys.stdout.buffer.write(y.numpy().tobytes())
    """
    run = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "gru.pt2")]
    found = np.frombuffer(subprocess.run(run, capture_output=True, check=True).stdout, np.float32)
    np.testing.assert_allclose(found, expected.numpy().ravel(), rtol=0, atol=1e-6)
