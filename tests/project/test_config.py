"""Threads by default, the description of the build, the C header, and the choice of the instruction set."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastlstm
from fastlstm._cells.kernel import activate
from fastlstm._system import processors, runtime


def test_default_number_of_threads(default_threads):
    assert 1 <= default_threads <= 256
    for number in (1, 2, 256, np.int64(3)):
        fastlstm.set_num_threads(number)
        assert fastlstm.get_num_threads() == number
        assert type(fastlstm.get_num_threads()) is int


def test_a_refused_number_changes_nothing(default_threads):
    fastlstm.set_num_threads(7)
    for wrong in (0, 257, 1.5, "1", True):
        with pytest.raises((TypeError, ValueError), match="num_threads must be"):
            fastlstm.set_num_threads(wrong)
        assert fastlstm.get_num_threads() == 7


def test_default_is_used(default_threads):
    """The number of threads divides the sums differently here or not at all; either way, the default is one of them."""
    lstm = fastlstm.LSTM(40, 80, seed=0)
    x = np.random.default_rng(0).standard_normal((20, 16, 40)).astype(np.float32)
    for number in (1, 2, 5):
        fastlstm.set_num_threads(number)
        assert np.array_equal(lstm(x)[0], lstm(x, num_threads=number)[0])


# ---- where the default comes from ----


def default(**environ):
    return processors.default_num_threads(256, environ)


def test_threads_from_the_environment():
    assert default(FASTLSTM_NUM_THREADS=" 3 ", OMP_NUM_THREADS="5") == (3, "FASTLSTM_NUM_THREADS")
    assert default(FASTLSTM_NUM_THREADS="256").number == 256
    assert default(FASTLSTM_NUM_THREADS="", OMP_NUM_THREADS="5") == (5, "OMP_NUM_THREADS")
    assert default(OMP_NUM_THREADS=" 4 , 2").number == 4
    assert default(OMP_NUM_THREADS="1000").number == 256
    assert default(OMP_NUM_THREADS="") == default()


@pytest.mark.parametrize("value", ["0", "257", "-1", "two", "1.5", "4,2", "1e9", "9" * 5000, "٣"])
def test_a_wrong_number_of_threads_is_an_error(value):
    with pytest.raises(ValueError, match="FASTLSTM_NUM_THREADS must be a number from 1 to 256, not"):
        default(FASTLSTM_NUM_THREADS=value)


@pytest.mark.parametrize("value", ["0", "-1", "two", ",2", "9" * 5000])
def test_a_wrong_number_of_others_is_a_warning(value):
    with pytest.warns(RuntimeWarning, match="OMP_NUM_THREADS=.* is not a number of threads"):
        found = default(OMP_NUM_THREADS=value)
    assert found == default()


def test_threads_of_a_process(environment):
    show = "import fastlstm; print(fastlstm.get_num_threads()); fastlstm.show_config()"
    environment = {name: value for name, value in environment.items() if "NUM_THREADS" not in name}
    for given, source in ({"FASTLSTM_NUM_THREADS": "7"}, None), ({"OMP_NUM_THREADS": "7"}, None), ({}, "process|quota"):
        result = python(show, environment | given)
        assert result.stderr == ""
        number, rest = result.stdout.split("\n", 1)
        if source is None:
            assert number == "7"
            assert f"7, from {next(iter(given))}" in rest
        else:
            assert f"threads          {number}, from the" in rest
    result = python(show, environment | {"FASTLSTM_NUM_THREADS": "many"})
    assert (
        result.stderr.splitlines()[-1] == "ValueError: FASTLSTM_NUM_THREADS must be a number from 1 to 256, not 'many'"
    )


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux tells which processors a process may use")
def test_processors_of_a_process():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from fastlstm._system import processors; "
    )
    result = python(code + "print(processors.default_num_threads(256, {}).number)", dict(os.environ))
    assert (result.stdout, result.stderr) == ("1\n", "")


V2 = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct"
V1_MEMORY = "34 31 0:30 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory"


def tree(folder, groups, mounts, files):
    """A made-up root folder."""
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/self/cgroup").write_text(groups)
    (folder / "proc/self/mountinfo").write_text("\n".join(mounts) + "\n")
    for name, text in files.items():
        path = folder / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


QUOTAS = {
    "own": ("0::/a/b\n", [V2], {"a/b/cpu.max": "150000 100000\n", "a/cpu.max": "max 100000\n"}, 2),
    "half": ("0::/a\n", [V2], {"a/cpu.max": "50000 100000\n"}, 1),
    "above": ("0::/a/b\n", [V2], {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
    "least": ("0::/a/b\n", [V2], {"a/b/cpu.max": "800000 100000\n", "a/cpu.max": "200000 100000\n"}, 2),
    "root": ("0::/\n", [V2], {"cpu.max": "400000 100000\n"}, 4),
    "none": ("0::/a\n", [V2], {"a/cpu.max": "max 100000\n"}, math.inf),
    "no files": ("0::/a\n", [V2], {}, math.inf),
    "outside": ("0::/../c\n", [V2], {"cpu.max": "200000 100000\n"}, 2),
    "v1": (
        "5:memory:/m\n4:cpu,cpuacct:/a\n0::/\n",
        [V1_MEMORY, V1],
        {"cpu,cpuacct/a/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"},
        3,
    ),
    "v1 none": (
        "4:cpu,cpuacct:/a\n",
        [V1],
        {"cpu,cpuacct/a/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"},
        math.inf,
    ),
    "v1 in a container": (
        "4:cpu,cpuacct:/docker/0123\n",
        [V1.replace("0:29 / ", "0:29 /docker/0123 ")],
        {"cpu,cpuacct/cpu.cfs_quota_us": "100000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
        1,
    ),
    "a name with spaces": (
        "0::/a b\n",
        [V2.replace("/sys/fs/cgroup", r"/sys/fs/cgroup/the\040groups")],
        {"the groups/a b/cpu.max": "200000 100000\n"},
        2,
    ),
    "nonsense": ("\n:\n0::/a\n", ["", "a - b", " - ", V2], {"a/cpu.max": "1 0\n", "cpu.max": "lots"}, math.inf),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_cpu_quota(name, tmp_path):
    *given, expected = QUOTAS[name]
    assert processors.cpu_quota(tree(tmp_path, *given)) == expected


def test_cpu_quota_without_control_groups(tmp_path):
    assert processors.cpu_quota(tmp_path) == math.inf


def test_default_under_a_quota(tmp_path, monkeypatch):
    monkeypatch.setattr(processors, "usable_processors", lambda: 64)
    limited = tree(tmp_path, "0::/\n", [V2], {"cpu.max": "150000 100000\n"})
    assert processors.default_num_threads(256, {}, limited) == (2, "the control group's CPU quota")
    assert processors.default_num_threads(256, {}, tmp_path / "none").number == 64
    assert processors.default_num_threads(256, {"OMP_NUM_THREADS": "8"}, limited).number == 8


def test_show_config_says_who_set_the_threads(default_threads, capsys):
    fastlstm.set_num_threads(1)
    fastlstm.show_config()
    assert "1, from set_num_threads" in capsys.readouterr().out


def test_show_config(capsys):
    fastlstm.show_config()
    printed = capsys.readouterr().out
    assert printed.startswith(f"fastlstm {fastlstm.__version__}\n")
    assert np.__version__ in printed
    for word in ("instruction set", "float32, float64", "BLAS", "threads", "GPU", *runtime.available_isas()):
        assert word in printed


def test_the_module_as_a_program_shows_it():
    shown = subprocess.run(
        [sys.executable, "-W", "error", "-m", "fastlstm"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.startswith(f"fastlstm {fastlstm.__version__}\n")
    assert "instruction set" in shown.stdout
    assert shown.stderr == ""


def test_version():
    for file in ("CHANGELOG.md", "CITATION.cff"):
        assert fastlstm.__version__ in (Path(__file__).parents[2] / file).read_text("utf-8")
    numbers = fastlstm.__version__.split(".")
    assert len(numbers) >= 2
    assert all(part.isdigit() for part in numbers[:2])


def test_public_names():
    for name in fastlstm.__all__:
        assert getattr(fastlstm, name) is not None
        if name != "Gradients":
            assert getattr(fastlstm, name).__doc__


def test_importing_brings_what_it_needs_alone(environment):
    """Beside Python's own: nothing of what files, progress and pictures take, no more of SciPy than its BLAS."""
    code = "import sys, numpy, scipy.linalg.cython_blas; before = set(sys.modules); import fastlstm; "
    result = python(code + "print(*set(sys.modules) - before)", environment)
    assert result.stderr == ""
    packages = {name.partition(".")[0] for name in result.stdout.split()} - sys.stdlib_module_names
    assert {name for name in packages if not name.startswith("_cython")} == {"fastlstm"}


def test_header():
    header = Path(fastlstm.get_include()) / "fastlstm" / "fastlstm.h"
    assert header.is_file()
    assert "lstm" in header.read_text()


def test_available_instruction_sets():
    available = runtime.available_isas()
    assert "portable" in available
    assert len(set(available)) == len(available)
    assert runtime.ISA in available


SHOW = "import fastlstm, numpy as np; from fastlstm._system import runtime; lstm = fastlstm.LSTM(3, 5, seed=0); "
SHOW += "print(runtime.ISA, float(lstm(np.ones((4, 2, 3), np.float32))[0].sum()))"


def python(code, environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("name", runtime.available_isas())
def test_instruction_set_from_the_environment(name, environment):
    lstm = fastlstm.LSTM(3, 5, seed=0)
    expected = float(lstm(np.ones((4, 2, 3), np.float32))[0].sum())
    for spelling in (name, name.upper(), f" {name} "):
        result = python(SHOW, environment | {"FASTLSTM_ISA": spelling})
        assert result.stderr == ""
        isa, total = result.stdout.split()
        assert isa == name
        assert float(total) == pytest.approx(expected, rel=1e-5)


def test_best_instruction_set_by_default(environment):
    for given in (environment, environment | {"FASTLSTM_ISA": ""}):
        result = python(SHOW, given)
        assert result.stderr == ""
        assert result.stdout.split()[0] == runtime.available_isas()[-1]


@pytest.mark.parametrize("name", ["avx1024", "none", "avx2,base"])
def test_unknown_instruction_set(name, environment):
    result = python("import fastlstm", environment | {"FASTLSTM_ISA": name})
    assert result.returncode == 1
    error = result.stderr.strip().splitlines()[-1]
    assert error.startswith(f"ValueError: FASTLSTM_ISA={name}: ")
    for available in runtime.available_isas():
        assert available in error


def test_unknown_instruction_set_changes_nothing():
    x, before, after = np.linspace(-3, 3, 99), np.zeros(99), np.zeros(99)
    activate("tanh", x, before)
    with pytest.raises(ValueError, match="FASTLSTM_ISA=nonsense"):
        runtime.choose_isa("nonsense")
    activate("tanh", x, after)
    assert np.array_equal(before, after)
