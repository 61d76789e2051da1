"""Any sizes, layouts, precisions and options that are legal: the same as the reference."""

import numpy as np
from helpers import (
    ISAS,
    NONLINEARITIES,
    assert_close,
    lstm_arrays,
    lstm_backward,
    lstm_case,
    lstm_forward,
    reference_lstm,
    reference_rnn,
    rnn_arrays,
    rnn_backward,
    rnn_case,
    rnn_forward,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastlstm
from fastlstm._system import runtime

TOLERANCE = {np.float32: 4e-6, np.float64: 1e-13}  # as in test_reference_agreement.py

sizes = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 40), st.integers(1, 40))
layouts = st.tuples(
    st.sampled_from([-2, -1, 1, 2, 3]), st.booleans(), st.booleans(), st.integers(0, 7)
)  # step of each axis, order of the axes, whether writable, offset in bytes
options = st.fixed_dictionaries(
    {
        "num_threads": st.one_of(st.none(), st.integers(1, 5)),
        "workspace": st.booleans(),
        "isa": st.sampled_from(ISAS),
    }
)
common = settings(deadline=None, max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def laid_out(array, layout):
    """The same values elsewhere in memory."""
    step, fortran, writable, offset = layout
    shape = [abs(step) * length for length in array.shape]
    space = np.zeros(int(np.prod(shape)) * array.itemsize + offset, np.uint8)[offset:].view(array.dtype)
    view = space.reshape(shape, order="F" if fortran else "C")[(slice(None, None, step),) * array.ndim]
    view[...] = array
    view.flags.writeable = writable
    return view


@common
@given(
    sizes, st.sampled_from([np.float32, np.float64]), st.booleans(),
    st.sets(st.sampled_from(["dy", "dh", "dc"])), st.lists(layouts, min_size=10, max_size=10), options,
)  # fmt: skip
def test_lstm(shape, dtype, peephole, missing, places, chosen):
    case = lstm_case(*shape, dtype=dtype, peephole=peephole) | dict.fromkeys(missing)
    moved = {
        name: None if array is None else laid_out(array, place)
        for (name, array), place in zip(case.items(), places, strict=True)
    }
    workspace = None
    runtime.choose_isa(chosen["isa"])
    try:
        if chosen["workspace"]:
            workspace = np.full(fastlstm.lstm_workspace(*shape, dtype), np.nan, dtype)
        how = {"num_threads": chosen["num_threads"], "workspace": workspace}
        y, (h, c), tape = lstm_forward(moved, tape=True, **how)
        found = {"y": y, "h": h, "c": c} | lstm_arrays(lstm_backward(moved, tape, **how))
    finally:
        runtime.choose_isa(runtime.ISA)
    assert_close(found, reference_lstm(case), TOLERANCE[dtype])


@common
@given(
    sizes, st.sampled_from([np.float32, np.float64]), st.sampled_from(NONLINEARITIES),
    st.lists(layouts, min_size=7, max_size=7), options,
)  # fmt: skip
def test_rnn(shape, dtype, nonlinearity, places, chosen):
    case = rnn_case(*shape, nonlinearity, dtype=dtype)
    moved = {name: laid_out(array, place) for (name, array), place in zip(case.items(), places, strict=True)}
    workspace = None
    runtime.choose_isa(chosen["isa"])
    try:
        if chosen["workspace"]:
            workspace = np.full(fastlstm.rnn_workspace(*shape, dtype), np.nan, dtype)
        how = {"num_threads": chosen["num_threads"], "workspace": workspace}
        y, h, tape = rnn_forward(moved, nonlinearity, tape=True, **how)
        found = {"y": y, "h": h} | rnn_arrays(rnn_backward(moved, tape, **how))
    finally:
        runtime.choose_isa(runtime.ISA)
    assert_close(found, reference_rnn(case, nonlinearity), TOLERANCE[dtype])
