"""The claims of COMPARISON.md are tested where it says so."""

import re
from pathlib import Path

import pytest

COMPARISON = Path(__file__).parents[2] / "COMPARISON.md"
LINK = re.compile(r'\]\((tests/\w+/\w+\.py) "(\w+)"\)')
NOTHING_TO_TEST = "gate order"


@pytest.mark.parametrize("link", sorted(set(LINK.findall(COMPARISON.read_text("utf-8")))), ids=" ".join)
def test_the_test_is_there(link):
    file, name = link
    assert f"def {name}(" in (COMPARISON.parent / file).read_text("utf-8")


def test_every_row_names_one():
    rows = [line.split(" | ") for line in COMPARISON.read_text("utf-8").splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    for name, ours, *_ in rows:
        if name.removeprefix("| ") != NOTHING_TO_TEST:
            assert ours.count("[Y](") == len(LINK.findall(ours)) == 1 + ours.count(")/["), name
