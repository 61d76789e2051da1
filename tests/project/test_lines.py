"""Lines of what no formatter of Python sees: C, Cython and Markdown."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("bench", "cuda", "docs", "examples", "include", "src", "tests", "tools")
SUFFIXES = (".c", ".cu", ".def", ".h", ".inc", ".md", ".pxd", ".pyi", ".pyx")
MOST = 120

paths = [
    *ROOT.glob("*.md"),
    *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES),
]


def breakable(text: str, suffix: str) -> list[str]:
    """Return the lines that could be shorter: in Markdown not tables, code, pictures, formulas, or forced ends."""
    if suffix == ".md":
        fenced = re.compile(r"^( *)(```+).*?^\1\2$", re.DOTALL | re.MULTILINE)
        text = fenced.sub(lambda found: "\n" * found[0].count("\n"), text)
        text = re.sub(r"^(?:\||    |!\[|\$\$|\d+\. `|[\w\\= ]*\\).*$|^.*  $", "", text, flags=re.MULTILINE)
    return text.splitlines()


@pytest.mark.skipif(not (ROOT / "src").is_dir(), reason="the sources are not beside the tests")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_line_is_too_long(suffix):
    here = [path for path in paths if path.suffix == suffix and not {"_build", "data_0_1_0"} & set(path.parts)]
    assert here
    long = {
        f"{path.relative_to(ROOT)}:{number}": len(line)
        for path in here
        for number, line in enumerate(breakable(path.read_text("utf-8"), suffix), 1)
        if len(line) > MOST
    }
    assert long == {}
