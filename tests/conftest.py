import os

import pytest
from cases import ISAS

import fastlstm
from fastlstm._system import runtime


@pytest.fixture(params=[runtime.ISA] if os.environ.get("FASTLSTM_ISA") else ISAS)
def isa(request):
    """Each instruction set that this machine runs, in use during the test; where one is asked for, that alone."""
    runtime.choose_isa(request.param)
    yield request.param
    runtime.choose_isa(runtime.ISA)


@pytest.fixture
def default_threads():
    """Restores the default number of threads after the test."""
    before = fastlstm.get_num_threads()
    yield before
    fastlstm.set_num_threads(before)


@pytest.fixture
def environment():
    """A copy of the environment for a subprocess, without the choice of an instruction set."""
    return {name: value for name, value in os.environ.items() if name != "FASTLSTM_ISA"}
