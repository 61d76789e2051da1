"""`fastlstm.bench.frozen` measures every format beside its peers, with its error, and says where it is slower."""

import importlib
import json
import sys

import pytest

from fastlstm.bench import frozen, measure, peers
from fastlstm.bench.shapes import Shape

# PyTorch and ONNX Runtime warn about things of their own.
pytestmark = pytest.mark.filterwarnings("ignore")

OURS = {"fastlstm", "fastlstm, Frozen", "fastlstm, Frozen, bfloat16", "fastlstm, Frozen, int8"}
THEIRS = {
    "PyTorch", "ONNX Runtime", "OpenVINO", "PyTorch, bfloat16", "OpenVINO, bfloat16", "PyTorch, int8",
    "ONNX Runtime, int8",
}  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(frozen, "SEQUENCES", (Shape(4, 1, 8, 8), Shape(4, 1, 9, 9)))
    monkeypatch.setattr(frozen, "STEPS", (Shape(1, 1, 8, 8),))
    monkeypatch.setattr(frozen, "BATCHES", (Shape(3, 5, 8, 8),))
    for module in (frozen, measure):
        monkeypatch.setattr(module, "ROUNDS", 1)


def measured(tmp_path):
    file = tmp_path / "frozen.json"
    assert frozen.main(["--seconds", "0.0001", "--json", str(file)]) == 0
    return json.loads(file.read_text())["parts"]


@pytest.mark.parametrize("alone", [True, False])
def test_all_are_measured_and_written(tmp_path, capsys, monkeypatch, alone):
    for name in ("torch", "onnx", "onnxruntime"):
        if alone:
            monkeypatch.setitem(sys.modules, name, None)
        else:
            pytest.importorskip(name)
    if not alone:
        importlib.import_module("fake_openvino").put_if_missing(monkeypatch)
    parts = measured(tmp_path)
    out = capsys.readouterr().out
    assert [part["kind"] for part in parts][:3] == ["sequence", "step", "batch"]
    assert len({part["threads"] for part in parts}) * 3 == len(parts)
    for part in parts:
        for row in part["rows"]:
            assert row["ms"].keys() == row["errors"].keys() == (OURS if alone else OURS | THEIRS)
            assert all(ms > 0 for ms in row["ms"].values())
            assert row["over_layer"].keys() == row["ms"].keys() - {"fastlstm"}
            assert row["ratios"].keys() == row["ms"].keys() - OURS | {"fastlstm, Frozen"}
            for name, error in row["errors"].items():
                rounded = "bfloat16" in name or "int8" in name
                assert (1e-5 < error < 0.1) if rounded else (0 < error < 1e-6), name
    assert [row["shape"] for row in parts[0]["rows"]] == [[4, 1, 8, 8], [4, 1, 9, 9]]
    assert "| I = H | fastlstm us | Frozen us |" in out
    assert "| T B I H |" in out
    assert "| I = H | Frozen, int8 us |" in out
    assert "Largest error against float64: fastlstm " in out
    assert ("best of ONNX Runtime and OpenVINO / Frozen over 2 sizes" in out) != alone


def test_a_wrong_peer_is_void(monkeypatch, capsys):
    """Also where rounding lets results differ more."""
    right = frozen.narrow

    def wrong(*arguments):
        one, *others = right(*arguments)
        return [peers.Contestant(one.name, one.repeat, lambda: [one.results()[0] + 0.2]), *others]

    monkeypatch.setattr(frozen, "narrow", wrong)
    assert frozen.main(["--seconds", "0.0001"]) == 1
    assert "void" in capsys.readouterr().err


def made_up():
    """A run with two sizes of one row: ONNX Runtime is slower at one and faster at the other."""

    def row(size, onnx, openvino):
        over = {"fastlstm, Frozen": 0.5, "PyTorch": 4.0, "ONNX Runtime": onnx, "OpenVINO": openvino}
        narrow = {"fastlstm, Frozen, int8": 0.25, "ONNX Runtime, int8": 0.2}

        def spreads(values):
            return {name: {"median": value, "q1": value, "q3": value} for name, value in values.items()}

        return {
            "shape": [100, 1, size, size], "rounds": 3,
            "ms": {"fastlstm": 1.0} | over | narrow,
            "errors": dict.fromkeys(["fastlstm", *over], 1e-7) | dict.fromkeys(narrow, 0.004),
            "ratios": spreads(
                {"PyTorch": 4.0, "ONNX Runtime": 2 * onnx, "OpenVINO": 2 * openvino, "ONNX Runtime, int8": 0.8}
            ),
            "over_layer": spreads(over | narrow),
        }  # fmt: skip

    return {
        "machine": {"cpu": "a processor", "processors": 2, "system": "Linux x86_64", "isa": "base", "load": 0.0},
        "versions": {"fastlstm": "0", "torch": "2", "onnxruntime": "1", "openvino": "3"},
        "parts": [{"kind": "sequence", "threads": 1, "rows": [row(32, 1.0, 2.0), row(64, 2.0, 0.25)]}],
    }


def test_what_a_run_says(tmp_path, capsys):
    file = tmp_path / "frozen.json"
    file.write_text(json.dumps(made_up()))
    assert frozen.main(["--table", str(file)]) == 0
    out = capsys.readouterr().out
    assert "| 32 | 1000 | 500 | 4000 | 1000 | 2000 | 2.00 (2.00-2.00) | 1.00 (1.00-1.00) |" in out
    assert "| 64 | 250 (0.004) | 200 (0.004) | 0.80 (0.80-0.80) | 0.25 (0.25-0.25) |" in out
    lines = out.splitlines()
    # Of the best one at each size: 2 and 0.5 for Frozen, 1 and 0.25 for the layer.
    assert "- Geometric mean of best of ONNX Runtime and OpenVINO / Frozen over 2 sizes: 1.00." in lines
    assert "- Geometric mean of best peer / fastlstm over 2 sizes: 0.50." in lines
    assert "- Frozen is slower than OpenVINO at 64: 0.50 (0.50-0.50)." in lines
    assert "- fastlstm is slower than OpenVINO at 64: 0.25 (0.25-0.25)." in lines
    both = "32: 0.80 (0.80-0.80); 64: 0.80 (0.80-0.80)"
    assert f"- Frozen is slower than ONNX Runtime, int8 at {both}." in lines


def test_picture(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    report = made_up()
    assert report["parts"][0]["rows"][0]["ratios"].keys() > {"PyTorch"}
    file = tmp_path / "frozen.json"
    file.write_text(json.dumps(report))
    assert frozen.main(["--table", str(file), "--plot", str(tmp_path / "run.svg")]) == 0
    assert (tmp_path / "run.svg").read_text().startswith("<?xml")


def test_picture_without_matplotlib(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    file = tmp_path / "frozen.json"
    file.write_text(json.dumps(made_up()))
    assert frozen.main(["--table", str(file), "--plot", str(tmp_path / "run.png")]) == 1
    assert "No picture" in capsys.readouterr().err
