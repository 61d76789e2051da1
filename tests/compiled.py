"""Compile programs in C and C++ against the installed package, and run them."""

import functools
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CC, CXX = shutil.which("cc"), shutil.which("c++")
WARNINGS = ("-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
STRICT = ("-std=c11", *WARNINGS, "-Wstrict-prototypes")

# On Windows a cc is not the compiler that made the library, nor does it take its format.
needs_cc = pytest.mark.skipif(
    CC is None or sys.platform == "win32", reason="there is no cc, or not the one that made the library"
)
needs_cxx = pytest.mark.skipif(CXX is None, reason="there is no C++ compiler named c++")


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@functools.cache
def flags(*names):
    return shlex.split(run(sys.executable, "-W", "error", "-m", "fastlstm", *names))


def compiled(source, folder, *more):
    program = folder / source.stem
    run(CC, *STRICT, *more, source, *flags("--cflags", "--libs"), "-o", program)
    return program
