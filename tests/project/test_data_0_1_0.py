"""Data of 0.1.0: files, a checkpoint, pickles and a program in C give the same results today.

What was stored comes back bit for bit; what is computed with it is as exact as any result, since sums may have another
order in a later version.
"""

import base64
import json
import pickle
import shutil
import sys
import zlib

import numpy as np
import pytest
from data_0_1_0 import write
from helpers import assert_same

import fastlstm

FOLDER = write.FOLDER
TOLERANCE = {"float32": 4e-6, "float64": 1e-13}  # as of the kernels against the reference
RESULTS = dict(np.load(FOLDER / "results.npz"))
PICKLES = json.loads((FOLDER / "pickles.json").read_text())
NETWORKS = write.networks()


def expected(name):
    """The results with a name, by what comes after it."""
    return {key.removeprefix(f"{name}/"): array for key, array in RESULTS.items() if key.startswith(f"{name}/")}


def assert_as_then(found, name, factor=1):
    found, then = write.arrays(found), expected(name)
    assert found.keys() == then.keys()
    for key, array in then.items():
        assert (found[key].dtype.kind, found[key].shape) == (array.dtype.kind, array.shape), key
        if array.dtype.kind != "f":
            assert np.array_equal(found[key], array), key
        elif array.size:
            error = np.abs(found[key] - array).max()
            assert error <= factor * TOLERANCE[str(array.dtype)] * np.abs(array).max(), f"{key}: {error}"


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name):
    path = FOLDER / f"{name}.safetensors"
    network, then = fastlstm.load(path), NETWORKS[name]
    assert repr(network) == repr(then)
    assert_same({"flat": network.flat} | dict(network.params), {"flat": then.flat} | dict(then.params))
    assert fastlstm.load_extra(path) == write.EXTRA
    assert_as_then(write.used(name, network), name)


def test_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    shutil.copy(FOLDER / "checkpoint.safetensors", path)
    exact, rounded = write.trained(path, 5)
    then = expected("checkpoint")
    assert_same(write.arrays(exact), {key: array for key, array in then.items() if key.startswith("first")})
    assert_as_then(exact | rounded, "checkpoint", factor=10)  # of three steps of training


@pytest.mark.parametrize("name", PICKLES)
def test_pickle(name):
    found = pickle.loads(zlib.decompress(base64.b64decode(PICKLES[name])))
    assert_as_then(write.used_pickle(name, found), name)


@pytest.mark.skipif(
    shutil.which("cc") is None or sys.platform == "win32",
    reason="there is no cc, or not the one that made the library",
)
def test_program_in_c(tmp_path):
    assert_as_then(write.printed(write.compiled(tmp_path)), "program")
