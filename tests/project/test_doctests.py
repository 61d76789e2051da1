"""The examples in the docstrings, in the README and in the pages of the site."""

import doctest
import importlib
import pkgutil

import pytest
from pages import BLOCK, ROOT, run_page

import fastlstm

MODULES = ["fastlstm"] + [
    module.name
    for module in pkgutil.walk_packages(fastlstm.__path__, "fastlstm.")
    if not module.name.endswith("__main__")
]
WITHOUT_PYTORCH = {f"fastlstm.torch{name}" for name in ("", "._files", "._sources", "._state_dicts")}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("[!_]*.md")), *sorted((ROOT / "docs").glob("[!_]*/*.md"))]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    for package in ("onnx", "torch"):
        if name.startswith(f"fastlstm.{package}") and name not in WITHOUT_PYTORCH:
            pytest.importorskip(package)
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("path", [p for p in PAGES if BLOCK.search(p.read_text("utf-8"))], ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")  # Keras's own.
def test_pages_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(path)


def test_pages_are_found():
    assert len(PAGES) > 10
