"""The site has every public name, and nothing that is not there."""

import importlib
import re
from pathlib import Path

import pytest

API = Path(__file__).parents[1] / "docs" / "api"
MODULES = {"fastlstm", "fastlstm.gpu", "fastlstm.nn", "fastlstm.inspect", "fastlstm.reference"}
LINE = re.compile(r"^\.\. (currentmodule|module|automodule|autoclass|autofunction|autoexception):: (\S+)", re.MULTILINE)


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
    public = [name for name in importlib.import_module(module).__all__ if f"{module}.{name}" not in MODULES]
    assert public
    assert sorted(described()[module]) == sorted(public)


def test_no_other_module_has_a_page():
    assert described().keys() == MODULES
