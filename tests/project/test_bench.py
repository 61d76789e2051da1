"""The benchmark suite runs, measures equal computations, and says what it found. Nothing here depends on how fast."""

import functools
import importlib
import json
import sys

import numpy as np
import pytest

from fastlstm import get_num_threads
from fastlstm.bench import measure, peers, report, results, shapes
from fastlstm.bench.__main__ import main

PEERS = ("torch", "onnx", "onnxruntime", "openvino")
TINY = ["--seconds", "0.0005", "--quick", "--threads", "1", "--shape", "3,2,4,8"]


@pytest.fixture
def alone(monkeypatch):
    """No peer can be imported."""
    for name in PEERS:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def with_peers(monkeypatch):
    """PyTorch, ONNX Runtime, and OpenVINO's stand-in where it is not installed."""
    for name in PEERS[:3]:
        pytest.importorskip(name)
    importlib.import_module("fake_openvino").put_if_missing(monkeypatch)


def ran(tmp_path, *options):
    file = tmp_path / "run.json"
    assert main([*TINY, "--json", str(file), *options]) == 0
    return json.loads(file.read_text())


def made_up(ratio, kind="inference", threads=1):
    """A report with one shape, at which PyTorch takes `ratio` times as long."""
    spread = {"median": ratio, "q1": ratio, "q3": ratio}
    row = {
        "shape": [1, 2, 3, 4], "rounds": 3, "ms": {"fastlstm": 1.0, "PyTorch": ratio}, "ratios": {"PyTorch": spread},
        "best_peer": "PyTorch", "peephole_cost": None, "float64": None,
        "gflops": 10.0, "sgemm_gflops": 100.0, "fraction": 0.1,
    }  # fmt: skip
    return {
        "date": "2026-01-01 00:00 UTC", "quick": False, "seconds": 1.0, "elapsed": 1.0,
        "machine": {"cpu": "a processor", "processors": 2, "system": "Linux x86_64", "isa": "base", "load": 0.0},
        "versions": {"fastlstm": "0", "torch": "2"}, "missing": {}, "blas_limited": True,
        "sgemm": {str(threads): {"1024x1024x1024": 100.0}},
        "parts": [results.conclude(kind, threads, [row], peers.ORT_PEEPHOLE)],
    }  # fmt: skip


@pytest.mark.usefixtures("alone")
class TestWithoutPeers:
    def test_shows_own_figures(self, tmp_path, capsys):
        found = ran(tmp_path)
        assert set(found["missing"]) == set(PEERS)
        assert [(part["kind"], part["threads"]) for part in found["parts"]] == [(kind, 1) for kind in shapes.KINDS]
        for part in found["parts"]:
            (row,) = part["rows"]
            assert row["ratios"] == {}
            assert row["best_peer"] is None
            assert row["ms"]["fastlstm"] > 0
            assert part["mean"] is None
            assert part["losses"] == []
        inference = found["parts"][0]["rows"][0]
        assert inference["fraction"] == pytest.approx(inference["gflops"] / inference["sgemm_gflops"], rel=1e-3)
        assert all(rate > 0 for rate in found["sgemm"]["1"].values())
        out = capsys.readouterr().out
        assert "Not measured: torch" in out
        assert "of sgemm" in out
        assert "No peer took part." in out

    def test_only_one_kind(self, tmp_path):
        found = ran(tmp_path, "--only", "step")
        assert [part["kind"] for part in found["parts"]] == ["step"]
        assert found["parts"][0]["rows"][0]["shape"] == [1, 1, 4, 8]

    def test_picture(self, tmp_path):
        pytest.importorskip("matplotlib")
        ran(tmp_path, "--only", "inference", "--plot", str(tmp_path / "run.png"))
        assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")

    def test_steps_alone_make_no_picture(self, tmp_path, capsys):
        pytest.importorskip("matplotlib")
        assert main([*TINY, "--only", "step", "--plot", str(tmp_path / "run.png")]) == 1
        assert "No picture" in capsys.readouterr().err

    def test_threads_are_given_back(self, tmp_path):
        before = get_num_threads()
        ran(tmp_path, "--only", "inference", "--threads", "2")
        assert get_num_threads() == before


# PyTorch and ONNX Runtime warn about things of their own.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("with_peers")
class TestWithPeers:
    def test_everyone_takes_part(self, tmp_path, capsys):
        found = ran(tmp_path)
        rows = {part["kind"]: part["rows"][0] for part in found["parts"]}
        own, own_peephole, own_double, on_blas = peers.OURS, peers.OURS_PEEPHOLE, peers.OURS_FLOAT64, peers.OURS_BLAS
        fixed = {peers.FROZEN, peers.ORT, peers.OPENVINO}
        assert set(rows["inference"]["ms"]) == fixed | {
            own, own_peephole, own_double, on_blas, peers.TORCH, peers.FROZEN_PEEPHOLE, peers.ORT_PEEPHOLE
        }  # fmt: skip
        assert set(rows["training"]["ms"]) == {own, own_peephole, own_double, on_blas, peers.TORCH}
        assert set(rows["step"]["ms"]) == fixed | {own, on_blas, peers.TORCH}
        for row in rows.values():
            assert row["errors"].keys() == row["ms"].keys() - {own_double}
            assert all(0 < error < 1e-5 for error in row["errors"].values())
            assert row["rounds"] >= 3
            best = row["ratios"][row["best_peer"]]
            assert best["q1"] <= best["median"] <= best["q3"]
        assert found["missing"] == {}
        assert {"python", "fastlstm", "numpy", "scipy", "torch", "onnxruntime"} <= set(found["versions"])
        assert set(found["machine"]) == {"cpu", "processors", "system", "isa", "load"}
        assert "Largest error against float64: fastlstm " in capsys.readouterr().out

    @pytest.mark.parametrize("kind", shapes.KINDS)
    def test_results_agree(self, kind):
        found = peers.Peers.find()
        work = peers.Work(shapes.Shape(5, 3 if kind != "step" else 1, 7, 17) if kind != "step" else shapes.STEPS[0])
        own, *others = (c for c in peers.contestants(kind, work, found, 1, False) if "peephole" not in c.name)
        assert len(others) == (2 if kind == "training" else 5)
        for other in others:
            # Far below the suite's own tolerance, so that a swapped gate cannot pass unseen.
            assert measure.difference(own, other) < 1e-5

    def test_peepholes_matter_and_agree(self):
        work = peers.Work(shapes.Shape(5, 3, 7, 17))
        by_name = {c.name: c for c in peers.contestants("inference", work, peers.Peers.find(), 1, False)}
        for name in (peers.FROZEN_PEEPHOLE, peers.ORT_PEEPHOLE):
            assert measure.difference(by_name[peers.OURS_PEEPHOLE], by_name[name]) < 1e-5
        with pytest.raises(measure.DisagreementError):
            measure.difference(by_name[peers.OURS], by_name[peers.ORT_PEEPHOLE])


@pytest.mark.parametrize("wrong", [np.nan, 1.001, np.ones((3, 1, 1, 1))])
@pytest.mark.parametrize("which", [0, 1])
def test_disagreement_is_void(tmp_path, monkeypatch, capsys, wrong, which):
    """Whether a peer is wrong or fastlstm, by how much or in its shape."""

    def nonsense(kind, work, found, threads, float64):
        (right, *_) = peers.contestants(kind, work, peers.Peers(), threads, float64)
        names = peers.OURS, peers.TORCH
        scales = [wrong if k == which else 1 for k in range(2)]
        return [
            peers.Contestant(name, right.repeat, lambda scale=scale: [array * scale for array in right.results()])
            for name, scale in zip(names, scales, strict=True)
        ]

    monkeypatch.setattr("fastlstm.bench.suite.contestants", nonsense)
    assert main([*TINY, "--json", str(tmp_path / "run.json")]) == 1
    assert "void" in capsys.readouterr().err
    assert not (tmp_path / "run.json").exists()


def test_turns_are_taken_in_order():
    order = []
    three = [peers.Contestant(name, lambda n, name=name: order.append(name), list) for name in "abc"]
    monotone = measure.interleave(three, 1e-9, 4)
    assert set(monotone) == set("abc")
    rounds = order[-24:]  # an untimed and a timed block each
    assert [rounds[k] for k in range(0, 24, 2)] == list("abc" * 4)


def test_a_busy_machine_is_stated():
    idle, busy = made_up(2.0), made_up(2.0)
    busy["machine"]["load"] = 3.0
    assert "not idle" in report.text(busy)
    assert "not idle" not in report.text(idle)


def test_losses_are_stated():
    loss, win = made_up(0.5), made_up(2.0)
    assert loss["parts"][0]["losses"] == [
        {"shape": [1, 2, 3, 4], "peer": "PyTorch", "ratio": {"median": 0.5, "q1": 0.5, "q3": 0.5}}
    ]
    assert "fastlstm is slower than PyTorch at 1 2 3 4: 0.50" in report.text(loss)
    assert win["parts"][0]["losses"] == []
    assert "slower at no shape" in report.text(win)
    assert win["parts"][0]["mean"] == pytest.approx(2.0)


def test_weights_that_are_fixed_have_columns_and_errors():
    run = made_up(2.0)
    (row,) = run["parts"][0]["rows"]
    row["ms"] |= {peers.FROZEN: 0.5, peers.ORT: 1.5, peers.OPENVINO: 3.0}
    row["ratios"] |= dict.fromkeys((peers.ORT, peers.OPENVINO), row["ratios"]["PyTorch"])
    row["errors"] = {peers.OURS: 1e-7, peers.FROZEN: 2e-7, peers.OPENVINO: 3e-7}
    out = report.markdown(run)
    assert "| T B I H | fastlstm ms | Frozen ms | PyTorch ms | ONNX Runtime ms | OpenVINO ms | best peer /" in out
    assert "| 1 2 3 4 | 1.00 | 0.500 | 2.00 | 1.50 | 3.00 |" in out
    assert "- Largest error against float64: fastlstm 1e-07; Frozen 2e-07; OpenVINO 3e-07." in out
    said = "ONNX Runtime and OpenVINO, whose weights are fixed, with Frozen"
    assert said in out
    assert said not in report.markdown(made_up(2.0))


def test_table_and_picture_of_a_stored_run(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    stored = made_up(2.0)
    stored["parts"] += made_up(3.0, "training")["parts"] + made_up(4.0, "step", 2)["parts"]
    results.save(stored, tmp_path / "run.json")
    loaded = results.load(tmp_path / "run.json")
    assert loaded.keys() == stored.keys()
    assert [part["rows"] for part in loaded["parts"]] == [part["rows"] for part in stored["parts"]]
    assert main(["--table", str(tmp_path / "run.json"), "--plot", str(tmp_path / "run.svg")]) == 0
    out = capsys.readouterr().out
    assert "| T B I H | fastlstm ms | PyTorch ms | best peer / fastlstm | GFLOP/s | of sgemm |" in out
    assert "| 1 2 3 4 | 1.00 | 2.00 | 2.00 (2.00-2.00) | 10.0 | 10 % |" in out
    assert (tmp_path / "run.svg").read_text().startswith("<?xml")
    assert main(["--table", str(tmp_path / "run.json"), "--only", "training", "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert out.count("| T B I H |") == 1
    assert "Training" in out


@pytest.mark.parametrize(
    "argv",
    [
        ["--threads", "0"],
        ["--threads", "a"],
        ["--shape", "1,2,3"],
        ["--table", "nowhere"],
        ["--only", "nothing"],
        ["--seconds", "-1"],
    ],
)
def test_bad_options(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert argv[0] in capsys.readouterr().err


def test_options_are_measured_and_written(tmp_path, capsys, monkeypatch):
    from fastlstm.bench import options

    monkeypatch.setattr(options, "SHAPES", (shapes.Shape(4, 3, 5, 6),))
    monkeypatch.setattr(options, "ROUNDS", 1)
    file = tmp_path / "options.json"
    assert options.main(["--seconds", "0.001", "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    assert [part["kind"] for part in report["parts"][:2]] == ["inference", "training"]
    for part in report["parts"]:
        assert part["rows"]["no peepholes"]["over_base"]["median"] == 1
        assert {"CIFG", "lengths, half padding", "two directions", "three layers"} <= part["rows"].keys()
        assert all(row["ms"] > 0 for row in part["rows"].values())
        assert ("recompute, k = 16" in part["rows"]) == (part["kind"] == "training")
    assert "| CIFG |" in capsys.readouterr().out
    assert options.main(["--table", str(file)]) == 0
    assert "| CIFG |" in capsys.readouterr().out


# PyTorch warns about things of its own.
@pytest.mark.filterwarnings("ignore")
def test_cells_are_measured_and_written(tmp_path, capsys, monkeypatch):
    from fastlstm.bench import cells

    for name in ("SHAPES", "STEPS"):
        monkeypatch.setattr(cells, name, (shapes.Shape(1 if name == "STEPS" else 4, 1, 5, 6),))
    monkeypatch.setattr(cells, "ROUNDS", 1)
    found = peers.Peers.find()
    if found.torch:  # To compile takes minutes.
        monkeypatch.setattr(found.torch, "compile", lambda function, **_: function)
    file = tmp_path / "cells.json"
    assert cells.main(["--seconds", "0.0001", "--json", str(file)]) == 0
    parts = json.loads(file.read_text())["parts"]
    assert {part["kind"] for part in parts} == {"inference", "training", "step"}
    ours = {"GRU, reset after", "GRU, reset before", "LSTM, layer norm", "LSTM, no peepholes"}
    of_torch = {"PyTorch, GRU, reset after", "PyTorch, LSTM, layer norm", "PyTorch, compiled, LSTM, layer norm"}
    of_onnx = {"ONNX Runtime, GRU, reset after", "ONNX Runtime, GRU, reset before"}
    for part in parts:
        theirs = of_torch if found.torch else set()
        theirs = theirs | of_onnx if found.onnxruntime and part["kind"] == "inference" else theirs
        assert part["rows"].keys() == ours | theirs
        assert all(row["us"] > 0 for row in part["rows"].values())
        assert all(part["rows"][name]["over_ours"]["median"] > 0 for name in theirs)
    printed = capsys.readouterr().out
    assert "| GRU, reset before: us |" in printed
    parts[0]["rows"]["LSTM, no peepholes"]["us"] = 12345.4
    for name in theirs:
        parts[-1]["rows"][name]["over_ours"]["median"] = 0.5
    file.write_text(json.dumps(json.loads(file.read_text()) | {"parts": parts}))
    assert cells.main(["--table", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "| 4 1 5 6 | 12345 |" in printed
    assert all(f"- {name}, is faster at 1 1 5 6: 0.50." in printed for name in theirs)


@pytest.mark.filterwarnings("ignore")
def test_layer_norm_of_pytorch_is_ours(monkeypatch):
    torch = pytest.importorskip("torch")
    from fastlstm.bench import cells

    # The graphs are made, but not compiled.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    problem = cells._Problem(shapes.Shape(14, 3, 5, 6))  # two blocks of seven steps
    problem.layers[cells.NORM].flat[:] = np.random.default_rng(1).normal(size=problem.layers[cells.NORM].flat.size)
    for kind in ("inference", "training"):
        own = problem.ours(kind, cells.NORM)
        for compiled in (False, True):
            assert measure.difference(own, problem.torch_layer_norm(kind, torch, compiled)) < 1e-5


def test_without_a_compiler_of_pytorch_the_others_are_measured(monkeypatch, capsys):
    torch = pytest.importorskip("torch")
    from fastlstm.bench import cells

    def compile_nothing(*_, **__):
        def call(*_):
            raise RuntimeError("no C++ compiler")

        return call

    monkeypatch.setattr(torch, "compile", compile_nothing)
    monkeypatch.setattr(cells, "ROUNDS", 1)
    rows = cells._measure("training", shapes.Shape(4, 1, 5, 6), 1, 0.0001, peers.Peers.find())
    assert "PyTorch, LSTM, layer norm" in rows
    assert "PyTorch, compiled, LSTM, layer norm" not in rows
    assert "PyTorch, compiled, LSTM, layer norm is not measured: no C++ compiler" in capsys.readouterr().err


def test_parts_of_training_are_measured_and_written(tmp_path, capsys, monkeypatch):
    from fastlstm.bench import training_parts

    for name, small in (("CLASSES", ((3, 4),)), ("ELEMENTS", ((3, 4),)), ("PARAMETERS", (10,)), ("GRADIENTS", (9,))):
        monkeypatch.setattr(training_parts, name, small)
    monkeypatch.setattr(training_parts, "EMBEDDINGS", ((7, 4, 3),))
    monkeypatch.setattr(training_parts, "ROUNDS", 1)
    file = tmp_path / "parts.json"
    assert training_parts.main(["--seconds", "0.0001", "--json", str(file)]) == 0
    for part in json.loads(file.read_text())["parts"]:
        names = [row["name"] for row in part["rows"]]
        assert len(names) == len(set(names)) == 11
        assert {"softmax cross-entropy", "Huber", "Adam", "clip_norm, and a copy", "embedding"} <= set(names)
        assert all(row["us"] > 0 for row in part["rows"])
    assert "| AdamW | 10 |" in capsys.readouterr().out


@pytest.mark.parametrize("peer", [True, False])
def test_ctc_is_measured_and_written(tmp_path, capsys, monkeypatch, peer):
    from fastlstm.bench import ctc

    if peer:
        pytest.importorskip("torch")
    else:
        monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(ctc, "SHAPES", (ctc.Shape(12, 3, 5, 4),))
    monkeypatch.setattr(ctc, "ROUNDS", 1)
    file = tmp_path / "ctc.json"
    assert ctc.main(["--seconds", "0.001", "--json", str(file)]) == 0
    for part in json.loads(file.read_text())["parts"]:
        assert part["ms"].keys() == {"fastlstm", "beam search"} | ({"PyTorch"} if peer else set())
        assert all(ms > 0 for ms in part["ms"].values())
        assert (part["pytorch_over_ours"] is not None) == peer
    assert "| 12 3 5 4 |" in capsys.readouterr().out


def test_ctc_that_disagrees_is_void(monkeypatch, capsys):
    pytest.importorskip("torch")
    from fastlstm.bench import ctc

    monkeypatch.setattr(ctc, "SHAPES", (ctc.Shape(12, 3, 5, 4),))
    monkeypatch.setattr(ctc, "ctc_loss", lambda *arguments: (0.0, np.zeros((12, 3, 5), np.float32)))
    assert ctc.main(["--seconds", "0.001"]) == 1
    assert "void" in capsys.readouterr().err
