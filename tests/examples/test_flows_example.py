"""examples/flows.py from end to end: its pictures are there, and what they are to show is so."""

import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def flows(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import flows

    return flows


@pytest.mark.usefixtures("default_threads")
def test_runs_and_shows_what_vanishes(flows, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["flows.py", "--quick", "--out", str(tmp_path)])
    flows.main()
    names = {file.name for file in tmp_path.glob("flows-*.png")}
    assert names == {file.name for file in EXAMPLES.glob("flows-*.png")}
    assert all(file.stat().st_size < 200_000 for file in EXAMPLES.glob("flows-*.png"))
    shown = capsys.readouterr().out
    lines = re.findall(r"(.+), loss (\S+) .* is (\S+) of that at the last", shown)
    found = {name: (float(loss), float(share)) for name, loss, share in lines}
    assert found["simple RNN"][0] > 0.2
    assert found["simple RNN"][1] < 1e-8
    assert found["LSTM"][0] < 0.1
    assert found["LSTM"][1] > 0.1
    # The page says that the norms fall as the largest eigenvalue predicts, and that the bound with ||R|| does not.
    numbers = re.search(r"is (\S+), its .* (\S+); .* by a factor of (\S+) a step", shown).groups()
    R, eigenvalue, factor = map(float, numbers)
    assert eigenvalue + 0.2 < R
    assert abs(factor - eigenvalue) < 0.05
