"""The examples in the docstrings."""

import doctest
import importlib
import pkgutil

import pytest

import fastlstm

MODULES = ["fastlstm"] + [
    module.name
    for module in pkgutil.walk_packages(fastlstm.__path__, "fastlstm.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
