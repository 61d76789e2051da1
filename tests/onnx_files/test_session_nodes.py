"""Nodes LSTM, GRU and RNN in a Session, each attribute: beside ONNX Runtime, and beside others where it has none."""

import itertools

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402
from onnx_export import needs_reference  # noqa: E402

from fastlstm.onnx import Session, _directions  # noqa: E402

KINDS = ("LSTM", "GRU", "RNN")
DIRECTIONS = ("forward", "reverse", "bidirectional")
EVERYTHING = ("sequence_lens", "initial_h", "initial_c")

every_kind = pytest.mark.parametrize("kind", KINDS)
every_direction = pytest.mark.parametrize("direction", DIRECTIONS)

# By kind: the options that only it has.
OWN = {
    "LSTM": [{}, {"peepholes": True}, {"input_forget": 1}, {"input_forget": 1, "peepholes": True}],
    "GRU": [{}, {"linear_before_reset": 1}],
    "RNN": [{}],
}
OPTIONS = [(kind, options) for kind in KINDS for options in OWN[kind]]
every_option = pytest.mark.parametrize(("kind", "options"), OPTIONS, ids=str)

# With alpha and beta as they are consumed. ONNX Runtime has all of them.
ACTIVATIONS = [
    ("Relu",), ("Tanh",), ("Sigmoid",), ("HardSigmoid",), ("HardSigmoid", 0.3), ("HardSigmoid", 0.3, 0.4),
    ("Affine", 0.4, 0.1), ("LeakyRelu",), ("LeakyRelu", 0.2), ("ThresholdedRelu", 0.3), ("ScaledTanh", 0.8, 0.5),
    ("Elu",), ("Elu", 0.4), ("Softsign",), ("Softplus",),
]  # fmt: skip
ON_KERNELS = {
    "LSTM": [("Sigmoid", "HardSigmoid"), *[("Relu", "Tanh", "Sigmoid", "HardSigmoid")] * 2],
    "GRU": [("Sigmoid", "HardSigmoid"), ("Relu", "Tanh", "Sigmoid", "HardSigmoid")],
    "RNN": [("Relu", "Tanh", "Sigmoid", "HardSigmoid")],
}
USUAL = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}


@pytest.fixture
def computed(monkeypatch):
    """The nodes that ran, "kernels" or "reference" for each direction."""
    found = []

    def counted(name, calls):
        for kind, call in list(calls.items()):

            def run(*args, call=call, **options):
                found.append(name)
                return call(*args, **options)

            monkeypatch.setitem(calls, kind, run)

    counted("kernels", _directions._CALLS)
    counted("reference", _directions._REFERENCES)
    return found


def given_to(kind):
    return EVERYTHING if kind == "LSTM" else EVERYTHING[:2]


def ours(model, feeds):
    session = Session(model)
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def assert_close(found, expected, tolerance=1e-6):
    assert found.keys() == expected.keys()
    for name, array in found.items():
        wanted = expected[name]
        assert array.shape == wanted.shape, name
        assert array.dtype == wanted.dtype, name
        scale = max(1, np.abs(wanted).max())
        assert np.abs(array - wanted).max() <= tolerance * scale, name
        assert np.abs(wanted).max() > 1e-3, name


def activated(kind, *activations, direction="forward"):
    """Return the attributes for a direction's activations, or both directions' one after another."""
    values = {
        "activation_alpha": [one[1] for one in activations if len(one) > 1],
        "activation_beta": [one[2] for one in activations if len(one) > 2],
    }
    given = {name: found for name, found in values.items() if found}
    return {"activations": [one[0] for one in activations], "direction": direction} | given


# ---- beside ONNX Runtime ---------------------------------------------------------------------------------------------


@every_direction
@every_option
def test_options(kind, options, direction, made, runtime, computed):
    for given in ((), *itertools.combinations(given_to(kind), 1), given_to(kind)):
        for bias in (True, False):
            model, _, feeds = made(kind, direction=direction, given=given, bias=bias, **options)
            assert_close(ours(model, feeds), runtime(model, feeds))
    assert set(computed) == {"kernels"}


@every_direction
@every_option
def test_clip(kind, options, direction, made, runtime, computed):
    model, _, feeds = made(kind, direction=direction, given=given_to(kind), clip=0.4, **options)
    bounded, plain = (
        ours(model, feeds),
        ours(made(kind, direction=direction, given=given_to(kind), **options)[0], feeds),
    )
    assert_close(bounded, runtime(model, feeds))
    assert np.abs(bounded["Y"] - plain["Y"]).max() > 0.01
    assert ("reference" in computed) == (kind != "LSTM")


@pytest.mark.parametrize("one", ACTIVATIONS, ids=str)
@every_kind
def test_activations(kind, one, made, runtime, computed):
    for place, allowed in enumerate(ON_KERNELS[kind]):
        computed.clear()
        activations = [(name,) for name in USUAL[kind]]
        activations[place] = one
        model, _, feeds = made(kind, T=4, given=given_to(kind), **activated(kind, *activations))
        assert_close(ours(model, feeds), runtime(model, feeds), 3e-6)
        assert computed == (["kernels"] if one[0] in allowed else ["reference"] * 3)  # for each of three lengths


@every_kind
def test_activations_of_two_directions(kind, made, runtime, computed):
    """Alphas and betas go to those that take them, in order."""
    first = [("HardSigmoid", 0.3, 0.4), ("LeakyRelu", 0.2), ("Tanh",)][: len(USUAL[kind])]
    second = [("Sigmoid",), ("ScaledTanh", 0.8, 0.5), ("Elu", 0.4)][: len(USUAL[kind])]
    attributes = activated(kind, *first, *second, direction="bidirectional")
    model, _, feeds = made(kind, given=given_to(kind), **attributes)
    assert_close(ours(model, feeds), runtime(model, feeds), 3e-6)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_names_of_activations_in_any_case(kind, made, runtime):
    """So ONNX Runtime takes them, but for an RNN's."""
    names = [name.upper() for name in USUAL[kind]]
    model, _, feeds = made(kind, activations=names)
    assert_close(ours(model, feeds), runtime(model, feeds))


@every_direction
@every_kind
def test_rows_without_steps(kind, direction, made, runtime):
    """They keep their initial states here; ONNX Runtime gives zeros for them, so that without states both agree."""
    model, _, feeds = made(kind, direction=direction, given=("sequence_lens",))
    feeds["sequence_lens"][:] = 0, 3, 0
    assert_close(ours(model, feeds), runtime(model, feeds))
    given = given_to(kind)
    model, _, feeds = made(kind, direction=direction, given=given)
    feeds["sequence_lens"][:] = 0, 3, 0
    found = ours(model, feeds)
    for output, role in (("Y_h", "initial_h"), ("Y_c", "initial_c"))[: len(given) - 1]:
        np.testing.assert_array_equal(found[output][:, [0, 2]], feeds[role][:, [0, 2]])
    assert not found["Y"][:, :, [0, 2]].any()


@pytest.mark.parametrize("outputs", [["Y"], ["", "Y_h"], ["Y", "Y_h"], ["", "", "Y_c"], ["Y", "", "Y_c"]], ids=str)
@every_kind
def test_missing_outputs(kind, outputs, made, runtime):
    if kind != "LSTM" and len(outputs) > 2:
        return
    model, _, feeds = made(kind)
    del model.graph.node[0].output[:], model.graph.output[:]
    model.graph.node[0].output.extend(outputs)
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs if name)
    assert_close(ours(model, feeds), runtime(model, feeds))


@every_kind
def test_weights_that_a_run_is_given(kind, made, runtime):
    """They are converted again in each run, also where the same array has other values."""
    model, arrays, feeds = made(kind)
    for name, array in arrays.items():
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape))
    del model.graph.initializer[:]
    session = Session(model)
    for _ in range(3):
        found = dict(zip(("Y", "Y_h", "Y_c"), session.run(None, feeds | arrays), strict=False))
        assert_close(found, runtime(model, feeds | arrays))
        for array in arrays.values():
            array *= np.float32(0.9)


@every_kind
def test_constant_weights_are_converted_once(kind, made, monkeypatch):
    from fastlstm.onnx import _operators

    calls = []
    monkeypatch.setattr(_operators, "from_onnx", lambda *args, own=_operators.from_onnx: calls.append(1) or own(*args))
    model, _, feeds = made(kind, direction="bidirectional")
    session = Session(model)
    first = session.run(None, feeds)
    assert len(calls) == 2
    for a, b in zip(first, session.run(None, feeds), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(calls) == 2


# ---- beside others ---------------------------------------------------------------------------------------------------


@every_direction
@every_option
def test_batch_first(kind, options, direction, made, runtime):
    """layout=1, which ONNX Runtime lacks, is the same node with axes exchanged."""
    model, _, feeds = made(kind, direction=direction, given=given_to(kind), **options)
    exchanged, _, _ = made(kind, direction=direction, given=given_to(kind), layout=1, **options)
    expected = runtime(model, feeds)
    given = {name: array if name == "sequence_lens" else array.swapaxes(0, 1) for name, array in feeds.items()}
    found = ours(exchanged, given)
    order = {"Y": (1, 2, 0, 3), "Y_h": (1, 0, 2), "Y_c": (1, 0, 2)}
    assert_close({name: array.transpose(order[name]) for name, array in found.items()}, expected)


def converted(model, feeds, kind):
    """Return a model and its inputs in another dtype."""
    made, dtype = onnx.ModelProto(), helper.tensor_dtype_to_np_dtype(kind)
    made.CopyFrom(model)
    for k, tensor in enumerate(model.graph.initializer):
        array = onnx.numpy_helper.to_array(tensor).astype(dtype)
        made.graph.initializer[k].CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    for one in (*made.graph.input, *made.graph.output):
        if one.type.tensor_type.elem_type != TensorProto.INT32:
            one.type.tensor_type.elem_type = kind
    return made, {name: a if a.dtype.kind == "i" else a.astype(dtype) for name, a in feeds.items()}


@every_direction
@every_option
def test_float64(kind, options, direction, made, monkeypatch):
    """The kernels and the specification in NumPy agree but for the rounding of float64."""
    for more in ({}, {"clip": 0.4} if kind == "LSTM" else {}):
        model, _, feeds = made(kind, direction=direction, given=given_to(kind), **options, **more)
        model, feeds = converted(model, feeds, TensorProto.DOUBLE)
        found = ours(model, feeds)
        assert found["Y"].dtype == np.float64
        with monkeypatch.context() as patch:
            patch.setattr(_directions, "_has", lambda one, allowed: False)
            assert_close(found, ours(model, feeds), 1e-13)


@needs_reference
@every_direction
@pytest.mark.parametrize("layout", [0, 1])
@every_kind
def test_float64_beside_the_reference_of_onnx(kind, direction, layout, made):
    """It has no lengths, and no activations but the usual ones."""
    given = ("initial_h", "initial_c")[: 2 if kind == "LSTM" else 1]
    own = {"peepholes": True} if kind == "LSTM" else {}
    model, _, feeds = made(kind, direction=direction, layout=layout, given=given, **own)
    model, feeds = converted(model, feeds, TensorProto.DOUBLE)
    expected = dict(zip(("Y", "Y_h", "Y_c"), ReferenceEvaluator(model).run(None, feeds), strict=False))
    assert_close(ours(model, feeds), expected, 1e-13)


@pytest.mark.parametrize(("element", "precision"), [(TensorProto.FLOAT16, 2**-10), (TensorProto.BFLOAT16, 2**-7)])
@every_kind
def test_16_bits(kind, element, precision, made):
    """They are computed in float32, and rounded once, at the end."""
    pytest.importorskip("ml_dtypes")
    model, _, feeds = made(kind, given=given_to(kind), opset=22)
    low, given = converted(model, feeds, element)
    found = ours(low, given)
    wide, again = converted(low, given, TensorProto.FLOAT)
    for name, wanted in ours(wide, again).items():
        assert found[name].dtype == helper.tensor_dtype_to_np_dtype(element)
        np.testing.assert_array_equal(found[name], wanted.astype(found[name].dtype))
        np.testing.assert_allclose(found[name].astype(np.float32), wanted, rtol=precision, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "opset"),
    [(kind, opset) for kind in KINDS for opset in (1, 3, 7, 14, 22) if (kind, opset) not in (("LSTM", 3), ("RNN", 3))],
)
def test_versions(kind, opset, made):
    """What a node computes is the same in all of them."""
    model, _, feeds = made(kind, given=given_to(kind), opset=opset)
    if opset == 1:  # It says whether there is Y.
        model.graph.node[0].attribute.append(helper.make_attribute("output_sequence", 1))
    found, expected = ours(model, feeds), ours(made(kind, given=given_to(kind), opset=14)[0], feeds)
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name])


# ---- what is wrong ---------------------------------------------------------------------------------------------------

WRONG = {
    "X": (np.zeros((7, 3, 9), np.float32), r"'cell' \(LSTM\): input W must be of shape \(1, 20, 9\), not \(1, 20, 4\)"),
    "X of two axes": (np.zeros((7, 4), np.float32), r"input X must be an array of 3 axes, not \(7, 4\)"),
    "initial_h": (np.zeros((2, 3, 5), np.float32), r"input initial_h must be of shape \(1, 3, 5\), not \(2, 3, 5\)"),
    "initial_c": (np.zeros((1, 3, 5)), "input initial_c must be of float32, as X is, not float64"),
    "sequence_lens": (np.array([8, 1, 1], np.int32), "input sequence_lens must be from 0 to the 7 steps of X, not"),
    "sequence_lens below 0": (np.array([-1, 1, 1], np.int32), "input sequence_lens must be from 0 to the 7 steps"),
    "sequence_lens of floats": (np.ones(3, np.float32), "input sequence_lens must be ints, not float32"),
    "sequence_lens of other rows": (np.ones(4, np.int32), r"input sequence_lens must be of shape \(3,\), not \(4,\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_inputs_are_named(name, made):
    """A model may say nothing of an input's type, so that the node has to look."""
    array, message = WRONG[name]
    model, _, feeds = made("LSTM", given=EVERYTHING)
    feeds[name.split()[0]] = array
    for k, (role, value) in enumerate(feeds.items()):
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        model.graph.input[k].CopyFrom(helper.make_tensor_value_info(role, kind, None))
    with pytest.raises(ValueError, match=message):
        ours(model, feeds)


def test_weights_that_do_not_belong_together(made):
    model, arrays, feeds = made("GRU")
    [R] = [one for one in model.graph.initializer if one.name == "R"]
    R.CopyFrom(onnx.numpy_helper.from_array(arrays["R"][:, :, :4], "R"))
    with pytest.raises(ValueError, match=r"hidden_size is 5, but R has shape \(1, 15, 4\)"):
        ours(model, feeds)


def test_attributes_are_read_when_a_model_is_opened(made):
    model, _, _ = made("RNN", activations=["Cosine"])
    with pytest.raises(ValueError, match=r"'cell' \(RNN\): attribute activations must be of .*, not 'Cosine'"):
        Session(model)


@pytest.mark.parametrize("T", [0, 10**9])
@every_kind
def test_batches_of_nothing_end_at_once(kind, T, made):
    """Also where the specification would walk over all steps."""
    for more in ({}, {"clip": 1.0}):
        model, _, _ = made(kind, **more)
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("X", TensorProto.FLOAT, None))
        B = 0 if T else 3
        found = ours(model, {"X": np.zeros((T, B, 4), np.float32)})
        assert found["Y"].shape == (T, 1, B, 5)
        assert not found["Y_h"].any()
