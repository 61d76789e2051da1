"""C and Cython programs against the installed package: what a user compiles, compiled and run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from compiled import CC, CXX, ROOT, STRICT, compiled, flags, needs_cc, needs_cxx, run

import fastlstm
from fastlstm import nn

PROGRAMS = ROOT / "examples" / "c"
FROZEN = sorted((ROOT / "tests" / "c").glob("frozen_*.c"))

pytestmark = needs_cc


def test_streaming_a_network_that_was_trained_in_python(tmp_path):
    model = nn.Sequential(fastlstm.LSTM(1, 32, seed=0), nn.Dense(32, 1, seed=1))
    model.flat.tofile(tmp_path / "parameters.bin")
    x = np.random.default_rng(0).normal(size=(50, 1, 1)).astype(np.float32)
    program = compiled(PROGRAMS / "stream.c", tmp_path)
    numbers = "".join(f"{value:.9g}\n" for value in x.ravel())
    printed = run(program, tmp_path / "parameters.bin", input=numbers)
    np.testing.assert_allclose(np.array(printed.split(), np.float32), model(x)[0].ravel(), atol=1e-6)


def test_parameters_of_another_network(tmp_path):
    program = compiled(PROGRAMS / "stream.c", tmp_path)
    for count in (10, 4480, 4482, 9000):
        np.zeros(count, np.float32).tofile(tmp_path / "parameters.bin")
        done = subprocess.run([program, tmp_path / "parameters.bin"], input="1", capture_output=True, text=True)
        assert done.returncode == 1
        assert "not as many parameters" in done.stderr
        assert done.stdout == ""


def test_training_in_c(tmp_path):
    losses = [float(line.split()[1]) for line in run(compiled(PROGRAMS / "train.c", tmp_path)).splitlines()]
    assert len(losses) == 7
    assert losses[-1] < 0.1 * losses[0]


def test_what_the_library_needs():
    """Copying and two functions of the C library's mathematics: no memory, no lock, no input or output."""
    nm = shutil.which("nm")
    if nm is None or sys.platform != "linux":
        pytest.skip("there is no nm that lists a library of Linux")
    listed = run(nm, fastlstm.get_library())
    defined = set(re.findall(r" [TtDdRrBb] (\w+)", listed))
    needed = set(re.findall(r" U (\w+)", listed)) - defined
    if any(name.startswith(("__asan", "__ubsan", "__tsan", "__assert")) for name in needed):
        pytest.skip("a build for finding mistakes")
    needed -= {"__stack_chk_fail"}  # from the flags of some distributions' Python
    assert needed <= {"memcpy", "memset", "memmove", "strcmp", "log", "sqrt", "sqrtf", "_GLOBAL_OFFSET_TABLE_"}


def test_no_allocation_in_a_call(tmp_path):
    """A program whose malloc ends it once the first step has been."""
    if sys.platform != "linux":
        pytest.skip("--wrap is an option of Linux's linkers")
    source = tmp_path / "strict.c"
    text = (PROGRAMS / "stream.c").read_text()
    for old, new in {
        "int main(": "static int begun;\nint main(",
        "float x, y;": "float x, y = 0;\n    begun = 1;",
        'while (scanf("%f", &x) == 1)': "for (x = -1; x < 1; x += 0.125f)",
        r'printf("%.9g\n", y);': "",
        "if (!feof(stdin))": "if (0)",
        "return feof(stdin) ? 0 : 1;": "return 0;",
    }.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    text += """
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size) { return begun ? abort(), NULL : __real_malloc(size); }
"""
    source.write_text(text)
    np.zeros(4481, np.float32).tofile(tmp_path / "parameters.bin")
    program = tmp_path / "strict"
    run(CC, "-std=c11", source, *flags("--cflags", "--libs"), "-Wl,--wrap=malloc", "-o", program)
    run(program, tmp_path / "parameters.bin")


def test_the_frozen_interface(tmp_path):
    """A program of each version still compiles, and everything that the headers have is in one of them."""
    for version in FROZEN:
        run(CC, *STRICT, *flags("--cflags"), "-c", version, "-o", tmp_path / "frozen.o")
    frozen = "".join(version.read_text() for version in FROZEN)
    header = (Path(fastlstm.get_include()) / "fastlstm" / "fastlstm.h").read_text()
    header = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    functions = re.findall(r"\b(fastlstm_\w+)\(", header)
    values = re.findall(r"\b(FASTLSTM_\w+)\b(?=\s*(?:,|=|\n?}))", header)
    assert len(functions) == 13
    assert len(values) > 30
    for name in functions + values:
        assert re.search(rf"\b{name}\b", frozen), f"{name} is to be frozen, in a later version's file"


@needs_cxx
def test_the_header_in_cpp(tmp_path):
    source = tmp_path / "program.cpp"
    source.write_text(
        "#include <fastlstm/fastlstm.h>\n#include <cstdio>\n"
        "int main() { std::puts(fastlstm_message(FASTLSTM_TAPE)); return int(fastlstm_plan_bytes(nullptr)); }\n"
    )
    run(CXX, "-Wall", "-Wextra", "-Werror", source, *flags("--cflags", "--libs"), "-o", tmp_path / "program")
    assert "tape" in run(tmp_path / "program")


def test_cython(tmp_path):
    pytest.importorskip("Cython")
    folder = tmp_path / "cython"
    shutil.copytree(ROOT / "examples" / "cython", folder)
    # Cython looks along the path, where an editable install is not.
    environment = os.environ | {"PYTHONPATH": str(Path(fastlstm.__file__).parents[1])}
    run(sys.executable, "setup.py", "-q", "build_ext", "--inplace", cwd=folder, env=environment)
    model = nn.Sequential(fastlstm.LSTM(3, 20, seed=0), nn.Dense(20, 1, seed=1))
    x = np.random.default_rng(0).normal(size=(9, 4, 3)).astype(np.float32)
    np.save(folder / "parameters.npy", model.flat)
    np.save(folder / "x.npy", x)
    code = (
        "import numpy as np, mean_output; parameters, x = np.load('parameters.npy'), np.load('x.npy')\n"
        "print(mean_output.Regressor(3, 20, parameters).mean_output(x))\n"
        "for units, wrong in (20, parameters[1:]), (0, parameters):\n"
        "    try: mean_output.Regressor(3, units, wrong)\n"
        "    except ValueError as error: print(error)\n"
    )
    mean, *errors = run(sys.executable, "-W", "error", "-c", code, cwd=folder).splitlines()
    assert abs(float(mean) - float(model(x)[0].mean())) < 1e-6
    assert errors[0].startswith("not as many parameters")
    assert errors[1].startswith("a size is zero")
