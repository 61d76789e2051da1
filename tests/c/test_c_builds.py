"""Other build systems: pkg-config and CMake find the package wherever it lies, and CMake builds the library itself."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import C_ISAS
from compiled import CC, ROOT, STRICT, needs_cc, run

import fastlstm
from fastlstm import nn
from fastlstm._config import get_instruction_sets

PACKAGE = Path(fastlstm.__file__).parent
SHARE = PACKAGE / "share" if (PACKAGE / "share").is_dir() else ROOT / "share"
ISA = next(isa for isa in reversed(C_ISAS) if isa in get_instruction_sets())
SOURCES = ROOT / "CMakeLists.txt"

pytestmark = needs_cc
needs_sources = pytest.mark.skipif(not SOURCES.is_file(), reason="the sources are not beside the tests")


def tool(*names, package):
    """Return a program that is there, or that a package of the extra `dev` has."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.importorskip(package)
        found = shutil.which(package, path=Path(sys.executable).parent)
    return found


@pytest.fixture
def pkg_config():
    return tool("pkg-config", "pkgconf", package="pkgconf")


@pytest.fixture
def cmake():
    return tool("cmake", package="cmake")


@pytest.fixture
def moved(tmp_path):
    """A copy of what the package has for C, in a folder whose name has a space."""
    folder = tmp_path / "moved here" / "fastlstm"
    shutil.copytree(fastlstm.get_include(), folder / "include")
    shutil.copytree(Path(fastlstm.get_library()).parent, folder / "lib")
    shutil.copytree(SHARE, folder / "share")
    return folder


@pytest.fixture
def model(tmp_path):
    model = nn.Sequential(fastlstm.LSTM(2, 8, seed=0), nn.Dense(8, 3, seed=1))
    fastlstm.export_c(model, tmp_path / "model.h")
    shutil.copy(ROOT / "examples" / "c" / "embedded.c", tmp_path)
    return model


def check(program, model):
    """Assert that the example computes what the model does."""
    x = np.random.default_rng(0).normal(size=(20, 1, 2)).astype(np.float32)
    said = run(program, input="".join(f"{value:.9g}\n" for value in x.ravel()))
    np.testing.assert_allclose(np.array(said.split(), np.float32), model(x)[0].ravel(), atol=1e-6)


def test_pkg_config_finds_a_package_that_was_moved(pkg_config, moved, model, tmp_path):
    environment = os.environ | {"PKG_CONFIG_PATH": str(moved / "share" / "pkgconfig")}

    def asked(*words):
        return run(pkg_config, *words, env=environment)

    asked("--validate", "fastlstm")
    assert asked("--modversion", "fastlstm").strip() == fastlstm.__version__
    asked("--exists", "fastlstm >= 0.1")
    words = shlex.split(asked("--cflags", "--libs", "fastlstm"))
    run(CC, *STRICT, tmp_path / "embedded.c", *words, "-o", tmp_path / "embedded")
    check(tmp_path / "embedded", model)


PROJECT = """
cmake_minimum_required(VERSION 3.15)
project(use C)
find_package(fastlstm 0.1 REQUIRED CONFIG)
find_package(fastlstm CONFIG) # a second time, as parts of a project do
message(STATUS "found ${{fastlstm_VERSION}}")
add_executable(whole embedded.c)
target_link_libraries(whole PRIVATE fastlstm::fastlstm)
add_executable(one embedded.c)
target_link_libraries(one PRIVATE fastlstm::{isa})
"""


def configured(cmake, source, build, *words):
    command = [cmake, "-S", source, "-B", build, "-DCMAKE_BUILD_TYPE=Release", *words]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)


def test_cmake_finds_a_package_that_was_moved(cmake, moved, model, tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(PROJECT.format(isa=ISA))
    done = configured(cmake, tmp_path, tmp_path / "build", f"-Dfastlstm_DIR={moved / 'share' / 'cmake' / 'fastlstm'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"found {fastlstm.__version__}\n" in done.stdout
    assert "CMake Warning" not in done.stderr
    run(cmake, "--build", tmp_path / "build")
    whole, one = tmp_path / "build" / "whole", tmp_path / "build" / "one"
    check(whole, model), check(one, model)
    if len(C_ISAS) > 2:
        assert one.stat().st_size < whole.stat().st_size / 2


def test_cmake_finds_it_by_the_folder_of_the_package(cmake, moved, model, tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(PROJECT.format(isa=ISA))
    done = configured(cmake, tmp_path, tmp_path / "build", f"-DCMAKE_PREFIX_PATH={moved}")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("wrong", ["version", "library"])
def test_cmake_says_what_is_wrong_with_it(wrong, cmake, moved, tmp_path):
    text = PROJECT.format(isa=ISA)
    if wrong == "version":
        text = text.replace("fastlstm 0.1", "fastlstm 99.1")
    else:
        Path(moved / "lib" / Path(fastlstm.get_library()).name).unlink()
    (tmp_path / "CMakeLists.txt").write_text(text)
    (tmp_path / "embedded.c").write_text("")
    done = configured(cmake, tmp_path, tmp_path / "build", f"-DCMAKE_PREFIX_PATH={moved}")
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert {"version": "99.1", "library": "There is no"}[wrong] in said


@pytest.mark.parametrize("option", ["--pkgconfigdir", "--cmakedir"])
def test_the_command_tells_the_folders(option):
    """Of an installed package; of one that runs from its sources, that there are none."""
    command = [sys.executable, "-W", "error", "-m", "fastlstm", option]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if (PACKAGE / "share").is_dir():
        file = {"--pkgconfigdir": "fastlstm.pc", "--cmakedir": "fastlstm-config.cmake"}[option]
        assert (done.returncode, done.stderr) == (0, "")
        assert (Path(done.stdout.strip()) / file).is_file()
    else:
        assert (done.returncode, done.stdout) == (1, "")
        assert "fastlstm runs from its sources" in done.stderr


def test_all_have_the_version():
    for file in ("pkgconfig/fastlstm.pc", "cmake/fastlstm/fastlstm-config-version.cmake"):
        assert fastlstm.__version__ in (SHARE / file).read_text("utf-8").replace(")", " ").split()


# ---- the library, built by CMake ----


def compile_commands(cmake, build, *words):
    """What CMake would tell the compiler for each object: the words, by the object's name."""
    done = configured(cmake, ROOT, build, "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    entries = json.loads((build / "compile_commands.json").read_text("utf-8"))
    return {entry["output"]: (Path(entry["file"]), shlex.split(entry["command"])) for entry in entries}


@needs_sources
def test_cmake_compiles_what_the_package_has(cmake, tmp_path, monkeypatch):
    """The same files, and each instruction set with the same flags."""
    monkeypatch.syspath_prepend(ROOT / "src" / "fastlstm" / "_c")
    import platform

    import targets

    commands = compile_commands(cmake, tmp_path)
    c = ROOT / "src" / "fastlstm" / "_c"
    found = {}
    for file, words in commands.values():
        assert {"-std=c11", "-ffp-contract=off", "-fPIC", "-O3", "-DNDEBUG"} <= set(words)
        if file.parent.name == "targets":
            bits = next(word for word in words if word.startswith("-DFL_BITS="))
            found[file.stem, bits] = set(words)
    sets = targets.instruction_sets(platform.machine())
    assert found.keys() == {(name, f"-DFL_BITS={bits}") for name in sets for bits in (32, 64)}
    assert all(set(sets[name]) <= words for (name, _), words in found.items())
    others = {file.relative_to(c).as_posix() for file, _ in commands.values() if file.parent.name != "targets"}
    assert others == {
        name for name in (ROOT / "setup.py").read_text("utf-8").split('"')
        if name.startswith(("network/", "system/")) and name.endswith(".c")
        and not name.endswith(("pool.c", "interface.c"))
    } | {f"pass/{file.name}" for file in (c / "pass").glob("*.c")}  # fmt: skip


@needs_sources
@pytest.mark.slow
def test_the_library_that_cmake_builds(cmake, model, tmp_path):
    """Installed, it has the package's files, and computes the same."""
    words = [f"-DCMAKE_INSTALL_PREFIX={tmp_path / 'installed'}"]
    assert configured(cmake, ROOT, tmp_path / "build", *words).returncode == 0
    run(cmake, "--build", tmp_path / "build", "--parallel", "2", "--target", "install")
    (tmp_path / "CMakeLists.txt").write_text(PROJECT.format(isa=ISA))
    done = configured(cmake, tmp_path, tmp_path / "use", f"-DCMAKE_PREFIX_PATH={tmp_path / 'installed'}")
    assert done.returncode == 0, done.stdout + done.stderr
    run(cmake, "--build", tmp_path / "use")
    check(tmp_path / "use" / "whole", model), check(tmp_path / "use" / "one", model)


@needs_sources
def test_a_project_that_includes_the_sources(cmake, model, tmp_path):
    """With the same targets; nothing is compiled here."""
    text = PROJECT.format(isa=ISA).replace(
        "find_package(fastlstm 0.1 REQUIRED CONFIG)", f'add_subdirectory("{ROOT}" f)'
    )
    (tmp_path / "CMakeLists.txt").write_text(text.replace("find_package(fastlstm CONFIG)", ""))
    done = configured(cmake, tmp_path, tmp_path / "build")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"-DFASTLSTM_ONLY={ISA}" in (tmp_path / "build/CMakeFiles/one.dir/flags.make").read_text("utf-8")
