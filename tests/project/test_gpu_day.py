"""tools/gpu-day on tests and commands that pass, fail, hang and crash: it hangs with none of them, and tells of all."""

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
ALLOWED = {"build": 2, "tests": 8, "memcheck": 8, "bench": 8}  # enough to start Python on a busy machine
TESTS = """
import os, time
import pytest

def test_fewer_bits(): assert "1" == "2"
@pytest.mark.parametrize("way", ["cluster", "resident", "steps"])
def test_tf32(way): pass
def test_rest_after(): pass
def test_rnn_crash(): os._exit(7)
def test_rnn_hangs(): time.sleep(1000)
def test_rnn_skipped(): pytest.skip("no reason")
def test_rnn_works(): pass
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not TOOLS.is_dir(), reason="the tool is for Linux, in a checkout"
)


@pytest.fixture(scope="module")
def tool():
    loader = importlib.machinery.SourceFileLoader("gpu_day", str(TOOLS / "gpu-day"))
    spec = importlib.util.spec_from_loader("gpu_day", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def day(tool, tmp_path):
    return tool.Day(tmp_path / "day", 300, ALLOWED)


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "tests" / "test_device_like.py"
    path.parent.mkdir()
    path.write_text(TESTS)
    monkeypatch.setenv("PYTHONPATH", str(TOOLS))
    return f"--rootdir={path.parent}", str(path)


def names(day):
    events = [json.loads(line) for line in (day.folder / "tests.jsonl").read_text().splitlines()]
    return [event["test"].split("::")[1] for event in events if event["outcome"] == "started"]


def test_tests_in_order_past_those_that_hang_and_crash(tool, day, file):
    tool.tests(day, "tests", tool.TELLING, 250, file)
    telling = ["test_tf32[steps]", "test_tf32[resident]", "test_tf32[cluster]"]
    telling += ["test_fewer_bits", "test_rnn_crash", "test_rnn_hangs", "test_rnn_skipped", "test_rnn_works"]
    assert names(day) == telling
    tool.tests(day, "rest", sys.maxsize, 250, file)
    assert names(day) == [*telling, "test_rest_after"]
    found = tool.summary(day.folder / "tests.jsonl")
    others = {event["test"].split("::")[1]: event for event in found["not passed"]}
    assert found["counts"]["passed"] == 5
    assert found["counts"]["skipped"] == 1
    assert others.keys() == {"test_fewer_bits", "test_rnn_crash", "test_rnn_hangs"}
    assert others["test_rnn_crash"]["outcome"] == "failed, exit 7"
    assert others["test_rnn_hangs"]["outcome"].startswith("stalled")
    assert "assert '1' == '2'" in "\n".join(others["test_fewer_bits"]["says"])
    report = (day.folder / "report.md").read_text()
    assert all(name in report for name in others)
    assert "| tests | passed |" in report
    assert "started 3 times" in report
    assert json.loads((day.folder / "report.json").read_text())["tests"]["counts"] == found["counts"]


def test_a_test_that_the_end_of_the_time_cuts_is_named(tool, day, file):
    day.allowed = dict.fromkeys(ALLOWED, 1000)
    tool.tests(day, "tests", tool.TELLING, 15, file)
    others = tool.summary(day.folder / "tests.jsonl")["not passed"]
    assert [event["outcome"] for event in others if "hangs" in event["test"]] == ["out of time"]
    assert day.stages[-1]["outcome"] == "out of time"


def test_what_cannot_even_start_is_not_tried_for_ever(tool, day, file):
    Path(file[1]).write_text("import nothing_of_this_name")
    tool.tests(day, "tests", tool.TELLING, 250, file)
    assert day.stages[-1]["outcome"] == "failed"
    assert day.passed < 250


@pytest.mark.parametrize(("until", "outcome"), [(1, "out of time"), (50, "stalled"), (0, "not run")])
def test_a_command_is_killed_with_all_that_it_started(tool, day, until, outcome):
    child = day.folder / "child"
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    inner = f"import os, time; open({str(child)!r}, 'w').write(str(os.getpid())); time.sleep(1000)"
    day.allowed = dict.fromkeys(ALLOWED, 2)
    assert day.run("build", [sys.executable, "-c", code, inner], until)["outcome"] == outcome
    if outcome == "stalled":
        time.sleep(0.2)
        status = Path("/proc", child.read_text(), "stat")
        assert (
            not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] in "ZX"
        )  # Dead, if not yet reaped.


def test_a_comparison_that_stalls_is_left_out(tool, day, monkeypatch, tmp_path):
    """The benchmark is run again until it has gone through all, each time after the row that stalled."""
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    package = tmp_path / "fastlstm" / "bench"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").write_text("")
    (package / "gpu.py").write_text(
        "import json, pathlib, sys, time\n"
        "if '--table' in sys.argv: print('the table'); raise SystemExit\n"
        "file = pathlib.Path(sys.argv[sys.argv.index('--json') + 1])\n"
        "rows = json.loads(file.read_text())['rows'] if file.exists() else []\n"
        "for k in range(len(rows), 4):\n"
        "    file.write_text(json.dumps({'rows': [*rows, {'void': 'unfinished'}]}))\n"
        "    time.sleep(1000 if k == 1 else 0)\n"
        "    rows.append({}); file.write_text(json.dumps({'rows': rows}))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    tool.bench(day, 250, [])
    assert day.stages[-1] | {"seconds": 0} == {
        "stage": "bench", "outcome": "passed", "exit": 0, "seconds": 0, "says": "3 comparisons, 1 void",
    }  # fmt: skip
    assert "the table" in (day.folder / "report.md").read_text()


def test_it_says_how_it_is_used(tool):
    result = subprocess.run([sys.executable, TOOLS / "gpu-day", "--help"], capture_output=True, text=True, check=True)
    assert "--seconds" in result.stdout
