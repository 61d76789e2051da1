"""Threads by default, the description of the build, the C header, and the choice of the instruction set."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastlstm
from fastlstm import _config, _runtime


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


def test_show_config(capsys):
    fastlstm.show_config()
    printed = capsys.readouterr().out
    assert printed.startswith(f"fastlstm {fastlstm.__version__}\n")
    assert np.__version__ in printed
    for word in ("instruction set", "float32, float64", "BLAS", "threads", "GPU", *_runtime.available_isas()):
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
        assert fastlstm.__version__ in (Path(__file__).parents[1] / file).read_text("utf-8")
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
    available = _runtime.available_isas()
    assert "portable" in available
    assert len(set(available)) == len(available)
    assert _config.ISA in available


SHOW = "import fastlstm, numpy as np; from fastlstm import _config; lstm = fastlstm.LSTM(3, 5, seed=0); "
SHOW += "print(_config.ISA, float(lstm(np.ones((4, 2, 3), np.float32))[0].sum()))"


def python(code, environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("name", _runtime.available_isas())
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
        assert result.stdout.split()[0] == _runtime.available_isas()[-1]


@pytest.mark.parametrize("name", ["avx1024", "none", "avx2,base"])
def test_unknown_instruction_set(name, environment):
    result = python("import fastlstm", environment | {"FASTLSTM_ISA": name})
    assert result.returncode == 1
    error = result.stderr.strip().splitlines()[-1]
    assert error.startswith(f"ValueError: FASTLSTM_ISA={name}: ")
    for available in _runtime.available_isas():
        assert available in error


def test_unknown_instruction_set_changes_nothing():
    x, before, after = np.linspace(-3, 3, 99), np.zeros(99), np.zeros(99)
    _runtime.activate("tanh", x, before)
    with pytest.raises(ValueError, match="FASTLSTM_ISA=nonsense"):
        _runtime.choose_isa("nonsense")
    _runtime.activate("tanh", x, after)
    assert np.array_equal(before, after)
