"""The instruction set "blas": its products are SciPy's BLAS's, what that cannot promise is the portable kernels'.

A process of its own counts the calls: it puts counting functions in place of BLAS's before fastlstm takes them.
"""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from cases import DTYPES
from helpers import assert_close, assert_same

import fastlstm
from fastlstm._system import runtime

T, B, I, H, P = 5, 4, 9, 7, 2  # more inputs than steps of few rows fold into their product

COUNTED = """
import ctypes, json, sys
from scipy.linalg import cython_blas

calls, kept = [], []
api, by_address = ctypes.pythonapi, ctypes.POINTER(ctypes.c_int32)
api.PyCapsule_GetName.restype = ctypes.c_char_p
api.PyCapsule_GetName.argtypes = [ctypes.py_object]
api.PyCapsule_GetPointer.restype = ctypes.c_void_p
api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
api.PyCapsule_New.restype = ctypes.py_object
api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


def count(name):
    capsule = cython_blas.__pyx_capi__[name]
    signature = api.PyCapsule_GetName(capsule)
    arguments = [ctypes.c_void_p, ctypes.c_void_p, by_address, by_address, by_address, *[ctypes.c_void_p] * 8]
    kind = ctypes.CFUNCTYPE(None, *arguments)
    blas = kind(api.PyCapsule_GetPointer(capsule, signature))

    def counting(*arguments):
        calls.append([name, arguments[3][0], arguments[2][0], arguments[4][0]])  # of row-major matrices
        blas(*arguments)

    kept.extend([counted := kind(counting), signature])
    cython_blas.__pyx_capi__[name] = api.PyCapsule_New(ctypes.cast(counted, ctypes.c_void_p), signature, None)


count("sgemm")
count("dgemm")

import numpy as np
import fastlstm


def taken():
    found = list(calls)
    calls.clear()
    return found


T, B, I, H, P = json.loads(sys.argv[1])
dtype = np.dtype(sys.argv[2])
found = {}
"""

CALLS = """
for name, layer in {
    "LSTM": fastlstm.LSTM(I, H, peephole=True, dtype=dtype),
    "FGR": fastlstm.LSTM(I, H, variant="FGR", dtype=dtype),
    "RNN": fastlstm.RNN(I, H, dtype=dtype),
    "projection": fastlstm.LSTM(I, H, proj_size=P, dtype=dtype),
    "GRU": fastlstm.GRU(I, H, dtype=dtype),
    "GRU, reset before": fastlstm.GRU(I, H, reset_after=False, dtype=dtype),
    "layer norm": fastlstm.LSTM(I, H, layer_norm=True, dtype=dtype),
}.items():
    y, _, tape = layer.forward(np.ones((T, B, I), dtype))
    found[name] = [taken()]
    layer.backward(tape, np.ones_like(y))
    found[name].append(taken())
print(json.dumps(found))
"""

OTHERS = """
x = np.ones((T, B, I), dtype)
layer = fastlstm.LSTM(I, H, dtype=dtype, batch_invariant=True)
y, _, tape = layer.forward(x)
layer.backward(tape, np.ones_like(y))
for form in ("full", "bfloat16", "int8") if dtype == np.float32 else ("full",):
    fastlstm.Frozen(layer, form)(x)
print(json.dumps(taken()))
"""


def run(code, dtype, environment, isa="blas"):
    """Run code in a process that counts the calls of BLAS; return what it prints."""
    arguments = [json.dumps([T, B, I, H, P]), np.dtype(dtype).name]
    result = subprocess.run(
        [sys.executable, "-c", COUNTED + textwrap.dedent(code), *arguments],
        env=environment | {"FASTLSTM_ISA": isa, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def products(gates, K, extra=0, width=H):
    """Return the products (m, n, k) of a forward and of a backward pass, in their order.

    R is (gates H, K), of whose columns the last `extra` are not y's. A projection has `width` P.
    """
    W_x, R_y = (T * B, gates * H, I), (B, gates * H, K)
    project = [(B, P, H)] if width == P else []
    dy, d_extra, through = (B, width, gates * H), [(B, extra, gates * H)] if extra else [], [(B, H, P)] * len(project)
    dW, dR, dx = (gates * H, I, T * B), (gates * H, K, T * B), (T * B, I, gates * H)
    dproj = [(P, H, T * B)] * len(project)
    forward = [W_x, *[R_y, *project] * T]
    # The last step has no next one; at the end the first sends to the initial state.
    backward = [*through, *[dy, *through, *d_extra] * (T - 1), dy, *d_extra, dW, dR, dx, *dproj]
    return forward, backward


def products_of_reset_before():
    """Return those of the GRU whose block n of R has a product of its own, since it multiplies r h^{t-1}."""
    forward = [(T * B, 3 * H, I), *[(B, 2 * H, H), (B, H, H)] * T]
    dh, d_rh, dx = (B, H, 2 * H), (B, H, H), (T * B, I, 3 * H)
    r_z, n = ([(rows, I, T * B), (rows, H, T * B)] for rows in (2 * H, H))
    return forward, [d_rh, *[dh, d_rh] * (T - 1), dh, *r_z, dx, *n]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_product_is_a_call_of_blas(dtype, environment):
    gemm = "sgemm" if dtype == np.float32 else "dgemm"
    vector = 16 // np.dtype(dtype).itemsize
    extra = 3 * -(-H // vector) * vector
    expected = {
        "LSTM": products(4, H),
        "FGR": products(4, H + extra, extra),
        "RNN": products(1, H),
        "projection": products(4, P, width=P),
        "GRU": products(3, H),
        "GRU, reset before": products_of_reset_before(),
        "layer norm": products(4, H),
    }
    found = run(CALLS, dtype, environment)
    assert found.keys() == expected.keys()
    for name, passes in found.items():
        for calls, shapes in zip(passes, expected[name], strict=True):
            assert calls == [[gemm, *shape] for shape in shapes], name


def test_compiled_kernels_do_not_call_blas(environment):
    found = run(CALLS, np.float32, environment, isa="portable")
    assert all(calls == [] for passes in found.values() for calls in passes)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_blas_cannot_promise(dtype, environment):
    """Batch invariance and weights that are packed once: no call of BLAS."""
    assert run(OTHERS, dtype, environment) == []


FROZEN = """
from fastlstm import nn

network = nn.Sequential(fastlstm.LSTM(I, H, dtype=dtype), fastlstm.LSTM(H, P, dtype=dtype))
network.layers[1].trainable = False
y, _, tape = network.forward(np.ones((T, B, I), dtype))
taken()
network.backward(tape, np.ones_like(y))
found["backward"] = taken()
sequences = [np.ones((T, I), dtype)] * B
batches = nn.Batches(sequences, [np.zeros((T, P), dtype)] * B, B)
nn.fit(network, nn.mse, batches, epochs=1, progress=False)
found["fit"] = taken()
print(json.dumps(found))
"""


def test_nothing_is_computed_that_nobody_needs(environment):
    """The gradients of frozen weights, though dJ/dx goes through them; and in training dJ/dx of the lowest layer."""
    found = run(FROZEN, np.float32, environment)
    dy, dx = (B, P, 4 * P), (T * B, H, 4 * P)
    below = products(4, H)
    assert found["backward"] == [["sgemm", *shape] for shape in [*[dy] * T, dx, *below[1]]]
    assert below[1][-1] == (T * B, I, 4 * H)
    passes = [*below[0], (T * B, 4 * P, H), *[(B, 4 * P, P)] * T, *[dy] * T, dx, *below[1][:-1]]
    assert found["fit"] == [["sgemm", *shape] for shape in passes]


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_over_time_where_blas_has_a_matrix_engine(dtype, environment):
    """W x, dW, dR and dx are BLAS's then, what a step waits for is not; and no batch-invariant or frozen product."""
    over_time = "from fastlstm._system import runtime\nruntime.choose_over_time(True)\n"
    found = run(over_time + CALLS, dtype, environment, isa="portable")
    of_rows = [found["LSTM"], found["GRU"], found["layer norm"], found["projection"]]
    for (forward, backward), gates, K in zip(of_rows, (4, 3, 4, 4), (H, H, H, P), strict=True):
        W_x, dW, dR, dx = (T * B, gates * H, I), (gates * H, I, T * B), (gates * H, K, T * B), (T * B, I, gates * H)
        gemm = "sgemm" if dtype == np.float32 else "dgemm"
        assert forward == [[gemm, *W_x]]
        assert backward == [[gemm, *shape] for shape in (dW, dR, dx)]
    assert run(over_time + OTHERS, dtype, environment, isa="portable") == []


@pytest.fixture
def over_time():
    runtime.choose_over_time(True)
    yield
    runtime.choose_over_time(False)


LAYERS = {
    "LSTM": {}, "projection": {"proj_size": 5}, "FGR": {"variant": "FGR"}, "layer norm": {"layer_norm": True},
    "CIFG": {"variant": "CIFG"},
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 700])
@pytest.mark.parametrize("name", [*LAYERS, "GRU", "gru_before", "RNN"])
def test_results_with_products_over_time_by_blas(name, rows, dtype, over_time):
    kwargs = {"bidirectional": True, "dtype": dtype, "seed": 0, "num_layers": 2}
    layer = {
        "GRU": lambda: fastlstm.GRU(I, 37, **kwargs),
        "gru_before": lambda: fastlstm.GRU(I, 37, reset_after=False, **kwargs),
        "RNN": lambda: fastlstm.RNN(I, 37, **kwargs),
    }.get(name, lambda: fastlstm.LSTM(I, 37, **LAYERS[name], **kwargs))()
    x = np.random.default_rng(0).normal(size=(9, rows, I)).astype(dtype)
    found = results(layer, x)
    runtime.choose_over_time(False)
    assert_close(found, results(layer, x), 2e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_recompute_has_the_same_bits_with_products_over_time_by_blas(dtype, over_time):
    layer = fastlstm.LSTM(300, 300, dtype=dtype, seed=0)
    x = np.random.default_rng(0).normal(size=(40, 30, 300)).astype(dtype)
    (y, state, tape), (again, _, checkpoints) = layer.forward(x), layer.forward(x, recompute=7)
    assert_same({"y": again}, {"y": y})
    found, expected = (layer.backward(kept, np.ones_like(y), state) for kept in (checkpoints, tape))
    assert_same({"dx": found.x, **found.params}, {"dx": expected.x, **expected.params})


@pytest.fixture
def blas():
    runtime.choose_isa("blas")
    yield
    runtime.choose_isa(runtime.ISA)


def results(layer, x):
    y, state, tape = layer.forward(x)
    gradients = layer.backward(tape, np.ones_like(y), state)
    return {"y": y, "dx": gradients.x, **gradients.params}


@pytest.mark.parametrize("dtype", DTYPES)
def test_batch_invariance_has_the_bits_of_portable(dtype, blas):
    layer = fastlstm.LSTM(I, 37, 2, bidirectional=True, batch_invariant=True, dtype=dtype, seed=0)
    x = np.random.default_rng(0).normal(size=(9, 6, I)).astype(dtype)
    found = results(layer, x)
    runtime.choose_isa("portable")
    assert_same(found, results(layer, x))


PIECES = """
layer = fastlstm.LSTM(400, 200, dtype=dtype)
y, _, tape = layer.forward(np.ones((1, 700, 400), dtype))
layer.backward(tape, np.ones_like(y))
print(json.dumps(taken()))
"""


def test_long_products_are_cut(environment):
    """A call can be stopped between the pieces, of some rows each."""
    *found, _ = run(PIECES, np.float32, environment)  # the last is the initial state's gradient of a single step
    rows: dict[tuple[int, int], list[int]] = {}
    for _, m, n, k in found:
        assert m * n * k <= 1 << 26
        rows.setdefault((n, k), []).append(m)
    W_x, R_y, dW, dR, dx = (800, 400), (800, 200), (400, 700), (200, 700), (400, 800)
    assert {product: sum(pieces) for product, pieces in rows.items()} == {W_x: 700, R_y: 700, dW: 800, dR: 800, dx: 700}
    assert all(len(pieces) > 1 for pieces in rows.values())


@pytest.mark.parametrize("dtype", DTYPES)
def test_pieces_give_the_same(dtype, blas):
    layers = [fastlstm.LSTM(5, 200, variant=variant, dtype=dtype, seed=0) for variant in ("CIFG", "FGR")]
    rest = [fastlstm.GRU(5, 300, dtype=dtype, seed=0), fastlstm.RNN(5, 1100, dtype=dtype, seed=0)]
    for layer in (*layers, *rest):
        x = np.random.default_rng(0).normal(size=(2, 700, 5)).astype(dtype)
        found = results(layer, x)
        runtime.choose_isa("portable")
        assert_close(found, results(layer, x), 1e-4 if dtype == np.float32 else 1e-10)
        runtime.choose_isa("blas")


def test_the_default_where_no_kernels_are_compiled_for_the_processor():
    """The best instruction set is the last one, and blas comes just after portable C."""
    available = runtime.available_isas()
    assert available[available.index("portable") + 1] == "blas"
    assert runtime.choose_isa(None) == available[-1]
    runtime.choose_isa(runtime.ISA)
