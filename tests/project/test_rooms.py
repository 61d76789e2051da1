"""The rooms of CONTRIBUTING: their imports run down."""

import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "fastlstm"
ROOMS = ["reference", "_system", "_arrays", "_cells", "_engine", "layers", "functions", "nn", "inspect", "bench"]
IMPORT = re.compile(r"^\s*(?:from|import|cimport) fastlstm\.(\w+)", re.MULTILINE)

pytestmark = pytest.mark.skipif(not SOURCE.is_dir(), reason="the source is of a checkout")


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_down(room):
    files = [path for path in (SOURCE / room).rglob("*.p*") if path.suffix in (".py", ".pyi", ".pyx", ".pxd")]
    assert files
    above = ROOMS[ROOMS.index(room) + 1 :]
    up = {path.name: name for path in files for name in IMPORT.findall(path.read_text()) if name in above}
    assert not up
