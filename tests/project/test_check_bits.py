"""tools/check-bits: it names the combinations whose results differ, and only those."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "check-bits"
ONLY = "portable rnn_forward, rnn_backward dtype=float32 shape=7,3,5,8"

pytestmark = pytest.mark.skipif(not TOOL.is_file(), reason="the tool is of a checkout")


def run(*arguments):
    return subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("bits") / "hashes.json"
    done = run("--write", path, "--only", ONLY)
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text())
    assert done.stdout == f"wrote {len(found)} combinations\n"
    assert len(found) >= 3
    assert not any("raises" in results for results in found.values())
    return path


def test_the_same(written):
    done = run("--compare", written, "--only", ONLY)
    assert done.stdout == f"all {len(json.loads(written.read_text()))} combinations agree\n"
    assert done.returncode == 0


def test_a_bit_that_differs_is_named(written, tmp_path):
    hashes = json.loads(written.read_text())
    name = list(hashes)[1]
    digest = int(hashes[name]["gradients.W"], 16)
    hashes[name]["gradients.W"] = f"{digest ^ 1:016x}"
    path = tmp_path / "hashes.json"
    path.write_text(json.dumps(hashes))
    done = run("--compare", path, "--only", ONLY)
    assert done.returncode == 1
    assert done.stdout == f"{name}: gradients.W\n1 of {len(hashes)} combinations differ\n"


def test_missing_and_raising(written, tmp_path):
    hashes = json.loads(written.read_text())
    gone, raising, *_ = hashes
    del hashes[gone]
    hashes[raising] = {"raises": "ValueError: no"}
    path = tmp_path / "hashes.json"
    path.write_text(json.dumps(hashes | {f"{ONLY} of old": {}}))
    lines = run("--compare", path, "--only", ONLY).stdout.splitlines()
    assert f"{gone}: only now" in lines
    assert f"{raising}: no error; before: ValueError: no" in lines
    assert f"{ONLY} of old: only before" in lines


def test_a_hash_depends_on_each_bit_on_shape_and_dtype(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOL.parent))
    from bits.cases import fingerprints

    array = np.arange(6, dtype=np.float32)
    other = array.copy()
    other.view(np.uint32)[3] ^= 1
    arrays = [array, other, array.reshape(2, 3), array.view(np.int32)]
    assert len({fingerprints({"y": each})["y"] for each in arrays}) == len(arrays)


def test_all_pairs_of_values_occur(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOL.parent))
    from bits import functions
    from bits.cases import chosen

    values = functions.LSTM
    found = list(chosen("some", values, 0))
    for a in values:
        for b in values:
            pairs = {(repr(options[a]), repr(options[b])) for options in found}
            assert a == b or len(pairs) == len(values[a]) * len(values[b])
