"""The cases of ONNX's own tests of LSTM, GRU and RNN nodes, on the kernels; and the rest of a backend."""

import unittest
import warnings

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402

from fastlstm.onnx import _directions, backend  # noqa: E402

# Earlier ones have fewer cases, for their own reference lacked what the others test.
REFERENCE_IS_WHOLE = tuple(map(int, onnx.__version__.split(".")[:2])) >= (1, 23)


@pytest.fixture
def in_kernels(monkeypatch):
    """The calls of the kernels."""
    calls = []
    for kind, call in list(_directions._CALLS.items()):

        def run(*args, call=call, kind=kind, **options):
            calls.append(kind)
            return call(*args, **options)

        monkeypatch.setitem(_directions._CALLS, kind, run)
    return calls


def test_the_cases_of_onnx(in_kernels):
    """6 of each operator."""
    with warnings.catch_warnings(action="ignore"):  # The cases of all operators are made here, some by overflow.
        tests = pytest.importorskip("onnx.backend.test", exc_type=ImportError)
        suite = tests.BackendTest(backend, __name__)
    suite.include(r"^test_(lstm|gru|rnn|simple_rnn)_\w+_cpu$")
    result = unittest.TestResult()
    suite.test_suite.run(result)
    ran = result.testsRun - len(result.skipped)
    assert not result.errors
    assert not result.failures
    assert ran >= (18 if REFERENCE_IS_WHOLE else 12)
    assert len(in_kernels) >= ran
    assert set(in_kernels) == {"LSTM", "GRU", "RNN"}


def test_prepare_takes_inputs_in_order_or_by_name(made):
    model, _, feeds = made("LSTM", given=("initial_h",))
    prepared = backend.prepare(model)
    by_name, in_order = prepared.run(feeds), prepared.run([feeds["X"], feeds["initial_h"]])
    assert len(by_name) == 3
    for a, b, c in zip(by_name, in_order, backend.run_model(model, feeds), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    with pytest.raises(ValueError, match="inputs must be 2: X, initial_h; not 1"):
        prepared.run(feeds["X"])


def test_run_node(made, in_kernels):
    model, arrays, feeds = made("GRU")
    [node] = model.graph.node
    given = [feeds["X"], *(arrays[name] for name in "WRB")]
    for inputs in (given, dict(zip("XWRB", given, strict=True))):
        for a, b in zip(backend.run_node(node, inputs), backend.run_model(model, feeds), strict=True):
            np.testing.assert_array_equal(a, b)
    assert in_kernels == ["GRU"] * 4
    [found] = backend.run_node(helper.make_node("Neg", ["x"], ["y"]), np.ones(3, np.float32), opset_version=13)
    np.testing.assert_array_equal(found, -np.ones(3))
    with pytest.raises(ValueError, match="inputs must be 4: X, W, R, B; not 1"):
        backend.run_node(node, feeds["X"])


def test_what_is_compatible(made):
    model, _, _ = made("RNN")
    assert backend.is_compatible(model)
    assert not backend.is_compatible(model, "CUDA")
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA")
    with pytest.raises(ValueError, match="device must be 'CPU', not 'CUDA'"):
        backend.prepare(model, "CUDA")
    model.graph.node[0].op_type = "Nothing"
    assert not backend.is_compatible(model)
    model.graph.node[0].op_type = "LSTM"  # With the weights of an RNN, which shows when it runs.
    assert backend.is_compatible(model)


def test_a_backend_is_a_class_too(made):
    model, _, feeds = made("RNN")
    kind = helper.np_dtype_to_tensor_dtype(feeds["X"].dtype)
    assert kind == TensorProto.FLOAT
    assert issubclass(backend.FastlstmBackend, onnx.backend.base.Backend)
    assert len(backend.FastlstmBackend.run_model(model, feeds)) == 2
