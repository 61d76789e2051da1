"""Files: what is saved comes back bitwise and PyTorch reads it; damaged, hostile and foreign files load nothing."""

import errno
import itertools
import json
import os
import pickle
import socket
import stat
import threading
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import fastlstm
from fastlstm import GRU, LSTM, RNN, FileError, nn
from fastlstm._arrays import files, whole_files

safetensors = pytest.importorskip("safetensors.numpy")

NETWORKS = {
    "LSTM": lambda: LSTM(3, 5, num_layers=2, bidirectional=True, dropout=0.25, zoneout=(0.1, 0.2), seed=0),
    "CIFG": lambda: LSTM(3, 5, variant="cifg", peephole=False, proj_size=2, clip=3.5, dtype=np.float64, seed=0),
    "activations": lambda: LSTM(3, 5, activations=("hard_logistic", "relu", "identity"), batch_first=True, seed=0),
    "FGR": lambda: LSTM(3, 5, variant="FGR", drop_connect=0.5, recurrent_dropout=0.5, cell_clip=2, seed=0),
    "layer norm": lambda: LSTM(3, 5, 2, layer_norm=True, variant="NOG", proj_size=2, seed=0),
    "GRU": lambda: GRU(3, 5, 2, seed=0),
    "GRU reset before": lambda: GRU(3, 5, reset_after=False, bidirectional=True, zoneout=0.5, seed=0),
    "RNN": lambda: RNN(3, 5, nonlinearity="relu", seed=0),
    "Dense": lambda: nn.Dense(3, 2, seed=0),
    "Sequential": lambda: nn.Sequential(
        nn.Sequential(LSTM(3, 4, bidirectional=True, seed=0)), nn.Last(), nn.Dense(8, 2, seed=1)
    ),
    "ids": lambda: nn.Sequential(nn.Embedding(7, 3, seed=0), nn.Dropout(0.25), RNN(3, 5, zoneout=0.5, seed=0)),
    "Attention": lambda: nn.Attention(3, 4, 5, dtype=np.float64, seed=0),
    "Decoder": lambda: nn.Decoder(
        7, 3, 5, 2, encoded_size=4, dropout=0.25, peephole=False, variant="cifg", dtype=np.float64, seed=0
    ),
    "Seq2Seq": lambda: nn.Seq2Seq(LSTM(3, 4, seed=0), nn.Decoder(7, 3, 5, encoded_size=4, attention_size=2, seed=1)),
    "no encoder": lambda: nn.Seq2Seq(None, nn.Decoder(7, 3, 5, encoded_size=4, seed=0)),
    "Branches": lambda: nn.Branches(
        nn.Identity(), nn.Residual(nn.LayerNorm(3, 0.5), nn.Dense(3, 3, seed=0)), join="sum"
    ),
    "nothing to learn": lambda: nn.Sequential(nn.Mean(), nn.Activation("softmax")),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "network.safetensors"


@pytest.fixture
def saved(path):
    """A file, and the network in it."""
    network = NETWORKS["Sequential"]()
    fastlstm.save(network, path, extra={"words": ["a", "é"], "scale": 0.1})
    return path, network


def test_every_kind_is_tried():
    tried = " ".join(repr(network()) for network in NETWORKS.values())
    assert [kind for kind in fastlstm.saving.KINDS if f"{kind}(" not in tried] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_saved_comes_back(name, path):
    network = NETWORKS[name]()
    network.flat[:3] = [np.nan, -0.0, np.inf][: network.flat.size]
    fastlstm.save(network, path)
    again = fastlstm.load(path)
    assert type(again) is type(network)
    assert repr(again) == repr(network)
    assert again.flat.dtype == network.flat.dtype
    assert again.flat.tobytes() == network.flat.tobytes()
    assert fastlstm.load_extra(path) is None
    other = path.with_name("again")
    fastlstm.save(again, other)
    assert other.read_bytes() == path.read_bytes()


def test_extra(saved):
    assert fastlstm.load_extra(saved[0]) == {"words": ["a", "é"], "scale": 0.1}


def test_pytorch_reads_it(saved):
    torch = pytest.importorskip("safetensors.torch")
    path, network = saved
    tensors = torch.load_file(path)
    assert tensors.keys() == network.params.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor.numpy(), network.params[name])


@pytest.mark.parametrize("name", NETWORKS)
def test_the_format_is_that_of_the_package(name, path):
    """Byte for byte: so 0.1.0 wrote its files, and reads ours."""
    network = NETWORKS[name]()
    fastlstm.save(network, path, extra={"é": "\U0001f600"})
    with safetensors.safe_open(path, framework="np") as file:
        metadata = file.metadata()
    arrays = {name: np.ascontiguousarray(array) for name, array in network.params.items()}
    assert path.read_bytes() == safetensors.save(arrays, metadata)


def test_arrays_of_every_dtype_and_shape(path):
    rng = np.random.default_rng(0)
    arrays = {
        f"{dtype} {shape}": rng.integers(0, 9, shape).astype(dtype)
        for dtype in ("float64", "float32", "int64", "int32")
        for shape in ((), (0,), (3,), (2, 0, 3), (2, 3, 4))
    }
    arrays["strided"] = rng.normal(size=(6, 8))[::2, ::-1]
    files.write(path, "network", arrays, {})
    for found in (files.read(path, "network")[0], safetensors.load_file(path)):
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array, strict=True)


def test_written_whole_or_not_at_all(saved, monkeypatch):
    path, network = saved
    before = path.read_bytes()

    def no_more_disk(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", no_more_disk)
    network.flat[:] = 0
    with pytest.raises(OSError, match="no space left"):
        fastlstm.save(network, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_permissions_are_the_usual_ones(saved):
    path, _ = saved
    usual = path.with_name("usual")
    usual.write_bytes(b"")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


# ---- files that are not what was written ----


def refused(path, match="damaged|another program|describe"):
    with pytest.raises(FileError, match=match) as caught:
        fastlstm.load(path)
    assert str(path) in str(caught.value)
    with pytest.raises(FileError):
        files.read(path, "network")


def test_every_cut_is_noticed(saved):
    path, _ = saved
    whole = path.read_bytes()
    for end in [*range(40), *range(40, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:end])
        refused(path)
    path.write_bytes(whole + b"\0")
    refused(path)


def test_every_changed_byte_is_noticed(saved):
    path, network = saved
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in [*range(16), *rng.integers(0, len(whole), 400)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            again = fastlstm.load(path)
        except FileError:
            continue
        # White space, or the escape of a letter: another spelling of the same.
        assert again.flat.tobytes() == network.flat.tobytes()
        assert repr(again) == repr(network)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a file of tensors at all, but a text that is long enough for a header",
        b"\xff" * 64,
        b"\0" * 64,
        (10**9).to_bytes(8, "little") + b"{}",
        (2**63).to_bytes(8, "little") + b"{}",
        pickle.dumps({"a": 1}),
        b"\x93NUMPY" + b"\0" * 100,
    ],
)
def test_files_of_other_kinds(path, content):
    path.write_bytes(content)
    refused(path)


def test_archives_and_other_programs(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(1))
    refused(path)
    safetensors.save_file({"weight": np.ones(3)}, path)
    refused(path, "a file of another program")
    path.write_bytes(safetensors.save({"weight": np.ones(3)}, {"fastlstm": '{"version": 2}'}))
    refused(path, "version 2 of the format: this fastlstm reads 1")


def test_nothing_is_unpickled(path):
    class Trap:
        def __reduce__(self):
            return pytest.fail, ("a file was unpickled",)

    path.write_bytes(pickle.dumps(Trap()))
    refused(path)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError):
        fastlstm.load(tmp_path / "nothing")
    with pytest.raises(OSError):  # noqa: PT011  # its kind depends on the system
        fastlstm.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        fastlstm.save(LSTM(1, 1), tmp_path / "nothing" / "file")


# ---- files that were made to do harm: whole, but not what `save` writes ----

lstm = {"type": "LSTM", "input_size": 3, "hidden_size": 5}


def nested(depth):
    inner: dict = {"type": "Mean"}
    for _ in range(depth):
        inner = {"type": "Sequential", "layers": [inner]}
    return inner


@pytest.mark.parametrize(
    "described",
    [
        None,
        3,
        "LSTM",
        [],
        [lstm],
        {},
        {"type": "os.system"},
        {"type": ["LSTM"]},
        {"type": "Composite"},
        {"type": "Parametric"},
        {"type": "LSTM"},
        lstm | {"seed": 3},
        lstm | {"unknown": 3},
        lstm | {"hidden_size": 10**6},
        lstm | {"hidden_size": 10**18},
        lstm | {"input_size": 10**12},
        lstm | {"num_layers": 10**12},
        lstm | {"hidden_size": 100, "input_size": 100, "num_layers": 100},
        lstm | {"hidden_size": -1},
        lstm | {"clip": -(10**400)},
        lstm | {"dropout": 10**400},
        lstm | {"hidden_size": 5.0},
        lstm | {"hidden_size": "5"},
        lstm | {"dtype": "float16"},
        lstm | {"dtype": "O"},
        lstm | {"dropout": float("nan")},
        lstm | {"variant": "GRU"},
        lstm | {"hidden_size": {"type": "LSTM"}},
        {"type": "Sequential", "layers": []},
        {"type": "Sequential", "layers": [3]},
        {"type": "Sequential", "layers": 3},
        {"type": "Sequential", "layers": [lstm] * 1000},
        {"type": "Sequential", "layers": [{"type": "Sequential", "layers": [lstm] * 100}] * 100},
        {"type": "Dense", "input_size": 3, "output_size": [3]},
        nested(3),
        nested(400),
    ],
)
def test_hostile_architectures(path, described):
    files.write(path, "network", dict(LSTM(3, 5).params), {"architecture": described})
    with pytest.raises(FileError, match=r"describe|parameter"):
        fastlstm.load(path)


def test_more_layers_than_arrays_take_no_memory(path):
    layers = 200_000  # of 15 parameters each: the file has as many, in one array
    described = fastlstm.saving.architecture(LSTM(1, 1)) | {"num_layers": layers}
    files.write(path, "network", {"flat": np.zeros(15 * layers, np.float32)}, {"architecture": described})
    tracemalloc.start()
    try:
        with pytest.raises(FileError, match=f"there cannot be {layers} layers in a file of 1 array"):
            fastlstm.load(path)
        assert tracemalloc.get_traced_memory()[1] < 3 * path.stat().st_size
    finally:
        tracemalloc.stop()


def test_deep_json(path):
    path.write_bytes(safetensors.save({}, {"fastlstm": "[" * 10**5}))
    with pytest.raises(FileError, match="damaged"):
        fastlstm.load(path)


def test_parameters_must_be_those_of_the_network(path):
    network = LSTM(3, 5, seed=0)
    params = dict(network.params)
    described = {"architecture": fastlstm.saving.architecture(network)}
    for name, wrong in itertools.product(
        params, (None, lambda a: a.astype(np.float64), lambda a: a[:1], lambda a: a[np.newaxis], lambda a: a.view("i4"))
    ):
        changed = {key: value for key, value in params.items() if key != name}
        if wrong is not None:
            changed[name] = wrong(params[name])
        if wrong is not None and changed[name].shape == params[name].shape and changed[name].dtype == np.float32:
            continue
        # Enough values, so that it is the parameter itself that is refused.
        files.write(path, "network", changed | {"more": np.zeros(params[name].size)}, described)
        with pytest.raises(FileError, match=f"parameter {name} (must be|is missing)|more is not one"):
            fastlstm.load(path)


def test_a_checkpoint_is_not_a_network(saved, path):
    network = saved[1]
    with pytest.raises(FileError, match=r"is a network, not a checkpoint: fastlstm\.load makes it"):
        files.read(path, "checkpoint")
    files.write(path, "checkpoint", {"model": network.flat}, {})
    for read in (fastlstm.load, fastlstm.load_extra):
        with pytest.raises(
            FileError, match=r"is a checkpoint, not a network: nn\.fit\(\.\.\., checkpoint=path, resume"
        ):
            read(path)


# ---- headers are judged before the rest is read ----


def hostile(path, table, size):
    """Write a header, and after it a hole up to this size of the file."""
    head = table if isinstance(table, bytes) else json.dumps(table).encode()
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.truncate(size)


OURS = {"fastlstm": json.dumps({"version": 1, "kind": "network", "content": {}, "sha256": ""})}
GIB = 1 << 30


def one(**changes):
    return {"__metadata__": OURS, "a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]} | changes}


@pytest.mark.parametrize(
    "table",
    [
        {},
        [],
        3,
        None,
        b"[" * 10**6,
        b"\xff" * 100,
        b"{" + b" " * 10**6,
        {"__metadata__": None},
        {"__metadata__": [OURS]},
        {"__metadata__": {}},
        {"__metadata__": {"fastlstm": 3}},
        {"__metadata__": {"fastlstm": "3"}},
        {"__metadata__": {"fastlstm": '{"version": 1}'}},
        {"__metadata__": {"fastlstm": '{"version": 2}'}},
        {"__metadata__": {"fastlstm": '{"version": 1, "kind": ["network"]}'}},
        {"__metadata__": {"fastlstm": '{"version": 1, "kind": "checkpoint"}'}, "a": {}},
        {"__metadata__": OURS},
        {"__metadata__": OURS, "a": None},
        {"__metadata__": OURS, "a": {}},
        {"a": {"dtype": "F32", "shape": [GIB // 4], "data_offsets": [0, GIB]}},
        one(),
        one(dtype="BF16"),
        one(dtype="O"),
        one(dtype=["F32"]),
        one(shape=[GIB]),
        one(shape=[-3], data_offsets=[0, -12]),
        one(shape=[3.0]),
        one(shape=["3"]),
        one(shape=[True] * 3),
        one(shape=3),
        one(shape=[1] * 1000),
        one(shape=[10**4000] * 30),
        one(shape=[2**40, 0], data_offsets=[0, 0]),
        one(data_offsets=[4, 16]),
        one(data_offsets=[-12, 0]),
        one(data_offsets=[0, 2**70]),
        one(data_offsets=[0]),
        one(data_offsets="ab"),
        one(data_offsets=None),
        one() | {"b": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}},
        one() | {"b": {"dtype": "F32", "shape": [3], "data_offsets": [8, 20]}},
        one() | {"b": {"dtype": "F32", "shape": [3], "data_offsets": [16, 28]}},
        {"__metadata__": OURS} | {str(k): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for k in range(10**4)},
    ],
    ids=lambda table: str(table)[:60],
)
@pytest.mark.parametrize("size", [10**6, GIB])
def test_a_hostile_header_is_refused_before_the_rest_is_read(path, table, size, monkeypatch):
    read = []
    monkeypatch.setattr(files, "_arrays", lambda *_: read.append(True) or {})
    hostile(path, table, size)
    refused(path, "damaged|another program|version 2|is a checkpoint")
    assert not read


@pytest.mark.parametrize("length", [0, 1, GIB - 8, GIB - 7, GIB, 10**8 + 1, 2**31, 2**63, 2**64 - 1])
def test_a_huge_file_with_a_wrong_length_of_its_header(path, length):
    with path.open("wb") as file:
        file.write(length.to_bytes(8, "little"))
        file.truncate(GIB)
    tracemalloc.start()
    try:
        refused(path, "damaged")
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("change", ["shorter", "longer", "other bytes"])
def test_a_file_that_changes_while_it_is_read(saved, monkeypatch, change):
    path, _ = saved
    whole, layout = path.read_bytes(), files._layout

    def later(*arguments):
        # The file must be larger than a buffer, whose contents have been read already.
        data = {"shorter": whole[:-400_000], "longer": whole + b"\0", "other bytes": whole[:-1] + b"\1"}[change]
        with path.open("r+b") as file:
            file.write(data)
            file.truncate()
        return layout(*arguments)

    fastlstm.save(nn.Dense(400, 400, seed=0), path)
    whole = path.read_bytes()
    monkeypatch.setattr(files, "_layout", later)
    with pytest.raises(
        FileError, match={"other bytes": "not what was written"}.get(change, f"{change} while it was read")
    ):
        fastlstm.load(path)


def test_extra_that_could_not_be_read_again(saved, monkeypatch):
    path, network = saved
    before = path.read_bytes()
    monkeypatch.setattr(files, "LARGEST_HEADER", 2000)
    with pytest.raises(ValueError, match="must be at most 2000 bytes of JSON"):
        fastlstm.save(network, path, extra="a" * 2000)
    assert path.read_bytes() == before


# ---- what is no regular file, and names ----

unix = pytest.mark.skipif(os.name != "posix", reason="such files are there on Unix only")


@unix
@pytest.mark.parametrize("kind", ["fifo", "socket", "device", "folder", "link to a fifo", "open pipe"])
def test_what_is_no_regular_file_is_neither_read_nor_replaced(tmp_path, kind, monkeypatch):
    """The device and the pipe are where no file can be made, so that a fault could not replace them on this machine."""
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    place, opened = "place", ()
    if kind == "folder":
        os.mkdir(place)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(place)
    elif kind == "device":
        opened = os.openpty()
        place = os.ttyname(opened[1])
    elif kind == "open pipe":
        opened = os.pipe()
        place = f"/dev/fd/{opened[0]}"
    else:
        os.mkfifo("fifo")
        os.symlink("fifo", place) if "link" in kind else os.rename("fifo", place)
    before = os.lstat(place)
    lstm = LSTM(1, 1, seed=0)
    for call in (lambda: fastlstm.save(lstm, place), lambda: fastlstm.load(place), lambda: fastlstm.load_extra(place)):
        with pytest.raises(OSError, match=place):  # its kind depends on the system
            call()
    after = os.lstat(place)
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert not [name for name in os.listdir() if whole_files.PARTIAL.fullmatch(name)]
    for number in opened:
        os.close(number)


@unix
def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    lstm, folder = LSTM(1, 1, seed=0), tmp_path / "elsewhere"
    folder.mkdir()
    (tmp_path / "link").symlink_to("second")
    (tmp_path / "second").symlink_to(folder / "file")  # which is not there yet
    for _ in range(2):
        fastlstm.save(lstm, tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "second").is_symlink()
        assert [file.name for file in folder.iterdir()] == ["file"]
        assert not (folder / "file").is_symlink()
        assert fastlstm.load(tmp_path / "link").flat.tobytes() == lstm.flat.tobytes()
        lstm.flat[:] += 1
    (tmp_path / "nowhere").symlink_to(tmp_path / "no folder" / "file")
    with pytest.raises(FileNotFoundError, match="no folder to write to"):
        fastlstm.save(lstm, tmp_path / "nowhere")
    for name, to in (("a", "b"), ("b", "a")):
        (tmp_path / name).symlink_to(to)
    for call in (lambda: fastlstm.save(lstm, tmp_path / "a"), lambda: fastlstm.load(tmp_path / "a")):
        with pytest.raises(OSError) as caught:  # noqa: PT011  # its number is what counts
            call()
        assert caught.value.errno == errno.ELOOP
    assert (tmp_path / "a").is_symlink()


@pytest.mark.parametrize("wrong", [3, 0, True, None, 1.5, [], ["a"], np.int64(3), b"", "", "a\0b"], ids=repr)
def test_paths_that_are_none(wrong):
    expected = ValueError if isinstance(wrong, (str, bytes)) else TypeError
    for call in (
        lambda: fastlstm.save(LSTM(1, 1), wrong),
        lambda: fastlstm.load(wrong),
        lambda: fastlstm.load_extra(wrong),
    ):
        with pytest.raises(expected, match="path must be the path of a file"):
            call()


def test_a_descriptor_is_not_closed(saved):
    with saved[0].open("rb") as file, pytest.raises(TypeError):
        fastlstm.load(file.fileno())
    assert file.closed  # by us, without an error


@pytest.mark.parametrize("make", [str, os.fsencode, Path], ids=["str", "bytes", "Path"])
def test_paths_of_every_type(tmp_path, make):
    path = make(str(tmp_path / "é"))
    fastlstm.save(LSTM(1, 1, seed=0), path)
    assert fastlstm.load(path).input_size == 1


def test_paths_that_are_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fastlstm.save(LSTM(1, 1, seed=0), "network")
    fastlstm.save(LSTM(1, 1, seed=0), "network")
    assert fastlstm.load("network").input_size == 1
    assert os.listdir() == ["network"]


@unix
@pytest.mark.parametrize("length", [1, 200, 237, 238, 254, 255])
def test_long_names(tmp_path, length):
    for _ in range(2):
        fastlstm.save(LSTM(1, 1, seed=0), tmp_path / ("n" * length))
    assert fastlstm.load(tmp_path / ("n" * length)).input_size == 1
    with pytest.raises(OSError) as caught:  # noqa: PT011  # its number is what counts
        fastlstm.save(LSTM(1, 1, seed=0), tmp_path / ("n" * 256))
    assert caught.value.errno == errno.ENAMETOOLONG
    assert len(list(tmp_path.iterdir())) == 1


@unix
def test_the_error_names_the_file_that_was_asked_for(saved, monkeypatch):
    path, network = saved

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", "other")

    for name in ("open", "fsync", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, refuse)
            with pytest.raises(PermissionError) as caught:
                fastlstm.save(network, path)
        assert caught.value.filename == str(path)
        assert list(path.parent.iterdir()) == [path]


# ---- misuse ----


def test_errors(path):
    class Mine(LSTM):
        pass

    for network in (Mine(3, 5), 3, None, LSTM):
        with pytest.raises(TypeError, match="network must be one of fastlstm's own"):
            fastlstm.save(network, path)
    with pytest.raises(TypeError, match="JSON"):
        fastlstm.save(LSTM(3, 5), path, extra={1, 2})
    assert not path.exists()


def test_no_package_is_needed(saved, monkeypatch):
    path, network = saved
    for name in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    fastlstm.save(network, path)
    assert fastlstm.load(path).flat.tobytes() == network.flat.tobytes()


def test_architecture_is_plain_json():
    text = json.dumps(fastlstm.saving.architecture(NETWORKS["Sequential"]()))
    assert json.loads(text)["layers"][1] == {"type": "Last"}


@pytest.mark.parametrize("content", [[], "network", None, 3, True])
def test_content_of_another_kind(path, content):
    files.write(path, "network", {}, content)
    for read in (fastlstm.load, fastlstm.load_extra):
        with pytest.raises(FileError, match="no content that is known"):
            read(path)


def test_extra_that_would_not_come_back(saved):
    path, network = saved
    before = path.read_bytes()
    with pytest.raises(ValueError, match="two keys"):
        fastlstm.save(network, path, extra={1: "a", "1": "b"})
    assert path.read_bytes() == before
    fastlstm.save(network, path, extra={1: ("a", "b")})
    assert fastlstm.load_extra(path) == {"1": ["a", "b"]}


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640, 0o666, 0o400])
def test_a_file_keeps_its_mode(saved, mode, monkeypatch):
    """And what is private is private while it is written."""
    path, network = saved
    path.chmod(mode)
    modes = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: modes.append(os.fstat(number).st_mode) or fsync(number))
    fastlstm.save(network, path)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert os.name != "posix" or stat.S_IMODE(modes[0]) == 0o600


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_a_file_keeps_its_owner(saved):
    path, network = saved
    os.chown(path, 1234, 2345)
    fastlstm.save(network, path)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)


def test_many_threads_may_write_one_file_while_the_network_changes(saved):
    path, network = saved
    stop = threading.Event()

    def change():
        while not stop.is_set():
            network.flat[:] += 1

    changing = threading.Thread(target=change)
    changing.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            for written in [pool.submit(fastlstm.save, network, path) for _ in range(40)]:
                written.result()
    finally:
        stop.set()
        changing.join()
    fastlstm.load(path)
    assert list(path.parent.iterdir()) == [path]


def test_extra_may_have_numbers_and_arrays_of_numpys(saved):
    path, network = saved
    fastlstm.save(network, path, extra={"mean": np.float32(0.5), "std": np.ones(2)})
    assert fastlstm.load_extra(path) == {"mean": 0.5, "std": [1.0, 1.0]}
    with pytest.raises(TypeError, match="must be for JSON: not set"):
        fastlstm.save(network, path, extra={1, 2})


def test_a_folder_that_is_not_there_is_named(saved, tmp_path):
    with pytest.raises(IsADirectoryError, match="a folder, not a file"):
        fastlstm.save(saved[1], tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no folder to write to.*nowhere'$"):
        fastlstm.save(saved[1], tmp_path / "nowhere" / "network")


@pytest.mark.parametrize(("written", "bound"), [(0, None), (0.0, None), (True, 1.0), (2, 2), (1.5, 1.5), (None, None)])
def test_bounds_that_the_first_version_took(path, written, bound):
    """0 was no bound then, and True was 1: both are refused now, but not in a file."""
    lstm = LSTM(1, 1, seed=0)
    described = fastlstm.saving.architecture(lstm) | {"clip": written, "cell_clip": written}
    files.write(path, "network", dict(lstm.params), {"architecture": described, "extra": None})
    again = fastlstm.load(path)
    assert (again.clip, again.cell_clip) == (bound, bound)
    assert repr(again.clip) == repr(bound)


@pytest.mark.parametrize("clip", [1000, 1e6])
def test_bounds_may_be_larger_than_the_number_of_parameters(tmp_path, clip):
    fastlstm.save(LSTM(1, 1, clip=clip, cell_clip=clip), tmp_path / "lstm")
    assert fastlstm.load(tmp_path / "lstm").clip == clip
