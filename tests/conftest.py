import os
import signal

import pytest
from cases import ISAS

import fastlstm
from fastlstm._system import runtime

# A shell that starts the tests in the background has SIGINT ignored, and some of them send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Where a library has a matrix engine, its products promise no bits, which many tests compare: those of that rule ask
# for it.
runtime.choose_over_time(False)


@pytest.fixture(params=[runtime.ISA] if os.environ.get("FASTLSTM_ISA") else ISAS)
def isa(request):
    """Run the test with each instruction set of this machine, or only with the one that FASTLSTM_ISA names."""
    runtime.choose_isa(request.param)
    yield request.param
    runtime.choose_isa(runtime.ISA)


@pytest.fixture
def default_threads():
    """Restore the default number of threads after the test."""
    before = fastlstm.get_num_threads()
    yield before
    fastlstm.set_num_threads(before)


@pytest.fixture
def environment():
    """Return a copy of the environment for a subprocess, without the choice of an instruction set."""
    return {name: value for name, value in os.environ.items() if name != "FASTLSTM_ISA"}


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is an optional peer")


@pytest.fixture
def onnx():
    return pytest.importorskip("onnx", reason="ONNX is an optional peer")
