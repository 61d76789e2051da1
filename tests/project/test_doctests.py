"""The examples in the docstrings, in the README and in the pages of the site."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import fastlstm

ROOT = Path(__file__).parents[2]
MODULES = ["fastlstm"] + [
    module.name
    for module in pkgutil.walk_packages(fastlstm.__path__, "fastlstm.")
    if not module.name.endswith("__main__")
]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("[!_]*.md")), *sorted((ROOT / "docs").glob("[!_]*/*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDED = {"onnx.md": ["onnx", "onnxruntime"], "pytorch.md": ["safetensors", "torch"]}  # beside what trains


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def run_page(path):
    """One block after the other, as a reader would; those with prompts must give what they say. Returns the names."""
    for package in ("matplotlib", "tqdm", *NEEDED.get(path.name, [])):
        pytest.importorskip(package)
    names, text = {}, path.read_text("utf-8")
    for block in BLOCK.finditer(text):
        code, line = block[1], text[: block.start(1)].count("\n")
        if code.startswith(">>> "):
            test = doctest.DocTestParser().get_doctest(code, names, path.name, str(path), line)
            assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0
            names.update(test.globs)
        else:
            exec(compile("\n" * line + code, str(path), "exec"), names)
    return names


@pytest.mark.parametrize("path", [p for p in PAGES if BLOCK.search(p.read_text("utf-8"))], ids=lambda path: path.stem)
def test_pages_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(path)


def test_pages_are_found():
    assert len(PAGES) > 10
