"""Run programs in processes of their own, for tests that end, stop or limit a process."""

import os
import subprocess
import sys
import textwrap

import pytest

unix = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of Unix")
linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux says how much memory a process has had")


def run(program: str, *arguments: object, **variables: str) -> str:
    """Run a Python program with these variables in its environment, which must succeed, and return what it prints."""
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | variables)
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr}{done.stdout}"
    return done.stdout


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a Python program, and wait for its first line, which says that it is ready."""
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started
