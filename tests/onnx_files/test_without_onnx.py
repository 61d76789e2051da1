"""What an import says where the package onnx is missing."""

import importlib
import importlib.util
import sys

import pytest


def test_one_sentence_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("fastlstm.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "onnx" else find(name, *a))
    needed = r"^fastlstm\.onnx needs onnx: pip install 'fastlstm\[onnx\]'$"
    for module in ("fastlstm.onnx", "fastlstm.onnx.backend"):
        with pytest.raises(ModuleNotFoundError, match=needed) as caught:
            importlib.import_module(module)
        assert caught.value.name == "onnx"
