"""Any sizes, layouts, precisions and options that are legal: the same as the reference."""

import numpy as np
from cases import GRU_FORMS, ISAS, NONLINEARITIES, gru_case, laid_out, layouts, lstm_case, rnn_case
from helpers import (
    assert_close,
    gru_arrays,
    gru_backward,
    gru_forward,
    lstm_arrays,
    lstm_backward,
    lstm_forward,
    reference_gru,
    reference_lstm,
    reference_rnn,
    rnn_arrays,
    rnn_backward,
    rnn_forward,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastlstm
from fastlstm._system import runtime

TOLERANCE = {np.float32: 4e-6, np.float64: 1e-13}  # as in test_reference_agreement.py

sizes = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 40), st.integers(1, 40))
options = st.fixed_dictionaries(
    {
        "num_threads": st.one_of(st.none(), st.integers(1, 5)),
        "workspace": st.booleans(),
        "isa": st.sampled_from(ISAS),
    }
)
common = settings(deadline=None, max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


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
        if chosen["workspace"] and shape[2]:  # a workspace is for at least one input
            workspace = np.full(fastlstm.lstm_workspace(*shape, dtype), np.nan, dtype)
        how = {"num_threads": chosen["num_threads"], "workspace": workspace}
        y, (h, c), tape = lstm_forward(moved, tape=True, **how)
        found = {"y": y, "h": h, "c": c} | lstm_arrays(lstm_backward(moved, tape, **how))
    finally:
        runtime.choose_isa(runtime.ISA)
    assert_close(found, reference_lstm(case), TOLERANCE[dtype])


@common
@given(
    sizes, st.sampled_from([np.float32, np.float64]), st.sampled_from(GRU_FORMS),
    st.sets(st.sampled_from(["dy", "dh"])), st.lists(layouts, min_size=8, max_size=8), options,
)  # fmt: skip
def test_gru(shape, dtype, reset_after, missing, places, chosen):
    case = gru_case(*shape, reset_after, dtype=dtype) | dict.fromkeys(missing)
    moved = {
        name: None if array is None else laid_out(array, place)
        for (name, array), place in zip(case.items(), places, strict=True)
    }
    workspace = None
    runtime.choose_isa(chosen["isa"])
    try:
        if chosen["workspace"] and shape[2]:  # a workspace is for at least one input
            workspace = np.full(fastlstm.gru_workspace(*shape, dtype, reset_after=reset_after), np.nan, dtype)
        how = {"num_threads": chosen["num_threads"], "workspace": workspace}
        y, h, tape = gru_forward(moved, tape=True, **how)
        found = {"y": y, "h": h} | gru_arrays(gru_backward(moved, tape, **how))
    finally:
        runtime.choose_isa(runtime.ISA)
    assert_close(found, reference_gru(case), TOLERANCE[dtype])


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
        if chosen["workspace"] and shape[2]:  # a workspace is for at least one input
            workspace = np.full(fastlstm.rnn_workspace(*shape, dtype), np.nan, dtype)
        how = {"num_threads": chosen["num_threads"], "workspace": workspace}
        y, h, tape = rnn_forward(moved, nonlinearity, tape=True, **how)
        found = {"y": y, "h": h} | rnn_arrays(rnn_backward(moved, tape, **how))
    finally:
        runtime.choose_isa(runtime.ISA)
    assert_close(found, reference_rnn(case, nonlinearity), TOLERANCE[dtype])
