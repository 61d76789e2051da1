"""Files of safetensors that other programs wrote, without PyTorch: read, written, and refused before they do harm."""

import json
import os
import subprocess
import sys
import textwrap
import tracemalloc
import zipfile

import numpy as np
import pytest
from helpers import assert_same

import fastlstm
import fastlstm.torch as fl
from fastlstm import FileError, nn
from fastlstm._arrays import plain_files

safetensors = pytest.importorskip("safetensors.numpy")

I, H = 3, 5
MIB, GIB = 1 << 20, 1 << 30


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def arrays_of(kind="GRU", prefix="gru", dtype="float32", seed=0):
    return fl.state_dict(getattr(fastlstm, kind)(I, H, dtype=dtype, seed=seed), prefix)


def write(path, arrays):
    """Write a file of safetensors by hand, of (dtype, shape, bytes) by name."""
    table, end = {}, 0
    for name, (dtype, shape, data) in arrays.items():
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    head = json.dumps(table).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"".join(data for *_, data in arrays.values()))


def program(code, *arguments):
    """Run a program in which PyTorch, safetensors and their kind cannot be imported, and return what it prints."""
    hidden = "import sys\nsys.modules.update(dict.fromkeys(['torch', 'safetensors', 'ml_dtypes']))\n"
    run = [sys.executable, "-W", "error", "-c", hidden + textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


# ---- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_files_of_the_package(kind, dtype, path):
    arrays = arrays_of(kind, "a.b", dtype) | {"other.weight": np.ones((2, 3), np.int8)}
    safetensors.save_file(arrays, path, {"format": "pt"})
    assert_same(dict(fl.load(path, "a.b").params), dict(fl.load(arrays, "a.b").params))
    assert fl.load(str(path)).dtype == dtype
    assert fl.modules(os.fsencode(path)).keys() == {"a.b"}


def test_half_precision(path):
    """Of random bits, so that subnormal numbers, infinities and NaN are among them."""
    rng = np.random.default_rng(0)
    bits = {name: rng.integers(0, 1 << 16, array.shape, np.uint16) for name, array in arrays_of(prefix="").items()}
    for dtype in ("F16", "BF16"):
        write(path, {name: (dtype, array.shape, array.tobytes()) for name, array in bits.items()})
        found = fl.load(path)
        for own, theirs in (("W_l0", "weight_ih_l0"), ("R_l0", "weight_hh_l0")):
            array = bits[theirs]
            expected = array.view(np.float16).astype(np.float32)
            if dtype == "BF16":
                expected = np.stack([np.zeros_like(array), array], axis=-1).view(np.float32)[..., 0]
            np.testing.assert_array_equal(found.params[own], expected, strict=True)


def test_other_dtypes_stand_beside(path):
    """Of each dtype that the format has; those that are asked for are refused by their names."""
    arrays = {f"gru.{name}": ("F32", array.shape, array.tobytes()) for name, array in arrays_of(prefix="").items()}
    arrays |= {f"{dtype}.weight": (dtype, (4, 3, 2), bytes(24 * bits // 8)) for dtype, bits in plain_files.BITS.items()}
    write(path, arrays)
    sys.modules["safetensors"].deserialize(path.read_bytes())  # which knows all of them
    assert_same(dict(fl.load(path).params), dict(fl.load(arrays_of()).params))
    for dtype in plain_files.BITS.keys() - plain_files.FLOATS.keys():
        with pytest.raises(
            FileError, match=rf"^{path}: {dtype}\.weight has dtype {dtype}, but only F64, F32, F16, BF16 "
        ):
            fl.load(path, dtype, kind="Linear")


def test_what_is_not_asked_for_is_not_read(path):
    """The rest of the file is a hole of a gigabyte."""
    rest = {"large": np.empty((0,), np.float32)}
    small = safetensors.save(arrays_of() | rest)
    head = json.loads(small[8 : 8 + int.from_bytes(small[:8], "little")])
    end = max(entry["data_offsets"][1] for entry in head.values())
    head["large"] = {"dtype": "F32", "shape": [GIB // 4], "data_offsets": [end, end + GIB]}
    text = json.dumps(head).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + small[-end:])
        file.truncate(8 + len(text) + end + GIB)
    tracemalloc.start()
    try:
        found = fl.load(path)
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()
    assert_same(dict(found.params), dict(fl.load(arrays_of()).params))


def test_names_of_any_letters(path):
    names = ["é", "\U0001f600", "a b", "'", "\n"]
    arrays = {}
    for k, name in enumerate(names):
        arrays |= arrays_of(prefix=name, seed=k)
    safetensors.save_file(arrays, path)
    assert sorted(fl.modules(path)) == sorted(names)
    for name in names:
        assert_same(dict(fl.load(path, name).params), dict(fl.load(arrays, name).params))


def test_a_file_has_no_keys(path):
    safetensors.save_file(arrays_of(), path)
    with pytest.raises(ValueError, match=r"is not a file of torch.save, which alone has keys: leave key out"):
        fl.load(path, key="state_dict")


# ---- writing ---------------------------------------------------------------------------------------------------------


def test_saved_for_pytorch(path):
    layers = {
        "encoder.lstm": fastlstm.LSTM(I, H, 2, proj_size=2, dtype="float64", seed=0), "gru": fastlstm.GRU(I, H, seed=0),
        "linear": nn.Dense(2, 3, seed=0), "embedding": nn.Embedding(7, 2, seed=0), "norm": nn.LayerNorm(4),
    }  # fmt: skip
    fl.save(layers, path)
    expected = {}
    for name, layer in layers.items():
        expected |= fl.state_dict(layer, name)
    assert_same(safetensors.load_file(path), expected)
    with sys.modules["safetensors"].safe_open(path, framework="np") as file:
        assert file.metadata() == {"format": "pt"}
    kinds = {"linear": "Linear", "embedding": "Embedding", "norm": "LayerNorm"}
    for name, layer in layers.items():
        again = fl.load(path, name, kind=kinds.get(name))
        assert again.arguments() == layer.arguments()
        assert again.flat.tobytes() == layer.flat.tobytes()
    fl.save(layers["gru"], path)
    assert fl.modules(path) == {"": "GRU(3, 5)"}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_program_without_pytorch(path):
    lstm = fastlstm.LSTM(I, H, 2, bidirectional=True, peephole=False, seed=0)
    safetensors.save_file(fl.state_dict(lstm, "model.lstm"), path)
    code = """
    import fastlstm.torch, sys, numpy as np
    lstm = fastlstm.torch.load(sys.argv[1], "model.lstm")
    fastlstm.torch.save({"again": lstm}, sys.argv[1])
    print(fastlstm.torch.modules(sys.argv[1]))
    print(np.asarray(lstm(np.ones((4, 2, 3), np.float32))[0]).tobytes().hex())
    """
    listed, found = program(code, path)
    assert listed == "{'again': 'LSTM(3, 5, num_layers=2, bidirectional=True)'}"
    assert bytes.fromhex(found) == lstm(np.ones((4, 2, 3), np.float32))[0].tobytes()
    assert_same(safetensors.load_file(path), fl.state_dict(lstm, "again"))


def test_what_needs_pytorch_says_so(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/data.pkl", b"")
    (tmp_path / "old.bin").write_bytes(b"\x80\x02" + bytes(100))
    code = """
    import fastlstm.torch, sys
    lazy = ("LSTM", "GRU", "RNN", "replace", "restore", "to_numpy", "from_numpy")
    print(not set(lazy) & set(dir(fastlstm.torch)), set(lazy) < set(fastlstm.torch.__all__))
    print(set(fastlstm.torch.__all__) - set(lazy) <= set(dir(fastlstm.torch)))
    for name in lazy:
        try:
            getattr(fastlstm.torch, name)
        except ModuleNotFoundError as error:
            print(error, error.name)
    for name in sys.argv[1:]:
        try:
            fastlstm.torch.load(name)
        except ModuleNotFoundError as error:
            print(error, error.name)
    try:
        from fastlstm.torch import *
    except ModuleNotFoundError as error:
        print(error)
    print(hasattr(fastlstm.torch, "Transformer"))
    """
    paths = tmp_path / "model.pt", tmp_path / "old.bin"
    first, second, *lines = program(code, *paths)
    assert (first, second) == ("True True", "True")
    names = ("LSTM", "GRU", "RNN", "replace", "restore", "to_numpy", "from_numpy")
    needs = " needs PyTorch: pip install 'fastlstm[torch]'"
    assert lines[:7] == [f"fastlstm.torch.{name}{needs} torch" for name in names]
    rest = (
        " is a file of torch.save, which PyTorch alone reads: pip install 'fastlstm[torch]', or save it as safetensors"
    )
    assert [line.partition(rest)[0] for line in lines[7:9]] == [str(path) for path in paths]
    assert all(line.endswith(" where it is torch") for line in lines[7:9])
    assert lines[9:] == [f"fastlstm.torch.GRU{needs}", "False"]


# ---- several files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def sharded(tmp_path):
    """The index of a model in three files, one of which is not there, and its arrays."""
    arrays = arrays_of("LSTM", "encoder.lstm") | arrays_of("GRU", "decoder.gru")
    names = sorted(arrays)
    places = {name: f"model-0000{k % 2 + 1}-of-00003.safetensors" for k, name in enumerate(names)}
    for place in set(places.values()):
        safetensors.save_file({name: arrays[name] for name in names if places[name] == place}, tmp_path / place)
    places["lm_head.weight"] = "model-00003-of-00003.safetensors"
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}, indent=2))
    return index, arrays, places


def test_models_in_several_files(sharded):
    """A file that has nothing of what is asked for is not looked into: here it is not there."""
    index, arrays, _ = sharded
    assert fl.modules(index) == {"decoder.gru": "GRU(3, 5)", "encoder.lstm": "LSTM(3, 5, peephole=True)"}
    for prefix in ("encoder.lstm", "decoder.gru"):
        assert_same(dict(fl.load(index, prefix).params), dict(fl.load(arrays, prefix).params))
    with pytest.raises(FileNotFoundError, match="00003"):
        fl.load(index, "lm_head", kind="Linear")
    index.parent.joinpath("model-00001-of-00003.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="00001"):
        fl.load(index, "encoder.lstm")


@pytest.mark.parametrize(
    "place",
    ["../model.safetensors", "/etc/model.safetensors", "a/model.safetensors", "..\\model.safetensors",
     "a\0.safetensors", "c:model.safetensors", "", ".", "..", "model.bin", "index.json", None, 3,
     ["model.safetensors"], {}],
    ids=repr,
)  # fmt: skip
def test_an_index_names_files_beside_it_alone(sharded, place):
    index, _, places = sharded
    index.write_text(json.dumps({"weight_map": places | {"other": place}}))
    with pytest.raises(
        FileError, match=r"model\.safetensors\.index\.json must name files \.safetensors in its own folder"
    ):
        fl.load(index, "encoder.lstm")


def test_an_index_that_is_wrong(sharded):
    index, _, places = sharded
    index.write_text(json.dumps({"weight_map": places | {"encoder.lstm.weight_hh_l0": places["lm_head.weight"]}}))
    safetensors.save_file({"lm_head.weight": np.ones((2, 3), np.float32)}, index.with_name(places["lm_head.weight"]))
    with pytest.raises(
        FileError, match=r"00003.safetensors has no encoder.lstm.weight_hh_l0, which .*index.json says it"
    ):
        fl.load(index, "encoder.lstm")
    index.with_name(places["lm_head.weight"]).write_bytes(index.read_bytes())
    with pytest.raises(FileError, match=r"00003.safetensors is damaged, or not a file in the safetensors format"):
        fl.load(index, "encoder.lstm")


@pytest.mark.parametrize(
    "content",
    ["{}", '{"weight_map": 3}', '{"weight_map": ["a"]}', '{"weight_map": null}', "{", '{"weight_map": {}', "{" * 10**5,
     '{"weight_map": ' + "[" * 10**6, '  {"metadata": {}}'],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_an_index_that_is_none(path, content):
    path.write_text(content)
    with pytest.raises(FileError, match="is damaged, or no index of safetensors"):
        fl.load(path)
    path.write_text('{"weight_map": {}}')
    assert fl.modules(path) == {}


def test_an_index_that_is_too_large(path):
    with path.open("wb") as file:
        file.write(b'{"weight_map": {')
        file.truncate(GIB)
    tracemalloc.start()
    try:
        with pytest.raises(FileError, match="is too large for an index of safetensors"):
            fl.load(path)
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


# ---- files that are damaged, hostile, or others ----------------------------------------------------------------------


def refused(path, match="is damaged|is no file of safetensors or torch.save"):
    """Assert that a file is refused by its name, with no memory worth mentioning."""
    tracemalloc.start()
    try:
        for call in (fl.load, fl.modules):
            with pytest.raises(FileError, match=match) as caught:
                call(path)
            assert str(path) in str(caught.value)
            assert len(str(caught.value)) < 500
        assert tracemalloc.get_traced_memory()[1] < 64 * MIB
    finally:
        tracemalloc.stop()


def test_every_cut_is_noticed(path):
    whole = safetensors.save(arrays_of())
    for end in [*range(40), *range(40, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:end])
        refused(path)
    path.write_bytes(whole + b"\0")
    refused(path)


def entry(dtype="F32", shape=(3,), data_offsets=(0, 12)):
    return {"dtype": dtype, "shape": shape, "data_offsets": data_offsets}


@pytest.mark.parametrize(
    "table",
    [
        b"{" + b"[" * 10**6,
        b"{" + b"\xff" * 100,
        b"{" + b" " * 10**6,
        {"__metadata__": [], "a": entry()},
        {"a": None},
        {"a": {}},
        {"a": entry(shape=[GIB])},
        {"a": entry(shape=[GIB // 4 + 1], data_offsets=[0, GIB])},
        {"a": entry(dtype="O")},
        {"a": entry(dtype="F128")},
        {"a": entry(dtype=["F32"])},
        {"a": entry(dtype=None)},
        {"a": entry(shape=[-3], data_offsets=[0, -12])},
        {"a": entry(shape=[3.0])},
        {"a": entry(shape=["3"])},
        {"a": entry(shape=[True] * 3)},
        {"a": entry(shape=3)},
        {"a": entry(shape=[1] * 1000)},
        {"a": entry(shape=[10**4000] * 30)},
        {"a": entry(shape=[2**63, 0], data_offsets=[0, 0])},
        {"a": entry(data_offsets=[4, 16])},
        {"a": entry(data_offsets=[-12, 0])},
        {"a": entry(data_offsets=[0, 2**70])},
        {"a": entry(data_offsets=[0])},
        {"a": entry(data_offsets="ab")},
        {"a": entry(data_offsets=None)},
        {"a": entry(), "b": entry()},
        {"a": entry(), "b": entry(data_offsets=[8, 20])},
        {"a": entry(), "b": entry(data_offsets=[16, 28])},
        {str(k): entry(shape=[0], data_offsets=[0, 0]) for k in range(10**4)},
    ],
    ids=lambda table: str(table)[:60],
)
@pytest.mark.parametrize("size", [MIB, GIB])
def test_hostile_headers(path, table, size):
    head = table if isinstance(table, bytes) else json.dumps(table).encode()
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.truncate(size)
    refused(path)


@pytest.mark.parametrize("length", [0, 1, GIB - 8, GIB - 7, GIB, 10**8 + 1, 2**31, 2**63, 2**64 - 1])
def test_a_huge_file_with_a_wrong_length_of_its_header(path, length):
    for first in (b"", b"{"):
        with path.open("wb") as file:
            file.write(length.to_bytes(8, "little") + first)
            file.truncate(GIB)
        refused(path)


def test_many_names_take_no_time(path):
    """Ten thousands of modules of one array each: to look at each for each would not end."""
    table = {f"{k}.weight_hh_l0": entry(shape=[0], data_offsets=[0, 0]) for k in range(30_000)}
    head = json.dumps(table).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head)
    with pytest.raises(ValueError, match="and 29980 more: prefix must name one"):
        fl.load(path)
    assert len(fl.modules(path)) == 30_000
    with pytest.raises(ValueError, match=r"weight_hh_l0 must be a matrix|weight_ih_l0 is missing"):
        fl.load(path, "77")


@pytest.mark.parametrize("change", ["shorter", "other"])
def test_a_file_that_changes_while_it_is_read(path, monkeypatch, change):
    entries = plain_files.entries
    safetensors.save_file(arrays_of(), path)

    def then_changed(name):
        found = entries(name)
        if change == "shorter":
            os.truncate(path, path.stat().st_size - 4)
        else:
            safetensors.save_file(arrays_of() | {"a": np.ones(3, np.float64)}, path)
        return found

    monkeypatch.setattr(plain_files, "entries", then_changed)
    with pytest.raises(FileError, match="is damaged" if change == "shorter" else "changed while it was read"):
        fl.load(path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is no file"),
        (b"PK", "is no file"),
        (b"a text that is long enough for a header", "is no file"),
        (b"\x93NUMPY" + bytes(100), "is no file"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n",
            "but a pointer to one: git lfs pull fetches",
        ),
    ],
)
def test_files_of_other_kinds(path, content, match):
    path.write_bytes(content)
    refused(path, match)


def test_our_own_files_have_a_function_of_their_own(path):
    fastlstm.save(fastlstm.GRU(I, H), path)
    refused(path, "is a file of fastlstm's own: fastlstm.load makes the network")


@pytest.mark.skipif(os.name != "posix", reason="such files are there on Unix only")
def test_what_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for place in (tmp_path / "fifo", tmp_path):
        for call in (fl.load, fl.modules):
            with pytest.raises(OSError, match=place.name):  # its kind depends on the system
                call(place)
    with pytest.raises(FileNotFoundError):
        fl.load(tmp_path / "nothing")


@pytest.mark.parametrize("wrong", ["", b"", "a\0b"])
def test_paths_that_are_none(wrong):
    with pytest.raises(ValueError, match="source must be the path of a file"):
        fl.load(wrong)
    with pytest.raises(ValueError, match="path must be the path of a file"):
        fl.save(fastlstm.GRU(I, H), wrong)


def test_archives_that_claim_more_than_they_have(tmp_path):
    """They are refused before PyTorch is asked, whether it is there or not."""
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(64 * MIB))
    refused(path, "is compressed, as no file of torch.save is")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
        archive.writestr("archive/constants.pkl", b"")
    refused(path, r"is a program of TorchScript: torch\.jit\.load\(path\)\.state_dict\(\) is what can be loaded")


@pytest.mark.parametrize("end", ["weight_hh_l0", "weight_hh_l0_reverse", "weight_hh", "weight_hh_l0_orig"])
def test_the_function_for_our_own_files_says_what_reads_others(path, end):
    for name in (end, f"encoder.lstm.{end}"):
        safetensors.save_file({name: np.ones(3)}, path)
        with pytest.raises(
            FileError, match=r"is a file of another program: fastlstm\.torch\.load takes PyTorch's LSTMs, "
        ):
            fastlstm.load(path)
    safetensors.save_file({f"{end}.weight": np.ones(3)}, path)
    with pytest.raises(FileError, match=r"is a file of another program$"):
        fastlstm.load(path)
