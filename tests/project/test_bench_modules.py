"""`fastlstm.bench.modules` measures our modules beside PyTorch's on the same parameters, and says where ours lose."""

import json
import sys

import pytest

from fastlstm.bench import modules
from fastlstm.bench.peers import Contestant
from fastlstm.bench.peers.modules import Problem, Task
from fastlstm.bench.shapes import Shape

# PyTorch warns about things of its own.
pytestmark = pytest.mark.filterwarnings("ignore")

CONTESTANTS = {"PyTorch", "fastlstm.torch", "fastlstm"}
QUICKLY = ["--seconds", "0.0001"]


@pytest.fixture
def small(monkeypatch):
    """Small tasks of each kind, in one round."""
    pytest.importorskip("torch")
    packed = Task(Shape(8, 3, 4, 5), layers=2, bidirectional=True), Task(Shape(8, 3, 4, 5), "GRU")
    monkeypatch.setattr(modules, "PACKED", packed)
    monkeypatch.setattr(modules, "SEQUENCES", (Shape(4, 2, 4, 5), Shape(3, 2, 4, 5)))
    monkeypatch.setattr(modules, "QUICK", (Shape(3, 2, 4, 5),))
    monkeypatch.setattr(modules, "OTHERS", (Task(Shape(4, 2, 4, 5), "RNN"),))
    monkeypatch.setattr(modules, "STEPS", (Task(Shape(1, 1, 5, 5)), Task(Shape(1, 1, 5, 5), "GRU")))
    monkeypatch.setattr(modules, "TRAINED_STEPS", (Task(Shape(1, 1, 5, 5)),))
    monkeypatch.setattr(modules, "ROUNDS", 1)
    monkeypatch.setattr(modules, "QUICK_ROUNDS", 1)


@pytest.mark.parametrize("quick", [True, False])
def test_all_are_measured_and_written(small, tmp_path, capsys, quick):
    file = tmp_path / "modules.json"
    assert modules.main([*QUICKLY, "--json", str(file), *["--quick"] * quick]) == 0
    out = capsys.readouterr().out
    parts = json.loads(file.read_text())["parts"]
    assert [part["kind"] for part in parts[:3]] == ["packed", "padded", "step"]
    assert len(parts) == 3 * len({part["threads"] for part in parts})
    assert {part["threads"] for part in parts} == {1} or not quick
    for part in parts:
        assert (part["quick"], part["fallbacks"]) == (quick, {})
        for row in part["rows"]:
            assert row["ms"].keys() == row["errors"].keys() == CONTESTANTS
            assert all(ms > 0 for ms in row["ms"].values())
            assert all(0 < error < 1e-6 for error in row["errors"].values())
            assert row["ratios"]["PyTorch"]["median"] > 0
            assert row["over_layer"]["median"] > 0
    tasks = [[(row["computed"], row["module"], row["shape"][0]) for row in part["rows"]] for part in parts[:3]]
    padded = [("LSTM", 3), ("RNN", 4)] if quick else [("LSTM", 4), ("LSTM", 3), ("RNN", 4)]
    both = "training", "inference"
    assert tasks == [
        [(computed, module, 8) for computed in both for module in ("LSTM", "GRU")],
        [(computed, *row) for computed in both for row in padded],
        [("training", "LSTM", 1), ("inference", "LSTM", 1), ("inference", "GRU", 1)],
    ]
    assert "**Packed sequences, training, 1 thread**" in out
    assert "| LSTM 8 3 4 5, 2 layers, bidirectional |" in out
    assert "Largest error against float64: PyTorch " in out
    assert "left to PyTorch's own implementation: 0." in out
    assert ("a quick run" in out) == quick


@pytest.mark.parametrize("module", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize(("packed", "carried"), [(True, False), (False, False), (False, True)])
def test_the_modules_share_their_parameters(module, packed, carried):
    torch = pytest.importorskip("torch")
    problem = Problem(torch, Task(Shape(8, 3, 4, 5), module), packed, carried)
    theirs, ours = dict(problem.theirs.named_parameters()), dict(problem.ours.named_parameters())
    assert theirs.keys() == ours.keys()
    assert all(theirs[name] is ours[name] for name in theirs)
    rows = problem.x.data if packed else problem.x
    assert len(rows) < 8 * 3 if packed else rows.shape == (8, 3, 4)


def test_steps_carry_their_state():
    """The third step of each contestant has heard the two before it."""
    torch = pytest.importorskip("torch")
    task = Task(Shape(1, 1, 5, 5))
    alone, carried = (Problem(torch, task, packed=False, carried=carried) for carried in (False, True))
    for one, other in zip(alone.contestants("inference"), carried.contestants("inference"), strict=True):
        assert abs(one.results()[0] - other.results()[0]).max() > 0.01


def test_a_wrong_contestant_is_void(small, monkeypatch, capsys):
    right = Problem.contestants

    def wrong(self, computed):
        first, *others = right(self, computed)
        return [Contestant(first.name, first.repeat, lambda: [y + 0.01 for y in first.results()]), *others]

    monkeypatch.setattr(Problem, "contestants", wrong)
    assert modules.main(QUICKLY) == 1
    assert "void" in capsys.readouterr().err


def test_what_is_left_to_pytorch_ends_the_run(small):
    import torch

    import fastlstm.torch

    reason = "forward-mode differentiation"
    with torch.autograd.forward_ad.dual_level(), pytest.raises(fastlstm.torch.FallbackError, match=reason):
        modules.main(QUICKLY)
    assert fastlstm.torch.fallbacks == {reason: 1}
    fastlstm.torch.fallbacks.clear()
    module, x = fastlstm.torch.LSTM(3, 4).bfloat16(), torch.zeros(2, 1, 3, dtype=torch.bfloat16)
    module(x)  # Calls are left to PyTorch again.
    fastlstm.torch.fallbacks.clear()


def test_without_pytorch(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert modules.main(QUICKLY) == 1
    assert "fastlstm.bench.modules needs torch: " in capsys.readouterr().err


def made_up():
    """A run in which our module is slower at one shape."""

    def row(computed, over, *shape, module="LSTM", layers=1, bidirectional=False):
        spread = {"median": over, "q1": over, "q3": over}
        return {
            "module": module, "layers": layers, "bidirectional": bidirectional, "computed": computed,
            "shape": list(shape), "rounds": 3,
            "ms": {"PyTorch": over, "fastlstm.torch": 1.0, "fastlstm": 0.5},
            "errors": {"PyTorch": 3e-7, "fastlstm.torch": 2e-7, "fastlstm": 1e-7},
            "ratios": {"PyTorch": spread}, "over_layer": {"median": 2.0, "q1": 2.0, "q3": 2.0}, "extra_us": 500.0,
        }  # fmt: skip

    both = "training", "inference"
    kinds = {
        "packed": [row(name, 16.0, 9, 8, 7, 6, layers=2, bidirectional=True) for name in both],
        "padded": [row(name, over, 9, 8, 7, size) for name in both for size, over in ((6, 4.0), (5, 0.25))],
        "step": [row("training", 2.0, 1, 1, 6, 6), row("inference", 3.0, 1, 1, 6, 6, module="GRU")],
    }
    kinds["step"].append(row("inference", 3.0, 1, 1, 6, 6))
    parts = [
        {"kind": kind, "threads": 1, "quick": False, "fallbacks": {}, "rows": rows} for kind, rows in kinds.items()
    ]
    return {
        "machine": {"cpu": "a processor", "processors": 2, "system": "Linux x86_64", "isa": "base", "load": 0.0},
        "versions": {"python": "3", "fastlstm": "0", "numpy": "1", "torch": "2"},
        "parts": parts,
    }


@pytest.mark.parametrize("installed", [True, False])
def test_what_a_run_says(tmp_path, capsys, monkeypatch, installed):
    """Also where PyTorch is not installed, as where the site is made."""
    if not installed:
        monkeypatch.setitem(sys.modules, "torch", None)
        monkeypatch.delitem(sys.modules, "fastlstm.torch", raising=False)
    file = tmp_path / "modules.json"
    file.write_text(json.dumps(made_up()))
    assert modules.main(["--table", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "python 3, fastlstm 0, torch 2" in lines
    ratios = "16.00 (16.00-16.00) | 0.500 | 2.00 (2.00-2.00)"
    assert f"| LSTM 9 8 7 6, 2 layers, bidirectional | 16.0 | 1.00 | {ratios} |" in lines
    assert "| GRU 1 1 6 6 | 3000 | 1000 | 3.00 (3.00-3.00) | 500 | 2.00 (2.00-2.00) | 500 |" in lines
    assert lines.count("- Geometric mean of torch.nn / fastlstm.torch over 2 rows: 1.00.") == 2
    assert lines.count("- fastlstm.torch is slower at LSTM 9 8 7 5: 0.25 (0.25-0.25).") == 2
    assert "- Largest error against float64: PyTorch 3e-07; fastlstm.torch 2e-07; fastlstm 1e-07." in lines


def test_picture(tmp_path):
    pytest.importorskip("matplotlib")
    file, picture = tmp_path / "modules.json", tmp_path / "run.svg"
    file.write_text(json.dumps(made_up()))
    assert modules.main(["--table", str(file), "--plot", str(picture)]) == 0
    assert picture.read_text().startswith("<?xml")


def test_picture_without_matplotlib(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    file = tmp_path / "modules.json"
    file.write_text(json.dumps(made_up()))
    assert modules.main(["--table", str(file), "--plot", str(tmp_path / "run.png")]) == 1
    assert "No picture" in capsys.readouterr().err
