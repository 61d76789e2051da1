"""The site has every public name, and nothing that is not there; what pages say again is what they say it of."""

import importlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
API = ROOT / "docs" / "api"
MODULES = {"fastlstm", "fastlstm.gpu", "fastlstm.nn", "fastlstm.inspect", "fastlstm.reference"}
MODULES |= {"fastlstm.keras", "fastlstm.onnx", "fastlstm.onnx.backend", "fastlstm.torch"}
LINE = re.compile(
    r"^\.\. (currentmodule|module|automodule|autoclass|autofunction|autoexception|data):: ([\w.]+)", re.MULTILINE
)


def described():
    """Each name that a page asks Sphinx to describe, by its module; Sphinx itself refuses what it cannot find."""
    found = {}
    for path in API.glob("*.rst"):
        module = None
        for directive, name in LINE.findall(path.read_text("utf-8")):
            if directive.endswith("module"):
                module = name
            else:
                found.setdefault(module, []).append(name)
    return found


@pytest.mark.parametrize("module", sorted(MODULES))
def test_every_public_name_has_its_place(module):
    if module.startswith("fastlstm.onnx"):
        pytest.importorskip("onnx")
    public = [name for name in importlib.import_module(module).__all__ if f"{module}.{name}" not in MODULES]
    assert public
    assert sorted(described()[module]) == sorted(public)


def test_no_other_module_has_a_page():
    assert described().keys() == MODULES


def test_deltas_of_gates_have_a_bar():
    """Deltas are with respect to the values before activation, in the pages, the docstrings and the pictures."""
    places = [*(ROOT / "docs").glob("*/*.md"), *(ROOT / "src" / "fastlstm").glob("**/*.py")]
    bare = {path.name for path in places if re.search(r"\\delta ?[ifzo]\^", path.read_text("utf-8"))}
    barred = {path.name for path in places if re.search(r"\\delta\\bar\{[ifzo]\}\^", path.read_text("utf-8"))}
    assert not bare
    assert barred >= {"backward.md", "variants.md", "index.md", "inspecting.md", "lstm.py", "backward.py"}


def test_the_readme_says_how_far_behind_a_layer_is():
    """In its first lines: one row at a time, and that a frozen network is not."""
    text = (ROOT / "README.md").read_text("utf-8").replace("\n", " ")
    said = re.search(r"takes up to (\S+) times as long as the fastest of them.* `Frozen` network is level or", text)
    run = json.loads((ROOT / "bench" / "frozen-epyc-avx512-2core.json").read_text("utf-8"))
    rows = [row for part in run["parts"] for row in part["rows"] if row["shape"][1] == 1]
    assert len(rows) > 30

    def least(column, *peers):
        return min(row[column][peer]["median"] for row in rows for peer in peers)

    worst = 1 / least("over_layer", "PyTorch", "ONNX Runtime", "OpenVINO")
    assert worst <= float(said[1]) < worst + 0.05
    assert least("ratios", "ONNX Runtime", "OpenVINO") > 1


def test_the_readme_says_how_much_faster_modules_are():
    """Of packed sequences in training, the least and the most of the committed run, in which no call was PyTorch's."""
    text = (ROOT / "README.md").read_text("utf-8").replace("\n", " ")
    said = re.search(r"Packed sequences train (\S+) to (\S+) times as fast", text)
    parts = json.loads((ROOT / "bench" / "modules-epyc-avx512-2core.json").read_text("utf-8"))["parts"]
    rows = [row for part in parts for row in part["rows"] if part["kind"] == "packed" and row["computed"] == "training"]
    over = [row["ratios"]["PyTorch"]["median"] for row in rows]
    assert len(over) >= 5
    assert [float(said[1]), float(said[2])] == [float(f"{value:.2g}") for value in (min(over), max(over))]
    assert not any(part["fallbacks"] for part in parts)


INCLUDE = re.compile(r"^```\{literalinclude\} (\S+)\n((?::.*\n)*)", re.MULTILINE)


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("**/[!_]*.md")), ids=lambda path: path.stem)
def test_what_pages_show_of_the_sources_is_there(path):
    for source, options in INCLUDE.findall(path.read_text("utf-8")):
        lines = (path.parent / source).read_text("utf-8").splitlines()
        for kind, start in re.findall(r"^:(start-at|end-at|end-before): (.*)$", options, re.MULTILINE):
            wanted = start.strip("\"'") if start[0] == start[-1] and start[0] in "\"'" else start
            assert any(wanted in line for line in lines), (source, kind, start)
        for name in re.findall(r"^:pyobject: (?:\w+\.)?(\w+)$", options, re.MULTILINE):
            assert any(re.match(rf" *(def|class) {name}\b", line) for line in lines), (source, name)
