"""Files that are damaged, or made to do harm: nothing is loaded, nothing hangs, nothing is run, no memory is taken."""

import io
import json
import os
import random
import re
import struct
import sys
import time
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fastlstm
import fastlstm.keras
from fastlstm.keras._bytes import Bytes

FOLDER = Path(__file__).parents[1] / "data_keras_2"
ARCHIVE, OLDER = FOLDER / "2_15_nested.keras", FOLDER / "2_15_nested.h5"


def refused(path, message, error=fastlstm.FileError, read=fastlstm.keras.load):
    """Expect an error that names the file, soon, and without much memory."""
    tracemalloc.start()
    begin = time.monotonic()
    try:
        with pytest.raises(error, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()
    assert time.monotonic() - begin < 20


def members():
    with zipfile.ZipFile(ARCHIVE) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(path, changed=(), compression=zipfile.ZIP_STORED):
    """Write an archive like the sound one, with some members changed."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in (members() | dict(changed)).items():
            if content is not None:
                archive.writestr(name, content)
    return path


def config_with(change):
    """Return the configuration after a function has changed it."""
    config = json.loads(members()["config.json"])
    change(config)
    return json.dumps(config)


def layer_of(config, name):
    return next(layer for layer in config["config"]["layers"] if layer["config"]["name"] == name)


def with_options(layer, **options):
    return layer | {"config": layer["config"] | options}


def dense_of(config):
    return layer_of(config, "time_distributed")["config"]["layer"]["config"]


# ---- files that are no files of Keras ----


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\3\4", b"a text", b"\x89HDF\r\n\x1a\n", bytes(1000)], ids=repr)
def test_other_files(tmp_path, content):
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    for read in (fastlstm.keras.load, fastlstm.keras.layers, fastlstm.keras.weights):
        refused(path, "Keras|damaged", read=read)


def test_places_that_are_no_files(tmp_path):
    with pytest.raises(OSError, match=r"[Ii]s a directory|a folder|Permission denied"):
        fastlstm.keras.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        fastlstm.keras.load(tmp_path / "none.keras")
    with pytest.raises(TypeError, match=r"^path must be"):
        fastlstm.keras.load(3)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "model.keras")
    with pytest.raises(OSError, match="not a regular file"):
        fastlstm.keras.load(tmp_path / "model.keras")


@pytest.mark.parametrize("source", [ARCHIVE, OLDER], ids=lambda path: path.name)
def test_files_that_are_cut(tmp_path, source):
    whole, path = source.read_bytes(), tmp_path / "cut"
    for length in [*range(0, 3000, 131), *range(3000, len(whole) - 1, 997), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(fastlstm.FileError, match=re.escape(str(path))):
            fastlstm.keras.load(path)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("source", [ARCHIVE, OLDER, FOLDER / "2_15_nested.weights.h5"], ids=lambda path: path.name)
def test_bytes_that_are_changed(tmp_path, source, seed):
    """Whatever comes out is a network, or an error of a file; numbers among the weights may change."""
    rng, whole, path = random.Random(seed), source.read_bytes(), tmp_path / "changed"
    outcomes, said = set(), []
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(rng.choice([1, 1, 2, 8])):
            at, length = rng.randrange(len(content)), rng.choice([1, 1, 2, 4, 8])
            content[at : at + length] = rng.choice([b"\0", b"\xff", rng.randbytes(1)]) * length
        path.write_bytes(content)
        begin = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                fastlstm.keras.layers(path)
                outcomes.add("read")
            except ValueError as error:
                outcomes.add(type(error).__name__)
                said.append(str(error))
        assert time.monotonic() - begin < 10
    assert all(str(path) in message for message in said)
    assert {"FileError"} <= outcomes <= {"read", "FileError", "ValueError"}


# ---- archives ----


@pytest.mark.parametrize("name", ["config.json", "metadata.json", "model.weights.h5"])
def test_a_member_is_missing_or_twice(tmp_path, name):
    refused(archive_of(tmp_path / "missing.keras", {name: None}), f"has no {name}")
    path = archive_of(tmp_path / "twice.keras")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(name, b"{}")
    refused(path, f"has 2 times {name}")


def test_an_archive_that_somebody_deflated_is_read(tmp_path):
    path = archive_of(tmp_path / "deflated.keras", compression=zipfile.ZIP_DEFLATED)
    assert repr(fastlstm.keras.load(path)) == repr(fastlstm.keras.load(ARCHIVE))


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions(tmp_path, compression):
    refused(archive_of(tmp_path / "model.keras", compression=compression), "must not be encrypted, and stored as it is")


def test_encrypted_members(tmp_path):
    path = archive_of(tmp_path / "model.keras")
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\1\2")
    content[at + 8] |= 1
    path.write_bytes(content)
    refused(path, "metadata.json must not be encrypted|config.json must not be encrypted")


@pytest.mark.parametrize("name", ["model.weights.h5", "config.json", "metadata.json"])
def test_bombs(tmp_path, name):
    """Zeros, of which a thousand take one byte."""
    size = 65 << 20 if name == "model.weights.h5" else 17 << 20
    path = archive_of(tmp_path / "bomb.keras", {name: bytes(size)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    refused(path, f"{name} would have {size} bytes, and [0-9]+ are allowed")


@pytest.mark.parametrize("says", [1000, 1 << 20])
def test_a_member_with_another_size_than_it_says(tmp_path, says):
    """It is inflated no further than it says."""
    path = archive_of(tmp_path / "bomb.keras", {"config.json": bytes(16 << 20)}, zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        at = -1
        while (at := content.find(signature, at + 1)) >= 0:
            if struct.unpack_from("<I", content, at + offset)[0] == 16 << 20:
                struct.pack_into("<I", content, at + offset, says)
    path.write_bytes(content)
    refused(path, "is damaged: config.json")


def test_a_long_list_of_members(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(13_000):
            archive.writestr(f"{k:040}", b"")
    refused(path, "its list of members would have [0-9]+ bytes")


def test_paths_out_of_the_folder_are_nothing(tmp_path):
    """Nothing is extracted: other members are not looked at."""
    path = archive_of(tmp_path / "model.keras", {"../outside": b"x", "assets/run.py": b"raise SystemExit"})
    assert repr(fastlstm.keras.load(path)) == repr(fastlstm.keras.load(ARCHIVE))
    assert sorted(tmp_path.iterdir()) == [path]


# ---- configurations ----

NO_JSON = {
    "empty": "", "a list": "[]", "a text": '"x"', "deep": "[" * 100_000 + "]" * 100_000, "NaN": '{"config": NaN}',
    "cut": '{"class_name": "Sequential"', "bytes": b"\xff\xfe", "a long number": "1" * 5000,
}  # fmt: skip


@pytest.mark.parametrize("name", NO_JSON)
def test_json_that_is_none(tmp_path, name):
    for member in ("config.json", "metadata.json"):
        path = archive_of(tmp_path / f"{member}.keras", {member: NO_JSON[name]})
        refused(path, "no configuration that makes sense")


def test_versions_that_are_none(tmp_path):
    for k, version in enumerate([3, "", "three", "99999.0", {"a": 1}, "\u0663.0"]):
        path = archive_of(tmp_path / f"{k}.keras", {"metadata.json": json.dumps({"keras_version": version})})
        refused(path, "keras_version must be like '3.0.0'")


def nested(depth):
    model = {"class_name": "Sequential", "config": {"name": "m", "layers": []}}
    for k in range(depth):
        model = {"class_name": "Sequential", "config": {"name": f"m{k}", "layers": [model]}}
    return model


def without(layer, key):
    del layer[key]


CHANGES = {
    "models in models": (lambda c: c.update(nested(40)), "more than 16 models in each other"),
    "no layers": (lambda c: c["config"].update(layers=[]), "has no layer that computes anything"),
    "layers are none": (lambda c: c["config"].update(layers={"a": 1}), "it has no layers"),
    "a layer is none": (lambda c: c["config"]["layers"].append(3), "a layer is not described"),
    "no class": (lambda c: without(layer_of(c, "rnn"), "class_name"), "a layer is not described by a class"),
    "no config": (lambda c: layer_of(c, "rnn").update(config=[]), "a layer is not described by a class and a config"),
    "no name": (lambda c: without(layer_of(c, "rnn")["config"], "name"), "a layer has no name"),
    "two of a name": (lambda c: c["config"]["layers"].append(layer_of(c, "rnn")), "groups of arrays for|the same name"),
    "units": (lambda c: dense_of(c).update(units=4), "kernel must have"),
    "huge units": (
        lambda c: dense_of(c).update(units=10**15), "kernel must have",
    ),
    "units are none": (
        lambda c: dense_of(c).update(units="3"), "units must be a size",
    ),
    "negative units": (
        lambda c: dense_of(c).update(units=-3), "units must be a size",
    ),
    "a flag is none": (
        lambda c: dense_of(c).update(use_bias=1), "use_bias must be true",
    ),
    "no bias": (
        lambda c: dense_of(c).update(use_bias=False),
        "its arrays must be kernel, and the file has 2",
    ),
    "no activation": (
        lambda c: without(dense_of(c), "activation"),
        "activation is not in its configuration",
    ),
    "no cells": (lambda c: layer_of(c, "rnn")["config"]["cell"]["config"].update(cells=[]), "must have 1 to 256 cells"),
    "many cells": (
        lambda c: layer_of(c, "rnn")["config"]["cell"]["config"].update(cells=[{}] * 257), "must have 1 to 256 cells",
    ),
    "a cell more": (
        lambda c: layer_of(c, "rnn")["config"]["cell"]["config"]["cells"].append(
            layer_of(c, "rnn")["config"]["cell"]["config"]["cells"][0]
        ), "the file has no arrays of lstm_cell number 3",
    ),
    "a layer more": (
        lambda c: c["config"]["layers"].append(layer_of(c, "rnn") | {"name": "other"}), "1 groups of arrays for 2",
    ),
    "a layer without arrays": (
        lambda c: c["config"]["layers"].append(
            {"class_name": "Embedding", "config": {"name": "e", "input_dim": 10**12, "output_dim": 10**6}}
        ), "the file has no arrays of it: was the model called",
    ),
    "a class of a cell": (
        lambda c: layer_of(c, "rnn")["config"]["cell"]["config"]["cells"][0].update(registered_name="own>LSTMCell"),
        "a cell is of a class of its author's",
    ),
    "another cell": (
        lambda c: layer_of(c, "rnn")["config"]["cell"]["config"]["cells"][0].update(class_name="ConvLSTM2DCell"),
        "a cell is a 'ConvLSTM2DCell', which is not here",
    ),
    "other cells": (
        lambda c: layer_of(c, "rnn")["config"]["cell"].update(class_name="OwnCell"), "cell is a 'OwnCell', which",
    ),
    "time first": (
        lambda c: layer_of(c, "rnn")["config"].update(time_major=True), "time_major=True is not here",
    ),
    "forward both": (
        lambda c: layer_of(c, "bidirectional")["config"].update(
            backward_layer=layer_of(c, "bidirectional")["config"]["layer"]
        ), "backward_layer must have go_backwards=True",
    ),
    "sequences of one": (
        lambda c: layer_of(c, "bidirectional")["config"].update(
            backward_layer=with_options(
                layer_of(c, "bidirectional")["config"]["layer"], go_backwards=True, return_sequences=False
            )
        ), "must both return sequences, or both not",
    ),
    "more units of a cell": (
        lambda c: layer_of(c, "bidirectional")["config"]["layer"]["config"].update(units=5), "kernel must have shape",
    ),
    "integers": (lambda c: dense_of(c).update(dtype="int8"), "dtype='int8': weights must be floats, not quantised"),
    "layers that do not fit": (
        lambda c: c["config"]["layers"].pop(2), "its layers do not fit together",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_configurations_that_make_no_sense(tmp_path, name):
    change, message = CHANGES[name]
    refused(archive_of(tmp_path / "model.keras", {"config.json": config_with(change)}), message, ValueError)


def test_options_that_make_no_sense(tmp_path):
    for k, rate in enumerate([None, "0.5", True, [0.5], 1.5, -1, 10**400]):
        entry = {"class_name": "Dropout", "config": {"name": "d", "rate": rate}}
        change = config_with(lambda config, entry=entry: config["config"]["layers"].append(entry))
        refused(archive_of(tmp_path / f"{k}.keras", {"config.json": change}), "rate must be", ValueError)


def test_activations_that_are_none_are_linear(tmp_path):
    path = archive_of(
        tmp_path / "model.keras", {"config.json": config_with(lambda c: dense_of(c).update(activation=None))}
    )
    assert repr(fastlstm.keras.load(path).layers[-1]) == "Dense(4, 3, dtype=float32)"


def test_a_long_configuration():
    with pytest.raises(fastlstm.FileError, match=r"^config would have a configuration of 16777217 bytes"):
        fastlstm.keras.load(OLDER, config=" " * ((1 << 24) + 1))


def test_weights_that_are_no_hdf5(tmp_path):
    refused(archive_of(tmp_path / "model.keras", {"model.weights.h5": b"PK\3\4"}), "model.weights.h5 is not HDF5")


def test_a_member_that_is_shorter_than_it_says(tmp_path):
    path, size = archive_of(tmp_path / "model.keras"), len(members()["config.json"])
    content = path.read_bytes().replace(struct.pack("<II", size, size), struct.pack("<II", size, size + 1))
    path.write_bytes(content)
    refused(path, f"config.json does not have the {size + 1} bytes that it should have")


def as_functional(calls, outputs=(("d0", 0, 0),)):
    """A Functional model of dense layers that are called so."""
    dense = {"class_name": "Dense", "config": {"units": 1, "activation": "linear"}}
    given = {"class_name": "InputLayer", "config": {"name": "x"}, "name": "x", "inbound_nodes": []}
    layers = [dense | {"name": name, "inbound_nodes": nodes} for name, nodes in calls.items()]
    return {
        "class_name": "Functional",
        "config": {"name": "f", "layers": [given, *layers], "input_layers": [["x", 0, 0]],
                   "output_layers": list(map(list, outputs))},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ({"d0": [[["d0", 0, 0, {}]]]}, "'d0' is not one that comes before"),
        ({"d0": [[["d1", 0, 0, {}]]], "d1": [[["d0", 0, 0, {}]]]}, "'d0' is not one that comes before"),
        ({"d0": [[["y", 0, 0, {}]]]}, "'y' is not one that comes before"),
        ({"d0": []}, "calls 'd0' 0 times"),
        ({"d0": [[["x", 0, 0, {}]]] * 2}, "calls 'd0' 2 times"),
        ({"d0": [[["x", 0, 0, {}], ["x", 0, 0, {}]]]}, "calls 'd0' with 2 values"),
        ({"d0": [[["x", 1, 2, {}]]]}, "uses a state that 'x' returns"),
        ({"d0": [[["x", 0, 0, {"training": True}]]]}, r"calls 'd0' with \{'training': True\}"),
        ({"d0": [[3]]}, "with something that is not a value"),
        ({"d0": [3]}, "calls 'd0' with 0 values"),
        ({"d0": [{"args": [{"class_name": "__keras_tensor__", "config": {}}]}]}, "not a single value of a layer"),
        ({"d0": [{"args": [], "kwargs": {"training": True}}]}, "with training=True"),
    ],
    ids=str,
)
def test_calls_in_circles_and_others(tmp_path, calls, message):
    path = archive_of(tmp_path / "model.keras", {"config.json": json.dumps(as_functional(calls))})
    refused(path, message, ValueError)


LAMBDA = {"class_name": "Lambda", "config": {"name": "l", "function": ["4wEAAAA=", None, None]}}
RUN = {
    "Lambda": (LAMBDA, "layer 'l' .Lambda.: there is nothing like it here"),
    "another module": (
        {"module": "os", "class_name": "LSTM", "config": {"name": "l"}, "registered_name": "system"},
        "it is of a class of its author's, and nothing in a file is run",
    ),
    "registered": (
        {"module": "keras.layers", "class_name": "LSTM", "config": {"name": "l"}, "registered_name": "own>LSTM"},
        "it is of a class of its author's",
    ),
    "registered, older": ({"class_name": "own>LSTM", "config": {"name": "l"}}, "it is of a class of its author's"),
    "a function": (
        {"class_name": "Activation", "config": {"name": "l", "activation": {"module": "os", "class_name": "function",
         "config": "system", "registered_name": "system"}}},
        "activation must be one that has a name, not",
    ),
    "a registered function": (
        {"class_name": "Activation", "config": {"name": "l", "activation": {"module": "builtins", "class_name":
         "function", "config": "tanh", "registered_name": "own>tanh"}}},
        "activation must be one that has a name, not",
    ),
    "pickled": (
        {"class_name": "Activation", "config": {"name": "l", "activation": {"class_name": "__lambda__", "config":
         {"code": "gASV"}}}},
        "activation must be one that has a name, not",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RUN)
def test_nothing_is_run(tmp_path, name):
    entry, message = RUN[name]
    before = set(sys.modules)
    changed = {"config.json": config_with(lambda config: config["config"]["layers"].append(entry))}
    path = archive_of(tmp_path / "model.keras", changed)
    refused(path, message, ValueError)
    with pytest.warns(UserWarning, match=message):
        fastlstm.keras.layers(path)
    assert not {name for name in set(sys.modules) - before if name.startswith(("keras", "pickle", "marshal"))}


def test_many_layers_take_little_time(tmp_path):
    """Ten thousand of them, each of a class of its own, or all of one."""
    entries = [{"class_name": f"Own{k}", "config": {"name": f"o{k}"}} for k in range(10_000)]
    path = archive_of(
        tmp_path / "own.keras", {"config.json": config_with(lambda c: c["config"]["layers"].extend(entries))}
    )
    begin = time.monotonic()
    with pytest.warns(UserWarning, match="and 9980 more$"):
        fastlstm.keras.layers(path)
    assert time.monotonic() - begin < 20


# ---- HDF5 ----


def hdf5(tmp_path, write, **options):
    """Return the path of weights with a dense layer, after h5py has written something else."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "model.weights.h5"
    with h5py.File(path, "w", **options) as file:
        variables = file.create_group("layers/dense/vars")
        variables["1"] = [0.0]
        write(h5py, file, variables)
    return path


def outside(tmp_path):
    (tmp_path / "outside").write_bytes(bytes(1000))
    return str(tmp_path / "outside")


def virtual(h5py, file, variables):
    layout = h5py.VirtualLayout((2, 1), "<f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (2, 1))
    variables.create_virtual_dataset("0", layout)


WRITTEN = {
    "a soft link": (lambda h, f, v: v.__setitem__("0", h.SoftLink("/layers/dense/vars/1")), "is a link|later format"),
    "a soft link to itself": (lambda h, f, v: v.__setitem__("0", h.SoftLink("/layers/dense/vars/0")), "is a link"),
    "an external link": (lambda h, f, v: v.__setitem__("0", h.ExternalLink("other.h5", "/x")), "later format"),
    "a hard link": (lambda h, f, v: v.__setitem__("0", v["1"]), "has another name too"),
    "a circle": (lambda h, f, v: v.__setitem__("up", f["layers"]), "has another name too"),
    "chunks": (lambda h, f, v: v.create_dataset("0", (2, 1), "<f4", chunks=(1, 1)), "must be plain: in one piece"),
    "compression": (lambda h, f, v: v.create_dataset("0", (2, 1), "<f4", compression="gzip"), "neither compressed nor"),
    "a huge shape": (lambda h, f, v: v.create_dataset("0", (1 << 40, 1 << 20), "<f4"), "no array can have shape"),
    "nothing written": (lambda h, f, v: v.create_dataset("0", (2, 1), "<f4"), "which the file does not have"),
    "a virtual array": (virtual, "must be plain: in one piece, not virtual"),
    "a compound": (lambda h, f, v: v.create_dataset("0", (2,), "i4,f4", [(1, 2.0)] * 2), "must be an array of numbers"),
    "texts": (lambda h, f, v: v.create_dataset("0", data=["a"]), "must be an array of numbers"),
    "integers": (lambda h, f, v: v.create_dataset("0", data=[[1], [2]]), "kernel must be an array of floats"),
    "complex": (lambda h, f, v: v.create_dataset("0", data=[[1j], [2]]), "must be an array of numbers"),
    "an array in place of a group": (lambda h, f, v: f.__setitem__("layers/dense_1", 3.0), "and the file has 1"),
    "an own type": (
        lambda h, f, v: (f.__setitem__("t", h.string_dtype() and h.h5t.IEEE_F32LE.copy().dtype),
                         v.create_dataset("0", (2, 1), f["t"])[...]), "neither a group nor an array|is a name",
    ),
    "deep groups": (lambda h, f, v: f.create_group("/".join("a" * 40)), "more than 32 groups in each other"),
    "a name that is none": (lambda h, f, v: v.attrs.__setitem__("name", 3), "attribute name must be a text"),
    "names": (lambda h, f, v: v.attrs.__setitem__("name", ["a", "b"]), "attribute name must be a text"),
}  # fmt: skip
CONFIG = {
    "class_name": "Sequential",
    "config": {"layers": [{"class_name": "Dense", "config": {"name": "d", "units": 1, "activation": "linear"}}]},
}


def with_config(path):
    return fastlstm.keras.load(path, config=CONFIG)


@pytest.mark.parametrize("name", WRITTEN)
def test_hdf5_that_keras_does_not_write(tmp_path, name):
    write, message = WRITTEN[name]
    refused(hdf5(tmp_path, write), message, read=with_config)


def test_arrays_in_other_files(tmp_path):
    place = [(outside(tmp_path), 0, 8)]
    path = hdf5(tmp_path, lambda h, f, v: v.create_dataset("0", (2, 1), "<f4", external=place))
    refused(path, "neither compressed nor in another file", read=with_config)


def test_the_later_format(tmp_path):
    path = hdf5(tmp_path, lambda h, f, v: v.__setitem__("0", [[1.0], [2.0]]), libver="latest")
    refused(path, "in HDF5's later format, which Keras does not write", read=with_config)


def test_a_group_in_the_later_format(tmp_path):
    path = hdf5(tmp_path, lambda h, f, v: f.create_group("later", track_order=True))
    refused(path, "in HDF5's later format, which Keras does not write", read=with_config)


def test_hdf5_of_others(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = [1.0]
    refused(tmp_path / "data.h5", "has no layers of a model, as Keras writes them")


def test_two_bytes_that_are_no_numbers(tmp_path):
    path = hdf5(tmp_path, lambda h, f, v: v.__setitem__("0", np.zeros((2, 1), "V2")))
    refused(path, "'layers/dense/vars/0' must be an array of numbers", read=with_config)


def test_sizes_of_places(tmp_path):
    content = bytearray(OLDER.read_bytes())
    content[13] = 4
    (tmp_path / "model.h5").write_bytes(content)
    refused(tmp_path / "model.h5", "its places must be numbers of 8 bytes")


@pytest.mark.parametrize("at", [0, 2, 8], ids=["another number", "free", "short"])
def test_texts_that_are_not_in_their_heap(tmp_path, at):
    """The first object of the heap is the version's text."""
    content = bytearray(OLDER.read_bytes())
    begin = bytes(content).index(b"GCOL") + 16
    first = content[begin : begin + 2]
    content[begin : begin + 2] = b"\0\0" if at == 2 else b"\x63\0" if at == 0 else first
    if at == 8:
        content[begin + 8 : begin + 16] = struct.pack("<Q", 1)
    (tmp_path / "model.h5").write_bytes(content)
    refused(tmp_path / "model.h5", "there is no text of [0-9]+ bytes")


class Short(io.BytesIO):
    """A file that has become shorter than it was."""

    def read(self, size=-1):
        return super().read(size)[:-1]

    def readinto(self, buffer):
        return super().readinto(buffer) - 1


def test_bytes_that_are_no_longer_there():
    file = Bytes(Short(bytes(100)), 100, "the file")
    for read in (lambda: file[0, 10], lambda: file.array(0, (10,), np.dtype("u1"), 10)):
        with pytest.raises(fastlstm.FileError, match="it became shorter while it was read"):
            read()


def test_bytes_are_not_read_again_and_again():
    file = Bytes(io.BytesIO(bytes(1000)), 1000, "the file")
    for _ in range(10):
        assert file[0, 1000] == bytes(1000)
    with pytest.raises(fastlstm.FileError, match="its parts are not apart"):
        assert all(file[0, 1000] for _ in range(100))


def test_a_sound_file_of_these(tmp_path):
    path = hdf5(tmp_path, lambda h, f, v: v.__setitem__("0", [[1.0], [2.0]]))
    assert with_config(path).params["0.V"].tolist() == [[1.0, 2.0]]


def test_arrays_of_another_layer(tmp_path):
    def write(h5py, file, variables):
        variables["0"] = [[1.0], [2.0]]
        variables.attrs["name"] = "other"

    refused(hdf5(tmp_path, write), "layer 'd' .Dense.: its arrays are those of 'other'", read=with_config)


def test_a_text_of_four_gigabytes(tmp_path):
    """The HDF5 library allocates as much as a text claims to have, before it looks for it."""
    content = bytearray(OLDER.read_bytes())
    at = bytes(content).index(b"keras_version\0")
    found = next(k for k in range(at, at + 100) if content[k : k + 4] == struct.pack("<I", 6))
    content[found : found + 4] = b"\xff\xff\xff\xff"
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    refused(path, "there is no text of 4294967295 bytes")


def test_a_heap_without_end(tmp_path):
    """An object of no bytes: the HDF5 library looks at it again and again."""
    content = bytearray(OLDER.read_bytes())
    at = bytes(content).index(b"GCOL")
    struct.pack_into("<HHIQ", content, at + 16, 99, 0, 0, (1 << 64) - 16)
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    refused(path, "there is no text of")


def test_objects_that_share_bytes(tmp_path):
    """Two arrays cannot have the same bytes: together they would be longer than the file."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "model.weights.h5"
    with h5py.File(path, "w") as file:
        variables = file.create_group("layers/dense/vars")
        for name in "012":
            variables.create_dataset(name, (40_000,), "<f8")
        variables["0"][:] = 1.0
        file.flush()
        place = struct.pack("<QQ", variables["0"].id.get_offset(), 320_000)
    content = path.read_bytes()
    nowhere = struct.pack("<qQ", -1, 320_000)
    assert content.count(nowhere) == 2
    path.write_bytes(content.replace(nowhere, place))
    refused(path, "its arrays would have more bytes than the file", read=fastlstm.keras.weights)
