"""python -m examples: what is there, what comes out, and that the README says so."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

for package in ("matplotlib", "platformdirs", "tqdm"):
    pytest.importorskip(package)

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "examples" / "results"
NAMES = sorted(path.stem for path in (ROOT / "examples").glob("[!_]*.py"))


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "examples", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_list():
    ended = run()
    assert ended.returncode == 0
    assert [line.split()[0] for line in ended.stdout.splitlines()[: len(NAMES)]] == NAMES
    assert "weather" in NAMES


def test_unknown_names():
    ended = run("nothing")
    assert ended.returncode == 1
    assert "where NAME is one of" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_table_in_the_readme_is_that_of_the_results():
    table = run("--table", RESULTS).stdout
    assert table.count("\n") > 3
    assert table in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_results_beat_their_baselines(path):
    report = json.loads(path.read_text("utf-8"))
    assert path.stem in NAMES
    assert not report["quick"]
    found, baseline = report["found"], report["baseline"]
    assert found > baseline if report["higher_is_better"] else found < baseline
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_the_clock_and_the_files(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "examples")
    import _task
    from matplotlib.figure import Figure

    seen, found = [], 3.0

    def example(options):
        seen.append(options)
        return _task.Result("errors", "%", found, 5.0, "guessing", False, 1234, {"by": "hand"}), Figure()

    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["example", "--quick", "--seed", "3", "--out", str(out), "--cache", str(tmp_path)])
    _task.main("What it is.", "example", example)
    assert seen == [_task.Options(True, 3, out, tmp_path)]
    report = json.loads((out / "example.json").read_text("utf-8"))
    assert (report["task"], report["found"], report["baseline"], report["quick"]) == ("example", 3, 5, True)
    assert report["seconds"] >= 0
    assert (out / "example.png").read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    for text in ("errors", "3 %", "5 %   guessing", "by hand", "1,234", "example.png"):
        assert text in " ".join(shown.split()).replace("5 % guessing", "5 %   guessing")
    assert "behind the baseline" not in shown
    found = 5.5
    _task.main("What it is.", "example", example)
    assert "\nthe network is behind the baseline, for which a quick run may be too short\n" in capsys.readouterr().out
    sys.argv.remove("--quick")
    _task.main("What it is.", "example", example)
    assert "\nthe network is behind the baseline\n" in capsys.readouterr().out
    assert _task.Result("", "%", 3, 5, "", False, 1).beats_baseline
    assert not _task.Result("", "%", 3, 5, "", True, 1).beats_baseline


def test_without_data_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "examples")
    import _data
    import _task

    def example(options):
        raise _data.DataUnavailable("This example needs data.")

    monkeypatch.setattr(sys, "argv", ["example", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match=r"^This example needs data\.$"):
        _task.main("What it is.", "example", example)
    assert not list((tmp_path / "out").iterdir())
